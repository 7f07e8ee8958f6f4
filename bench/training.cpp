// One training step (data, forward, backward, Adam) of hat::Trainer. Names:
// training/<shape>/<fp32 or, with tiles, bf16x3>/threads:<n>, and precision/<shape> for steps in each precision in
// turns. Run through bench/training.py, which sets PyTorch beside it, gives each run a process of its own and prints
// the tables.
#include "support.hpp"

#include <algorithm>
#include <atomic>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/trainer.hpp>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

namespace {

constexpr std::size_t vocabulary = 8000, sentences = 164, length = 25;
constexpr double dropout = 0.1;  // everywhere, as in PyTorch's layers: residuals, attention maps, FFN activations

/// The quickstart's size.
struct Small {
    static constexpr auto encoder_embed = hat::choices(256);
    static constexpr auto encoder_layers = hat::choices(3);
    static constexpr auto encoder_ffn = hat::choices(512);
    static constexpr auto encoder_heads = hat::choices(4);
    static constexpr auto decoder_embed = hat::choices(256);
    static constexpr auto decoder_layers = hat::choices(3);
    static constexpr auto decoder_ffn = hat::choices(512);
    static constexpr auto decoder_heads = hat::choices(4);
    static constexpr auto cross_heads = hat::choices(4);
    static constexpr auto cross_span = hat::choices(1);
    static constexpr auto qkv = hat::choices(256);
};

/// Four batches of `sentences` pairs of `length` random tokens a side.
std::shared_ptr<const hat::Batches> corpus() {
    hat::Rng rng(1);
    const auto side = [&] {
        hat::Ragged text;
        for (std::size_t i = 0; i < 4 * sentences; ++i) {
            std::vector<std::int32_t> sentence(length, hat::SpecialTokens::eos);
            for (std::size_t t = 0; t + 1 < length; ++t)
                sentence[t] = hat::SpecialTokens::count +
                              static_cast<std::int32_t>(rng.below(vocabulary - hat::SpecialTokens::count));
            text.push_back(sentence);
        }
        return text;
    };
    auto source = side(), target = side();
    return std::make_shared<const hat::Batches>(std::move(source), std::move(target),
                                                hat::BatchOptions{.max_tokens = sentences * length});
}

/// What a step cannot do without: the forward pass's products (causal attention: only the pairs that see each other),
/// and twice as much for the gradients of both operands.
double necessary_flops(const hat::RuntimeArch& arch) {
    const hat::CostOptions options{
        .source_length = length, .target_length = length, .source_vocab = vocabulary, .target_vocab = vocabulary};
    const hat::Cost cost = hat::cost(arch, options);
    const auto hidden_pairs = static_cast<double>(length * (length - 1) / 2);
    const double hidden = 4 * hidden_pairs * std::accumulate(arch.decoder.qkv.begin(), arch.decoder.qkv.end(), 0.0);
    return 3 * static_cast<double>(sentences) * (static_cast<double>(cost.flops + cost.output_flops) - hidden);
}

hat::Weights<float> weights_of(const hat::RuntimeArch& arch) {
    hat::TransformerConfig config;
    config.shape = arch;
    config.source_vocab = config.target_vocab = vocabulary;
    hat::Weights<float> weights(config);
    weights.initialize(1);
    return weights;
}

hat::TrainerOptions options_until(const std::atomic<bool>& stop) {
    hat::TrainerOptions options;
    options.schedule = hat::InverseSquareRootSchedule{};
    options.label_smoothing = 0.1;
    options.dropout = options.attention_dropout = options.activation_dropout = dropout;
    options.max_updates = 1000000;
    options.stop = &stop;
    return options;
}

void step(benchmark::State& state, const hat::RuntimeArch& arch, hat::Precision precision) {
    auto weights = weights_of(arch);
    std::atomic<bool> stop = false;
    auto options = options_until(stop);
    options.precision = precision;
    hat::Trainer trainer(weights, hat::fixed_task(arch, hat::batch_source(corpus()), {}), options,
                         hat::ThreadPool(static_cast<std::size_t>(state.range(0))));
    // two updates warm up (the second still touches new memory: activations move into one block); KeepRunning() starts
    // the clock when it is first asked
    hat::TrainingObserver observer;
    observer.updated = [&](const hat::TrainingProgress& p) { stop = p.update >= 2 && !state.KeepRunning(); };
    trainer.run(observer);

    const double tokens = sentences * length;
    state.counters["target_tokens/s"] = benchmark::Counter(tokens, benchmark::Counter::kIsIterationInvariantRate);
    state.counters["peak_MiB"] = bench::peak_rss();
    bench::rate(state, "GFLOP/s", necessary_flops(arch));
}

/// Steps of one thread in each precision, in turns of two after two that warm up; the best of each counts.
void precisions(benchmark::State& state, const hat::RuntimeArch& arch) {
    const auto turn = [&](hat::Precision precision) {
        auto weights = weights_of(arch);
        std::atomic<bool> stop = false;
        auto options = options_until(stop);
        options.precision = precision;
        hat::Trainer trainer(weights, hat::fixed_task(arch, hat::batch_source(corpus()), {}), options);
        double best = std::numeric_limits<double>::infinity(), begin = 0;
        hat::TrainingObserver observer;
        observer.updated = [&](const hat::TrainingProgress& p) {
            const double now = bench::thread_seconds();
            if (p.update > 2) best = std::min(best, now - begin);
            stop = p.update == 4;
            begin = bench::thread_seconds();
        };
        trainer.run(observer);
        return best;
    };
    std::map<hat::Precision, double> seconds;
    for (auto _ : state)
        for (const hat::Precision p : bench::precisions()) {
            const double now = turn(p);
            const auto [best, first] = seconds.try_emplace(p, now);
            best->second = std::min(best->second, now);
        }
    for (const auto& [p, best] : seconds) {
        state.counters[std::string(hat::name_of(p)) + "_tokens/s"] = sentences * length / best;
        state.counters[std::string(hat::name_of(p)) + "_GFLOP/s"] = necessary_flops(arch) / best * 1e-9;
    }
}

void add(const std::string& shape, const hat::RuntimeArch& arch) {
    benchmark::RegisterBenchmark(("precision/" + shape).c_str(),
                                 [arch](benchmark::State& state) { precisions(state, arch); })
        ->Iterations(3)
        ->Unit(benchmark::kMillisecond);
    for (const hat::Precision precision : bench::precisions())
        for (const int threads : {1, 2}) {
            if (precision == hat::Precision::bf16) continue;
            const std::string name = "training/" + shape + "/" + std::string(hat::name_of(precision));
            auto* b = benchmark::RegisterBenchmark(
                name.c_str(), [arch, precision](benchmark::State& state) { step(state, arch, precision); });
            b->ArgName("threads")->Arg(threads)->Iterations(4)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime();
            if (threads > 1) b->UseRealTime();  // one thread: CPU time, which a busy machine disturbs less
        }
}

}  // namespace

int main(int argc, char** argv) {
    bench::register_limits({});
    add("small", hat::to_runtime(hat::Space<Small>{}.largest()));
    add("iwslt", hat::to_runtime(hat::Space<hat::Iwslt14DeEn>{}.largest()));
    return bench::run(argc, argv);
}
