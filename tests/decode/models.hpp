#pragma once
/// \file
/// Small models with random weights.

#include <algorithm>
#include <cstdint>
#include <hat/core/rng.hpp>
#include <hat/core/tokens.hpp>
#include <hat/model/config.hpp>
#include <support/weights.hpp>
#include <vector>

namespace hat_test {

inline hat::RuntimeArch small_arch(int encoder_width, int decoder_width, int qkv, int layers) {
    hat::RuntimeArch a{};
    a.encoder.embed = encoder_width;
    a.decoder.embed = decoder_width;
    a.encoder.layers = a.decoder.layers = layers;
    for (std::size_t i = 0; i < static_cast<std::size_t>(layers); ++i) {
        a.encoder.ffn[i] = a.decoder.ffn[i] = 40 + 8 * static_cast<int>(i);
        a.encoder.qkv[i] = a.decoder.qkv[i] = qkv;
        a.encoder.self_heads[i] = a.decoder.self_heads[i] = i % 2 ? 2 : 4;
        a.decoder.cross_heads[i] = i % 2 ? 4 : 2;
        a.decoder.cross_span[i] = 1 + static_cast<int>(i) % 3;
    }
    return a;
}

inline hat::TransformerConfig small_config(bool pre_norm = false,
                                           hat::EmbeddingSharing sharing = hat::EmbeddingSharing::all) {
    hat::TransformerConfig c;
    c.shape = small_arch(48, 40, 48, 4);
    c.source_vocab = c.target_vocab = 61;
    c.sharing = sharing;
    c.encoder_pre_norm = c.decoder_pre_norm = pre_norm;
    return c;
}

/// A SubTransformer of small_config(): every size smaller, spans 1, 2, 3.
inline hat::RuntimeArch small_sub() { return small_arch(36, 24, 40, 3); }

/// Sentences of the given lengths, eos included.
inline hat::Ragged random_sentences(const std::vector<std::size_t>& lengths, std::size_t vocabulary,
                                    std::uint64_t seed) {
    hat::Rng rng(seed);
    hat::Ragged out;
    for (const std::size_t n : lengths) {
        std::vector<std::int32_t> s(n, hat::SpecialTokens::eos);
        for (std::size_t i = 0; i + 1 < n; ++i)
            s[i] = static_cast<std::int32_t>(hat::SpecialTokens::count +
                                             rng.below(vocabulary - hat::SpecialTokens::count));
        out.push_back(s);
    }
    return out;
}

}  // namespace hat_test
