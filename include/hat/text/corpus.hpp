#pragma once
/// \file
/// Parallel text: pairing, cleaning with a report of what was dropped and why, and a check for test sentences that
/// stand in the training text.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/io/file_path.hpp>
#include <hat/text/utf8.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace hat {

/// Sentences that translate each other: source[i] and target[i].
struct ParallelText {
    std::vector<std::string> source;  ///< lines of the source language
    std::vector<std::string> target;  ///< line i translates source line i
    /// Number of pairs.
    std::size_t size() const { return source.size(); }
};

/// Pairs the lines of two files; the paths are for messages. Throws bad_file when the counts differ or are zero.
inline ParallelText pair_lines(std::vector<std::string> source, std::vector<std::string> target,
                               const FilePath& source_path, const FilePath& target_path) {
    if (source.size() != target.size())
        throw bad_file(target_path.string(), "has " + std::to_string(target.size()) + " lines, but " +
                                                 source_path.string() + " has " + std::to_string(source.size()) +
                                                 "; expected equal counts, line i translating line i");
    if (source.empty()) throw bad_file(source_path.string(), "is empty; expected one sentence a line");
    return {std::move(source), std::move(target)};
}

/// The default length of a sentence: its words between white space.
struct CountWords {
    /// Words between white space.
    std::size_t operator()(std::string_view sentence) const { return split_words(sentence).size(); }
};

/// What filter() keeps. Lengths are words, or whatever the length function counts. Sides without a word always go.
struct FilterOptions {
    std::size_t min_length = 1;    ///< words per side at least
    std::size_t max_length = 250;  ///< words per side at most; 250 as in the preparation of the paper's data
    double max_ratio = 3.0;        ///< longer side / shorter side; infinity switches it off
    bool drop_duplicates = true;   ///< pairs equal to an earlier pair that was kept
    bool drop_copies = false;      ///< pairs whose two sides are equal: not translated
};

/// What filter() dropped: each pair counts once, under the first reason that holds in this order.
struct FilterReport {
    /// Why a pair is dropped.
    enum Reason : std::size_t { empty_side, too_short, too_long, ratio, copy, duplicate };
    /// The reasons as they are shown.
    static constexpr std::array<std::string_view, 6> names{"empty side", "too short",       "too long",
                                                           "ratio",      "source = target", "duplicate"};
    static constexpr std::size_t examples = 5;  ///< kept of each reason
    /// The pairs dropped for one reason.
    struct Dropped {
        std::size_t count = 0;                 ///< how many
        std::vector<std::size_t> first_lines;  ///< line numbers from 1, at most `examples`
    };

    std::size_t read = 0;                         ///< pairs before
    std::size_t kept = 0;                         ///< pairs after
    std::array<Dropped, names.size()> reasons{};  ///< by Reason

    /// Pairs that were left out.
    std::size_t dropped() const { return read - kept; }
    /// One line with the totals, then one for each reason that occurred.
    std::string text() const {
        std::string out = "kept " + std::to_string(kept) + " of " + std::to_string(read) + " pairs\n";
        for (std::size_t r = 0; r < names.size(); ++r) {
            if (reasons[r].count == 0) continue;
            out += "dropped " + std::to_string(reasons[r].count) + ": " + std::string(names[r]) + " (line";
            for (const std::size_t line : reasons[r].first_lines) out += " " + std::to_string(line);
            out += reasons[r].count > reasons[r].first_lines.size() ? " ...)\n" : ")\n";
        }
        return out;
    }
};

/// The pairs that passed, in order, and the report.
struct Filtered {
    ParallelText text;    ///< what is left
    FilterReport report;  ///< what was left out
};

namespace detail {
/// Two sentences as one key; a line feed cannot stand inside a line.
inline std::string pair_key(const std::string& source, const std::string& target) { return source + '\n' + target; }
}  // namespace detail

/// Cleans parallel text. `length(sentence)` counts what min_length, max_length and max_ratio limit: words by default,
/// or a tokenizer's pieces. Throws invalid_value for options no pair could satisfy.
template <class Length = CountWords>
Filtered filter(ParallelText text, const FilterOptions& options, Length length = {}) {
    if (options.max_length < std::max<std::size_t>(options.min_length, 1))
        throw invalid_value("max_length = " + std::to_string(options.max_length) + " is below min_length = " +
                            std::to_string(std::max<std::size_t>(options.min_length, 1)) + ": no pair would be kept");
    if (!(options.max_ratio >= 1.0))
        throw invalid_value("max_ratio = " + std::to_string(options.max_ratio) + ": expected 1 or more");
    Filtered out;
    out.report.read = text.size();
    std::unordered_set<std::string> seen;
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string &source = text.source[i], &target = text.target[i];
        const std::size_t s = length(std::string_view(source)), t = length(std::string_view(target));
        const auto drop = [&](FilterReport::Reason reason) {
            auto& dropped = out.report.reasons[reason];
            if (dropped.count++ < FilterReport::examples) dropped.first_lines.push_back(i + 1);
        };
        if (s == 0 || t == 0)
            drop(FilterReport::empty_side);
        else if (std::min(s, t) < options.min_length)
            drop(FilterReport::too_short);
        else if (std::max(s, t) > options.max_length)
            drop(FilterReport::too_long);
        else if (static_cast<double>(std::max(s, t)) > options.max_ratio * static_cast<double>(std::min(s, t)))
            drop(FilterReport::ratio);
        else if (options.drop_copies && source == target)
            drop(FilterReport::copy);
        else if (options.drop_duplicates && !seen.insert(detail::pair_key(source, target)).second)
            drop(FilterReport::duplicate);
        else {
            out.text.source.push_back(std::move(source));
            out.text.target.push_back(std::move(target));
        }
    }
    out.report.kept = out.text.size();
    return out;
}

/// How much of a test set stands in the training text.
struct Overlap {
    std::size_t pairs = 0;                 ///< test lines whose pair is in the training text
    std::size_t sources = 0;               ///< whose source is
    std::size_t targets = 0;               ///< whose target is
    std::vector<std::size_t> first_lines;  ///< the first test lines with any of the three, from 1
};

/// Counts the test sentences found in the training text; a score on those measures memory, not translation.
inline Overlap count_overlap(const ParallelText& train, const ParallelText& test) {
    std::unordered_map<std::string_view, std::int64_t> sources, targets, pairs;
    std::vector<std::string> keys(train.size());  // of the pairs
    for (std::size_t i = 0; i < train.size(); ++i) {
        keys[i] = detail::pair_key(train.source[i], train.target[i]);
        ++sources[train.source[i]], ++targets[train.target[i]], ++pairs[keys[i]];
    }
    Overlap overlap;
    for (std::size_t i = 0; i < test.size(); ++i) {
        const bool s = sources.find(test.source[i]) != sources.end();
        const bool t = targets.find(test.target[i]) != targets.end();
        overlap.sources += s;
        overlap.targets += t;
        overlap.pairs += pairs.find(detail::pair_key(test.source[i], test.target[i])) != pairs.end();
        if ((s || t) && overlap.first_lines.size() < FilterReport::examples) overlap.first_lines.push_back(i + 1);
    }
    return overlap;
}

}  // namespace hat
