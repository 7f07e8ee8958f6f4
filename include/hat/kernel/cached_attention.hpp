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
        for (std::size_t c = 0; c < N; ++c) acc[c] = simd::fma<T>(weight, simd::load(v + c * simd::width<T>), acc[c]);
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
            acc = simd::fma<T>(simd::splat(p[j]), simd::load_partial(value(j) + c, rest), acc);
        simd::store_partial(out + c, acc, rest);
    }
}

}  // namespace detail

/// Keys and values of one decoder layer's self-attention, of all sentences and steps. Nothing is ever moved: step t of
/// beam b lies in slot t * beam + b of its sentence, and a table says which slots a row descends from. Scores are
/// computed against all slots of the sentence (a product with the beam's rows on the left) and picked from there, which
/// costs less than reordering the cache.
template <class T>
class SelfAttentionCache {
public:
    /// Steps that one allocation holds; steps x beam slots always fill whole panels.
    static constexpr std::size_t segment_steps = 32;

    /// Forgets everything; the memory is kept.
    void start(std::size_t sentences, std::size_t beam, std::size_t heads, std::size_t width) {
        sentences_ = sentences, beam_ = beam, heads_ = heads, width_ = width;
    }

    /// Adds step `step` (from 0; steps come in order) and attends: out = softmax(q k^T) v over steps 0 .. step.
    /// Row r of q (scaled), k, v, out is beam r % beam of sentence `sentence[r / beam]`; `ancestor(r, j)` is the beam
    /// whose step j row r continues, its own one for j = step.
    template <ExecutorPolicy E>
    void attend(const E& executor, std::size_t step, View<const T> q, View<const T> k, View<const T> v,
                std::span<const std::size_t> sentence, View<const std::uint32_t> ancestor, View<T> out) {
        reserve(step);
        const std::size_t head_size = width_ / heads_, slots = (step + 1) * beam_;
        const std::size_t capacity = (step / segment_steps + 1) * segment_slots();
        parallel_rows(executor, sentence.size() * heads_, beam_ * slots * head_size / 8,
                      [&](std::size_t first, std::size_t last) {
                          T* scores = detail::thread_scratch<T>(5, beam_ * capacity);
                          T* p = detail::thread_scratch<T>(6, capacity);
                          for (std::size_t i = first; i < last; ++i) {
                              const std::size_t row = i / heads_ * beam_, head = i % heads_, c = head * head_size;
                              append(step, sentence[i / heads_], head, k.rows_at(row, beam_).cols_at(c, head_size),
                                     v.rows_at(row, beam_).cols_at(c, head_size));
                              for (std::size_t s = 0; s * segment_slots() < slots; ++s) {
                                  const Panels<T> keys{this->keys(s, sentence[i / heads_], head),
                                                       std::min(segment_slots(), slots - s * segment_slots()),
                                                       head_size};
                                  detail::multiply_panels<T>(beam_, head_size, q.row(row) + c, q.stride, 1, keys, 0,
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
    /// Memory held, in bytes.
    std::size_t bytes() const {
        std::size_t n = 0;
        for (const auto& s : segments_) n += s.size() * sizeof(T);
        return n;
    }

private:
    std::size_t segment_slots() const { return segment_steps * beam_; }
    /// Keys of a head: panels of slots, element (d, slot) at slot / w * head_size * w + d * w + slot % w.
    T* keys(std::size_t segment, std::size_t sentence, std::size_t head) const {
        return segments_[segment].data() + (sentence * 2 * width_ + head * (width_ / heads_)) * segment_slots();
    }
    /// Values of a head: one row of the head's size per slot.
    T* values(std::size_t segment, std::size_t sentence, std::size_t head) const {
        return segments_[segment].data() +
               (sentence * 2 * width_ + width_ + head * (width_ / heads_)) * segment_slots();
    }
    void reserve(std::size_t step) {
        static_assert(segment_steps % tile_columns<T> == 0);
        const std::size_t index = step / segment_steps, n = sentences_ * 2 * width_ * segment_slots();
        if (segments_.size() <= index) segments_.resize(index + 1);
        if (segments_[index].size() >= n) return;
        segments_[index].reset(n);
        std::fill_n(segments_[index].data(), n, T(0));
    }
    void append(std::size_t step, std::size_t sentence, std::size_t head, View<const T> k, View<const T> v) {
        constexpr std::size_t w = tile_columns<T>;
        const std::size_t segment = step / segment_steps;
        for (std::size_t b = 0; b < beam_; ++b) {
            const std::size_t slot = step % segment_steps * beam_ + b;
            T* key = keys(segment, sentence, head) + slot / w * w * k.cols + slot % w;
            for (std::size_t d = 0; d < k.cols; ++d) key[d * w] = k(b, d);
            std::copy_n(v.row(b), v.cols, values(segment, sentence, head) + slot * v.cols);
        }
    }

    std::size_t sentences_ = 0, beam_ = 1, heads_ = 1, width_ = 0;
    std::vector<AlignedBuffer<T>> segments_;
};

/// Keys and values of one decoder layer's encoder-decoder attention, packed once per sentence and shared by its beams.
template <class T>
class CrossAttentionCache {
public:
    /// Packs k and v; sentence i owns rows [offsets[i], offsets[i + 1]).
    template <ExecutorPolicy E>
    void start(const E& executor, std::size_t heads, View<const T> k, View<const T> v,
               std::span<const std::size_t> offsets) {
        const std::size_t sentences = offsets.size() - 1, head_size = k.cols / heads;
        heads_ = heads, head_size_ = head_size, longest_ = 0;
        places_.resize(sentences);
        std::size_t total = 0;
        for (std::size_t i = 0; i < sentences; ++i) {
            const std::size_t length = offsets[i + 1] - offsets[i];
            places_[i] = {total, length};
            total += heads * (key_size(length) + value_size(length));
            longest_ = std::max(longest_, length);
        }
        if (data_.size() < total) data_.reset(total);
        parallel_rows(executor, sentences, k.rows / std::max<std::size_t>(1, sentences) * k.cols * 2,
                      [&](std::size_t first, std::size_t last) {
                          constexpr std::size_t w = tile_columns<T>;
                          for (std::size_t i = first; i < last; ++i)
                              for (std::size_t h = 0; h < heads; ++h) {
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
    template <ExecutorPolicy E>
    void attend(const E& executor, std::size_t beam, View<const T> q, std::span<const std::size_t> sentence,
                View<T> out) const {
        constexpr std::size_t w = tile_columns<T>;
        parallel_rows(executor, sentence.size() * heads_, beam * longest_ * head_size_ / 4,
                      [&](std::size_t first, std::size_t last) {
                          T* scores = detail::thread_scratch<T>(5, beam * longest_);
                          for (std::size_t i = first; i < last; ++i) {
                              const std::size_t s = sentence[i / heads_], row = i / heads_ * beam, h = i % heads_,
                                                c = h * head_size_;
                              const std::size_t n = places_[s].length;
                              detail::multiply_panels<T>(beam, head_size_, q.row(row) + c, q.stride, 1,
                                                         {keys(s, h), n, head_size_}, 0, (n + w - 1) / w, scores, n,
                                                         {});
                              for (std::size_t b = 0; b < beam; ++b) softmax_row(scores + b * n, n);
                              detail::multiply_panels<T>(beam, n, scores, n, 1, {values(s, h), head_size_, n}, 0,
                                                         (head_size_ + w - 1) / w, out.row(row) + c, out.stride, {});
                          }
                      });
    }
    /// Memory held, in bytes.
    std::size_t bytes() const { return data_.size() * sizeof(T); }

private:
    struct Place {
        std::size_t first = 0, length = 0;
    };
    std::size_t key_size(std::size_t length) const { return Panels<T>::elements(length, head_size_); }
    std::size_t value_size(std::size_t length) const { return Panels<T>::elements(head_size_, length); }
    T* keys(std::size_t sentence, std::size_t head) const {
        return data_.data() + places_[sentence].first + head * key_size(places_[sentence].length);
    }
    T* values(std::size_t sentence, std::size_t head) const {
        const Place& p = places_[sentence];
        return data_.data() + p.first + heads_ * key_size(p.length) + head * value_size(p.length);
    }

    std::size_t heads_ = 1, head_size_ = 0, longest_ = 0;
    std::vector<Place> places_;
    AlignedBuffer<T> data_;
};

}  // namespace hat
