#pragma once
/// \file
/// Incremental decoding: sentences are encoded once, then the decoder takes one token per row and step. One code for
/// networks whose sizes are known at run time (InferenceSession) and at compile time (StaticTransformer). Throws
/// nothing and checks nothing; takes memory from arenas only.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/executor.hpp>
#include <hat/kernel/embedding.hpp>
#include <hat/model/inference_layers.hpp>
#include <span>
#include <utility>

namespace hat {

/// What one decoder layer remembers: anything with these two members.
template <class Self, class Cross>
struct LayerCache {
    Self self;    ///< keys and values of the tokens so far
    Cross cross;  ///< keys and values of the encoder's outputs
};

/// Encodes and decodes with the network `Net` (InferenceModel or StaticNetwork say what one must have). `Beam` and
/// `Sentences` are extents: rows of a sentence, and sentences at once.
template <class Net, ExecutorPolicy E, class Memory, Extent Beam = std::size_t, Extent Sentences = std::size_t>
class IncrementalDecoder {
public:
    using T = typename Net::value_type;  ///< of activations

    /// Where its numbers live.
    struct Memories {
        Memory outputs{};                      ///< what the decoder attends to
        Memory caches{};                       ///< keys, values and ancestors
        Memory temporaries{};                  ///< of one layer, and the logits
        SinusoidTable<T> encoder_positions{};  ///< for encoder_width() columns
        SinusoidTable<T> decoder_positions{};  ///< for decoder_width() columns
    };

    /// `net` must outlive it.
    IncrementalDecoder(const Net& net, E executor, Memories memories)
        : net_(&net),
          executor_(std::move(executor)),
          m_(std::move(memories)),
          caches_(net.template make_caches<Beam>()) {}

    /// The network.
    const Net& net() const { return *net_; }
    /// Who works.
    const E& executor() const { return executor_; }
    /// Where its numbers live.
    const Memories& memories() const { return m_; }

    /// Runs the encoder on sentences of tokens within the vocabulary, none of them empty; sentence i has the tokens
    /// [offsets[i], offsets[i + 1]).
    void encode(std::span<const std::int32_t> tokens, std::span<const std::size_t> offsets) {
        const auto width = net_->encoder_width();
        const std::size_t all = tokens.size(), sentences = offsets.size() - 1, deepest = net_->deepest_span();
        m_.outputs.reset();
        for (std::size_t n = 1; n <= 3; ++n) {
            if (n > deepest || (single ? n != deepest : !net_->attends_to(n))) continue;
            outputs_[n - 1] = m_.outputs.template rows<T>(n * all, width);
        }
        for (std::size_t n = 1; n <= deepest; ++n) {  // of one sentence, the last n outputs are the first rows of more
            if (single) outputs_[n - 1] = outputs_[deepest - 1].rows_at(0, n * all);
            offsets_[n - 1] = m_.outputs.template take<std::size_t>(sentences + 1);
            for (std::size_t i = 0; i <= sentences; ++i) offsets_[n - 1][i] = n * offsets[i];
        }
        encoded_ = sentences;
        // groups of sentences keep the activations small
        constexpr std::size_t group_tokens = 512;
        for (std::size_t i = 0; i < sentences;) {
            const std::size_t first = i++;
            while (i < sentences && offsets[i + 1] - offsets[first] <= group_tokens) ++i;
            encode_group(tokens.subspan(offsets[first], offsets[i] - offsets[first]),
                         offsets.subspan(first, i - first + 1));
        }
    }
    /// Sentences of the last encode().
    std::size_t sentences() const { return encoded_; }

    /// Begins to decode what was encoded: projects the keys and values of every encoder-decoder attention.
    void start(Beam beam) {
        beam_ = beam, steps_ = 0, rows_ = 0;
        m_.caches.reset();
        ancestors_ = {}, next_ancestors_ = {}, lanes_ = {}, next_lanes_ = {};
        lanes_.reserve(m_.caches, encoded_);
        next_lanes_.reserve(m_.caches, encoded_);
        m_.temporaries.reset();
        const auto c = context();
        net_->for_each_decoder(caches_, [&](const auto& layer, auto& cache) {
            const typename Memory::Scope temporaries(m_.temporaries);
            const std::size_t n = layer.span;
            const auto k = c.template project<T>(outputs_[n - 1], layer.cross.k);
            const auto v = c.template project<T>(outputs_[n - 1], layer.cross.v);
            cache.cross.start(executor_, m_.caches, layer.cross_heads, layer.cross.k.outputs(), k, v,
                              std::span<const std::size_t>(offsets_[n - 1], encoded_ + 1));
            cache.self.start(encoded_, beam, layer.self_heads, layer.self.q.outputs());
        });
    }
    /// Rows of each sentence.
    std::size_t beam() const { return beam_; }
    /// Tokens fed to each row so far.
    std::size_t length() const { return steps_; }
    /// Rows of the last step.
    std::size_t rows() const { return rows_; }
    /// Makes room for `length` tokens at once, instead of as they come.
    void reserve(std::size_t length) {
        const std::size_t n = encoded_ * beam_ * stride(length - 1);
        ancestors_.reserve(m_.caches, n);
        next_ancestors_.reserve(m_.caches, n);
    }

    /// Feeds one token to each row and returns the logits of the next one, rows x vocabulary, valid until the next
    /// call. The rules are those of InferenceSession::step().
    auto step(std::span<const std::int32_t> tokens, std::span<const std::size_t> parents) {
        inherit(tokens.size(), parents);
        const auto rows = row_count(tokens.size());
        m_.decoder_positions.reserve(steps_ + 1);
        m_.temporaries.reset();
        const auto x = m_.temporaries.template rows<T>(rows, net_->decoder_width());
        for (std::size_t r = 0; r < rows; ++r)
            detail::embed_token(net_->decoder_embedding().vector(static_cast<std::size_t>(tokens[r]), x.cols, x.row(r)),
                                net_->decoder_scale(), m_.decoder_positions.position(steps_), x.row(r), x.cols);
        const View<const std::uint32_t> ancestors{ancestors_.data, std::size_t{rows}, steps_ + 1, stride(steps_)};
        const std::span<const std::size_t> lanes(lanes_.data, rows / beam_);
        const auto c = context();
        net_->for_each_decoder(caches_, [&](const auto& layer, auto& cache) {
            c.template decoder_layer<T>(net_->decoder_pre_norm(), layer, cache.self, cache.cross, m_.caches, beam_,
                                        steps_, lanes, ancestors, x);
        });
        if (net_->has_decoder_norm()) layer_norm<T>(executor_, x, net_->decoder_norm(), x, nullptr, nullptr);
        const auto logits = c.template project<T>(x, net_->output());
        ++steps_;
        return logits;
    }

private:
    static constexpr bool single = std::same_as<Sentences, Fixed<1>>;
    using Width = decltype(std::declval<const Net&>().encoder_width());
    using Outputs = decltype(std::declval<Memory&>().template rows<T>(std::size_t{}, Width{}));

    InferenceContext<E, Memory> context() { return {executor_, m_.temporaries}; }
    auto row_count(std::size_t n) const {
        if constexpr (FixedExtent<Beam> && single)
            return beam_;
        else
            return n;
    }
    static std::size_t stride(std::size_t steps) {
        constexpr std::size_t block = 32;
        return (steps / block + 1) * block;
    }

    void encode_group(std::span<const std::int32_t> tokens, std::span<const std::size_t> offsets) {
        const auto width = net_->encoder_width();
        const std::size_t begin = offsets[0], sentences = offsets.size() - 1;
        m_.temporaries.reset();
        std::size_t* const local = m_.temporaries.template take<std::size_t>(sentences + 1);
        for (std::size_t i = 0; i <= sentences; ++i) local[i] = offsets[i] - begin;
        const auto x = m_.temporaries.template rows<T>(tokens.size(), width);
        for (std::size_t i = 0; i < sentences; ++i) m_.encoder_positions.reserve(local[i + 1] - local[i]);
        parallel_rows(executor_, sentences, 64 * width, [&](std::size_t first, std::size_t last) {
            for (std::size_t i = first; i < last; ++i)
                for (std::size_t t = local[i]; t < local[i + 1]; ++t)
                    detail::embed_token(
                        net_->encoder_embedding().vector(static_cast<std::size_t>(tokens[t]), width, x.row(t)),
                        net_->encoder_scale(), m_.encoder_positions.position(t - local[i]), x.row(t), width);
        });
        const auto c = context();
        std::size_t l = 0;
        net_->for_each_encoder([&](const auto& layer) {
            c.template encoder_layer<T>(net_->encoder_pre_norm(), layer, {local, sentences + 1}, x);
            for (std::size_t j = 0; j < net_->deepest_span(); ++j)
                if (net_->memory_layer(j) == l) remember(j, x, local, offsets);
            ++l;
        });
    }
    /// Copies the output of an encoder layer, the j-th that decoder layers attend to, to where they look for it.
    template <class X>
    void remember(std::size_t j, const X& x, const std::size_t* local, std::span<const std::size_t> offsets) {
        for (std::size_t n = j + 1; n <= net_->deepest_span(); ++n) {
            if (single ? n != net_->deepest_span() : !net_->attends_to(n)) continue;
            for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
                const std::size_t length = offsets[i + 1] - offsets[i];
                const auto to = outputs_[n - 1].rows_at(n * offsets[i] + j * length, length);
                const auto from = x.rows_at(local[i], length);
                if (net_->memory_normalized(j))
                    layer_norm<T>(executor_, from, net_->encoder_norm(), to, nullptr, nullptr);
                else
                    for (std::size_t r = 0; r < length; ++r) std::copy_n(from.row(r), std::size_t{x.cols}, to.row(r));
            }
        }
    }

    /// Finds each group's sentence and each row's ancestors.
    void inherit(std::size_t rows, std::span<const std::size_t> parents) {
        const std::size_t groups = rows / beam_, to_stride = stride(steps_), n = encoded_ * beam_ * to_stride;
        next_ancestors_.reserve(m_.caches, n);
        for (std::size_t g = 0; g < groups; ++g)
            next_lanes_.data[g] = parents.empty() ? g : lanes_.data[parents[g * beam_] / beam_];
        for (std::size_t r = 0; r < rows; ++r) {
            std::uint32_t* to = next_ancestors_.data + r * to_stride;
            if (!parents.empty()) std::copy_n(ancestors_.data + parents[r] * stride(steps_ - 1), steps_, to);
            to[steps_] = static_cast<std::uint32_t>(r % beam_);
        }
        std::swap(ancestors_, next_ancestors_);
        std::swap(lanes_, next_lanes_);
        rows_ = rows;
    }

    const Net* net_;
    [[no_unique_address]] E executor_;
    Memories m_;
    typename Net::template CachesFor<Beam> caches_;
    Outputs outputs_[3]{};
    std::size_t* offsets_[3]{};
    std::size_t encoded_ = 0, steps_ = 0, rows_ = 0;
    [[no_unique_address]] Beam beam_{};
    GrowingBlock<std::size_t> lanes_, next_lanes_;            // the sentence of each group of rows
    GrowingBlock<std::uint32_t> ancestors_, next_ancestors_;  // rows x steps: the beam each step of a row comes from
};

}  // namespace hat
