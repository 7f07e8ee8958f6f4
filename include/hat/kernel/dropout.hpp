#pragma once
/// \file
/// Dropout whose masks are a pure function of (seed, element): nothing is stored, any thread can make any part.

#include <cstddef>
#include <cstdint>
#include <hat/core/extent.hpp>
#include <hat/core/rng.hpp>
#include <hat/kernel/parallel.hpp>

namespace hat {

/// One dropout site of one step: standard inverted dropout, survivors are multiplied by 1 / (1 - rate).
struct Dropout {
    double rate = 0;        ///< share of elements that become zero
    std::uint64_t key = 0;  ///< of the mask

    /// Whether anything is dropped at all.
    bool active() const { return rate > 0; }
    /// The factor of element i: 0 or 1 / (1 - rate).
    template <class T>
    T factor(std::uint32_t i) const {
        return keep(i) ? static_cast<T>(1.0 / (1.0 - rate)) : T(0);
    }
    /// Whether element i survives.
    bool keep(std::uint32_t i) const { return hash(i) >= threshold(); }

    /// values[i] *= factor(first + i)
    template <class T>
    void apply(T* values, std::size_t n, std::uint32_t first) const {
        const T scale = static_cast<T>(1.0 / (1.0 - rate));
        const std::uint32_t limit = threshold(), low = static_cast<std::uint32_t>(key),
                            high = static_cast<std::uint32_t>(key >> 32);
        for (std::size_t i = 0; i < n; ++i)
            values[i] = mix(first + static_cast<std::uint32_t>(i), low, high) >= limit ? values[i] * scale : T(0);
    }

private:
    std::uint32_t threshold() const { return static_cast<std::uint32_t>(rate * 4294967296.0); }
    std::uint32_t hash(std::uint32_t i) const {
        return mix(i, static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32));
    }
    /// A 32-bit finaliser of two multiply-xorshift rounds, keyed before and between.
    static std::uint32_t mix(std::uint32_t i, std::uint32_t low, std::uint32_t high) {
        std::uint32_t h = i * 0x9E3779B1U + low;
        h ^= h >> 16;
        h *= 0x7FEB352DU;
        h ^= (h >> 15) + high;
        h *= 0x846CA68BU;
        h ^= h >> 16;
        return h;
    }
};

/// Multiplies every element by its factor; element (r, c) has number r * columns + c. Forward and backward alike.
template <class T, ExecutorPolicy E>
void apply_dropout(const E& executor, View<T> x, const Dropout& dropout) {
    if (!dropout.active()) return;
    parallel_rows(executor, x.rows, 4 * x.cols, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r)
            dropout.apply(x.row(r), x.cols, static_cast<std::uint32_t>(r * x.cols));
    });
}

}  // namespace hat
