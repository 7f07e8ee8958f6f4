// A learned latency: features of networks, a regressor, and the policy made of both.
#include <hat/latency/linear.hpp>
#include <hat/latency/metrics.hpp>
#include <hat/latency/predicted.hpp>
#include <hat/space/features.hpp>
#include <hat/space/presets.hpp>
#include <iostream>
#include <limits>

using Space = hat::Space<hat::Iwslt14DeEn>;

struct DecoderFeatures {  // two numbers: enough for a device whose time goes to the decoder
    std::array<float, 2> operator()(const Space::Arch& a) const {
        double ffn = 0;
        for (const int f : a.decoder.ffn) ffn += f;  // layers that are not there are zero
        return {static_cast<float>(a.decoder.layers), static_cast<float>(ffn / 1000)};
    }
};
static_assert(hat::FeatureMap<DecoderFeatures, Space::Arch>);

struct Nearest {  // answers with the latency of the most similar network that was measured
    std::vector<float> x, y;

    void fit(std::span<const float> rows, std::span<const float> targets) {
        x.assign(rows.begin(), rows.end());
        y.assign(targets.begin(), targets.end());
    }
    float predict(std::span<const float> row) const {
        float best = std::numeric_limits<float>::infinity(), answer = 0;
        for (std::size_t i = 0; i < y.size(); ++i) {
            float distance = 0;
            for (std::size_t j = 0; j < row.size(); ++j) distance += std::abs(row[j] - x[i * row.size() + j]);
            if (distance < best) best = distance, answer = y[i];
        }
        return answer;
    }
};
static_assert(hat::Regressor<Nearest>);

// Stands for the device: what a measurement of this network would give.
double device(const Space::Arch& a) {
    double ms = 2.0 + 0.01 * a.encoder.embed + 1.5 * a.decoder.layers;
    for (const int f : a.decoder.ffn) ms += f / 1000.0;
    return ms;
}

// Learns from `rows` random networks and returns the mean error on as many others, in per cent.
template <class Latency>
double error_after(int rows, Latency latency) {
    hat::Rng rng(7);
    std::vector<Space::Arch> archs;
    std::vector<double> milliseconds;
    for (int i = 0; i < rows; ++i) {
        archs.push_back(Space{}.random_network(rng));
        milliseconds.push_back(device(archs.back()));
    }
    latency.fit(archs, milliseconds);

    std::vector<double> truth, predicted;
    for (int i = 0; i < rows; ++i) {
        const auto arch = Space{}.random_network(rng);
        truth.push_back(device(arch));
        predicted.push_back(latency(arch).count());
    }
    return hat::mape(truth, predicted);
}

int main() {
    const double line = error_after(50, hat::PredictedLatency<hat::Ridge, hat::OperationFeatures>{});
    const double own = error_after(50, hat::PredictedLatency<Nearest, DecoderFeatures>{});
    std::cout << "ridge on operation counts: " << line << " %, nearest on two numbers: " << own << " %\n";
    return line < 5 && own < 10 ? 0 : 1;
}
