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
        const std::uint32_t limit = threshold(), high = static_cast<std::uint32_t>(key >> 32);
        const auto one = [&](T& value, std::uint32_t h) { value = mix(h, high) >= limit ? value * scale : T(0); };
        // loops of a length that it knows are what g++ makes vectors of with -O2, too
        constexpr std::uint32_t block = 32;
        std::uint32_t h = start(first);
        T* const end = values + n;
        for (T* const blocks = values + n / block * block; values != blocks; values += block, h += block * step)
            for (std::uint32_t j = 0; j < block; ++j) one(values[j], h + j * step);
        for (; values != end; ++values, h += step) one(*values, h);
    }

private:
    std::uint32_t threshold() const { return static_cast<std::uint32_t>(rate * 4294967296.0); }
    /// A 32-bit finaliser of two multiply-xorshift rounds, keyed before (in start()) and between.
    std::uint32_t hash(std::uint32_t i) const { return mix(start(i), static_cast<std::uint32_t>(key >> 32)); }
    static constexpr std::uint32_t step = 0x9E3779B1U;  // from what is mixed for an element to the next one's
    std::uint32_t start(std::uint32_t i) const { return i * step + static_cast<std::uint32_t>(key); }
    static std::uint32_t mix(std::uint32_t h, std::uint32_t high) {
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
