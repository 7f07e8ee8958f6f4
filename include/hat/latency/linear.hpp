#pragma once
/// \file
/// Ridge regression: a straight line that needs few measurements.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/latency/predicted.hpp>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hat {

namespace detail {
/// Throws unless x holds y.size() rows of equal length and everything is finite; returns the length.
inline std::size_t check_rows(const char* who, std::span<const float> x, std::span<const float> y) {
    if (y.empty()) throw invalid_value(std::string(who) + ": there are no rows to learn from");
    if (x.empty() || x.size() % y.size() != 0)
        throw shape_mismatch(std::string(who) + ": " + std::to_string(x.size()) + " features cannot be " +
                             std::to_string(y.size()) + " rows");
    const std::size_t columns = x.size() / y.size();
    for (std::size_t i = 0; i < x.size(); ++i)
        if (!std::isfinite(x[i]))
            throw not_finite(std::string(who) + ": feature " + std::to_string(i % columns) + " of row " +
                             std::to_string(i / columns) + " is " + std::to_string(x[i]));
    for (std::size_t i = 0; i < y.size(); ++i)
        if (!std::isfinite(y[i]))
            throw not_finite(std::string(who) + ": the target of row " + std::to_string(i) + " is " +
                             std::to_string(y[i]));
    return columns;
}
}  // namespace detail

/// Linear regression on standardised features with an L2 penalty. Without a given penalty, the one of 1e-6 .. 1e3
/// (times the number of rows) with the smallest leave-one-out error is taken, in closed form: the residual of a row
/// that was left out is its residual over one minus its leverage (Allen 1974, PRESS).
class Ridge {
public:
    Ridge() = default;
    /// A fixed penalty, relative to the number of rows.
    explicit Ridge(double penalty) : given_(penalty) {}

    /// x: y.size() rows, row-major. Throws shape_mismatch, invalid_value (no rows), not_finite.
    void fit(std::span<const float> x, std::span<const float> y) {
        const std::size_t d = detail::check_rows("hat::Ridge", x, y), n = y.size();
        const double rows = static_cast<double>(n);
        std::vector<double> mean(d, 0.0), scale(d, 0.0);
        for (std::size_t i = 0; i < x.size(); ++i) mean[i % d] += static_cast<double>(x[i]) / rows;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double c = static_cast<double>(x[i]) - mean[i % d];
            scale[i % d] += c * c / rows;
        }
        for (std::size_t j = 0; j < d; ++j) {  // a constant feature, up to rounding, says nothing
            scale[j] = std::sqrt(scale[j]);
            scale[j] = scale[j] > 1e-6 * std::abs(mean[j]) ? 1.0 / scale[j] : 0.0;
        }
        double target = 0;
        for (const float v : y) target += static_cast<double>(v) / rows;
        std::vector<double> z(x.size());
        // check_rows() leaves no row without a feature  NOLINTNEXTLINE(clang-analyzer-core.DivideZero)
        for (std::size_t i = 0; i < x.size(); ++i) z[i] = (static_cast<double>(x[i]) - mean[i % d]) * scale[i % d];

        std::vector<double> gram(d * d, 0.0), moment(d, 0.0);
        for (std::size_t r = 0; r < n; ++r)
            for (std::size_t i = 0; i < d; ++i) {
                moment[i] += z[r * d + i] * (static_cast<double>(y[r]) - target);
                for (std::size_t j = 0; j <= i; ++j) gram[i * d + j] += z[r * d + i] * z[r * d + j];
            }
        std::vector<double> candidates;
        if (given_ >= 0)
            candidates.push_back(given_);
        else
            for (int e = -12; e <= 6; ++e) candidates.push_back(std::pow(10.0, 0.5 * e));
        double best = std::numeric_limits<double>::infinity();
        for (const double penalty : candidates) {
            const std::vector<double> l = cholesky(gram, d, penalty * rows);
            std::vector<double> w = moment;
            forward(l, d, w);
            backward(l, d, w);
            double error = 0;
            std::vector<double> v(d);
            for (std::size_t r = 0; r < n; ++r) {
                std::copy_n(z.begin() + static_cast<std::ptrdiff_t>(r * d), d, v.begin());
                double residual = static_cast<double>(y[r]) - target, leverage = 1.0 / rows;
                for (std::size_t j = 0; j < d; ++j) residual -= v[j] * w[j];
                forward(l, d, v);
                for (std::size_t j = 0; j < d; ++j) leverage += v[j] * v[j];
                const double left_out = residual / std::max(1.0 - leverage, 1e-12);
                error += left_out * left_out / rows;
            }
            if (error < best || candidates.size() == 1) {
                best = error;
                penalty_ = penalty;
                weights_.assign(d, 0.0);
                intercept_ = target;
                for (std::size_t j = 0; j < d; ++j) {
                    weights_[j] = w[j] * scale[j];
                    intercept_ -= weights_[j] * mean[j];
                }
            }
        }
        leave_one_out_rmse_ = std::sqrt(best);
    }

    /// Throws shape_mismatch if the row has another number of features than the training rows.
    float predict(std::span<const float> row) const {
        if (row.size() != weights_.size())
            throw shape_mismatch("hat::Ridge: the row has " + std::to_string(row.size()) + " features, expected " +
                                 std::to_string(weights_.size()));
        double sum = intercept_;
        for (std::size_t j = 0; j < row.size(); ++j) sum += weights_[j] * static_cast<double>(row[j]);
        return static_cast<float>(sum);
    }

    /// prediction = intercept + weights . features
    const std::vector<double>& weights() const { return weights_; }
    /// The prediction where every feature is zero.
    double intercept() const { return intercept_; }
    /// The penalty that was used, relative to the number of rows.
    double penalty() const { return penalty_; }
    /// The error to be expected on new rows, in the unit of the targets.
    double leave_one_out_rmse() const { return leave_one_out_rmse_; }

    /// A trained line, e.g. from a file. Throws invalid_value if it has no weights, not_finite.
    static Ridge trained(std::vector<double> weights, double intercept) {
        if (weights.empty()) throw invalid_value("hat::Ridge: no weights");
        for (const double w : weights)
            if (!std::isfinite(w)) throw not_finite("hat::Ridge: a weight is not finite");
        if (!std::isfinite(intercept)) throw not_finite("hat::Ridge: the intercept is not finite");
        Ridge r;
        r.weights_ = std::move(weights);
        r.intercept_ = intercept;
        return r;
    }

private:
    /// Lower triangle l with l l^T = gram + ridge.
    static std::vector<double> cholesky(const std::vector<double>& gram, std::size_t d, double ridge) {
        std::vector<double> l(d * d, 0.0);
        for (std::size_t i = 0; i < d; ++i)
            for (std::size_t j = 0; j <= i; ++j) {
                double s = gram[i * d + j] + (i == j ? ridge : 0.0);
                for (std::size_t k = 0; k < j; ++k) s -= l[i * d + k] * l[j * d + k];
                // a feature that others explain completely has nothing left to say
                l[i * d + j] = i == j ? std::sqrt(std::max(s, 1e-9 * (gram[i * d + i] + 1.0))) : s / l[j * d + j];
            }
        return l;
    }
    static void forward(const std::vector<double>& l, std::size_t d, std::vector<double>& v) {
        for (std::size_t i = 0; i < d; ++i) {
            for (std::size_t k = 0; k < i; ++k) v[i] -= l[i * d + k] * v[k];
            v[i] /= l[i * d + i];
        }
    }
    static void backward(const std::vector<double>& l, std::size_t d, std::vector<double>& v) {
        for (std::size_t i = d; i-- > 0;) {
            for (std::size_t k = i + 1; k < d; ++k) v[i] -= l[k * d + i] * v[k];
            v[i] /= l[i * d + i];
        }
    }

    double given_ = -1;  // negative: chosen by leave-one-out
    std::vector<double> weights_;
    double intercept_ = 0, penalty_ = 0, leave_one_out_rmse_ = 0;
};

static_assert(Regressor<Ridge>);

}  // namespace hat
