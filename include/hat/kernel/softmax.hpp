#pragma once
/// \file
/// Softmax of one row and its backward pass.

#include <cmath>
#include <cstddef>
#include <hat/core/extent.hpp>
#include <hat/kernel/simd.hpp>
#include <limits>

namespace hat {

/// The largest of n > 0 numbers.
template <class T>
T row_max(const T* x, std::size_t n) {
    auto m = simd::splat(-std::numeric_limits<T>::infinity());
    simd::for_each_vector<T>(n,
                             [&](auto load, auto) { m = simd::max(m, load(x, -std::numeric_limits<T>::infinity())); });
    return simd::max_lane(m);
}

/// y = exp(x - shift); returns the sum. y may be x, or null when only the sum is wanted.
template <class T, Extent N>
T row_exp(const T* x, T* y, N n, T shift) {
    simd::LaneSums<T> sums;
    const auto s = simd::splat(shift);
    simd::for_each_part<T>(n, [&](std::size_t i, auto load, auto store) {
        const auto e = simd::exp(load(x, -std::numeric_limits<T>::infinity()) - s);
        if (y) store(y, e);
        sums[i] = sums[i] + e;
    });
    return sums.total();
}

/// x *= factor
template <class T>
void row_scale(T* x, std::size_t n, T factor) {
    const auto f = simd::splat(factor);
    simd::for_each_vector<T>(n, [&](auto load, auto store) { store(x, load(x) * f); });
}

/// Turns n > 0 scores into probabilities, in place.
template <class T>
void softmax_row(T* x, std::size_t n) {
    const T m = row_max(x, n);
    row_scale(x, n, T(1) / row_exp(x, x, n, m));
}

/// d[i] = p[i] * (d[i] - sum of d * p): the gradient of the scores from that of the probabilities, in place.
template <class T>
void softmax_row_backward(const T* p, T* d, std::size_t n) {
    simd::LaneSums<T> dots;
    simd::for_each_part<T>(n, [&](std::size_t i, auto load, auto) { dots[i] = simd::fma(load(p), load(d), dots[i]); });
    const auto total = simd::splat(dots.total());
    simd::for_each_vector<T>(n, [&](auto load, auto store) { store(d, load(p) * (load(d) - total)); });
}

}  // namespace hat
