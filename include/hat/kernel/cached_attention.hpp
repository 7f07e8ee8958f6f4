#pragma once
/// \file
/// Attention of one new token per row on keys and values kept from before: the kernels of incremental decoding. Rows
/// are sentences x beam. Every output has the same chain of fused multiply-adds as in attention(), so that decoding
/// step by step equals the full forward pass to the bit.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/extent.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/softmax.hpp>
#include <span>
#include <vector>

namespace hat {

namespace detail {

/// Vectors [0, N) of out = sum over j of p[j] * value(j), one chain over ascending j each.
template <std::size_t N, class T, class ValueOf>
void weighted_vectors(const T* p, std::size_t n, const ValueOf& value, T* out) {
    using V = simd::Vec<T>;
    V acc[N];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < N; ++c) acc[c] = simd::zero<T>();
    for (std::size_t j = 0; j < n; ++j) {
        const V weight = simd::splat(p[j]);
        const T* v = value(j);
#pragma GCC unroll 8
        for (std::size_t c = 0; c < N; ++c) acc[c] = simd::fma(weight, simd::load(v + c * simd::width<T>), acc[c]);
    }
#pragma GCC unroll 8
    for (std::size_t c = 0; c < N; ++c) simd::store(out + c * simd::width<T>, acc[c]);
}

/// out[0, columns) = sum over j < n of p[j] * value(j)[0, columns), one chain over ascending j per column.
template <class T, class ValueOf>
void weighted_sum(const T* p, std::size_t n, std::size_t columns, const ValueOf& value, T* out) {
    constexpr std::size_t w = simd::width<T>;
    std::size_t c = 0;
    for (; c + 4 * w <= columns; c += 4 * w)
        weighted_vectors<4, T>(
            p, n, [&](std::size_t j) { return value(j) + c; }, out + c);
    for (; c + w <= columns; c += w)
        weighted_vectors<1, T>(
            p, n, [&](std::size_t j) { return value(j) + c; }, out + c);
    if (const std::size_t rest = columns - c; rest != 0) {
        auto acc = simd::zero<T>();
        for (std::size_t j = 0; j < n; ++j)
            acc = simd::fma(simd::splat(p[j]), simd::load_partial(value(j) + c, rest), acc);
        simd::store_partial(out + c, acc, rest);
    }
}

}  // namespace detail

/// Keys and values of one decoder layer's self-attention, of all sentences and steps. Nothing is ever moved: step t of
/// beam b lies in slot t * beam + b of its sentence, and a table says which slots a row descends from. Scores are
/// computed against all slots of the sentence (a product with the beam's rows on the left) and picked from there, which
/// costs less than reordering the cache. `Segments` is a list of pointers that push_back() and clear() work on.
template <class T, Extent Heads = std::size_t, Extent Width = std::size_t, Extent Beam = std::size_t,
          class Segments = std::vector<T*>>
class SelfAttentionCache {
public:
    /// Steps that one allocation holds; steps x beam slots always fill whole panels.
    static constexpr std::size_t segment_steps = 32;

    /// Forgets everything; memory taken before is the arena's.
    void start(std::size_t sentences, Beam beam, Heads heads, Width width) {
        sentences_ = sentences, beam_ = beam, heads_ = heads, width_ = width;
        segments_.clear();
    }

    /// Adds step `step` (from 0; steps come in order) and attends: out = softmax(q k^T) v over steps 0 .. step.
    /// Row r of q (scaled), k, v, out is beam r % beam of sentence `sentence[r / beam]`; `ancestor(r, j)` is the beam
    /// whose step j row r continues, its own one for j = step. Memory for more steps comes from `memory`.
    template <ExecutorPolicy E, class Memory, ViewOf<T> Q, ViewOf<T> K, ViewOf<T> O>
    void attend(const E& executor, Memory& memory, std::size_t step, const Q& q, const K& k, const K& v,
                std::span<const std::size_t> sentence, View<const std::uint32_t> ancestor, const O& out) {
        if (segments_.size() <= step / segment_steps) segments_.push_back(memory.template take<T>(segment_elements()));
        const auto head_size = over(width_, heads_);
        const std::size_t slots = (step + 1) * beam_, capacity = (step / segment_steps + 1) * segment_slots();
        parallel_rows(executor, sentence.size() * heads_, beam_ * slots * head_size / 8,
                      [&](std::size_t first, std::size_t last) {
                          T* scores = detail::scratch<T>(executor, 5, beam_ * capacity);
                          T* p = detail::scratch<T>(executor, 6, capacity);
                          for (std::size_t i = first; i < last; ++i) {
                              const std::size_t row = i / heads_ * beam_, head = i % heads_, c = head * head_size;
                              append(step, sentence[i / heads_], head, k.rows_at(row, beam_).cols_at(c, head_size),
                                     v.rows_at(row, beam_).cols_at(c, head_size));
                              for (std::size_t s = 0; s * segment_slots() < slots; ++s) {
                                  const Panels<T, std::size_t, std::remove_const_t<decltype(head_size)>> keys{
                                      this->keys(s, sentence[i / heads_], head),
                                      std::min(segment_slots(), slots - s * segment_slots()), head_size};
                                  detail::multiply_panels<T>(beam_, q.row(row) + c, q.stride, 1, keys, 0,
                                                             (keys.n + tile_columns<T> - 1) / tile_columns<T>,
                                                             scores + s * segment_slots(), capacity, {});
                              }
                              for (std::size_t b = 0; b < beam_; ++b) {
                                  const std::uint32_t* from = ancestor.row(row + b);
                                  for (std::size_t j = 0; j <= step; ++j)
                                      p[j] = scores[b * capacity + j * beam_ + from[j]];
                                  softmax_row(p, step + 1);
                                  const auto value = [&](std::size_t j) {
                                      return values(j / segment_steps, sentence[i / heads_], head) +
                                             (j % segment_steps * beam_ + from[j]) * head_size;
                                  };
                                  detail::weighted_sum<T>(p, step + 1, head_size, value, out.row(row + b) + c);
                              }
                          }
                      });
    }
    /// Numbers that one segment takes.
    std::size_t segment_elements() const { return sentences_ * 2 * width_ * segment_slots(); }

private:
    std::size_t segment_slots() const { return segment_steps * beam_; }
    /// Keys of a head: panels of slots, element (d, slot) at slot / w * head_size * w + d * w + slot % w.
    T* keys(std::size_t segment, std::size_t sentence, std::size_t head) const {
        return segments_[segment] + (sentence * 2 * width_ + head * over(width_, heads_)) * segment_slots();
    }
    /// Values of a head: one row of the head's size per slot.
    T* values(std::size_t segment, std::size_t sentence, std::size_t head) const {
        return segments_[segment] + (sentence * 2 * width_ + width_ + head * over(width_, heads_)) * segment_slots();
    }
    template <class V>
    void append(std::size_t step, std::size_t sentence, std::size_t head, const V& k, const V& v) {
        static_assert(segment_steps % tile_columns<T> == 0);
        constexpr std::size_t w = tile_columns<T>;
        const std::size_t segment = step / segment_steps;
        for (std::size_t b = 0; b < beam_; ++b) {
            const std::size_t slot = step % segment_steps * beam_ + b;
            T* key = keys(segment, sentence, head) + slot / w * w * k.cols + slot % w;
            if (slot % w == 0) std::fill_n(key, w * k.cols, T(0));  // products read whole panels
            for (std::size_t d = 0; d < k.cols; ++d) key[d * w] = k(b, d);
            std::copy_n(v.row(b), std::size_t{v.cols}, values(segment, sentence, head) + slot * v.cols);
        }
    }

    std::size_t sentences_ = 0;
    [[no_unique_address]] Beam beam_{};
    [[no_unique_address]] Heads heads_{};
    [[no_unique_address]] Width width_{};
    Segments segments_;
};

/// Keys and values of one decoder layer's encoder-decoder attention, packed once per sentence and shared by its beams.
template <class T, Extent Heads = std::size_t, Extent Width = std::size_t>
class CrossAttentionCache {
public:
    /// Packs k and v into `memory`; sentence i owns rows [offsets[i], offsets[i + 1]).
    template <ExecutorPolicy E, class Memory, ViewOf<T> K>
    void start(const E& executor, Memory& memory, Heads heads, Width width, const K& k, const K& v,
               std::span<const std::size_t> offsets) {
        const std::size_t sentences = offsets.size() - 1;
        heads_ = heads, width_ = width, longest_ = 0;
        places_ = memory.template take<Place>(sentences);
        std::size_t total = 0;
        for (std::size_t i = 0; i < sentences; ++i) {
            const std::size_t length = offsets[i + 1] - offsets[i];
            places_[i] = {total, length};
            total += elements(length);
            longest_ = std::max(longest_, length);
        }
        data_ = memory.template take<T>(total);
        const std::size_t head_size = over(width_, heads_);
        parallel_rows(executor, sentences, k.rows / std::max<std::size_t>(1, sentences) * k.cols * 2,
                      [&](std::size_t first, std::size_t last) {
                          constexpr std::size_t w = tile_columns<T>;
                          for (std::size_t i = first; i < last; ++i)
                              for (std::size_t h = 0; h < heads_; ++h) {
                                  const std::size_t n = places_[i].length, c = h * head_size;
                                  for (std::size_t p = 0; p * w < n; ++p)
                                      detail::pack_panel<T>(k.row(offsets[i]) + c, 1, k.stride, n, head_size, p,
                                                            keys(i, h) + p * w * head_size);
                                  for (std::size_t p = 0; p * w < head_size; ++p)
                                      detail::pack_panel<T>(v.row(offsets[i]) + c, v.stride, 1, head_size, n, p,
                                                            values(i, h) + p * w * n);
                              }
                      });
    }

    /// out = softmax(q k^T) v; row r of q (scaled) and out belongs to sentence `sentence[r / beam]`.
    template <ExecutorPolicy E, Extent Beam, ViewOf<T> Q, ViewOf<T> O>
    void attend(const E& executor, Beam beam, const Q& q, std::span<const std::size_t> sentence, const O& out) const {
        constexpr std::size_t w = tile_columns<T>;
        const auto head_size = over(width_, heads_);
        using HeadSize = std::remove_const_t<decltype(head_size)>;
        const std::size_t row = row_stride<T>(longest_);
        parallel_rows(executor, sentence.size() * heads_, beam * longest_ * head_size / 4,
                      [&](std::size_t first, std::size_t last) {
                          T* scores = detail::scratch<T>(executor, 5, beam * row);
                          for (std::size_t i = first; i < last; ++i) {
                              const std::size_t s = sentence[i / heads_], at = i / heads_ * beam, h = i % heads_,
                                                c = h * head_size, n = places_[s].length;
                              const Panels<T, std::size_t, HeadSize> keys{this->keys(s, h), n, head_size};
                              const Panels<T, HeadSize, std::size_t> values{this->values(s, h), head_size, n};
                              detail::multiply_panels<T>(beam, q.row(at) + c, q.stride, 1, keys, 0, (n + w - 1) / w,
                                                         scores, row, {});
                              for (std::size_t b = 0; b < beam; ++b) softmax_row(scores + b * row, n);
                              detail::multiply_panels<T>(beam, scores, row, 1, values, 0, (head_size + w - 1) / w,
                                                         out.row(at) + c, out.stride, {});
                          }
                      });
    }

private:
    struct Place {
        std::size_t first, length;
    };
    std::size_t elements(std::size_t length) const {
        const std::size_t head_size = over(width_, heads_);
        return heads_ * (Panels<T>::elements(length, head_size) + Panels<T>::elements(head_size, length));
    }
    T* keys(std::size_t sentence, std::size_t head) const {
        return data_ + places_[sentence].first +
               head * Panels<T>::elements(places_[sentence].length, over(width_, heads_));
    }
    T* values(std::size_t sentence, std::size_t head) const {
        const Place& p = places_[sentence];
        const std::size_t head_size = over(width_, heads_);
        return data_ + p.first + heads_ * Panels<T>::elements(p.length, head_size) +
               head * Panels<T>::elements(head_size, p.length);
    }

    [[no_unique_address]] Heads heads_{};
    [[no_unique_address]] Width width_{};
    std::size_t longest_ = 0;
    Place* places_ = nullptr;
    T* data_ = nullptr;
};

}  // namespace hat
