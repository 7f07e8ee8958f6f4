#pragma once
/// \file
/// What a set of weights is made for: the largest architecture it holds, vocabularies and fixed options.

#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/cost.hpp>
#include <string>

namespace hat {

/// Everything about a Transformer that its architecture does not say. One SuperTransformer's weights, and those of a
/// SubTransformer extracted from it, differ only in `shape`.
struct TransformerConfig {
    RuntimeArch shape{};           ///< the largest architecture these weights hold (heads and spans are not used)
    std::size_t source_vocab = 0;  ///< ids of the source language
    std::size_t target_vocab = 0;  ///< ids of the target language
    EmbeddingSharing sharing = EmbeddingSharing::all;  ///< which vocabulary matrices are one
    bool encoder_pre_norm = false;   ///< layer norm before each block instead of after it, and once after the stack
    bool decoder_pre_norm = false;   ///< the same for the decoder
    bool decoder_final_norm = true;  ///< pre-norm only: normalise the decoder's output
    /// The encoder's embedding width in the SuperTransformer this came from: the sinusoid table, original scaling and
    /// dropout scaling refer to it. 0: the width of `shape`.
    int encoder_super_embed = 0;
    int decoder_super_embed = 0;          ///< the same for the decoder
    bool vocab_original_scaling = false;  ///< scale embeddings by sqrt(super width) instead of sqrt(sampled width)

    /// Parity with the reference only (semantics, TRAP 1): count inactive encoder layers as copies of the last one
    /// when a decoder layer attends to several encoder layers. Value: the SuperTransformer's encoder depth; 0: off.
    int attend_to_copies_of = 0;
    /// Parity with the reference only (TRAP 2): with pre-norm, leave the earlier encoder layers a decoder layer
    /// attends to without the final layer norm.
    bool unnormalized_memory = false;

    /// Embedding width of the SuperTransformer's encoder.
    int super_encoder_embed() const { return encoder_super_embed ? encoder_super_embed : shape.encoder.embed; }
    /// Embedding width of the SuperTransformer's decoder.
    int super_decoder_embed() const { return decoder_super_embed ? decoder_super_embed : shape.decoder.embed; }
    friend bool operator==(const TransformerConfig&, const TransformerConfig&) = default;  ///< memberwise
};

/// What cost() must know of weights made for `config`, for sentences of 30 tokens.
inline CostOptions cost_options(const TransformerConfig& config) {
    return {.source_vocab = config.source_vocab,
            .target_vocab = config.target_vocab,
            .sharing = config.sharing,
            .encoder_pre_norm = config.encoder_pre_norm,
            .decoder_pre_norm = config.decoder_pre_norm,
            .decoder_final_norm = config.decoder_final_norm};
}

/// Throws unless `arch` can run: sizes positive, heads divide qkv, spans 1..3.
inline void validate(const RuntimeArch& arch) {
    const auto fail = [](const std::string& what) { throw invalid_value("hat: architecture: " + what); };
    const auto side = [&](const auto& s, const std::string& name, bool decoder) {
        if (s.embed < 1) fail(name + " embedding width is " + std::to_string(s.embed) + ", expected at least 1");
        if (s.layers < 1 || s.layers > static_cast<int>(s.max_layers))
            fail(name + " has " + std::to_string(s.layers) + " layers, expected 1 to " + std::to_string(s.max_layers));
        for (std::size_t i = 0; i < static_cast<std::size_t>(s.layers); ++i) {
            const std::string at = name + " layer " + std::to_string(i) + ": ";
            if (s.ffn[i] < 1) fail(at + "FFN width is " + std::to_string(s.ffn[i]) + ", expected at least 1");
            if (s.qkv[i] < 1) fail(at + "qkv width is " + std::to_string(s.qkv[i]) + ", expected at least 1");
            const auto heads = [&](int h, const char* kind) {
                if (h < 1 || s.qkv[i] % h != 0)
                    fail(at + std::to_string(h) + " " + kind + " heads do not divide the qkv width " +
                         std::to_string(s.qkv[i]));
            };
            heads(s.self_heads[i], "self-attention");
            if (decoder) {
                heads(s.cross_heads[i], "encoder-decoder attention");
                if (s.cross_span[i] < 1 || s.cross_span[i] > 3)
                    fail(at + "attention span is " + std::to_string(s.cross_span[i]) + ", expected 1, 2 or 3");
            }
        }
    };
    side(arch.encoder, "encoder", false);
    side(arch.decoder, "decoder", true);
}

/// Throws unless `arch` is a leading block of weights made for `shape`.
inline void require_fits(const RuntimeArch& arch, const RuntimeArch& shape) {
    validate(arch);
    const auto side = [](const auto& a, const auto& s, const std::string& name) {
        const auto check = [&](int value, int most, const std::string& what) {
            if (value > most)
                throw shape_mismatch("hat: architecture: " + name + " " + what + " is " + std::to_string(value) +
                                     ", but the weights hold at most " + std::to_string(most));
        };
        check(a.embed, s.embed, "embedding width");
        check(a.layers, s.layers, "depth");
        for (std::size_t i = 0; i < static_cast<std::size_t>(a.layers); ++i) {
            check(a.ffn[i], s.ffn[i], "FFN width of layer " + std::to_string(i));
            check(a.qkv[i], s.qkv[i], "qkv width of layer " + std::to_string(i));
        }
    };
    side(arch.encoder, shape.encoder, "encoder");
    side(arch.decoder, shape.decoder, "decoder");
}

}  // namespace hat
