#pragma once
/// \file
/// A network whose sizes are all known to the compiler: layers are types, where their weights lie is a constant. The
/// layer code is that of the elastic path (model/inference_layers.hpp). Hana holds the layers. Throws nothing.

#include <boost/hana/at.hpp>
#include <boost/hana/for_each.hpp>
#include <boost/hana/tuple.hpp>
#include <cmath>
#include <cstddef>
#include <hat/core/extent.hpp>
#include <hat/core/fixed_vector.hpp>
#include <hat/kernel/embedding.hpp>
#include <hat/model/inference_layers.hpp>
#include <hat/model/stored.hpp>
#include <utility>

namespace hat {

/// Bounds of what a static model translates: memory is planned for them.
struct StaticLimits {
    std::size_t max_source = 128;  ///< tokens of a source sentence, eos included
    std::size_t max_target = 128;  ///< tokens of a translation, eos included
    std::size_t beam = 5;          ///< hypotheses; 1 is greedy search
};

namespace detail {
// Checks of a network, each with one sentence; the compiler names the numbers with the type that failed.
template <int layer, int heads, int qkv>
struct HeadsOfLayer {
    static_assert(heads > 0 && qkv > 0 && qkv % (heads > 0 ? heads : 1) == 0,
                  "hat::StaticTransformer: heads must divide the qkv width; see HeadsOfLayer<layer, heads, qkv>");
    static constexpr bool good = true;
};
template <int layer, int width, int ffn>
struct WidthsOfLayer {
    static_assert(width > 0 && ffn > 0,
                  "hat::StaticTransformer: widths must be at least 1; see WidthsOfLayer<layer, embedding, ffn>");
    static constexpr bool good = true;
};
template <int layer, int span, int encoder_layers>
struct SpanOfLayer {
    static_assert(span >= 1 && span <= 3 && span <= encoder_layers,
                  "hat::StaticTransformer: a decoder layer attends to 1, 2 or 3 of the active encoder layers; see "
                  "SpanOfLayer<layer, span, encoder layers>");
    static constexpr bool good = true;
};
template <int layers, int most>
struct Depth {
    static_assert(layers >= 1 && layers <= most,
                  "hat::StaticTransformer: a stack has at least 1 layer and at most those of its type; see "
                  "Depth<layers, most>");
    static constexpr bool good = true;
};
template <std::size_t source, std::size_t target, bool shared>
struct Vocabularies {
    static_assert(source > 4 && target > 4 && (!shared || source == target),
                  "hat::StaticTransformer: vocabularies must exceed the 4 special tokens, and be equal when they share "
                  "an embedding; see Vocabularies<source, target, shared>");
    static constexpr bool good = true;
};

template <std::size_t source, std::size_t target, std::size_t beam>
struct Bounds {
    static_assert(source >= 1 && target >= 2 && beam >= 1,
                  "hat::StaticTransformer: max_source and beam must be at least 1, max_target at least 2; see "
                  "Bounds<max_source, max_target, beam>");
    static constexpr bool good = true;
};

/// The plan of a network that passes the checks.
template <auto arch, StaticConfig config>
struct CheckedArch {
    template <auto stack, bool decoder, std::size_t... I>
    static constexpr bool layers(std::index_sequence<I...>) {
        bool good = (HeadsOfLayer<int{I}, stack.self_heads[I], stack.qkv[I]>::good && ...) &&
                    (WidthsOfLayer<int{I}, stack.embed, stack.ffn[I]>::good && ...);
        if constexpr (decoder)
            good = good && (HeadsOfLayer<int{I}, stack.cross_heads[I], stack.qkv[I]>::good && ...) &&
                   (SpanOfLayer<int{I}, stack.cross_span[I], arch.encoder.layers>::good && ...);
        return good;
    }
    template <auto stack, bool decoder>
    static constexpr bool stack_is_good() {
        if constexpr (Depth<stack.layers, static_cast<int>(stack.max_layers)>::good)
            return layers<stack, decoder>(std::make_index_sequence<static_cast<std::size_t>(stack.layers)>{});
    }
    static_assert(stack_is_good<arch.encoder, false>() && stack_is_good<arch.decoder, true>());
    static_assert(arch == canonical(arch),
                  "hat::StaticTransformer: the architecture is not in canonical form; use hat::canonical(arch)");
    static_assert(
        Vocabularies<config.source_vocab, config.target_vocab, config.sharing == EmbeddingSharing::all>::good);
    static constexpr ModelPlan plan = plan_model(arch, config);
};
template <int N>
using Size = Fixed<static_cast<std::size_t>(N)>;

/// The caches of layer I of a decoder for Beam rows.
template <auto stack, std::size_t I, std::size_t segments, Extent Beam>
struct StaticCache {
    SelfAttentionCache<float, Size<stack.self_heads[I]>, Size<stack.qkv[I]>, Beam, FixedVector<float*, segments>> self;
    CrossAttentionCache<float, Size<stack.cross_heads[I]>, Size<stack.qkv[I]>> cross;
};
template <auto stack, std::size_t segments, Extent Beam, std::size_t... I>
auto static_caches(std::index_sequence<I...>) {
    return boost::hana::tuple<StaticCache<stack, I, segments, Beam>...>{};
}
}  // namespace detail

/// The network `arch` on stored weights (see plan_model()). `segments` bounds how often a self-attention cache grows.
template <auto arch, StaticConfig config, std::size_t segments>
class StaticNetwork {
    template <int N>
    using F = detail::Size<N>;

public:
    using value_type = float;                                                   ///< of activations
    static constexpr ModelPlan plan = detail::CheckedArch<arch, config>::plan;  ///< where the weights lie
    static constexpr std::size_t encoder_layers = static_cast<std::size_t>(arch.encoder.layers);  ///< depth
    static constexpr std::size_t decoder_layers = static_cast<std::size_t>(arch.decoder.layers);  ///< depth

    /// `weights`: plan.bytes bytes, 64-byte aligned, that outlive it.
    explicit StaticNetwork(const std::byte* weights)
        : encoder_(encoder(weights, std::make_index_sequence<encoder_layers>{})),
          decoder_(decoder(weights, std::make_index_sequence<decoder_layers>{})),
          source_(table(weights, plan.source)),
          target_(table(weights, plan.target)),
          output_(output(weights)),
          encoder_norm_(norm(weights, plan.encoder_norm)),
          decoder_norm_(norm(weights, plan.decoder_norm)) {}

    /// Width of the encoder's activations.
    static constexpr F<arch.encoder.embed> encoder_width() { return {}; }
    /// Width of the decoder's activations.
    static constexpr F<arch.decoder.embed> decoder_width() { return {}; }
    /// Embedding width of the SuperTransformer's encoder: positions refer to it.
    static constexpr std::size_t super_encoder_embed() {
        return static_cast<std::size_t>(config.encoder_super_embed ? config.encoder_super_embed : arch.encoder.embed);
    }
    /// The same of the decoder.
    static constexpr std::size_t super_decoder_embed() {
        return static_cast<std::size_t>(config.decoder_super_embed ? config.decoder_super_embed : arch.decoder.embed);
    }
    /// Factor of the source tokens' vectors.
    float encoder_scale() const { return scale(super_encoder_embed(), arch.encoder.embed); }
    /// Factor of the target tokens' vectors.
    float decoder_scale() const { return scale(super_decoder_embed(), arch.decoder.embed); }
    /// Whether the encoder's norms come before its blocks.
    static constexpr bool encoder_pre_norm() { return config.encoder_pre_norm; }
    /// Whether the decoder's norms come before its blocks.
    static constexpr bool decoder_pre_norm() { return config.decoder_pre_norm; }
    /// Whether a norm follows the decoder's stack.
    static constexpr bool has_decoder_norm() { return config.decoder_pre_norm && config.decoder_final_norm; }
    /// The norm after the encoder's stack.
    Norm<float> encoder_norm() const { return encoder_norm_; }
    /// The norm after the decoder's stack.
    Norm<float> decoder_norm() const { return decoder_norm_; }
    /// The most encoder layers that a decoder layer attends to.
    static constexpr std::size_t deepest_span() {
        int n = 1;
        for (std::size_t i = 0; i < decoder_layers; ++i) n = std::max(n, arch.decoder.cross_span[i]);
        return static_cast<std::size_t>(n);
    }
    /// Whether a decoder layer attends to exactly n encoder layers.
    static constexpr bool attends_to(std::size_t n) {
        for (std::size_t i = 0; i < decoder_layers; ++i)
            if (static_cast<std::size_t>(arch.decoder.cross_span[i]) == n) return true;
        return false;
    }
    /// The encoder layer (from 0) that is the j-th memory of the decoder.
    static constexpr std::size_t memory_layer(std::size_t j) { return encoder_layers - 1 - j; }
    /// Whether that memory is seen through the encoder's final norm.
    static constexpr bool memory_normalized(std::size_t) { return config.encoder_pre_norm; }
    /// The source tokens' vectors.
    const auto& encoder_embedding() const { return source_; }
    /// The target tokens' vectors.
    const auto& decoder_embedding() const { return target_; }
    /// The output projection.
    const auto& output() const { return output_; }

    /// Caches of the decoder's layers for Beam rows.
    template <Extent Beam>
    using CachesFor =
        decltype(detail::static_caches<arch.decoder, segments, Beam>(std::make_index_sequence<decoder_layers>{}));
    /// Empty caches.
    template <Extent Beam>
    CachesFor<Beam> make_caches() const {
        return {};
    }
    /// Calls f(layer) for every encoder layer.
    template <class Body>
    void for_each_encoder(Body&& f) const {
        boost::hana::for_each(encoder_, f);
    }
    /// Calls f(layer, cache) for every decoder layer.
    template <class Caches, class Body>
    void for_each_decoder(Caches& caches, Body&& f) const {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            (f(boost::hana::at_c<I>(decoder_), boost::hana::at_c<I>(caches)), ...);
        }
        (std::make_index_sequence<decoder_layers>{});
    }

private:
    static float scale(std::size_t super, int sampled) {
        return std::sqrt(config.vocab_original_scaling ? static_cast<float>(super) : static_cast<float>(sampled));
    }
    static const float* numbers(const std::byte* weights, std::size_t offset) {
        return reinterpret_cast<const float*>(weights + offset);
    }
    static Norm<float> norm(const std::byte* w, const NormPlan& p) {
        return {numbers(w, p.weight), numbers(w, p.bias)};
    }
    static auto table(const std::byte* w, const LinearPlan& p) { return stored_table<config.format>(w, p, config); }
    static auto output(const std::byte* w) {
        return stored_linear<config.format>(w, plan.output, config, Fixed<plan.output.n>{}, F<arch.decoder.embed>{},
                                            nullptr);
    }
    template <int N, int K>
    static auto linear(const std::byte* w, const LinearPlan& p) {
        return stored_linear<config.format>(w, p, config, F<N>{}, F<K>{}, numbers(w, p.bias));
    }
    template <int N, int K>
    using LinearOf = decltype(linear<N, K>(nullptr, {}));
    template <int Width, int Memory, int Qkv>
    static auto attention(const std::byte* w, const AttentionPlan& p) {
        return AttentionWeights<LinearOf<Qkv, Width>, LinearOf<Qkv, Memory>, LinearOf<Width, Qkv>>{
            linear<Qkv, Width>(w, p.q), linear<Qkv, Memory>(w, p.k), linear<Qkv, Memory>(w, p.v),
            linear<Width, Qkv>(w, p.out)};
    }
    template <int Width, int Ffn>
    static auto feed_forward(const std::byte* w, const LayerPlan& p) {
        return FeedForwardWeights<LinearOf<Ffn, Width>, LinearOf<Width, Ffn>>{linear<Ffn, Width>(w, p.fc1),
                                                                              linear<Width, Ffn>(w, p.fc2)};
    }
    template <std::size_t I>
    static auto encoder_layer(const std::byte* w) {
        constexpr auto s = arch.encoder;
        const LayerPlan& p = plan.encoder[I];
        auto self = attention<s.embed, s.embed, s.qkv[I]>(w, p.self);
        auto ffn = feed_forward<s.embed, s.ffn[I]>(w, p);
        return EncoderLayerOf<float, decltype(self), decltype(ffn), F<s.self_heads[I]>>{
            self, norm(w, p.self_norm), ffn, norm(w, p.final_norm), {}};
    }
    template <std::size_t I>
    static auto decoder_layer(const std::byte* w) {
        constexpr auto s = arch.decoder;
        const LayerPlan& p = plan.decoder[I];
        auto self = attention<s.embed, s.embed, s.qkv[I]>(w, p.self);
        auto cross = attention<s.embed, arch.encoder.embed, s.qkv[I]>(w, p.cross);
        auto ffn = feed_forward<s.embed, s.ffn[I]>(w, p);
        return DecoderLayerOf<float, decltype(self), decltype(cross), decltype(ffn), F<s.self_heads[I]>,
                              F<s.cross_heads[I]>, F<s.cross_span[I]>>{
            self, cross, norm(w, p.self_norm), norm(w, p.cross_norm), ffn, norm(w, p.final_norm), {}, {}, {}};
    }
    template <std::size_t... I>
    static auto encoder(const std::byte* w, std::index_sequence<I...>) {
        return boost::hana::make_tuple(encoder_layer<I>(w)...);
    }
    template <std::size_t... I>
    static auto decoder(const std::byte* w, std::index_sequence<I...>) {
        return boost::hana::make_tuple(decoder_layer<I>(w)...);
    }
    using Encoder = decltype(encoder(nullptr, std::make_index_sequence<encoder_layers>{}));
    using Decoder = decltype(decoder(nullptr, std::make_index_sequence<decoder_layers>{}));
    Encoder encoder_;
    Decoder decoder_;
    decltype(table(nullptr, {})) source_, target_;
    decltype(output(nullptr)) output_;
    Norm<float> encoder_norm_, decoder_norm_;
};

}  // namespace hat
