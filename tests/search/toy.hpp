#pragma once
/// A space small enough to look at every network, with made-up latency and loss: what the search tests run on.

#include <array>
#include <cstdint>
#include <hat/core/rng.hpp>
#include <hat/search/searcher.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/concepts.hpp>
#include <limits>
#include <optional>
#include <vector>

namespace toy {

using Arch = hat::Arch<1, 3>;

/// 2 widths x 3 depths x (3 ffn)^depth x (2 heads)^depth: 2 * (6 + 36 + 216) = 516 networks, 1296 genes.
template <class GeneType>
struct Space {
    using Arch = toy::Arch;
    using Gene = GeneType;
    static constexpr std::size_t size = 8;

    Gene cardinality() const { return make({2, 3, 3, 3, 3, 2, 2, 2}); }
    Arch decode(const Gene& g) const {
        Arch a{};
        a.encoder = {.embed = 64, .layers = 1, .ffn = {128}, .qkv = {64}, .self_heads = {2}};
        a.decoder.embed = g[0] ? 96 : 64;
        a.decoder.layers = 1 + g[1];
        for (std::size_t i = 0; i < 3; ++i) {
            a.decoder.ffn[i] = 64 * (1 + g[2 + i]);
            a.decoder.self_heads[i] = 2 << g[5 + i];
        }
        return hat::canonical(a);
    }
    static Gene make(std::array<std::uint8_t, size> values) {
        Gene g{};
        if constexpr (requires { g.resize(size); }) g.resize(size);
        for (std::size_t i = 0; i < size; ++i) g[i] = values[i];
        return g;
    }
};

using ArraySpace = Space<std::array<std::uint8_t, 8>>;
using VectorSpace = Space<std::vector<std::uint8_t>>;

/// Deeper and wider is slower; between 1 + 0.5 + 0.5 = 2 ms and 1 + 1.5 + ... ms.
struct Latency {
    hat::Milliseconds operator()(const Arch& a) const {
        double t = a.decoder.embed / 64.0;
        for (const int f : a.decoder.ffn) t += f / 128.0;
        return hat::Milliseconds(t + 0.5 * a.decoder.layers);
    }
};

/// Larger is mostly better, with a rugged part, so that neighbours say little.
struct Fitness {
    double operator()(const Arch& a) const {
        double loss = 9.0 - 0.6 * a.decoder.layers - a.decoder.embed / 100.0;
        int mixed = a.decoder.embed;
        for (std::size_t i = 0; i < 3; ++i) {
            loss -= a.decoder.ffn[i] / 400.0;
            mixed = mixed * 7 + a.decoder.ffn[i] * 3 + a.decoder.self_heads[i];
        }
        return loss + 0.2 * static_cast<double>(hat::mix64(static_cast<std::uint64_t>(mixed)) % 100) / 100.0;
    }
};

struct Policy : hat::SearchDefaults {
    ArraySpace space;
    Latency latency;
    Fitness fitness;
};

/// The smallest loss at or below the limit, by looking at every gene.
inline double optimum(hat::Milliseconds limit) {
    const ArraySpace space;
    const auto n = space.cardinality();
    ArraySpace::Gene g{};
    double best = std::numeric_limits<double>::infinity();
    for (;;) {
        const Arch a = space.decode(g);
        if (Latency{}(a) <= limit) best = std::min(best, Fitness{}(a));
        std::size_t i = 0;
        while (i < g.size() && ++g[i] == n[i]) g[i++] = 0;
        if (i == g.size()) return best;
    }
}

}  // namespace toy
