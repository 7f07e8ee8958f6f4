#pragma once
/// \file
/// Random architectures that the compiler can draw, and what must be equal for each of them.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <hat/core/rng.hpp>
#include <hat/decode/beam_search.hpp>
#include <hat/decode/static_transformer.hpp>
#include <hat/model/extract.hpp>
#include <hat/quant/store.hpp>
#include <span>
#include <support/weights.hpp>
#include <vector>

namespace hat_test {

inline constexpr int words = 37;  ///< of the vocabulary

/// The largest network of a space of 2 + 2 layers.
constexpr hat::Arch<2, 2> tiny_shape() {
    hat::Arch<2, 2> a{};
    a.encoder.embed = 24, a.encoder.layers = 2, a.encoder.ffn = {40, 40}, a.encoder.qkv = {32, 32};
    a.encoder.self_heads = {4, 4};
    a.decoder.embed = 24, a.decoder.layers = 2, a.decoder.ffn = {40, 40}, a.decoder.qkv = {32, 32};
    a.decoder.self_heads = a.decoder.cross_heads = {4, 4}, a.decoder.cross_span = {1, 1};
    return a;
}

/// Network `index` of that space: widths, depths, heads, qkv widths and spans vary.
constexpr hat::Arch<2, 2> tiny_arch(std::uint64_t index) {
    hat::Rng rng(index + 1);
    const auto pick = [&](auto... choice) {
        const int c[] = {choice...};
        return c[rng.below(sizeof...(choice))];
    };
    hat::Arch<2, 2> a{};
    a.encoder.embed = pick(8, 16, 24), a.decoder.embed = pick(8, 16, 24);
    a.encoder.layers = pick(1, 2), a.decoder.layers = pick(1, 2);
    for (std::size_t i = 0; i < 2; ++i) {
        a.encoder.ffn[i] = pick(16, 33, 40), a.decoder.ffn[i] = pick(16, 33, 40);
        a.encoder.qkv[i] = pick(16, 32), a.decoder.qkv[i] = pick(16, 32);
        a.encoder.self_heads[i] = pick(2, 4), a.decoder.self_heads[i] = pick(2, 4);
        a.decoder.cross_heads[i] = pick(2, 4), a.decoder.cross_span[i] = pick(1, 2);
    }
    return hat::canonical(a);
}

/// A SuperTransformer for `shape`.
inline hat::TransformerConfig super_config(const hat::RuntimeArch& shape, hat::StaticConfig kind) {
    hat::TransformerConfig c;
    c.shape = shape;
    c.source_vocab = kind.source_vocab, c.target_vocab = kind.target_vocab;
    c.sharing = kind.sharing;
    c.encoder_pre_norm = kind.encoder_pre_norm, c.decoder_pre_norm = kind.decoder_pre_norm;
    return c;
}

/// Random weights of a SuperTransformer for `shape`.
inline hat::Weights<float> super_weights(const hat::RuntimeArch& shape, hat::StaticConfig kind, std::uint64_t seed) {
    return random_weights<float>(super_config(shape, kind), seed);
}

/// The configuration of network `index`; as deployed, with the super widths of `shape`.
constexpr hat::StaticConfig static_config(std::uint64_t index) {
    using S = hat::EmbeddingSharing;
    hat::StaticConfig c;
    c.target_vocab = words;
    c.sharing = index % 3 == 0 ? S::all : index % 3 == 1 ? S::decoder_input_output : S::none;
    c.source_vocab = c.sharing == S::all ? words : words + 3;
    c.encoder_pre_norm = c.decoder_pre_norm = index % 5 == 4;
    c.encoder_super_embed = tiny_shape().encoder.embed, c.decoder_super_embed = tiny_shape().decoder.embed;
    return c;
}

/// A static model without its type, so that what is checked of it is compiled once and not for each model.
struct AnyStatic {
    std::function<void(const std::vector<std::int32_t>&, std::span<const std::size_t>)> start;  ///< tokens, offsets
    /// Tokens and parents to logits, row after row.
    std::function<std::vector<float>(const std::vector<std::int32_t>&, const std::vector<std::size_t>&)> step;
    /// As Session::translate().
    std::function<hat::StaticTranslation(const std::vector<std::int32_t>&, std::span<std::int32_t>)> translate;
};

/// Logits step by step and beam search of the static model equal those of the SubTransformer inside the
/// SuperTransformer and of the extracted one, to the bit.
inline void check_equal(const AnyStatic& model, const hat::Weights<float>& super, const hat::RuntimeArch& sub,
                        const hat::StaticLimits& limits, std::uint64_t seed) {
    const hat::TransformerConfig& config = super.config();
    const hat::InferenceModel<float> inside(super, sub);
    const hat::InferenceModel<float> extracted(hat::extract(super, sub), sub);
    hat::InferenceSession<float> elastic(inside), apart(extracted);

    hat::Rng rng(seed);
    const auto token = [&](std::size_t n) { return static_cast<std::int32_t>(3 + rng.below(n - 3)); };
    hat::BeamOptions options;
    options.beam = limits.beam;
    options.max_positions = limits.max_target;
    std::vector<std::int32_t> target(limits.max_target);
    for (const std::size_t length : {limits.max_source, std::size_t{1}, limits.max_source / 2}) {
        hat::Ragged source;
        std::vector<std::int32_t> sentence(length, hat::SpecialTokens::eos);
        for (std::size_t i = 0; i + 1 < length; ++i) sentence[i] = token(config.source_vocab);
        source.push_back(sentence);

        model.start(sentence, source.offsets);
        elastic.encode(source);
        elastic.start(limits.beam);
        std::vector<std::int32_t> tokens(limits.beam);
        std::vector<std::size_t> parents;
        std::size_t different = 0;
        for (std::size_t step = 0; step < 5; ++step) {
            for (std::size_t b = 0; b < limits.beam; ++b) {
                tokens[b] = token(config.target_vocab);
                if (step > 0) parents.resize(limits.beam), parents[b] = rng.below(limits.beam);
            }
            const auto found = model.step(tokens, parents);
            const auto expected = elastic.step(tokens, parents);
            for (std::size_t b = 0; b < limits.beam; ++b)
                for (std::size_t v = 0; v < config.target_vocab; ++v)
                    different += found.at(b * config.target_vocab + v) != expected(b, v);
        }
        CHECK(different == 0);

        const auto best = hat::beam_search(elastic, source, options)[0][0];
        const auto also = hat::beam_search(apart, source, options)[0][0];
        const auto result = model.translate(sentence, target);
        REQUIRE(result.status == hat::TranslateStatus::ok);
        REQUIRE(result.length == best.tokens.size());
        CHECK(std::equal(best.tokens.begin(), best.tokens.end(), target.begin()));
        CHECK(result.score == best.score);
        CHECK(also.tokens == best.tokens);
        CHECK(also.score == best.score);
    }
}

/// check_equal() for a network within a SuperTransformer.
template <auto arch, hat::StaticConfig config, hat::StaticLimits limits>
void check_static(const hat::Weights<float>& super, std::uint64_t seed) {
    using Model = hat::StaticTransformer<arch, config, limits>;
    const hat::RuntimeArch sub = hat::to_runtime(arch);
    REQUIRE(hat::static_config(super.config()) == config);
    const auto stored = hat::store_weights(super, sub);
    REQUIRE(stored.size() == Model::weight_bytes);
    const Model model(stored.data());
    hat::AlignedBuffer<std::byte> workspace(Model::workspace_bytes);
    typename Model::Session session(model, workspace.data());
    AnyStatic any;
    any.start = [&](const auto& tokens, auto offsets) {
        session.decoder().encode(tokens, offsets);
        session.decoder().start({});
    };
    any.step = [&](const auto& tokens, const auto& parents) {
        const auto found = session.decoder().step(tokens, parents);
        std::vector<float> logits;
        for (std::size_t b = 0; b < limits.beam; ++b)
            for (std::size_t v = 0; v < config.target_vocab; ++v) logits.push_back(found(b, v));
        return logits;
    };
    any.translate = [&](const auto& tokens, auto target) { return session.translate(tokens, target); };
    check_equal(any, super, sub, limits, seed);
}

/// check_static() for the networks [first, last) of the tiny space.
template <std::uint64_t first, std::uint64_t... I>
void check_tiny(std::integer_sequence<std::uint64_t, I...>) {
    (check_static<tiny_arch(first + I), static_config(first + I), hat::StaticLimits{9, 12, 1 + (first + I) % 4}>(
         super_weights(hat::to_runtime(tiny_shape()), static_config(first + I), first + I + 1), first + I + 1),
     ...);
}

}  // namespace hat_test
