#pragma once
/// \file
/// Writes a network's weights as deployed models read them (model/stored.hpp).

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <hat/core/arena.hpp>
#include <hat/core/error.hpp>
#include <hat/model/layers.hpp>
#include <hat/model/stored.hpp>
#include <hat/model/weights.hpp>
#include <hat/quant/kmeans.hpp>
#include <span>
#include <string>
#include <vector>

namespace hat {

/// What a deployed network is besides its architecture, from the configuration of its weights. Throws invalid_value for
/// the options that exist only for parity with the reference.
inline StaticConfig static_config(const TransformerConfig& c) {
    if (c.attend_to_copies_of || c.unnormalized_memory)
        throw invalid_value(
            "hat::static_config: attend_to_copies_of and unnormalized_memory exist for parity with the reference and "
            "cannot be deployed");
    return {.source_vocab = c.source_vocab,
            .target_vocab = c.target_vocab,
            .sharing = c.sharing,
            .encoder_pre_norm = c.encoder_pre_norm,
            .decoder_pre_norm = c.decoder_pre_norm,
            .decoder_final_norm = c.decoder_final_norm,
            .encoder_super_embed = c.super_encoder_embed(),
            .decoder_super_embed = c.super_decoder_embed(),
            .vocab_original_scaling = c.vocab_original_scaling};
}

namespace detail {
/// Writes an N x K matrix in the format of `config`. 4-bit codebooks are found by k-means, one for every
/// config.book_rows rows.
inline void store_matrix(const StaticConfig& config, View<const float> w, std::byte* to) {
    const MatrixParts parts = matrix_parts(config, w.rows, w.cols);
    auto* const scales = reinterpret_cast<float*>(to + parts.scales);
    switch (config.format) {
        case MatrixFormat::fp32: {
            auto* const numbers = reinterpret_cast<float*>(to);
            for (std::size_t n = 0; n < w.rows; ++n)
                for (std::size_t k = 0; k < w.cols; ++k)
                    numbers[(n / stored_columns * w.cols + k) * stored_columns + n % stored_columns] = w(n, k);
            break;
        }
        case MatrixFormat::int8:
            quantize_weights(Serial{}, w, reinterpret_cast<std::uint8_t*>(to), scales);
            break;
        case MatrixFormat::codebook4: {
            const std::size_t rows = config.book_rows ? config.book_rows : w.rows;
            std::vector<std::uint8_t> codes(w.rows * w.cols);
            std::vector<float> part;
            for (std::size_t first = 0, book = 0; first < w.rows; first += rows, ++book) {
                part.clear();
                for (std::size_t n = first; n < std::min(w.rows, first + rows); ++n)
                    for (std::size_t k = 0; k < w.cols; ++k) part.push_back(w(n, k));
                const std::span<const float> numbers_of_book(part.data(), part.size());
                const auto centroids = kmeans(numbers_of_book, 16);
                nearest_centroids(centroids, numbers_of_book, codes.data() + first * w.cols);
                float* const numbers = scales + 16 * book;
                std::fill(std::copy(centroids.begin(), centroids.end(), numbers), numbers + 16, 0.0F);
                const ByteBook bytes = byte_book(numbers);
                std::memcpy(to + parts.books8 + sizeof(ByteBook) * book, &bytes, sizeof(ByteBook));
            }
            pack_codes(Serial{}, w.rows, w.cols, reinterpret_cast<std::uint32_t*>(to),
                       [&](std::size_t n, std::size_t k) { return codes[n * w.cols + k]; });
            break;
        }
    }
}
}  // namespace detail

/// How store_weights() writes matrices.
struct StoreOptions {
    MatrixFormat format = MatrixFormat::fp32;  ///< of every matrix
    std::size_t book_rows = 0;  ///< codebook4: rows that share a codebook, a multiple of 32; 0: the whole matrix
};

/// The weights of a SubTransformer, laid out by plan_model(canonical(arch), config) with the config of the weights
/// (static_config()) and these formats. Throws shape_mismatch unless `arch` is a leading block of the weights, and
/// invalid_value for book_rows that is no multiple of 32.
inline AlignedBuffer<std::byte> store_weights(const Weights<float>& weights, const RuntimeArch& arch,
                                              const StoreOptions& how = {}) {
    if (how.book_rows % CodebookPanels::columns != 0)
        throw invalid_value("hat::store_weights: book_rows is " + std::to_string(how.book_rows) +
                            ", expected a multiple of " + std::to_string(CodebookPanels::columns));
    const SubTransformerView<float> sub(weights, canonical(arch));
    StaticConfig config = static_config(weights.config());
    config.format = how.format, config.book_rows = how.book_rows;
    const ModelPlan plan = plan_model(sub.arch(), config);
    AlignedBuffer<std::byte> out(plan.bytes);
    std::memset(out.data(), 0, plan.bytes);
    const auto numbers = [&](std::size_t offset) { return reinterpret_cast<float*>(out.data() + offset); };
    const auto matrix = [&](const LinearPlan& p, View<const float> w) {
        if (w.rows != p.n || w.cols != p.k)
            throw shape_mismatch("hat::store_weights: a matrix of " + std::to_string(w.rows) + " x " +
                                 std::to_string(w.cols) + " where the plan has " + std::to_string(p.n) + " x " +
                                 std::to_string(p.k));
        detail::store_matrix(config, w, out.data() + p.weight);
    };
    const auto linear = [&](const LinearPlan& p, const Linear<float>& l) {
        matrix(p, l.weight);
        std::copy_n(l.bias, p.n, numbers(p.bias));
    };
    const auto norm = [&](const NormPlan& p, const Norm<float>& n, std::size_t width) {
        std::copy_n(n.weight, width, numbers(p.weight));
        std::copy_n(n.bias, width, numbers(p.bias));
    };
    const auto attention = [&](const AttentionPlan& p, const AttentionWeights<Linear<float>>& a) {
        linear(p.q, a.q), linear(p.k, a.k), linear(p.v, a.v), linear(p.out, a.out);
    };
    for (std::size_t i = 0; i < sub.encoder_layers(); ++i) {
        const auto l = sub.encoder(i);
        const LayerPlan& p = plan.encoder[i];
        attention(p.self, l.self);
        norm(p.self_norm, l.self_norm, sub.encoder_width());
        linear(p.fc1, l.ffn.fc1), linear(p.fc2, l.ffn.fc2);
        norm(p.final_norm, l.final_norm, sub.encoder_width());
    }
    for (std::size_t i = 0; i < sub.decoder_layers(); ++i) {
        const auto l = sub.decoder(i);
        const LayerPlan& p = plan.decoder[i];
        attention(p.self, l.self), attention(p.cross, l.cross);
        norm(p.self_norm, l.self_norm, sub.decoder_width());
        norm(p.cross_norm, l.cross_norm, sub.decoder_width());
        linear(p.fc1, l.ffn.fc1), linear(p.fc2, l.ffn.fc2);
        norm(p.final_norm, l.final_norm, sub.decoder_width());
    }
    if (sub.config().encoder_pre_norm) norm(plan.encoder_norm, sub.encoder_norm(), sub.encoder_width());
    if (sub.has_decoder_norm()) norm(plan.decoder_norm, sub.decoder_norm(), sub.decoder_width());
    const auto& layout = weights.layout();
    const auto table = [&](const LinearPlan& p, int index) {
        const auto m = weights.matrix(index);
        matrix(p, m.prefix(m.rows, p.k));
    };
    table(plan.source, layout.encoder_embedding());
    if (plan.target.weight != plan.source.weight) table(plan.target, layout.decoder_embedding());
    if (plan.output.weight != plan.target.weight) table(plan.output, layout.output_embedding());
    return out;
}

}  // namespace hat
