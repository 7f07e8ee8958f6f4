#pragma once
/// \file
/// How good predictions are: errors and rank agreement.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace hat {

namespace detail {
inline void check_pairs(const char* who, std::span<const double> a, std::span<const double> b) {
    if (a.size() != b.size())
        throw shape_mismatch(std::string(who) + ": " + std::to_string(a.size()) + " true values, but " +
                             std::to_string(b.size()) + " predictions");
    if (a.empty()) throw invalid_value(std::string(who) + ": there are no values");
}

/// Sorts n values in place, stably, and counts the swaps of neighbours that this takes. Needs as much `scratch`.
inline std::uint64_t sort_counting_swaps(double* values, double* scratch, std::size_t n) {
    if (n < 2) return 0;
    const std::size_t half = n / 2;
    std::uint64_t swaps =
        sort_counting_swaps(values, scratch, half) + sort_counting_swaps(values + half, scratch, n - half);
    std::size_t i = 0, j = half;
    for (std::size_t k = 0; k < n; ++k) {
        if (j == n || (i < half && values[i] <= values[j])) {
            scratch[k] = values[i++];
        } else {
            swaps += half - i;
            scratch[k] = values[j++];
        }
    }
    std::copy(scratch, scratch + n, values);
    return swaps;
}

/// Positions in ascending order of `a`, where these are equal of `b`.
inline std::vector<std::size_t> ascending(std::span<const double> a, std::span<const double> b) {
    std::vector<std::size_t> order(a.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t i, std::size_t j) { return a[i] < a[j] || (a[i] == a[j] && b[i] < b[j]); });
    return order;
}

/// Ranks from 1; equal values share their mean rank.
inline std::vector<double> mean_ranks(std::span<const double> values) {
    const std::vector<std::size_t> order = ascending(values, values);
    std::vector<double> ranks(values.size());
    for (std::size_t i = 0, j = 0; i < order.size(); i = j) {
        for (j = i; j < order.size() && values[order[j]] == values[order[i]];) ++j;
        for (std::size_t k = i; k < j; ++k) ranks[order[k]] = (static_cast<double>(i + j) + 1.0) / 2.0;
    }
    return ranks;
}
}  // namespace detail

/// Root of the mean squared error, in the unit of the values.
inline double rmse(std::span<const double> truth, std::span<const double> predicted) {
    detail::check_pairs("hat::rmse", truth, predicted);
    double sum = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) sum += (predicted[i] - truth[i]) * (predicted[i] - truth[i]);
    return std::sqrt(sum / static_cast<double>(truth.size()));
}

/// Mean absolute error, in the unit of the values.
inline double mae(std::span<const double> truth, std::span<const double> predicted) {
    detail::check_pairs("hat::mae", truth, predicted);
    double sum = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) sum += std::abs(predicted[i] - truth[i]);
    return sum / static_cast<double>(truth.size());
}

/// Mean absolute error relative to the truth, in per cent. Throws invalid_value if a true value is zero.
inline double mape(std::span<const double> truth, std::span<const double> predicted) {
    detail::check_pairs("hat::mape", truth, predicted);
    double sum = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        if (truth[i] == 0) throw invalid_value("hat::mape: true value " + std::to_string(i) + " is zero");
        sum += std::abs((predicted[i] - truth[i]) / truth[i]);
    }
    return 100.0 * sum / static_cast<double>(truth.size());
}

/// Share of the variance that is explained: 1 is perfect, 0 as good as the mean, negative worse. With equal true
/// values there is nothing to explain: 1 if all predictions are exact, else 0.
inline double r2(std::span<const double> truth, std::span<const double> predicted) {
    detail::check_pairs("hat::r2", truth, predicted);
    double mean = 0;
    for (const double t : truth) mean += t / static_cast<double>(truth.size());
    double residual = 0, total = 0;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        residual += (predicted[i] - truth[i]) * (predicted[i] - truth[i]);
        total += (truth[i] - mean) * (truth[i] - mean);
    }
    if (total == 0) return residual == 0 ? 1.0 : 0.0;
    return 1.0 - residual / total;
}

/// Kendall's tau-b (ties corrected) by Knight's algorithm, O(n log n); 0 if all values of a side are equal.
inline double kendall_tau(std::span<const double> a, std::span<const double> b) {
    detail::check_pairs("hat::kendall_tau", a, b);
    const std::size_t n = a.size();
    const std::vector<std::size_t> order = detail::ascending(a, b);
    const auto tied = [n](auto&& equal) {  // pairs of equal neighbours in a sorted sequence
        std::uint64_t pairs = 0, run = 1;
        for (std::size_t i = 1; i <= n; ++i) {
            if (i < n && equal(i - 1, i)) {
                ++run;
            } else {
                pairs += run * (run - 1) / 2;
                run = 1;
            }
        }
        return pairs;
    };
    const std::uint64_t ties_a = tied([&](std::size_t i, std::size_t j) { return a[order[i]] == a[order[j]]; });
    const std::uint64_t ties_both =
        tied([&](std::size_t i, std::size_t j) { return a[order[i]] == a[order[j]] && b[order[i]] == b[order[j]]; });
    std::vector<double> sorted(n), scratch(n);
    for (std::size_t i = 0; i < n; ++i) sorted[i] = b[order[i]];
    const std::uint64_t swaps = detail::sort_counting_swaps(sorted.data(), scratch.data(), n);
    const std::uint64_t ties_b = tied([&](std::size_t i, std::size_t j) { return sorted[i] == sorted[j]; });
    const double pairs = 0.5 * static_cast<double>(n) * static_cast<double>(n - 1);
    const double left = pairs - static_cast<double>(ties_a), right = pairs - static_cast<double>(ties_b);
    if (left == 0 || right == 0) return 0;
    const double agreement = pairs - static_cast<double>(ties_a) - static_cast<double>(ties_b) +
                             static_cast<double>(ties_both) - 2.0 * static_cast<double>(swaps);
    return agreement / std::sqrt(left) / std::sqrt(right);
}

/// Spearman's rank correlation (ties share their mean rank); 0 if all values of a side are equal.
inline double spearman_rho(std::span<const double> a, std::span<const double> b) {
    detail::check_pairs("hat::spearman_rho", a, b);
    const auto x = detail::mean_ranks(a), y = detail::mean_ranks(b);
    const double mean = (static_cast<double>(a.size()) + 1.0) / 2.0;
    double xy = 0, xx = 0, yy = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        xy += (x[i] - mean) * (y[i] - mean);
        xx += (x[i] - mean) * (x[i] - mean);
        yy += (y[i] - mean) * (y[i] - mean);
    }
    return xx == 0 || yy == 0 ? 0.0 : xy / std::sqrt(xx) / std::sqrt(yy);
}

/// All of them at once, for reports; errors in the unit of the values, MAPE in per cent.
struct RegressionReport {
    std::size_t rows = 0;     ///< predictions judged
    double rmse = 0;          ///< root of the mean squared error
    double mae = 0;           ///< mean absolute error
    double mape = 0;          ///< mean absolute percentage error
    double r2 = 0;            ///< coefficient of determination
    double kendall_tau = 0;   ///< rank correlation by pairs
    double spearman_rho = 0;  ///< correlation of ranks
};
/// Every measure of predictions against the truth. Throws as the single ones do.
inline RegressionReport evaluate_regression(std::span<const double> truth, std::span<const double> predicted) {
    return {truth.size(),         rmse(truth, predicted),        mae(truth, predicted),         mape(truth, predicted),
            r2(truth, predicted), kendall_tau(truth, predicted), spearman_rho(truth, predicted)};
}

}  // namespace hat
