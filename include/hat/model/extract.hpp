#pragma once
/// \file
/// A SubTransformer in its own memory.

#include <algorithm>
#include <cstddef>
#include <hat/core/extent.hpp>
#include <hat/model/layers.hpp>
#include <hat/model/weights.hpp>
#include <hat/space/arch.hpp>
#include <vector>

namespace hat {

/// Every block of parameters a SubTransformer reads, vectors as one row, in an order that depends on depths alone. A
/// shared vocabulary matrix appears once for each of its uses.
template <class T>
std::vector<View<const T>> parameter_blocks(const SubTransformerView<T>& sub) {
    std::vector<View<const T>> blocks;
    const auto vector = [&](const T* values, std::size_t n) { blocks.push_back({values, 1, n}); };
    const auto linear = [&](const Linear<T>& l) {
        blocks.push_back(l.weight);
        vector(l.bias, l.outputs());
    };
    const auto norm = [&](const Norm<T>& n, std::size_t width) {
        vector(n.weight, width);
        vector(n.bias, width);
    };
    const auto attention = [&](const AttentionWeights<Linear<T>>& a) {
        for (const auto* l : {&a.q, &a.k, &a.v, &a.out}) linear(*l);
    };
    const std::size_t e = sub.encoder_width(), d = sub.decoder_width();
    for (const auto& matrix : {sub.encoder_embedding(), sub.decoder_embedding(), sub.output_matrix()})
        blocks.push_back(matrix);
    for (std::size_t i = 0; i < sub.encoder_layers(); ++i) {
        const auto layer = sub.encoder(i);
        attention(layer.self);
        norm(layer.self_norm, e);
        linear(layer.ffn.fc1);
        linear(layer.ffn.fc2);
        norm(layer.final_norm, e);
    }
    if (sub.config().encoder_pre_norm) norm(sub.encoder_norm(), e);
    for (std::size_t i = 0; i < sub.decoder_layers(); ++i) {
        const auto layer = sub.decoder(i);
        attention(layer.self);
        norm(layer.self_norm, d);
        attention(layer.cross);
        norm(layer.cross_norm, d);
        linear(layer.ffn.fc1);
        linear(layer.ffn.fc2);
        norm(layer.final_norm, d);
    }
    if (sub.has_decoder_norm()) norm(sub.decoder_norm(), d);
    return blocks;
}

/// Whether a SubTransformer reads all the weights of `shape`: its widths and depths are the same.
inline bool is_whole(const RuntimeArch& arch, const RuntimeArch& shape) {
    const auto side = [](const auto& a, const auto& s) {
        const auto n = static_cast<std::ptrdiff_t>(std::max(0, a.layers));
        return a.embed == s.embed && a.layers == s.layers &&
               std::equal(a.ffn.begin(), a.ffn.begin() + n, s.ffn.begin()) &&
               std::equal(a.qkv.begin(), a.qkv.begin() + n, s.qkv.begin());
    };
    return side(arch.encoder, shape.encoder) && side(arch.decoder, shape.decoder);
}

/// What the weights of an extracted SubTransformer are made for: exactly `arch`, with the widths of the
/// SuperTransformer remembered. Attention spans are clamped to the encoder's depth unless copies are attended to.
inline TransformerConfig extracted_config(const TransformerConfig& super, const RuntimeArch& arch) {
    TransformerConfig config = super;
    config.shape = canonical(arch);
    if (config.attend_to_copies_of)
        std::copy_n(arch.decoder.cross_span.begin(), std::max(0, arch.decoder.layers),
                    config.shape.decoder.cross_span.begin());
    config.encoder_super_embed = super.super_encoder_embed();
    config.decoder_super_embed = super.super_decoder_embed();
    return config;
}

/// Copies a SubTransformer out of the SuperTransformer. The result's `config().shape` is the architecture to run; its
/// outputs, losses and gradients are the same bits as inside the SuperTransformer. Throws shape_mismatch unless `arch`
/// fits.
template <class T>
Weights<T> extract(const Weights<T>& super, const RuntimeArch& arch) {
    const SubTransformerView<T> inside(super, arch);
    const TransformerConfig config = extracted_config(super.config(), arch);
    Weights<T> own(config);
    const auto from = parameter_blocks(inside), to = parameter_blocks(SubTransformerView<T>(own, config.shape));
    const GradientMap<T> writable(own, own);
    for (std::size_t i = 0; i < from.size(); ++i) {
        const View<T> out = writable(to[i]);
        for (std::size_t r = 0; r < out.rows; ++r) std::copy_n(from[i].row(r), out.cols, out.row(r));
    }
    return own;
}

}  // namespace hat
