#pragma once
/// \file
/// Numbers a latency predictor learns from.

#include <array>
#include <cstddef>
#include <hat/space/arch.hpp>
#include <hat/space/concepts.hpp>
#include <string_view>

namespace hat {

namespace detail {
/// Features in units of their norm.
template <std::size_t N>
constexpr std::array<float, N> divided(const std::array<double, N>& features, const std::array<float, N>& norm) {
    std::array<float, N> out{};
    for (std::size_t i = 0; i < N; ++i) out[i] = static_cast<float>(features[i] / static_cast<double>(norm[i]));
    return out;
}
}  // namespace detail

/// The paper's ten features (semantics, section 15): widths, depths and means over the active layers; the attention
/// span counts 1, 2 or 3 encoder layers. Two networks with equal means look equal to it.
struct MeanFeatures {
    static constexpr std::size_t size = 10;  ///< numbers per network

    /// The columns of the reference's latency datasets, in order.
    static constexpr std::array<std::string_view, size> names{"encoder_embed_dim",
                                                              "encoder_layer_num",
                                                              "encoder_ffn_embed_dim_avg",
                                                              "encoder_self_attention_heads_avg",
                                                              "decoder_embed_dim",
                                                              "decoder_layer_num",
                                                              "decoder_ffn_embed_dim_avg",
                                                              "decoder_self_attention_heads_avg",
                                                              "decoder_ende_attention_heads_avg",
                                                              "decoder_arbitrary_ende_attn_avg"};

    /// What each feature is divided by; default: the reference's `feature-norm`.
    std::array<float, size> norm{640, 6, 2048, 6, 640, 6, 2048, 6, 6, 2};

    /// The features in their own units, as a dataset stores them.
    template <std::size_t E, std::size_t D>
    static constexpr std::array<double, size> raw(const Arch<E, D>& a) {
        const auto mean = [](const auto& row, int layers) {
            double sum = 0;
            for (std::size_t i = 0; i < static_cast<std::size_t>(layers); ++i) sum += row[i];
            return layers > 0 ? sum / layers : 0.0;
        };
        const auto& e = a.encoder;
        const auto& d = a.decoder;
        return {static_cast<double>(e.embed), static_cast<double>(e.layers), mean(e.ffn, e.layers),
                mean(e.self_heads, e.layers), static_cast<double>(d.embed),  static_cast<double>(d.layers),
                mean(d.ffn, d.layers),        mean(d.self_heads, d.layers),  mean(d.cross_heads, d.layers),
                mean(d.cross_span, d.layers)};
    }
    /// Raw features divided by `norm`: what the predictor sees.
    constexpr std::array<float, size> normalized(const std::array<double, size>& raw_features) const {
        return detail::divided(raw_features, norm);
    }
    /// What the predictor sees of a network.
    template <std::size_t E, std::size_t D>
    constexpr std::array<float, size> operator()(const Arch<E, D>& a) const {
        return normalized(raw(a));
    }
};

/// Thirteen operation counts, linear in what a device has to do: a ridge regression on them needs 20 to 50
/// measurements where the ten means and an MLP need hundreds. They are depths, widths, total heads and spans, and the
/// multiply-adds per token of projections, feed-forward blocks and memory (key/value) projections.
struct OperationFeatures {
    static constexpr std::size_t size = 13;  ///< numbers per network

    /// What each number is.
    static constexpr std::array<std::string_view, size> names{
        "encoder_layers",      "encoder_embed",   "encoder_projection", "encoder_ffn", "encoder_heads",
        "decoder_layers",      "decoder_embed",   "decoder_projection", "decoder_ffn", "decoder_self_heads",
        "decoder_cross_heads", "attended_layers", "memory_projection"};

    /// What each feature is divided by. Default: 6 + 6 layers of width 640, FFN 3072, qkv 512, 8 heads, span 3.
    std::array<float, size> norm{6,  640, 6 * 512 * 640, 6 * 3072 * 640, 48, 6, 640, 6 * 512 * 640, 6 * 3072 * 640, 48,
                                 48, 18,  18 * 512 * 640};

    /// Features before they are divided by `norm`.
    template <std::size_t E, std::size_t D>
    static constexpr std::array<double, size> raw(const Arch<E, D>& a) {
        const auto& e = a.encoder;
        const auto& d = a.decoder;
        const auto sum = [](const auto& row, int layers) {
            double s = 0;
            for (std::size_t i = 0; i < static_cast<std::size_t>(layers); ++i) s += row[i];
            return s;
        };
        double memory = 0;
        for (std::size_t i = 0; i < static_cast<std::size_t>(d.layers); ++i)
            memory += static_cast<double>(d.cross_span[i]) * d.qkv[i];
        return counts(e.embed, e.layers, sum(e.qkv, e.layers), sum(e.ffn, e.layers), sum(e.self_heads, e.layers),
                      d.embed, d.layers, sum(d.qkv, d.layers), sum(d.ffn, d.layers), sum(d.self_heads, d.layers),
                      sum(d.cross_heads, d.layers), sum(d.cross_span, d.layers), memory);
    }
    /// The same numbers from a dataset row of MeanFeatures::raw(), for a space of one qkv width.
    static constexpr std::array<double, size> raw(const std::array<double, MeanFeatures::size>& m, int qkv = 512) {
        return counts(m[0], m[1], m[1] * qkv, m[1] * m[2], m[1] * m[3], m[4], m[5], m[5] * qkv, m[5] * m[6],
                      m[5] * m[7], m[5] * m[8], m[5] * m[9], m[5] * m[9] * qkv);
    }
    /// Raw features divided by `norm`.
    constexpr std::array<float, size> normalized(const std::array<double, size>& raw_features) const {
        return detail::divided(raw_features, norm);
    }
    /// What the predictor sees of a network.
    template <std::size_t E, std::size_t D>
    constexpr std::array<float, size> operator()(const Arch<E, D>& a) const {
        return normalized(raw(a));
    }

private:
    static constexpr std::array<double, size> counts(double embed, double layers, double qkv, double ffn, double heads,
                                                     double dec_embed, double dec_layers, double dec_qkv,
                                                     double dec_ffn, double self_heads, double cross_heads,
                                                     double spans, double memory) {
        return {layers,      embed,     qkv * embed,         ffn * embed,         heads,
                dec_layers,  dec_embed, dec_qkv * dec_embed, dec_ffn * dec_embed, self_heads,
                cross_heads, spans,     memory * embed};
    }
};

static_assert(FeatureMap<MeanFeatures, RuntimeArch> && FeatureMap<OperationFeatures, RuntimeArch>);

}  // namespace hat
