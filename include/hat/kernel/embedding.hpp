#pragma once
/// \file
/// Token embeddings and sinusoidal positions.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/extent.hpp>
#include <hat/core/tokens.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/simd.hpp>
#include <span>

namespace hat {

/// Sinusoids of the SuperTransformer's width, of which a SubTransformer uses the leading columns: all sines first, then
/// all cosines, frequencies exp(-k ln(10000) / (half - 1)) (semantics, section 3). The n-th token of a sentence
/// (from 0) has row n + 2, as in the reference, where row 1 is that of padding.
template <class T>
class SinusoidTable {
public:
    SinusoidTable() = default;
    /// Rows of `super_width` numbers, of which the first `width` are kept; the table grows as asked.
    SinusoidTable(std::size_t super_width, std::size_t width) : super_width_(super_width), width_(width) {}
    /// The same for a network as wide as the SuperTransformer.
    explicit SinusoidTable(std::size_t super_width) : SinusoidTable(super_width, super_width) {}
    /// A table in memory of the caller's: at most `rows` x `width` numbers.
    SinusoidTable(std::size_t super_width, std::size_t width, T* memory, std::size_t rows)
        : super_width_(super_width), width_(width), capacity_(rows), data_(memory) {}

    /// Makes sure that sentences of `length` tokens are covered. Not thread safe.
    void reserve(std::size_t length) {
        if (length > capacity_) {
            capacity_ = std::max({length, 2 * capacity_, std::size_t{64}});
            table_.reset(capacity_ * width_);
            data_ = table_.data();
            rows_ = 0;
        }
        for (; rows_ < length; ++rows_) fill(rows_, data_ + rows_ * width_);
    }
    /// The row of the n-th token of a sentence, n from 0 and below what was reserved.
    const T* position(std::size_t n) const { return data_ + n * width_; }

private:
    void fill(std::size_t r, T* row) const {
        const std::size_t half = super_width_ / 2;
        for (std::size_t c = 0; c < width_; ++c) {
            const std::size_t k = c < half ? c : c - half;
            const double frequency =
                half > 1 ? std::exp(-static_cast<double>(k) * std::log(10000.0) / static_cast<double>(half - 1)) : 1.0;
            const double angle = static_cast<double>(r + 2) * frequency;
            row[c] = c < half ? static_cast<T>(std::sin(angle)) : static_cast<T>(std::cos(angle));
            if (c >= 2 * half) row[c] = T(0);
        }
    }

    std::size_t super_width_ = 0, width_ = 0, rows_ = 0, capacity_ = 0;
    AlignedBuffer<T> table_;
    T* data_ = nullptr;
};

/// The vectors of a vocabulary: rows as they are, or the packed weights of an output layer that shares them.
template <class T>
class EmbeddingTable {
public:
    /// Row t is token t's.
    EmbeddingTable(View<const T> rows) : rows_(rows) {}
    /// Packed weights N x K: token t's is row t.
    EmbeddingTable(const Panels<T>& panels) : panels_(panels) {}

    /// The first n numbers of a token's vector, where they are or copied to `out`.
    const T* vector(std::size_t token, std::size_t n, T* out) const {
        if (rows_.data) return rows_.row(token);
        constexpr std::size_t w = tile_columns<T>;
        const T* from = panels_.at(token / w) + token % w;
        for (std::size_t k = 0; k < n; ++k) out[k] = from[k * panels_.step];
        return out;
    }

private:
    View<const T> rows_{};
    Panels<T> panels_{};
};

namespace detail {
/// One embedded token: scale * row + position.
template <class T, Extent N>
void embed_token(const T* row, T scale, const T* position, T* out, N n) {
    const auto s = simd::splat(scale);
    simd::for_each_vector<T>(n, [&](auto load, auto store) { store(out, simd::fma(s, load(row), load(position))); });
}
}  // namespace detail

/// x[token] = scale * table[token][:width] + position; tokens must be below the number of rows.
template <class T, ExecutorPolicy E>
void embed(const E& executor, const EmbeddingTable<T>& table, T scale, const SinusoidTable<T>& positions,
           const Ragged& sentences, View<T> x) {
    parallel_rows(executor, sentences.size(), 64 * x.cols, [&](std::size_t first, std::size_t last) {
        for (std::size_t i = first; i < last; ++i)
            for (std::size_t t = sentences.offsets[i]; t < sentences.offsets[i + 1]; ++t)
                detail::embed_token(table.vector(static_cast<std::size_t>(sentences.tokens[t]), x.cols, x.row(t)),
                                    scale, positions.position(t - sentences.offsets[i]), x.row(t), x.cols);
    });
}

/// dtable[token] += scale * dx, tokens in ascending order; padding gets no gradient.
template <class T, ExecutorPolicy E>
void embed_backward(const E& executor, std::span<const std::int32_t> tokens, T scale, View<const T> dx,
                    View<T> dtable) {
    const std::size_t block = 2 * simd::width<T>, blocks = (dx.cols + block - 1) / block;
    const auto s = simd::splat(scale);
    parallel_rows(executor, blocks, tokens.size() * block, [&](std::size_t first, std::size_t last) {
        const std::size_t c0 = first * block, columns = std::min(dx.cols, last * block) - c0;
        for (std::size_t t = 0; t < tokens.size(); ++t) {
            if (tokens[t] == SpecialTokens::pad) continue;
            T* to = dtable.row(static_cast<std::size_t>(tokens[t])) + c0;
            const T* from = dx.row(t) + c0;
            simd::for_each_vector<T>(columns,
                                     [&](auto load, auto store) { store(to, simd::fma(s, load(from), load(to))); });
        }
    });
}

}  // namespace hat
