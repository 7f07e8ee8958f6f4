#pragma once
/// \file
/// What identifies a network in a map: equal networks have equal keys.

#include <cstddef>
#include <cstdint>
#include <hat/core/rng.hpp>
#include <hat/space/arch.hpp>
#include <vector>

namespace hat {

/// The numbers of a canonical architecture, in one fixed order.
using ArchKey = std::vector<int>;

/// The key of an architecture. Overload it for an own architecture type (found by argument-dependent look-up).
template <std::size_t E, std::size_t D>
ArchKey arch_key(const Arch<E, D>& a) {
    ArchKey key;
    key.reserve(4 + 3 * E + 5 * D);
    const Arch<E, D> c = canonical(a);
    const auto side = [&](const auto& stack, auto... rows) {
        key.push_back(stack.embed);
        key.push_back(stack.layers);
        (key.insert(key.end(), (stack.*rows).begin(), (stack.*rows).end()), ...);
    };
    using Enc = Stack<E>;
    using Dec = Stack<D>;
    side(c.encoder, &Enc::ffn, &Enc::qkv, &Enc::self_heads);
    side(c.decoder, &Dec::ffn, &Dec::qkv, &Dec::self_heads, &Dec::cross_heads, &Dec::cross_span);
    return key;
}

/// Hash of an ArchKey, equal on every platform.
struct ArchKeyHash {
    /// A hash of all its numbers.
    std::size_t operator()(const ArchKey& key) const {
        std::uint64_t h = key.size();
        for (const int v : key) h = mix64(h * 0x9E3779B97F4A7C15ULL + static_cast<std::uint64_t>(v) + 1);
        return static_cast<std::size_t>(h);
    }
};

}  // namespace hat
