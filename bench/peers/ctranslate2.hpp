#pragma once
/// \file
/// CTranslate2 as a peer of hat's decoding: networks with random weights in its file format, and its translations.

#include <ctranslate2/translator.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/rng.hpp>
#include <hat/space/arch.hpp>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// What CTranslate2 calls model.bin, of a post-norm Transformer with ReLU, sinusoidal positions, biases and one matrix
/// of embeddings for the source, the target and the output: binary version 6, revision 7 of its TransformerSpec, as its
/// documented Python class ModelSpec writes them. Weights are random: fp32, or 8-bit integers with one scale a row.
/// CTranslate2 has one number of heads a stack, and attends to the last encoder layer.
class CTranslate2File {
public:
    CTranslate2File(const hat::RuntimeArch& arch, std::size_t vocabulary, bool quantized) : int8_(quantized) {
        const auto encoder = stack(arch.encoder, "encoder/", "embeddings_0", vocabulary);
        const auto decoder = stack(arch.decoder, "decoder/", "", vocabulary);
        for (std::size_t i = 0; i < static_cast<std::size_t>(arch.decoder.layers); ++i) {
            const std::string attention = "decoder/layer_" + std::to_string(i) + "/attention";
            linear(attention + "/linear_0", decoder, decoder);
            linear(attention + "/linear_1", 2 * decoder, encoder);
            linear(attention + "/linear_2", decoder, decoder);
            norm(attention, decoder);
        }
    }

    std::string bytes() const {
        std::string all;
        number(all, std::uint32_t{6});
        text(all, "TransformerSpec");
        number(all, std::uint32_t{7});
        number(all, count_);
        all += variables_;
        number(all, std::uint32_t{2});  // names that share a variable
        for (const char* alias : {"decoder/embeddings/weight", "decoder/projection/weight"}) {
            text(all, alias);
            text(all, "encoder/embeddings_0/weight");
        }
        return all;
    }

private:
    enum Type : std::uint8_t { float32 = 0, int8 = 1 };

    template <class T>
    static void number(std::string& out, T x) {
        out.append(reinterpret_cast<const char*>(&x), sizeof x);
    }
    static void text(std::string& out, const std::string& s) {
        number(out, static_cast<std::uint16_t>(s.size() + 1));
        out.append(s.c_str(), s.size() + 1);
    }

    /// Starts a variable of one type with `n` elements, whose bytes follow.
    void variable(const std::string& name, Type type, std::initializer_list<std::size_t> shape) {
        ++count_;
        text(variables_, name);
        number(variables_, static_cast<std::uint8_t>(shape.size()));
        std::uint32_t bytes = type == int8 ? 1 : 4;
        for (const std::size_t n : shape) {
            number(variables_, static_cast<std::uint32_t>(n));
            bytes *= static_cast<std::uint32_t>(n);
        }
        number(variables_, type);
        number(variables_, bytes);
    }
    void flag(const std::string& name, std::int8_t x) {
        variable(name, int8, {});
        number(variables_, x);
    }
    void vector(const std::string& name, std::size_t n, float x) {
        variable(name, float32, {n});
        for (std::size_t i = 0; i < n; ++i) number(variables_, x);
    }
    /// Weights of -1 / sqrt(cols) to 1 / sqrt(cols).
    void matrix(const std::string& name, std::size_t rows, std::size_t cols) {
        const float limit = 1 / std::sqrt(static_cast<float>(cols));
        variable(name, int8_ ? int8 : float32, {rows, cols});
        for (std::size_t i = 0; i < rows * cols; ++i)
            if (int8_)
                number(variables_, static_cast<std::int8_t>(static_cast<int>(rng_.below(255)) - 127));
            else
                number(variables_, static_cast<float>(rng_.uniform() * 2 - 1) * limit);
        if (int8_) vector(name + "_scale", rows, 127 / limit);
    }
    void linear(const std::string& name, std::size_t out, std::size_t in) {
        matrix(name + "/weight", out, in);
        vector(name + "/bias", out, 0);
    }
    void norm(const std::string& name, std::size_t n) {
        vector(name + "/layer_norm/gamma", n, 1);
        vector(name + "/layer_norm/beta", n, 0);
    }
    /// Everything but the attention to the other stack; the stack's width.
    template <class Stack>
    std::size_t stack(const Stack& s, const std::string& scope, const std::string& embeddings, std::size_t vocabulary) {
        const auto width = static_cast<std::size_t>(s.embed);
        flag(scope + "pre_norm", 0);
        flag(scope + "activation", 0);  // ReLU
        flag(scope + "num_heads", static_cast<std::int8_t>(s.self_heads[0]));
        flag(scope + "scale_embeddings", 1);
        if (!embeddings.empty()) matrix(scope + embeddings + "/weight", vocabulary, width);
        for (std::size_t i = 0; i < static_cast<std::size_t>(s.layers); ++i) {
            const std::string layer = scope + "layer_" + std::to_string(i);
            linear(layer + "/self_attention/linear_0", 3 * width, width);
            linear(layer + "/self_attention/linear_1", width, width);
            norm(layer + "/self_attention", width);
            const auto ffn = static_cast<std::size_t>(s.ffn[i]);
            linear(layer + "/ffn/linear_0", ffn, width);
            linear(layer + "/ffn/linear_1", width, ffn);
            norm(layer + "/ffn", width);
        }
        return width;
    }

    bool int8_;
    std::string variables_;
    std::uint32_t count_ = 0;
    hat::Rng rng_{1};
};

/// Translates a sentence of random tokens into as many with CTranslate2, on one thread (not the caller's).
class CTranslate2 {
public:
    CTranslate2(const hat::RuntimeArch& arch, std::size_t vocabulary, bool int8, std::size_t length, std::size_t beam)
        : translator_(loader(CTranslate2File(arch, vocabulary, int8).bytes(), vocabulary, int8), {1, 0, -1}),
          source_(1) {
        hat::Rng rng(1);
        for (std::size_t i = 0; i < length; ++i) source_[0].push_back(word(3 + rng.below(vocabulary - 3)));
        options_.beam_size = beam;
        options_.min_decoding_length = options_.max_decoding_length = length;
    }
    /// The number of tokens of the best translation.
    std::size_t operator()() { return translator_.translate_batch(source_, options_)[0].output().size(); }

private:
    static std::string word(std::size_t i) { return "w" + std::to_string(i); }
    static ctranslate2::models::ModelLoader loader(std::string model, std::size_t vocabulary, bool int8) {
        std::string words = "<unk>\n<s>\n</s>\n";
        for (std::size_t i = 3; i < vocabulary; ++i) words += word(i) + "\n";
        auto files = std::make_shared<ctranslate2::models::ModelMemoryReader>("random");
        files->register_file("model.bin", std::move(model));
        files->register_file("shared_vocabulary.txt", std::move(words));
        files->register_file("config.json",
                             R"({"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "decoder_start_token":
                                 "<s>", "add_source_bos": false, "add_source_eos": false})");
        ctranslate2::models::ModelLoader loader(files);
        loader.compute_type = int8 ? ctranslate2::ComputeType::INT8_FLOAT32 : ctranslate2::ComputeType::FLOAT32;
        return loader;
    }

    ctranslate2::Translator translator_;
    std::vector<std::vector<std::string>> source_;
    ctranslate2::TranslationOptions options_;
};

}  // namespace bench
