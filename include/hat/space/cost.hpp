#pragma once
/// \file
/// What a network costs before anything is measured: parameters, floating-point operations, bytes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/space/arch.hpp>
#include <string>

namespace hat {

/// What an architecture does not say but its cost depends on. Defaults: the reference's WMT setting.
struct CostOptions {
    int source_length = 30;                            ///< tokens of the source sentence
    int target_length = 30;                            ///< tokens of the target sentence
    std::size_t source_vocab = 32768;                  ///< ids of the source language
    std::size_t target_vocab = 32768;                  ///< ids of the target language
    EmbeddingSharing sharing = EmbeddingSharing::all;  ///< which vocabulary matrices are one
    bool encoder_pre_norm = false;                     ///< pre-norm adds one layer norm after the stack
    bool decoder_pre_norm = false;                     ///< the same for the decoder
    bool decoder_final_norm = true;                    ///< pre-norm only
};

/// Parameters and operations of one part of a network.
struct StageCost {
    std::uint64_t params = 0;  ///< weights and biases
    std::uint64_t flops = 0;   ///< of one sentence
};

/// What one network costs. `params` and `flops` follow the reference's published tables: no embeddings, no output
/// layer; `flops` is twice the multiply-adds, layer-norm outputs and scalings of one full forward pass of one sentence.
struct Cost {
    std::uint64_t params = 0;            ///< of the layers
    std::uint64_t flops = 0;             ///< of the layers, and of scaling the embeddings
    std::uint64_t embedding_params = 0;  ///< all vocabulary matrices
    std::uint64_t total_params = 0;      ///< everything a model file stores
    std::uint64_t output_flops = 0;      ///< the output layer, which `flops` leaves out
    std::uint64_t bytes_fp32 = 0;        ///< tensor data of a model file: 4 bytes per parameter
    std::uint64_t bytes_4bit = 0;        ///< the same with 4-bit matrices, see quantized_bytes()
    StageCost encoder_attention;         ///< part of `params` and `flops`, as the following
    StageCost encoder_ffn;               ///< feed-forward blocks of the encoder
    StageCost decoder_self_attention;    ///< self-attention of the decoder
    StageCost cross_attention;           ///< encoder-decoder attention
    StageCost decoder_ffn;               ///< feed-forward blocks of the decoder
    StageCost embedding;  ///< FLOPs: scaling the embeddings. Its parameters count in embedding_params, not in params.
};

/// The largest widths, lengths and vocabularies whose costs are counted: with them, no sum exceeds 64 bits.
inline constexpr int most_width = 1 << 18;
inline constexpr int most_sentence_length = 1 << 16;             ///< tokens
inline constexpr std::size_t most_vocab = std::size_t{1} << 24;  ///< ids

namespace detail {
/// Throws invalid_value for sizes out of range, whose costs would overflow unseen.
template <std::size_t E, std::size_t D>
void check_cost(const Arch<E, D>& a, const CostOptions& options) {
    const auto within = [](const char* what, std::size_t value, std::size_t most) {
        if (value < 1 || value > most)
            throw invalid_value(std::string("hat::cost: the ") + what + " is " +
                                std::to_string(static_cast<std::ptrdiff_t>(value)) + ", expected 1 to " +
                                std::to_string(most));
    };
    const auto width = [&](const char* what, int value) { within(what, static_cast<std::size_t>(value), most_width); };
    within("source length", static_cast<std::size_t>(options.source_length), most_sentence_length);
    within("target length", static_cast<std::size_t>(options.target_length), most_sentence_length);
    within("source vocabulary", options.source_vocab, most_vocab);
    within("target vocabulary", options.target_vocab, most_vocab);
    width("encoder's embedding width", a.encoder.embed);
    width("decoder's embedding width", a.decoder.embed);
    for (std::size_t i = 0; i < static_cast<std::size_t>(a.encoder.layers); ++i) {
        width("width of an encoder's q, k and v", a.encoder.qkv[i]);
        width("width of an encoder's FFN", a.encoder.ffn[i]);
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(a.decoder.layers); ++i) {
        width("width of a decoder's q, k and v", a.decoder.qkv[i]);
        width("width of a decoder's FFN", a.decoder.ffn[i]);
    }
}
}  // namespace detail

/// Calls f(rows, cols, is_matrix) for each tensor of the network's own model file. Weight matrices and embeddings are
/// matrices; biases and layer norms are not (cols 1). Separate q, k, v matrices where the widths differ.
template <std::size_t E, std::size_t D, class F>
void for_each_tensor(const Arch<E, D>& a, const CostOptions& options, F&& f) {
    detail::check_cost(a, options);
    using Size = std::uint64_t;
    const auto matrix = [&](Size rows, Size cols) { f(rows, cols, true); };
    const auto vector = [&](Size n) { f(n, Size{1}, false); };
    const auto norm = [&](Size n) { vector(n), vector(n); };
    const auto attention = [&](Size width, Size memory, Size qkv) {
        if (width == memory) {
            matrix(3 * qkv, width);
        } else {
            matrix(qkv, width);
            matrix(qkv, memory);
            matrix(qkv, memory);
        }
        vector(3 * qkv);
        matrix(width, qkv);
        vector(width);
        norm(width);
    };
    const auto ffn = [&](Size width, Size hidden) {
        matrix(hidden, width);
        vector(hidden);
        matrix(width, hidden);
        vector(width);
        norm(width);
    };
    const Size enc = static_cast<Size>(a.encoder.embed), dec = static_cast<Size>(a.decoder.embed);
    if (options.sharing == EmbeddingSharing::all && options.source_vocab != options.target_vocab)
        throw invalid_value("hat::CostOptions: shared embeddings need equal vocabularies, got " +
                            std::to_string(options.source_vocab) + " and " + std::to_string(options.target_vocab));
    if (options.sharing == EmbeddingSharing::all) {
        matrix(options.source_vocab, std::max(enc, dec));
    } else {
        matrix(options.source_vocab, enc);
        matrix(options.target_vocab, dec);
        if (options.sharing == EmbeddingSharing::none) matrix(options.target_vocab, dec);
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(a.encoder.layers); ++i) {
        attention(enc, enc, static_cast<Size>(a.encoder.qkv[i]));
        ffn(enc, static_cast<Size>(a.encoder.ffn[i]));
    }
    if (options.encoder_pre_norm) norm(enc);
    for (std::size_t i = 0; i < static_cast<std::size_t>(a.decoder.layers); ++i) {
        attention(dec, dec, static_cast<Size>(a.decoder.qkv[i]));
        attention(dec, enc, static_cast<Size>(a.decoder.qkv[i]));
        ffn(dec, static_cast<Size>(a.decoder.ffn[i]));
    }
    if (options.decoder_pre_norm && options.decoder_final_norm) norm(dec);
}

/// Every parameter a model file of this network stores.
template <std::size_t E, std::size_t D>
std::uint64_t total_params(const Arch<E, D>& a, const CostOptions& options) {
    std::uint64_t sum = 0;
    for_each_tensor(a, options, [&](std::uint64_t rows, std::uint64_t cols, bool) { sum += rows * cols; });
    return sum;
}

/// Bytes of tensor data when every matrix, embeddings included, is stored as `bits`-bit codes (padded to a byte) and
/// one codebook of 2^bits fp32 values; biases and layer norms stay fp32.
template <std::size_t E, std::size_t D>
std::uint64_t quantized_bytes(const Arch<E, D>& a, const CostOptions& options, unsigned bits) {
    if (bits < 1 || bits > 8)
        throw invalid_value("hat::quantized_bytes: " + std::to_string(bits) + " bits, expected 1 to 8");
    std::uint64_t sum = 0;
    for_each_tensor(a, options, [&](std::uint64_t rows, std::uint64_t cols, bool is_matrix) {
        sum += is_matrix ? (rows * cols * bits + 7) / 8 + (std::uint64_t{4} << bits) : 4 * rows * cols;
    });
    return sum;
}

/// Everything that can be said about a network's cost without running it (formulas: semantics, section 16, with the
/// qkv width of each layer). Throws invalid_value for a length, width or vocabulary that is not positive or above
/// most_sentence_length, most_width or most_vocab.
template <std::size_t E, std::size_t D>
Cost cost(const Arch<E, D>& a, const CostOptions& options = {}) {
    detail::check_cost(a, options);
    using Size = std::uint64_t;
    const auto size = [](int v) { return static_cast<Size>(v); };
    const Size S = size(options.source_length), T = size(options.target_length);
    const Size enc = size(a.encoder.embed), dec = size(a.decoder.embed);
    Cost c;
    const auto add = [](StageCost& stage, Size params, Size operations) {
        stage.params += params;
        stage.flops += 2 * operations;
    };
    const auto ffn = [&](StageCost& stage, Size n, Size width, Size hidden) {
        add(stage, 2 * width * hidden + hidden + width + 2 * width, n * (2 * width * hidden) + n * width);
    };
    // n queries of `width` over m keys of `memory`; `q` wide; layer norm of the output, scaling of the queries
    const auto attention = [&](StageCost& stage, Size n, Size width, Size m, Size memory, Size q) {
        add(stage, q * width + 2 * q * memory + 3 * q + q * width + width + 2 * width,
            n * 2 * q * width + m * 2 * q * memory + 2 * n * m * q + n * width + n * q);
    };
    add(c.embedding, 0, S * enc + T * dec);
    for (std::size_t i = 0; i < static_cast<std::size_t>(a.encoder.layers); ++i) {
        attention(c.encoder_attention, S, enc, S, enc, size(a.encoder.qkv[i]));
        ffn(c.encoder_ffn, S, enc, size(a.encoder.ffn[i]));
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(a.decoder.layers); ++i) {
        const Size q = size(a.decoder.qkv[i]), keys = size(a.decoder.cross_span[i]) * S;
        attention(c.decoder_self_attention, T, dec, T, dec, q);
        attention(c.cross_attention, T, dec, keys, enc, q);
        ffn(c.decoder_ffn, T, dec, size(a.decoder.ffn[i]));
    }
    for (const StageCost* stage :
         {&c.encoder_attention, &c.encoder_ffn, &c.decoder_self_attention, &c.cross_attention, &c.decoder_ffn}) {
        c.params += stage->params;
        c.flops += stage->flops;
    }
    c.flops += c.embedding.flops;
    c.output_flops = 2 * T * dec * options.target_vocab;
    c.total_params = total_params(a, options);
    const Size final_norms = (options.encoder_pre_norm ? 2 * enc : 0) +
                             (options.decoder_pre_norm && options.decoder_final_norm ? 2 * dec : 0);
    c.embedding_params = c.total_params - c.params - final_norms;
    c.bytes_fp32 = 4 * c.total_params;
    c.bytes_4bit = quantized_bytes(a, options, 4);
    return c;
}

/// The reference's parameter count: layers only, no embeddings, no final norms.
template <std::size_t E, std::size_t D>
std::uint64_t count_params(const Arch<E, D>& a) {
    return cost(a).params;
}

/// The reference's FLOPs of one forward pass of one sentence, without the output layer.
template <std::size_t E, std::size_t D>
std::uint64_t count_flops(const Arch<E, D>& a, int source_length, int target_length) {
    CostOptions options;
    options.source_length = source_length;
    options.target_length = target_length;
    return cost(a, options).flops;
}

}  // namespace hat
