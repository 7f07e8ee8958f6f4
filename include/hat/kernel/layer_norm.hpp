#pragma once
/// \file
/// Layer normalisation over the sampled features, and residual connections.

#include <cmath>
#include <cstddef>
#include <hat/core/extent.hpp>
#include <hat/kernel/dropout.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/simd.hpp>

namespace hat {

/// eps of the reference (semantics, section 1).
inline constexpr double layer_norm_epsilon = 1e-5;

/// Gain and shift of a layer norm, cut to the sampled width.
template <class T>
struct Norm {
    const T* weight = nullptr;  ///< gains
    const T* bias = nullptr;    ///< shifts
};

namespace detail {
template <class T, Extent N>
void normalize_row(const T* x, T mean, T rstd, const Norm<T>& norm, T* y, N n) {
    const auto m = simd::splat(mean), r = simd::splat(rstd);
    simd::for_each_vector<T>(
        n, [&](auto load, auto store) { store(y, simd::fma((load(x) - m) * r, load(norm.weight), load(norm.bias))); });
}
template <class T, Extent N>
void norm_row(const T* x, const Norm<T>& norm, T* y, N n, T* mean_out, T* rstd_out) {
    simd::LaneSums<T> sums, squares;
    simd::for_each_part<T>(n, [&](std::size_t i, auto load, auto) { sums[i] = sums[i] + load(x); });
    const T mean = sums.total() / static_cast<T>(std::size_t{n});
    const auto m = simd::splat(mean);
    simd::for_each_part<T>(n, [&](std::size_t i, auto load, auto) {
        const auto d = load(x, mean) - m;
        squares[i] = simd::fma(d, d, squares[i]);
    });
    const T variance = squares.total() / static_cast<T>(std::size_t{n});
    const T rstd = T(1) / std::sqrt(variance + static_cast<T>(layer_norm_epsilon));
    normalize_row(x, mean, rstd, norm, y, n);
    if (mean_out) *mean_out = mean, *rstd_out = rstd;
}
}  // namespace detail

/// y = (x - mean) / sqrt(variance + eps) * weight + bias per row; biased variance. `mean` and `rstd` (one number a row,
/// for the backward pass) may be null.
template <class T, ExecutorPolicy E, ViewOf<T> X, ViewOf<T> Y>
void layer_norm(const E& executor, const X& x, const Norm<T>& norm, const Y& y, T* mean, T* rstd) {
    parallel_rows(executor, x.rows, 4 * x.cols, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r)
            detail::norm_row(x.row(r), norm, y.row(r), x.cols, mean ? mean + r : nullptr, rstd ? rstd + r : nullptr);
    });
}

/// The output of layer_norm() once more, to the bit, from the statistics that it kept.
template <class T, ExecutorPolicy E>
void layer_norm_again(const E& executor, View<const T> x, const Norm<T>& norm, const T* mean, const T* rstd,
                      View<T> y) {
    parallel_rows(executor, x.rows, x.cols, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r)
            detail::normalize_row(x.row(r), mean[r], rstd[r], norm, y.row(r), x.cols);
    });
}

namespace detail {
/// sum = residual + dropout(branch) in row r.
template <class T, class R, class B, class S>
void add_row(std::size_t r, const R& residual, const B& branch, const Dropout& dropout, const S& sum) {
    T* b = branch.row(r);
    if (dropout.active()) dropout.apply(b, branch.cols, static_cast<std::uint32_t>(r * branch.cols));
    const T* a = residual.row(r);
    T* s = sum.row(r);
    simd::for_each_vector<T>(sum.cols, [&](auto load, auto store) { store(s, load(a) + load(b)); });
}
}  // namespace detail

/// sum = residual + dropout(branch); branch and sum may be the same memory.
template <class T, ExecutorPolicy E, ViewOf<T> R, ViewOf<T> B, ViewOf<T> S>
void add_residual(const E& executor, const R& residual, const B& branch, const Dropout& dropout, const S& sum) {
    parallel_rows(executor, sum.rows, 4 * sum.cols, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) detail::add_row<T>(r, residual, branch, dropout, sum);
    });
}

/// add_residual() in the place of the branch, and layer_norm() of the sum while it is in the cache: y may be the
/// residual.
template <class T, ExecutorPolicy E, ViewOf<T> R, ViewOf<T> B, ViewOf<T> Y>
void add_and_normalize(const E& executor, const R& residual, const B& branch, const Dropout& dropout,
                       const Norm<T>& norm, const Y& y, T* mean, T* rstd) {
    parallel_rows(executor, y.rows, 8 * y.cols, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            detail::add_row<T>(r, residual, branch, dropout, branch);
            detail::norm_row(branch.row(r), norm, y.row(r), y.cols, mean ? mean + r : nullptr,
                             rstd ? rstd + r : nullptr);
        }
    });
}

/// The backward pass: dx (+)= gradient of the input; dweight and dbias are added to, over rows in ascending order. dx
/// may be dy itself unless it is added to.
template <class T, ExecutorPolicy E>
void layer_norm_backward(const E& executor, View<const T> x, const T* mean, const T* rstd, const T* weight,
                         View<const T> dy, View<T> dx, bool accumulate, T* dweight, T* dbias) {
    const std::size_t n = x.cols;
    const std::size_t block = tile_columns<T>, blocks = (n + block - 1) / block;
    parallel_rows(executor, blocks, 2 * x.rows * block, [&](std::size_t first, std::size_t last) {
        const std::size_t c0 = first * block, columns = std::min(n, last * block) - c0;
        for (std::size_t r = 0; r < x.rows; ++r) {
            const T *in = x.row(r) + c0, *d = dy.row(r) + c0;
            T *w = dweight + c0, *b = dbias + c0;
            const auto m = simd::splat(mean[r]), s = simd::splat(rstd[r]);
            simd::for_each_vector<T>(columns, [&](auto load, auto store) {
                store(w, simd::fma(load(d), (load(in) - m) * s, load(w)));
                store(b, load(b) + load(d));
            });
        }
    });
    parallel_rows(executor, x.rows, 6 * n, [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) {
            const T *in = x.row(r), *d = dy.row(r);
            T* out = dx.row(r);
            const auto m = simd::splat(mean[r]), s = simd::splat(rstd[r]);
            simd::LaneSums<T> sums, dots;
            simd::for_each_part<T>(n, [&](std::size_t i, auto load, auto) {
                sums[i] = simd::fma(load(d), load(weight), sums[i]);
                dots[i] = simd::fma(load(d) * load(weight), (load(in) - m) * s, dots[i]);
            });
            const auto mean_g = simd::splat(sums.total() / static_cast<T>(n));
            const auto mean_gx = simd::splat(dots.total() / static_cast<T>(n));
            simd::for_each_vector<T>(n, [&](auto load, auto store) {
                const auto hat_x = (load(in) - m) * s;
                const auto centred = simd::fma(load(d), load(weight), simd::zero<T>() - mean_g);
                const auto v = simd::fma(simd::zero<T>() - hat_x, mean_gx, centred);
                store(out, accumulate ? simd::fma(s, v, load(out)) : s * v);
            });
        }
    });
}

}  // namespace hat
