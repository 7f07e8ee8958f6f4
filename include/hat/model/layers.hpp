#pragma once
/// \file
/// The layers of a Transformer as training runs them, forward and backward, on leading blocks of the SuperTransformer's
/// weights. What inference runs is in model/inference_layers.hpp: the same kernels, nothing kept.

#include <cmath>
#include <cstddef>
#include <cstdint>
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

/// The output of a layer norm, which is not kept: whoever needs it once more makes it again, to the bit, from the input
/// and its statistics.
template <class T>
struct NormOutput {
    View<const T> input{};  ///< what was normalised; where there is no norm, the rows themselves
    Norm<T> parameters{};   ///< gains and shifts
    T* mean = nullptr;      ///< of each row of the input; null: there is no norm
    T* rstd = nullptr;      ///< reciprocal deviation of each row

    /// y = norm(x); x and its statistics are kept.
    void make(const LayerContext& c, View<const T> x, View<T> y) {
        input = x;
        mean = c.arena.take<T>(x.rows);
        rstd = c.arena.take<T>(x.rows);
        layer_norm<T>(c.pool, x, parameters, y, mean, rstd);
    }
    /// y = norm(residual + dropout(branch)); the sum, in the place of the branch, and its statistics are kept.
    void make_of_sum(const LayerContext& c, View<const T> residual, View<T> branch, const Dropout& dropout, View<T> y) {
        input = branch;
        mean = c.arena.take<T>(branch.rows);
        rstd = c.arena.take<T>(branch.rows);
        add_and_normalize<T>(c.pool, residual, branch, dropout, parameters, y, mean, rstd);
    }
    /// The rows once more, in the context's arena, or where they are kept.
    View<const T> again(const LayerContext& c) const {
        if (!mean) return input;
        const View<T> y = c.arena.matrix<T>(input.rows, input.cols);
        layer_norm_again<T>(c.pool, input, parameters, mean, rstd, y);
        return y;
    }
    /// dx (+)= the gradient of the input, from dy, that of the output; adds those of the norm to `grad`.
    void backward(const LayerContext& c, View<const T> dy, View<T> dx, bool accumulate,
                  const GradientMap<T>& grad) const {
        layer_norm_backward<T>(c.pool, input, mean, rstd, parameters.weight, dy, dx, accumulate,
                               grad(parameters.weight), grad(parameters.bias));
    }
};

/// Tokens on their way through a stack of residual blocks.
template <class T>
struct StackRows {
    View<T> rows;        ///< what the last block made of them
    NormOutput<T> made;  ///< the same for the backward pass, when `rows` may be overwritten
    View<T> room;        ///< for the output of every norm, one over the other

    /// Embedded tokens, which are kept.
    StackRows(const LayerContext& c, View<T> embedded)
        : rows(embedded), made{.input = embedded}, room(c.arena.matrix<T>(embedded.rows, embedded.cols)) {}
};

/// A residual block around a branch. Post-norm: y = LN(x + drop(branch(x))). Pre-norm: y = x + drop(branch(LN(x))).
template <class T>
struct ResidualBlock {
    bool pre_norm = false;  ///< norm before the branch instead of after the sum
    NormOutput<T> norm{};   ///< the block's layer norm
    Dropout dropout{};      ///< of the branch's output
    NormOutput<T> input{};  ///< the branch's input, for the backward pass

    /// The branch's input, until the next norm.
    View<const T> begin(const LayerContext& c, const StackRows<T>& x) {
        if (pre_norm) norm.make(c, x.rows, x.room);
        input = pre_norm ? norm : x.made;
        return pre_norm ? x.room : x.rows;
    }
    /// Turns x into the block's output; `branch` is overwritten, and kept.
    void end(const LayerContext& c, StackRows<T>& x, View<T> branch) {
        if (pre_norm)
            add_residual<T>(c.pool, x.rows, branch, dropout, branch);
        else
            norm.make_of_sum(c, x.rows, branch, dropout, x.room);
        x.made = pre_norm ? NormOutput<T>{.input = branch} : norm;
        x.rows = pre_norm ? branch : x.room;
    }
    /// From dy, in its place: the gradient of the sum (also that of x through the residual).
    void backward_end(const LayerContext& c, View<T> dy, const GradientMap<T>& grad) const {
        if (!pre_norm) norm.backward(c, dy, dy, false, grad);
    }
    /// The gradient of the branch's output: that of the sum through the dropout.
    View<const T> branch_gradient(const LayerContext& c, View<T> ds) const {
        if (!dropout.active()) return ds;
        const View<T> d = c.arena.matrix<T>(ds.rows, ds.cols);
        parallel_rows(c.pool, ds.rows, 4 * ds.cols, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                std::copy_n(ds.row(r), ds.cols, d.row(r));
                dropout.apply(d.row(r), d.cols, static_cast<std::uint32_t>(r * d.cols));
            }
        });
        return d;
    }
    /// Where the branch's input gradient is collected, before backward_begin(). Post-norm adds to ds itself.
    View<T> input_gradient(const LayerContext& c, View<T> ds, bool& accumulate) const {
        accumulate = !pre_norm;
        return pre_norm ? c.arena.matrix<T>(ds.rows, ds.cols) : ds;
    }
    /// dx from the branch's input gradient, in the place of ds.
    void backward_begin(const LayerContext& c, View<T> ds, View<const T> din, const GradientMap<T>& grad) const {
        if (pre_norm) norm.backward(c, din, ds, true, grad);
    }
};

/// A feed-forward block: fc2(drop(relu(fc1(x)))) inside a residual block. Keeps what its backward pass needs.
template <class T>
struct FeedForwardPass {
    ResidualBlock<T> block;      ///< around it
    Dropout activation_dropout;  ///< of the hidden neurons
    View<T> hidden;              ///< relu(fc1(input)), dropped

    /// Turns x into the block's output. What is kept lies in the context's arena until backward().
    void forward(const LayerContext& c, const FeedForwardWeights<Linear<T>>& w, StackRows<T>& x) {
        const View<const T> in = block.begin(c, x);
        hidden = c.arena.matrix<T>(in.rows, w.fc1.outputs());
        linear<T>(c.pool, in, w.fc1, hidden, {.relu = true}, c.precision, activation_dropout);
        const View<T> out = c.arena.matrix<T>(in.rows, in.cols);
        linear<T>(c.pool, hidden, w.fc2, out, {}, c.precision);
        block.end(c, x, out);
    }
    /// Turns the gradient of the output into that of x, in its place; adds those of the parameters to `grad`.
    void backward(const LayerContext& c, const FeedForwardWeights<Linear<T>>& w, View<T> ds,
                  const GradientMap<T>& grad) const {
        const Arena::Scope temporaries(c.arena);
        block.backward_end(c, ds, grad);
        const View<T> dh = c.arena.matrix<T>(hidden.rows, hidden.cols);
        {
            const Arena::Scope branch(c.arena);
            const View<const T> db = block.branch_gradient(c, ds);
            grad.add(c, w.fc2, db, hidden);
            linear_backward_input<T>(c.pool, db, w.fc2.weight, dh, false, c.precision);
        }
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
        grad.add(c, w.fc1, dh, block.input.again(c));
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
    View<const T> memory{};  ///< cross-attention: what keys and values are made from
    View<T> q;               ///< queries
    View<T> k;               ///< keys
    View<T> v;               ///< values
    T* map = nullptr;        ///< attention weights, head by head and sentence by sentence

    /// Turns x into the block's output. What is kept lies in the context's arena until backward(), as must a memory.
    /// `cross_memory` is null for self-attention.
    void forward(const LayerContext& c, const AttentionWeights<Linear<T>>& w, StackRows<T>& x,
                 const View<const T>* cross_memory) {
        const View<const T> in = block.begin(c, x);
        if (cross_memory) memory = *cross_memory;
        const View<const T> from = cross_memory ? memory : in;
        const std::size_t width = w.q.outputs();
        q = c.arena.matrix<T>(in.rows, width);
        k = c.arena.matrix<T>(from.rows, width);
        v = c.arena.matrix<T>(from.rows, width);
        map = c.arena.take<T>(shape.map_size());
        const View<T> out = c.arena.matrix<T>(in.rows, in.cols);
        linear<T>(c.pool, in, w.q, q, {.scale = query_scale()}, c.precision);
        linear<T>(c.pool, from, w.k, k, {}, c.precision);
        linear<T>(c.pool, from, w.v, v, {}, c.precision);
        {
            const Arena::Scope temporaries(c.arena);
            const View<T> context = c.arena.matrix<T>(in.rows, width);
            attention<T>(c.pool, shape, q, k, v, map, map_dropout, context);
            linear<T>(c.pool, context, w.out, out, {}, c.precision);
        }
        block.end(c, x, out);
    }
    /// Turns the gradient of the output into that of x, in its place; adds that of the memory to `dmemory`
    /// (cross-attention only) and those of the parameters to `grad`. Keys and values are overwritten.
    void backward(const LayerContext& c, const AttentionWeights<Linear<T>>& w, View<T> ds, const View<T>* dmemory,
                  const GradientMap<T>& grad) const {
        const Arena::Scope temporaries(c.arena);
        block.backward_end(c, ds, grad);
        const View<T> dq = c.arena.matrix<T>(q.rows, q.cols);  // first that of attention's output
        const View<T> dk = k, dv = v;
        {
            const Arena::Scope branch(c.arena);
            const View<const T> db = block.branch_gradient(c, ds);
            linear_backward_input<T>(c.pool, db, w.out.weight, dq, false, c.precision);
            const View<T> context = c.arena.matrix<T>(q.rows, q.cols);
            attention_backward<T>(c.pool, shape, q, k, v, map, map_dropout, dq, dq, dk, dv, context);
            grad.add(c, w.out, db, context);
        }
        parallel_rows(c.pool, dq.rows, dq.cols, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) row_scale(dq.row(r), dq.cols, query_scale());
        });
        const View<const T> in = block.input.again(c), from = dmemory ? memory : in;
        grad.add(c, w.q, dq, in);
        grad.add(c, w.k, dk, from);
        grad.add(c, w.v, dv, from);
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
