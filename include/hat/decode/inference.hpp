#pragma once
/// \file
/// A model ready to translate: one SubTransformer's weights packed once, and the working memory that encodes sentences
/// and decodes them token by token. The logits of a step equal those of the full forward pass to the bit.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/error.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/core/tokens.hpp>
#include <hat/decode/incremental.hpp>
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
    using value_type = T;                                                     ///< of activations
    using Encoder = EncoderLayer<T, PackedLinear<T>>;                         ///< one layer of the encoder
    using Decoder = DecoderLayer<T, PackedLinear<T>>;                         ///< one layer of the decoder
    using Cache = LayerCache<SelfAttentionCache<T>, CrossAttentionCache<T>>;  ///< of one decoder layer
    using Caches = std::vector<Cache>;                                        ///< of the decoder
    template <Extent Beam>
    using CachesFor = Caches;  ///< the same for any beam

    /// Packs a copy of the matrices and keeps a reference to the weights (embeddings, biases and norms are read from
    /// there): they must outlive the model. Weights stay in T whatever the precision is: products round their operands
    /// as they read them. Throws shape_mismatch unless `arch` is a leading block of the weights, invalid_value for a
    /// precision that needs floats.
    InferenceModel(const Weights<T>& weights, const RuntimeArch& arch, Precision precision = Precision::fp32)
        : InferenceModel(std::shared_ptr<const Weights<T>>(std::shared_ptr<void>{}, &weights), arch, precision) {}
    /// The same, sharing the weights.
    InferenceModel(std::shared_ptr<const Weights<T>> weights, const RuntimeArch& arch,
                   Precision precision = Precision::fp32)
        : InferenceModel(std::move(weights), arch, precision, nullptr) {}
    /// Takes the weights over and packs them where they are, so that they are in memory once. A SubTransformer that is
    /// not all of them is extracted first. Throws shape_mismatch unless `arch` is a leading block of the weights.
    InferenceModel(Weights<T>&& weights, const RuntimeArch& arch, Precision precision = Precision::fp32)
        : InferenceModel(std::make_shared<Weights<T>>(whole(std::move(weights), arch)), arch, precision,
                         std::true_type{}) {}

    /// The SubTransformer that runs.
    const RuntimeArch& arch() const { return sub_.arch(); }
    /// What products round their operands to.
    Precision precision() const { return precision_; }
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
    /// Width of the encoder's activations.
    std::size_t encoder_width() const { return sub_.encoder_width(); }
    /// Width of the decoder's activations.
    std::size_t decoder_width() const { return sub_.decoder_width(); }
    /// Factor of the source tokens' vectors.
    T encoder_scale() const { return sub_.encoder_scale(); }
    /// Factor of the target tokens' vectors.
    T decoder_scale() const { return sub_.decoder_scale(); }
    /// Whether the encoder's norms come before its blocks.
    bool encoder_pre_norm() const { return config().encoder_pre_norm; }
    /// Whether the decoder's norms come before its blocks.
    bool decoder_pre_norm() const { return config().decoder_pre_norm; }
    /// The norm after the encoder's stack.
    Norm<T> encoder_norm() const { return sub_.encoder_norm(); }
    /// Whether a norm follows the decoder's stack.
    bool has_decoder_norm() const { return sub_.has_decoder_norm(); }
    /// The norm after the decoder's stack.
    Norm<T> decoder_norm() const { return sub_.decoder_norm(); }
    /// The most encoder layers that a decoder layer attends to.
    std::size_t deepest_span() const { return deepest_span_; }
    /// Whether a decoder layer attends to exactly n encoder layers.
    bool attends_to(std::size_t n) const {
        return std::any_of(decoder_.begin(), decoder_.end(), [&](const Decoder& l) { return l.span == n; });
    }
    /// The encoder layer (from 0) that is the j-th memory of the decoder.
    std::size_t memory_layer(std::size_t j) const { return sub_.memory_layer(j); }
    /// Whether that memory is seen through the encoder's final norm.
    bool memory_normalized(std::size_t j) const { return sub_.memory_normalized(j); }
    /// Empty caches for any beam.
    template <Extent Beam>
    Caches make_caches() const {
        return Caches(decoder_.size());
    }
    /// Calls f(layer) for every encoder layer.
    template <class F>
    void for_each_encoder(F&& f) const {
        for (const auto& layer : encoder_) f(layer);
    }
    /// Calls f(layer, cache) for every decoder layer.
    template <class F>
    void for_each_decoder(Caches& caches, F&& f) const {
        for (std::size_t i = 0; i < decoder_.size(); ++i) f(decoder_[i], caches[i]);
    }
    /// Widths, scales and norms. Its matrices are packed in their places if the model has taken the weights over.
    const SubTransformerView<T>& sub() const { return sub_; }

private:
    InferenceModel(const std::shared_ptr<Weights<T>>& weights, const RuntimeArch& arch, Precision precision,
                   std::true_type)
        : InferenceModel(weights, arch, precision, weights->values().data()) {}
    /// `own` is the first of the weights if they may be overwritten, else null.
    InferenceModel(std::shared_ptr<const Weights<T>> weights, const RuntimeArch& arch, Precision precision, T* own)
        : weights_(std::move(weights)),
          own_(own),
          precision_(precision),
          sub_(*weights_, arch),
          encoder_embedding_(sub_.encoder_embedding()),
          decoder_embedding_(sub_.decoder_embedding()) {
        require_precision<T>("hat::InferenceModel", precision);
        for (std::size_t i = 0; i < sub_.encoder_layers(); ++i) {
            const auto l = sub_.encoder(i);
            encoder_.push_back({pack(l.self), l.self_norm, pack(l.ffn), l.final_norm, l.heads});
        }
        for (std::size_t i = 0; i < sub_.decoder_layers(); ++i) {
            const auto l = sub_.decoder(i);
            decoder_.push_back({pack(l.self), pack(l.cross), l.self_norm, l.cross_norm, pack(l.ffn), l.final_norm,
                                l.self_heads, l.cross_heads, sub_.span(i)});
            deepest_span_ = std::max(deepest_span_, sub_.span(i));
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
        if (!own_ || w.stride != w.cols || (w.rows % tile_columns<T> != 0 && !room))
            return PackedLinear<T>(l, precision_);
        return {pack_transposed_in_place<T>({own_ + (w.data - weights_->values().data()), w.rows, w.cols}), l.bias,
                precision_};
    }
    AttentionWeights<PackedLinear<T>> pack(const AttentionWeights<Linear<T>>& w) const {
        return {pack(w.q), pack(w.k), pack(w.v), pack(w.out)};
    }
    FeedForwardWeights<PackedLinear<T>> pack(const FeedForwardWeights<Linear<T>>& w) const {
        return {pack(w.fc1), pack(w.fc2)};
    }

    std::shared_ptr<const Weights<T>> weights_;
    T* own_;
    Precision precision_;
    SubTransformerView<T> sub_;
    EmbeddingTable<T> encoder_embedding_, decoder_embedding_;
    PackedLinear<T> output_;
    std::size_t deepest_span_ = 1;
    std::vector<Encoder> encoder_;
    std::vector<Decoder> decoder_;
};

/// Working memory of one translation at a time: encode(), then start(), then step() per token. A sentence's numbers do
/// not depend on the other sentences of the batch, nor on the number of threads. After the first batch of a size, steps
/// allocate nothing. Keeps a reference to the model; one session serves one thread at a time.
template <class T = float>
class InferenceSession {
public:
    using Decoder = IncrementalDecoder<InferenceModel<T>, ThreadPool, Arena>;  ///< what does the work, unchecked

    /// A session on `model`, which must outlive it.
    explicit InferenceSession(const InferenceModel<T>& model, ThreadPool pool = ThreadPool(1))
        : model_(&model), decoder_(model, std::move(pool), memories(model)) {}

    /// What it runs.
    const InferenceModel<T>& model() const { return *model_; }
    /// What it runs on.
    const ThreadPool& pool() const { return decoder_.executor(); }
    /// The decoder, for those who check their input themselves.
    Decoder& decoder() { return decoder_; }

    /// Runs the encoder on sentences that end in eos, and keeps what the decoder attends to. Throws shape_mismatch for
    /// an empty sentence, invalid_value for a token outside the vocabulary.
    void encode(const Ragged& sources) {
        detail::check_tokens(sources, model_->source_vocab(), "source");
        beam_ = 0;
        decoder_.encode(sources.tokens, sources.offsets);
    }
    /// Sentences of the last encode().
    std::size_t sentences() const { return decoder_.sentences(); }

    /// Begins to decode the encoded sentences, `beam` rows each: projects the keys and values of every encoder-decoder
    /// attention, once per sentence. May be called again to start over.
    void start(std::size_t beam) {
        if (sentences() == 0) throw invalid_value("hat::InferenceSession: start() without encoded sentences");
        if (beam == 0) throw invalid_value("hat::InferenceSession: beam is 0, expected at least 1");
        beam_ = beam;
        decoder_.start(beam);
    }
    /// Rows of each sentence, as given to start().
    std::size_t beam() const { return beam_; }
    /// Tokens fed to each row so far.
    std::size_t length() const { return beam_ == 0 ? 0 : decoder_.length(); }

    /// Feeds one token to each row and returns the logits of the next one, rows x vocabulary; they are the caller's to
    /// overwrite, until the next call. Rows come in groups of `beam` per sentence. In the first step there is one group
    /// per encoded sentence and no parents; later row r continues row parents[r] of the step before. All rows of a
    /// group continue rows of one group, groups keep their order, and a sentence whose rows are left out is finished.
    /// Throws shape_mismatch or invalid_value.
    View<T> step(std::span<const std::int32_t> tokens, std::span<const std::size_t> parents = {}) {
        check(tokens, parents);
        return decoder_.step(tokens, parents);
    }

private:
    static typename Decoder::Memories memories(const InferenceModel<T>& model) {
        const auto table = [](int super, std::size_t width) {
            return SinusoidTable<T>(static_cast<std::size_t>(super), width);
        };
        typename Decoder::Memories m;
        m.encoder_positions = table(model.config().super_encoder_embed(), model.encoder_width());
        m.decoder_positions = table(model.config().super_decoder_embed(), model.decoder_width());
        return m;
    }

    void check(std::span<const std::int32_t> tokens, std::span<const std::size_t> parents) const {
        const std::size_t steps = length(), before = decoder_.rows();
        const auto where = [&] { return "hat::InferenceSession: step " + std::to_string(steps) + ": "; };
        if (beam_ == 0) throw invalid_value("hat::InferenceSession: step() before start()");
        const std::size_t rows = tokens.size(), groups = rows / beam_;
        if (rows == 0 || rows % beam_ != 0)
            throw shape_mismatch(where() + std::to_string(rows) + " tokens are no positive multiple of the beam " +
                                 std::to_string(beam_));
        if (steps == 0 ? groups != sentences() || !parents.empty() : parents.size() != rows)
            throw shape_mismatch(where() + std::to_string(rows) + " tokens and " + std::to_string(parents.size()) +
                                 " parents, expected " +
                                 (steps == 0 ? std::to_string(sentences() * beam_) + " and none" : "as many of both"));
        for (const std::int32_t token : tokens)
            if (token < 0 || static_cast<std::size_t>(token) >= model_->target_vocab())
                throw invalid_value(where() + "token " + std::to_string(token) + " is outside the vocabulary of " +
                                    std::to_string(model_->target_vocab()));
        for (std::size_t r = 0; r < parents.size(); ++r)
            if (parents[r] >= before || parents[r] / beam_ != parents[r / beam_ * beam_] / beam_)
                throw invalid_value(where() + "row " + std::to_string(r) + " has parent " + std::to_string(parents[r]) +
                                    ", expected a row below " + std::to_string(before) + " of its group's sentence");
        for (std::size_t g = 1; g < groups && !parents.empty(); ++g)
            if (parents[g * beam_] / beam_ <= parents[(g - 1) * beam_] / beam_)
                throw invalid_value(where() + "sentences must keep their order, but row " + std::to_string(g * beam_) +
                                    " continues row " + std::to_string(parents[g * beam_]) + " after row " +
                                    std::to_string(parents[(g - 1) * beam_]));
    }

    const InferenceModel<T>* model_;
    std::size_t beam_ = 0;
    Decoder decoder_;
};

}  // namespace hat
