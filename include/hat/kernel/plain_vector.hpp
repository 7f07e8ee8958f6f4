#pragma once
/// \file
/// A vector of g++ and clang themselves, for machines and types that xsimd has no vectors for, with the operations of
/// `kernel/simd.hpp`, which includes it.

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace hat::simd {

/// 16 bytes of numbers: as many as in the smallest vectors of xsimd, so that kernels take the same paths. The
/// compiler operates on them one by one where the machine has no vectors.
template <class T>
struct Plain {
    static constexpr std::size_t size = 16 / sizeof(T);  ///< numbers in it
    using Lanes [[gnu::vector_size(16)]] = T;            ///< the compiler's vector
    Lanes lane;                                          ///< in order

    Plain() = default;
    /// x in every lane.
    explicit Plain(T x) {
        if constexpr (size == 4)
            lane = Lanes{x, x, x, x};
        else
            lane = Lanes{x, x};
    }
    /// These lanes.
    static Plain of(const Lanes& lanes) {
        Plain v;
        v.lane = lanes;
        return v;
    }
    /// f(i) in lane i.
    template <class F>
    static Plain each(F&& f) {
        Plain v;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < size; ++i) v.lane[i] = f(i);
        return v;
    }
    /// `size` numbers from p, aligned or not.
    static Plain load_unaligned(const T* p) {
        Plain v;
        std::memcpy(&v.lane, p, sizeof v.lane);
        return v;
    }
    /// As load_unaligned().
    static Plain load_aligned(const T* p) { return load_unaligned(p); }
    /// Writes `size` numbers to p, aligned or not.
    void store_unaligned(T* p) const { std::memcpy(p, &lane, sizeof lane); }
    /// As store_unaligned().
    void store_aligned(T* p) const { store_unaligned(p); }

    /// Lane by lane.
    friend Plain operator+(const Plain& a, const Plain& b) { return of(a.lane + b.lane); }
    /// Lane by lane.
    friend Plain operator-(const Plain& a, const Plain& b) { return of(a.lane - b.lane); }
    /// Lane by lane.
    friend Plain operator*(const Plain& a, const Plain& b) { return of(a.lane * b.lane); }
    /// Lane by lane.
    friend Plain operator/(const Plain& a, const Plain& b) { return of(a.lane / b.lane); }
};

/// Whether the machine has an instruction for a * b + c with one rounding; elsewhere std::fma is a slow call.
template <class T>
inline constexpr bool fuses =
#if defined(__FMA__) || defined(__FP_FAST_FMA)
    true;
#elif defined(__ARM_FEATURE_FMA) && defined(__ARM_FP)
    sizeof(T) == 4 || (__ARM_FP & 8) != 0;
#elif defined(__riscv_flen)
    sizeof(T) * 8 <= __riscv_flen;
#elif defined(__FP_FAST_FMAF)
    sizeof(T) == 4;
#else
    false;
#endif

/// a * b + c, with one rounding where the machine fuses them.
template <class T>
inline Plain<T> fma(const Plain<T>& a, const Plain<T>& b, const Plain<T>& c) {
    if constexpr (fuses<T>) {
        return Plain<T>::each([&](std::size_t i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
    } else {
        const Plain<T> product = a * b;
        return product + c;
    }
}
/// The larger one in each lane; b's where either is NaN.
template <class T>
inline Plain<T> max(const Plain<T>& a, const Plain<T>& b) {
    return Plain<T>::of(a.lane > b.lane ? a.lane : b.lane);
}
/// The magnitude of each lane.
template <class T>
inline Plain<T> abs(const Plain<T>& a) {
    return Plain<T>::each([&](std::size_t i) { return std::fabs(a.lane[i]); });
}
/// a where x is below the limit, else (also for a NaN) b.
template <class T>
inline Plain<T> where_below(const Plain<T>& x, T limit, const Plain<T>& a, const Plain<T>& b) {
    return Plain<T>::of(x.lane < Plain<T>(limit).lane ? a.lane : b.lane);
}
/// e to the power of each lane.
template <std::same_as<double> T>
inline Plain<T> exp(const Plain<T>& a) {
    return Plain<T>::each([&](std::size_t i) { return std::exp(a.lane[i]); });
}
/// The float with the bits (n + bias) * 2^23 in each lane, where those of x are n + 1.5 * 2^23: 2^(n + bias - 127).
inline Plain<float> power_of_two(const Plain<float>& x, std::int32_t bias) {
    return Plain<float>::each([&](std::size_t i) {
        const auto bits = std::bit_cast<std::uint32_t>(x.lane[i]);
        return std::bit_cast<float>((bits << 23U) + (static_cast<std::uint32_t>(bias) << 23U));
    });
}
/// The square root of each lane, correctly rounded.
template <class T>
inline Plain<T> sqrt(const Plain<T>& a) {
    return Plain<T>::each([&](std::size_t i) { return std::sqrt(a.lane[i]); });
}
/// x where the condition is positive, else zero.
template <class T>
inline Plain<T> where_positive(const Plain<T>& condition, const Plain<T>& x) {
    return Plain<T>::each([&](std::size_t i) { return condition.lane[i] > T(0) ? x.lane[i] : T(0); });
}
/// The sum over the lanes: neighbours, then their sums.
template <class T>
inline T sum(const Plain<T>& v) {
    if constexpr (Plain<T>::size == 4)
        return (v.lane[0] + v.lane[1]) + (v.lane[2] + v.lane[3]);
    else
        return v.lane[0] + v.lane[1];
}
/// The largest lane.
template <class T>
inline T max_lane(const Plain<T>& v) {
    T m = v.lane[0];
    for (std::size_t i = 1; i < Plain<T>::size; ++i) m = v.lane[i] > m ? v.lane[i] : m;
    return m;
}
/// The first halves of two vectors, interleaved: a0 b0 a1 b1 ...
template <class T>
inline Plain<T> interleave_low(const Plain<T>& a, const Plain<T>& b) {
    return Plain<T>::each([&](std::size_t i) { return (i % 2 ? b : a).lane[i / 2]; });
}
/// The second halves, see interleave_low().
template <class T>
inline Plain<T> interleave_high(const Plain<T>& a, const Plain<T>& b) {
    return Plain<T>::each([&](std::size_t i) { return (i % 2 ? b : a).lane[(Plain<T>::size + i) / 2]; });
}

}  // namespace hat::simd
