#pragma once
/// \file
/// Small seeded random numbers that are equal on every platform, standard library and number of threads.

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace hat {

/// SplitMix64 (Steele, Lea, Flood 2014): mixes 64 bits; also used to derive independent seeds.
constexpr std::uint64_t mix64(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

/// A seed for stream `stream` of `seed`; streams of one seed are independent.
constexpr std::uint64_t derive_seed(std::uint64_t seed, std::uint64_t stream) {
    return mix64(mix64(seed + 0x9E3779B97F4A7C15ULL) ^ mix64(stream + 0xD1B54A32D192ED03ULL));
}

/// Seeded generator of one 64-bit state: copy it or store `state` to continue exactly where it was.
class Rng {
public:
    /// The same seed gives the same numbers.
    constexpr explicit Rng(std::uint64_t seed = 1) : state_(seed) {}

    /// The next 64 random bits.
    constexpr std::uint64_t next() { return mix64(state_ += 0x9E3779B97F4A7C15ULL); }
    /// Uniform in [0, n), unbiased; n must be positive.
    constexpr std::uint64_t below(std::uint64_t n) {
        const std::uint64_t limit = (0 - n) % n;  // 2^64 mod n: reject the short tail
        for (;;)
            if (const std::uint64_t x = next(); x >= limit) return x % n;
    }
    /// The same for other types, such as std::size_t where it has 32 bits.
    template <std::unsigned_integral U>
    constexpr U below(U n) {
        return static_cast<U>(below(std::uint64_t{n}));
    }
    /// Uniform in [0, 1), 53 bits.
    constexpr double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
    /// Normal with mean 0 and deviation 1 (Box-Muller, one of the pair).
    double normal() {
        const double u = 1.0 - uniform(), v = uniform();
        return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v);
    }
    /// All there is to store, for going on later.
    constexpr std::uint64_t state() const { return state_; }
    /// Goes on from a stored state().
    constexpr void set_state(std::uint64_t s) { state_ = s; }

private:
    std::uint64_t state_;
};

/// Fisher-Yates shuffle, the same on every platform (std::shuffle is not).
template <class T>
void shuffle(std::span<T> values, Rng& rng) {
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[rng.below(i)]);
}
/// The same of a whole vector.
template <class T>
void shuffle(std::vector<T>& values, Rng& rng) {
    shuffle(std::span<T>(values.data(), values.size()), rng);
}

}  // namespace hat
