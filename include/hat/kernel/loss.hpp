#pragma once
/// \file
/// Label-smoothed cross entropy over the vocabulary, a block of rows at a time: the logits of a whole batch never
/// exist.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/extent.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/kernel/softmax.hpp>
#include <span>
#include <vector>

namespace hat {

/// Sums over target tokens, natural logarithms. The reference divides by tokens and by ln 2 when it logs.
struct LossSums {
    double loss = 0;         ///< (1 - eps) * nll + eps / V * sum over all V of -log p
    double nll = 0;          ///< negative log-likelihood
    std::size_t tokens = 0;  ///< target tokens

    /// Adds the sums of other tokens.
    LossSums& operator+=(const LossSums& o) {
        loss += o.loss, nll += o.nll, tokens += o.tokens;
        return *this;
    }
};

/// Loss of one row of V logits. With `gradient`, the logits become d loss / d logits.
template <class T>
LossSums smoothed_loss_row(T* logits, std::size_t vocabulary, std::size_t target, double smoothing, bool gradient) {
    const T top = row_max(logits, vocabulary);
    simd::LaneSums<T> sums;
    simd::for_each_part<T>(vocabulary, [&](std::size_t i, auto load, auto) { sums[i] = sums[i] + load(logits); });
    const double total = static_cast<double>(sums.total()), right = static_cast<double>(logits[target]);
    const T exponentials = row_exp(logits, gradient ? logits : nullptr, vocabulary, top);
    const double v = static_cast<double>(vocabulary);
    const double log_sum = static_cast<double>(top) + std::log(static_cast<double>(exponentials));
    const double nll = log_sum - right, smooth = v * log_sum - total;
    if (gradient) {
        // d/dlogit = p - ((1 - eps) [target] + eps / V)
        const auto scale = simd::splat(T(1) / exponentials), floor = simd::splat(static_cast<T>(-smoothing / v));
        simd::for_each_vector<T>(vocabulary,
                                 [&](auto load, auto store) { store(logits, simd::fma(load(logits), scale, floor)); });
        logits[target] -= static_cast<T>(1 - smoothing);
    }
    return {(1 - smoothing) * nll + smoothing / v * smooth, nll, 1};
}

namespace detail {

/// output_loss() with operands made of In.
template <class In, class T, ExecutorPolicy E>
LossSums output_loss_in(const E& executor, View<const T> y, View<const T> matrix, std::span<const std::int32_t> targets,
                        double smoothing, Arena& arena, View<T>* dy, View<T>* dmatrix) {
    const Arena::Scope temporaries(arena);
    const std::size_t vocabulary = matrix.rows, width = matrix.cols, rows = y.rows, block = 512;
    const auto room = [&](std::size_t n, std::size_t k) {
        return arena.take<In>(Panels<In>::elements(n, chain_steps<In>(k)));
    };
    const Panels<In> right = pack_transposed<In>(executor, matrix, room(vocabulary, width));
    Panels<In> back;
    if (dy) back = pack_plain<In>(executor, matrix, room(width, vocabulary));
    const std::size_t stride = (vocabulary + simd::width<T> - 1) / simd::width<T> * simd::width<T>;
    T* logits = arena.take<T>(std::min(rows, block) * stride);
    std::vector<LossSums> row_losses(rows);
    for (std::size_t r0 = 0; r0 < rows; r0 += block) {
        const std::size_t n = std::min(block, rows - r0);
        const View<T> z{logits, n, vocabulary, stride};
        multiply<In>(executor, y.rows_at(r0, n), right, z);
        parallel_rows(executor, n, 4 * vocabulary, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r)
                row_losses[r0 + r] = smoothed_loss_row(z.row(r), vocabulary, static_cast<std::size_t>(targets[r0 + r]),
                                                       smoothing, dy != nullptr);
        });
        if (dy) {
            multiply_transposed<In>(executor, View<const T>(z), y.rows_at(r0, n), *dmatrix);
            multiply<In>(executor, View<const T>(z), back, dy->rows_at(r0, n));
        }
    }
    LossSums sums;
    for (const auto& l : row_losses) sums += l;
    return sums;
}

}  // namespace detail

/// Loss of hidden states y[tokens x D] under the output matrix[V x D]. With `dy` and `dmatrix` it also writes the
/// gradient of y, perhaps in its place, and adds that of the matrix. The operands of the products are rounded to
/// `precision` (float only).
template <class T, ExecutorPolicy E>
LossSums output_loss(const E& executor, View<const T> y, View<const T> matrix, std::span<const std::int32_t> targets,
                     double smoothing, Arena& arena, View<T>* dy, View<T>* dmatrix,
                     Precision precision = Precision::fp32) {
    return detail::with_operand<T>(precision, [&]<class In>() {
        return detail::output_loss_in<In, T>(executor, y, matrix, targets, smoothing, arena, dy, dmatrix);
    });
}

}  // namespace hat
