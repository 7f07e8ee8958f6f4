#pragma once
/// \file
/// Matrix products. Every output is one fused-multiply-add chain over ascending k, whatever the shape, the blocking,
/// the thread count or the packing; that is what makes elastic, extracted and static models equal to the bit.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/executor.hpp>
#include <hat/core/extent.hpp>
#include <hat/kernel/dropout.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/simd.hpp>
#include <type_traits>
#include <utility>

namespace hat {

/// What happens to a product: c = dropout(scale * relu(product + bias)). Dropout is applied to blocks of outputs that
/// are still in the cache, the rest before they are stored.
template <class T>
struct Epilogue {
    const T* bias = nullptr;  ///< one number per output column
    bool relu = false;        ///< after the bias
    T scale = T(1);           ///< of all outputs
    bool accumulate = false;  ///< the chain starts from c instead of zero: a residual in c is added
    Dropout dropout{};        ///< of the outputs, numbered as by apply_dropout()
};

/// What sums of products of In are held in: its own type, or float for pairs of bfloat16.
template <class In>
using Sum = std::conditional_t<std::derived_from<In, simd::Bf16Pair>, float, In>;

/// Columns of the register block of a product, and of a panel: two vectors.
template <class T>
inline constexpr std::size_t tile_columns = 2 * simd::width<T>;
/// Rows of the register block of a product: tile_rows x tile_columns accumulators.
template <class T>
inline constexpr std::size_t tile_rows = simd::registers == 32 ? 14 : 6;
/// Vectors of columns of the register block for more rows than that: of all blocks that fit into the registers, the one
/// with the most multiply-adds for each other instruction.
inline constexpr std::size_t many_vectors = simd::registers == 32 ? 3 : 2;
/// Rows of the register block for more rows than tile_rows.
inline constexpr std::size_t many_rows = simd::registers == 32 ? 9 : 6;

/// The right operand of a product, K x N, in panels of w = tile_columns<T> columns: element (k, n) lies at
/// data[(n / w) * panel + k * step + n % w]; missing columns of the last panel are zero. Packed panels are dense; a
/// plain matrix whose width is a multiple of w is in panels as it stands (step = its stride, panel = w). Stored panels
/// may be wider than w, so that memory packed for one instruction set serves them all: `share` of w columns then lie
/// side by side in a stored panel of `step` = share * w columns.
template <class T, Extent N = std::size_t, Extent K = std::size_t>
struct Panels {
    const T* data = nullptr;                                            ///< element (0, 0)
    [[no_unique_address]] N n{};                                        ///< columns
    [[no_unique_address]] K k{};                                        ///< rows
    std::size_t step = tile_columns<T>;                                 ///< elements from a row of a panel to the next
    std::size_t panel = static_cast<std::size_t>(k) * tile_columns<T>;  ///< elements from a stored panel to the next
    std::size_t share = 1;                                              ///< panels of w columns in a stored one

    /// The first element of panel p.
    const T* at(std::size_t p) const {
        return share == 1 ? data + p * panel : data + p / share * panel + p % share * tile_columns<T>;
    }
    /// Numbers that a packed K x N operand takes.
    static constexpr std::size_t elements(std::size_t n, std::size_t k) {
        return (n + tile_columns<T> - 1) / tile_columns<T> * tile_columns<T> * k;
    }
};

/// Columns of a panel in memory that is packed for every instruction set.
inline constexpr std::size_t stored_columns = 32;

/// Numbers of a K x N operand packed for every instruction set.
constexpr std::size_t stored_elements(std::size_t n, std::size_t k) {
    return (n + stored_columns - 1) / stored_columns * stored_columns * k;
}
/// An operand packed for every instruction set: stored_elements(n, k) numbers from `data`.
template <class T, Extent N, Extent K>
constexpr Panels<T, N, K> stored_panels(const T* data, N n, K k) {
    static_assert(stored_columns % tile_columns<T> == 0);
    return {data, n, k, stored_columns, static_cast<std::size_t>(k) * stored_columns, stored_columns / tile_columns<T>};
}

namespace detail {

/// Panel p of the K x N operand whose element (k, n) is b[k * k_step + n * n_step].
template <class T>
void pack_panel(const T* b, std::size_t k_step, std::size_t n_step, std::size_t n, std::size_t k, std::size_t p,
                T* out) {
    constexpr std::size_t w = tile_columns<T>;
    const std::size_t first = p * w, columns = std::min(w, n - first);
    const T* in = b + first * n_step;
    if (n_step == 1) {
        for (std::size_t i = 0; i < k; ++i) {
            const T* row = in + i * k_step;
            T* to = out + i * w;
            for (std::size_t j = 0; j < w; j += simd::width<T>)
                simd::store(to + j, j + simd::width<T> <= columns ? simd::load(row + j)
                                    : j < columns                 ? simd::load_partial(row + j, columns - j)
                                                                  : simd::zero<T>());
        }
    } else {
        constexpr std::size_t v = simd::width<T>;
        for (std::size_t i = 0; i < k; i += v)
            for (std::size_t j = 0; j < w; j += v)
                simd::transpose(j < columns ? in + j * n_step + i : in, n_step,
                                j < columns ? std::min(v, columns - j) : 0, std::min(v, k - i), out + i * w + j, w);
    }
}

/// How tiles of few rows read a right operand, which is a matter of the processor's own prefetchers
/// (docs/performance.md, "Products"). No result depends on it.
struct Streaming {
    std::size_t one_row;   ///< bytes that tiles of one and two rows prefetch ahead; 0: they leave it to the processor
    std::size_t few_rows;  ///< bytes that tiles of three to seven rows prefetch ahead
    bool turns;            ///< whether tiles take turns
    bool once;             ///< whether tiles of three to six rows prefetch what comes from far for a single use
};
/// What suits this processor; tests set others, too.
inline Streaming streaming = simd::made_by_amd() ? Streaming{0, 2560, false, true} : Streaming{2048, 4096, true, false};

/// R rows times C vectors of columns, k steps. `a` has strides (a_row, a_col); `b` holds the first element of each pair
/// of vectors when C is even (they lie side by side), of each vector when it is odd; their rows are `b_step` elements
/// apart. With `load`, the chains continue from c. `next` is where the caller's next tile will store. `soon` is null,
/// or memory that the caller will read later: tiles of many rows prefetch it, `soon_step` elements for each step.
/// `once` says that b comes from far and is read by this tile only: see Streaming::once. `near` says that all operands
/// are in a near cache, and that there is neither `load` nor `end`: nothing but the product.
template <std::size_t R, std::size_t C, class In, Extent K = std::size_t, bool near = false, class T = Sum<In>>
void tile(K k, const In* a, std::size_t a_row, std::size_t a_col, const In* const* b, std::size_t b_step, T* c,
          std::size_t c_row, std::size_t columns, bool load, const Epilogue<T>* end, T* next, const In* soon,
          std::size_t soon_step, bool once) {
    using V = simd::Vec<T>;
    constexpr std::size_t W = simd::width<T>, together = C % 2 == 0 ? 2 : 1;
    V acc[R][C];
    // one pointer and distances from it: a single addition takes all vectors to the next step
    const In* right_at = b[0];
    std::ptrdiff_t distance[C / together];
#pragma GCC unroll 16
    for (std::size_t j = 0; j < C / together; ++j) distance[j] = b[j] - b[0];
    const auto at = [&](std::size_t j) { return right_at + distance[j / together] + j % together * W; };
    const auto partial = [&](std::size_t j) -> std::size_t {  // valid numbers in vector j
        return columns <= j * W ? 0 : std::min(W, columns - j * W);
    };
    if (!near && load) {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < R; ++i)
#pragma GCC unroll 16
            for (std::size_t j = 0; j < C; ++j) {
                const std::size_t n = partial(j);
                acc[i][j] = n == W ? simd::load(c + i * c_row + j * W)
                            : n    ? simd::load_partial(c + i * c_row + j * W, n)
                                   : simd::zero<T>();
            }
    } else {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < R; ++i)
#pragma GCC unroll 16
            for (std::size_t j = 0; j < C; ++j) acc[i][j] = simd::zero<T>();
    }
    // one pointer for five rows: the distances of 1 .. 4 rows are shared, so that all addresses stay in registers
    constexpr std::size_t bases = (R + 4) / 5;
    const In* base[bases];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < bases; ++i) base[i] = a + 5 * i * a_row;
    // b streams, from memory when there are few rows: the hardware's prefetchers stop at every page
    constexpr bool few = R <= tile_rows<In> / 2;
    std::size_t ahead = (!few ? 2048 : R > 2 ? streaming.few_rows : streaming.one_row) / sizeof(In);
    const auto one_step = [&]<int locality = 3>(std::integral_constant<int, locality> = {}) {
        decltype(simd::load(a)) right[C];
#pragma GCC unroll 16
        for (std::size_t j = 0; j < C; ++j) {
            if constexpr (!near)
                if (R > 2 || ahead > 0) __builtin_prefetch(at(j) + ahead, 0, locality);
            right[j] = simd::load(at(j));
        }
#pragma GCC unroll 16
        for (std::size_t i = 0; i < R; ++i) {
            const auto left = simd::splat(base[i / 5][i % 5 * a_row]);
#pragma GCC unroll 16
            for (std::size_t j = 0; j < C; ++j) acc[i][j] = simd::fma(left, right[j], acc[i][j]);
        }
#pragma GCC unroll 16
        for (std::size_t i = 0; i < bases; ++i) base[i] += a_col;
        right_at += b_step;
    };
    std::size_t kk = 0;
    if constexpr (!near && few && R > 2 && C != 3)
        if (once) {
            // as many steps at a time as are prefetched ahead: what follows the last of them is read by the next tile,
            // which begins `over` further. Of every stream one line two pages ahead, too: by the time that its page is
            // needed, its address is translated, for which prefetching would wait
            constexpr std::size_t two_pages = 8192 / sizeof(In);
            constexpr std::integral_constant<int, 0> into_first_cache_only{};
            const std::size_t part = std::max<std::size_t>(16, ahead / b_step);  // some, whatever a step is
            const std::ptrdiff_t over = distance[C / together - 1];
            for (std::size_t left = k % part; left > 0; --left) one_step(into_first_cache_only);
            for (kk = k % part; kk < k; kk += part) {
                const std::ptrdiff_t beyond =
                    static_cast<std::ptrdiff_t>(two_pages) + (kk + two_pages / b_step < k ? 0 : over);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < C; j += together) __builtin_prefetch(at(j) + beyond);
                if (kk + part == k) ahead += static_cast<std::size_t>(over);
                for (std::size_t left = part; left > 0; --left) one_step(into_first_cache_only);
            }
        }
    if constexpr (!near && (!few || C == 3)) {  // three vectors: seven rows may be one of many tiles
        // many rows: the left operand and the output of the next tile may come from memory, too; a few lines at a time
        constexpr std::size_t part = 16, page = 4096, rows = few ? 0 : R;
        for (std::size_t row = 0; kk + part <= k && (row < rows || soon); ++row, kk += part) {
            if (row < rows) {
#pragma GCC unroll 16
                for (std::size_t i = 0; i < R; ++i) __builtin_prefetch(base[i / 5] + i % 5 * a_row + 2 * part * a_col);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < C; ++j) __builtin_prefetch(next + row * c_row + j * W, 1);
            }
            if (soon) {
                // the next page but one, so that its address is translated by the time it is needed
                const auto beyond = reinterpret_cast<std::uintptr_t>(soon) + 2 * page;
                __builtin_prefetch(reinterpret_cast<const void*>(beyond / page * page), 0, 2);
                for (std::size_t left = part; left > 0; --left, soon += soon_step) {
                    __builtin_prefetch(soon, 0, 2);  // into the second cache
                    one_step();
                }
            } else
                for (std::size_t left = part; left > 0; --left) one_step();
        }
    }
    for (; kk < k; ++kk) one_step();
    if (!near && end) {
#pragma GCC unroll 16
        for (std::size_t j = 0; j < C; ++j) {
            const std::size_t n = partial(j);
            if (n == 0) continue;
            if (end->bias) {
                const V bias = n == W ? simd::load(end->bias + j * W) : simd::load_partial(end->bias + j * W, n);
#pragma GCC unroll 16
                for (std::size_t i = 0; i < R; ++i) acc[i][j] = acc[i][j] + bias;
            }
            if (end->relu)
#pragma GCC unroll 16
                for (std::size_t i = 0; i < R; ++i) acc[i][j] = simd::max(simd::zero<T>(), acc[i][j]);  // keeps a NaN
            if (end->scale != T(1))
#pragma GCC unroll 16
                for (std::size_t i = 0; i < R; ++i) acc[i][j] = acc[i][j] * simd::splat(end->scale);
        }
    }
    if (columns == C * W) {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < R; ++i)
#pragma GCC unroll 16
            for (std::size_t j = 0; j < C; ++j) simd::store(c + i * c_row + j * W, acc[i][j]);
    } else {
#pragma GCC unroll 16
        for (std::size_t i = 0; i < R; ++i)
#pragma GCC unroll 16
            for (std::size_t j = 0; j < C; ++j) {
                const std::size_t n = partial(j);
                if (n == W)
                    simd::store(c + i * c_row + j * W, acc[i][j]);
                else if (n)
                    simd::store_partial(c + i * c_row + j * W, acc[i][j], n);
            }
    }
}

/// Vectors of columns that a tile of few rows takes at once. Few rows need several panels to fill the pipelines, and
/// read them from memory as several streams; the sums, a row of each vector and a number of the left operand must fit
/// into the registers. Never fewer than two, the width of a panel.
constexpr std::size_t vectors_at_once(std::size_t rows) {
    if (rows == 1) return 8;
    for (std::size_t vectors = 8; vectors > 2; vectors /= 2)
        if (vectors * (rows + 1) + 1 <= simd::registers) return vectors;
    return rows <= many_rows ? many_vectors : 2;
}

/// tile<R, C> for R = 1 .. tile_rows, as tables: a panel at a time, or as many vectors as suit the rows.
template <class In>
using Tile = void (*)(std::size_t, const In*, std::size_t, std::size_t, const In* const*, std::size_t, Sum<In>*,
                      std::size_t, std::size_t, bool, const Epilogue<Sum<In>>*, Sum<In>*, const In*, std::size_t, bool);
template <class In, bool wide>
inline constexpr std::array<Tile<In>, tile_rows<In>> tiles = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<Tile<In>, sizeof...(I)>{&tile < I + 1, wide ? vectors_at_once(I + 1) : 2, In > ...};
}
(std::make_index_sequence<tile_rows<In>>{});
/// The tiles of many rows: spread evenly, they never have fewer than two thirds of many_rows.
template <class In>
inline constexpr std::array<Tile<In>, many_rows> many_tiles = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<Tile<In>, sizeof...(I)>{&tile<std::max(I + 1, many_rows * 2 / 3), many_vectors, In>...};
}
(std::make_index_sequence<many_rows>{});

/// tile<R, 2> for R = 1 .. tile_rows and near operands.
template <class In>
inline constexpr std::array<Tile<In>, tile_rows<In>> near_tiles = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<Tile<In>, sizeof...(I)>{&tile<I + 1, 2, In, std::size_t, true>...};
}
(std::make_index_sequence<tile_rows<In>>{});

/// Memory of the calling thread for packing; slot 0: right operands, 1: left operands, 2..: kernels' own.
template <class T>
T* thread_scratch(std::size_t slot, std::size_t n) {
    thread_local std::array<AlignedBuffer<T>, 8> buffers;
    buffers[slot].reset(n);
    return buffers[slot].data();
}

/// thread_scratch(), or memory that the executor has planned for the purpose.
template <class T, ExecutorPolicy E>
T* scratch(const E& executor, std::size_t slot, std::size_t n) {
    if constexpr (requires { executor.template scratch<T>(slot, n); })
        return executor.template scratch<T>(slot, n);
    else
        return thread_scratch<T>(slot, n);
}

/// Steps of k that a block of a product takes at once, at most: a panel's part then stays in the second cache.
inline constexpr std::size_t k_block = 1024;
/// Steps of k that multiply_transposed() packs at a time, about: more of b would not stay near until it is read.
inline constexpr std::size_t packed_steps = 512;
/// Bytes of a right operand from which on it is taken to come from far: half of a large second cache.
inline constexpr std::size_t far_bytes = std::size_t{1} << 20;
/// Tiles of rows that share the prefetching of the panels to come: when more do, each asks for the same line more
/// often.
inline constexpr std::size_t sharers_at_most = 6;

/// Tiles that take turns, and steps of a turn.
inline constexpr std::size_t turn_tiles = 3, turn_steps = 8;
/// Fewest rows of tiles that take turns (tiles of fewer rows read enough streams by themselves), and most.
inline constexpr std::size_t turn_rows = 3, turn_rows_at_most = 6;
/// Bytes of a right operand from which on tiles take turns: more than a large second cache holds. From that cache one
/// tile reads fast enough, and keeping sums would only cost.
inline constexpr std::size_t turns_from_bytes = 2 * far_bytes + 1;
/// Panels of all tiles that take turns, two each.
inline constexpr std::size_t turn_panels = 2 * turn_tiles;
/// Whether tiles of m rows may take turns: only where a tile has two panels, which is where it was measured.
template <Extent M>
constexpr bool may_take_turns(M m) {
    return simd::registers == 32 && m >= turn_rows && m <= turn_rows_at_most;
}

/// R rows times turn_panels whole panels; b[p] is the first element of panel p. Memory sends more when more streams
/// are read side by side than one tile reads, but the sums of more would not fit into the registers: tiles take turns
/// of a few steps, and meanwhile the others' sums wait in the first cache.
template <std::size_t R, class T>
void tiles_in_turns(std::size_t k, const T* a, std::size_t a_row, std::size_t a_col, const T* const* b,
                    std::size_t b_step, T* c, std::size_t c_row, Epilogue<T> end) {
    using V = simd::Vec<T>;
    constexpr std::size_t C = 4, W = simd::width<T>, ahead = 2048 / sizeof(T);
    static_assert(C == vectors_at_once(R));
    alignas(64) T sums[turn_tiles][R][C * W];
    const std::size_t steps = (k - 1) / turn_steps * turn_steps;  // the others come with the epilogue
    for (std::size_t k0 = 0; k0 < steps; k0 += turn_steps)
        for (std::size_t t = 0; t < turn_tiles; ++t) {
            V acc[R][C];
#pragma GCC unroll 16
            for (std::size_t i = 0; i < R; ++i)
#pragma GCC unroll 16
                for (std::size_t j = 0; j < C; ++j)
                    acc[i][j] = k0 == 0 ? simd::zero<T>() : simd::load(sums[t][i] + j * W);
            const T* left = a + k0 * a_col;
            const T* right_at = b[2 * t] + k0 * b_step;
            const std::ptrdiff_t distance = b[2 * t + 1] - b[2 * t];
            for (std::size_t kk = 0; kk < turn_steps; ++kk) {
                V right[C];
#pragma GCC unroll 16
                for (std::size_t j = 0; j < C; ++j) {
                    const T* const at = right_at + (j < 2 ? 0 : distance) + j % 2 * W;
                    __builtin_prefetch(at + ahead);
                    right[j] = simd::load(at);
                }
#pragma GCC unroll 16
                for (std::size_t i = 0; i < R; ++i) {
                    const V x = simd::splat(left[i * a_row]);
#pragma GCC unroll 16
                    for (std::size_t j = 0; j < C; ++j) acc[i][j] = simd::fma(x, right[j], acc[i][j]);
                }
                left += a_col;
                right_at += b_step;
            }
#pragma GCC unroll 16
            for (std::size_t i = 0; i < R; ++i)
#pragma GCC unroll 16
                for (std::size_t j = 0; j < C; ++j) simd::store(sums[t][i] + j * W, acc[i][j]);
        }
    for (std::size_t t = 0; t < turn_tiles; ++t, c += C * W) {
        for (std::size_t i = 0; i < R; ++i) std::copy_n(sums[t][i], C * W, c + i * c_row);
        const T* const right[] = {b[2 * t] + steps * b_step, b[2 * t + 1] + steps * b_step};
        tile<R, C, T>(k - steps, a + steps * a_col, a_row, a_col, right, b_step, c, c_row, C * W, true, &end, c + C * W,
                      nullptr, 0, false);
        if (end.bias) end.bias += C * W;
    }
}

/// tiles_in_turns<m>.
template <class T, Extent M, class... Arguments>
void take_turns(M m, Arguments... arguments) {
    if constexpr (FixedExtent<M>)
        return tiles_in_turns<M::value, T>(arguments...);
    else
        switch (m) {
            case 3:
                return tiles_in_turns<3, T>(arguments...);
            case 4:
                return tiles_in_turns<4, T>(arguments...);
            case 5:
                return tiles_in_turns<5, T>(arguments...);
            default:
                return tiles_in_turns<turn_rows_at_most, T>(arguments...);
        }
}

/// c[m x n] (+)= a[m x k] b for panels [first_panel, last_panel), one thread. K is cut into blocks that reload the
/// accumulators: the chains stay whole.
template <class In, Extent M, Extent N, Extent K, class T = Sum<In>>
void multiply_panels(M m, const In* a, std::size_t a_row, std::size_t a_col, const Panels<In, N, K>& b,
                     std::size_t first_panel, std::size_t last_panel, T* c, std::size_t c_row, const Epilogue<T>& end) {
    constexpr std::size_t w = tile_columns<In>, W = simd::width<In>;
    const auto k = b.k;
    const std::size_t n = b.n;
    constexpr bool turns = [] {
        if constexpr (FixedExtent<M>)
            return std::same_as<In, T> && may_take_turns(M{});
        else
            return std::same_as<In, T> && simd::registers == 32;
    }();
    if constexpr (turns)
        if (streaming.turns && may_take_turns(m) && k > turn_steps && b.panel == k * b.step &&
            k * n * sizeof(In) >= turns_from_bytes && !end.accumulate)
            for (; first_panel + turn_panels <= std::min(last_panel, n / w); first_panel += turn_panels) {
                const In* right[turn_panels];
                for (std::size_t p = 0; p < turn_panels; ++p) right[p] = b.at(first_panel + p);
                Epilogue<T> then = end;
                if (then.bias) then.bias += first_panel * w;
                take_turns<T>(m, k, a, a_row, a_col, right, b.step, c + first_panel * w, c_row, then);
            }
    // what tiles of vectors [v, v + count) get: their first elements, the epilogue from there, the valid columns
    struct Right {
        const In* at[4];
        Epilogue<T> end;
        std::size_t columns;
    };
    const auto right_of = [&](std::size_t v, std::size_t count, std::size_t k0) {
        Right right{{}, end, std::min(count * W, n - v * W)};
        const std::size_t together = count % 2 == 0 ? 2 : 1;
        for (std::size_t j = 0; j < count / together; ++j) {
            const std::size_t at = v + j * together;
            right.at[j] = b.at(at / 2) + at % 2 * W + k0 * b.step;
        }
        if (right.end.bias) right.end.bias += v * W;
        return right;
    };
    // vectors of columns; one that only fills up the last panel is left out
    const std::size_t last_vector = std::min(2 * last_panel, (n + W - 1) / W);
    // how many vectors a tile takes from v on, when it can take `most` at once: pairs, which lie side by side in a
    // panel, come before triples, which need not
    const auto vectors_from = [&](std::size_t v, std::size_t most) -> std::size_t {
        const std::size_t left = last_vector - v;
        return left >= most && (most % 2 == 0 || left % most == 0) ? most : 2;
    };
    if (k == 0) {
        // an empty chain is zero
        for (std::size_t i = 0; i < m; ++i)
            for (std::size_t j = first_panel * w; j < std::min(n, last_panel * w); ++j) {
                T v = (end.accumulate ? c[i * c_row + j] : T(0)) + (end.bias ? end.bias[j] : T(0));
                if (end.relu && v < T(0)) v = T(0);
                c[i * c_row + j] = v * end.scale;
            }
        return;
    }
    // b may come from far
    const bool far = b.panel == k * b.step && k * n * sizeof(In) >= far_bytes;
    const bool once = far && m <= tile_rows<In> && streaming.once;
    if constexpr (FixedExtent<M>)
        if constexpr (M::value <= tile_rows<In>) {  // one tile whose sizes the compiler knows
            constexpr std::size_t most = vectors_at_once(M::value);
            for (std::size_t v = 2 * first_panel; v < last_vector;) {
                const std::size_t count = vectors_from(v, most);
                const Right right = right_of(v, count, 0);
                const auto run = [&](auto vectors) {
                    tile<M::value, vectors, In, K>(k, a, a_row, a_col, right.at, b.step, c + v * W, c_row,
                                                   right.columns, end.accumulate, &right.end, c + (v + count) * W,
                                                   nullptr, 0, once);
                };
                if (count == most)
                    run(std::integral_constant<std::size_t, most>{});
                else
                    run(std::integral_constant<std::size_t, 2>{});
                v += count;
            }
            return;
        }
    // a block of the left operand is copied where reading it in place would miss the cache: when it is read across
    // its rows, or when its rows lie a multiple of a page apart and fight for the same cache sets
    const bool across = a_row == 1 && a_col != m && m > tile_rows<In>;
    const bool colliding = a_col == 1 && m > 2 * tile_rows<In> && a_row * sizeof(In) % 4096 == 0;
    // one tile of rows reads b once: nothing to keep
    std::size_t block = k;
    if (m > tile_rows<In> && k > k_block) {
        const std::size_t blocks = (k + k_block - 1) / k_block;
        block = (k + blocks - 1) / blocks;
    }
    // The first tile of rows that reads a panel from far would wait for it, and the memory would be idle while the
    // others find it in the cache: each of them prefetches its share of what is read two panels later
    const bool shared = far && m > tile_rows<In>;
    // the element `skip` elements after the first one of vector v of the block at k0, in the order of reading: panel
    // after panel, the next block's, at the end those after last_panel, where the next call may begin; null where b
    // ends
    const auto later = [&](std::size_t v, std::size_t k0, std::size_t steps, std::size_t skip) -> const In* {
        const std::size_t panel = b.step * steps;
        std::size_t at = v * W * steps + skip;
        if (at >= last_panel * w * steps) {
            const bool more = k0 + steps < k;
            k0 = more ? k0 + steps : 0;
            if (more) at -= (last_panel - first_panel) * w * steps;
        }
        return at / panel * b.step < n ? b.data + at / panel * b.panel + k0 * b.step + at % panel : nullptr;
    };
    for (std::size_t k0 = 0; k0 < k; k0 += block) {
        const std::size_t steps = std::min(block, k - k0);
        const bool last = k0 + steps == k, load = k0 > 0 || end.accumulate;
        const In* left = a + k0 * a_col;
        std::size_t left_row = a_row, left_col = a_col;
        if (across || colliding) {
            left_row = across ? 1 : steps + 16;
            left_col = across ? m : 1;
            In* copy = thread_scratch<In>(1, across ? steps * m : m * left_row);
            if (across)
                for (std::size_t i = 0; i < steps; ++i) std::copy_n(left + i * a_col, m, copy + i * m);
            else
                for (std::size_t i = 0; i < m; ++i) std::copy_n(left + i * a_row, steps, copy + i * left_row);
            left = copy;
        }
        const std::size_t most = m <= tile_rows<In> ? vectors_at_once(m) : many_vectors;
        for (std::size_t v = 2 * first_panel; v < last_vector;) {
            const std::size_t count = vectors_from(v, most);
            const Right right = right_of(v, count, k0);
            // rows are spread evenly over the tiles: 16 rows are 8 + 8, not 14 + 2
            const std::size_t limit = m <= tile_rows<In> || count == 2 ? tile_rows<In> : many_rows;
            const std::size_t blocks = (m + limit - 1) / limit;
            const Tile<In>* const table = count == 2           ? tiles<In, false>.data()
                                          : m <= tile_rows<In> ? tiles<In, true>.data()
                                                               : many_tiles<In>.data();
            const std::size_t sharers = shared ? std::min(blocks, sharers_at_most) : 0;
            const std::size_t share = shared ? (count * W + sharers - 1) / sharers : 0;
            std::size_t i = 0;
            for (std::size_t t = 0; t < blocks; ++t) {
                const std::size_t rows = m / blocks + (t < m % blocks ? 1 : 0);
                T* const to = c + i * c_row + v * W;
                table[rows - 1](steps, left + i * left_row, left_row, left_col, right.at, b.step, to, c_row,
                                right.columns, load, last ? &right.end : nullptr,
                                t + 1 < blocks ? to + rows * c_row : c + (v + count) * W,
                                t < sharers ? later(v + 4, k0, steps, t * share * steps) : nullptr, share, once);
                i += rows;
            }
            v += count;
        }
    }
}

/// multiply_panels() of all panels, without an epilogue, with near operands and k > 0: where a product is so small that
/// what surrounds the tiles there costs much beside them.
template <class T>
void multiply_near(std::size_t m, const T* a, std::size_t a_row, std::size_t a_col, const Panels<T>& b, T* c,
                   std::size_t c_row) {
    constexpr std::size_t w = tile_columns<T>;
    const std::size_t blocks = (m + tile_rows<T> - 1) / tile_rows<T>;
    for (std::size_t column = 0; column < b.n; column += w) {
        const T* const right = b.at(column / w);
        std::size_t i = 0;
        for (std::size_t t = 0; t < blocks; ++t) {
            const std::size_t rows = m / blocks + (t < m % blocks ? 1 : 0);
            near_tiles<T>[rows - 1](b.k, a + i * a_row, a_row, a_col, &right, b.step, c + i * c_row + column, c_row,
                                    std::min(w, b.n - column), false, nullptr, nullptr, nullptr, 0, false);
            i += rows;
        }
    }
}

/// Whether operands are rounded while they are packed.
template <class In>
inline constexpr bool rounded_operands = !std::same_as<Sum<In>, In>;

/// Applies dropout to a piece of a product that is n wide: `rows` rows from `row` on, panels [first_panel, last_panel).
template <class In, class C>
void drop_piece(const Dropout& dropout, std::size_t n, const C& c, std::size_t row, std::size_t rows,
                std::size_t first_panel, std::size_t last_panel) {
    if (!dropout.active()) return;
    const std::size_t first = first_panel * tile_columns<In>, last = std::min(n, last_panel * tile_columns<In>);
    for (std::size_t r = row; r < row + rows; ++r)
        dropout.apply(c.row(r) + first, last - first, static_cast<std::uint32_t>(r * n + first));
}

/// Blocks of the m rows of a product: whole register blocks of `unit` rows but for the last one, in each at most 64
/// rows, or 128 of many. Twice as many of rounded operands, whose products take less time for what they read, when
/// there are many. With work for several threads, as many blocks for each of them.
template <class In>
class RowBlocks {
public:
    /// For m > 0 rows, each of `work` multiply-adds.
    RowBlocks(std::size_t m, std::size_t work, std::size_t threads, std::size_t unit)
        : m_(m), unit_(unit), units_((m + unit - 1) / unit) {
        constexpr std::size_t least_work = std::size_t{1} << 19;  // of a thread's: less is not worth waking it
        const std::size_t most = (m < 1024 ? 64 : 128) * (rounded_operands<In> && m >= 512 ? 2 : 1) / unit;
        count_ = (units_ + most - 1) / most;
        threads = std::min(threads, std::max<std::size_t>(1, m * work / least_work));
        count_ = even_pieces(count_, threads, units_);
    }
    /// How many blocks there are.
    std::size_t count() const { return count_; }
    /// The first row of block i; of block count(): m.
    std::size_t begin(std::size_t i) const { return std::min(m_, piece_begin(i, count_, units_) * unit_); }
    /// Rows of block i.
    std::size_t rows(std::size_t i) const { return begin(i + 1) - begin(i); }

private:
    std::size_t m_, unit_, units_, count_;
};

/// Cuts a product of m rows and k steps into blocks of rows and of panels: body(first row, rows, first panel, last
/// panel). With few rows, a piece has panels worth about 2M multiply-adds. `unit` rows make a register block.
template <class In, ExecutorPolicy E, class Body>
void for_each_piece(const E& executor, std::size_t m, std::size_t k, std::size_t panels, Body&& body,
                    std::size_t unit = many_rows) {
    const std::size_t row_work = k * panels * tile_columns<In>, threads = threads_of(executor);
    const RowBlocks<In> fewest(m, row_work, 1, unit);
    // a piece rounds its part of the left operand once more
    std::size_t group = rounded_operands<In> && fewest.count() >= 8 ? 32 : 16;
    const bool few = m <= 2 * tile_rows<In>;
    if (few) {
        const std::size_t work = std::max<std::size_t>(1, m * k * tile_columns<In>);
        const std::size_t together = may_take_turns(m) ? turn_panels : 4;  // a piece is whole turns, or whole tiles
        group = ((std::size_t{1} << 21) / work + together) / together * together;
    }
    const std::size_t groups = (panels + group - 1) / group;
    // one block of rows whose panels are enough for all threads stays one: else each thread would read all panels
    const bool one = few || (fewest.count() == 1 && groups >= threads);
    const RowBlocks<In> blocks(m, row_work, one ? 1 : threads, unit);
    const auto piece = [&](std::size_t i) {
        const std::size_t r = i / groups, p = i % groups * group;
        body(blocks.begin(r), blocks.rows(r), p, std::min(panels, p + group));
    };
    if (blocks.count() * groups == 1)
        piece(0);
    else
        executor(blocks.count() * groups, piece);
}

}  // namespace detail

/// Packs the K x N operand of a product from weights stored N x K (row n holds output n): b(k, n) = weights(n, k).
template <class T, ExecutorPolicy E>
Panels<T> pack_transposed(const E& executor, View<const T> weights, T* out) {
    const std::size_t n = weights.rows, k = weights.cols, panels = (n + tile_columns<T> - 1) / tile_columns<T>;
    parallel_rows(executor, panels, k * tile_columns<T>, [&](std::size_t first, std::size_t last) {
        for (std::size_t p = first; p < last; ++p)
            detail::pack_panel<T>(weights.data, 1, weights.stride, n, k, p, out + p * k * tile_columns<T>);
    });
    return {out, n, k};
}
/// pack_transposed() in the memory of the weights themselves, whose rows must follow each other without gaps; after the
/// last one there must be room for rows up to a multiple of tile_columns<T>.
template <class T>
Panels<T> pack_transposed_in_place(View<T> weights) {
    const std::size_t n = weights.rows, k = weights.cols, size = k * tile_columns<T>;
    T* const copy = detail::thread_scratch<T>(0, size);
    for (std::size_t p = 0, row = 0; row < n; ++p, row += tile_columns<T>) {
        const std::size_t rows = std::min(tile_columns<T>, n - row);
        std::copy_n(weights.data + p * size, rows * k, copy);
        detail::pack_panel<T>(copy, 1, k, rows, k, 0, weights.data + p * size);
    }
    return {weights.data, n, k};
}
/// Packs the K x N operand of a product as it stands: b(k, n) = matrix(k, n).
template <class T, ExecutorPolicy E>
Panels<T> pack_plain(const E& executor, View<const T> matrix, T* out) {
    constexpr std::size_t w = tile_columns<T>, some = 8;  // rows at a time: each is read as a stream
    const std::size_t n = matrix.cols, k = matrix.rows, panels = (n + w - 1) / w;
    parallel_rows(executor, panels, k * w, [&](std::size_t first, std::size_t last) {
        for (std::size_t i = 0; i < k; i += some)
            for (std::size_t p = first; p < last; ++p)
                detail::pack_panel<T>(matrix.row(i), matrix.stride, 1, n, std::min(some, k - i), p,
                                      out + (p * k + i) * w);
    });
    return {out, n, k};
}

/// c[M x N] = a[M x K] b[K x N], b packed before.
template <class T, ExecutorPolicy E, ViewOf<T> A, Extent N, Extent K, ViewOf<T> C>
void multiply(const E& executor, const A& a, const Panels<T, N, K>& b, const C& c, const Epilogue<T>& end = {}) {
    const auto all = a.rows;
    const std::size_t m = all, k = b.k, panels = (b.n + tile_columns<T> - 1) / tile_columns<T>;
    if (m == 0 || b.n == 0) return;
    if constexpr (single_threaded<E>)
        if (m <= tile_rows<T>) {
            detail::multiply_panels<T>(all, a.row(0), a.stride, 1, b, 0, panels, c.row(0), c.stride, end);
            detail::drop_piece<T>(end.dropout, b.n, c, 0, m, 0, panels);
            return;
        }
    detail::for_each_piece<T>(
        executor, m, k, panels, [&](std::size_t r, std::size_t rows, std::size_t p, std::size_t q) {
            detail::multiply_panels<T>(rows, a.row(r), a.stride, 1, b, p, q, c.row(r), c.stride, end);
            detail::drop_piece<T>(end.dropout, b.n, c, r, rows, p, q);
        });
}

/// c[M x N] += a^T b for a[K x M] and b[K x N]: the gradient of weights. b is packed block by block of its rows.
template <class T, ExecutorPolicy E>
void multiply_transposed(const E& executor, View<const T> a, View<const T> b, View<T> c) {
    const std::size_t m = a.cols, k = a.rows, panels = (b.cols + tile_columns<T> - 1) / tile_columns<T>;
    if (m == 0 || b.cols == 0 || k == 0) return;
    // blocks of steps are even: a last one of a few would cost nearly as much as a whole one
    const std::size_t times = std::max<std::size_t>(1, (k + detail::packed_steps / 2) / detail::packed_steps);
    const std::size_t most = (k + times - 1) / times;
    const detail::RowBlocks<T> blocks(m, most * b.cols, threads_of(executor), many_rows);
    T* packed = detail::thread_scratch<T>(0, Panels<T>::elements(b.cols, most));
    for (std::size_t t = 0; t < times; ++t) {
        const std::size_t k0 = piece_begin(t, times, k), steps = piece_begin(t + 1, times, k) - k0;
        const Panels<T> right = pack_plain<T>(executor, b.rows_at(k0, steps), packed);
        executor(blocks.count(), [&](std::size_t i) {
            const std::size_t r = blocks.begin(i), rows = blocks.rows(i);
            detail::multiply_panels<T>(rows, a.row(k0) + r, 1, a.stride, right, 0, panels, c.row(r), c.stride,
                                       {.accumulate = true});
        });
    }
}

/// A right operand in panels: weights packed once, used for every token.
template <class T>
class PackedMatrix {
public:
    PackedMatrix() = default;
    /// Packs weights stored N x K.
    explicit PackedMatrix(View<const T> weights) : data_(Panels<T>::elements(weights.rows, weights.cols)) {
        panels_ = pack_transposed<T>(Serial{}, weights, data_.data());
    }
    /// Refers to panels that live elsewhere.
    explicit PackedMatrix(const Panels<T>& panels) : panels_(panels) {}
    /// The packed operand.
    const Panels<T>& panels() const { return panels_; }
    /// Memory of its own, in bytes.
    std::size_t bytes() const { return data_.size() * sizeof(T); }

private:
    AlignedBuffer<T> data_;
    Panels<T> panels_;
};

}  // namespace hat
