#pragma once
/// \file
/// The elastic path: any SubTransformer, chosen at run time, on the SuperTransformer's memory; forward and backward.

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/tensor.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/core/tokens.hpp>
#include <hat/kernel/embedding.hpp>
#include <hat/kernel/loss.hpp>
#include <hat/model/layers.hpp>
#include <hat/model/weights.hpp>
#include <string>
#include <vector>

namespace hat {

/// How a batch is scored while training. Dropout rates are those of the SuperTransformer: they are multiplied by
/// sampled width / super width, except that of the attention maps (semantics, section 6).
struct LossOptions {
    double label_smoothing = 0.1;   ///< share of the target's probability spread over the vocabulary
    double dropout = 0;             ///< of embeddings and of every block's output
    double attention_dropout = 0;   ///< of attention maps
    double activation_dropout = 0;  ///< inside feed-forward blocks
    std::uint64_t seed = 0;         ///< of this batch's dropout masks
    /// What operands of the products of linear layers and of the output layer are rounded to; all else is float. Others
    /// than fp32 need a model of floats.
    Precision precision = Precision::fp32;
};

/// Throws unless every rate is at least 0 and less than 1.
inline void validate(const LossOptions& options) {
    const auto check = [](double rate, const char* name) {
        if (!(rate >= 0 && rate < 1))
            throw invalid_value(std::string("hat::LossOptions: ") + name + " is " + std::to_string(rate) +
                                ", expected at least 0 and less than 1");
    };
    check(options.label_smoothing, "label_smoothing");
    check(options.dropout, "dropout");
    check(options.attention_dropout, "attention_dropout");
    check(options.activation_dropout, "activation_dropout");
}

/// What a decoder layer can attend to: for each span, encoder outputs concatenated along length, sentence by sentence.
template <class T>
struct EncoderMemory {
    /// The rows of a batch, sentence i from offsets[i] to offsets[i + 1].
    struct Span {
        View<const T> rows;                ///< tokens x width
        std::vector<std::size_t> offsets;  ///< one more than there are sentences
    };
    Span spans[3];  ///< spans[n - 1]: the last n encoder layers; rows.data is null where no layer asks for it
};

/// A forward pass of the encoder, with everything its backward pass needs.
template <class T>
struct EncoderPass {
    /// One layer's blocks.
    struct Layer {
        AttentionPass<T> self;   ///< self-attention
        FeedForwardPass<T> ffn;  ///< feed-forward block
    };
    /// One memory: an encoder layer's output, perhaps through the final norm.
    struct Source {
        std::size_t layer = 0;    ///< whose output
        bool normalized = false;  ///< went through the final norm
        NormOutput<T> rows;       ///< tokens x width
    };
    Dropout embedding_dropout;           ///< of the embeddings
    std::vector<Layer> layers;           ///< the active ones
    std::vector<NormOutput<T>> outputs;  ///< of each active layer, before any final norm
    std::vector<Source> sources;         ///< the last one first
    EncoderMemory<T> memory;             ///< what the decoder attends to
};

namespace detail {
/// Rates and masks of one side: `scaled` is calc_dropout of the reference.
struct DropoutPlan {
    LossOptions options;
    double ratio = 1;  // sampled / super width
    std::uint64_t side = 0;

    Dropout make(double rate, std::uint64_t layer, std::uint64_t site) const {
        return {rate, derive_seed(options.seed, (side << 16) + (layer << 8) + site)};
    }
    Dropout embedding() const { return make(options.dropout * ratio, 0, 0); }
    Dropout map(std::size_t layer, std::uint64_t site) const { return make(options.attention_dropout, layer, site); }
    Dropout residual(std::size_t layer, std::uint64_t site) const { return make(options.dropout * ratio, layer, site); }
    Dropout activation(std::size_t layer) const { return make(options.activation_dropout * ratio, layer, 9); }
};

inline void check_tokens(const Ragged& sentences, std::size_t vocabulary, const char* what) {
    for (std::size_t i = 0; i < sentences.size(); ++i)
        if (sentences.offsets[i] == sentences.offsets[i + 1])
            throw shape_mismatch(std::string("hat: ") + what + " sentence " + std::to_string(i) + " is empty");
    for (std::size_t t = 0; t < sentences.tokens.size(); ++t)
        if (sentences.tokens[t] < 0 || static_cast<std::size_t>(sentences.tokens[t]) >= vocabulary)
            throw invalid_value(std::string("hat: ") + what + " token " + std::to_string(sentences.tokens[t]) +
                                " is outside the vocabulary of " + std::to_string(vocabulary));
}
inline std::size_t longest(const Ragged& sentences) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < sentences.size(); ++i) n = std::max(n, sentences[i].size());
    return n;
}
}  // namespace detail

/// How many encoder layers the decoder attends to at most: its longest span.
template <class T>
std::size_t longest_span(const SubTransformerView<T>& sub) {
    std::size_t n = 1;
    for (std::size_t i = 0; i < sub.decoder_layers(); ++i) n = std::max(n, sub.span(i));
    return n;
}

/// The memory of each span that the decoder asks for, from the encoder layers' outputs (`sources`, the last one first).
/// Concatenated rows live in the arena.
template <class T>
EncoderMemory<T> encoder_memory(const LayerContext& c, const SubTransformerView<T>& sub, const Ragged& source,
                                const std::vector<NormOutput<T>>& sources) {
    EncoderMemory<T> memory;
    const std::size_t tokens = source.tokens.size(), width = sub.encoder_width();
    for (std::size_t decoder_layer = 0; decoder_layer < sub.decoder_layers(); ++decoder_layer) {
        const std::size_t n = sub.span(decoder_layer);
        auto& span = memory.spans[n - 1];
        if (span.rows.data) continue;
        for (std::size_t o : source.offsets) span.offsets.push_back(n * o);
        if (n == 1) {
            span.rows = sources[0].again(c);
            continue;
        }
        const View<T> rows = c.arena.matrix<T>(n * tokens, width);
        for (std::size_t j = 0; j < n; ++j) {
            const Arena::Scope temporaries(c.arena);
            const View<const T> from = sources[j].again(c);
            for (std::size_t i = 0; i < source.size(); ++i) {
                const std::size_t first = source.offsets[i], length = source.offsets[i + 1] - first;
                std::copy_n(from.row(first), length * width, rows.row(n * first + j * length));
            }
        }
        span.rows = rows;
    }
    return memory;
}

/// Runs the encoder. Activations live in the arena.
template <class T>
EncoderPass<T> run_encoder(const LayerContext& c, const SubTransformerView<T>& sub, SinusoidTable<T>& positions,
                           const Ragged& source, const LossOptions& options) {
    const auto& config = sub.config();
    detail::check_tokens(source, config.source_vocab, "source");
    positions.reserve(detail::longest(source));
    const detail::DropoutPlan plan{options, static_cast<double>(sub.encoder_width()) / config.super_encoder_embed(), 0};

    EncoderPass<T> pass;
    pass.embedding_dropout = plan.embedding();
    const View<T> embedded = c.arena.matrix<T>(source.tokens.size(), sub.encoder_width());
    embed<T>(c.pool, sub.encoder_embedding(), sub.encoder_scale(), positions, source, embedded);
    apply_dropout<T>(c.pool, embedded, pass.embedding_dropout);
    StackRows<T> x(c, embedded);
    for (std::size_t i = 0; i < sub.encoder_layers(); ++i) {
        const auto w = sub.encoder(i);
        typename EncoderPass<T>::Layer p;
        p.self.block = {
            .pre_norm = config.encoder_pre_norm, .norm = {.parameters = w.self_norm}, .dropout = plan.residual(i, 1)};
        p.self.map_dropout = plan.map(i, 2);
        p.self.shape = {source.offsets, source.offsets, w.heads, false};
        p.self.forward(c, w.self, x, nullptr);
        p.ffn.block = {
            .pre_norm = config.encoder_pre_norm, .norm = {.parameters = w.final_norm}, .dropout = plan.residual(i, 5)};
        p.ffn.activation_dropout = plan.activation(i);
        p.ffn.forward(c, w.ffn, x);
        pass.layers.push_back(p);
        pass.outputs.push_back(x.made);
    }

    std::vector<NormOutput<T>> sources;
    for (std::size_t j = 0; j < longest_span(sub); ++j) {
        typename EncoderPass<T>::Source s{sub.memory_layer(j), sub.memory_normalized(j), {}};
        s.rows = pass.outputs[s.layer];
        if (s.normalized) {  // pre-norm: the output is kept
            s.rows.parameters = sub.encoder_norm();
            s.rows.make(c, s.rows.input, x.room);
        }
        pass.sources.push_back(s);
        sources.push_back(s.rows);
    }
    pass.memory = encoder_memory(c, sub, source, sources);
    return pass;
}

/// Throws invalid_value, in the name of `who`, when a model of T cannot have products of this precision.
template <class T>
void require_precision(const char* who, Precision precision) {
    if (!std::same_as<T, float> && precision != Precision::fp32)
        throw invalid_value(std::string(who) + ": precision is " + std::string(name_of(precision)) +
                            ", which needs a model of floats");
}

/// Trains and scores SubTransformers on the weights they share. Keeps a reference to the weights and the memory for
/// activations; one object serves one thread at a time.
template <class T>
class ElasticTransformer {
public:
    /// `weights` must outlive it; `pool` runs the kernels.
    explicit ElasticTransformer(const Weights<T>& weights, ThreadPool pool = ThreadPool(1))
        : weights_(&weights),
          pool_(std::move(pool)),
          encoder_positions_(static_cast<std::size_t>(weights.config().super_encoder_embed())),
          decoder_positions_(static_cast<std::size_t>(weights.config().super_decoder_embed())) {}

    /// Loss without dropout.
    LossSums loss(const RuntimeArch& arch, const Batch& batch, double label_smoothing,
                  Precision precision = Precision::fp32) {
        return run(arch, batch, {.label_smoothing = label_smoothing, .precision = precision}, nullptr);
    }
    /// How many memories() a network's decoder attends to.
    std::size_t memory_count(const RuntimeArch& arch) const {
        return longest_span(SubTransformerView<T>(*weights_, arch));
    }
    /// What the decoder of a network attends to: the outputs of its last encoder layers (source tokens x width), the
    /// last one first, memory_count() of them. They are those of every network with the same encoder.
    std::vector<Matrix<T>> memories(const RuntimeArch& arch, const Batch& batch,
                                    Precision precision = Precision::fp32) {
        require_precision<T>("hat::ElasticTransformer", precision);
        arena_.reset();
        const auto pass = encode(SubTransformerView<T>(*weights_, arch), batch, {.precision = precision});
        std::vector<Matrix<T>> out;
        for (const auto& source : pass.sources) out.push_back(copy_of(source.rows));
        return out;
    }
    /// loss() from memories() of a network with the same encoder, on the same batch: at least memory_count() of them.
    /// The same number, without running the encoder. Throws shape_mismatch when they have other sizes.
    LossSums loss(const RuntimeArch& arch, const Batch& batch, double label_smoothing, Precision precision,
                  const std::vector<Matrix<T>>& memories) {
        arena_.reset();
        const SubTransformerView<T> sub(*weights_, arch);
        std::vector<NormOutput<T>> sources;
        for (const auto& m : memories) sources.push_back({.input = view(m)});
        bool fit = sources.size() >= longest_span(sub);
        for (const auto& s : sources)
            fit = fit && s.input.rows == batch.source.tokens.size() && s.input.cols == sub.encoder_width();
        if (!fit)
            throw shape_mismatch("hat::ElasticTransformer: the memories are not those of " +
                                 std::to_string(longest_span(sub)) + " encoder layers " +
                                 std::to_string(sub.encoder_width()) + " wide for a batch of " +
                                 std::to_string(batch.source.tokens.size()) + " source tokens");
        const LossOptions options{.label_smoothing = label_smoothing, .precision = precision};
        check(batch, options);
        return score(sub, batch,
                     decode(sub, batch, encoder_memory(context(precision), sub, batch.source, sources), options),
                     options);
    }
    /// Loss; the gradient of its sum is added to `gradient` (of the same layout). Throws not_finite when the loss is
    /// NaN or infinite; the gradient is useless then.
    LossSums loss_and_gradient(const RuntimeArch& arch, const Batch& batch, const LossOptions& options,
                               Weights<T>& gradient) {
        if (gradient.config() != weights_->config())
            throw shape_mismatch("hat::ElasticTransformer: the gradient has another layout than the weights");
        return run(arch, batch, options, &gradient);
    }
    /// Logits of every target position (tokens x target vocabulary), teacher-forced, with products in `precision`. For
    /// tests and tools. Throws invalid_value for a precision that needs floats.
    Matrix<T> logits(const RuntimeArch& arch, const Batch& batch, Precision precision = Precision::fp32) {
        require_precision<T>("hat::ElasticTransformer", precision);
        arena_.reset();
        const SubTransformerView<T> sub(*weights_, arch);
        const auto encoder = encode(sub, batch, {.precision = precision});
        const auto decoder = decode(sub, batch, encoder.memory, {.precision = precision});
        auto out = make_matrix<T>(batch.previous.tokens.size(), weights_->config().target_vocab);
        linear<T>(pool_, decoder.output, Linear<T>{sub.output_matrix(), nullptr}, view(out), {}, precision);
        return out;
    }
    /// The output of every active encoder layer (source tokens x width), then the encoder's output after a final norm,
    /// if there is one.
    std::vector<Matrix<T>> encoder_outputs(const RuntimeArch& arch, const Batch& batch) {
        arena_.reset();
        const SubTransformerView<T> sub(*weights_, arch);
        const auto pass = encode(sub, batch, {});
        std::vector<Matrix<T>> out;
        for (const auto& v : pass.outputs) out.push_back(copy_of(v));
        out.push_back(copy_of(pass.sources[0].rows));
        return out;
    }
    /// The shared weights.
    const Weights<T>& weights() const { return *weights_; }
    /// What runs the kernels.
    const ThreadPool& pool() const { return pool_; }
    /// Bytes of activations of the largest batch so far.
    std::size_t peak_bytes() const { return arena_.peak_bytes(); }

private:
    struct DecoderPass {
        /// One layer's blocks.
        struct Layer {
            AttentionPass<T> self;   ///< self-attention
            AttentionPass<T> cross;  ///< encoder-decoder attention
            FeedForwardPass<T> ffn;  ///< feed-forward block
        };
        Dropout embedding_dropout;
        std::vector<Layer> layers;
        NormOutput<T> norm;  // after the stack, if there is one
        View<T> output;      // nothing else needs these rows afterwards
    };

    LayerContext context(Precision precision) { return {pool_, arena_, precision}; }

    Matrix<T> copy_of(const NormOutput<T>& rows) {
        const Arena::Scope temporaries(arena_);
        const View<const T> v = rows.again(context(Precision::fp32));
        auto m = make_matrix<T>(v.rows, v.cols);
        std::copy_n(v.data, v.rows * v.cols, m.data());
        return m;
    }

    EncoderPass<T> encode(const SubTransformerView<T>& sub, const Batch& batch, const LossOptions& options) {
        return run_encoder<T>(context(options.precision), sub, encoder_positions_, batch.source, options);
    }

    DecoderPass decode(const SubTransformerView<T>& sub, const Batch& batch, const EncoderMemory<T>& all,
                       const LossOptions& options) {
        const LayerContext c = context(options.precision);
        const auto& config = sub.config();
        const Ragged& previous = batch.previous;
        if (previous.size() != batch.source.size())
            throw shape_mismatch("hat: a batch has " + std::to_string(batch.source.size()) + " source and " +
                                 std::to_string(previous.size()) + " target sentences");
        detail::check_tokens(previous, config.target_vocab, "target");
        decoder_positions_.reserve(detail::longest(previous));
        const detail::DropoutPlan plan{options, static_cast<double>(sub.decoder_width()) / config.super_decoder_embed(),
                                       1};

        DecoderPass pass;
        pass.embedding_dropout = plan.embedding();
        const View<T> embedded = arena_.matrix<T>(previous.tokens.size(), sub.decoder_width());
        embed<T>(pool_, sub.decoder_embedding(), sub.decoder_scale(), decoder_positions_, previous, embedded);
        apply_dropout<T>(pool_, embedded, pass.embedding_dropout);
        StackRows<T> y(c, embedded);
        for (std::size_t i = 0; i < sub.decoder_layers(); ++i) {
            const auto w = sub.decoder(i);
            const auto& memory = all.spans[sub.span(i) - 1];
            typename DecoderPass::Layer p;
            const bool pre = config.decoder_pre_norm;
            p.self.block = {.pre_norm = pre, .norm = {.parameters = w.self_norm}, .dropout = plan.residual(i, 1)};
            p.self.map_dropout = plan.map(i, 2);
            p.self.shape = {previous.offsets, previous.offsets, w.self_heads, true};
            p.self.forward(c, w.self, y, nullptr);
            p.cross.block = {.pre_norm = pre, .norm = {.parameters = w.cross_norm}, .dropout = plan.residual(i, 3)};
            p.cross.map_dropout = plan.map(i, 4);
            p.cross.shape = {previous.offsets, memory.offsets, w.cross_heads, false};
            p.cross.forward(c, w.cross, y, &memory.rows);
            p.ffn.block = {.pre_norm = pre, .norm = {.parameters = w.final_norm}, .dropout = plan.residual(i, 5)};
            p.ffn.activation_dropout = plan.activation(i);
            p.ffn.forward(c, w.ffn, y);
            pass.layers.push_back(p);
        }
        pass.output = y.rows;
        if (sub.has_decoder_norm()) {
            pass.norm.parameters = sub.decoder_norm();
            pass.norm.make(c, y.rows, y.room);
            pass.output = y.room;
        }
        return pass;
    }

    void check(const Batch& batch, const LossOptions& options) const {
        validate(options);
        require_precision<T>("hat::ElasticTransformer", options.precision);
        detail::check_tokens(batch.target, weights_->config().target_vocab, "target");
        if (batch.target.offsets != batch.previous.offsets)
            throw shape_mismatch("hat: a batch's targets and decoder inputs differ in length");
    }

    LossSums score(const SubTransformerView<T>& sub, const Batch& batch, const DecoderPass& decoder,
                   const LossOptions& options) {
        return output_loss<T>(pool_, decoder.output, sub.output_matrix(), batch.target.tokens, options.label_smoothing,
                              arena_, nullptr, nullptr, options.precision);
    }

    LossSums run(const RuntimeArch& arch, const Batch& batch, const LossOptions& options, Weights<T>* gradient) {
        check(batch, options);
        arena_.reset();
        const SubTransformerView<T> sub(*weights_, arch);
        const auto encoder = encode(sub, batch, options);
        if (!gradient) return score(sub, batch, decode(sub, batch, encoder.memory, options), options);
        const GradientMap<T> grad(*weights_, *gradient);
        std::array<View<T>, 3> dspan{};
        for (std::size_t n = 0; n < dspan.size(); ++n)
            if (const auto& rows = encoder.memory.spans[n].rows; rows.data) dspan[n] = zeros(rows.rows, rows.cols);
        LossSums sums;
        {
            const Arena::Scope activations(arena_);
            const auto decoder = decode(sub, batch, encoder.memory, options);
            View<T> dy = decoder.output;  // in its place
            View<T> dmatrix = grad(sub.output_matrix());
            sums = output_loss<T>(pool_, decoder.output, sub.output_matrix(), batch.target.tokens,
                                  options.label_smoothing, arena_, &dy, &dmatrix, options.precision);
            if (!std::isfinite(sums.loss))
                throw not_finite(std::string("hat::ElasticTransformer: the loss is ") +
                                 (std::isnan(sums.loss) ? "NaN" : "infinite") + " over " + std::to_string(sums.tokens) +
                                 " tokens");
            backward_decoder(sub, batch, decoder, dy, dspan, grad, options.precision);
        }
        backward_encoder(sub, batch, encoder, dspan, grad, options.precision);
        return sums;
    }

    View<T> zeros(std::size_t rows, std::size_t cols) {
        const View<T> m = arena_.matrix<T>(rows, cols);
        std::fill_n(m.data, rows * cols, T(0));
        return m;
    }
    void add(View<const T> from, View<T> to) { add_residual<T>(pool_, from, to, {}, to); }

    /// Overwrites dy, the gradient of the output; adds that of each span's memory to `dspan`.
    void backward_decoder(const SubTransformerView<T>& sub, const Batch& batch, const DecoderPass& decoder, View<T> dy,
                          const std::array<View<T>, 3>& dspan, const GradientMap<T>& grad, Precision precision) {
        const LayerContext c = context(precision);
        if (sub.has_decoder_norm()) decoder.norm.backward(c, dy, dy, false, grad);
        for (std::size_t i = sub.decoder_layers(); i-- > 0;) {
            const auto w = sub.decoder(i);
            const auto& p = decoder.layers[i];
            p.ffn.backward(c, w.ffn, dy, grad);
            p.cross.backward(c, w.cross, dy, &dspan[sub.span(i) - 1], grad);
            p.self.backward(c, w.self, dy, nullptr, grad);
        }
        apply_dropout<T>(pool_, dy, decoder.embedding_dropout);
        embed_backward<T>(pool_, batch.previous.tokens, sub.decoder_scale(), dy, grad(sub.decoder_embedding()));
    }

    void backward_encoder(const SubTransformerView<T>& sub, const Batch& batch, const EncoderPass<T>& encoder,
                          const std::array<View<T>, 3>& dspan, const GradientMap<T>& grad, Precision precision) {
        const LayerContext c = context(precision);
        // memories of each span -> sources -> outputs of encoder layers
        const Ragged& source = batch.source;
        const std::size_t rows = source.tokens.size(), width = sub.encoder_width();
        std::vector<View<T>> doutput(sub.encoder_layers());
        for (std::size_t j = 0; j < encoder.sources.size(); ++j) {
            const auto& s = encoder.sources[j];
            const View<T> ds = zeros(rows, width);
            for (std::size_t n = j + 1; n <= 3; ++n) {
                if (!dspan[n - 1].data) continue;
                for (std::size_t i = 0; i < source.size(); ++i) {
                    const std::size_t first = source.offsets[i], length = source.offsets[i + 1] - first;
                    for (std::size_t t = 0; t < length; ++t) {
                        const T* from = dspan[n - 1].row(n * first + j * length + t);
                        T* to = ds.row(first + t);
                        for (std::size_t k = 0; k < width; ++k) to[k] += from[k];
                    }
                }
            }
            View<T>& out = doutput[s.layer];
            const bool first_use = out.data == nullptr;
            if (s.normalized) {
                if (first_use) out = arena_.matrix<T>(rows, width);
                s.rows.backward(c, ds, out, !first_use, grad);
            } else if (first_use) {
                out = ds;
            } else {
                add(ds, out);
            }
        }
        View<T> dx;
        for (std::size_t i = sub.encoder_layers(); i-- > 0;) {
            if (doutput[i].data) {
                if (dx.data) add(dx, doutput[i]);
                dx = doutput[i];
            }
            const auto w = sub.encoder(i);
            const auto& p = encoder.layers[i];
            p.ffn.backward(c, w.ffn, dx, grad);
            p.self.backward(c, w.self, dx, nullptr, grad);
        }
        apply_dropout<T>(pool_, dx, encoder.embedding_dropout);
        embed_backward<T>(pool_, source.tokens, sub.encoder_scale(), dx, grad(sub.encoder_embedding()));
    }

    const Weights<T>* weights_;
    ThreadPool pool_;
    Arena arena_;
    SinusoidTable<T> encoder_positions_, decoder_positions_;
};

}  // namespace hat
