#pragma once
/// \file
/// Matrix products whose operands are rounded to bfloat16 (to nearest even) and whose sums are kept in float. Matrices
/// are float; rounding happens while operands are packed. Every output is one chain over ascending k, whatever the
/// shape, the blocking and the thread count; what a link of it is depends on the instruction. Where there are tiles
/// (AMX, kernel/amx.hpp), it adds 32 products, as sums of two times 16. Elsewhere it adds one product, as in gemm.hpp:
/// the register block is the same, a step of it just takes two neighbours (with AVX512-BF16, in one instruction).

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <hat/kernel/amx.hpp>
#include <hat/kernel/gemm.hpp>
#include <iterator>

namespace hat {

/// What operands of products are rounded to. Sums are float. With both, results are the same to the bit for any number
/// of threads and any blocking. With bf16 they also depend on the instruction that does the products: where it is that
/// of tiles (AMX, simd::tiles_usable()), a sum is rounded after 32 products, elsewhere after each.
enum class Precision {
    fp32,  ///< not rounded
    bf16   ///< bfloat16: 8 bits of significand
};

/// Steps of a chain over k numbers when an element of the operands is In: pairs count once, and zeros follow up to
/// whole tiles.
template <class In>
constexpr std::size_t chain_steps(std::size_t k) {
    constexpr std::size_t side = simd::tile_side;
    return std::same_as<In, simd::Bf16Pair> ? (k + 2 * side - 1) / (2 * side) * side : k;
}

namespace detail {

/// Calls body.operator()<In>() with what In the operands of a precision are made of. Pairs are of floats: other types
/// know only fp32.
template <class T, class Body>
decltype(auto) with_operand(Precision precision, Body&& body) {
    if constexpr (std::same_as<T, float>)
        if (precision == Precision::bf16) return body.template operator()<simd::Bf16Pair>();
    return body.template operator()<T>();
}

/// Rows of the left operand whose sums tiles hold at once; a packed left operand has zeros up to a multiple of half.
inline constexpr std::size_t tiled_rows = 2 * simd::tile_side;

/// multiply_panels() by tiles, of a left operand with rows of whole tiles (chain_steps()) and zeros in the rows from m
/// to a multiple of tile_side. `portable`: by the twin of the instruction, for tests.
template <bool portable = false>
void multiply_tiles(std::size_t m, const simd::Bf16Pair* a, std::size_t a_row, const Panels<simd::Bf16Pair>& b,
                    std::size_t first_panel, std::size_t last_panel, float* c, std::size_t c_row,
                    const Epilogue<float>& end) {
    constexpr std::size_t side = simd::tile_side, v = simd::width<float>, w = 2 * v;
    const auto block = [&]<std::size_t R, std::size_t C>(const simd::Bf16Pair* left, const simd::Bf16Pair* right,
                                                         float* to, std::size_t to_row) {
        if constexpr (portable)
            simd::dot_tiles_portable<R, C>(b.k, left, a_row, right, b.step, to, to_row, end.accumulate);
        else
            simd::dot_tiles<R, C>(b.k, left, a_row, right, b.step, to, to_row, end.accumulate);
    };
    const bool plain = !end.bias && !end.relu && end.scale == 1.0F;
    alignas(64) float sums[tiled_rows * w];
    const simd::TileScope tiles;
    for (std::size_t p = first_panel; p < last_panel; ++p) {
        const std::size_t columns = std::min(w, b.n - p * w);
        for (std::size_t i = 0; i < m; i += tiled_rows) {
            const std::size_t rows = std::min(tiled_rows, m - i);
            float* const out = c + i * c_row + p * w;
            const bool whole = rows % side == 0 && columns % v == 0;
            float* const to = whole ? out : sums;
            const std::size_t to_row = whole ? c_row : w;
            if (!whole && end.accumulate) {
                std::fill(std::begin(sums), std::end(sums), 0.0F);  // what is no output is loaded, too
                for (std::size_t r = 0; r < rows; ++r) std::copy_n(out + r * c_row, columns, sums + r * w);
            }
            const simd::Bf16Pair *left = a + i * a_row, *right = b.at(p);
            if (rows > side)
                columns > v ? block.template operator()<2, 2>(left, right, to, to_row)
                            : block.template operator()<2, 1>(left, right, to, to_row);
            else
                columns > v ? block.template operator()<1, 2>(left, right, to, to_row)
                            : block.template operator()<1, 1>(left, right, to, to_row);
            if (whole && plain) continue;
            const float* const bias = end.bias ? end.bias + p * w : nullptr;
            for (std::size_t r = 0; r < rows; ++r)
                simd::for_each_vector<float>(columns, [&](auto load, auto store) {
                    simd::Vec<float> x = load(to + r * to_row);
                    if (bias) x = x + load(bias);
                    if (end.relu) x = simd::max(simd::zero<float>(), x);  // keeps a NaN
                    if (end.scale != 1.0F) x = x * simd::splat(end.scale);
                    store(out + r * c_row, x);
                });
        }
    }
}

/// Rows that a packed left operand of m rows takes.
constexpr std::size_t left_rows(std::size_t m) { return (m + simd::tile_side - 1) / simd::tile_side * simd::tile_side; }
/// Pairs from a row of a packed left operand to the next: not a multiple of 2 KiB, where rows collide in the cache.
constexpr std::size_t left_stride(std::size_t steps) { return (steps + 16) % 512 == 0 ? steps + 32 : steps + 16; }

/// Rows that blocks of rows are cut into.
inline std::size_t row_unit() { return simd::tiles_usable() ? simd::tile_side : many_rows; }

/// c (+)= a b for panels [first_panel, last_panel), one thread: `a` has left_rows(m) rows of b.k pairs,
/// left_stride(b.k) apart. (A template so that only who calls it pays for compiling it.)
template <std::same_as<simd::Bf16Pair> P>
void multiply_pairs(std::size_t m, const P* a, const Panels<P>& b, std::size_t first_panel, std::size_t last_panel,
                    View<float> c, const Epilogue<float>& end) {
    if (simd::tiles_usable())
        multiply_tiles(m, a, left_stride(b.k), b, first_panel, last_panel, c.data, c.stride, end);
    else
        multiply_panels<P>(m, a, left_stride(b.k), 1, b, first_panel, last_panel, c.data, c.stride, end);
}

}  // namespace detail

/// pack_plain() of the rounded matrix, in pairs; `out` has room for as many as Panels::elements says
/// for matrix.cols columns and chain_steps<P>(matrix.rows) rows.
template <std::same_as<simd::Bf16Pair> P, ExecutorPolicy E>
Panels<P> pack_plain(const E& executor, View<const float> matrix, P* out) {
    constexpr std::size_t w = tile_columns<P>,
                          some = simd::tile_side;  // steps at a time: their rows are read as streams
    const std::size_t n = matrix.cols, k = matrix.rows, steps = chain_steps<P>(k), panels = (n + w - 1) / w;
    parallel_rows(executor, panels, k * w, [&](std::size_t first, std::size_t last) {
        for (std::size_t i = 0; i < steps; i += some)
            for (std::size_t p = first; p < last; ++p) {
                const std::size_t columns = std::min(w, n - p * w);
                for (std::size_t s = i; s < i + some; ++s) {
                    P* const to = out + (p * steps + s) * w;
                    std::size_t rounded = 0;
                    if (2 * s < k) {
                        const float* const row = matrix.row(2 * s) + p * w;
                        simd::round_pairs(row, 2 * s + 1 < k ? row + matrix.stride : nullptr, columns, to);
                        rounded = columns;
                    }
                    std::fill(to + rounded, to + w, P{});
                }
            }
    });
    return {out, n, steps};
}
/// pack_transposed() of the rounded weights, in pairs; `out` has room for as many as Panels::elements
/// says for weights.rows columns and chain_steps<P>(weights.cols) rows.
template <std::same_as<simd::Bf16Pair> P, ExecutorPolicy E>
Panels<P> pack_transposed(const E& executor, View<const float> weights, P* out) {
    constexpr std::size_t w = tile_columns<P>, v = simd::width<P>;
    const std::size_t n = weights.rows, k = weights.cols, steps = chain_steps<P>(k), panels = (n + w - 1) / w;
    parallel_rows(executor, panels, k * w, [&](std::size_t first, std::size_t last) {
        for (std::size_t p = first; p < last; ++p)
            for (std::size_t j = p * w; j < (p + 1) * w; j += v)
                for (std::size_t s = 0; s < steps; s += v) {
                    const std::size_t rows = j < n ? std::min(v, n - j) : 0, rest = 2 * s < k ? k - 2 * s : 0;
                    simd::round_rows_across(rows && rest ? weights.row(j) + 2 * s : weights.data, weights.stride, rows,
                                            std::min(2 * v, rest), out + (p * steps + s) * w + j % w, w);
                }
    });
    return {out, n, steps};
}

/// multiply() of the rounded a and b, b packed before.
template <std::same_as<simd::Bf16Pair> P, ExecutorPolicy E, ViewOf<float> A, ViewOf<float> C>
void multiply(const E& executor, const A& a, const Panels<P>& b, const C& c, const Epilogue<float>& end = {}) {
    const std::size_t m = a.rows, k = a.cols, panels = (b.n + tile_columns<P> - 1) / tile_columns<P>;
    if (m == 0 || b.n == 0) return;
    const std::size_t stride = detail::left_stride(b.k);
    const auto piece = [&](std::size_t r, std::size_t rows, std::size_t p, std::size_t q) {
        P* const left = detail::thread_scratch<P>(2, detail::left_rows(rows) * stride);
        for (std::size_t i = 0; i < detail::left_rows(rows); ++i) {
            const std::size_t numbers = i < rows ? k : 0;
            if (numbers) simd::round_pairs(a.row(r + i), k, left + i * stride);
            std::fill(left + i * stride + (numbers + 1) / 2, left + i * stride + b.k, P{});
        }
        detail::multiply_pairs(rows, left, b, p, q, {c.row(r), rows, c.cols, c.stride}, end);
    };
    detail::for_each_piece<P>(executor, m, b.k, panels, piece, detail::row_unit());
}

/// multiply_transposed() of the rounded a and b: c[M x N] += a^T b.
template <std::same_as<simd::Bf16Pair> P, ExecutorPolicy E>
void multiply_transposed(const E& executor, View<const float> a, View<const float> b, View<float> c) {
    constexpr std::size_t v = simd::width<P>;
    static_assert(simd::tile_side % v == 0);
    const std::size_t m = a.cols, k = a.rows, panels = (b.cols + tile_columns<P> - 1) / tile_columns<P>;
    if (m == 0 || b.cols == 0) return;
    const std::size_t row_block = detail::block_rows(m, detail::row_unit());
    const std::size_t row_blocks = (m + row_block - 1) / row_block;
    const std::size_t block = 2 * detail::k_block;
    P* packed = detail::thread_scratch<P>(0, Panels<P>::elements(b.cols, chain_steps<P>(std::min(k, block))));
    for (std::size_t k0 = 0; k0 < k; k0 += block) {
        const View<const float> left = a.rows_at(k0, std::min(block, k - k0));
        const Panels<P> right = pack_plain<P>(executor, b.rows_at(k0, left.rows), packed);
        executor(row_blocks, [&](std::size_t i) {
            const std::size_t r = i * row_block, rows = std::min(row_block, m - r);
            const std::size_t stride = detail::left_stride(right.k);
            P* const pairs = detail::thread_scratch<P>(2, detail::left_rows(rows) * stride);
            for (std::size_t s = 0; s < right.k; s += v)
                for (std::size_t j = 0; j < detail::left_rows(rows); j += v) {
                    const std::size_t columns = j < rows ? std::min(v, rows - j) : 0;
                    const std::size_t rest = 2 * s < left.rows ? left.rows - 2 * s : 0;
                    simd::round_columns_along(columns && rest ? left.row(2 * s) + r + j : left.data, left.stride,
                                              std::min(2 * v, rest), columns, pairs + j * stride + s, stride);
                }
            detail::multiply_pairs(rows, pairs, right, 0, panels, {c.row(r), rows, c.cols, c.stride},
                                   {.accumulate = true});
        });
    }
}

}  // namespace hat
