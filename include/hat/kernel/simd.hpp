#pragma once
/// \file
/// The only file that includes xsimd. It absorbs what differs between 8.1 and 14 (hadd became reduce_add in 9; fma, NaN
/// in max, interleaving: see there), uses nothing else that changed, and lends intrinsics a portable twin. What xsimd
/// has no vectors for are `Plain` ones: everything on machines without any and wherever HAT_SCALAR is defined, which
/// also keeps all intrinsics away; doubles on 32-bit ARM.

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <hat/kernel/plain_vector.hpp>
#include <limits>
#include <type_traits>
#if !defined(HAT_SCALAR)
#include <xsimd/xsimd.hpp>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#endif
#if (defined(__x86_64__) || defined(__i386__)) && !defined(HAT_SCALAR)
#include <cpuid.h>
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "hat: -ffast-math reorders sums and forgets the infinities that masks are made of; compile without it"
#endif

// what this file may use, up to its end
#if !defined(HAT_SCALAR) && !defined(XSIMD_NO_SUPPORTED_ARCHITECTURE)
#define HAT_XSIMD
#if defined(__AVX512F__)
#define HAT_AVX512
#endif
#if defined(__AVX__)
#define HAT_AVX
#endif
#if defined(__AVX2__)
#define HAT_AVX2
#endif
#if defined(__ARM_NEON)
#define HAT_NEON
#endif
#if defined(__aarch64__)
#define HAT_NEON64
#endif
#endif

namespace hat::simd {

/// Whether this processor is one of AMD's (CPUID leaf 0, whose EBX begins the maker's name); not asked with HAT_SCALAR.
inline bool made_by_amd() {
#if (defined(__x86_64__) || defined(__i386__)) && !defined(HAT_SCALAR)
    unsigned most = 0, name = 0, c = 0, d = 0;
    return __get_cpuid(0, &most, &name, &c, &d) != 0 && name == signature_AMD_ebx;
#else
    return false;
#endif
}

/// The machine's widest vector of T.
#if !defined(HAT_XSIMD)
template <class T>
using Vec = Plain<T>;
#elif defined(HAT_NEON) && !defined(HAT_NEON64)
template <class T>
using Vec = std::conditional_t<std::same_as<T, double>, Plain<T>, xsimd::batch<T>>;
#else
template <class T>
using Vec = xsimd::batch<T>;
#endif

/// Numbers in a vector.
template <class T>
inline constexpr std::size_t width = Vec<T>::size;

/// Vector registers of the instruction set: decides how large a register block of a product may be.
#if defined(HAT_AVX512) || defined(HAT_NEON64)
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
#if defined(HAT_XSIMD)  // plain_vector.hpp has the same for Plain
/// a * b + c with one rounding where the instruction set has it; kernels never write a * b + c otherwise, because
/// compilers contract that as they please. xsimd 8.1 multiplies and adds apart on AVX-512, hence the intrinsics.
template <class T>
inline xsimd::batch<T> fma(const xsimd::batch<T>& a, const xsimd::batch<T>& b, const xsimd::batch<T>& c) {
#if defined(HAT_AVX512)
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
inline xsimd::batch<T> max(const xsimd::batch<T>& a, const xsimd::batch<T>& b) {
    return xsimd::select(a > b, a, b);  // xsimd::max treats a NaN differently from version to version
}
/// The magnitude of each lane.
template <class T>
inline xsimd::batch<T> abs(const xsimd::batch<T>& a) {
    return xsimd::abs(a);
}
/// a where x is below the limit, else (also for a NaN) b.
template <class T>
inline xsimd::batch<T> where_below(const xsimd::batch<T>& x, T limit, const xsimd::batch<T>& a,
                                   const xsimd::batch<T>& b) {
    return xsimd::select(x < xsimd::batch<T>(limit), a, b);
}
/// e to the power of each lane, as xsimd has it: other bits on other machines and from version to version.
template <std::same_as<double> T>
inline xsimd::batch<T> exp(const xsimd::batch<T>& a) {
    return xsimd::exp(a);
}
/// The float with the bits (n + bias) * 2^23 in each lane, where those of x are n + 1.5 * 2^23: 2^(n + bias - 127).
inline xsimd::batch<float> power_of_two(const xsimd::batch<float>& x, std::int32_t bias) {
    const auto bits = std::bit_cast<xsimd::batch<std::int32_t>>(x);
    return std::bit_cast<xsimd::batch<float>>((bits << 23) + xsimd::batch<std::int32_t>(bias << 23));
}
/// The square root of each lane, correctly rounded: xsimd 8.1 only estimates it on ARM.
template <class T>
inline xsimd::batch<T> sqrt(const xsimd::batch<T>& a) {
#if defined(HAT_NEON64)
    if constexpr (std::same_as<T, float> && width<T> == 4)
        return vsqrtq_f32(a);
    else if constexpr (std::same_as<T, double> && width<T> == 2)
        return vsqrtq_f64(a);
    else
#elif defined(HAT_NEON)
    if constexpr (std::same_as<T, float> && width<T> == 4) {
        float lanes[4];  // NEON itself has no such instruction here
        a.store_unaligned(lanes);
        for (float& x : lanes) x = std::sqrt(x);
        return xsimd::batch<T>::load_unaligned(lanes);
    } else
#endif
        return xsimd::sqrt(a);
}

/// x where the condition is positive, else zero.
template <class T>
inline xsimd::batch<T> where_positive(const xsimd::batch<T>& condition, const xsimd::batch<T>& x) {
    return xsimd::select(condition > zero<T>(), x, zero<T>());
}

/// The sum over the lanes, in an order that depends on the machine (see LaneSums).
template <class T>
inline T sum(const xsimd::batch<T>& v) {
    if constexpr (requires { reduce_add(v); })
        return reduce_add(v);
    else
        return hadd(v);
}
/// The largest lane.
template <class T>
inline T max_lane(const xsimd::batch<T>& v) {
    alignas(64) T lanes[width<T>];
    v.store_aligned(lanes);
    T m = lanes[0];
    for (std::size_t i = 1; i < width<T>; ++i) m = lanes[i] > m ? lanes[i] : m;
    return m;
}

/// The first (second) halves of two vectors, interleaved: a0 b0 a1 b1 ... xsimd 8.1 interleaves within 128 bits on AVX
/// and AVX-512, hence the intrinsics.
template <class T>
inline xsimd::batch<T> interleave_low(const xsimd::batch<T>& a, const xsimd::batch<T>& b) {
#if defined(HAT_AVX512)
    if constexpr (std::same_as<T, float> && width<T> == 16)
        return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
    if constexpr (std::same_as<T, double> && width<T> == 8)
        return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
#elif defined(HAT_AVX)
    if constexpr (std::same_as<T, float> && width<T> == 8)
        return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
    if constexpr (std::same_as<T, double> && width<T> == 4)
        return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x20);
#endif
    return xsimd::zip_lo(a, b);
}
/// The second halves, see interleave_low().
template <class T>
inline xsimd::batch<T> interleave_high(const xsimd::batch<T>& a, const xsimd::batch<T>& b) {
#if defined(HAT_AVX512)
    if constexpr (std::same_as<T, float> && width<T> == 16)
        return _mm512_permutex2var_ps(
            a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
    if constexpr (std::same_as<T, double> && width<T> == 8)
        return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
#elif defined(HAT_AVX)
    if constexpr (std::same_as<T, float> && width<T> == 8)
        return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
    if constexpr (std::same_as<T, double> && width<T> == 4)
        return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x31);
#endif
    return xsimd::zip_hi(a, b);
}
#endif

/// e to the power of each lane, with the same bits on every machine that fuses multiply-adds: within one unit of the
/// last place; zero below e^-86.25, about 3.5e-38; infinity above the largest float. With n the integer nearest to
/// x / ln 2, it is 2^n times the Taylor series of e^r up to r^7 / 7! at r = x - n ln 2, |r| < 0.35, whose next term is
/// below 6e-9. ln 2 is taken in two parts, the first of which has 9 zeros at its end, so that n times it is exact.
template <class V>
requires requires(const V& x) { power_of_two(x, 0); }
inline V exp(const V& x) {
    const V magic(12582912.0F), shifted = fma(x, V(1.44269504F), magic), n = shifted - magic;  // n is in its low bits
    const V r = fma(n, V(-0x1.7f7d1cp-20F), fma(n, V(-0x1.62e4p-1F), x));
    constexpr float taylor[] = {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F};
    V series(1.0F / 5040);
    for (const float c : taylor) series = fma(series, r, V(c));
    const V half = series * power_of_two(shifted, 126);  // 2^(n - 1): no float is 2^128
    const V high = where_below(V(V(0.0F) - x), -88.8F, V(std::numeric_limits<float>::infinity()), V(half + half));
    return where_below(x, -86.25F, V(0.0F), high);
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
#if defined(HAT_AVX512)
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
#if defined(HAT_AVX512)
    if constexpr (std::same_as<T, float> && width<T> == 16)
        _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1U), v);
    else if constexpr (std::same_as<T, double> && width<T> == 8)
        _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1U << n) - 1U), v);
    else
#endif
        store_partial_portable(p, v, n);
}

/// Makes the columns of width<T> vectors (a power of two) of them: log2(width) perfect shuffles, each of which
/// interleaves vector i with vector i + width / 2.
template <class T>
inline void transpose_registers(Vec<T> (&v)[width<T>]) {
    constexpr std::size_t W = width<T>;
    Vec<T> next[W];
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
    if constexpr ((W & (W - 1)) == 0) {
        Vec<T> v[W];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < W; ++r)
            v[r] = r >= rows ? zero<T>() : cols == W ? load(in + r * stride) : load_partial(in + r * stride, cols);
        transpose_registers<T>(v);
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
template <class T, class N, class Body>
inline void for_each_vector(N count, Body&& body) {
    const std::size_t n = count;
    std::size_t i = 0;
    for (; i + width<T> <= n; i += width<T>)
        body([i](const T* p, T = T(0)) { return load(p + i); }, [i](T* p, const Vec<T>& v) { store(p + i, v); });
    if (const std::size_t rest = n - i; rest != 0)
        body([i, rest](const T* p, T fill = T(0)) { return load_partial(p + i, rest, fill); },
             [i, rest](T* p, const Vec<T>& v) { store_partial(p + i, v, rest); });
}

/// Sums over a row in one order, whatever the machine's vectors: number i of the row belongs to chain i % chains, and
/// the chains are added up in halves at the end.
template <class T>
class LaneSums {
    static_assert(64 % sizeof(Vec<T>) == 0, "hat: vectors of more than 512 bits are not supported");

public:
    static constexpr std::size_t chains = 64 / sizeof(T);      ///< as many as the widest vectors have lanes
    static constexpr std::size_t vectors = chains / width<T>;  ///< that hold them

    LaneSums() {
        for (auto& v : part_) v = zero<T>();
    }
    /// The chains of vector `i` of `vectors`.
    Vec<T>& operator[](std::size_t i) { return part_[i]; }
    /// All chains together.
    T total() const {
        T lane[chains];
        for (std::size_t i = 0; i < vectors; ++i) store(lane + i * width<T>, part_[i]);
        for (std::size_t half = chains / 2; half > 0; half /= 2)
            for (std::size_t i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
        return lane[0];
    }

private:
    Vec<T> part_[vectors];
};

/// for_each_vector() with the vector of LaneSums<T> that the numbers belong to: body(i, load, store).
template <class T, class N, class Body>
inline void for_each_part(N count, Body&& body) {
    constexpr std::size_t W = width<T>, vectors = LaneSums<T>::vectors;
    const std::size_t n = count;
    const auto full = [&](std::size_t part, std::size_t i) {
        body(
            part, [i](const T* p, T = T(0)) { return load(p + i); }, [i](T* p, const Vec<T>& v) { store(p + i, v); });
    };
    std::size_t i = 0;
    for (; i + vectors * W <= n; i += vectors * W)
#pragma GCC unroll 8
        for (std::size_t part = 0; part < vectors; ++part) full(part, i + part * W);
#pragma GCC unroll 8
    for (std::size_t part = 0; part < vectors; ++part, i += W) {
        if (i + W <= n) {
            full(part, i);
            continue;
        }
        if (const std::size_t rest = n - i; i < n)
            body(
                part, [i, rest](const T* p, T fill = T(0)) { return load_partial(p + i, rest, fill); },
                [i, rest](T* p, const Vec<T>& v) { store_partial(p + i, v, rest); });
        return;
    }
}

// -- dot products of bytes, and tables of sixteen entries -------------------------------------------------------------

#if defined(HAT_AVX512) && defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define HAT_DOT_512  // up to the end of this file
#endif

/// A register of bytes: operands of dot4().
#if defined(HAT_DOT_512)
using Bytes = __m512i;
#elif defined(HAT_AVX2)
using Bytes = __m256i;
#elif defined(HAT_NEON)
using Bytes = uint8x16_t;
#else
struct Bytes {
    using Lanes [[gnu::vector_size(16)]] = std::uint8_t;  ///< the compiler's vector
    Lanes lane;                                           ///< in order
};
#endif
/// Whether the machine has instructions for them. Where it has none, a table's entries are looked up one by one.
#if defined(HAT_AVX2) || defined(HAT_NEON)
inline constexpr bool has_bytes = true;
#else
inline constexpr bool has_bytes = false;
#endif
/// A register of 32-bit sums, one for each four bytes.
#if defined(HAT_AVX2)
using Sums = Bytes;
#elif defined(HAT_NEON)
using Sums = int32x4_t;
#else
struct Sums {
    using Lanes [[gnu::vector_size(16)]] = std::int32_t;  ///< the compiler's vector
    Lanes lane;                                           ///< in order
};
#endif

/// What dot4() takes a weight's byte minus: 128, or 0 where the instruction multiplies unsigned bytes by signed ones.
/// In that case a sum is too large by 128 times the sum of the inputs.
#if defined(HAT_DOT_512) || (defined(HAT_AVX2) && defined(__AVXVNNI__)) || \
    (defined(HAT_NEON) && defined(__ARM_FEATURE_MATMUL_INT8))
inline constexpr int dot_zero = 0;
#else
inline constexpr int dot_zero = 128;
#endif

/// sizeof(Bytes) bytes from p, aligned or not.
inline Bytes load_bytes(const std::uint8_t* p) {
#if defined(HAT_DOT_512)
    return _mm512_loadu_si512(p);
#elif defined(HAT_AVX2)
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
#elif defined(HAT_NEON)
    return vld1q_u8(p);
#else
    Bytes b;
    std::memcpy(&b.lane, p, sizeof b.lane);
    return b;
#endif
}
/// Writes sizeof(Bytes) bytes to p, aligned or not.
inline void store_bytes(std::uint8_t* p, const Bytes& b) {
#if defined(HAT_DOT_512)
    _mm512_storeu_si512(p, b);
#elif defined(HAT_AVX2)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), b);
#elif defined(HAT_NEON)
    vst1q_u8(p, b);
#else
    std::memcpy(p, &b.lane, sizeof b.lane);
#endif
}
/// Four bytes from p, repeated.
inline Bytes splat_four(const std::int8_t* p) {
    std::int32_t four;
    std::memcpy(&four, p, sizeof four);
#if defined(HAT_DOT_512)
    return _mm512_set1_epi32(four);
#elif defined(HAT_AVX2)
    return _mm256_set1_epi32(four);
#elif defined(HAT_NEON)
    return vreinterpretq_u8_s32(vdupq_n_s32(four));
#else
    return {std::bit_cast<Bytes::Lanes>(Sums::Lanes{four, four, four, four})};
#endif
}
/// The same sum in every lane.
inline Sums splat_sum(std::int32_t x) {
#if defined(HAT_DOT_512)
    return _mm512_set1_epi32(x);
#elif defined(HAT_AVX2)
    return _mm256_set1_epi32(x);
#elif defined(HAT_NEON)
    return vdupq_n_s32(x);
#else
    return {Sums::Lanes{x, x, x, x}};
#endif
}
/// Lane by lane.
inline Sums add_sums(const Sums& a, const Sums& b) {
#if defined(HAT_DOT_512)
    return _mm512_add_epi32(a, b);
#elif defined(HAT_AVX2)
    return _mm256_add_epi32(a, b);
#elif defined(HAT_NEON)
    return vaddq_s32(a, b);
#else
    return {a.lane + b.lane};
#endif
}
/// Writes sizeof(Bytes) / 4 sums to p, aligned or not.
inline void store_sums(std::int32_t* p, const Sums& s) {
#if defined(HAT_DOT_512)
    _mm512_storeu_si512(p, s);
#elif defined(HAT_AVX2)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), s);
#elif defined(HAT_NEON)
    vst1q_s32(p, s);
#else
    std::memcpy(p, &s.lane, sizeof s.lane);
#endif
}

/// Weights as dot4() wants them, from bytes 1 .. 255 that stand for byte - 128.
inline Bytes dot_operand(const Bytes& w) {
    if constexpr (dot_zero == 0) {
        return w;
    } else {
#if defined(HAT_AVX2) && !defined(HAT_DOT_512)
        return _mm256_xor_si256(w, _mm256_set1_epi8(-128));
#elif !defined(HAT_AVX2) && defined(HAT_NEON)
        return veorq_u8(w, vdupq_n_u8(128));
#elif !defined(HAT_AVX2)
        return {w.lane ^ std::uint8_t{128}};
#else
        return w;
#endif
    }
}
/// The portable twin of dot4, in memory: w are the bytes before dot_operand().
inline void dot4_portable(std::int32_t* sums, const std::uint8_t* w, const std::int8_t* x) {
    for (std::size_t i = 0; i < sizeof(Bytes); ++i) sums[i / 4] += (w[i] - dot_zero) * x[i];
}
/// sum[i] + x[4 i] (w[4 i] - dot_zero) + ... + x[4 i + 3] (w[4 i + 3] - dot_zero), exactly. w comes from dot_operand();
/// the x are signed bytes of -127 .. 127: with these ranges no instruction used here saturates.
inline Sums dot4(const Sums& sum, const Bytes& w, const Bytes& x) {
#if defined(HAT_DOT_512)
    return _mm512_dpbusd_epi32(sum, w, x);
#elif defined(HAT_AVX2) && defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(sum, w, x);
#elif defined(HAT_AVX2)
    // unsigned times signed: |x| and w with x's sign; two products are at most 2 * 127 * 127 < 2^15
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(w, x));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#elif defined(HAT_NEON) && defined(__ARM_FEATURE_MATMUL_INT8)
    return vusdotq_s32(sum, w, vreinterpretq_s8_u8(x));
#elif defined(HAT_NEON) && defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(x));
#elif defined(HAT_NEON)
    const int8x16_t a = vreinterpretq_s8_u8(w), b = vreinterpretq_s8_u8(x);
    const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_s8(vget_high_s8(a), vget_high_s8(b));
#if defined(HAT_NEON64)
    return vpadalq_s16(sum, vpaddq_s16(low, high));
#else
    return vpadalq_s16(sum, vcombine_s16(vpadd_s16(vget_low_s16(low), vget_high_s16(low)),
                                         vpadd_s16(vget_low_s16(high), vget_high_s16(high))));
#endif
#else
    // the compiler's vectors: two products of signed bytes are at most 2 * 127 * 127 < 2^15
    using Half [[gnu::vector_size(16)]] = std::int16_t;
    const auto low = [](const Half& v) { return (v << 8) >> 8; };
    const auto a = std::bit_cast<Half>(w.lane), b = std::bit_cast<Half>(x.lane);
    const Half products = low(a) * low(b) + (a >> 8) * (b >> 8);
    const auto pairs = std::bit_cast<Sums::Lanes>(products);
    return {sum.lane + ((pairs << 16) >> 16) + (pairs >> 16)};
#endif
}

/// Sixteen bytes as a table for lookup_bytes().
inline Bytes byte_table(const std::uint8_t* p) {
#if defined(HAT_DOT_512)
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(HAT_AVX2)
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
    return load_bytes(p);
#endif
}
/// The portable twin of lookup_bytes, in memory.
inline void lookup_bytes_portable(const std::uint8_t* table, const std::uint8_t* index, std::uint8_t* out) {
    for (std::size_t i = 0; i < sizeof(Bytes); ++i) out[i] = table[index[i]];
}
/// table[index] for every byte; indices are 0 .. 15.
inline Bytes lookup_bytes(const Bytes& table, const Bytes& index) {
#if defined(HAT_DOT_512)
    return _mm512_shuffle_epi8(table, index);
#elif defined(HAT_AVX2)
    return _mm256_shuffle_epi8(table, index);
#elif defined(HAT_NEON64)
    return vqtbl1q_u8(table, index);
#elif defined(HAT_NEON)
    const uint8x8x2_t halves = {{vget_low_u8(table), vget_high_u8(table)}};
    return vcombine_u8(vtbl2_u8(halves, vget_low_u8(index)), vtbl2_u8(halves, vget_high_u8(index)));
#else
    std::uint8_t entries[16], indices[16], out[16];
    store_bytes(entries, table), store_bytes(indices, index);
    lookup_bytes_portable(entries, indices, out);
    return load_bytes(out);
#endif
}
/// The low four bits of every byte.
inline Bytes low_nibbles(const Bytes& b) {
#if defined(HAT_DOT_512)
    return _mm512_and_si512(b, _mm512_set1_epi8(15));
#elif defined(HAT_AVX2)
    return _mm256_and_si256(b, _mm256_set1_epi8(15));
#elif defined(HAT_NEON)
    return vandq_u8(b, vdupq_n_u8(15));
#else
    return {b.lane & std::uint8_t{15}};
#endif
}
/// The high four bits of every byte.
inline Bytes high_nibbles(const Bytes& b) {
#if defined(HAT_DOT_512)
    return _mm512_and_si512(_mm512_srli_epi16(b, 4), _mm512_set1_epi8(15));
#elif defined(HAT_AVX2)
    return _mm256_and_si256(_mm256_srli_epi16(b, 4), _mm256_set1_epi8(15));
#elif defined(HAT_NEON)
    return vshrq_n_u8(b, 4);
#else
    return {b.lane >> std::uint8_t{4}};
#endif
}

/// Sixteen numbers in registers, for lookup().
#if defined(HAT_AVX512)
using Table16 = __m512;
#elif defined(HAT_AVX2)
struct Table16 {
    __m256 low, high;
};
#elif defined(HAT_NEON64)
using Table16 = uint8x16x4_t;
#else
struct Table16 {
    float entry[16];  ///< in order
};
#endif
/// width<float> words of 32 bits that hold codes of 4 bits.
#if defined(HAT_AVX512)
using Codes = __m512i;
#elif defined(HAT_AVX2)
using Codes = __m256i;
#elif defined(HAT_NEON64)
using Codes = uint32x4_t;
#else
struct Codes {
    std::uint32_t word[width<float>];  ///< in order
};
#endif

/// Sixteen numbers from p, aligned or not.
inline Table16 load_table(const float* p) {
#if defined(HAT_AVX512)
    return _mm512_loadu_ps(p);
#elif defined(HAT_AVX2)
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
#elif defined(HAT_NEON64)
    Table16 t;
    for (int i = 0; i < 4; ++i) t.val[i] = vreinterpretq_u8_f32(vld1q_f32(p + 4 * i));
    return t;
#else
    Table16 t;
    std::memcpy(t.entry, p, sizeof t.entry);
    return t;
#endif
}
/// width<float> words from p, aligned or not.
inline Codes load_codes(const std::uint32_t* p) {
#if defined(HAT_AVX512)
    return _mm512_loadu_si512(p);
#elif defined(HAT_AVX2)
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
#elif defined(HAT_NEON64)
    return vld1q_u32(p);
#else
    Codes c;
    std::memcpy(c.word, p, sizeof c.word);
    return c;
#endif
}
/// The portable twin of lookup, in memory.
inline Vec<float> lookup_portable(const float* table, const std::uint32_t* words, unsigned shift) {
    alignas(64) float lanes[width<float>];
    for (std::size_t i = 0; i < width<float>; ++i) lanes[i] = table[(words[i] >> shift) & 15U];
    return Vec<float>::load_aligned(lanes);
}
/// table[code] for every word, whose code are the four bits from `shift` on.
template <unsigned shift>
inline Vec<float> lookup(const Table16& table, const Codes& words) {
    static_assert(shift <= 28);
#if defined(HAT_AVX512)
    return _mm512_permutexvar_ps(_mm512_srli_epi32(words, shift), table);  // it reads four bits of an index
#elif defined(HAT_AVX2)
    // the permutation reads three bits of an index, the blend the fourth, moved to the sign
    const __m256i index = _mm256_srli_epi32(words, shift);
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, index), _mm256_permutevar8x32_ps(table.high, index),
                            _mm256_castsi256_ps(_mm256_slli_epi32(words, 28 - shift)));
#elif defined(HAT_NEON64)
    // the four bytes of entry i are bytes 4 i .. 4 i + 3 of the table
    uint32x4_t code = words;
    if constexpr (shift != 0) code = vshrq_n_u32(words, shift);
    const uint32x4_t bytes = vmlaq_n_u32(vdupq_n_u32(0x03020100U), vandq_u32(code, vdupq_n_u32(15)), 0x04040404U);
    return vreinterpretq_f32_u8(vqtbl4q_u8(table, vreinterpretq_u8_u32(bytes)));
#else
    return lookup_portable(table.entry, words.word, shift);
#endif
}

/// width<float> integers from p, as the nearest floats.
inline Vec<float> load_as_float(const std::int32_t* p) {
#if defined(HAT_XSIMD)
    return xsimd::to_float(Vec<std::int32_t>::load_unaligned(p));
#else
    return Vec<float>::each([p](std::size_t i) { return static_cast<float>(p[i]); });
#endif
}
/// The portable twin of store_rounded.
inline void store_rounded_portable(std::int8_t* p, const Vec<float>& v, std::size_t n) {
    alignas(64) float lanes[width<float>];
    v.store_aligned(lanes);
    for (std::size_t i = 0; i < n; ++i) {
        std::int32_t bits;
        std::memcpy(&bits, lanes + i, sizeof bits);
        p[i] = static_cast<std::int8_t>(bits & 255);
    }
}
/// Writes the nearest integers (halves to even) of the first n <= width lanes of a * b, which lie in -127 .. 127, and
/// returns them all as floats. The sum with 1.5 * 2^23 has them in its low bits.
inline Vec<float> store_rounded(std::int8_t* p, const Vec<float>& a, const Vec<float>& b, std::size_t n) {
    const Vec<float> big = splat(12582912.0F), v = fma(a, b, big);
#if defined(HAT_AVX512)
    if (n == width<float>)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_castps_si512(v)));
    else
#endif
        store_rounded_portable(p, v, n);
    return v - big;
}

// -- pairs of bfloat16 ------------------------------------------------------------------------------------------------

#if defined(HAT_AVX512) && defined(__AVX512BF16__) && defined(__AVX512BW__)
#define HAT_BF16_512  // up to the end of this file
#endif

/// Two neighbours of a chain in bfloat16: the first one in the upper half, because the instruction adds that product
/// first.
struct Bf16Pair {
    std::uint32_t bits;  ///< both numbers
};
/// A pair of one of the three parts of two floats, see take_part(). In an operand of a product, 16 pairs (of rows, or
/// along a row) of part 0 are followed by those of part 1 and 2, then by the next 16 of part 0.
struct Bf16Part : Bf16Pair {};
/// Pairs in a register: one for each sum.
template <>
inline constexpr std::size_t width<Bf16Pair> = width<float>;
/// See width<Bf16Pair>.
template <>
inline constexpr std::size_t width<Bf16Part> = width<float>;

/// A register of width<Bf16Pair> pairs: operands of fma().
#if defined(HAT_BF16_512)
using Bf16Pairs = __m512i;
#else
struct Bf16Pairs {
    Vec<float> first;   ///< the upper halves
    Vec<float> second;  ///< the lower halves
};
#endif

/// The bits of x in bfloat16, rounded to nearest even. As the instruction does it: what is smaller than the smallest
/// normal number becomes zero, a NaN stays one.
constexpr std::uint32_t round_to_bf16(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    if ((bits & 0x7f800000U) == 0) return bits >> 16U & 0x8000U;
    if ((bits & 0x7fffffffU) > 0x7f800000U) return bits >> 16U | 0x40U;
    return (bits + 0x7fffU + (bits >> 16U & 1U)) >> 16U;
}
/// The first (second) number of a pair.
constexpr float first_of(Bf16Pair p) { return std::bit_cast<float>(p.bits & 0xffff0000U); }
/// See first_of().
constexpr float second_of(Bf16Pair p) { return std::bit_cast<float>(p.bits << 16U); }

/// Which operand of a product numbers belong to: what their three parts are depends on it.
enum class Side { left, right };

/// Part `p` of `Parts` of x, as bits of bfloat16; with several parts x becomes what is left of it. A single part is x
/// rounded to nearest even. Three parts have 3 x 8 bits, the 24 of a float: their sum is the number, unless a part is
/// smaller than the smallest normal number; what is infinite, or becomes so when it is rounded, has a part that is no
/// number. Parts of left operands are rounded (halves away from zero), those of right operands cut, which takes fewer
/// instructions: with one operand rounded, what a product of parts leaves out has either sign.
template <std::size_t Parts, Side side>
constexpr std::uint32_t take_part(float& x, std::size_t p) {
    if constexpr (Parts == 1) return round_to_bf16(x);
    const std::uint32_t half = side == Side::left && p + 1 < Parts ? 0x8000U : 0U;
    const std::uint32_t bits = (std::bit_cast<std::uint32_t>(x) + half) & 0xffff0000U;
    x -= std::bit_cast<float>(bits);
    return bits >> 16U;
}
#if defined(HAT_BF16_512)
/// take_part() of 16 numbers, one of three parts; below its bits there are others.
template <std::size_t Parts, Side side>
inline __m512i take_part(Vec<float>& x, std::size_t p) {
    __m512i bits = _mm512_castps_si512(x);
    if (side == Side::left && p + 1 < Parts) bits = _mm512_add_epi32(bits, _mm512_set1_epi32(0x8000));
    const __m512i part = _mm512_and_si512(bits, _mm512_set1_epi32(static_cast<std::int32_t>(0xffff0000U)));
    x = x - Vec<float>(_mm512_castsi512_ps(part));
    return bits;
}
/// 0, 1, .., 15.
inline __m512i lane_numbers() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
/// Part p of 16 pairs of a number of `first` and one of `second`.
template <std::size_t Parts, Side side>
inline __m512i take_pairs(Vec<float>& first, Vec<float>& second, std::size_t p) {
    if constexpr (Parts == 1) {
        // lane i of `second` and of `first`, which are halves of one register
        const __m512i both = _mm512_add_epi32(_mm512_mullo_epi32(lane_numbers(), _mm512_set1_epi32(0x00010001)),
                                              _mm512_set1_epi32(0x00100000));
        return _mm512_permutexvar_epi16(both, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(first, second)));
    } else {
        const __m512i upper = take_part<Parts, side>(first, p), lower = take_part<Parts, side>(second, p);
        // lower >> 16 | (upper & mask)
        return _mm512_ternarylogic_epi32(_mm512_srli_epi32(lower, 16), upper,
                                         _mm512_set1_epi32(static_cast<std::int32_t>(0xffff0000U)), 0xf8);
    }
}
/// Part p of 16 pairs of neighbours, of which the first eight are in `before`.
template <std::size_t Parts, Side side>
inline __m512i take_neighbours(Vec<float>& before, Vec<float>& after, std::size_t p) {
    if constexpr (Parts == 1) {
        return _mm512_rol_epi32(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(after, before)), 16);
    } else {
        // the upper halves of numbers 2 i (above) and 2 i + 1
        const __m512i uppers = _mm512_add_epi32(_mm512_mullo_epi32(lane_numbers(), _mm512_set1_epi32(0x00040004)),
                                                _mm512_set1_epi32(0x00010003));
        const __m512i lower = take_part<Parts, side>(before, p), upper = take_part<Parts, side>(after, p);
        return _mm512_permutex2var_epi16(lower, uppers, upper);
    }
}
#endif

// Numbers rounded to pairs, as a left operand needs them and as a right one does. Part p of them goes to
// out + p * part_step.

/// The portable twin of round_left.
template <std::size_t Parts = 1>
void round_left_portable(const float* row, std::size_t k, Bf16Pair* out, std::size_t part_step = 0) {
    for (std::size_t i = 0; i < k; i += 2) {
        float first = row[i], second = i + 1 < k ? row[i + 1] : 0.0F;
        for (std::size_t p = 0; p < Parts; ++p) {
            const std::uint32_t upper = take_part<Parts, Side::left>(first, p);
            out[p * part_step + i / 2] = {upper << 16U | take_part<Parts, Side::left>(second, p)};
        }
    }
}
/// Rounds the k neighbours of a row to (k + 1) / 2 pairs; a missing last number is zero.
template <std::size_t Parts = 1>
void round_left(const float* row, std::size_t k, Bf16Pair* out, std::size_t part_step = 0) {
    std::size_t i = 0;
#if defined(HAT_BF16_512)
    for (; i + 32 <= k; i += 32) {
        Vec<float> before = load(row + i), after = load(row + i + 16);
#pragma GCC unroll 4
        for (std::size_t p = 0; p < Parts; ++p)
            _mm512_storeu_si512(out + p * part_step + i / 2, take_neighbours<Parts, Side::left>(before, after, p));
    }
#endif
    round_left_portable<Parts>(row + i, k - i, out + i / 2, part_step);
}
/// The portable twin of round_right.
template <std::size_t Parts = 1>
void round_right_portable(const float* first, const float* second, std::size_t n, Bf16Pair* out,
                          std::size_t part_step = 0) {
    for (std::size_t i = 0; i < n; ++i) {
        float above = first[i], below = second ? second[i] : 0.0F;
        for (std::size_t p = 0; p < Parts; ++p) {
            const std::uint32_t upper = take_part<Parts, Side::right>(above, p);
            out[p * part_step + i] = {upper << 16U | take_part<Parts, Side::right>(below, p)};
        }
    }
}
/// Rounds two rows of n numbers to n pairs; a missing second row (null) is zeros.
template <std::size_t Parts = 1>
inline void round_right(const float* first, const float* second, std::size_t n, Bf16Pair* out,
                        std::size_t part_step = 0) {
    std::size_t i = 0;
#if defined(HAT_BF16_512)
    for (; i + 16 <= n; i += 16) {
        Vec<float> lower = second ? load(second + i) : zero<float>(), upper = load(first + i);
#pragma GCC unroll 4
        for (std::size_t p = 0; p < Parts; ++p)
            _mm512_storeu_si512(out + p * part_step + i, take_pairs<Parts, Side::right>(upper, lower, p));
    }
    if (i == n) return;
#endif
    round_right_portable<Parts>(first + i, second ? second + i : nullptr, n - i, out + i, part_step);
}

/// The portable twin of round_right_across.
template <std::size_t Parts = 1>
void round_right_across_portable(const float* in, std::size_t stride, std::size_t rows, std::size_t k, Bf16Pair* out,
                                 std::size_t out_stride, std::size_t part_step = 0) {
    for (std::size_t r = 0; r < width<float>; ++r)
        for (std::size_t s = 0; s < width<float>; ++s) {
            Bf16Pair pair[Parts] = {};
            if (r < rows && 2 * s < k) {
                const float* const from = in + r * stride + 2 * s;
                round_right_portable<Parts>(from, 2 * s + 1 < k ? from + 1 : nullptr, 1, pair, 1);
            }
            for (std::size_t p = 0; p < Parts; ++p) out[p * part_step + s * out_stride + r] = pair[p];
        }
}
/// Rounds `rows` <= w rows of k <= 2 w neighbours (w = width<float>) and transposes their pairs: pair s of row r
/// becomes out[s * out_stride + r]. Writes w x w pairs, zeros where there is nothing; reads nothing outside the block.
template <std::size_t Parts = 1>
void round_right_across(const float* in, std::size_t stride, std::size_t rows, std::size_t k, Bf16Pair* out,
                        std::size_t out_stride, std::size_t part_step = 0) {
#if defined(HAT_BF16_512)
    const auto numbers = [&](std::size_t r, std::size_t first) {
        if (r >= rows || first >= k) return zero<float>();
        const float* const from = in + r * stride + first;
        return k - first >= 16 ? load(from) : load_partial(from, k - first);
    };
    Vec<float> before[16], after[16], v[16];
    for (std::size_t p = 0; p < Parts; ++p) {
#pragma GCC unroll 16
        for (std::size_t r = 0; r < 16; ++r) {
            if (p == 0) before[r] = numbers(r, 0), after[r] = numbers(r, 16);
            v[r] = Vec<float>(_mm512_castsi512_ps(take_neighbours<Parts, Side::right>(before[r], after[r], p)));
        }
        transpose_registers<float>(v);
#pragma GCC unroll 16
        for (std::size_t s = 0; s < 16; ++s)
            _mm512_storeu_si512(out + p * part_step + s * out_stride, _mm512_castps_si512(v[s]));
    }
#else
    round_right_across_portable<Parts>(in, stride, rows, k, out, out_stride, part_step);
#endif
}
/// The portable twin of round_left_along.
template <std::size_t Parts = 1>
void round_left_along_portable(const float* in, std::size_t stride, std::size_t k, std::size_t columns, Bf16Pair* out,
                               std::size_t out_stride, std::size_t part_step = 0) {
    for (std::size_t s = 0; s < width<float>; ++s)
        for (std::size_t c = 0; c < width<float>; ++c) {
            Bf16Pair pair[Parts] = {};
            if (c < columns && 2 * s < k) {
                const float* const first = in + 2 * s * stride + c;
                const float both[2] = {*first, 2 * s + 1 < k ? first[stride] : 0.0F};
                round_left_portable<Parts>(both, 2, pair, 1);
            }
            for (std::size_t p = 0; p < Parts; ++p) out[p * part_step + c * out_stride + s] = pair[p];
        }
}
/// Rounds k <= 2 w rows of `columns` <= w numbers (w = width<float>) to pairs of neighbours in a column, and transposes
/// them: pair s of column c becomes out[c * out_stride + s]. Writes w x w pairs, zeros where there is nothing; reads
/// nothing outside the block.
template <std::size_t Parts = 1>
void round_left_along(const float* in, std::size_t stride, std::size_t k, std::size_t columns, Bf16Pair* out,
                      std::size_t out_stride, std::size_t part_step = 0) {
#if defined(HAT_BF16_512)
    const auto row = [&](std::size_t i) {
        return i >= k ? zero<float>() : columns == 16 ? load(in + i * stride) : load_partial(in + i * stride, columns);
    };
    Vec<float> upper[16], lower[16], v[16];
    for (std::size_t p = 0; p < Parts; ++p) {
#pragma GCC unroll 16
        for (std::size_t s = 0; s < 16; ++s) {
            if (p == 0) upper[s] = row(2 * s), lower[s] = row(2 * s + 1);
            v[s] = Vec<float>(_mm512_castsi512_ps(take_pairs<Parts, Side::left>(upper[s], lower[s], p)));
        }
        transpose_registers<float>(v);
#pragma GCC unroll 16
        for (std::size_t c = 0; c < 16; ++c)
            _mm512_storeu_si512(out + p * part_step + c * out_stride, _mm512_castps_si512(v[c]));
    }
#else
    round_left_along_portable<Parts>(in, stride, k, columns, out, out_stride, part_step);
#endif
}

/// width<Bf16Pair> pairs from p, aligned or not.
inline Bf16Pairs load(const Bf16Pair* p) {
#if defined(HAT_BF16_512)
    return _mm512_loadu_si512(p);
#else
    alignas(64) float first[width<float>], second[width<float>];
    for (std::size_t i = 0; i < width<float>; ++i) first[i] = first_of(p[i]), second[i] = second_of(p[i]);
    return {Vec<float>::load_aligned(first), Vec<float>::load_aligned(second)};
#endif
}
/// The same pair in every lane.
inline Bf16Pairs splat(Bf16Pair p) {
#if defined(HAT_BF16_512)
    __m512i all = _mm512_set1_epi32(std::bit_cast<std::int32_t>(p.bits));
#if defined(__clang__) && __clang_major__ > 14 && __clang_major__ < 19
    asm("" : "+v"(all));  // clang 16 crashes when it sees that an operand in bfloat16 is a broadcast
#endif
    return all;
#else
    return {Vec<float>(first_of(p)), Vec<float>(second_of(p))};
#endif
}
/// The portable twin of fma() of pairs, in memory. A product of two bfloat16 is exact in a float, so nothing depends on
/// whether the machine rounds between multiplying and adding.
inline void fma_portable(const Bf16Pair* a, const Bf16Pair* b, float* c) {
    for (std::size_t i = 0; i < width<float>; ++i) {
        const float first = first_of(a[i]) * first_of(b[i]), second = second_of(a[i]) * second_of(b[i]);
        c[i] = (c[i] + first) + second;
    }
}
/// a.second * b.second + (a.first * b.first + c): two links of a chain. The instruction takes numbers smaller than the
/// smallest normal one (1.2e-38) as zero, on both sides; the portable form keeps them.
inline Vec<float> fma(const Bf16Pairs& a, const Bf16Pairs& b, const Vec<float>& c) {
#if defined(HAT_BF16_512)
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
#else
    return fma(a.second, b.second, fma(a.first, b.first, c));
#endif
}

#undef HAT_BF16_512
#undef HAT_DOT_512
#undef HAT_XSIMD
#undef HAT_AVX512
#undef HAT_AVX2
#undef HAT_AVX
#undef HAT_NEON
#undef HAT_NEON64

}  // namespace hat::simd
