#pragma once
/// \file
/// K-means of single numbers: the codebook of quantized weights. Exact for few distinct numbers, deterministic always.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace hat {

namespace detail {

/// Sums of sorted numbers and their squares up to some positions; the numbers are shifted so that little cancels.
struct SegmentSums {
    std::vector<double> count, sum, square;

    /// Sum of squared distances of the numbers between two positions (indices of this table) to their mean.
    double cost(std::size_t first, std::size_t last) const {
        const double s = sum[last] - sum[first], n = count[last] - count[first];
        return std::max(0.0, square[last] - square[first] - s * s / n);
    }
};

/// Cuts the pieces between m + 1 positions into k <= m segments of the least total cost: dynamic programming, where the
/// best last cut never moves back as the end moves on, so each row is filled by divide and conquer (Wu 1991). Returns
/// where each segment begins.
inline std::vector<std::size_t> best_segments(const SegmentSums& sums, std::size_t k) {
    const std::size_t m = sums.count.size() - 1;
    std::vector<double> before(m + 1), now(m + 1);
    std::vector<std::uint32_t> cut(k * (m + 1));
    for (std::size_t j = 1; j <= m; ++j) now[j] = sums.cost(0, j);
    const auto fill = [&](const auto& self, std::size_t c, std::size_t lo, std::size_t hi, std::size_t from,
                          std::size_t to) -> void {
        if (lo > hi) return;
        const std::size_t j = (lo + hi) / 2;
        double best = std::numeric_limits<double>::infinity();
        std::size_t at = from;
        for (std::size_t i = std::max(from, c); i <= std::min(to, j - 1); ++i)
            if (const double cost = before[i] + sums.cost(i, j); cost < best) best = cost, at = i;
        now[j] = best;
        cut[c * (m + 1) + j] = static_cast<std::uint32_t>(at);
        self(self, c, lo, j - 1, from, at);
        self(self, c, j + 1, hi, at, to);
    };
    for (std::size_t c = 1; c < k; ++c) {
        std::swap(before, now);
        fill(fill, c, c + 1, m, c, m - 1);
    }
    std::vector<std::size_t> begins(k);
    for (std::size_t c = k, end = m; c-- > 0;) end = begins[c] = cut[c * (m + 1) + end];
    return begins;
}

}  // namespace detail

/// At most `clusters` centroids, ascending, for the least sum of squared distances. Up to 1024 distinct numbers: the
/// optimum. More: the optimum over 1024 candidate borders (half of them equal counts apart, half equal distances),
/// then Lloyd's iterations on all numbers until nothing moves. Throws not_finite for NaN or infinities and
/// invalid_value for no clusters or no numbers.
inline std::vector<float> kmeans(std::span<const float> values, std::size_t clusters) {
    constexpr std::size_t borders = 1024, most_iterations = 1000;
    if (clusters == 0 || values.empty())
        throw invalid_value("hat::kmeans: " + std::to_string(values.size()) + " numbers in " +
                            std::to_string(clusters) + " clusters, expected at least one of each");
    for (std::size_t i = 0; i < values.size(); ++i)
        if (!std::isfinite(values[i]))
            throw not_finite("hat::kmeans: number " + std::to_string(i) + " is " + std::to_string(values[i]));
    std::vector<float> x(values.begin(), values.end());
    std::sort(x.begin(), x.end());
    const std::size_t n = x.size();

    // positions in x where a cluster may begin, and the end
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < n && positions.size() <= borders; ++i)
        if (i == 0 || x[i] != x[i - 1]) positions.push_back(i);
    if (positions.size() <= clusters) {
        std::vector<float> distinct;
        for (const std::size_t at : positions) distinct.push_back(x[at]);
        return distinct;
    }
    if (positions.size() > borders) {
        positions.clear();
        const double low = static_cast<double>(x.front()), range = static_cast<double>(x.back()) - low;
        for (std::size_t b = 0; b < borders / 2; ++b) {
            const float edge = static_cast<float>(low + range * static_cast<double>(b) / (borders / 2));
            positions.push_back(n * b / (borders / 2));
            positions.push_back(static_cast<std::size_t>(std::lower_bound(x.begin(), x.end(), edge) - x.begin()));
        }
        std::sort(positions.begin(), positions.end());
        positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
        positions.erase(std::lower_bound(positions.begin(), positions.end(), n), positions.end());
    }
    positions.push_back(n);
    clusters = std::min(clusters, positions.size() - 1);

    double mean = 0;
    for (const float v : x) mean += static_cast<double>(v) / static_cast<double>(n);
    std::vector<double> prefix(n + 1);
    detail::SegmentSums sums;
    double square = 0;
    for (std::size_t i = 0, next = 0;; ++i) {
        if (i == positions[next]) {
            sums.count.push_back(static_cast<double>(i));
            sums.sum.push_back(prefix[i]);
            sums.square.push_back(square);
            ++next;
        }
        if (i == n) break;
        const double d = static_cast<double>(x[i]) - mean;
        prefix[i + 1] = prefix[i] + d;
        square += d * d;
    }
    std::vector<std::size_t> begins = detail::best_segments(sums, clusters);
    for (std::size_t& b : begins) b = positions[b];

    std::vector<float> centroids(clusters);
    for (std::size_t iteration = 0; iteration < most_iterations; ++iteration) {
        for (std::size_t c = 0; c < clusters; ++c) {
            const std::size_t first = begins[c], last = c + 1 < clusters ? begins[c + 1] : n;
            if (first < last)
                centroids[c] =
                    static_cast<float>(mean + (prefix[last] - prefix[first]) / static_cast<double>(last - first));
        }
        bool moved = false;
        for (std::size_t c = 1; c < clusters; ++c) {
            const double middle = (static_cast<double>(centroids[c - 1]) + static_cast<double>(centroids[c])) / 2;
            const auto at = std::lower_bound(x.begin(), x.end(), middle,
                                             [](float v, double m) { return static_cast<double>(v) < m; });
            const auto begin = static_cast<std::size_t>(at - x.begin());
            moved = moved || begin != begins[c];
            begins[c] = begin;
        }
        if (!moved) break;
    }
    centroids.erase(std::unique(centroids.begin(), centroids.end()), centroids.end());
    return centroids;
}

/// The index of the nearest centroid for every value; between two, the upper one. Up to 256 ascending centroids.
inline void nearest_centroids(const std::vector<float>& centroids, std::span<const float> values, std::uint8_t* codes) {
    std::vector<double> middles;
    for (std::size_t c = 1; c < centroids.size(); ++c)
        middles.push_back((static_cast<double>(centroids[c - 1]) + static_cast<double>(centroids[c])) / 2);
    for (std::size_t i = 0; i < values.size(); ++i)
        codes[i] = static_cast<std::uint8_t>(
            std::upper_bound(middles.begin(), middles.end(), static_cast<double>(values[i])) - middles.begin());
}

}  // namespace hat
