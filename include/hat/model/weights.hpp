#pragma once
/// \file
/// All parameters of a Transformer in one allocation, each a named matrix. Gradients and optimiser moments have the
/// same layout.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hat/core/arena.hpp>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/model/config.hpp>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace hat {

/// Where one parameter lies and what it is called in the reference.
struct TensorInfo {
    /// What it is; initialisation and quantization differ by it.
    enum class Kind { embedding, output_embedding, matrix, bias, norm_weight, norm_bias };
    std::string name;                ///< the reference's
    std::vector<std::size_t> shape;  ///< {rows} or {rows, columns}
    std::size_t offset = 0;          ///< of the first element in the arena, a multiple of 16
    std::size_t size = 0;            ///< elements
    Kind kind = Kind::matrix;        ///< what it is
    bool decoder = false;            ///< belongs to the decoder (or is the output matrix)
    int layer = -1;                  ///< layer index; -1: not part of a layer

    /// Rows; a vector's length.
    std::size_t rows() const { return shape[0]; }
    /// Columns; 1 for a vector.
    std::size_t cols() const { return shape.size() > 1 ? shape[1] : 1; }
};

/// The parameters of a configuration, in a fixed order, with the reference's names.
class WeightLayout {
public:
    /// The tensors of one attention, as indices of tensors(); -1 where there is none. Joint: q, k, v are row blocks of
    /// `in_weight` (3Q x embed). Otherwise three matrices. The bias is joint in both (q, k, v).
    struct Attention {
        bool joint = true;    ///< q, k and v are blocks of one matrix
        int in_weight = -1;   ///< joint: q, k, v
        int q_weight = -1;    ///< otherwise: queries
        int k_weight = -1;    ///< otherwise: keys
        int v_weight = -1;    ///< otherwise: values
        int in_bias = -1;     ///< q, k, v
        int out_weight = -1;  ///< output projection
        int out_bias = -1;    ///< of the output projection
    };
    /// Tensors of a layer norm.
    struct Norm {
        int weight = -1;  ///< gains
        int bias = -1;    ///< shifts
    };
    /// Tensors of one layer.
    struct Layer {
        Attention self;       ///< self-attention
        Attention cross;      ///< encoder-decoder attention; decoder only
        Norm self_norm;       ///< of the self-attention block
        Norm cross_norm;      ///< of the encoder-decoder attention block; decoder only
        Norm final_norm;      ///< of the feed-forward block
        int fc1_weight = -1;  ///< to the FFN width
        int fc1_bias = -1;    ///< to the FFN width
        int fc2_weight = -1;  ///< and back
        int fc2_bias = -1;    ///< and back
    };

    /// Throws invalid_value for a configuration that has no such model.
    explicit WeightLayout(const TransformerConfig& config) : config_(config) {
        check();
        const auto& shape = config.shape;
        const auto u = [](int v) { return static_cast<std::size_t>(v); };
        const std::size_t es = u(shape.encoder.embed), ds = u(shape.decoder.embed);
        encoder_embedding_ = add("encoder.embed_tokens.weight",
                                 {config.source_vocab, config.sharing == EmbeddingSharing::all ? std::max(es, ds) : es},
                                 TensorInfo::Kind::embedding);
        for (int i = 0; i < shape.encoder.layers; ++i) encoder_.push_back(layer(i, false, es, es));
        current_layer_ = -1;
        if (config.encoder_pre_norm) encoder_norm_ = norm("encoder.layer_norm", es);
        in_decoder_ = true;
        decoder_embedding_ =
            config.sharing == EmbeddingSharing::all
                ? encoder_embedding_
                : add("decoder.embed_tokens.weight", {config.target_vocab, ds}, TensorInfo::Kind::embedding);
        for (int i = 0; i < shape.decoder.layers; ++i) decoder_.push_back(layer(i, true, ds, es));
        current_layer_ = -1;
        if (config.decoder_pre_norm && config.decoder_final_norm) decoder_norm_ = norm("decoder.layer_norm", ds);
        output_embedding_ =
            config.sharing == EmbeddingSharing::none
                ? add("decoder.embed_out", {config.target_vocab, ds}, TensorInfo::Kind::output_embedding)
                : decoder_embedding_;
    }

    /// What the layout was made for.
    const TransformerConfig& config() const { return config_; }
    /// All parameters, in the order of their offsets.
    const std::vector<TensorInfo>& tensors() const { return tensors_; }
    /// Elements of the arena, gaps included.
    std::size_t size() const { return size_; }
    /// Tensors of the encoder layers.
    const std::vector<Layer>& encoder() const { return encoder_; }
    /// Tensors of the decoder layers.
    const std::vector<Layer>& decoder() const { return decoder_; }
    /// Tensor of the source tokens' rows.
    int encoder_embedding() const { return encoder_embedding_; }
    /// Tensor of the target tokens' rows; may be that of the source.
    int decoder_embedding() const { return decoder_embedding_; }
    /// Tensor of the output layer; may be that of the target.
    int output_embedding() const { return output_embedding_; }
    /// The norm after the encoder's stack; -1 without one.
    Norm encoder_norm() const { return encoder_norm_; }
    /// The norm after the decoder's stack; -1 without one.
    Norm decoder_norm() const { return decoder_norm_; }

    /// Index of the tensor with this name, or -1.
    int find(const std::string& name) const {
        for (std::size_t i = 0; i < tensors_.size(); ++i)
            if (tensors_[i].name == name) return static_cast<int>(i);
        return -1;
    }
    /// Which tensors a SubTransformer uses at all: those of its active layers and the shared ones. The others get no
    /// gradient and the optimiser leaves them alone (semantics, TRAP 4).
    std::vector<bool> active(const RuntimeArch& arch) const {
        std::vector<bool> used(tensors_.size());
        for (std::size_t i = 0; i < tensors_.size(); ++i)
            used[i] = tensors_[i].layer < (tensors_[i].decoder ? arch.decoder.layers : arch.encoder.layers);
        return used;
    }

private:
    using Kind = TensorInfo::Kind;

    void check() const {
        const auto& c = config_;
        const auto side = [](const auto& s, const char* name) {
            if (s.embed < 1 || s.layers < 1 || s.layers > static_cast<int>(s.max_layers))
                throw invalid_value(std::string("hat::WeightLayout: ") + name + " width " + std::to_string(s.embed) +
                                    " and depth " + std::to_string(s.layers) + " must be positive");
            for (std::size_t i = 0; i < static_cast<std::size_t>(s.layers); ++i)
                if (s.ffn[i] < 1 || s.qkv[i] < 1)
                    throw invalid_value(std::string("hat::WeightLayout: ") + name + " layer " + std::to_string(i) +
                                        ": FFN width " + std::to_string(s.ffn[i]) + " and qkv width " +
                                        std::to_string(s.qkv[i]) + " must be positive");
        };
        side(c.shape.encoder, "encoder");
        side(c.shape.decoder, "decoder");
        if (c.source_vocab <= 4 || c.target_vocab <= 4)
            throw invalid_value("hat::WeightLayout: vocabulary sizes " + std::to_string(c.source_vocab) + " and " +
                                std::to_string(c.target_vocab) + " must exceed the 4 special tokens");
        if (c.sharing == EmbeddingSharing::all && c.source_vocab != c.target_vocab)
            throw invalid_value("hat::WeightLayout: shared embeddings need equal vocabularies, got " +
                                std::to_string(c.source_vocab) + " and " + std::to_string(c.target_vocab));
        const auto super = [](int value, int embed, const char* name) {
            if (value < embed)
                throw invalid_value(std::string("hat::WeightLayout: ") + name + " width " + std::to_string(embed) +
                                    " exceeds that of its SuperTransformer, " + std::to_string(value));
        };
        super(c.super_encoder_embed(), c.shape.encoder.embed, "encoder");
        super(c.super_decoder_embed(), c.shape.decoder.embed, "decoder");
        if (c.attend_to_copies_of != 0 && c.attend_to_copies_of < c.shape.encoder.layers)
            throw invalid_value("hat::WeightLayout: attend_to_copies_of is " + std::to_string(c.attend_to_copies_of) +
                                ", expected 0 or at least the encoder's " + std::to_string(c.shape.encoder.layers) +
                                " layers");
    }
    int add(std::string name, std::vector<std::size_t> shape, Kind kind) {
        TensorInfo t{std::move(name), std::move(shape), size_, 0, kind, in_decoder_, current_layer_};
        t.size = t.rows() * t.cols();
        // a vocabulary has room for full panels of rows: inference packs it where it is
        const bool vocabulary = kind == Kind::embedding || kind == Kind::output_embedding;
        size_ += ((vocabulary ? (t.rows() + 31) / 32 * 32 * t.cols() : t.size) + 15) / 16 * 16;
        tensors_.push_back(std::move(t));
        return static_cast<int>(tensors_.size()) - 1;
    }
    Norm norm(const std::string& name, std::size_t width) {
        return {add(name + ".weight", {width}, Kind::norm_weight), add(name + ".bias", {width}, Kind::norm_bias)};
    }
    Attention attention(const std::string& name, std::size_t width, std::size_t memory, std::size_t qkv) {
        Attention a;
        a.joint = width == memory;
        if (a.joint) {
            a.in_weight = add(name + ".in_proj_weight", {3 * qkv, width}, Kind::matrix);
        } else {
            a.q_weight = add(name + ".q_proj_weight", {qkv, width}, Kind::matrix);
            a.k_weight = add(name + ".k_proj_weight", {qkv, memory}, Kind::matrix);
            a.v_weight = add(name + ".v_proj_weight", {qkv, memory}, Kind::matrix);
        }
        a.in_bias = add(name + ".in_proj_bias", {3 * qkv}, Kind::bias);
        a.out_weight = add(name + ".out_proj.weight", {width, qkv}, Kind::matrix);
        a.out_bias = add(name + ".out_proj.bias", {width}, Kind::bias);
        return a;
    }
    Layer layer(int i, bool decoder, std::size_t width, std::size_t memory) {
        current_layer_ = i;
        const auto& stack = decoder ? config_.shape.decoder : config_.shape.encoder;
        const auto at = static_cast<std::size_t>(i);
        const std::size_t qkv = static_cast<std::size_t>(stack.qkv[at]), ffn = static_cast<std::size_t>(stack.ffn[at]);
        const std::string name = std::string(decoder ? "decoder" : "encoder") + ".layers." + std::to_string(i);
        Layer l;
        l.self = attention(name + ".self_attn", width, width, qkv);
        l.self_norm = norm(name + ".self_attn_layer_norm", width);
        if (decoder) {
            l.cross = attention(name + ".encoder_attn", width, memory, qkv);
            l.cross_norm = norm(name + ".encoder_attn_layer_norm", width);
        }
        l.fc1_weight = add(name + ".fc1.weight", {ffn, width}, Kind::matrix);
        l.fc1_bias = add(name + ".fc1.bias", {ffn}, Kind::bias);
        l.fc2_weight = add(name + ".fc2.weight", {width, ffn}, Kind::matrix);
        l.fc2_bias = add(name + ".fc2.bias", {width}, Kind::bias);
        l.final_norm = norm(name + ".final_layer_norm", width);
        return l;
    }

    TransformerConfig config_;
    std::vector<TensorInfo> tensors_;
    std::size_t size_ = 0;
    std::vector<Layer> encoder_, decoder_;
    int encoder_embedding_ = -1, decoder_embedding_ = -1, output_embedding_ = -1;
    Norm encoder_norm_, decoder_norm_;
    bool in_decoder_ = false;
    int current_layer_ = -1;
};

/// One number per parameter: weights, gradients or moments.
template <class T>
class Weights {
public:
    /// All zero.
    explicit Weights(const TransformerConfig& config) : Weights(std::make_shared<const WeightLayout>(config)) {}
    /// All zero, with a layout that others share.
    explicit Weights(std::shared_ptr<const WeightLayout> layout) : layout_(std::move(layout)), data_(layout_->size()) {
        std::fill_n(data_.data(), data_.size(), T{});
    }
    /// Copies the numbers and shares the layout.
    Weights(const Weights& o) : layout_(o.layout_), data_(o.data_.size()) {
        std::copy_n(o.data_.data(), o.data_.size(), data_.data());
    }
    /// Copies the numbers and shares the layout.
    Weights& operator=(const Weights& o) {
        if (this != &o) *this = Weights(o);
        return *this;
    }
    /// Takes the numbers over; the other is only good for destruction and assignment.
    Weights(Weights&&) noexcept = default;
    /// Takes the numbers over; the other is only good for destruction and assignment.
    Weights& operator=(Weights&&) noexcept = default;

    /// Which parameter lies where.
    const WeightLayout& layout() const { return *layout_; }
    /// The layout, for more weights of the same kind.
    const std::shared_ptr<const WeightLayout>& shared_layout() const { return layout_; }
    /// What the model is.
    const TransformerConfig& config() const { return layout_->config(); }

    /// Every number, tensors one after the other (with a few zeros between them for alignment).
    std::span<T> values() { return {data_.data(), data_.size()}; }
    /// Every number, to read.
    std::span<const T> values() const { return {data_.data(), data_.size()}; }
    /// The numbers of one parameter.
    std::span<T> tensor(int index) {
        const auto& t = info(index);
        return {data_.data() + t.offset, t.size};
    }
    /// The numbers of one parameter, to read.
    std::span<const T> tensor(int index) const {
        const auto& t = info(index);
        return {data_.data() + t.offset, t.size};
    }
    /// A parameter as a matrix; vectors are one column.
    View<T> matrix(int index) {
        const auto& t = info(index);
        return {data_.data() + t.offset, t.rows(), t.cols()};
    }
    /// A parameter as a matrix, to read; vectors are one column.
    View<const T> matrix(int index) const {
        const auto& t = info(index);
        return {data_.data() + t.offset, t.rows(), t.cols()};
    }
    /// The name, shape and place of one parameter.
    const TensorInfo& info(int index) const { return layout_->tensors()[static_cast<std::size_t>(index)]; }

    /// The reference's initialisation (semantics, section 11): embeddings N(0, width^-1/2) with a zero pad row, other
    /// matrices Xavier-uniform on their whole shape, biases 0, layer norms 1 and 0. Each tensor has its own stream.
    void initialize(std::uint64_t seed) {
        const auto& tensors = layout_->tensors();
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            const auto& t = tensors[i];
            const auto values = tensor(static_cast<int>(i));
            Rng rng(derive_seed(seed, i));
            switch (t.kind) {
                case TensorInfo::Kind::embedding:
                case TensorInfo::Kind::output_embedding: {
                    const double deviation = 1.0 / std::sqrt(static_cast<double>(t.cols()));
                    for (T& v : values) v = static_cast<T>(rng.normal() * deviation);
                    if (t.kind == TensorInfo::Kind::embedding)
                        std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(t.cols()), t.cols(), T{});
                    break;
                }
                case TensorInfo::Kind::matrix: {
                    const double bound = std::sqrt(6.0 / static_cast<double>(t.rows() + t.cols()));
                    for (T& v : values) v = static_cast<T>((2 * rng.uniform() - 1) * bound);
                    break;
                }
                case TensorInfo::Kind::norm_weight:
                    std::fill(values.begin(), values.end(), T{1});
                    break;
                case TensorInfo::Kind::bias:
                case TensorInfo::Kind::norm_bias:
                    std::fill(values.begin(), values.end(), T{});
                    break;
            }
        }
    }

private:
    std::shared_ptr<const WeightLayout> layout_;
    AlignedBuffer<T> data_;
};

}  // namespace hat
