#pragma once
/// \file
/// The only file that includes xsimd. It absorbs what differs between 8.1 and 14 (hadd became reduce_add in 9; fma, NaN
/// in max, interleaving: see there), uses nothing else that changed, and lends intrinsics a portable twin.

#include <concepts>
#include <cstddef>
#include <xsimd/xsimd.hpp>
#if defined(__AVX__)
#include <immintrin.h>
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "hat: -ffast-math reorders sums and forgets the infinities that masks are made of; compile without it"
#endif

namespace hat::simd {

/// The machine's widest vector of T.
template <class T>
using Vec = xsimd::batch<T>;

/// Numbers in a vector.
template <class T>
inline constexpr std::size_t width = Vec<T>::size;

/// Vector registers of the instruction set: decides how large a register block of a product may be.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr std::size_t registers = 32;
#else
inline constexpr std::size_t registers = 16;
#endif

/// width<T> numbers from p, aligned or not.
template <class T>
inline Vec<T> load(const T* p) {
    return Vec<T>::load_unaligned(p);
}
/// Writes width<T> numbers to p, aligned or not.
template <class T>
inline void store(T* p, const Vec<T>& v) {
    v.store_unaligned(p);
}
/// x in every lane.
template <class T>
inline Vec<T> splat(T x) {
    return Vec<T>(x);
}
/// Zero in every lane.
template <class T>
inline Vec<T> zero() {
    return Vec<T>(T(0));
}
/// a * b + c with one rounding where the instruction set has it; kernels never write a * b + c otherwise, because
/// compilers contract that as they please. xsimd 8.1 multiplies and adds apart on AVX-512, hence the intrinsics.
template <class T>
inline Vec<T> fma(const Vec<T>& a, const Vec<T>& b, const Vec<T>& c) {
#if defined(__AVX512F__)
    if constexpr (std::same_as<T, float> && width<T> == 16)
        return _mm512_fmadd_ps(a, b, c);
    else if constexpr (std::same_as<T, double> && width<T> == 8)
        return _mm512_fmadd_pd(a, b, c);
    else
#endif
        return xsimd::fma(a, b, c);
}
/// The larger one in each lane; b's where either is NaN.
template <class T>
inline Vec<T> max(const Vec<T>& a, const Vec<T>& b) {
    return xsimd::select(a > b, a, b);  // xsimd::max treats a NaN differently from version to version
}
/// e to the power of each lane.
template <class T>
inline Vec<T> exp(const Vec<T>& a) {
    return xsimd::exp(a);
}
/// The square root of each lane.
template <class T>
inline Vec<T> sqrt(const Vec<T>& a) {
    return xsimd::sqrt(a);
}

/// x where the condition is positive, else zero.
template <class T>
inline Vec<T> where_positive(const Vec<T>& condition, const Vec<T>& x) {
    return xsimd::select(condition > zero<T>(), x, zero<T>());
}

/// The sum over the lanes, in one fixed order.
template <class T>
inline T sum(const Vec<T>& v) {
    if constexpr (requires { reduce_add(v); })
        return reduce_add(v);
    else
        return hadd(v);
}
/// The largest lane.
template <class T>
inline T max_lane(const Vec<T>& v) {
    alignas(64) T lanes[width<T>];
    v.store_aligned(lanes);
    T m = lanes[0];
    for (std::size_t i = 1; i < width<T>; ++i) m = lanes[i] > m ? lanes[i] : m;
    return m;
}

/// The first (second) halves of two vectors, interleaved: a0 b0 a1 b1 ... xsimd 8.1 interleaves within 128 bits on AVX
/// and AVX-512, hence the intrinsics.
template <class T>
inline Vec<T> interleave_low(const Vec<T>& a, const Vec<T>& b) {
#if defined(__AVX512F__)
    if constexpr (std::same_as<T, float> && width<T> == 16)
        return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
    if constexpr (std::same_as<T, double> && width<T> == 8)
        return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
#elif defined(__AVX__)
    if constexpr (std::same_as<T, float> && width<T> == 8)
        return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
    if constexpr (std::same_as<T, double> && width<T> == 4)
        return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x20);
#endif
    return xsimd::zip_lo(a, b);
}
/// The second halves, see interleave_low().
template <class T>
inline Vec<T> interleave_high(const Vec<T>& a, const Vec<T>& b) {
#if defined(__AVX512F__)
    if constexpr (std::same_as<T, float> && width<T> == 16)
        return _mm512_permutex2var_ps(
            a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
    if constexpr (std::same_as<T, double> && width<T> == 8)
        return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
#elif defined(__AVX__)
    if constexpr (std::same_as<T, float> && width<T> == 8)
        return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
    if constexpr (std::same_as<T, double> && width<T> == 4)
        return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x31);
#endif
    return xsimd::zip_hi(a, b);
}

/// The portable twin of load_partial: the first n numbers, zeros (or `rest`) behind them.
template <class T>
inline Vec<T> load_partial_portable(const T* p, std::size_t n, T rest = T(0)) {
    alignas(64) T lanes[width<T>];
    for (std::size_t i = 0; i < width<T>; ++i) lanes[i] = i < n ? p[i] : rest;
    return Vec<T>::load_aligned(lanes);
}
/// The portable twin of store_partial.
template <class T>
inline void store_partial_portable(T* p, const Vec<T>& v, std::size_t n) {
    alignas(64) T lanes[width<T>];
    v.store_aligned(lanes);
    for (std::size_t i = 0; i < n; ++i) p[i] = lanes[i];
}

/// The first n < width numbers, `rest` behind them; reads nothing past p[n - 1].
template <class T>
inline Vec<T> load_partial(const T* p, std::size_t n, T rest = T(0)) {
#if defined(__AVX512F__)
    if constexpr (std::same_as<T, float> && width<T> == 16)
        return _mm512_mask_loadu_ps(_mm512_set1_ps(rest), static_cast<__mmask16>((1U << n) - 1U), p);
    else if constexpr (std::same_as<T, double> && width<T> == 8)
        return _mm512_mask_loadu_pd(_mm512_set1_pd(rest), static_cast<__mmask8>((1U << n) - 1U), p);
    else
#endif
        return load_partial_portable(p, n, rest);
}
/// Writes the first n < width numbers and nothing behind them.
template <class T>
inline void store_partial(T* p, const Vec<T>& v, std::size_t n) {
#if defined(__AVX512F__)
    if constexpr (std::same_as<T, float> && width<T> == 16)
        _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1U), v);
    else if constexpr (std::same_as<T, double> && width<T> == 8)
        _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1U << n) - 1U), v);
    else
#endif
        store_partial_portable(p, v, n);
}

/// The portable twin of transpose.
template <class T>
inline void transpose_portable(const T* in, std::size_t stride, std::size_t rows, std::size_t cols, T* out,
                               std::size_t out_stride) {
    for (std::size_t c = 0; c < cols; ++c)
        for (std::size_t r = 0; r < width<T>; ++r) out[c * out_stride + r] = r < rows ? in[r * stride + c] : T(0);
}
/// Writes `cols` <= width vectors: vector c at out + c * out_stride holds column c of the `rows` <= width rows at `in`,
/// zeros behind them. Reads nothing outside the block.
template <class T>
inline void transpose(const T* in, std::size_t stride, std::size_t rows, std::size_t cols, T* out,
                      std::size_t out_stride) {
    constexpr std::size_t W = width<T>;
    if constexpr (requires(Vec<T> v) { xsimd::zip_lo(v, v); } && (W & (W - 1)) == 0) {
        // log2(W) perfect shuffles: each interleaves vector i with vector i + W / 2
        Vec<T> v[W], next[W];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < W; ++r)
            v[r] = r >= rows ? zero<T>() : cols == W ? load(in + r * stride) : load_partial(in + r * stride, cols);
#pragma GCC unroll 4
        for (std::size_t step = 1; step < W; step *= 2) {
#pragma GCC unroll 16
            for (std::size_t i = 0; i < W / 2; ++i) {
                next[2 * i] = interleave_low(v[i], v[i + W / 2]);
                next[2 * i + 1] = interleave_high(v[i], v[i + W / 2]);
            }
#pragma GCC unroll 16
            for (std::size_t i = 0; i < W; ++i) v[i] = next[i];
        }
        if (cols == W) {
#pragma GCC unroll 16
            for (std::size_t c = 0; c < W; ++c) store(out + c * out_stride, v[c]);
        } else {
#pragma GCC unroll 16
            for (std::size_t c = 0; c < W; ++c)
                if (c < cols) store(out + c * out_stride, v[c]);
        }
    } else {
        transpose_portable(in, stride, rows, cols, out, out_stride);
    }
}

/// Calls body(i, load, store) over [0, n) in vectors; the last, partial one reads and writes through masks, so that
/// tails go through the same instructions as everything else. `load(p)` and `store(p, v)` take base pointers.
template <class T, class Body>
inline void for_each_vector(std::size_t n, Body&& body) {
    std::size_t i = 0;
    for (; i + width<T> <= n; i += width<T>)
        body([i](const T* p, T = T(0)) { return load(p + i); }, [i](T* p, const Vec<T>& v) { store(p + i, v); });
    if (const std::size_t rest = n - i; rest != 0)
        body([i, rest](const T* p, T fill = T(0)) { return load_partial(p + i, rest, fill); },
             [i, rest](T* p, const Vec<T>& v) { store_partial(p + i, v, rest); });
}

}  // namespace hat::simd
