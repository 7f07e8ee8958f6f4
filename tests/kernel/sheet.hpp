#pragma once
/// \file
/// Matrices for the kernel tests, a step of a chain, and derivatives by central differences.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hat/core/extent.hpp>
#include <hat/core/rng.hpp>
#include <hat/kernel/plain_vector.hpp>
#include <limits>
#include <span>
#include <vector>

namespace hat_test {

/// One step of a chain, as the vector unit of this build does it.
template <class T>
T step(T a, T b, T c) {
    if constexpr (hat::simd::fuses<T>) {
        return std::fma(a, b, c);
    } else {
        const T product = a * b;
        return product + c;
    }
}

/// Owns a rows x cols matrix whose rows are `pad` elements further apart; the padding is NaN, so that reading it spoils
/// the result and writing it shows.
template <class T>
struct Sheet {
    std::size_t rows, cols, stride;
    std::vector<T> data;

    Sheet(std::size_t r, std::size_t c, std::size_t pad = 0)
        : rows(r), cols(c), stride(c + pad), data(r * (c + pad), std::numeric_limits<T>::quiet_NaN()) {
        for (std::size_t i = 0; i < rows; ++i) std::fill_n(data.data() + i * stride, cols, T(0));
    }
    /// Uniform in [-1, 1).
    Sheet(std::size_t r, std::size_t c, std::size_t pad, hat::Rng& rng) : Sheet(r, c, pad) {
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < cols; ++j) (*this)(i, j) = static_cast<T>(2 * rng.uniform() - 1);
    }
    T& operator()(std::size_t i, std::size_t j) { return data[i * stride + j]; }
    const T& operator()(std::size_t i, std::size_t j) const { return data[i * stride + j]; }
    hat::View<T> view() { return {data.data(), rows, cols, stride}; }
    hat::View<const T> view() const { return {data.data(), rows, cols, stride}; }
    hat::View<const T> constant() const { return view(); }

    bool padding_untouched() const {
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = cols; j < stride; ++j)
                if (!std::isnan(data[i * stride + j])) return false;
        return true;
    }
    /// Equal elements; NaN equals nothing.
    friend bool operator==(const Sheet& a, const Sheet& b) {
        if (a.rows != b.rows || a.cols != b.cols) return false;
        for (std::size_t i = 0; i < a.rows; ++i)
            for (std::size_t j = 0; j < a.cols; ++j)
                if (!(a(i, j) == b(i, j))) return false;
        return true;
    }
};

/// The sum of all products of two matrices: turns a kernel's output into one number with known derivatives.
inline double dot(const Sheet<double>& a, const Sheet<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.rows; ++i)
        for (std::size_t j = 0; j < a.cols; ++j) sum += a(i, j) * b(i, j);
    return sum;
}

/// The largest error of `gradient` against central differences of `loss` at every `step`-th element of x, relative to
/// the element's gradient plus a thousandth of the largest one.
template <class Loss>
double gradient_error(std::span<double> x, std::span<const double> gradient, Loss&& loss, std::size_t step = 1,
                      std::size_t first = 0) {
    double largest = 0, worst = 0;
    for (const double g : gradient) largest = std::max(largest, std::isnan(g) ? 0 : std::abs(g));
    for (std::size_t i = first; i < x.size(); i += step) {
        const double old = x[i], h = 1e-5;
        if (std::isnan(old)) continue;  // padding
        x[i] = old + h;
        const double up = loss();
        x[i] = old - h;
        const double down = loss();
        x[i] = old;
        const double found = (up - down) / (2 * h), error = std::abs(found - gradient[i]);
        worst = std::max(worst, std::isfinite(error) ? error / (std::abs(found) + 1e-3 * largest + 1e-12) : 1e300);
    }
    return worst;
}
template <class Loss>
double gradient_error(Sheet<double>& x, const Sheet<double>& gradient, Loss&& loss) {
    return gradient_error(std::span(x.data), std::span<const double>(gradient.data), loss);
}

}  // namespace hat_test
