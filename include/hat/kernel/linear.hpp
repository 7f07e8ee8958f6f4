#pragma once
/// \file
/// Linear layers y = x w^T + bias, forward and backward. Weights are N x K: row n makes output n.

#include <cstddef>
#include <hat/core/extent.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/gemm_bf16.hpp>

namespace hat {

/// Weights as they lie in a SuperTransformer: a leading block, packed anew at each use. For training.
template <class T>
struct Linear {
    View<const T> weight;     ///< N x K
    const T* bias = nullptr;  ///< N numbers; null: none

    /// N.
    std::size_t outputs() const { return weight.rows; }
};

/// Weights packed once, for running a model many times.
template <class T>
struct PackedLinear {
    PackedMatrix<T> weight;                 ///< K x N in panels
    const T* bias = nullptr;                ///< N numbers; null: none
    Precision precision = Precision::fp32;  ///< what the operands of the product are rounded to (float only)

    PackedLinear() = default;
    /// Packs the weights of `l`; the bias stays where it is.
    explicit PackedLinear(const Linear<T>& l, Precision p = Precision::fp32)
        : weight(l.weight), bias(l.bias), precision(p) {}
    /// Weights that are packed already.
    PackedLinear(const Panels<T>& panels, const T* b, Precision p = Precision::fp32)
        : weight(panels), bias(b), precision(p) {}
    /// N.
    std::size_t outputs() const { return weight.panels().n; }
};

/// Weights packed for every instruction set, in memory that is owned elsewhere (a mapped file, say).
template <class T, Extent N = std::size_t, Extent K = std::size_t>
struct StoredLinear {
    using value_type = T;     ///< of inputs and outputs
    Panels<T, N, K> weight;   ///< K x N, see stored_panels()
    const T* bias = nullptr;  ///< N numbers; null: none

    /// N.
    constexpr N outputs() const { return weight.n; }
};

/// What is applied to a linear layer's output, after its bias.
template <class T>
struct Activation {
    bool relu = false;  ///< max(0, y)
    T scale = T(1);     ///< multiplies last
};

/// y[M x N] = dropout(scale * relu(x[M x K] w^T + bias)), the operands of the product rounded to `precision` (float
/// only).
template <class T, ExecutorPolicy E, ViewOf<T> X, ViewOf<T> Y>
void linear(const E& executor, const X& x, const Linear<T>& layer, const Y& y, Activation<T> end = {},
            Precision precision = Precision::fp32, const Dropout& dropout = {}) {
    detail::with_operand<T>(precision, [&]<class In>() {
        const std::size_t steps = chain_steps<In>(layer.weight.cols);
        In* panels = detail::thread_scratch<In>(0, Panels<In>::elements(layer.weight.rows, steps));
        multiply<In>(executor, x, pack_transposed<In>(executor, layer.weight, panels), y,
                     {.bias = layer.bias, .relu = end.relu, .scale = end.scale, .dropout = dropout});
    });
}
/// The same from packed weights, to the bit.
template <class T, ExecutorPolicy E, ViewOf<T> X, ViewOf<T> Y>
void linear(const E& executor, const X& x, const PackedLinear<T>& layer, const Y& y, Activation<T> end = {}) {
    detail::with_operand<T>(layer.precision, [&]<class In>() {
        multiply<In>(executor, x, layer.weight.panels(), y, {.bias = layer.bias, .relu = end.relu, .scale = end.scale});
    });
}
/// The same from stored weights, to the bit.
template <class T, ExecutorPolicy E, ViewOf<T> X, Extent N, Extent K, ViewOf<T> Y>
void linear(const E& executor, const X& x, const StoredLinear<T, N, K>& layer, const Y& y, Activation<T> end = {}) {
    multiply<T>(executor, x, layer.weight, y, {.bias = layer.bias, .relu = end.relu, .scale = end.scale});
}

/// dx[M x K] (+)= dy[M x N] w, the operands rounded to `precision` (float only).
template <class T, ExecutorPolicy E>
void linear_backward_input(const E& executor, View<const T> dy, View<const T> weight, View<T> dx, bool accumulate,
                           Precision precision = Precision::fp32) {
    detail::with_operand<T>(precision, [&]<class In>() {
        In* panels = detail::thread_scratch<In>(0, Panels<In>::elements(weight.cols, chain_steps<In>(weight.rows)));
        multiply<In>(executor, dy, pack_plain<In>(executor, weight, panels), dx, {.accumulate = accumulate});
    });
}

/// dbias[n] += sum over rows of dy(., n), in ascending order.
template <class T, ExecutorPolicy E>
void add_column_sums(const E& executor, View<const T> dy, T* dbias) {
    const std::size_t block = tile_columns<T>;
    const std::size_t blocks = (dy.cols + block - 1) / block;
    parallel_rows(executor, blocks, dy.rows * block, [&](std::size_t first, std::size_t last) {
        const std::size_t c0 = first * block, columns = std::min(dy.cols, last * block) - c0;
        for (std::size_t r = 0; r < dy.rows; ++r) {
            const T* from = dy.row(r) + c0;
            T* to = dbias + c0;
            simd::for_each_vector<T>(columns, [&](auto load, auto store) { store(to, load(to) + load(from)); });
        }
    });
}

/// dw[N x K] += dy^T x, the operands rounded to `precision` (float only), and dbias += column sums of dy (unless null).
template <class T, ExecutorPolicy E>
void linear_backward_weight(const E& executor, View<const T> dy, View<const T> x, View<T> dw, T* dbias,
                            Precision precision = Precision::fp32) {
    detail::with_operand<T>(precision, [&]<class In>() { multiply_transposed<In>(executor, dy, x, dw); });
    if (dbias) add_column_sums<T>(executor, dy, dbias);
}

}  // namespace hat
