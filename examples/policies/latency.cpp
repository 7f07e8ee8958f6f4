// Latency policies that need no measurements: a formula, a table of what is known, a described device.
#include <array>
#include <cstdint>
#include <hat/latency/lookup.hpp>
#include <hat/latency/roofline.hpp>
#include <hat/search/searcher.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <iostream>

using Space = hat::Space<hat::Iwslt14DeEn>;

struct FlopsLatency {  // a device of so many GFLOP/s that needs a moment to start each layer
    double gflops = 20;
    hat::Milliseconds per_layer{0.1};

    hat::Milliseconds operator()(const Space::Arch& a) const {
        const auto flops = static_cast<double>(hat::count_flops(a, /*source_length=*/20, /*target_length=*/20));
        return hat::Milliseconds(flops / (gflops * 1e6)) + (a.encoder.layers + 20 * a.decoder.layers) * per_layer;
    }
};
static_assert(hat::LatencyPolicy<FlopsLatency, Space::Arch>);  // say what is wrong here, not in the searcher

struct DepthOnly {  // six networks: the largest one with 1 to 6 decoder layers
    using Arch = Space::Arch;
    using Gene = std::array<std::uint8_t, 1>;

    Gene cardinality() const { return {6}; }
    Arch decode(const Gene& gene) const {
        Arch a = Space{}.largest();
        a.decoder.layers = gene[0] + 1;
        return hat::canonical(a);
    }
};

struct Deepest {
    double operator()(const Space::Arch& a) const { return -a.decoder.layers; }
};

template <class Latency>
struct Policy : hat::SearchDefaults {
    DepthOnly space;
    Latency latency;
    Deepest fitness;
};

template <class Latency>
int best_depth(const Latency& latency, hat::Milliseconds limit) {
    const hat::Searcher searcher{Policy<Latency>{{}, {}, latency, {}}};
    const auto found = searcher.run({.latency = limit, .population = 6, .parents = 2, .iterations = 2}, /*seed=*/1);
    std::cout << found.arch.decoder.layers << " decoder layers take " << found.latency.count() << " ms\n";
    return found.arch.decoder.layers;
}

int main() {
    const double measured[] = {9.1, 14.8, 20.6, 26.2, 32.1, 37.7};  // ms, with 1 to 6 decoder layers
    hat::Table<Space::Arch> table;
    for (std::uint8_t i = 0; i < 6; ++i) table.set(DepthOnly{}.decode({i}), hat::Milliseconds(measured[i]));

    // a board that nobody has yet: what it should reach, and 8-bit weights
    const hat::RooflineDevice board{.flops = 24e9, .bandwidth = 4e9, .cache_bytes = 1e6, .cache_bandwidth = 20e9};
    const hat::Roofline roofline(board, {.beam = 4, .vocab = 8000, .bytes_per_weight = 1});

    const bool good =
        best_depth(table, hat::Milliseconds(30)) == 4 && best_depth(roofline, hat::Milliseconds(300)) == 3;
    return good && best_depth(FlopsLatency{}, hat::Milliseconds(130)) == 5 ? 0 : 1;
}
