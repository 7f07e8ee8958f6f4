#pragma once
/// \file
/// What corpus scores share: counts per sentence that add up, so that a resampled corpus costs only additions.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <hat/core/error.hpp>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hat {

/// `Stats` is an array of counts; `segment` counts one sentence against its reference, `score` turns summed counts
/// into 0 .. 100 (higher is better).
template <class M>
concept CorpusMetric = requires(const M& metric, std::string_view text, const typename M::Stats& stats) {
    { metric.segment(text, text) } -> std::same_as<typename M::Stats>;
    { metric.score(stats) } -> std::convertible_to<double>;
    stats[0] + std::int64_t{};
};

/// The counts of every sentence. Throws invalid_value when there are none, or not as many as references.
template <CorpusMetric M>
std::vector<typename M::Stats> segment_statistics(const M& metric, std::span<const std::string> hypotheses,
                                                  std::span<const std::string> references) {
    if (hypotheses.size() != references.size())
        throw invalid_value("score: " + std::to_string(hypotheses.size()) + " hypotheses for " +
                            std::to_string(references.size()) + " references; expected equal counts");
    if (hypotheses.empty()) throw invalid_value("score: there are no sentences");
    std::vector<typename M::Stats> stats;
    stats.reserve(hypotheses.size());
    for (std::size_t i = 0; i < hypotheses.size(); ++i) stats.push_back(metric.segment(hypotheses[i], references[i]));
    return stats;
}

/// The counts of a whole corpus.
template <class Stats>
Stats sum_statistics(const std::vector<Stats>& segments) {
    Stats total{};
    for (const Stats& s : segments)
        for (std::size_t k = 0; k < total.size(); ++k) total[k] += s[k];
    return total;
}

namespace detail {
/// How often each n-gram occurs; the keys are views into the text it was counted in.
using NgramCounts = std::unordered_map<std::string_view, std::int64_t>;

/// Counts the n-grams of `text`, whose units (words, characters) stand at [begin[i], end[i]).
inline NgramCounts count_ngrams(std::string_view text, const std::vector<std::size_t>& begin,
                                const std::vector<std::size_t>& end, std::size_t n) {
    NgramCounts counts;
    for (std::size_t i = 0; i + n <= begin.size(); ++i) ++counts[text.substr(begin[i], end[i + n - 1] - begin[i])];
    return counts;
}

/// How many n-grams the two have in common, each at most as often as in either.
inline std::int64_t count_matches(const NgramCounts& hypothesis, const NgramCounts& reference) {
    std::int64_t matches = 0;
    for (const auto& [ngram, count] : hypothesis)
        if (const auto found = reference.find(ngram); found != reference.end())
            matches += std::min(count, found->second);
    return matches;
}

/// A number with a fixed count of decimals, as printf's %.*f.
inline std::string decimals(double value, int digits) {
    std::array<char, 400> buffer{};
    std::snprintf(buffer.data(), buffer.size(), "%.*f", digits, value);
    return buffer.data();
}
}  // namespace detail

}  // namespace hat
