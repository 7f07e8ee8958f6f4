#pragma once
/// \file
/// A model ready to translate: one SubTransformer's weights packed once, and the working memory that encodes sentences
/// and decodes them token by token. The logits of a step equal those of the full forward pass to the bit.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/error.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/core/tokens.hpp>
#include <hat/kernel/cached_attention.hpp>
#include <hat/kernel/embedding.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/model/elastic.hpp>
#include <hat/model/extract.hpp>
#include <hat/model/layers.hpp>
#include <hat/model/weights.hpp>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace hat {

/// One SubTransformer with its weights packed for inference. Never changes: any number of sessions may share one.
template <class T = float>
class InferenceModel {
public:
    using Encoder = EncoderLayer<T, PackedLinear<T>>;  ///< one layer of the encoder
    using Decoder = DecoderLayer<T, PackedLinear<T>>;  ///< one layer of the decoder

    /// Packs a copy of the matrices and keeps a reference to the weights (embeddings, biases and norms are read from
    /// there): they must outlive the model. Throws shape_mismatch unless `arch` is a leading block of the weights.
    InferenceModel(const Weights<T>& weights, const RuntimeArch& arch)
        : InferenceModel(std::shared_ptr<const Weights<T>>(std::shared_ptr<void>{}, &weights), arch) {}
    /// The same, sharing the weights.
    InferenceModel(std::shared_ptr<const Weights<T>> weights, const RuntimeArch& arch)
        : InferenceModel(std::move(weights), arch, nullptr) {}
    /// Takes the weights over and packs them where they are, so that they are in memory once. A SubTransformer that is
    /// not all of them is extracted first. Throws shape_mismatch unless `arch` is a leading block of the weights.
    InferenceModel(Weights<T>&& weights, const RuntimeArch& arch)
        : InferenceModel(std::make_shared<Weights<T>>(whole(std::move(weights), arch)), arch, std::true_type{}) {}

    /// The SubTransformer that runs.
    const RuntimeArch& arch() const { return sub_.arch(); }
    /// The configuration of the weights.
    const TransformerConfig& config() const { return sub_.config(); }
    /// The encoder's layers, packed.
    const std::vector<Encoder>& encoder() const { return encoder_; }
    /// The decoder's layers, packed.
    const std::vector<Decoder>& decoder() const { return decoder_; }
    /// The output projection, V x decoder width.
    const PackedLinear<T>& output() const { return output_; }
    /// The source tokens' vectors.
    const EmbeddingTable<T>& encoder_embedding() const { return encoder_embedding_; }
    /// The target tokens' vectors.
    const EmbeddingTable<T>& decoder_embedding() const { return decoder_embedding_; }
    /// Ids of the source language.
    std::size_t source_vocab() const { return config().source_vocab; }
    /// Ids of the target language.
    std::size_t target_vocab() const { return config().target_vocab; }
    /// Widths, scales and norms. Its matrices are packed in their places if the model has taken the weights over.
    const SubTransformerView<T>& sub() const { return sub_; }

private:
    InferenceModel(const std::shared_ptr<Weights<T>>& weights, const RuntimeArch& arch, std::true_type)
        : InferenceModel(weights, arch, weights->values().data()) {}
    /// `own` is the first of the weights if they may be overwritten, else null.
    InferenceModel(std::shared_ptr<const Weights<T>> weights, const RuntimeArch& arch, T* own)
        : weights_(std::move(weights)),
          own_(own),
          sub_(*weights_, arch),
          encoder_embedding_(sub_.encoder_embedding()),
          decoder_embedding_(sub_.decoder_embedding()) {
        for (std::size_t i = 0; i < sub_.encoder_layers(); ++i) {
            const auto l = sub_.encoder(i);
            encoder_.push_back({pack(l.self), l.self_norm, pack(l.ffn), l.final_norm, l.heads});
        }
        for (std::size_t i = 0; i < sub_.decoder_layers(); ++i) {
            const auto l = sub_.decoder(i);
            decoder_.push_back({pack(l.self), pack(l.cross), l.self_norm, l.cross_norm, pack(l.ffn), l.final_norm,
                                l.self_heads, l.cross_heads, sub_.span(i)});
        }
        const View<const T> matrix = sub_.output_matrix();
        output_ = pack({matrix, nullptr}, true);
        const Panels<T>& panels = output_.weight.panels();
        if (panels.data != matrix.data) return;  // what shares the matrix now finds it packed
        const auto& layout = weights_->layout();
        if (layout.encoder_embedding() == layout.output_embedding()) encoder_embedding_ = panels;
        if (layout.decoder_embedding() == layout.output_embedding()) decoder_embedding_ = panels;
    }

    static Weights<T> whole(Weights<T>&& weights, const RuntimeArch& arch) {
        if (is_whole(arch, weights.config().shape)) return std::move(weights);
        const Weights<T> super = std::move(weights);  // gone when its part is out
        return extract(super, arch);
    }
    /// `room`: rows up to a full panel may follow the matrix (those of a vocabulary).
    PackedLinear<T> pack(const Linear<T>& l, bool room = false) const {
        const View<const T>& w = l.weight;
        if (!own_ || w.stride != w.cols || (w.rows % tile_columns<T> != 0 && !room)) return PackedLinear<T>(l);
        return {pack_transposed_in_place<T>({own_ + (w.data - weights_->values().data()), w.rows, w.cols}), l.bias};
    }
    AttentionWeights<PackedLinear<T>> pack(const AttentionWeights<Linear<T>>& w) const {
        return {pack(w.q), pack(w.k), pack(w.v), pack(w.out)};
    }
    FeedForwardWeights<PackedLinear<T>> pack(const FeedForwardWeights<Linear<T>>& w) const {
        return {pack(w.fc1), pack(w.fc2)};
    }

    std::shared_ptr<const Weights<T>> weights_;
    T* own_;
    SubTransformerView<T> sub_;
    EmbeddingTable<T> encoder_embedding_, decoder_embedding_;
    PackedLinear<T> output_;
    std::vector<Encoder> encoder_;
    std::vector<Decoder> decoder_;
};

/// Working memory of one translation at a time: encode(), then start(), then step() per token. A sentence's numbers do
/// not depend on the other sentences of the batch, nor on the number of threads. After the first batch of a size, steps
/// allocate nothing. Keeps a reference to the model; one session serves one thread at a time.
template <class T = float>
class InferenceSession {
public:
    /// A session on `model`, which must outlive it.
    explicit InferenceSession(const InferenceModel<T>& model, ThreadPool pool = ThreadPool(1))
        : model_(&model),
          pool_(std::move(pool)),
          encoder_positions_(static_cast<std::size_t>(model.config().super_encoder_embed())),
          decoder_positions_(static_cast<std::size_t>(model.config().super_decoder_embed())),
          self_(model.decoder().size()),
          cross_(model.decoder().size()) {}

    /// What it runs.
    const InferenceModel<T>& model() const { return *model_; }
    /// What it runs on.
    const ThreadPool& pool() const { return pool_; }

    /// Runs the encoder on sentences that end in eos, and keeps what the decoder attends to. Throws shape_mismatch for
    /// an empty sentence, invalid_value for a token outside the vocabulary.
    void encode(const Ragged& sources) {
        detail::check_tokens(sources, model_->source_vocab(), "source");
        encoded_ = 0, beam_ = 0;
        const std::size_t width = model_->sub().encoder_width(), tokens = sources.tokens.size();
        for (const auto& layer : model_->decoder()) {
            Memory& m = memories_[layer.span - 1];
            m.offsets.assign(1, 0);
            if (m.rows.size() < layer.span * tokens * width) m.rows.reset(layer.span * tokens * width);
        }
        // groups of sentences keep the encoder's activations small
        constexpr std::size_t group_tokens = 512;
        for (std::size_t i = 0; i < sources.size();) {
            group_.clear();
            do group_.push_back(sources[i++]);
            while (i < sources.size() && group_.tokens.size() + sources[i].size() <= group_tokens);
            arena_.reset();
            const auto layer = [&](std::size_t l) -> const auto& { return model_->encoder()[l]; };
            const auto pass = run_encoder<T>(context(), model_->sub(), layer, model_->encoder_embedding(),
                                             encoder_positions_, group_, {});
            for (std::size_t n = 0; n < 3; ++n) {
                const auto& span = pass.memory.spans[n];
                if (!span.rows.data) continue;
                Memory& m = memories_[n];
                const std::size_t first = m.offsets.back();
                std::copy_n(span.rows.data, span.rows.rows * width, m.rows.data() + first * width);
                for (std::size_t j = 1; j < span.offsets.size(); ++j) m.offsets.push_back(first + span.offsets[j]);
            }
        }
        encoded_ = sources.size();
    }
    /// Sentences of the last encode().
    std::size_t sentences() const { return encoded_; }

    /// Begins to decode the encoded sentences, `beam` rows each: projects the keys and values of every encoder-decoder
    /// attention, once per sentence. May be called again to start over.
    void start(std::size_t beam) {
        if (encoded_ == 0) throw invalid_value("hat::InferenceSession: start() without encoded sentences");
        if (beam == 0) throw invalid_value("hat::InferenceSession: beam is 0, expected at least 1");
        beam_ = beam, steps_ = 0;
        const std::size_t width = model_->sub().encoder_width();
        for (std::size_t i = 0; i < model_->decoder().size(); ++i) {
            const auto& layer = model_->decoder()[i];
            const Memory& memory = memories_[layer.span - 1];
            const View<const T> rows{memory.rows.data(), memory.offsets.back(), width};
            arena_.reset();
            const View<T> k = arena_.template matrix<T>(rows.rows, layer.cross.k.outputs());
            const View<T> v = arena_.template matrix<T>(rows.rows, layer.cross.v.outputs());
            linear<T>(pool_, rows, layer.cross.k, k);
            linear<T>(pool_, rows, layer.cross.v, v);
            cross_[i].start(pool_, layer.cross_heads, k, v, memory.offsets);
            self_[i].start(encoded_, beam, layer.self_heads, layer.self.q.outputs());
        }
    }
    /// Rows of each sentence, as given to start().
    std::size_t beam() const { return beam_; }
    /// Tokens fed to each row so far.
    std::size_t length() const { return steps_; }

    /// Feeds one token to each row and returns the logits of the next one, rows x vocabulary; they are the caller's to
    /// overwrite, until the next call. Rows come in groups of `beam` per sentence. In the first step there is one group
    /// per encoded sentence and no parents; later row r continues row parents[r] of the step before. All rows of a
    /// group continue rows of one group, groups keep their order, and a sentence whose rows are left out is finished.
    /// Throws shape_mismatch or invalid_value.
    View<T> step(std::span<const std::int32_t> tokens, std::span<const std::size_t> parents = {}) {
        inherit(tokens, parents);
        const std::size_t rows = tokens.size();
        const auto& sub = model_->sub();
        const bool pre = sub.config().decoder_pre_norm;
        decoder_positions_.reserve(steps_ + 1);
        arena_.reset();
        View<T> x = arena_.template matrix<T>(rows, sub.decoder_width());
        for (std::size_t r = 0; r < rows; ++r)
            detail::embed_token(
                model_->decoder_embedding().vector(static_cast<std::size_t>(tokens[r]), x.cols, x.row(r)),
                sub.decoder_scale(), decoder_positions_.position(steps_), x.row(r), x.cols);
        const View<const std::uint32_t> ancestors{ancestors_.data(), rows, steps_ + 1, ancestor_stride_};
        for (std::size_t i = 0; i < model_->decoder().size(); ++i) {
            const auto& w = model_->decoder()[i];
            ResidualBlock<T> self{.pre_norm = pre, .norm = w.self_norm, .dropout = {}};
            const View<const T> in = self.begin(context(), x);
            const View<T> q = project(in, w.self.q, w.self_heads), k = project(in, w.self.k), v = project(in, w.self.v);
            const View<T> seen = arena_.template matrix<T>(rows, q.cols);
            self_[i].attend(pool_, steps_, q, k, v, lanes_, ancestors, seen);
            x = self.end(context(), x, project(seen, w.self.out));

            ResidualBlock<T> cross{.pre_norm = pre, .norm = w.cross_norm, .dropout = {}};
            const View<T> cq = project(cross.begin(context(), x), w.cross.q, w.cross_heads);
            cross_[i].attend(pool_, beam_, cq, lanes_, seen);
            x = cross.end(context(), x, project(seen, w.cross.out));

            FeedForwardPass<T> ffn;
            ffn.block = {.pre_norm = pre, .norm = w.final_norm, .dropout = {}};
            x = ffn.forward(context(), w.ffn, x);
        }
        if (sub.has_decoder_norm()) {
            const View<T> y = arena_.template matrix<T>(rows, x.cols);
            layer_norm<T>(pool_, x, sub.decoder_norm(), y, nullptr, nullptr);
            x = y;
        }
        const View<T> logits = project(x, model_->output());
        ++steps_;
        return logits;
    }

private:
    /// What decoder layers of one attention span read: encoder outputs concatenated along length, sentence by sentence.
    struct Memory {
        AlignedBuffer<T> rows;
        std::vector<std::size_t> offsets{0};
    };

    LayerContext context() { return {pool_, arena_}; }

    /// x w^T + bias, for queries times head size ^ -1/2.
    View<T> project(View<const T> x, const PackedLinear<T>& w, std::size_t query_heads = 0) {
        const View<T> y = arena_.template matrix<T>(x.rows, w.outputs());
        const T scale = query_heads ? T(1) / std::sqrt(static_cast<T>(y.cols / query_heads)) : T(1);
        linear<T>(pool_, x, w, y, {.scale = scale});
        return y;
    }

    /// Checks a step's input and finds each group's sentence and each row's ancestors.
    void inherit(std::span<const std::int32_t> tokens, std::span<const std::size_t> parents) {
        const auto where = [&] { return "hat::InferenceSession: step " + std::to_string(steps_) + ": "; };
        if (beam_ == 0) throw invalid_value("hat::InferenceSession: step() before start()");
        const std::size_t rows = tokens.size(), groups = rows / beam_;
        if (rows == 0 || rows % beam_ != 0)
            throw shape_mismatch(where() + std::to_string(rows) + " tokens are no positive multiple of the beam " +
                                 std::to_string(beam_));
        if (steps_ == 0 ? groups != encoded_ || !parents.empty() : parents.size() != rows)
            throw shape_mismatch(where() + std::to_string(rows) + " tokens and " + std::to_string(parents.size()) +
                                 " parents, expected " +
                                 (steps_ == 0 ? std::to_string(encoded_ * beam_) + " and none" : "as many of both"));
        for (const std::int32_t token : tokens)
            if (token < 0 || static_cast<std::size_t>(token) >= model_->target_vocab())
                throw invalid_value(where() + "token " + std::to_string(token) + " is outside the vocabulary of " +
                                    std::to_string(model_->target_vocab()));
        for (std::size_t r = 0; r < parents.size(); ++r)
            if (parents[r] >= rows_ || parents[r] / beam_ != parents[r / beam_ * beam_] / beam_)
                throw invalid_value(where() + "row " + std::to_string(r) + " has parent " + std::to_string(parents[r]) +
                                    ", expected a row below " + std::to_string(rows_) + " of its group's sentence");
        for (std::size_t g = 1; g < groups && !parents.empty(); ++g)
            if (parents[g * beam_] / beam_ <= parents[(g - 1) * beam_] / beam_)
                throw invalid_value(where() + "sentences must keep their order, but row " + std::to_string(g * beam_) +
                                    " continues row " + std::to_string(parents[g * beam_]) + " after row " +
                                    std::to_string(parents[(g - 1) * beam_]));

        constexpr std::size_t block = SelfAttentionCache<T>::segment_steps;
        const std::size_t stride = (steps_ / block + 1) * block;
        next_ancestors_.resize(std::max(next_ancestors_.size(), encoded_ * beam_ * stride));
        next_lanes_.resize(groups);
        for (std::size_t g = 0; g < groups; ++g) next_lanes_[g] = steps_ == 0 ? g : lanes_[parents[g * beam_] / beam_];
        for (std::size_t r = 0; r < rows; ++r) {
            std::uint32_t* to = next_ancestors_.data() + r * stride;
            if (steps_ > 0) std::copy_n(ancestors_.data() + parents[r] * ancestor_stride_, steps_, to);
            to[steps_] = static_cast<std::uint32_t>(r % beam_);
        }
        std::swap(ancestors_, next_ancestors_);
        std::swap(lanes_, next_lanes_);
        ancestor_stride_ = stride;
        rows_ = rows;
    }

    const InferenceModel<T>* model_;
    ThreadPool pool_;
    Arena arena_;
    SinusoidTable<T> encoder_positions_, decoder_positions_;
    Ragged group_;
    Memory memories_[3];
    std::vector<SelfAttentionCache<T>> self_;
    std::vector<CrossAttentionCache<T>> cross_;
    std::size_t encoded_ = 0, beam_ = 0, steps_ = 0, rows_ = 0;
    std::vector<std::size_t> lanes_, next_lanes_;            // the sentence of each group of rows
    std::vector<std::uint32_t> ancestors_, next_ancestors_;  // rows x steps: the beam each step of a row comes from
    std::size_t ancestor_stride_ = 0;
};

}  // namespace hat
