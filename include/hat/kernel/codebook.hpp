#pragma once
/// \file
/// Linear layers whose weights are 4-bit codes into codebooks of 16 numbers, computed straight from the codes: exactly
/// (every output is the same fused-multiply-add chain as that of PackedLinear on the looked-up weights, to the bit), or
/// in integers (centroids rounded to 8 bits, activations and sums as in kernel/int8.hpp). Which of the two is a
/// property of the weights, never of the number of rows, so that a row's result does not depend on its neighbours.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/executor.hpp>
#include <hat/core/extent.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/int8.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/simd.hpp>
#include <utility>

namespace hat {

/// A codebook in 8 bits: entry i is about (codes[i] - 128) * scale.
struct ByteBook {
    std::uint8_t codes[16];  ///< 1 .. 255
    float scale;             ///< the largest magnitude / 127
};
/// Rounds the 16 numbers of a codebook (see quantize_row()).
inline ByteBook byte_book(const float* book) {
    std::int8_t codes[16];
    ByteBook out{};
    out.scale = quantize_row(book, 16, codes);
    for (std::size_t i = 0; i < 16; ++i) out.codes[i] = static_cast<std::uint8_t>(codes[i] + 128);
    return out;
}

/// The weights of a layer, N x K, as they lie in memory or in a file, the same for every instruction set: panels of 32
/// outputs; within a panel, groups of 8 inputs; within a group, output by output, one 32-bit word (little endian) with
/// 8 codes: those of inputs 0 .. 3 are the low halves of its bytes, those of 4 .. 7 the high ones. What pads the last
/// panel and group is 0. Rows share codebooks: all of them, or every `book_rows`, a multiple of 32.
struct CodebookPanels {
    static constexpr std::size_t columns = Int8Panels::columns;  ///< outputs of a panel
    static constexpr std::size_t group = 8;                      ///< inputs of a group

    const std::uint32_t* codes = nullptr;  ///< words(n, k) of them; 64-byte alignment is best
    const float* books = nullptr;          ///< book_count() times 16 numbers; those that no code names must be finite
    const ByteBook* bytes = nullptr;       ///< the same books in 8 bits: compute in integers; null: exactly
    std::size_t n = 0;                     ///< outputs
    std::size_t k = 0;                     ///< inputs
    std::size_t book_rows = 0;             ///< rows that share a codebook: 0 for all, else a multiple of 32
    std::size_t width = k;                 ///< inputs as they are laid out, of which the first k are used

    /// Groups of a panel.
    static constexpr std::size_t groups(std::size_t k) { return (k + group - 1) / group; }
    /// 32-bit words of the codes of N x K weights.
    static constexpr std::size_t words(std::size_t n, std::size_t k) {
        return (n + columns - 1) / columns * columns * groups(k);
    }
    /// Where the word of output n and input k is.
    static constexpr std::size_t index(std::size_t n, std::size_t k, std::size_t inputs) {
        return (n / columns * groups(inputs) + k / group) * columns + n % columns;
    }
    /// The first bit of input k's code in its word.
    static constexpr unsigned shift(std::size_t k) {
        return static_cast<unsigned>(k % group < 4 ? 8 * (k % 4) : 8 * (k % 4) + 4);
    }
    /// Codebooks of n rows.
    static constexpr std::size_t book_count(std::size_t n, std::size_t book_rows) {
        return book_rows ? (n + book_rows - 1) / book_rows : 1;
    }
    /// Which codebook a row uses.
    std::size_t book(std::size_t row) const { return book_rows ? row / book_rows : 0; }

    /// The first `count` weights of output `row` as numbers, in `out`: a token's vector when this is an embedding.
    const float* vector(std::size_t row, std::size_t count, float* out) const {
        const float* const table = books + 16 * book(row);
        const std::uint32_t* const from = codes + index(row, 0, width);
        for (std::size_t i = 0; i < count; ++i) out[i] = table[(from[i / group * columns] >> shift(i)) & 15U];
        return out;
    }
};

/// Lays codes out as CodebookPanels: code(row, input) gives a number of 0 .. 15. `words` has room for
/// CodebookPanels::words(n, k).
template <ExecutorPolicy E, class Code>
void pack_codes(const E& executor, std::size_t n, std::size_t k, std::uint32_t* words, Code&& code) {
    constexpr std::size_t columns = CodebookPanels::columns;
    const std::size_t size = CodebookPanels::words(1, k);
    parallel_rows(executor, (n + columns - 1) / columns, 32 * size, [&](std::size_t first, std::size_t last) {
        for (std::size_t p = first; p < last; ++p) {
            std::fill_n(words + p * size, size, 0U);
            for (std::size_t i = p * columns; i < std::min(n, (p + 1) * columns); ++i)
                for (std::size_t j = 0; j < k; ++j)
                    words[CodebookPanels::index(i, j, k)] |= static_cast<std::uint32_t>(code(i, j))
                                                             << CodebookPanels::shift(j);
        }
    });
}

/// How a layer of codes computes.
enum class CodebookMath {
    exact,    ///< in floats, to the bit as the looked-up weights
    integers  ///< in 8-bit integers
};

/// Owns CodebookPanels, or refers to some that live elsewhere (in a mapped file).
class CodebookMatrix {
public:
    CodebookMatrix() = default;
    /// Packs code(row, input), numbers of 0 .. 15, and copies the codebooks: one of 16 numbers for all rows or for
    /// every `book_rows` (a multiple of 32).
    template <class Code>
    CodebookMatrix(std::size_t n, std::size_t k, Code&& code, const float* books, std::size_t book_rows,
                   CodebookMath math)
        : codes_(CodebookPanels::words(n, k)), books_(16 * CodebookPanels::book_count(n, book_rows)) {
        pack_codes(Serial{}, n, k, codes_.data(), std::forward<Code>(code));
        std::copy_n(books, books_.size(), books_.data());
        panels_ = {codes_.data(), books_.data(), nullptr, n, k, book_rows, k};
        use(math);
    }
    /// Refers to panels that live elsewhere; 8-bit codebooks are made if they are needed and not there.
    CodebookMatrix(const CodebookPanels& panels, CodebookMath math) : panels_(panels) { use(math); }
    /// The weights.
    const CodebookPanels& panels() const { return panels_; }
    /// Memory of its own, in bytes.
    std::size_t bytes() const {
        return codes_.size() * sizeof(std::uint32_t) + books_.size() * sizeof(float) + bytes_.size() * sizeof(ByteBook);
    }

private:
    void use(CodebookMath math) {
        if (math == CodebookMath::exact) panels_.bytes = nullptr;
        if (math == CodebookMath::exact || panels_.bytes) return;
        bytes_.reset(CodebookPanels::book_count(panels_.n, panels_.book_rows));
        for (std::size_t i = 0; i < bytes_.size(); ++i) bytes_.data()[i] = byte_book(panels_.books + 16 * i);
        panels_.bytes = bytes_.data();
    }

    AlignedBuffer<std::uint32_t> codes_;
    AlignedBuffer<float> books_;
    AlignedBuffer<ByteBook> bytes_;
    CodebookPanels panels_;
};

/// A linear layer whose weights are 4-bit codes.
struct CodebookLinear {
    CodebookMatrix weight;        ///< N x K
    const float* bias = nullptr;  ///< N numbers; null: none

    CodebookLinear() = default;
    /// The bias stays where it is.
    CodebookLinear(CodebookMatrix w, const float* b) : weight(std::move(w)), bias(b) {}
    /// N.
    std::size_t outputs() const { return weight.panels().n; }
};

namespace detail {

/// R rows times a panel of codes in integers; R x 32 sums to `sums`.
template <std::size_t R>
void codebook_tile(std::size_t groups, const std::int8_t* x, std::size_t x_row, const std::int32_t* start,
                   const std::uint8_t* codes, const std::uint8_t* book, std::int32_t* sums) {
    constexpr std::size_t V = sum_vectors, U = independent_steps < R >> 1 ? 2 : 1, step = CodebookPanels::columns * 4;
    const simd::Bytes table = simd::dot_operand(simd::byte_table(book));
    simd::Sums acc[U][R][V];
#pragma GCC unroll 16
    for (std::size_t u = 0; u < U; ++u)
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 16
            for (std::size_t v = 0; v < V; ++v) acc[u][r][v] = simd::splat_sum(u == 0 ? start[r] : 0);
    for (std::size_t g = 0; g < groups; ++g, x += CodebookPanels::group, codes += step) {
        if (g % (page_bytes / step) == 0) __builtin_prefetch(codes + 2 * page_bytes);
        __builtin_prefetch(codes + integer_ahead);
        __builtin_prefetch(codes + integer_ahead + 64);
        const auto both = [&](std::size_t v) { return simd::load_bytes(codes + v * sizeof(simd::Bytes)); };
        dot_step(acc[0], x, x_row,
                 [&](std::size_t v) { return simd::lookup_bytes(table, simd::low_nibbles(both(v))); });
        dot_step(acc[U - 1], x + 4, x_row,
                 [&](std::size_t v) { return simd::lookup_bytes(table, simd::high_nibbles(both(v))); });
    }
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (std::size_t v = 0; v < V; ++v)
            simd::store_sums(sums + r * CodebookPanels::columns + v * (sizeof(simd::Bytes) / 4),
                             U == 1 ? acc[0][r][v] : simd::add_sums(acc[0][r][v], acc[U - 1][r][v]));
}
using CodebookTile = void (*)(std::size_t, const std::int8_t*, std::size_t, const std::int32_t*, const std::uint8_t*,
                              const std::uint8_t*, std::int32_t*);
inline constexpr std::array<CodebookTile, integer_rows> codebook_tiles =
    []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<CodebookTile, sizeof...(I)>{&codebook_tile<I + 1>...};
}
(std::make_index_sequence<integer_rows>{});

/// Registers of floats that cover a panel.
inline constexpr std::size_t float_vectors = CodebookPanels::columns / simd::width<float>;
/// Rows that one exact pass takes at most, and panels that it takes at once for a single row.
inline constexpr std::size_t exact_rows = simd::registers == 32 ? 24 / float_vectors : 2;
inline constexpr std::size_t exact_panels = float_vectors >= 8 ? 1 : simd::registers == 32 ? 8 / float_vectors : 2;

/// R rows times P panels of codes in floats. `codes` is the first panel, the next one is `panel` words further; `x` is
/// the first row.
template <std::size_t R, std::size_t P>
void exact_codebook_tile(std::size_t k, const float* x, std::size_t x_row, const std::uint32_t* codes,
                         std::size_t panel, const float* const* books, const float* bias, Activation<float> end,
                         std::size_t columns, float* y, std::size_t y_row) {
    using V = simd::Vec<float>;
    constexpr std::size_t W = simd::width<float>, F = float_vectors, C = P * F;
    simd::Table16 table[P];
#pragma GCC unroll 16
    for (std::size_t p = 0; p < P; ++p) table[p] = simd::load_table(books[p]);
    V acc[R][C];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (std::size_t c = 0; c < C; ++c) acc[r][c] = simd::zero<float>();
    simd::Codes words[C];
    const auto next = [&] {
#pragma GCC unroll 16
        for (std::size_t c = 0; c < C; ++c) words[c] = simd::load_codes(codes + c / F * panel + c % F * W);
    };
    const auto one = [&]<std::size_t j>(std::integral_constant<std::size_t, j>) {
        V left[R];
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r) left[r] = simd::splat(x[r * x_row + j]);
#pragma GCC unroll 16
        for (std::size_t c = 0; c < C; ++c) {
            const V right = simd::lookup<CodebookPanels::shift(j)>(table[c / F], words[c]);
#pragma GCC unroll 16
            for (std::size_t r = 0; r < R; ++r) acc[r][c] = simd::fma(left[r], right, acc[r][c]);
        }
    };
    std::size_t kk = 0;
    for (; kk + 8 <= k; kk += 8, x += 8, codes += CodebookPanels::columns) {
#pragma GCC unroll 16
        for (std::size_t p = 0; p < P; ++p) {
            __builtin_prefetch(codes + p * panel + 256);
            __builtin_prefetch(codes + p * panel + 272);
        }
        next();
        [&]<std::size_t... j>(std::index_sequence<j...>) { (one(std::integral_constant<std::size_t, j>{}), ...); }
        (std::make_index_sequence<8>{});
    }
    if (const std::size_t rest = k - kk; rest != 0) {
        next();
        [&]<std::size_t... j>(std::index_sequence<j...>) {
            ((j < rest ? one(std::integral_constant<std::size_t, j>{}) : void()), ...);
        }
        (std::make_index_sequence<7>{});
    }
#pragma GCC unroll 16
    for (std::size_t c = 0; c < C; ++c) {
        if (columns <= c * W) break;
        const std::size_t n = std::min(W, columns - c * W);
        const V b = !bias    ? simd::zero<float>()
                    : n == W ? simd::load(bias + c * W)
                             : simd::load_partial(bias + c * W, n);
#pragma GCC unroll 16
        for (std::size_t r = 0; r < R; ++r) {
            V v = acc[r][c];
            if (bias) v = v + b;
            if (end.relu) v = simd::max(simd::zero<float>(), v);  // keeps a NaN
            if (end.scale != 1.0F) v = v * simd::splat(end.scale);
            if (n == W)
                simd::store(y + r * y_row + c * W, v);
            else
                simd::store_partial(y + r * y_row + c * W, v, n);
        }
    }
}
using ExactCodebookTile = void (*)(std::size_t, const float*, std::size_t, const std::uint32_t*, std::size_t,
                                   const float* const*, const float*, Activation<float>, std::size_t, float*,
                                   std::size_t);
inline constexpr std::array<ExactCodebookTile, exact_rows> exact_codebook_tiles =
    []<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<ExactCodebookTile, sizeof...(I)>{&exact_codebook_tile<I + 1, 1>...};
}
(std::make_index_sequence<exact_rows>{});

}  // namespace detail

/// y[M x N] = scale * relu(x[M x K] w^T + bias) in floats, to the bit as PackedLinear with the looked-up weights.
template <ExecutorPolicy E>
void multiply(const E& executor, View<const float> x, const CodebookPanels& w, const float* bias, View<float> y,
              Activation<float> end = {}) {
    constexpr std::size_t columns = CodebookPanels::columns, most = detail::exact_rows, wide = detail::exact_panels;
    const std::size_t m = x.rows, panels = (w.n + columns - 1) / columns, size = CodebookPanels::words(1, w.width);
    if (m == 0 || w.n == 0) return;
    // pieces: blocks of rows, and panels worth about 1M multiply-adds
    constexpr std::size_t row_block = 8 * most;
    const std::size_t row_blocks = (m + row_block - 1) / row_block;
    const std::size_t work = std::max<std::size_t>(1, std::min(m, row_block) * w.k * columns);
    const std::size_t group = ((std::size_t{1} << 20) / work / wide + 1) * wide, groups = (panels + group - 1) / group;
    const auto piece = [&](std::size_t i) {
        const std::size_t first = i / groups * row_block, rows = std::min(row_block, m - first);
        const std::size_t tiles = (rows + most - 1) / most, last = std::min(panels, (i % groups + 1) * group);
        for (std::size_t p = i % groups * group; p < last;) {
            const std::size_t n = p * columns, count = rows == 1 && last - p >= wide ? wide : 1;
            const float* books[wide];
            for (std::size_t q = 0; q < count; ++q) books[q] = w.books + 16 * w.book(n + q * columns);
            const float* const b = bias ? bias + n : nullptr;
            const std::size_t valid = std::min(count * columns, w.n - n);
            if (count > 1)
                detail::exact_codebook_tile<1, wide>(w.k, x.row(first), x.stride, w.codes + p * size, size, books, b,
                                                     end, valid, y.row(first) + n, y.stride);
            else
                for (std::size_t t = 0, r = first; t < tiles; ++t) {
                    const std::size_t some = rows / tiles + (t < rows % tiles ? 1 : 0);
                    detail::exact_codebook_tiles[some - 1](w.k, x.row(r), x.stride, w.codes + p * size, size, books, b,
                                                           end, valid, y.row(r) + n, y.stride);
                    r += some;
                }
            p += count;
        }
    };
    if (row_blocks * groups == 1)
        piece(0);
    else
        executor(row_blocks * groups, piece);
}

/// The same in integers, for rows that are quantized already; w.bytes must be there.
template <ExecutorPolicy E>
void multiply(const E& executor, const QuantizedRows& x, const CodebookPanels& w, const float* bias, View<float> y,
              Activation<float> end = {}) {
    constexpr std::size_t columns = CodebookPanels::columns;
    const std::size_t groups = CodebookPanels::groups(w.k), stride = QuantizedRows::stride(x.k);
    const auto* const codes = reinterpret_cast<const std::uint8_t*>(w.codes);
    detail::integer_product(
        executor, x, w.n, bias, y, end,
        [&](std::size_t rows, std::size_t r, std::size_t p, std::int32_t* sums) {
            detail::codebook_tiles[rows - 1](groups, x.codes + r * stride, stride, x.start + r,
                                             codes + 4 * p * CodebookPanels::words(1, w.width),
                                             w.bytes[w.book(p * columns)].codes, sums);
        },
        [&](std::size_t p) {
            std::array<float, columns> scales;
            scales.fill(w.bytes[w.book(p * columns)].scale);
            return scales;
        });
}

/// 4-bit weights in memory that is owned elsewhere (a mapped file, say), with sizes that the compiler may know. They
/// are computed in integers if weight.bytes is there.
template <Extent N = std::size_t>
struct StoredCodebookLinear {
    CodebookPanels weight;            ///< N x K
    const float* bias = nullptr;      ///< N numbers; null: none
    [[no_unique_address]] N count{};  ///< weight.n

    /// N.
    constexpr N outputs() const { return count; }
};

namespace detail {
template <ExecutorPolicy E, class X, class Y>
void codebook_linear(const E& executor, const X& x, const CodebookPanels& w, const float* bias, const Y& y,
                     Activation<float> end) {
    const View<const float> in(x.data, x.rows, x.cols, x.stride);
    const View<float> out(y.data, y.rows, y.cols, y.stride);
    if (w.bytes) {
        std::byte* const memory = scratch<std::byte>(executor, 0, QuantizedRows::bytes(in.rows, in.cols));
        multiply(executor, quantize_rows(executor, in, memory), w, bias, out, end);
    } else {
        multiply(executor, in, w, bias, out, end);
    }
}
}  // namespace detail

/// y[M x N] = scale * relu(x[M x K] w^T + bias), exactly or in integers as the layer's weights say. x and y are matrix
/// views of float; T, as for other layers, is float.
template <class T = float, ExecutorPolicy E, class X, class Y>
void linear(const E& executor, const X& x, const CodebookLinear& layer, const Y& y, Activation<T> end = {}) {
    static_assert(std::same_as<T, float>, "layers of codes compute in float");
    detail::codebook_linear(executor, x, layer.weight.panels(), layer.bias, y, end);
}
/// The same from stored weights, to the bit.
template <class T = float, ExecutorPolicy E, class X, Extent N, class Y>
void linear(const E& executor, const X& x, const StoredCodebookLinear<N>& layer, const Y& y, Activation<T> end = {}) {
    static_assert(std::same_as<T, float>, "layers of codes compute in float");
    detail::codebook_linear(executor, x, layer.weight, layer.bias, y, end);
}

}  // namespace hat
