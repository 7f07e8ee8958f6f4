#pragma once
/// \file
/// Linear layers in 8-bit integers: weights with a scale per output, activations quantized row by row as they come.
/// Sums are exact 32-bit integers, so no order of summation, number of rows, thread count or instruction set changes
/// them; what follows them is one formula. K is at most 2^17: sums of codes must be below 2^24, products below 2^31.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/executor.hpp>
#include <hat/core/extent.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/simd.hpp>
#include <limits>
#include <utility>

namespace hat {

/// Quantizes n numbers symmetrically: codes of -127 .. 127, the nearest to x * (127 / absmax), halves to even. Returns
/// the scale absmax / 127: x is about scale * code. A row whose largest magnitude is below 2^-100 becomes zeros with
/// scale 0; one with a NaN or an infinity becomes zeros with scale NaN, which makes everything computed from it NaN.
/// `sum` gets the sum of the codes unless it is null.
inline float quantize_row(const float* x, std::size_t n, std::int8_t* codes, std::int32_t* sum = nullptr) {
    using V = simd::Vec<float>;
    constexpr std::size_t w = simd::width<float>, chains = 4;
    V largest[chains];
    for (auto& v : largest) v = simd::zero<float>();
    std::size_t i = 0;
    const auto see = [&](std::size_t c, const V& v) { largest[c] = simd::max(simd::abs(v), largest[c]); };  // skips NaN
    for (; i + chains * w <= n; i += chains * w)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < chains; ++c) see(c, simd::load(x + i + c * w));
    for (; i + w <= n; i += w) see(0, simd::load(x + i));
    if (i < n) see(0, simd::load_partial(x + i, n - i));
    for (std::size_t c = 1; c < chains; ++c) largest[0] = simd::max(largest[0], largest[c]);
    const float absmax = simd::max_lane(largest[0]);
    const bool zero = absmax < 0x1p-100F;

    // the codes' sum is exact in floats; a NaN, or an infinity times the 0 that is its inverse, makes it NaN
    const V inverse = simd::splat(zero ? 0.0F : 127.0F / absmax);
    V total = simd::zero<float>();
    for (i = 0; i + w <= n; i += w) total = total + simd::store_rounded(codes + i, simd::load(x + i), inverse, w);
    if (i < n) total = total + simd::store_rounded(codes + i, simd::load_partial(x + i, n - i), inverse, n - i);
    const float codes_sum = simd::sum(total);
    const bool finite = codes_sum == codes_sum;
    if (!finite) std::fill_n(codes, n, std::int8_t{0});
    if (sum) *sum = finite ? static_cast<std::int32_t>(codes_sum) : 0;
    return finite ? (zero ? 0.0F : absmax / 127.0F) : std::numeric_limits<float>::quiet_NaN();
}

/// Activations of a product in integers: rows of codes whose length is rounded up to a multiple of 8 with zeros.
struct QuantizedRows {
    const std::int8_t* codes = nullptr;   ///< row r at codes + r * stride(k)
    const float* scales = nullptr;        ///< one number per row
    const std::int32_t* start = nullptr;  ///< what a row's sums begin with (see simd::dot_zero)
    std::size_t rows = 0;                 ///< M
    std::size_t k = 0;                    ///< K

    /// Codes of a row, with its padding.
    static constexpr std::size_t stride(std::size_t k) { return (k + 7) / 8 * 8; }
    /// Bytes that quantize_rows() needs for M rows of K numbers.
    static constexpr std::size_t bytes(std::size_t m, std::size_t k) { return m * (stride(k) + 8); }
};

/// Quantizes each row of x (see quantize_row()) into `memory`: QuantizedRows::bytes(x.rows, x.cols) bytes, aligned for
/// floats. Products of the same x with several layers can share them.
template <ExecutorPolicy E>
QuantizedRows quantize_rows(const E& executor, View<const float> x, std::byte* memory) {
    const std::size_t m = x.rows, k = x.cols, stride = QuantizedRows::stride(k);
    auto* const scales = reinterpret_cast<float*>(memory);
    auto* const start = reinterpret_cast<std::int32_t*>(memory + 4 * m);
    auto* const codes = reinterpret_cast<std::int8_t*>(memory + 8 * m);
    parallel_rows(executor, m, k, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            std::int8_t* const row = codes + r * stride;
            std::int32_t sum = 0;
            scales[r] = quantize_row(x.row(r), k, row, &sum);
            std::fill(row + k, row + stride, std::int8_t{0});
            start[r] = simd::dot_zero == 0 ? -128 * sum : 0;
        }
    });
    return {codes, scales, start, m, k};
}

/// The weights of a layer, N x K, as they lie in memory or in a file, the same for every instruction set: panels of 32
/// outputs; within a panel, groups of 4 inputs; within a group, output by output, 4 bytes each. A byte b stands for
/// (b - 128) * scales[n], b >= 1. What pads the last panel and group is 128, i.e. zero.
struct Int8Panels {
    static constexpr std::size_t columns = 32;  ///< outputs of a panel
    static constexpr std::size_t group = 4;     ///< inputs of a group

    const std::uint8_t* codes = nullptr;  ///< bytes(n, k) of them; 64-byte alignment is best
    const float* scales = nullptr;        ///< N numbers
    std::size_t n = 0;                    ///< outputs
    std::size_t k = 0;                    ///< inputs
    std::size_t width = k;                ///< inputs as they are laid out, of which the first k are used

    /// Groups of a panel.
    static constexpr std::size_t groups(std::size_t k) { return (k + group - 1) / group; }
    /// Bytes of the codes of N x K weights.
    static constexpr std::size_t bytes(std::size_t n, std::size_t k) {
        return (n + columns - 1) / columns * columns * groups(k) * group;
    }
    /// Where the byte of output n and input k is.
    static constexpr std::size_t index(std::size_t n, std::size_t k, std::size_t inputs) {
        return (n / columns * groups(inputs) + k / group) * columns * group + n % columns * group + k % group;
    }

    /// The first `count` weights of output `row` as numbers, in `out`: a token's vector when this is an embedding.
    const float* vector(std::size_t row, std::size_t count, float* out) const {
        const std::uint8_t* from = codes + index(row, 0, width);
        const float scale = scales[row];
        for (std::size_t i = 0; i < count; ++i)
            out[i] = static_cast<float>(from[i / group * (columns * group) + i % group] - 128) * scale;
        return out;
    }
};

/// Quantizes weights N x K, each row with its own scale (see quantize_row()), into `codes` (Int8Panels::bytes(n, k))
/// and `scales` (n).
template <ExecutorPolicy E>
Int8Panels quantize_weights(const E& executor, View<const float> weights, std::uint8_t* codes, float* scales) {
    constexpr std::size_t columns = Int8Panels::columns;
    const std::size_t n = weights.rows, k = weights.cols, size = Int8Panels::bytes(1, k);
    parallel_rows(executor, (n + columns - 1) / columns, 4 * size, [&](std::size_t first, std::size_t last) {
        AlignedBuffer<std::int8_t> row(k);
        for (std::size_t p = first; p < last; ++p) {
            std::fill_n(codes + p * size, size, std::uint8_t{128});
            for (std::size_t i = p * columns; i < std::min(n, (p + 1) * columns); ++i) {
                scales[i] = quantize_row(weights.row(i), k, row.data());
                for (std::size_t j = 0; j < k; ++j)
                    codes[Int8Panels::index(i, j, k)] = static_cast<std::uint8_t>(row.data()[j] + 128);
            }
        }
    });
    return {codes, scales, n, k, k};
}

/// Owns Int8Panels, or refers to some that live elsewhere (in a mapped file).
class Int8Matrix {
public:
    Int8Matrix() = default;
    /// Quantizes weights stored N x K.
    explicit Int8Matrix(View<const float> weights)
        : codes_(Int8Panels::bytes(weights.rows, weights.cols)), scales_(weights.rows) {
        panels_ = quantize_weights(Serial{}, weights, codes_.data(), scales_.data());
    }
    /// Refers to panels that live elsewhere.
    explicit Int8Matrix(const Int8Panels& panels) : panels_(panels) {}
    /// The weights.
    const Int8Panels& panels() const { return panels_; }
    /// Memory of its own, in bytes.
    std::size_t bytes() const { return codes_.size() + scales_.size() * sizeof(float); }

private:
    AlignedBuffer<std::uint8_t> codes_;
    AlignedBuffer<float> scales_;
    Int8Panels panels_;
};

/// A linear layer with 8-bit weights, run in integers.
struct Int8Linear {
    Int8Matrix weight;            ///< N x K
    const float* bias = nullptr;  ///< N numbers; null: none

    Int8Linear() = default;
    /// Quantizes the weights of `l`; the bias stays where it is.
    explicit Int8Linear(const Linear<float>& l) : weight(l.weight), bias(l.bias) {}
    /// Weights that are quantized already.
    Int8Linear(const Int8Panels& panels, const float* b) : weight(panels), bias(b) {}
    /// N.
    std::size_t outputs() const { return weight.panels().n; }
};

namespace detail {

/// Registers of sums that cover a panel.
inline constexpr std::size_t sum_vectors = Int8Panels::columns * 4 / sizeof(simd::Bytes);
/// Rows that one pass over a panel takes at most: as many as leave registers for operands; more where looking up
/// weights takes longer than keeping sums in memory.
inline constexpr std::size_t integer_rows = !simd::has_bytes        ? 6
                                            : simd::registers == 32 ? 28 / sum_vectors
                                            : 12 / sum_vectors < 3  ? 2
                                                                    : 3;
/// Steps that a pass keeps in sums of their own, because one instruction must not wait for the one before.
template <std::size_t R>
inline constexpr std::size_t independent_steps = R* sum_vectors >= 10  ? 1
                                                 : R* sum_vectors >= 5 ? 2
                                                                       : 4;
/// How far ahead streamed weights are fetched, in bytes.
inline constexpr std::size_t integer_ahead = 4096;
/// Bytes of a page. One line of each is fetched two pages ahead: by the time that the page is needed its address is
/// translated, for which fetching would wait.
inline constexpr std::size_t page_bytes = 4096;

/// Four inputs of R rows times those of a panel's outputs; right(v) gives register v of the weights. Whichever side is
/// smaller stays in registers.
template <std::size_t R, std::size_t V, class Right>
void dot_step(simd::Sums (&sums)[R][V], const std::int8_t* x, std::size_t x_row, Right&& right) {
    if constexpr (R <= V) {
        simd::Bytes left[R];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r) left[r] = simd::splat_four(x + r * x_row);
#pragma GCC unroll 16
        for (std::size_t v = 0; v < V; ++v) {
            const simd::Bytes w = right(v);
#pragma GCC unroll 16
            for (std::size_t r = 0; r < R; ++r) sums[r][v] = simd::dot4(sums[r][v], w, left[r]);
        }
    } else {
        simd::Bytes w[V];
#pragma GCC unroll 16
        for (std::size_t v = 0; v < V; ++v) w[v] = right(v);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r) {
            const simd::Bytes left = simd::splat_four(x + r * x_row);
#pragma GCC unroll 16
            for (std::size_t v = 0; v < V; ++v) sums[r][v] = simd::dot4(sums[r][v], w[v], left);
        }
    }
}

/// R rows times a panel of 8-bit weights; R x 32 sums to `sums`.
template <std::size_t R>
void int8_tile(std::size_t groups, const std::int8_t* x, std::size_t x_row, const std::int32_t* start,
               const std::uint8_t* w, std::int32_t* sums) {
    constexpr std::size_t V = sum_vectors, U = independent_steps<R>, step = Int8Panels::columns * Int8Panels::group;
    simd::Sums acc[U][R][V];
#pragma GCC unroll 16
    for (std::size_t u = 0; u < U; ++u)
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 16
            for (std::size_t v = 0; v < V; ++v) acc[u][r][v] = simd::splat_sum(u == 0 ? start[r] : 0);
    const auto one = [&](simd::Sums(&to)[R][V], const std::int8_t* xs, const std::uint8_t* ws) {
        dot_step(to, xs, x_row,
                 [&](std::size_t v) { return simd::dot_operand(simd::load_bytes(ws + v * sizeof(simd::Bytes))); });
    };
    std::size_t g = 0;
    for (; g + U <= groups; g += U, x += 4 * U, w += step * U) {
        if (g % (page_bytes / step) == 0) __builtin_prefetch(w + 2 * page_bytes);
#pragma GCC unroll 16
        for (std::size_t u = 0; u < U; ++u) {
            __builtin_prefetch(w + u * step + integer_ahead);
            __builtin_prefetch(w + u * step + integer_ahead + 64);
            one(acc[u], x + 4 * u, w + u * step);
        }
    }
    for (; g < groups; ++g, x += 4, w += step) one(acc[0], x, w);
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (std::size_t v = 0; v < V; ++v) {
            simd::Sums s = acc[0][r][v];
#pragma GCC unroll 16
            for (std::size_t u = 1; u < U; ++u) s = simd::add_sums(s, acc[u][r][v]);
            simd::store_sums(sums + r * Int8Panels::columns + v * (sizeof(simd::Bytes) / 4), s);
        }
}
using Int8Tile = void (*)(std::size_t, const std::int8_t*, std::size_t, const std::int32_t*, const std::uint8_t*,
                          std::int32_t*);
inline constexpr std::array<Int8Tile, integer_rows> int8_tiles = []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<Int8Tile, sizeof...(I)>{&int8_tile<I + 1>...};
}
(std::make_index_sequence<integer_rows>{});

/// What follows the sums of one row of one panel: y = scale * relu(sum * (row's scale * weight's scale) + bias).
inline void integer_epilogue(const std::int32_t* sums, float row_scale, const float* scales, const float* bias,
                             Activation<float> end, std::size_t columns, float* y) {
    using V = simd::Vec<float>;
    constexpr std::size_t w = simd::width<float>;
    const auto finish = [&](std::size_t j, const V& scale, const V& b) {
        V v = simd::fma(simd::load_as_float(sums + j), V(simd::splat(row_scale) * scale), b);
        if (end.relu) v = simd::max(simd::zero<float>(), v);  // keeps a NaN
        if (end.scale != 1.0F) v = v * simd::splat(end.scale);
        return v;
    };
    std::size_t j = 0;
    for (; j + w <= columns; j += w)
        simd::store(y + j, finish(j, simd::load(scales + j), bias ? simd::load(bias + j) : simd::zero<float>()));
    if (const std::size_t rest = columns - j; rest != 0)
        simd::store_partial(y + j,
                            finish(j, simd::load_partial(scales + j, rest),
                                   bias ? simd::load_partial(bias + j, rest) : simd::zero<float>()),
                            rest);
}

/// y = scale * relu(x w^T + bias), panel by panel: tile(rows, first row, panel, sums) makes the sums of up to
/// integer_rows rows, scales(panel) points to the scales of a panel's outputs.
template <ExecutorPolicy E, class Tile, class Scales>
void integer_product(const E& executor, const QuantizedRows& x, std::size_t n, const float* bias, View<float> y,
                     Activation<float> end, Tile&& tile, Scales&& scales) {
    constexpr std::size_t w = Int8Panels::columns;
    const std::size_t m = x.rows, panels = (n + w - 1) / w;
    if (m == 0 || n == 0) return;
    // pieces: blocks of rows, and panels worth about 4M multiply-adds
    constexpr std::size_t row_block = 8 * integer_rows;
    const std::size_t row_blocks = (m + row_block - 1) / row_block;
    const std::size_t work = std::max<std::size_t>(1, std::min(m, row_block) * x.k * w);
    const std::size_t group = ((std::size_t{1} << 22) / work + 1), groups = (panels + group - 1) / group;
    const auto piece = [&](std::size_t i) {
        const std::size_t first = i / groups * row_block, rows = std::min(row_block, m - first);
        const std::size_t tiles = (rows + integer_rows - 1) / integer_rows;  // rows are spread evenly over them
        alignas(64) std::int32_t sums[integer_rows * w];
        for (std::size_t p = i % groups * group; p < std::min(panels, (i % groups + 1) * group); ++p) {
            const std::size_t columns = std::min(w, n - p * w);
            const auto& scale = scales(p);
            for (std::size_t t = 0, r = first; t < tiles; ++t) {
                const std::size_t count = rows / tiles + (t < rows % tiles ? 1 : 0);
                tile(count, r, p, sums);
                for (std::size_t j = 0; j < count; ++j, ++r)
                    integer_epilogue(sums + j * w, x.scales[r], &scale[0], bias ? bias + p * w : nullptr, end, columns,
                                     y.row(r) + p * w);
            }
        }
    };
    if (row_blocks * groups == 1)
        piece(0);
    else
        executor(row_blocks * groups, piece);
}

}  // namespace detail

/// y[M x N] = scale * relu(x[M x K] w^T + bias) in integers, for rows that are quantized already.
template <ExecutorPolicy E>
void multiply(const E& executor, const QuantizedRows& x, const Int8Panels& w, const float* bias, View<float> y,
              Activation<float> end = {}) {
    const std::size_t groups = Int8Panels::groups(w.k), stride = QuantizedRows::stride(x.k);
    detail::integer_product(
        executor, x, w.n, bias, y, end,
        [&](std::size_t rows, std::size_t r, std::size_t p, std::int32_t* sums) {
            detail::int8_tiles[rows - 1](groups, x.codes + r * stride, stride, x.start + r,
                                         w.codes + Int8Panels::index(p * Int8Panels::columns, 0, w.width), sums);
        },
        [&](std::size_t p) { return w.scales + p * Int8Panels::columns; });
}

/// 8-bit weights in memory that is owned elsewhere (a mapped file, say), with sizes that the compiler may know.
template <Extent N = std::size_t>
struct StoredInt8Linear {
    Int8Panels weight;                ///< N x K
    const float* bias = nullptr;      ///< N numbers; null: none
    [[no_unique_address]] N count{};  ///< weight.n

    /// N.
    constexpr N outputs() const { return count; }
};

namespace detail {
template <ExecutorPolicy E, class X, class Y>
void int8_linear(const E& executor, const X& x, const Int8Panels& w, const float* bias, const Y& y,
                 Activation<float> end) {
    const View<const float> in(x.data, x.rows, x.cols, x.stride);
    std::byte* const memory = scratch<std::byte>(executor, 0, QuantizedRows::bytes(in.rows, in.cols));
    multiply(executor, quantize_rows(executor, in, memory), w, bias, View<float>(y.data, y.rows, y.cols, y.stride),
             end);
}
}  // namespace detail

/// y[M x N] = scale * relu(x[M x K] w^T + bias); x is quantized row by row (see quantize_row()). A row of x with a NaN
/// or an infinity makes its whole row of y NaN. x and y are matrix views of float; T, as for other layers, is float.
template <class T = float, ExecutorPolicy E, class X, class Y>
void linear(const E& executor, const X& x, const Int8Linear& layer, const Y& y, Activation<T> end = {}) {
    static_assert(std::same_as<T, float>, "8-bit layers compute in float");
    detail::int8_linear(executor, x, layer.weight.panels(), layer.bias, y, end);
}
/// The same from stored weights, to the bit.
template <class T = float, ExecutorPolicy E, class X, Extent N, class Y>
void linear(const E& executor, const X& x, const StoredInt8Linear<N>& layer, const Y& y, Activation<T> end = {}) {
    static_assert(std::same_as<T, float>, "8-bit layers compute in float");
    detail::int8_linear(executor, x, layer.weight, layer.bias, y, end);
}

}  // namespace hat
