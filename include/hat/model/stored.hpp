#pragma once
/// \file
/// How the weights of one network lie in memory when it is deployed: one block, the same for every instruction set, so
/// that it can be mapped from a file and shared. Where each matrix begins is a constexpr function of the network:
/// static models know it at compile time, readers and writers of files compute it. Throws nothing.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <hat/kernel/codebook.hpp>
#include <hat/kernel/embedding.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/int8.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/space/arch.hpp>

namespace hat {

/// How a matrix of weights is stored.
enum class MatrixFormat : std::uint8_t {
    fp32,       ///< numbers, in panels of 32 outputs
    int8,       ///< 8-bit integers with a scale per output (kernel/int8.hpp)
    codebook4,  ///< 4-bit codes into codebooks of 16 numbers (kernel/codebook.hpp)
};

/// The last of the formats: files with a higher number are of a later version.
inline constexpr MatrixFormat last_matrix_format = MatrixFormat::codebook4;

/// What a deployed network is besides its architecture. A structural type: it can be a template argument.
struct StaticConfig {
    std::size_t source_vocab = 0;                      ///< ids of the source language
    std::size_t target_vocab = 0;                      ///< ids of the target language
    EmbeddingSharing sharing = EmbeddingSharing::all;  ///< which vocabulary matrices are one
    bool encoder_pre_norm = false;                     ///< layer norm before each block instead of after it
    bool decoder_pre_norm = false;                     ///< the same for the decoder
    bool decoder_final_norm = true;                    ///< pre-norm only: normalise the decoder's output
    int encoder_super_embed = 0;  ///< embedding width of the SuperTransformer's encoder (positions); 0: the network's
    int decoder_super_embed = 0;  ///< the same for the decoder
    bool vocab_original_scaling = false;       ///< scale embeddings by sqrt(super width)
    MatrixFormat format = MatrixFormat::fp32;  ///< of every matrix
    std::size_t book_rows = 0;  ///< codebook4: rows that share a codebook, a multiple of 32; 0: the whole matrix
    CodebookMath codebook_math = CodebookMath::exact;  ///< codebook4: how it is computed; the bytes are the same

    friend constexpr bool operator==(const StaticConfig&, const StaticConfig&) = default;  ///< memberwise
};

/// The configuration with the network's own widths where it leaves those of the SuperTransformer out.
template <std::size_t E, std::size_t D>
constexpr StaticConfig resolved(StaticConfig config, const Arch<E, D>& arch) {
    if (config.encoder_super_embed == 0) config.encoder_super_embed = arch.encoder.embed;
    if (config.decoder_super_embed == 0) config.decoder_super_embed = arch.decoder.embed;
    return config;
}

/// Where a layer norm lies: byte offsets.
struct NormPlan {
    std::size_t weight = 0;  ///< gains
    std::size_t bias = 0;    ///< shifts
};
/// Where a linear layer lies.
struct LinearPlan {
    std::size_t n = 0;       ///< outputs
    std::size_t k = 0;       ///< inputs
    std::size_t weight = 0;  ///< byte offset of the matrix
    std::size_t bias = 0;    ///< byte offset of its N biases
};
/// Where an attention lies.
struct AttentionPlan {
    LinearPlan q;    ///< queries
    LinearPlan k;    ///< keys
    LinearPlan v;    ///< values
    LinearPlan out;  ///< output
};
/// Where one layer lies.
struct LayerPlan {
    AttentionPlan self;   ///< self-attention
    AttentionPlan cross;  ///< encoder-decoder attention; decoder only
    LinearPlan fc1;       ///< to the FFN width
    LinearPlan fc2;       ///< and back
    NormPlan self_norm;   ///< of the self-attention block
    NormPlan cross_norm;  ///< of the encoder-decoder attention block; decoder only
    NormPlan final_norm;  ///< of the feed-forward block
};
/// Where a whole network lies. Offsets are multiples of 64 bytes.
struct ModelPlan {
    std::array<LayerPlan, runtime_max_layers> encoder{};  ///< active layers
    std::array<LayerPlan, runtime_max_layers> decoder{};  ///< active layers
    NormPlan encoder_norm;                                ///< pre-norm only
    NormPlan decoder_norm;                                ///< pre-norm only
    LinearPlan source;      ///< vectors of the source tokens: n tokens, k numbers (no bias)
    LinearPlan target;      ///< vectors of the target tokens; may be the source's
    LinearPlan output;      ///< output projection; may be the target's
    std::size_t bytes = 0;  ///< of everything
};

namespace detail {
constexpr std::size_t whole_lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
/// Where the parts of an N x K matrix lie: what is beside its codes, byte offsets.
struct MatrixParts {
    std::size_t scales = 0;  // int8: scales; codebook4: codebooks
    std::size_t books8 = 0;  // codebook4: codebooks in 8 bits
    std::size_t bytes = 0;
};
constexpr MatrixParts matrix_parts(const StaticConfig& config, std::size_t n, std::size_t k) {
    switch (config.format) {
        case MatrixFormat::fp32:
            return {0, 0, 4 * stored_elements(n, k)};
        case MatrixFormat::int8: {
            const std::size_t scales = whole_lines(Int8Panels::bytes(n, k));
            return {scales, 0, scales + 4 * n};
        }
        case MatrixFormat::codebook4: {
            const std::size_t books = CodebookPanels::book_count(n, config.book_rows);
            const std::size_t scales = whole_lines(4 * CodebookPanels::words(n, k)), bytes = scales + 64 * books;
            return {scales, bytes, bytes + sizeof(ByteBook) * books};
        }
    }
    return {};
}
}  // namespace detail

/// Bytes of an N x K matrix.
constexpr std::size_t stored_bytes(const StaticConfig& config, std::size_t n, std::size_t k) {
    return detail::matrix_parts(config, n, k).bytes;
}

/// A stored matrix, of which the first `k` inputs are used; `plan` says where in `weights` it lies and how wide it is.
template <Extent N, Extent K>
Panels<float, N, K> fp32_panels(const std::byte* weights, const LinearPlan& plan, N n, K k) {
    Panels<float, N, K> panels = stored_panels(reinterpret_cast<const float*>(weights + plan.weight), n, k);
    panels.panel = plan.k * stored_columns;
    return panels;
}
/// The same of 8-bit integers.
inline Int8Panels int8_panels(const std::byte* weights, const LinearPlan& plan, const StaticConfig& config,
                              std::size_t k) {
    const std::byte* const at = weights + plan.weight;
    const auto parts = detail::matrix_parts(config, plan.n, plan.k);
    return {reinterpret_cast<const std::uint8_t*>(at), reinterpret_cast<const float*>(at + parts.scales), plan.n, k,
            plan.k};
}
/// The same of 4-bit codes.
inline CodebookPanels codebook_panels(const std::byte* weights, const LinearPlan& plan, const StaticConfig& config,
                                      std::size_t k) {
    const std::byte* const at = weights + plan.weight;
    const auto parts = detail::matrix_parts(config, plan.n, plan.k);
    return {
        reinterpret_cast<const std::uint32_t*>(at),
        reinterpret_cast<const float*>(at + parts.scales),
        config.codebook_math == CodebookMath::integers ? reinterpret_cast<const ByteBook*>(at + parts.books8) : nullptr,
        plan.n,
        k,
        config.book_rows,
        plan.k};
}

/// The linear layer whose matrix lies at `plan`, in the format `format`, which is that of `config`.
template <MatrixFormat format, Extent N, Extent K>
auto stored_linear(const std::byte* weights, const LinearPlan& plan, const StaticConfig& config, N n, K k,
                   const float* bias) {
    if constexpr (format == MatrixFormat::fp32)
        return StoredLinear<float, N, K>{fp32_panels(weights, plan, n, k), bias};
    else if constexpr (format == MatrixFormat::int8)
        return StoredInt8Linear<N>{int8_panels(weights, plan, config, k), bias, n};
    else
        return StoredCodebookLinear<N>{codebook_panels(weights, plan, config, k), bias, n};
}
/// The vectors of a vocabulary whose table lies at `plan`: anything with vector(token, numbers, out).
template <MatrixFormat format>
auto stored_table(const std::byte* weights, const LinearPlan& plan, const StaticConfig& config) {
    if constexpr (format == MatrixFormat::fp32)
        return EmbeddingTable<float>(fp32_panels(weights, plan, plan.n, plan.k));
    else if constexpr (format == MatrixFormat::int8)
        return int8_panels(weights, plan, config, plan.k);
    else
        return codebook_panels(weights, plan, config, plan.k);
}

/// Lays out a canonical architecture.
template <std::size_t E, std::size_t D>
constexpr ModelPlan plan_model(const Arch<E, D>& arch, const StaticConfig& config) {
    ModelPlan plan;
    const auto u = [](int v) { return static_cast<std::size_t>(v); };
    const auto take = [&](std::size_t bytes) {
        const std::size_t at = plan.bytes;
        plan.bytes += detail::whole_lines(bytes);
        return at;
    };
    const auto linear = [&](std::size_t n, std::size_t k) {
        const std::size_t weight = take(stored_bytes(config, n, k));
        return LinearPlan{n, k, weight, take(4 * n)};
    };
    const auto norm = [&](std::size_t n) {
        const std::size_t weight = take(4 * n);
        return NormPlan{weight, take(4 * n)};
    };
    const auto attention = [&](std::size_t width, std::size_t memory, std::size_t qkv) {
        AttentionPlan a;
        a.q = linear(qkv, width);
        a.k = linear(qkv, memory);
        a.v = linear(qkv, memory);
        a.out = linear(width, qkv);
        return a;
    };
    const auto table = [&](std::size_t n, std::size_t k) {
        return LinearPlan{n, k, take(stored_bytes(config, n, k)), 0};
    };
    const std::size_t e = u(arch.encoder.embed), d = u(arch.decoder.embed);
    const auto layer = [&](const auto& stack, std::size_t i, bool decoder) {
        const std::size_t width = u(stack.embed), ffn = u(stack.ffn[i]), qkv = u(stack.qkv[i]);
        LayerPlan l;
        l.self = attention(width, width, qkv);
        l.self_norm = norm(width);
        if (decoder) {
            l.cross = attention(width, e, qkv);
            l.cross_norm = norm(width);
        }
        l.fc1 = linear(ffn, width);
        l.fc2 = linear(width, ffn);
        l.final_norm = norm(width);
        return l;
    };
    for (std::size_t i = 0; i < u(arch.encoder.layers); ++i) plan.encoder[i] = layer(arch.encoder, i, false);
    for (std::size_t i = 0; i < u(arch.decoder.layers); ++i) plan.decoder[i] = layer(arch.decoder, i, true);
    if (config.encoder_pre_norm) plan.encoder_norm = norm(e);
    if (config.decoder_pre_norm && config.decoder_final_norm) plan.decoder_norm = norm(d);
    const bool all = config.sharing == EmbeddingSharing::all;
    plan.source = table(config.source_vocab, all ? std::max(e, d) : e);
    plan.target = all ? plan.source : table(config.target_vocab, d);
    plan.output = config.sharing == EmbeddingSharing::none ? table(config.target_vocab, d) : plan.target;
    return plan;
}

}  // namespace hat
