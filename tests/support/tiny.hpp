#pragma once
/// \file
/// A tiny SuperTransformer for tests that train.

#include <algorithm>
#include <cstdint>
#include <hat/core/rng.hpp>
#include <hat/core/tokens.hpp>
#include <hat/model/config.hpp>
#include <hat/space/arch.hpp>
#include <vector>

namespace hat_test {

/// Two layers a side, 16 wide.
inline hat::RuntimeArch tiny_arch() {
    hat::RuntimeArch a{};
    const auto side = [](auto& s) {
        s.embed = 16;
        s.layers = 2;
        std::fill_n(s.ffn.begin(), 2, 32);
        std::fill_n(s.qkv.begin(), 2, 16);
        std::fill_n(s.self_heads.begin(), 2, 2);
    };
    side(a.encoder);
    side(a.decoder);
    std::fill_n(a.decoder.cross_heads.begin(), 2, 2);
    std::fill_n(a.decoder.cross_span.begin(), 2, 1);
    return a;
}

inline hat::TransformerConfig tiny_config(std::size_t vocab = 12) {
    hat::TransformerConfig c;
    c.shape = tiny_arch();
    c.source_vocab = c.target_vocab = vocab;
    return c;
}

/// A smaller network of the same SuperTransformer: one layer a side.
inline hat::RuntimeArch tiny_sub_arch() {
    hat::RuntimeArch a = tiny_arch();
    a.encoder.layers = a.decoder.layers = 1;
    a.encoder.embed = 12;
    a.encoder.ffn[0] = 24;
    return hat::canonical(a);
}

/// A task that can be learned: the target repeats the source. `count` batches of `sentences` sentences.
inline std::vector<hat::Batch> copy_task(std::uint64_t seed, std::size_t count, std::size_t sentences,
                                         std::size_t vocab = 12) {
    hat::Rng rng(seed);
    std::vector<hat::Batch> batches(count);
    for (auto& batch : batches)
        for (std::size_t i = 0; i < sentences; ++i) {
            std::vector<std::int32_t> sentence;
            for (std::size_t n = 2 + rng.below(4); n > 0; --n)
                sentence.push_back(static_cast<std::int32_t>(4 + rng.below(vocab - 4)));
            sentence.push_back(hat::SpecialTokens::eos);
            batch.push_back(sentence, sentence);
        }
    return batches;
}

}  // namespace hat_test
