#pragma once
/// \file
/// The layers of a Transformer as training runs them, forward and backward, on leading blocks of the SuperTransformer's
/// weights. What inference runs is in model/inference_layers.hpp: the same kernels, nothing kept.

#include <cmath>
#include <cstddef>
#include <hat/core/arena.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/attention.hpp>
#include <hat/kernel/dropout.hpp>
#include <hat/kernel/layer_norm.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/model/inference_layers.hpp>
#include <hat/model/weights.hpp>

namespace hat {

/// A SubTransformer's view of the weights: leading rows and columns of every matrix (semantics, section 1).
template <class T>
class SubTransformerView {
public:
    /// Throws shape_mismatch unless arch is a leading block of the weights.
    SubTransformerView(const Weights<T>& weights, const RuntimeArch& arch) : weights_(&weights), arch_(arch) {
        require_fits(arch, weights.config().shape);
    }

    /// The SubTransformer.
    const RuntimeArch& arch() const { return arch_; }
    /// The weights it is a part of.
    const Weights<T>& weights() const { return *weights_; }
    /// The configuration of those weights.
    const TransformerConfig& config() const { return weights_->config(); }
    /// Embedding width of the encoder.
    std::size_t encoder_width() const { return static_cast<std::size_t>(arch_.encoder.embed); }
    /// Embedding width of the decoder.
    std::size_t decoder_width() const { return static_cast<std::size_t>(arch_.decoder.embed); }
    /// Active encoder layers.
    std::size_t encoder_layers() const { return static_cast<std::size_t>(arch_.encoder.layers); }
    /// Active decoder layers.
    std::size_t decoder_layers() const { return static_cast<std::size_t>(arch_.decoder.layers); }

    /// Encoder layer i.
    EncoderLayer<T, Linear<T>> encoder(std::size_t i) const {
        const auto& l = weights_->layout().encoder()[i];
        const auto& s = arch_.encoder;
        const std::size_t e = encoder_width(), q = size(s.qkv[i]);
        return {attention(l.self, e, e, q), norm(l.self_norm), feed_forward(l, e, size(s.ffn[i])), norm(l.final_norm),
                size(s.self_heads[i])};
    }
    /// Decoder layer i.
    DecoderLayer<T, Linear<T>> decoder(std::size_t i) const {
        const auto& l = weights_->layout().decoder()[i];
        const auto& s = arch_.decoder;
        const std::size_t d = decoder_width(), e = encoder_width(), q = size(s.qkv[i]);
        return {attention(l.self, d, d, q),
                attention(l.cross, d, e, q),
                norm(l.self_norm),
                norm(l.cross_norm),
                feed_forward(l, d, size(s.ffn[i])),
                norm(l.final_norm),
                size(s.self_heads[i]),
                size(s.cross_heads[i]),
                size(s.cross_span[i])};
    }
    /// The norms after the stacks (pre-norm only).
    Norm<T> encoder_norm() const { return norm(weights_->layout().encoder_norm()); }
    /// The norm after the decoder's stack, if has_decoder_norm().
    Norm<T> decoder_norm() const { return norm(weights_->layout().decoder_norm()); }
    /// Whether a norm follows the decoder's stack.
    bool has_decoder_norm() const { return config().decoder_pre_norm && config().decoder_final_norm; }

    /// Rows of source tokens, encoder_width() wide.
    View<const T> encoder_embedding() const { return columns(weights_->layout().encoder_embedding(), encoder_width()); }
    /// Rows of target tokens, decoder_width() wide.
    View<const T> decoder_embedding() const { return columns(weights_->layout().decoder_embedding(), decoder_width()); }
    /// The output layer: one row per target token, decoder_width() wide.
    View<const T> output_matrix() const { return columns(weights_->layout().output_embedding(), decoder_width()); }
    /// sqrt of the sampled width, or of the super width with vocab_original_scaling (semantics, section 3).
    T encoder_scale() const {
        return static_cast<T>(
            std::sqrt(config().vocab_original_scaling ? config().super_encoder_embed() : arch_.encoder.embed));
    }
    /// As encoder_scale(), of the decoder.
    T decoder_scale() const {
        return static_cast<T>(
            std::sqrt(config().vocab_original_scaling ? config().super_decoder_embed() : arch_.decoder.embed));
    }

    /// How many encoder layers decoder layer i attends to: its span, clamped to the active depth.
    std::size_t span(std::size_t i) const {
        const std::size_t wanted = size(arch_.decoder.cross_span[i]);
        return config().attend_to_copies_of ? wanted : std::min(wanted, encoder_layers());
    }
    /// The encoder layer (from 0) that is the j-th memory a decoder layer sees, the last one first.
    std::size_t memory_layer(std::size_t j) const {
        const std::size_t depth = encoder_layers();
        if (!config().attend_to_copies_of) return depth - 1 - j;
        const std::size_t all = size(config().attend_to_copies_of);
        if (j >= all)
            throw invalid_value("hat: attention span " + std::to_string(j + 1) +
                                " needs that many encoder layers, the SuperTransformer has " + std::to_string(all));
        return j == 0 ? depth - 1 : std::min(all - 1 - j, depth - 1);
    }
    /// Whether that memory is seen through the final norm of a pre-norm encoder.
    bool memory_normalized(std::size_t j) const {
        return config().encoder_pre_norm && (j == 0 || !config().unnormalized_memory);
    }

private:
    static std::size_t size(int v) { return static_cast<std::size_t>(v); }

    View<const T> columns(int index, std::size_t n) const {
        const auto m = weights_->matrix(index);
        return m.prefix(m.rows, n);
    }
    /// `rows` rows from `first`, the leading columns.
    View<const T> block(int index, std::size_t first, std::size_t rows, std::size_t cols) const {
        const auto m = weights_->matrix(index);
        return {m.row(first), rows, cols, m.stride};
    }
    const T* vector(int index) const { return weights_->tensor(index).data(); }
    Norm<T> norm(const WeightLayout::Norm& n) const {
        return n.weight < 0 ? Norm<T>{} : Norm<T>{vector(n.weight), vector(n.bias)};
    }
    /// q, k, v: the leading `qkv` rows of each block, `width` columns for the queries and `memory` for keys and values.
    AttentionWeights<Linear<T>> attention(const WeightLayout::Attention& a, std::size_t width, std::size_t memory,
                                          std::size_t qkv) const {
        const std::size_t whole = weights_->info(a.in_bias).size / 3;
        const T* bias = vector(a.in_bias);
        AttentionWeights<Linear<T>> w;
        w.q = {a.joint ? block(a.in_weight, 0, qkv, width) : block(a.q_weight, 0, qkv, width), bias};
        w.k = {a.joint ? block(a.in_weight, whole, qkv, memory) : block(a.k_weight, 0, qkv, memory), bias + whole};
        w.v = {a.joint ? block(a.in_weight, 2 * whole, qkv, memory) : block(a.v_weight, 0, qkv, memory),
               bias + 2 * whole};
        w.out = {block(a.out_weight, 0, width, qkv), vector(a.out_bias)};
        return w;
    }
    FeedForwardWeights<Linear<T>> feed_forward(const WeightLayout::Layer& l, std::size_t width, std::size_t ffn) const {
        return {{block(l.fc1_weight, 0, ffn, width), vector(l.fc1_bias)},
                {block(l.fc2_weight, 0, width, ffn), vector(l.fc2_bias)}};
    }

    const Weights<T>* weights_;
    RuntimeArch arch_;
};

/// What every layer needs: who works, where activations live, and what operands of linear layers are rounded to.
struct LayerContext {
    const ThreadPool& pool;                 ///< who works
    Arena& arena;                           ///< where activations live
    Precision precision = Precision::fp32;  ///< of linear layers' products, forward and backward
};

/// Finds the gradient of a parameter: the same place in an arena of the same layout.
template <class T>
class GradientMap {
public:
    /// From parameters in `weights` to `gradient`, which has the same layout.
    GradientMap(const Weights<T>& weights, Weights<T>& gradient)
        : weights_(weights.values().data()), gradient_(gradient.values().data()) {}
    /// The gradient of the parameter at this address.
    T* operator()(const T* parameter) const { return gradient_ + (parameter - weights_); }
    /// The gradient of a matrix of parameters.
    View<T> operator()(View<const T> m) const { return {(*this)(m.data), m.rows, m.cols, m.stride}; }
    /// dw += dy^T x, dbias += column sums of dy.
    void add(const LayerContext& c, const Linear<T>& layer, View<const T> dy, View<const T> x) const {
        linear_backward_weight<T>(c.pool, dy, x, (*this)(layer.weight), (*this)(layer.bias), c.precision);
    }

private:
    const T* weights_;
    T* gradient_;
};

/// A residual block around a branch. Post-norm: y = LN(x + drop(branch(x))). Pre-norm: y = x + drop(branch(LN(x))).
template <class T>
struct ResidualBlock {
    bool pre_norm = false;       ///< norm before the branch instead of after the sum
    Norm<T> norm;                ///< the block's layer norm
    Dropout dropout;             ///< of the branch's output
    View<const T> norm_input{};  ///< kept for the backward pass, with its row statistics
    T* mean = nullptr;           ///< of each row of norm_input
    T* rstd = nullptr;           ///< reciprocal deviation of each row

    /// The branch's input.
    View<const T> begin(const LayerContext& c, View<const T> x) {
        mean = c.arena.take<T>(x.rows);
        rstd = c.arena.take<T>(x.rows);
        if (!pre_norm) return x;
        norm_input = x;
        const View<T> y = c.arena.matrix<T>(x.rows, x.cols);
        layer_norm<T>(c.pool, x, norm, y, mean, rstd);
        return y;
    }
    /// The block's output; `branch` is overwritten.
    View<T> end(const LayerContext& c, View<const T> x, View<T> branch) {
        add_residual<T>(c.pool, x, branch, dropout, branch);
        if (pre_norm) return branch;
        norm_input = branch;
        const View<T> y = c.arena.matrix<T>(x.rows, x.cols);
        layer_norm<T>(c.pool, branch, norm, y, mean, rstd);
        return y;
    }
    /// From dy, in its place: the gradient of the sum (also that of x through the residual).
    void backward_end(const LayerContext& c, View<T> dy, const GradientMap<T>& grad) const {
        if (!pre_norm)
            layer_norm_backward<T>(c.pool, norm_input, mean, rstd, norm.weight, dy, dy, false, grad(norm.weight),
                                   grad(norm.bias));
    }
    /// The gradient of the branch's output: that of the sum through the dropout.
    View<const T> branch_gradient(const LayerContext& c, View<T> ds) const {
        if (!dropout.active()) return ds;
        const View<T> d = c.arena.matrix<T>(ds.rows, ds.cols);
        parallel_rows(c.pool, ds.rows, ds.cols, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) std::copy_n(ds.row(r), ds.cols, d.row(r));
        });
        apply_dropout<T>(c.pool, d, dropout);
        return d;
    }
    /// Where the branch's input gradient is collected, before backward_begin(). Post-norm adds to ds itself.
    View<T> input_gradient(const LayerContext& c, View<T> ds, bool& accumulate) const {
        accumulate = !pre_norm;
        return pre_norm ? c.arena.matrix<T>(ds.rows, ds.cols) : ds;
    }
    /// dx from the branch's input gradient, in the place of ds.
    void backward_begin(const LayerContext& c, View<T> ds, View<const T> din, const GradientMap<T>& grad) const {
        if (pre_norm)
            layer_norm_backward<T>(c.pool, norm_input, mean, rstd, norm.weight, din, ds, true, grad(norm.weight),
                                   grad(norm.bias));
    }
};

/// A feed-forward block: fc2(drop(relu(fc1(x)))) inside a residual block. Keeps what its backward pass needs.
template <class T>
struct FeedForwardPass {
    ResidualBlock<T> block;      ///< around it
    Dropout activation_dropout;  ///< of the hidden neurons
    View<const T> in;            ///< the branch's input
    View<T> hidden;              ///< relu(fc1(in)), dropped

    /// The block's output, in the context's arena; x must stay alive until backward().
    View<T> forward(const LayerContext& c, const FeedForwardWeights<Linear<T>>& w, View<const T> x) {
        in = block.begin(c, x);
        hidden = c.arena.matrix<T>(x.rows, w.fc1.outputs());
        linear<T>(c.pool, in, w.fc1, hidden, {.relu = true}, c.precision);
        apply_dropout<T>(c.pool, hidden, activation_dropout);
        const View<T> out = c.arena.matrix<T>(x.rows, x.cols);
        linear<T>(c.pool, hidden, w.fc2, out, {}, c.precision);
        return block.end(c, x, out);
    }
    /// Turns the gradient of the output into that of x, in its place; adds those of the parameters to `grad`.
    void backward(const LayerContext& c, const FeedForwardWeights<Linear<T>>& w, View<T> ds,
                  const GradientMap<T>& grad) const {
        const Arena::Scope temporaries(c.arena);
        block.backward_end(c, ds, grad);
        const View<const T> db = block.branch_gradient(c, ds);
        grad.add(c, w.fc2, db, hidden);
        const View<T> dh = c.arena.matrix<T>(hidden.rows, hidden.cols);
        linear_backward_input<T>(c.pool, db, w.fc2.weight, dh, false, c.precision);
        // a hidden number is positive where relu and dropout let it through
        const T scale = activation_dropout.active() ? static_cast<T>(1.0 / (1.0 - activation_dropout.rate)) : T(1);
        parallel_rows(c.pool, dh.rows, dh.cols, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                T* d = dh.row(r);
                const T* h = hidden.row(r);
                const auto factor = simd::splat(scale);
                simd::for_each_vector<T>(
                    dh.cols, [&](auto load, auto store) { store(d, simd::where_positive(load(h), load(d) * factor)); });
            }
        });
        grad.add(c, w.fc1, dh, in);
        bool accumulate = false;
        const View<T> din = block.input_gradient(c, ds, accumulate);
        linear_backward_input<T>(c.pool, dh, w.fc1.weight, din, accumulate, c.precision);
        block.backward_begin(c, ds, din, grad);
    }
};

/// A multi-head attention inside a residual block. Self-attention reads keys and values from its own input.
template <class T>
struct AttentionPass {
    ResidualBlock<T> block;  ///< around it
    Dropout map_dropout;     ///< of the attention map
    AttentionShape shape;    ///< who attends to whom
    View<const T> in;        ///< the branch's input: what queries are made from
    View<const T> memory;    ///< what keys and values are made from
    View<T> q;               ///< queries
    View<T> k;               ///< keys
    View<T> v;               ///< values
    View<T> context;         ///< attention's output, before the output projection
    T* map = nullptr;        ///< attention weights, head by head and sentence by sentence

    /// `cross_memory` is null for self-attention.
    View<T> forward(const LayerContext& c, const AttentionWeights<Linear<T>>& w, View<const T> x,
                    const View<const T>* cross_memory) {
        in = block.begin(c, x);
        memory = cross_memory ? *cross_memory : in;
        const std::size_t width = w.q.outputs();
        q = c.arena.matrix<T>(in.rows, width);
        k = c.arena.matrix<T>(memory.rows, width);
        v = c.arena.matrix<T>(memory.rows, width);
        context = c.arena.matrix<T>(in.rows, width);
        map = c.arena.take<T>(shape.map_size());
        linear<T>(c.pool, in, w.q, q, {.scale = query_scale()}, c.precision);
        linear<T>(c.pool, memory, w.k, k, {}, c.precision);
        linear<T>(c.pool, memory, w.v, v, {}, c.precision);
        attention<T>(c.pool, shape, q, k, v, map, map_dropout, context);
        const View<T> out = c.arena.matrix<T>(x.rows, x.cols);
        linear<T>(c.pool, context, w.out, out, {}, c.precision);
        return block.end(c, x, out);
    }
    /// Turns the gradient of the output into that of x, in its place; adds that of the memory to `dmemory`
    /// (cross-attention only) and those of the parameters to `grad`.
    void backward(const LayerContext& c, const AttentionWeights<Linear<T>>& w, View<T> ds, const View<T>* dmemory,
                  const GradientMap<T>& grad) const {
        const Arena::Scope temporaries(c.arena);
        block.backward_end(c, ds, grad);
        const View<const T> db = block.branch_gradient(c, ds);
        grad.add(c, w.out, db, context);
        const View<T> dcontext = c.arena.matrix<T>(context.rows, context.cols);
        linear_backward_input<T>(c.pool, db, w.out.weight, dcontext, false, c.precision);
        const View<T> dq = c.arena.matrix<T>(q.rows, q.cols);
        const View<T> dk = c.arena.matrix<T>(k.rows, k.cols);
        const View<T> dv = c.arena.matrix<T>(v.rows, v.cols);
        attention_backward<T>(c.pool, shape, q, k, v, map, map_dropout, dcontext, dq, dk, dv);
        parallel_rows(c.pool, dq.rows, dq.cols, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) row_scale(dq.row(r), dq.cols, query_scale());
        });
        grad.add(c, w.q, dq, in);
        grad.add(c, w.k, dk, memory);
        grad.add(c, w.v, dv, memory);
        bool accumulate = false;
        const View<T> din = block.input_gradient(c, ds, accumulate);
        linear_backward_input<T>(c.pool, dq, w.q.weight, din, accumulate, c.precision);
        const View<T> dm = dmemory ? *dmemory : din;
        linear_backward_input<T>(c.pool, dk, w.k.weight, dm, true, c.precision);
        linear_backward_input<T>(c.pool, dv, w.v.weight, dm, true, c.precision);
        block.backward_begin(c, ds, din, grad);
    }

private:
    /// head size ^ -1/2, applied to q after its bias (semantics, section 2)
    T query_scale() const { return T(1) / std::sqrt(static_cast<T>(q.cols / shape.heads)); }
};

}  // namespace hat
