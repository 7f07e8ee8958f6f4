#pragma once
/// \file
/// Matrix products whose operands are rounded to bfloat16 (to nearest even) and whose sums are kept in float. Matrices
/// are float; rounding happens while operands are packed. Every output is one chain over ascending k, whatever the
/// shape, the blocking and the thread count; what a link of it is depends on the instruction. Where there are tiles
/// (AMX, kernel/amx.hpp), it adds 32 products, as sums of two times 16, or six times that of numbers in three parts.
/// Elsewhere it adds one product, as in gemm.hpp: the register block is the same, a step of it just takes two
/// neighbours (with AVX512-BF16, in one instruction).

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <hat/kernel/amx.hpp>
#include <hat/kernel/gemm.hpp>
#include <iterator>
#include <string_view>

namespace hat {

/// What operands of products are rounded to. Sums are float. With each, results are the same to the bit for any number
/// of threads and any blocking. With bf16 and bf16x3 they also depend on the instruction that does the products: where
/// it is that of tiles (AMX, simd::tiles_usable()), a sum is rounded after 32 products, elsewhere after each.
enum class Precision {
    fp32,  ///< not rounded
    bf16,  ///< bfloat16: 8 bits of significand
    /// With tiles, three numbers in bfloat16 for each, which have its 24 bits unless they are smaller than 1.2e-38:
    /// errors below fp32's, in less time. Infinite operands, and those above bfloat16's 3.39e38, make NaN. Without
    /// tiles: fp32.
    bf16x3
};

/// The name of a precision, as configurations and files have it: that of its value.
constexpr std::string_view name_of(Precision precision) {
    return precision == Precision::fp32 ? "fp32" : precision == Precision::bf16 ? "bf16" : "bf16x3";
}

/// What operands rounded to bfloat16 are made of: pairs of numbers, or of parts of numbers.
template <class P>
concept Bf16Operand = std::derived_from<P, simd::Bf16Pair>;

/// Steps of a chain over k numbers when an element of the operands is In. Of rounded ones: (k + 1) / 2 pairs for each
/// part, with zeros up to whole tiles.
template <class In>
constexpr std::size_t chain_steps(std::size_t k) {
    constexpr std::size_t side = simd::tile_side;
    return Bf16Operand<In> ? (k + 2 * side - 1) / (2 * side) * side * simd::parts<In> : k;
}

namespace detail {

/// Calls body.operator()<In>() with what In the operands of a precision are made of. Pairs are of floats: other types
/// know only fp32.
template <class T, class Body>
decltype(auto) with_operand(Precision precision, Body&& body) {
    if constexpr (std::same_as<T, float>) {
        if (precision == Precision::bf16) return body.template operator()<simd::Bf16Pair>();
        if constexpr (simd::tiles_compiled)
            if (precision == Precision::bf16x3 && simd::tiles_usable())
                return body.template operator()<simd::Bf16Part>();
    }
    return body.template operator()<T>();
}

/// Rows of the left operand whose sums tiles hold at once; a packed left operand has zeros up to a multiple of half.
inline constexpr std::size_t tiled_rows = 2 * simd::tile_side;

/// multiply_panels() by tiles, of a left operand with rows of whole tiles (chain_steps()) and zeros in the rows from m
/// to a multiple of tile_side. `portable`: by the twin of the instruction, for tests.
template <bool portable = false, class P>
void multiply_tiles(std::size_t m, const P* a, std::size_t a_row, const Panels<P>& b, std::size_t first_panel,
                    std::size_t last_panel, float* c, std::size_t c_row, const Epilogue<float>& end) {
    constexpr std::size_t side = simd::tile_side, v = simd::width<float>, w = 2 * v;
    const auto block = [&]<std::size_t R, std::size_t C>(const P* left, const P* right, float* to, std::size_t to_row) {
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
            const P *left = a + i * a_row, *right = b.at(p);
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
template <class P>
std::size_t row_unit() {
    return simd::parts<P> > 1 || simd::tiles_usable() ? simd::tile_side : many_rows;
}

/// Steps of k that a block takes at once, in whole tiles: 512 pairs, or 256 in three parts.
template <class P>
inline constexpr std::size_t bf16_block = simd::parts<P> > 1 ? 768 : 512;

/// The step of an operand in which part 0 of pair s stands.
template <class P>
constexpr std::size_t step_of(std::size_t s) {
    return s / simd::tile_side * simd::tile_side * simd::parts<P> + s % simd::tile_side;
}

/// c (+)= a b for panels [first_panel, last_panel), one thread: `a` has left_rows(m) rows of b.k pairs,
/// left_stride(b.k) apart. (A template so that only who calls it pays for compiling it.)
template <Bf16Operand P>
void multiply_pairs(std::size_t m, const P* a, const Panels<P>& b, std::size_t first_panel, std::size_t last_panel,
                    View<float> c, const Epilogue<float>& end) {
    const std::size_t stride = left_stride(b.k);
    if (simd::tiles_usable())
        multiply_tiles(m, a, stride, b, first_panel, last_panel, c.data, c.stride, end);
    else if constexpr (simd::parts<P> > 1)
        multiply_tiles<true>(m, a, stride, b, first_panel, last_panel, c.data, c.stride, end);
    else
        multiply_panels<P>(m, a, stride, 1, b, first_panel, last_panel, c.data, c.stride, end);
}

}  // namespace detail

/// pack_plain() of the rounded matrix, in pairs; `out` has room for as many as Panels::elements says
/// for matrix.cols columns and chain_steps<P>(matrix.rows) rows.
template <Bf16Operand P, ExecutorPolicy E>
Panels<P> pack_plain(const E& executor, View<const float> matrix, P* out) {
    constexpr std::size_t w = tile_columns<P>, parts = simd::parts<P>;
    constexpr std::size_t side = simd::tile_side;  // rows of so many steps are read as streams
    const std::size_t n = matrix.cols, k = matrix.rows, steps = chain_steps<P>(k), panels = (n + w - 1) / w;
    parallel_rows(executor, panels, k * w, [&](std::size_t first, std::size_t last) {
        for (std::size_t i = 0; i < steps / parts; i += side)
            for (std::size_t p = first; p < last; ++p) {
                const std::size_t columns = std::min(w, n - p * w);
                P* to = out + (p * steps + i * parts) * w;
                for (std::size_t s = i; s < i + side; ++s, to += w) {
                    const std::size_t rounded = 2 * s < k ? columns : 0;
                    if (rounded) {
                        const float* const row = matrix.row(2 * s) + p * w;
                        simd::round_pairs<parts>(row, 2 * s + 1 < k ? row + matrix.stride : nullptr, columns, to,
                                                 side * w);
                    }
                    for (std::size_t part = 0; part < parts; ++part)
                        std::fill(to + part * side * w + rounded, to + part * side * w + w, P{});
                }
            }
    });
    return {out, n, steps};
}
/// pack_transposed() of the rounded weights, in pairs; `out` has room for as many as Panels::elements
/// says for weights.rows columns and chain_steps<P>(weights.cols) rows.
template <Bf16Operand P, ExecutorPolicy E>
Panels<P> pack_transposed(const E& executor, View<const float> weights, P* out) {
    constexpr std::size_t w = tile_columns<P>, v = simd::width<P>, side = simd::tile_side, parts = simd::parts<P>;
    static_assert(side % v == 0);
    const std::size_t n = weights.rows, k = weights.cols, steps = chain_steps<P>(k), panels = (n + w - 1) / w;
    parallel_rows(executor, panels, k * w, [&](std::size_t first, std::size_t last) {
        for (std::size_t p = first; p < last; ++p)
            for (std::size_t j = p * w; j < (p + 1) * w; j += v)
                for (std::size_t s = 0; s < steps / parts; s += v) {
                    const std::size_t rows = j < n ? std::min(v, n - j) : 0, rest = 2 * s < k ? k - 2 * s : 0;
                    const float* const from = rows && rest ? weights.row(j) + 2 * s : weights.data;
                    simd::round_rows_across<parts>(from, weights.stride, rows, std::min(2 * v, rest),
                                                   out + (p * steps + detail::step_of<P>(s)) * w + j % w, w, side * w);
                }
    });
    return {out, n, steps};
}

/// multiply() of the rounded a and b, b packed before.
template <Bf16Operand P, ExecutorPolicy E, ViewOf<float> A, ViewOf<float> C>
void multiply(const E& executor, const A& a, const Panels<P>& b, const C& c, const Epilogue<float>& end = {}) {
    constexpr std::size_t side = simd::tile_side, parts = simd::parts<P>;
    const std::size_t m = a.rows, k = a.cols, panels = (b.n + tile_columns<P> - 1) / tile_columns<P>;
    if (m == 0 || b.n == 0) return;
    const auto piece = [&](std::size_t r, std::size_t rows, std::size_t p, std::size_t q) {
        std::size_t s0 = 0;
        do {
            Panels<P> right = b;
            right.data += s0 * b.step;
            right.k = std::min(detail::bf16_block<P>, b.k - s0);
            const std::size_t stride = detail::left_stride(right.k);
            P* const left = detail::thread_scratch<P>(2, detail::left_rows(rows) * stride);
            for (std::size_t i = 0; i < detail::left_rows(rows); ++i)
                for (std::size_t s = 0; s < right.k; s += side * parts) {
                    const std::size_t first = (s0 + s) / parts * 2;
                    const std::size_t numbers = i < rows && first < k ? std::min(2 * side, k - first) : 0;
                    if (i + 2 < rows) {  // the row after the next may come from memory
                        __builtin_prefetch(a.row(r + i + 2) + first);
                        __builtin_prefetch(a.row(r + i + 2) + first + side);
                    }
                    P* const to = left + i * stride + s;
                    if (numbers) simd::round_pairs<parts>(a.row(r + i) + first, numbers, to, side);
                    for (std::size_t part = 1; part <= parts; ++part)
                        std::fill(to + (part - 1) * side + (numbers + 1) / 2, to + part * side, P{});
                }
            Epilogue<float> now = s0 + right.k == b.k ? end : Epilogue<float>{};
            now.accumulate = s0 > 0 || end.accumulate;
            detail::multiply_pairs(rows, left, right, p, q, {c.row(r), rows, c.cols, c.stride}, now);
            s0 += right.k;
        } while (s0 < b.k);
        detail::drop_piece<P>(end.dropout, b.n, c, r, rows, p, q);
    };
    detail::for_each_piece<P>(executor, m, b.k, panels, piece, detail::row_unit<P>());
}

/// multiply_transposed() of the rounded a and b: c[M x N] += a^T b.
template <Bf16Operand P, ExecutorPolicy E>
void multiply_transposed(const E& executor, View<const float> a, View<const float> b, View<float> c) {
    constexpr std::size_t v = simd::width<P>, side = simd::tile_side, parts = simd::parts<P>;
    static_assert(side % v == 0);
    const std::size_t m = a.cols, k = a.rows, panels = (b.cols + tile_columns<P> - 1) / tile_columns<P>;
    if (m == 0 || b.cols == 0) return;
    const std::size_t row_block = detail::block_rows<P>(m, detail::row_unit<P>());
    const std::size_t row_blocks = (m + row_block - 1) / row_block;
    const std::size_t block = 2 * detail::bf16_block<P> / parts;
    P* packed = detail::thread_scratch<P>(0, Panels<P>::elements(b.cols, chain_steps<P>(std::min(k, block))));
    for (std::size_t k0 = 0; k0 < k; k0 += block) {
        const View<const float> left = a.rows_at(k0, std::min(block, k - k0));
        const Panels<P> right = pack_plain<P>(executor, b.rows_at(k0, left.rows), packed);
        executor(row_blocks, [&](std::size_t i) {
            const std::size_t r = i * row_block, rows = std::min(row_block, m - r);
            const std::size_t stride = detail::left_stride(right.k);
            P* const pairs = detail::thread_scratch<P>(2, detail::left_rows(rows) * stride);
            for (std::size_t s = 0; s < right.k / parts; s += v)
                for (std::size_t j = 0; j < detail::left_rows(rows); j += v) {
                    const std::size_t columns = j < rows ? std::min(v, rows - j) : 0;
                    const std::size_t rest = 2 * s < left.rows ? left.rows - 2 * s : 0;
                    const float* const from = columns && rest ? left.row(2 * s) + r + j : left.data;
                    simd::round_columns_along<parts>(from, left.stride, std::min(2 * v, rest), columns,
                                                     pairs + j * stride + detail::step_of<P>(s), stride, side);
                }
            detail::multiply_pairs(rows, pairs, right, 0, panels, {c.row(r), rows, c.cols, c.stride},
                                   {.accumulate = true});
        });
    }
}

}  // namespace hat
