#pragma once
/// \file
/// Matrix products whose operands are rounded to bfloat16 (to nearest even) and whose sums are kept in float: twice the
/// speed where the instruction set has dot products of bfloat16 (AVX512-BF16), the same sums elsewhere. Matrices are
/// float; rounding happens while operands are packed. Every output is one chain over ascending k, as in gemm.hpp: the
/// register block is the same, a step of it just takes two neighbours.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <hat/kernel/gemm.hpp>

namespace hat {

/// What operands of products are rounded to. Sums are float.
enum class Precision {
    fp32,  ///< not rounded
    bf16   ///< bfloat16: 8 bits of significand
};

/// Steps of a chain over k numbers when an element of the operands is In: pairs count once.
template <class In>
constexpr std::size_t chain_steps(std::size_t k) {
    return std::same_as<In, simd::Bf16Pair> ? (k + 1) / 2 : k;
}

namespace detail {

/// Row `step` of pairs of a matrix of k rows: the rounded rows 2 * step and 2 * step + 1 (zeros, if there is none).
inline void round_rows(View<const float> matrix, std::size_t step, std::size_t first, std::size_t n,
                       simd::Bf16Pair* out) {
    const float* upper = matrix.row(2 * step) + first;
    simd::round_pairs(upper, 2 * step + 1 < matrix.rows ? upper + matrix.stride : nullptr, n, out);
}

/// Calls body.operator()<In>() with what In the operands of a precision are made of. Pairs are of floats: other types
/// know only fp32.
template <class T, class Body>
decltype(auto) with_operand(Precision precision, Body&& body) {
    if constexpr (std::same_as<T, float>)
        if (precision == Precision::bf16) return body.template operator()<simd::Bf16Pair>();
    return body.template operator()<T>();
}

}  // namespace detail

/// pack_plain() of the rounded matrix, in pairs; `out` has room for as many as Panels::elements says
/// for matrix.cols columns and chain_steps<P>(matrix.rows) rows.
template <std::same_as<simd::Bf16Pair> P, ExecutorPolicy E>
Panels<P> pack_plain(const E& executor, View<const float> matrix, P* out) {
    constexpr std::size_t w = tile_columns<P>;
    const std::size_t n = matrix.cols, steps = chain_steps<P>(matrix.rows), panels = (n + w - 1) / w;
    parallel_rows(executor, panels, matrix.rows * w, [&](std::size_t first, std::size_t last) {
        for (std::size_t p = first; p < last; ++p) {
            const std::size_t columns = std::min(w, n - p * w);
            for (std::size_t i = 0; i < steps; ++i) {
                P* to = out + (p * steps + i) * w;
                detail::round_rows(matrix, i, p * w, columns, to);
                std::fill(to + columns, to + w, P{});
            }
        }
    });
    return {out, n, steps};
}
/// pack_transposed() of the rounded weights, in pairs; `out` has room for as many as Panels::elements
/// says for weights.rows columns and chain_steps<P>(weights.cols) rows.
template <std::same_as<simd::Bf16Pair> P, ExecutorPolicy E>
Panels<P> pack_transposed(const E& executor, View<const float> weights, P* out) {
    constexpr std::size_t w = tile_columns<P>;
    const std::size_t n = weights.rows, k = weights.cols, steps = chain_steps<P>(k), panels = (n + w - 1) / w;
    parallel_rows(executor, panels, k * w, [&](std::size_t first, std::size_t last) {
        float* const panel = detail::thread_scratch<float>(2, k * w);
        for (std::size_t p = first; p < last; ++p) {
            detail::pack_panel<float>(weights.data, 1, weights.stride, n, k, p, panel);
            for (std::size_t i = 0; i < steps; ++i)
                detail::round_rows({panel, k, w}, i, 0, w, out + (p * steps + i) * w);
        }
    });
    return {out, n, steps};
}

/// multiply() of the rounded a and b, b packed before.
template <std::same_as<simd::Bf16Pair> P, ExecutorPolicy E, ViewOf<float> A, ViewOf<float> C>
void multiply(const E& executor, const A& a, const Panels<P>& b, const C& c, const Epilogue<float>& end = {}) {
    const std::size_t m = a.rows, k = a.cols, panels = (b.n + tile_columns<P> - 1) / tile_columns<P>;
    if (m == 0 || b.n == 0) return;
    const std::size_t stride = b.k + 16;  // rows that do not collide in the cache
    detail::for_each_piece<P>(executor, m, b.k, panels,
                              [&](std::size_t r, std::size_t rows, std::size_t p, std::size_t q) {
                                  P* const left = detail::thread_scratch<P>(2, rows * stride);
                                  for (std::size_t i = 0; i < rows; ++i)
                                      simd::round_pairs(a.row(r + i), k, left + i * stride);
                                  detail::multiply_panels<P>(rows, left, stride, 1, b, p, q, c.row(r), c.stride, end);
                              });
}

/// multiply_transposed() of the rounded a and b: c[M x N] += a^T b.
template <std::same_as<simd::Bf16Pair> P, ExecutorPolicy E>
void multiply_transposed(const E& executor, View<const float> a, View<const float> b, View<float> c) {
    const std::size_t m = a.cols, k = a.rows, panels = (b.cols + tile_columns<P> - 1) / tile_columns<P>;
    if (m == 0 || b.cols == 0) return;
    const std::size_t row_block = tile_rows<P> * (m < 1024 ? 2 : 4), row_blocks = (m + row_block - 1) / row_block;
    const std::size_t block = 2 * detail::k_block;
    P* packed = detail::thread_scratch<P>(0, Panels<P>::elements(b.cols, chain_steps<P>(std::min(k, block))));
    for (std::size_t k0 = 0; k0 < k; k0 += block) {
        const View<const float> left = a.rows_at(k0, std::min(block, k - k0));
        const Panels<P> right = pack_plain<P>(executor, b.rows_at(k0, left.rows), packed);
        executor(row_blocks, [&](std::size_t i) {
            const std::size_t r = i * row_block, rows = std::min(row_block, m - r);
            P* const pairs = detail::thread_scratch<P>(2, right.k * rows);
            for (std::size_t s = 0; s < right.k; ++s) detail::round_rows(left, s, r, rows, pairs + s * rows);
            detail::multiply_panels<P>(rows, pairs, 1, rows, right, 0, panels, c.row(r), c.stride,
                                       {.accumulate = true});
        });
    }
}

}  // namespace hat
