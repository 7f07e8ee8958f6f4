#pragma once
/// \file
/// Character n-gram F-score, chrF (Popovic, 2015) and chrF++ (2017), with the numbers of sacreBLEU 2, one reference.

#include <array>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/text/lowercase.hpp>
#include <hat/text/metric.hpp>
#include <hat/text/utf8.hpp>
#include <hat/version.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hat {

/// chrF2: character n-grams of order 1 to 6, recall counted twice as much as precision, white space left out,
/// precision and recall averaged over the orders both sides have. `word_order` 2 makes it chrF2++.
struct Chrf {
    static constexpr std::size_t char_order = 6;      ///< longest n-grams of characters
    static constexpr std::size_t max_word_order = 2;  ///< longest n-grams of words
    static constexpr double beta = 2.0;               ///< recall counts so many times precision

    std::size_t word_order = 0;  ///< 0, 1 or 2
    bool lowercase = false;      ///< ignore case

    /// Per order, characters first: n-grams of the hypothesis, of the reference, common ones.
    using Stats = std::array<std::int64_t, 3 * (char_order + max_word_order)>;

    /// Both texts must be UTF-8. Throws invalid_value when word_order is above 2.
    Stats segment(std::string_view hypothesis, std::string_view reference) const {
        if (word_order > max_word_order)
            throw invalid_value("chrF: word_order = " + std::to_string(word_order) + ": expected 0, 1 or 2");
        const std::string h = lowercase ? to_lower(hypothesis) : std::string(hypothesis);
        const std::string r = lowercase ? to_lower(reference) : std::string(reference);
        Stats stats{};
        const Units hc = characters(h), rc = characters(r);
        for (std::size_t n = 1; n <= char_order; ++n) count(hc, rc, n, &stats[3 * (n - 1)]);
        if (word_order > 0) {
            const Units hw = words(h), rw = words(r);
            for (std::size_t n = 1; n <= word_order; ++n) count(hw, rw, n, &stats[3 * (char_order + n - 1)]);
        }
        return stats;
    }

    /// The chrF, 0 to 100, from the sums of some sentences.
    double score(const Stats& stats) const {
        double precision = 0.0, recall = 0.0;
        std::size_t orders = 0;
        for (std::size_t i = 0; i < stats.size(); i += 3) {
            if (stats[i] == 0 || stats[i + 1] == 0) continue;
            precision += static_cast<double>(stats[i + 2]) / static_cast<double>(stats[i]);
            recall += static_cast<double>(stats[i + 2]) / static_cast<double>(stats[i + 1]);
            ++orders;
        }
        if (orders == 0 || precision + recall == 0.0) return 0.0;
        precision /= static_cast<double>(orders);
        recall /= static_cast<double>(orders);
        return 100.0 * (1.0 + beta * beta) * precision * recall / (beta * beta * precision + recall);
    }

    /// "chrF2", "chrF2+" or "chrF2++".
    std::string name() const { return "chrF2" + std::string(word_order, '+'); }
    /// What a reader needs to repeat the number: sacreBLEU's signature with hat's version.
    std::string signature() const {
        return std::string("nrefs:1|case:") + (lowercase ? "lc" : "mixed") +
               "|eff:yes|nc:6|nw:" + std::to_string(word_order) + "|space:no|version:hat-" + version;
    }
    /// As sacreBLEU prints it: "chrF2 = 51.23", or "chrF2|signature = 51.23".
    std::string text(double value, bool with_signature = false, int digits = 2) const {
        return name() + (with_signature ? "|" + signature() : "") + " = " + detail::decimals(value, digits);
    }

private:
    struct Units {
        std::string text;
        std::vector<std::size_t> begin, end;
        void add(std::string_view unit) {
            begin.push_back(text.size());
            text += unit;
            end.push_back(text.size());
        }
    };

    static Units characters(std::string_view line) {
        Units out;
        for (const std::string_view word : split_words(line))
            for (std::size_t i = 0; i < word.size(); i += utf8_length(word[i]))
                out.add(word.substr(i, utf8_length(word[i])));
        return out;
    }
    /// Words; one punctuation mark is cut off, at the end or else at the beginning.
    static Units words(std::string_view line) {
        constexpr std::string_view marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
        Units out;
        const auto add = [&](std::string_view word) {
            out.text += ' ';
            out.add(word);
        };
        for (const std::string_view word : split_words(line)) {
            if (word.size() == utf8_length(word[0])) {
                add(word);
            } else if (marks.find(word.back()) != std::string_view::npos) {
                add(word.substr(0, word.size() - 1));
                add(word.substr(word.size() - 1));
            } else if (marks.find(word.front()) != std::string_view::npos) {
                add(word.substr(0, 1));
                add(word.substr(1));
            } else {
                add(word);
            }
        }
        return out;
    }
    static void count(const Units& h, const Units& r, std::size_t n, std::int64_t* stats) {
        const auto of = [n](const Units& u) {
            return u.begin.size() >= n ? static_cast<std::int64_t>(u.begin.size() - n + 1) : 0;
        };
        stats[1] = of(r);
        stats[0] = stats[1] != 0 ? of(h) : 0;  // an order the reference does not have counts on neither side
        stats[2] = detail::count_matches(detail::count_ngrams(h.text, h.begin, h.end, n),
                                         detail::count_ngrams(r.text, r.begin, r.end, n));
    }
};

static_assert(CorpusMetric<Chrf>);

/// chrF2 of detokenised, UTF-8 hypotheses, 0 .. 100. Throws invalid_value for no sentences or unequal counts.
inline double corpus_chrf(std::span<const std::string> hypotheses, std::span<const std::string> references,
                          const Chrf& metric = {}) {
    return metric.score(sum_statistics(segment_statistics(metric, hypotheses, references)));
}

}  // namespace hat
