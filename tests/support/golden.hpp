#pragma once
/// \file
/// The numeric fixtures of the parity tests: tests/data/golden, or any folder of that format (HAT_GOLDEN_DIR).

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/core/tokens.hpp>
#include <hat/io/json.hpp>
#include <hat/model/config.hpp>
#include <hat/model/weights.hpp>
#include <hat/space/arch.hpp>
#include <string>
#include <support/npz.hpp>
#include <vector>

namespace hat_test {

/// The folder of fixtures: environment variable HAT_GOLDEN_DIR, default tests/data/golden.
inline std::filesystem::path golden_folder() {
    const char* named = std::getenv("HAT_GOLDEN_DIR");
    return named != nullptr && *named != '\0' ? std::filesystem::path(named)
                                              : std::filesystem::path(HAT_SOURCE_DIR) / "tests/data/golden";
}

/// Sentences without their padding.
inline hat::Ragged without_padding(const NpzArray& tokens) {
    hat::Ragged ragged;
    const std::size_t length = tokens.shape.at(1);
    for (std::size_t i = 0; i < tokens.shape.at(0); ++i) {
        std::vector<std::int32_t> sentence;
        for (std::size_t j = 0; j < length; ++j)
            if (const auto token = tokens.ints[i * length + j]; token != hat::SpecialTokens::pad)
                sentence.push_back(token);
        ragged.push_back(sentence);
    }
    return ragged;
}

/// Positions (row * length + column) of the tokens that are no padding: row k of a ragged result is position [k] of
/// the padded one.
inline std::vector<std::size_t> kept_positions(const NpzArray& tokens) {
    std::vector<std::size_t> kept;
    for (std::size_t i = 0; i < tokens.ints.size(); ++i)
        if (tokens.ints[i] != hat::SpecialTokens::pad) kept.push_back(i);
    return kept;
}

/// A batch from `<prefix>src_tokens`, `<prefix>prev_output_tokens` and `<prefix>target`.
inline hat::Batch batch_of(const Npz& arrays, const std::string& prefix = "") {
    return {without_padding(at(arrays, prefix + "src_tokens")),
            without_padding(at(arrays, prefix + "prev_output_tokens")), without_padding(at(arrays, prefix + "target"))};
}

/// The manifest of a folder, and its variants, configurations and weights as hat's own types.
class Golden {
public:
    explicit Golden(std::filesystem::path folder = golden_folder())
        : folder_(std::move(folder)), manifest_(hat::load_json(folder_ / "manifest.json")) {}

    const hat::Json& manifest() const { return manifest_; }
    hat::JsonView view() const { return hat::JsonView(manifest_, (folder_ / "manifest.json").string()); }
    Npz npz(const std::string& file) const { return load_npz(folder_ / file); }

    /// The SuperTransformer of a variant, with the reference's two peculiarities switched on (TRAP 1 and 2).
    hat::TransformerConfig config(const std::string& variant) const {
        const auto v = view()["variants"][variant];
        const auto args = v["args"];
        hat::TransformerConfig c;
        c.source_vocab = v.get<std::size_t>("src_vocab");
        c.target_vocab = v.get<std::size_t>("tgt_vocab");
        const auto side = [&](auto& stack, const std::string& name) {
            stack.embed = args.get<int>(name + "_embed_dim");
            stack.layers = args.get<int>(name + "_layers");
            for (std::size_t i = 0; i < static_cast<std::size_t>(stack.layers); ++i) {
                stack.ffn.at(i) = args.get<int>(name + "_ffn_embed_dim");
                stack.qkv.at(i) = args.get<int>("qkv_dim");
                stack.self_heads.at(i) = args.get<int>(name + "_attention_heads");
            }
        };
        side(c.shape.encoder, "encoder");
        side(c.shape.decoder, "decoder");
        c.shape.decoder.cross_heads = c.shape.decoder.self_heads;
        std::fill_n(c.shape.decoder.cross_span.begin(), c.shape.decoder.layers, 1);
        c.sharing = args.get_or<bool>("share_all_embeddings", false) ? hat::EmbeddingSharing::all
                    : args.get_or<bool>("share_decoder_input_output_embed", false)
                        ? hat::EmbeddingSharing::decoder_input_output
                        : hat::EmbeddingSharing::none;
        c.encoder_pre_norm = args.get_or<bool>("encoder_normalize_before", false);
        c.decoder_pre_norm = args.get_or<bool>("decoder_normalize_before", false);
        c.decoder_final_norm = !args.get_or<bool>("no_decoder_final_norm", false);
        c.encoder_super_embed = c.shape.encoder.embed;
        c.decoder_super_embed = c.shape.decoder.embed;
        c.vocab_original_scaling = args.get_or<bool>("vocab_original_scaling", false);
        c.attend_to_copies_of = c.shape.encoder.layers;
        c.unnormalized_memory = true;
        return c;
    }

    /// A "config" object of the manifest. Lists may be longer than the active layers; spans -1, 1, 2 become 1, 2, 3.
    hat::RuntimeArch arch(const hat::Json& config_object, const std::string& variant) const {
        const auto args = view()["variants"][variant]["args"];
        const hat::JsonView c(config_object, "config");
        hat::RuntimeArch a{};
        const auto side = [&](auto& stack, const std::string& name) {
            const auto s = c[name];
            stack.embed = s.template get<int>(name + "_embed_dim");
            stack.layers = std::min(s.template get<int>(name + "_layer_num"), args.get<int>(name + "_layers"));
            const auto row = [&](auto& values, const std::string& key) {
                for (std::size_t i = 0; i < static_cast<std::size_t>(stack.layers); ++i)
                    values.at(i) = s[name + "_" + key][i].template as<int>();
            };
            row(stack.ffn, "ffn_embed_dim");
            row(stack.self_heads, "self_attention_heads");
            std::fill_n(stack.qkv.begin(), stack.layers, args.get<int>("qkv_dim"));
            if (name == "decoder") {
                row(stack.cross_heads, "ende_attention_heads");
                row(stack.cross_span, "arbitrary_ende_attn");
                for (std::size_t i = 0; i < static_cast<std::size_t>(stack.layers); ++i)
                    stack.cross_span[i] = stack.cross_span[i] == -1 ? 1 : stack.cross_span[i] + 1;
            }
        };
        side(a.encoder, "encoder");
        side(a.decoder, "decoder");
        return a;
    }

    /// The weights a variant starts from.
    template <class T>
    hat::Weights<T> weights(const std::string& variant) const {
        return weights_from<T>(npz(view()["variants"][variant].get<std::string>("weights")), "", config(variant));
    }

    /// Weights (or gradients, moments) from the arrays named `<prefix><parameter>`; those that are not there are zero
    /// and, if wanted, noted in `missing`. Without `missing` every parameter must be there.
    template <class T>
    static hat::Weights<T> weights_from(const Npz& arrays, const std::string& prefix,
                                        const hat::TransformerConfig& config,
                                        std::vector<std::string>* missing = nullptr) {
        hat::Weights<T> w(config);
        for (std::size_t i = 0; i < w.layout().tensors().size(); ++i) {
            const auto& info = w.layout().tensors()[i];
            const auto it = arrays.find(prefix + info.name);
            if (it == arrays.end()) {
                if (missing == nullptr) throw hat::error("golden: no array " + prefix + info.name);
                missing->push_back(info.name);
                continue;
            }
            if (it->second.shape != info.shape) throw hat::error("golden: unexpected shape of " + prefix + info.name);
            const auto out = w.tensor(static_cast<int>(i));
            std::transform(it->second.floats.begin(), it->second.floats.end(), out.begin(),
                           [](float v) { return static_cast<T>(v); });
        }
        return w;
    }

private:
    std::filesystem::path folder_;
    hat::Json manifest_;
};

}  // namespace hat_test
