// A search with a latency policy of one's own. Everything a policy has to be is a value with one const call operator.
#include <hat/hat.hpp>
#include <iostream>

using Space = hat::Space<hat::Wmt14EnDe>;  // the paper's space for WMT'14 En-De

// Latency on a device that reads its weights from memory for every word: bytes over bandwidth, plus a cost per layer.
struct BandwidthLatency {
    double gigabytes_per_second = 4;
    hat::Milliseconds per_layer{0.2};

    hat::Milliseconds operator()(const Space::Arch& a) const {
        const double words = 30;
        double floats = 0;
        for (int i = 0; i < a.decoder.layers; ++i) {
            const auto l = static_cast<std::size_t>(i);
            floats += a.decoder.embed * (2.0 * a.decoder.ffn[l] + 6.0 * a.decoder.qkv[l]);
        }
        const double seconds = words * 4 * floats / (gigabytes_per_second * 1e9);
        return hat::Milliseconds(1000 * seconds) + words * a.decoder.layers * per_layer;
    }
};

// A stand-in for the validation loss of a trained SuperTransformer, so that this example runs in a moment: larger
// networks score better, with falling returns. It says nothing about real translation quality.
struct StandInLoss {
    double operator()(const Space::Arch& a) const {
        double capacity = a.encoder.embed + a.decoder.embed;
        for (const int f : a.encoder.ffn) capacity += 0.05 * f;
        for (const int f : a.decoder.ffn) capacity += 0.10 * f;
        return 3.0 + 2000.0 / capacity;
    }
};

struct Policy : hat::SearchDefaults {  // selection, mutation and crossover are the paper's
    Space space;
    BandwidthLatency latency;
    StandInLoss fitness;
};

int main() {
    const hat::Searcher searcher{Policy{}};
    const hat::Milliseconds limit{400};
    const auto found = searcher.run({.latency = limit}, /*seed=*/1);
    std::cout << "limit " << limit.count() << " ms, found " << found.latency.count() << " ms, stand-in loss "
              << found.loss << "\n"
              << hat::describe(found.arch);
    try {
        searcher.run({.latency = hat::Milliseconds(20)}, 1);
    } catch (const hat::infeasible& e) {
        std::cout << e.what() << "\n";  // names the smallest latency this space can reach
    }
    return found.latency <= limit ? 0 : 1;
}
