#pragma once
/// \file
/// Small Transformers, random architectures and batches for the model tests.

#include <cstddef>
#include <cstdint>
#include <hat/core/rng.hpp>
#include <hat/core/tokens.hpp>
#include <hat/model/config.hpp>
#include <support/weights.hpp>
#include <vector>

namespace hat_test {

inline constexpr std::size_t vocabulary = 11;

/// A SuperTransformer of 3 + 2 layers with widths that are no multiples of a vector.
inline hat::TransformerConfig small_config(hat::EmbeddingSharing sharing = hat::EmbeddingSharing::all,
                                           bool pre_norm = false, int encoder_embed = 10, int decoder_embed = 10) {
    hat::TransformerConfig c;
    c.source_vocab = sharing == hat::EmbeddingSharing::all ? vocabulary : vocabulary + 2;
    c.target_vocab = vocabulary;
    c.sharing = sharing;
    c.encoder_pre_norm = c.decoder_pre_norm = pre_norm;
    auto& e = c.shape.encoder;
    e.embed = encoder_embed, e.layers = 3;
    for (std::size_t i = 0; i < 3; ++i) e.ffn[i] = 14, e.qkv[i] = 12, e.self_heads[i] = 2;
    auto& d = c.shape.decoder;
    d.embed = decoder_embed, d.layers = 2;
    for (std::size_t i = 0; i < 2; ++i)
        d.ffn[i] = 13, d.qkv[i] = 12, d.self_heads[i] = 3, d.cross_heads[i] = 2, d.cross_span[i] = 1;
    return c;
}

/// A random leading block of `shape`: widths, depths, heads that divide, spans up to 3 (also past the depth).
inline hat::RuntimeArch random_arch(const hat::RuntimeArch& shape, hat::Rng& rng) {
    hat::RuntimeArch a{};
    const auto up_to = [&](int most) { return 1 + static_cast<int>(rng.below(static_cast<std::uint64_t>(most))); };
    const auto side = [&](auto& out, const auto& most, bool decoder) {
        out.embed = up_to(most.embed);
        if (out.embed < 3) out.embed = most.embed;
        out.layers = up_to(most.layers);
        for (std::size_t i = 0; i < static_cast<std::size_t>(out.layers); ++i) {
            out.ffn[i] = up_to(most.ffn[i]);
            out.qkv[i] = up_to(most.qkv[i]);
            const auto heads = [&] {
                int h = up_to(4);
                while (out.qkv[i] % h != 0) --h;
                return h;
            };
            out.self_heads[i] = heads();
            if (decoder) out.cross_heads[i] = heads(), out.cross_span[i] = up_to(3);
        }
    };
    side(a.encoder, shape.encoder, false);
    side(a.decoder, shape.decoder, true);
    return a;
}

/// Sentences of 1 to `longest` tokens and eos.
inline hat::Batch random_batch(const hat::TransformerConfig& config, std::size_t sentences, std::size_t longest,
                               hat::Rng& rng) {
    hat::Batch batch;
    const auto sentence = [&](std::size_t size) {
        std::vector<std::int32_t> tokens(1 + rng.below(longest));
        for (auto& t : tokens)
            t = static_cast<std::int32_t>(hat::SpecialTokens::unk + rng.below(size - hat::SpecialTokens::unk));
        tokens.push_back(hat::SpecialTokens::eos);
        return tokens;
    };
    for (std::size_t i = 0; i < sentences; ++i) {
        const auto source = sentence(config.source_vocab), target = sentence(config.target_vocab);
        batch.push_back(source, target);
    }
    return batch;
}

}  // namespace hat_test
