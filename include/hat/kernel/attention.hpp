#pragma once
/// \file
/// Multi-head attention of ragged sentences: softmax(q k^T) v per sentence and head. The head size is the qkv width
/// divided by the heads: fewer heads regroup the same columns (semantics, section 2). q comes scaled.

#include <cstddef>
#include <hat/core/extent.hpp>
#include <hat/kernel/dropout.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/softmax.hpp>
#include <span>
#include <vector>

namespace hat {

/// Who attends to whom: sentence i owns query rows [query[i], query[i+1]) and key rows [key[i], key[i+1]).
struct AttentionShape {
    std::span<const std::size_t> query;  ///< offsets of the queries, one more than there are sentences
    std::span<const std::size_t> key;    ///< offsets of keys and values
    std::size_t heads = 1;               ///< they divide the width
    bool causal = false;                 ///< query t sees keys 0 .. t only; as many queries as keys

    /// Sentences in the batch.
    std::size_t sentences() const { return query.size() - 1; }
    /// Query rows of sentence i.
    std::size_t queries(std::size_t i) const { return query[i + 1] - query[i]; }
    /// Key rows of sentence i.
    std::size_t keys(std::size_t i) const { return key[i + 1] - key[i]; }
    /// Elements of all attention maps: heads x queries x keys of every sentence, one after the other.
    std::size_t map_size() const {
        std::size_t n = 0;
        for (std::size_t i = 0; i < sentences(); ++i) n += heads * queries(i) * keys(i);
        return n;
    }
};

namespace detail {

/// Pieces of (sentence, head) pairs worth one task each, and where each sentence's map begins.
template <ExecutorPolicy E, class Body>
void for_each_head(const E& executor, const AttentionShape& shape, std::size_t head_size, Body&& body) {
    const std::size_t n = shape.sentences();
    const auto map_size = [&](std::size_t i) { return shape.queries(i) * shape.keys(i); };
    const std::size_t average = n ? shape.map_size() / n * head_size + 1 : 1;
    parallel_rows(executor, n, average / 8, [&](std::size_t first, std::size_t last) {
        std::size_t map = 0;
        for (std::size_t i = 0; i < first; ++i) map += shape.heads * map_size(i);
        for (std::size_t i = first; i < last; ++i)
            for (std::size_t h = 0; h < shape.heads; ++h, map += map_size(i))
                body(i, h, shape.queries(i), shape.keys(i), map);
    });
}

/// Bytes of both operands and the output up to which they are taken to be near: a fraction of a second cache.
inline constexpr std::size_t near_bytes = std::size_t{1} << 18;

/// c[m x n] = a b for a small product on one thread; b(k, n) = right[k * k_step + n * n_step].
template <class T, ExecutorPolicy E>
void small_multiply(const E& executor, std::size_t m, std::size_t n, std::size_t k, const T* a, std::size_t a_row,
                    std::size_t a_col, const T* right, std::size_t k_step, std::size_t n_step, T* c,
                    std::size_t c_row) {
    constexpr std::size_t w = tile_columns<T>, vector = simd::width<T>;
    const std::size_t panels = (n + w - 1) / w, vectors = (n + vector - 1) / vector;
    Panels<T> b{right, n, k, k_step, w};
    if (n_step != 1 || n % w != 0) {  // else in panels as it stands
        T* packed = scratch<T>(executor, 2, Panels<T>::elements(n, k));
        for (std::size_t p = 0; p < panels; ++p) pack_panel<T>(right, k_step, n_step, n, k, p, packed + p * k * w);
        b = {packed, n, k};
    }
    // an odd number of vectors is for multiply_panels(), which takes three at once
    if (k > 0 && (vectors == 1 || vectors % 2 == 0) && (m * k + k * n + m * n) * sizeof(T) <= near_bytes)
        multiply_near<T>(m, a, a_row, a_col, b, c, c_row);
    else
        multiply_panels<T>(m, a, a_row, a_col, b, 0, panels, c, c_row, {});
}

}  // namespace detail

/// out = softmax(q k^T) v. `map` keeps the probabilities before dropout, for the backward pass (shape.map_size());
/// null: they are not kept, and there is no dropout.
template <class T, ExecutorPolicy E, ViewOf<T> Q, ViewOf<T> K, ViewOf<T> O>
void attention(const E& executor, const AttentionShape& shape, const Q& q, const K& k, const K& v, T* map,
               const Dropout& dropout, const O& out) {
    const std::size_t hs = q.cols / shape.heads;
    detail::for_each_head(executor, shape, hs,
                          [&](std::size_t i, std::size_t h, std::size_t tq, std::size_t tk, std::size_t at) {
                              const T* qh = q.row(shape.query[i]) + h * hs;
                              const T* kh = k.row(shape.key[i]) + h * hs;
                              const T* vh = v.row(shape.key[i]) + h * hs;
                              const std::size_t row = map ? tk : row_stride<T>(tk);
                              T* p = map ? map + at : detail::scratch<T>(executor, 3, tq * row);
                              detail::small_multiply<T>(executor, tq, tk, hs, qh, q.stride, 1, kh, 1, k.stride, p, row);
                              for (std::size_t t = 0; t < tq; ++t) {
                                  const std::size_t seen = shape.causal ? t + 1 : tk;
                                  softmax_row(p + t * row, seen);
                                  std::fill(p + t * row + seen, p + t * row + tk, T(0));
                              }
                              const T* used = p;
                              if (dropout.active()) {
                                  T* dropped = detail::thread_scratch<T>(3, tq * tk);
                                  std::copy_n(p, tq * tk, dropped);
                                  dropout.apply(dropped, tq * tk, static_cast<std::uint32_t>(at));
                                  used = dropped;
                              }
                              detail::small_multiply<T>(executor, tq, hs, tk, used, row, 1, vh, v.stride, 1,
                                                        out.row(shape.query[i]) + h * hs, out.stride);
                          });
}

/// The backward pass of attention(): writes dq, dk, dv (no accumulation; every row belongs to one sentence) and once
/// more, to the bit, the output, which need not be kept. In place: dq may be dout, dk may be k, and dv may be v; out is
/// memory of its own.
template <class T, ExecutorPolicy E>
void attention_backward(const E& executor, const AttentionShape& shape, View<const T> q, View<const T> k,
                        View<const T> v, const T* map, const Dropout& dropout, View<const T> dout, View<T> dq,
                        View<T> dk, View<T> dv, View<T> out) {
    const std::size_t hs = q.cols / shape.heads;
    detail::for_each_head(
        executor, shape, hs, [&](std::size_t i, std::size_t h, std::size_t tq, std::size_t tk, std::size_t at) {
            const std::size_t q0 = shape.query[i], k0 = shape.key[i], c = h * hs;
            const T* p = map + at;
            const T* d = dout.row(q0) + c;
            T* dropped = detail::thread_scratch<T>(3, tq * tk);
            T* dp = detail::thread_scratch<T>(4, tq * tk);
            std::copy_n(p, tq * tk, dropped);
            if (dropout.active()) dropout.apply(dropped, tq * tk, static_cast<std::uint32_t>(at));
            detail::small_multiply<T>(executor, tq, hs, tk, dropped, tk, 1, v.row(k0) + c, v.stride, 1, out.row(q0) + c,
                                      out.stride);
            detail::small_multiply<T>(executor, tq, tk, hs, d, dout.stride, 1, v.row(k0) + c, 1, v.stride, dp, tk);
            detail::small_multiply<T>(executor, tk, hs, tq, dropped, 1, tk, d, dout.stride, 1, dv.row(k0) + c,
                                      dv.stride);
            if (dropout.active()) dropout.apply(dp, tq * tk, static_cast<std::uint32_t>(at));
            for (std::size_t t = 0; t < tq; ++t) {
                const std::size_t seen = shape.causal ? t + 1 : tk;
                softmax_row_backward(p + t * tk, dp + t * tk, seen);
                std::fill(dp + t * tk + seen, dp + (t + 1) * tk, T(0));
            }
            detail::small_multiply<T>(executor, tq, hs, tk, dp, tk, 1, k.row(k0) + c, k.stride, 1, dq.row(q0) + c,
                                      dq.stride);
            detail::small_multiply<T>(executor, tk, hs, tq, dp, 1, tk, q.row(q0) + c, q.stride, 1, dk.row(k0) + c,
                                      dk.stride);
        });
}

}  // namespace hat
