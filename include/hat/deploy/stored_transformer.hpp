#pragma once
/// \file
/// A network that a weight file holds, with sizes that are known when it is opened: the same layer code as
/// StaticTransformer and the elastic path on the stored weights, of which nothing is copied. Throws nothing; allocates
/// when it is made only.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/fixed_vector.hpp>
#include <hat/decode/static_transformer.hpp>
#include <hat/kernel/cached_attention.hpp>
#include <hat/model/inference_layers.hpp>
#include <hat/model/stored.hpp>
#include <hat/space/arch.hpp>
#include <span>
#include <vector>

namespace hat {

/// Any network on weights stored in one format; what IncrementalDecoder needs of one.
template <MatrixFormat format>
class StoredNetwork {
    static constexpr std::size_t most_segments = 64;

public:
    /// A linear layer.
    using Layer =
        decltype(stored_linear<format>(nullptr, LinearPlan{}, StaticConfig{}, std::size_t{}, std::size_t{}, nullptr));
    /// The vectors of a vocabulary.
    using Table = decltype(stored_table<format>(nullptr, LinearPlan{}, StaticConfig{}));
    using value_type = float;                             ///< of activations
    using Encoder = EncoderLayer<float, Layer>;           ///< one layer of the encoder
    using Decoder = DecoderLayer<float, Layer>;           ///< one layer of the decoder
    using Segments = FixedVector<float*, most_segments>;  ///< memory of a self-attention cache
    using SelfCache = SelfAttentionCache<float, std::size_t, std::size_t, std::size_t, Segments>;  ///< of a layer
    using Caches = std::vector<LayerCache<SelfCache, CrossAttentionCache<float>>>;                 ///< of the decoder
    template <Extent Beam>
    using CachesFor = Caches;  ///< the same for any beam
    /// The most target tokens that its caches hold.
    static constexpr std::size_t most_target = most_segments * SelfCache::segment_steps;

    /// `weights`: plan_model(arch, config).bytes bytes, 64-byte aligned, that outlive it. `arch` is canonical and can
    /// run, as WeightFile makes sure; config.format is `format`.
    StoredNetwork(const std::byte* weights, const RuntimeArch& arch, const StaticConfig& config)
        : arch_(arch),
          config_(resolved(config, arch)),
          plan_(plan_model(arch, config)),
          weights_(weights),
          source_(stored_table<format>(weights, plan_.source, config)),
          target_(stored_table<format>(weights, plan_.target, config)),
          output_(stored_linear<format>(weights, plan_.output, config, plan_.output.n, decoder_width(), nullptr)) {
        const auto heads = [](int n) { return static_cast<std::size_t>(n); };
        for (std::size_t i = 0; i < heads(arch.encoder.layers); ++i) {
            const LayerPlan& p = plan_.encoder[i];
            encoder_.push_back({attention(p.self),
                                norm(p.self_norm),
                                {linear(p.fc1), linear(p.fc2)},
                                norm(p.final_norm),
                                heads(arch.encoder.self_heads[i])});
        }
        for (std::size_t i = 0; i < heads(arch.decoder.layers); ++i) {
            const LayerPlan& p = plan_.decoder[i];
            const std::size_t span = heads(arch.decoder.cross_span[i]);
            decoder_.push_back({attention(p.self),
                                attention(p.cross),
                                norm(p.self_norm),
                                norm(p.cross_norm),
                                {linear(p.fc1), linear(p.fc2)},
                                norm(p.final_norm),
                                heads(arch.decoder.self_heads[i]),
                                heads(arch.decoder.cross_heads[i]),
                                span});
            deepest_span_ = std::max(deepest_span_, span);
        }
    }

    /// Width of the encoder's activations.
    std::size_t encoder_width() const { return static_cast<std::size_t>(arch_.encoder.embed); }
    /// Width of the decoder's activations.
    std::size_t decoder_width() const { return static_cast<std::size_t>(arch_.decoder.embed); }
    /// Embedding width of the SuperTransformer's encoder: positions refer to it.
    std::size_t super_encoder_embed() const { return static_cast<std::size_t>(config_.encoder_super_embed); }
    /// The same of the decoder.
    std::size_t super_decoder_embed() const { return static_cast<std::size_t>(config_.decoder_super_embed); }
    /// Factor of the source tokens' vectors.
    float encoder_scale() const { return scale(super_encoder_embed(), encoder_width()); }
    /// Factor of the target tokens' vectors.
    float decoder_scale() const { return scale(super_decoder_embed(), decoder_width()); }
    /// Whether the encoder's norms come before its blocks.
    bool encoder_pre_norm() const { return config_.encoder_pre_norm; }
    /// Whether the decoder's norms come before its blocks.
    bool decoder_pre_norm() const { return config_.decoder_pre_norm; }
    /// Whether a norm follows the decoder's stack.
    bool has_decoder_norm() const { return config_.decoder_pre_norm && config_.decoder_final_norm; }
    /// The norm after the encoder's stack.
    Norm<float> encoder_norm() const { return norm(plan_.encoder_norm); }
    /// The norm after the decoder's stack.
    Norm<float> decoder_norm() const { return norm(plan_.decoder_norm); }
    /// The most encoder layers that a decoder layer attends to.
    std::size_t deepest_span() const { return deepest_span_; }
    /// Whether a decoder layer attends to exactly n encoder layers.
    bool attends_to(std::size_t n) const {
        return std::any_of(decoder_.begin(), decoder_.end(), [&](const Decoder& l) { return l.span == n; });
    }
    /// The encoder layer (from 0) that is the j-th memory of the decoder.
    std::size_t memory_layer(std::size_t j) const { return encoder_.size() - 1 - j; }
    /// Whether that memory is seen through the encoder's final norm.
    bool memory_normalized(std::size_t) const { return config_.encoder_pre_norm; }
    /// The source tokens' vectors.
    const Table& encoder_embedding() const { return source_; }
    /// The target tokens' vectors.
    const Table& decoder_embedding() const { return target_; }
    /// The output projection.
    const Layer& output() const { return output_; }
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

private:
    float scale(std::size_t super, std::size_t sampled) const {
        return std::sqrt(static_cast<float>(config_.vocab_original_scaling ? super : sampled));
    }
    const float* numbers(std::size_t offset) const { return reinterpret_cast<const float*>(weights_ + offset); }
    Norm<float> norm(const NormPlan& p) const { return {numbers(p.weight), numbers(p.bias)}; }
    Layer linear(const LinearPlan& p) const {
        return stored_linear<format>(weights_, p, config_, p.n, p.k, numbers(p.bias));
    }
    AttentionWeights<Layer> attention(const AttentionPlan& p) const {
        return {linear(p.q), linear(p.k), linear(p.v), linear(p.out)};
    }

    RuntimeArch arch_;
    StaticConfig config_;
    ModelPlan plan_;
    const std::byte* weights_;
    Table source_, target_;
    Layer output_;
    std::size_t deepest_span_ = 1;
    std::vector<Encoder> encoder_;
    std::vector<Decoder> decoder_;
};

/// StaticTransformer's twin for networks that are not compiled in: the same numbers to the bit.
template <MatrixFormat format>
class StoredTransformer {
public:
    /// See StoredNetwork. limits.max_target is at most StoredNetwork<format>::most_target.
    StoredTransformer(const std::byte* weights, const RuntimeArch& arch, const StaticConfig& config,
                      const StaticLimits& limits)
        : network_(weights, arch, config),
          config_(config),
          limits_(limits),
          plan_(detail::plan_workspace(arch, config, limits)) {}
    StoredTransformer(const StoredTransformer&) = delete;
    StoredTransformer& operator=(const StoredTransformer&) = delete;

    /// Bytes of the memory that a session needs.
    std::size_t workspace_bytes() const { return plan_.bytes(); }
    /// The layers.
    const StoredNetwork<format>& network() const { return network_; }

    /// Translates one sentence at a time in memory of the caller's.
    class Session {
    public:
        /// What does the work.
        using Decoder =
            IncrementalDecoder<StoredNetwork<format>, detail::PlannedSerial, FixedArena, std::size_t, Fixed<1>>;

        /// `workspace`: workspace_bytes() bytes, 64-byte aligned, that outlive the session, as must the model.
        Session(const StoredTransformer& model, std::byte* workspace)
            : model_(&model),
              decoder_(model.network_, detail::PlannedSerial(workspace, model.plan_.scratch.data()),
                       detail::planned_memories<Decoder>(model.network_, model.plan_, model.limits_, workspace)),
              search_(workspace + model.plan_.bytes() - model.plan_.search, model.plan_.search) {}

        /// Translates `source` (ids, eos last) into `target`. Allocates and throws nothing.
        StaticTranslation translate(std::span<const std::int32_t> source, std::span<std::int32_t> target,
                                    const StaticSearch& how = {}) {
            return detail::translate_tokens(decoder_, search_, model_->limits_.beam, model_->config_, model_->limits_,
                                            source, target, how);
        }
        /// The decoder, for those who check their input themselves.
        Decoder& decoder() { return decoder_; }

    private:
        const StoredTransformer* model_;
        Decoder decoder_;
        FixedArena search_;
    };

private:
    StoredNetwork<format> network_;
    StaticConfig config_;
    StaticLimits limits_;
    detail::WorkspacePlan plan_;
};

}  // namespace hat
