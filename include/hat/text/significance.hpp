#pragma once
/// \file
/// How sure a corpus score is: bootstrap intervals (Koehn, 2004) and paired tests of two systems, as in sacreBLEU 2.
/// Any CorpusMetric will do; the seed fixes every number.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/text/metric.hpp>
#include <string>
#include <vector>

namespace hat {

/// A score's spread over resampled corpora: 95 % of them lie in [low, high].
struct ScoreInterval {
    double score = 0;  ///< of the corpus itself
    double mean = 0;   ///< over the resamples
    double low = 0;    ///< the 2.5 % quantile
    double high = 0;   ///< the 97.5 % quantile
    /// Half of the interval's width: score +- this.
    double half_width() const { return 0.5 * (high - low); }
};

/// Two systems on the same sentences.
struct PairedResult {
    double baseline = 0;  ///< score of the baseline
    double system = 0;    ///< score of the system
    /// Two-sided: the chance of at least this difference between equal systems. 1 for equal outputs.
    double p_value = 1;
};

namespace detail {
/// Fills `indices` with as many sentences, drawn with replacement.
inline void resample(std::vector<std::size_t>& indices, Rng& rng) {
    for (std::size_t& i : indices) i = static_cast<std::size_t>(rng.below(indices.size()));
}
template <class M>
double score_of(const M& metric, const std::vector<typename M::Stats>& segments,
                const std::vector<std::size_t>& indices) {
    typename M::Stats total{};
    for (const std::size_t i : indices)
        for (std::size_t k = 0; k < total.size(); ++k) total[k] += segments[i][k];
    return metric.score(total);
}
/// The share of trials at least as far apart as the systems, the observation itself counted in.
inline double p_value(const std::vector<double>& trials, double difference) {
    // ties count for the null hypothesis, so equal systems get 1; the slack is for their rounding
    const auto far = std::count_if(trials.begin(), trials.end(), [&](double t) { return t >= difference - 1e-9; });
    return (static_cast<double>(far) + 1.0) / (static_cast<double>(trials.size()) + 1.0);
}
template <class Stats>
void check_resampling(const std::vector<Stats>& a, const std::vector<Stats>& b, std::size_t n) {
    if (a.size() != b.size())
        throw invalid_value("significance: one system has " + std::to_string(a.size()) + " sentences, the other " +
                            std::to_string(b.size()) + "; expected the same sentences");
    if (a.empty()) throw invalid_value("significance: there are no sentences");
    if (n == 0) throw invalid_value("significance: 0 resamples; expected 1 or more (1000 is usual)");
}
}  // namespace detail

/// The 95 % interval of a score from `n` corpora of as many sentences drawn with replacement. Throws invalid_value.
template <CorpusMetric M>
ScoreInterval bootstrap(const M& metric, const std::vector<typename M::Stats>& segments, std::size_t n = 1000,
                        std::uint64_t seed = 12345) {
    detail::check_resampling(segments, segments, n);
    Rng rng(seed);
    std::vector<std::size_t> indices(segments.size());
    std::vector<double> scores;
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        detail::resample(indices, rng);
        scores.push_back(detail::score_of(metric, segments, indices));
        sum += scores.back();
    }
    std::sort(scores.begin(), scores.end());
    return {metric.score(sum_statistics(segments)), sum / static_cast<double>(n), scores.at(n / 40),
            scores.at(n - n / 40 - 1)};
}

/// Paired bootstrap: both systems on the same `n` resampled corpora; p from how far the resampled difference strays
/// from its mean. Throws invalid_value.
template <CorpusMetric M>
PairedResult paired_bootstrap(const M& metric, const std::vector<typename M::Stats>& baseline,
                              const std::vector<typename M::Stats>& system, std::size_t n = 1000,
                              std::uint64_t seed = 12345) {
    detail::check_resampling(baseline, system, n);
    Rng rng(seed);
    std::vector<std::size_t> indices(baseline.size());
    std::vector<double> differences;
    double mean = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        detail::resample(indices, rng);
        differences.push_back(
            std::abs(detail::score_of(metric, system, indices) - detail::score_of(metric, baseline, indices)));
        mean += differences.back() / static_cast<double>(n);
    }
    for (double& d : differences) d -= mean;
    PairedResult out{metric.score(sum_statistics(baseline)), metric.score(sum_statistics(system)), 1.0};
    out.p_value = detail::p_value(differences, std::abs(out.system - out.baseline));
    return out;
}

/// Paired approximate randomisation (Riezler and Maxwell, 2005): in each of `n` trials every sentence's two outputs
/// are swapped with chance one half; p from how often chance alone gives the difference. Throws invalid_value.
template <CorpusMetric M>
PairedResult paired_randomization(const M& metric, const std::vector<typename M::Stats>& baseline,
                                  const std::vector<typename M::Stats>& system, std::size_t n = 10000,
                                  std::uint64_t seed = 12345) {
    detail::check_resampling(baseline, system, n);
    Rng rng(seed);
    std::vector<double> differences;
    for (std::size_t trial = 0; trial < n; ++trial) {
        typename M::Stats a{}, b{};
        std::uint64_t bits = 0;
        for (std::size_t i = 0; i < baseline.size(); ++i) {
            if (i % 64 == 0) bits = rng.next();
            const bool swap = ((bits >> (i % 64)) & 1U) != 0;
            const auto &x = swap ? system[i] : baseline[i], &y = swap ? baseline[i] : system[i];
            for (std::size_t k = 0; k < a.size(); ++k) {
                a[k] += x[k];
                b[k] += y[k];
            }
        }
        differences.push_back(std::abs(metric.score(a) - metric.score(b)));
    }
    PairedResult out{metric.score(sum_statistics(baseline)), metric.score(sum_statistics(system)), 1.0};
    out.p_value = detail::p_value(differences, std::abs(out.system - out.baseline));
    return out;
}

}  // namespace hat
