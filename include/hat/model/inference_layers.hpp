#pragma once
/// \file
/// The layers of a Transformer as inference runs them: nothing is kept for a backward pass, activations are updated in
/// place, memory is the caller's. Written over extents and over how a linear layer holds its weights, so that the
/// elastic path (sizes known at run time) and the static one (sizes in the type) are one code. Throws nothing.

#include <cmath>
#include <cstddef>
#include <hat/core/arena.hpp>
#include <hat/core/executor.hpp>
#include <hat/kernel/attention.hpp>
#include <hat/kernel/cached_attention.hpp>
#include <hat/kernel/layer_norm.hpp>
#include <hat/kernel/linear.hpp>

namespace hat {

/// The four projections of an attention; Q, K and O are anything that linear() takes.
template <class Q, class K = Q, class O = Q>
struct AttentionWeights {
    Q q;    ///< queries
    K k;    ///< keys
    K v;    ///< values
    O out;  ///< output
};
/// The two projections of a feed-forward block; anything that linear() takes.
template <class L1, class L2 = L1>
struct FeedForwardWeights {
    L1 fc1;  ///< to the FFN width
    L2 fc2;  ///< and back
};
/// One encoder layer.
template <class T, class Self, class Ffn, Extent Heads = std::size_t>
struct EncoderLayerOf {
    Self self;           ///< self-attention
    Norm<T> self_norm;   ///< of the self-attention block
    Ffn ffn;             ///< feed-forward block
    Norm<T> final_norm;  ///< of the feed-forward block
    Heads heads{};       ///< of self-attention
};
/// One decoder layer.
template <class T, class Self, class Cross, class Ffn, Extent SelfHeads = std::size_t, Extent CrossHeads = std::size_t,
          Extent Span = std::size_t>
struct DecoderLayerOf {
    Self self;                 ///< self-attention
    Cross cross;               ///< encoder-decoder attention
    Norm<T> self_norm;         ///< of the self-attention block
    Norm<T> cross_norm;        ///< of the encoder-decoder attention block
    Ffn ffn;                   ///< feed-forward block
    Norm<T> final_norm;        ///< of the feed-forward block
    SelfHeads self_heads{};    ///< of self-attention
    CrossHeads cross_heads{};  ///< of encoder-decoder attention
    Span span{};               ///< encoder layers attended to, from the last one
};
/// One encoder layer whose sizes are known at run time; L is Linear<T>, PackedLinear<T> or another kind of weights.
template <class T, class L>
using EncoderLayer = EncoderLayerOf<T, AttentionWeights<L>, FeedForwardWeights<L>>;
/// One decoder layer whose sizes are known at run time.
template <class T, class L>
using DecoderLayer = DecoderLayerOf<T, AttentionWeights<L>, AttentionWeights<L>, FeedForwardWeights<L>>;

/// Who runs inference, and where its temporaries live: an Arena or a FixedArena.
template <ExecutorPolicy E, class Memory>
struct InferenceContext {
    const E& executor;  ///< who works
    Memory& memory;     ///< for temporaries; every function here gives back what it took

    /// A residual block: x becomes LN(x + branch(x)) (post-norm) or x + branch(LN(x)) (pre-norm). `branch(in)` returns
    /// a matrix of its own.
    template <class T, class X, class Branch>
    void residual(bool pre_norm, const Norm<T>& norm, const X& x, Branch&& branch) const {
        const typename Memory::Scope temporaries(memory);
        if (pre_norm) {
            const auto in = memory.template rows<T>(x.rows, x.cols);
            layer_norm<T>(executor, x, norm, in, nullptr, nullptr);
            add_residual<T>(executor, x, branch(in), {}, x);
        } else {
            const auto sum = branch(x);
            add_and_normalize<T>(executor, x, sum, {}, norm, x, nullptr, nullptr);
        }
    }
    /// x w^T + bias as a new matrix; queries of `heads` heads are scaled by head size ^ -1/2 after their bias
    /// (semantics, section 2).
    template <class T, class X, class L>
    auto project(const X& x, const L& w, std::size_t heads = 0) const {
        const auto y = memory.template rows<T>(x.rows, w.outputs());
        const T scale = heads ? T(1) / std::sqrt(static_cast<T>(y.cols / heads)) : T(1);
        linear<T>(executor, x, w, y, {.scale = scale});
        return y;
    }
    /// A feed-forward block, in place.
    template <class T, class X, class Ffn>
    void feed_forward(bool pre_norm, const Norm<T>& norm, const Ffn& w, const X& x) const {
        residual<T>(pre_norm, norm, x, [&](const auto& in) {
            const auto hidden = memory.template rows<T>(x.rows, w.fc1.outputs());
            linear<T>(executor, in, w.fc1, hidden, {.relu = true});
            return project<T>(hidden, w.fc2);
        });
    }
    /// An encoder layer, in place; sentence i of x has the rows [offsets[i], offsets[i + 1]).
    template <class T, class Layer, class X>
    void encoder_layer(bool pre_norm, const Layer& w, std::span<const std::size_t> offsets, const X& x) const {
        residual<T>(pre_norm, w.self_norm, x, [&](const auto& in) {
            const auto seen = memory.template rows<T>(x.rows, w.self.q.outputs());
            {
                const typename Memory::Scope projections(memory);
                const auto q = project<T>(in, w.self.q, w.heads);
                const auto k = project<T>(in, w.self.k), v = project<T>(in, w.self.v);
                attention<T>(executor, {offsets, offsets, w.heads, false}, q, k, v, static_cast<T*>(nullptr), {}, seen);
            }
            return project<T>(seen, w.self.out);
        });
        feed_forward<T>(pre_norm, w.final_norm, w.ffn, x);
    }
    /// One decoder layer for one new token per row, in place. `self` and `cross` are the layer's caches, `caches` is
    /// the memory of the former; see SelfAttentionCache::attend() for the rest.
    template <class T, class Layer, class Self, class Cross, class X, Extent Beam>
    void decoder_layer(bool pre_norm, const Layer& w, Self& self, const Cross& cross, Memory& caches, Beam beam,
                       std::size_t step, std::span<const std::size_t> sentence, View<const std::uint32_t> ancestors,
                       const X& x) const {
        residual<T>(pre_norm, w.self_norm, x, [&](const auto& in) {
            const auto q = project<T>(in, w.self.q, w.self_heads);
            const auto k = project<T>(in, w.self.k), v = project<T>(in, w.self.v);
            const auto seen = memory.template rows<T>(x.rows, w.self.q.outputs());
            self.attend(executor, caches, step, q, k, v, sentence, ancestors, seen);
            return project<T>(seen, w.self.out);
        });
        residual<T>(pre_norm, w.cross_norm, x, [&](const auto& in) {
            const auto q = project<T>(in, w.cross.q, w.cross_heads);
            const auto seen = memory.template rows<T>(x.rows, w.cross.q.outputs());
            cross.attend(executor, beam, q, sentence, seen);
            return project<T>(seen, w.cross.out);
        });
        feed_forward<T>(pre_norm, w.final_norm, w.ffn, x);
    }
};

}  // namespace hat
