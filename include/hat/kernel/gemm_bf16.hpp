#pragma once
/// \file
/// Matrix products whose operands are rounded to bfloat16, or split into parts in it, and whose sums are kept in float.
/// Matrices are float; rounding happens while operands are packed, or, of weights packed before, while they are read.
/// Every output is one chain over ascending k, whatever the
/// shape, the blocking and the thread count; what a link of it is depends on the instruction. Where there are tiles
/// (AMX, kernel/amx.hpp), it adds 32 products, as sums of two times 16, or six times that of numbers in three parts.
/// Elsewhere it adds one product, as in gemm.hpp: the register block is the same, a step of it just takes two
/// neighbours (with AVX512-BF16, in one instruction).

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <hat/kernel/amx.hpp>
#include <hat/kernel/gemm.hpp>
#include <iterator>
#include <string_view>
#include <type_traits>

namespace hat {

/// What operands of products are rounded to. Sums are float. With each, results are the same to the bit for any number
/// of threads and any blocking. With bf16 and bf16x3 they also depend on the instruction that does the products: where
/// it is that of tiles (AMX, simd::tiles_usable()), a sum is rounded after 32 products, elsewhere after each.
enum class Precision {
    fp32,  ///< not rounded
    bf16,  ///< bfloat16: 8 bits of significand
    /// With tiles, three numbers in bfloat16 for each, which have its 24 bits unless they are smaller than 1.2e-38:
    /// errors below fp32's, in less time. Infinite operands, and left ones above bfloat16's 3.39e38, make NaN.
    /// Without tiles: fp32.
    bf16x3
};

/// The name of a precision, as configurations and files have it: that of its value.
constexpr std::string_view name_of(Precision precision) {
    return precision == Precision::fp32 ? "fp32" : precision == Precision::bf16 ? "bf16" : "bf16x3";
}

/// Every precision.
inline constexpr std::array all_precisions{Precision::fp32, Precision::bf16, Precision::bf16x3};

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

/// Steps of k that a block takes at once, in whole tiles: 512 pairs, or 256 in three parts.
template <class P>
inline constexpr std::size_t bf16_block = simd::parts<P> > 1 ? 768 : 512;

/// A right operand of multiply_tiles(): panels of pairs, as they are.
template <Bf16Operand P>
struct PairPanels {
    explicit PairPanels(const Panels<P>& panels) : n(panels.n), k(panels.k), b(panels) {}
    const std::size_t n;  ///< columns
    const std::size_t k;  ///< steps
    const Panels<P>& b;   ///< the operand

    /// Panel p, for the first rows or for others.
    simd::StepsInMemory<P> panel(std::size_t p, bool /*first*/) const { return {b.at(p), b.step}; }
};

/// A right operand of multiply_tiles(): panels of floats, rounded a few rows at a time while tiles multiply the steps
/// before. It goes through panels [first_panel, last_panel) once, in this order.
template <Bf16Operand P>
class RoundedPanels {
    static constexpr std::size_t parts = simd::parts<P>, w = tile_columns<P>, side = simd::tile_side;
    static constexpr std::size_t block = simd::steps_at_once<P> * w;  // pairs that dot_tiles() takes at once
    static constexpr std::size_t pairs = side / simd::prepare_calls;  // steps that prepare() rounds, two rows each
    static constexpr std::size_t streams = 4;                         // that are read from memory at once
    static_assert(w == tile_columns<float>);

public:
    const std::size_t n;  ///< columns
    const std::size_t k;  ///< steps

    /// Rows of `b` from first_row on, as many as are in `steps`. `keep`: panel() may be asked for a panel again until
    /// it is asked for the next one.
    RoundedPanels(const Panels<float>& b, std::size_t first_panel, std::size_t last_panel, std::size_t first_row,
                  std::size_t steps, bool keep)
        : n(b.n),
          k(steps),
          b_(b),
          first_panel_(first_panel),
          last_panel_(last_panel),
          first_row_(first_row),
          last_row_(first_row + steps / parts * 2),
          blocks_(keep ? std::bit_ceil(steps * w / block + 1) : 2),
          memory_(thread_scratch<P>(3, blocks_ * block)) {
        enter(first_panel);
        soon_ = from_;
    }

    /// Before begin(): prefetches 16 lines of the first panel, unless they all were.
    void fetch() {
        if (soon_ >= from_ + stream_) return;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < pairs; ++i) fetch_lines(soon_ + i * simd::width<float>);
        soon_ += pairs * simd::width<float>;
    }
    /// Rounds the first steps: tiles can begin.
    void begin() {
        if (k == 0) return;
        enter(first_panel_);
        for (std::size_t i = 0; i < simd::prepare_calls; ++i) prepare();
    }

    /// All of panel p, when `keep` was said.
    const P* whole(std::size_t p) {
        enter(p);
        block_number_ = 0;
        for (std::size_t i = 0; i < k * w / block * simd::prepare_calls; ++i) prepare();
        return memory_;
    }
    /// What dot_tiles() reads.
    struct Steps {
        RoundedPanels& all;
        std::size_t first;                      ///< number of the panel's first block
        bool fresh;                             ///< whether what comes next must be prepared
        static constexpr std::size_t step = w;  ///< pairs from a step to the next

        const P* at(std::size_t s) const {
            return all.memory_ + ((first + s / simd::steps_at_once<P>)&(all.blocks_ - 1)) * block;
        }
        void prepare() const {
            if (fresh) all.prepare();
        }
    };
    /// Panel p, for the first rows or (if kept) for others.
    Steps panel(std::size_t p, bool first) { return {*this, (p - first_panel_) * (k * w / block), first}; }

private:
    void enter(std::size_t panel) {
        panel_ = panel, row_ = first_row_;
        if (panel == last_panel_) return;
        from_ = b_.at(panel) + row_ * b_.step;
        soon_ = (panel + 1) * w < b_.n ? b_.at(panel + 1) + row_ * b_.step : from_;
        stream_ = (last_row_ - first_row_) * w / streams;
    }
    /// Prefetches a line of each stream.
    void fetch_lines(const float* at) const {
#pragma GCC unroll 4
        for (std::size_t t = 0; t < streams; ++t) __builtin_prefetch(at + t * stream_, 0, 2);  // into the second cache
    }
    /// Rounds the next `pairs` steps.
    void prepare() {
        if (panel_ == last_panel_) return;
        const std::size_t rows = b_.k, step = b_.step, in_block = (row_ - first_row_) / 2 % side;
        const float* const from = from_;
        P* const to = memory_ + (block_number_ & (blocks_ - 1)) * block + in_block * w;
        // the hardware's prefetchers stop at a page's end: the first lines of the next one start them there
        constexpr std::uintptr_t page = 4096;
        const auto at = reinterpret_cast<std::uintptr_t>(soon_);
        if (at % page >= page / 4 * 3)
            fetch_lines(reinterpret_cast<const float*>(at / page * page + page + at % (page / 4) / 4));
#pragma GCC unroll 4
        for (std::size_t i = 0; i < pairs; ++i) {
            const std::size_t row = row_ + 2 * i;
            const float* const first = from + 2 * i * step;
            fetch_lines(soon_ + i * simd::width<float>);
            if (row + 1 < rows)
                simd::round_right<parts>(first, first + step, w, to + i * w, side * w);
            else if (row < rows)
                simd::round_right<parts>(first, nullptr, w, to + i * w, side * w);
            else
                for (std::size_t part = 0; part < parts; ++part) std::fill_n(to + part * side * w + i * w, w, P{});
        }
        soon_ += pairs * simd::width<float>;
        from_ += 2 * pairs * step;
        row_ += 2 * pairs;
        if (in_block + pairs == side) ++block_number_;
        if (row_ == last_row_) enter(panel_ + 1);
    }

    const Panels<float>& b_;
    std::size_t first_panel_, last_panel_, first_row_, last_row_;
    std::size_t blocks_;  // in memory_, a power of two
    P* memory_;
    std::size_t panel_ = 0, row_ = 0, block_number_ = 0;  // what prepare() does next
    const float* from_ = nullptr;                         // the same
    const float* soon_ = nullptr;                         // what is prefetched next, of a quarter of a panel
    std::size_t stream_ = 0;                              // numbers in a quarter
};

/// multiply_panels() by tiles, of a left operand with rows of whole tiles (chain_steps()) and zeros in the rows from m
/// to a multiple of tile_side. `portable`: by the twin of the instruction, for tests.
template <bool portable = false, class P, class Right>
void multiply_tiles(std::size_t m, const P* a, std::size_t a_row, Right& b, std::size_t first_panel,
                    std::size_t last_panel, float* c, std::size_t c_row, const Epilogue<float>& end) {
    constexpr std::size_t side = simd::tile_side, v = simd::width<float>, w = 2 * v;
    const auto block = [&]<std::size_t R, std::size_t C>(const P* left, const auto& right, float* to,
                                                         std::size_t to_row) {
        if constexpr (portable)
            simd::dot_tiles_by_twin<R, C>(b.k, left, a_row, right, to, to_row, end.accumulate);
        else
            simd::dot_tiles<R, C>(b.k, left, a_row, right, to, to_row, end.accumulate);
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
            const P* const left = a + i * a_row;
            const auto right = b.panel(p, i == 0);
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

/// The step of an operand in which part 0 of pair s stands.
template <class P>
constexpr std::size_t step_of(std::size_t s) {
    return s / simd::tile_side * simd::tile_side * simd::parts<P> + s % simd::tile_side;
}

/// c (+)= a b for panels [first_panel, last_panel), one thread: `a` has left_rows(m) rows of b.k pairs,
/// left_stride(b.k) apart; b is Panels<P> or RoundedPanels<P>. (A template so that only who calls it pays for compiling
/// it.)
template <Bf16Operand P, class Right>
void multiply_pairs(std::size_t m, const P* a, Right& b, std::size_t first_panel, std::size_t last_panel, View<float> c,
                    const Epilogue<float>& end) {
    constexpr std::size_t w = tile_columns<P>;
    constexpr bool ready = std::same_as<std::remove_const_t<Right>, Panels<P>>;
    const std::size_t stride = left_stride(b.k);
    const auto by_tiles = [&]<bool portable>() {
        const auto with = [&](auto& right) {
            multiply_tiles<portable>(m, a, stride, right, first_panel, last_panel, c.data, c.stride, end);
        };
        if constexpr (ready) {
            const PairPanels<P> right(b);
            with(right);
        } else {
            b.begin();
            with(b);
        }
    };
    if (simd::tiles_usable()) return by_tiles.template operator()<false>();
    if constexpr (simd::parts<P> != 1)
        by_tiles.template operator()<true>();
    else if constexpr (ready)
        multiply_panels<P>(m, a, stride, 1, b, first_panel, last_panel, c.data, c.stride, end);
    else
        for (std::size_t p = first_panel; p < last_panel; ++p) {
            Epilogue<float> here = end;
            if (here.bias) here.bias += p * w;
            multiply_panels<P>(m, a, stride, 1, Panels<P>{b.whole(p), std::min(w, b.n - p * w), b.k}, 0, 1,
                               c.data + p * w, c.stride, here);
        }
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
                        simd::round_right<parts>(row, 2 * s + 1 < k ? row + matrix.stride : nullptr, columns, to,
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
                    simd::round_right_across<parts>(from, weights.stride, rows, std::min(2 * v, rest),
                                                    out + (p * steps + detail::step_of<P>(s)) * w + j % w, w, side * w);
                }
    });
    return {out, n, steps};
}

/// multiply() of the rounded a and b. b is packed before: in P, or in floats, which are rounded as they are read.
template <Bf16Operand P, ExecutorPolicy E, ViewOf<float> A, class B, ViewOf<float> C>
requires(std::same_as<B, P> || std::same_as<B, float>) void multiply(const E& executor, const A& a, const Panels<B>& b,
                                                                     const C& c, const Epilogue<float>& end = {}) {
    constexpr std::size_t side = simd::tile_side, parts = simd::parts<P>, w = tile_columns<P>;
    const std::size_t m = a.rows, k = a.cols, panels = (b.n + w - 1) / w, all_steps = chain_steps<P>(k);
    if (m == 0 || b.n == 0) return;
    const auto piece = [&](std::size_t r, std::size_t rows, std::size_t p, std::size_t q) {
        // few rows: all of the left operand stays near
        const bool few = std::same_as<B, float> && rows <= detail::tiled_rows;
        std::size_t s0 = 0;
        do {
            const std::size_t steps = few ? all_steps : std::min(detail::bf16_block<P>, all_steps - s0);
            auto right = [&] {
                if constexpr (std::same_as<B, P>)
                    return Panels<P>{b.data + s0 * b.step, b.n, steps, b.step, b.panel, b.share};
                else
                    return detail::RoundedPanels<P>(b, p, q, s0 / parts * 2, steps, !few || !simd::tiles_usable());
            }();
            const std::size_t stride = detail::left_stride(steps);
            P* const left = detail::thread_scratch<P>(2, detail::left_rows(rows) * stride);
            for (std::size_t i = 0; i < detail::left_rows(rows); ++i) {
                if constexpr (std::same_as<B, float>)
                    for (std::size_t t = 0; few && t < 4; ++t) right.fetch();
                for (std::size_t s = 0; s < steps; s += side * parts) {
                    const std::size_t first = (s0 + s) / parts * 2;
                    const std::size_t numbers = i < rows && first < k ? std::min(2 * side, k - first) : 0;
                    if (i + 2 < rows) {  // the row after the next may come from memory
                        __builtin_prefetch(a.row(r + i + 2) + first);
                        __builtin_prefetch(a.row(r + i + 2) + first + side);
                    }
                    P* const to = left + i * stride + s;
                    if (numbers) simd::round_left<parts>(a.row(r + i) + first, numbers, to, side);
                    for (std::size_t part = 1; part <= parts; ++part)
                        std::fill(to + (part - 1) * side + (numbers + 1) / 2, to + part * side, P{});
                }
            }
            Epilogue<float> now = s0 + steps == all_steps ? end : Epilogue<float>{};
            now.accumulate = s0 > 0 || end.accumulate;
            detail::multiply_pairs<P>(rows, left, right, p, q, {c.row(r), rows, c.cols, c.stride}, now);
            s0 += steps;
        } while (s0 < all_steps);
        detail::drop_piece<P>(end.dropout, b.n, c, r, rows, p, q);
    };
    if constexpr (std::same_as<B, P>) {
        detail::for_each_piece<P>(executor, m, all_steps, panels, piece, detail::row_unit<P>());
    } else {
        // every block of rows rounds its panels once more, and every piece its part of the left operand: few blocks,
        // and hardly more pieces than threads
        constexpr std::size_t most_rows = 256, least_work = std::size_t{1} << 20;
        const std::size_t blocks = (m + most_rows - 1) / most_rows, rows = detail::left_rows((m + blocks - 1) / blocks);
        std::size_t columns = std::clamp<std::size_t>(m * k * b.n / least_work, 1, panels);
        if constexpr (requires { executor.threads(); })
            columns = std::min(columns, (threads_of(executor) - 1) / blocks + 1);
        executor(blocks * columns, [&](std::size_t i) {
            const std::size_t r = i / columns * rows, c0 = i % columns;
            if (r < m) piece(r, std::min(rows, m - r), panels * c0 / columns, panels * (c0 + 1) / columns);
        });
    }
}

/// multiply_transposed() of the rounded a and b: c[M x N] += a^T b.
template <Bf16Operand P, ExecutorPolicy E>
void multiply_transposed(const E& executor, View<const float> a, View<const float> b, View<float> c) {
    constexpr std::size_t v = simd::width<P>, side = simd::tile_side, parts = simd::parts<P>;
    static_assert(side % v == 0);
    const std::size_t m = a.cols, k = a.rows, panels = (b.cols + tile_columns<P> - 1) / tile_columns<P>;
    if (m == 0 || b.cols == 0) return;
    const std::size_t block = 2 * detail::bf16_block<P> / parts;
    const detail::RowBlocks<P> blocks(m, std::min(k, block) * b.cols, threads_of(executor), detail::row_unit<P>());
    P* packed = detail::thread_scratch<P>(0, Panels<P>::elements(b.cols, chain_steps<P>(std::min(k, block))));
    for (std::size_t k0 = 0; k0 < k; k0 += block) {
        const View<const float> left = a.rows_at(k0, std::min(block, k - k0));
        const Panels<P> right = pack_plain<P>(executor, b.rows_at(k0, left.rows), packed);
        executor(blocks.count(), [&](std::size_t i) {
            const std::size_t r = blocks.begin(i), rows = blocks.rows(i);
            const std::size_t stride = detail::left_stride(right.k);
            P* const pairs = detail::thread_scratch<P>(2, detail::left_rows(rows) * stride);
            for (std::size_t s = 0; s < right.k / parts; s += v)
                for (std::size_t j = 0; j < detail::left_rows(rows); j += v) {
                    const std::size_t columns = j < rows ? std::min(v, rows - j) : 0;
                    const std::size_t rest = 2 * s < left.rows ? left.rows - 2 * s : 0;
                    const float* const from = columns && rest ? left.row(2 * s) + r + j : left.data;
                    simd::round_left_along<parts>(from, left.stride, std::min(2 * v, rest), columns,
                                                  pairs + j * stride + detail::step_of<P>(s), stride, side);
                }
            detail::multiply_pairs(rows, pairs, right, 0, panels, {c.row(r), rows, c.cols, c.stride},
                                   {.accumulate = true});
        });
    }
}

}  // namespace hat
