// A space with axes that hat has never heard of: beside the network, the bits of its weights and the width of its beam.
#include <algorithm>
#include <hat/search/searcher.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <iostream>

using Networks = hat::Space<hat::Iwslt14DeEn>;

struct Design {
    Networks::Arch network;
    int bits, beam;
};

hat::ArchKey arch_key(const Design& d) {  // equal keys are one design
    auto key = hat::arch_key(d.network);
    key.insert(key.end(), {d.bits, d.beam});
    return key;
}

struct Designs {
    static constexpr int bits[] = {8, 4, 3}, beams[] = {5, 2, 1};
    static constexpr std::size_t own = 2;  // entries in front of the network's

    using Arch = Design;
    using Gene = std::array<std::uint8_t, own + std::tuple_size_v<Networks::Gene>>;

    Gene cardinality() const {
        Gene gene{std::size(bits), std::size(beams)};
        std::ranges::copy(Networks{}.cardinality(), gene.begin() + own);
        return gene;
    }
    Design decode(const Gene& gene) const {
        Networks::Gene network;
        std::copy(gene.begin() + own, gene.end(), network.begin());
        return {Networks{}.decode(network), bits[gene[0]], beams[gene[1]]};
    }
};
static_assert(hat::SearchSpace<Designs>);

struct Bandwidth {  // every word reads all weights once, and each hypothesis of the beam costs a little more
    hat::Milliseconds operator()(const Design& d) const {
        const double megabytes = static_cast<double>(hat::count_params(d.network)) * d.bits / 8e6;
        return hat::Milliseconds(20 * megabytes * (1 + 0.1 * d.beam));
    }
};

struct StandInLoss {  // stands for an evaluation of the quantized model; it says nothing about translation quality
    double operator()(const Design& d) const {
        const auto params = static_cast<double>(hat::count_params(d.network));
        return 3 + 1e7 / params + 1.0 / (1 << d.bits) + 0.05 / d.beam;
    }
};

struct Policy : hat::SearchDefaults {
    Designs space;
    Bandwidth latency;
    StandInLoss fitness;
};

int main() {
    const hat::Milliseconds limit{300};
    const auto found = hat::Searcher{Policy{}}.run({.latency = limit}, /*seed=*/1);
    std::cout << found.arch.bits << " bits, beam " << found.arch.beam << ": " << found.latency.count() << " ms, loss "
              << found.loss << "\n";
    // in 8 bits only the smaller networks meet the limit; fewer bits make room for more layers
    return found.latency <= limit && found.arch.bits < 8 ? 0 : 1;
}
