// The paper's latency predictor: 4 hidden layers of 400, trained 5,000 steps on 128 of 2,000 rows, and asked about
// architectures in batches of 1,000. One thread.
#include "support.hpp"

#include <algorithm>
#include <hat/latency/mlp.hpp>
#include <hat/space/features.hpp>
#include <hat/space/presets.hpp>
#include <vector>

namespace {

/// Random architectures of the space that the reference's latency datasets sample, their features, and a latency.
struct Dataset {
    std::vector<hat::Space<hat::LatencySampling>::Arch> archs;
    std::vector<float> x, y;
    explicit Dataset(std::size_t rows) {
        const hat::Space<hat::LatencySampling> space;
        const hat::MeanFeatures features;
        hat::Rng rng(1);
        for (std::size_t i = 0; i < rows; ++i) {
            archs.push_back(space.decode(space.random_gene(rng)));
            const auto row = features(archs.back());
            x.insert(x.end(), row.begin(), row.end());
            y.push_back(row[5] * (row[4] + row[6]));  // grows with the decoder
        }
    }
};

/// Multiply-adds of the weights, for one row.
double multiply_adds(const hat::MlpOptions& options) {
    std::size_t sum = 0, inputs = hat::MeanFeatures::size;
    for (const std::size_t width : options.hidden) sum += inputs * width, inputs = width;
    return static_cast<double>(sum + inputs);
}

void train(benchmark::State& state) {
    const Dataset data(2000);
    const hat::MlpOptions options = hat::MlpOptions::paper();
    for (auto _ : state) {
        hat::Mlp mlp(options);
        mlp.fit(data.x, data.y);
    }
    bench::rate(state, "GFLOP/s", 6.0 * multiply_adds(options) * static_cast<double>(options.steps * options.batch));
}

void predict(benchmark::State& state) {
    constexpr std::size_t rows = 1000;
    const Dataset data(rows);
    hat::MlpOptions options = hat::MlpOptions::paper();
    options.steps = 1;
    hat::Mlp mlp(options);
    mlp.fit(data.x, data.y);
    const hat::MeanFeatures features;
    std::vector<float> x(rows * hat::MeanFeatures::size);
    for (auto _ : state) {
        auto to = x.begin();
        for (const auto& arch : data.archs) {
            const auto row = features(arch);
            to = std::copy(row.begin(), row.end(), to);
        }
        benchmark::DoNotOptimize(mlp.predict_rows(x, rows));
    }
    state.counters["architectures/s"] =
        benchmark::Counter(static_cast<double>(rows), benchmark::Counter::kIsIterationInvariantRate);
    bench::rate(state, "GFLOP/s", 2.0 * multiply_adds(options) * static_cast<double>(rows));
}

}  // namespace

int main(int argc, char** argv) {
    bench::register_limits({});
    benchmark::RegisterBenchmark("predictor/train", train)->Unit(benchmark::kSecond)->Iterations(1);
    benchmark::RegisterBenchmark("predictor/predict", predict)->Unit(benchmark::kMillisecond);
    return bench::run(argc, argv);
}
