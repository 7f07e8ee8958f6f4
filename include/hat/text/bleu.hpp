#pragma once
/// \file
/// Corpus BLEU (Papineni et al., 2002) with the numbers of sacreBLEU 2 (Post, 2018), for one reference.

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/text/lowercase.hpp>
#include <hat/text/metric.hpp>
#include <hat/text/utf8.hpp>
#include <hat/version.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hat {

/// The tokenizer "13a" of NIST's mteval-v13a as sacreBLEU has it: words and punctuation with one space between them.
/// It separates ASCII punctuation only; a period or comma stays between two digits.
inline std::string tokenize_13a(std::string_view text) {
    std::string line(text);
    const auto replace = [&](std::string_view from, std::string_view to) {
        for (std::size_t at = 0; (at = line.find(from, at)) != std::string::npos; at += to.size())
            line.replace(at, from.size(), to);
    };
    replace("<skipped>", "");
    replace("-\n", "");  // a word broken at a line end
    replace("\n", " ");
    replace("&quot;", "\"");
    replace("&amp;", "&");
    replace("&lt;", "<");
    replace("&gt;", ">");
    line = ' ' + line + ' ';

    // Four passes from left to right; a character taken by one match is not seen by the next match of that pass.
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    const auto point = [](char c) { return c == '.' || c == ','; };
    const auto symbol = [](char c) {  // all ASCII punctuation but ' , - . (and the space itself)
        return (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') || c == '/' || (c >= ':' && c <= '@') ||
               (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
    };
    const auto pass = [&](auto&& match, std::string_view before, std::string_view between, std::string_view after) {
        std::string out;
        out.reserve(line.size() + line.size() / 2);
        for (std::size_t i = 0; i < line.size(); ++i) {
            if (i + 1 < line.size() && match(line[i], line[i + 1])) {
                out += before;
                out += line[i];
                out += between;
                out += line[++i];
                out += after;
            } else {
                out += line[i];
            }
        }
        line = std::move(out);
    };
    std::string spaced;
    for (const char c : line) {
        if (symbol(c)) {
            spaced += ' ';
            spaced += c;
            spaced += ' ';
        } else {
            spaced += c;
        }
    }
    line = std::move(spaced);
    pass([&](char a, char b) { return !digit(a) && point(b); }, "", " ", " ");
    pass([&](char a, char b) { return point(a) && !digit(b); }, " ", " ", "");
    pass([&](char a, char b) { return digit(a) && b == '-'; }, "", " ", " ");
    return join_words(split_words(line));
}

/// How BLEU is counted; the defaults are sacreBLEU's.
struct BleuOptions {
    /// How words are cut.
    enum class Tokenizer { v13a, none };
    /// What stands for a precision of zero: Chen and Cherry (2014), methods 3, none, 1, 2.
    enum class Smoothing { exp, none, floor, add_k };
    Tokenizer tokenizer = Tokenizer::v13a;  ///< mteval-v13a's rules, or text that is tokenised already
    Smoothing smoothing = Smoothing::exp;   ///< of precisions that are zero
    std::optional<double> smooth_value{};   ///< of floor (0.1 when not given) and add_k (1)
    bool lowercase = false;                 ///< ignore case
    bool effective_order = false;  ///< leave out the orders a (short) text has no n-grams of; for single sentences
};

/// A BLEU score and the numbers it is made of; index n - 1 holds the n-grams' ones.
struct BleuScore {
    static constexpr std::size_t order = 4;    ///< longest n-gram
    double score = 0;                          ///< 0 .. 100
    double brevity_penalty = 1;                ///< 0 .. 1
    std::array<double, order> precisions{};    ///< 0 .. 100, after smoothing
    std::array<std::int64_t, order> counts{};  ///< matching n-grams
    std::array<std::int64_t, order> totals{};  ///< the hypotheses' n-grams
    std::int64_t sys_length = 0;               ///< tokens of the translation
    std::int64_t ref_length = 0;               ///< tokens of the reference

    /// Length of the translations over that of the references.
    double ratio() const {
        return ref_length != 0 ? static_cast<double>(sys_length) / static_cast<double>(ref_length) : 0.0;
    }
    /// As sacreBLEU prints it; with a signature, "BLEU|signature = ...".
    std::string text(std::string_view signature = {}, int digits = 2) const {
        std::string out = "BLEU";
        if (!signature.empty()) (out += '|') += signature;
        out += " = " + detail::decimals(score, digits) + " ";
        for (std::size_t n = 0; n < order; ++n) out += (n == 0 ? "" : "/") + detail::decimals(precisions[n], 1);
        return out + " (BP = " + detail::decimals(brevity_penalty, 3) + " ratio = " + detail::decimals(ratio(), 3) +
               " hyp_len = " + std::to_string(sys_length) + " ref_len = " + std::to_string(ref_length) + ")";
    }
};

/// The metric: counts of one sentence, and the score of summed counts.
struct Bleu {
    BleuOptions options{};  ///< how it is computed

    /// Hypothesis length, reference length, matches of order 1 to 4, hypothesis n-grams of order 1 to 4.
    using Stats = std::array<std::int64_t, 2 + 2 * BleuScore::order>;

    /// Both texts must be UTF-8.
    Stats segment(std::string_view hypothesis, std::string_view reference) const {
        const Words h(prepare(hypothesis)), r(prepare(reference));
        Stats stats{};
        stats[0] = static_cast<std::int64_t>(h.begin.size());
        stats[1] = static_cast<std::int64_t>(r.begin.size());
        for (std::size_t n = 1; n <= BleuScore::order; ++n) {
            stats[1 + n] = detail::count_matches(detail::count_ngrams(h.text, h.begin, h.end, n),
                                                 detail::count_ngrams(r.text, r.begin, r.end, n));
            stats[1 + BleuScore::order + n] =
                h.begin.size() >= n ? static_cast<std::int64_t>(h.begin.size() - n + 1) : 0;
        }
        return stats;
    }

    /// Everything that is printed, from the sums of some sentences.
    BleuScore result(const Stats& stats) const {
        using Smoothing = BleuOptions::Smoothing;
        BleuScore out;
        out.sys_length = stats[0];
        out.ref_length = stats[1];
        bool any = false;
        for (std::size_t n = 0; n < BleuScore::order; ++n) {
            out.counts[n] = stats[2 + n];
            out.totals[n] = stats[2 + BleuScore::order + n];
            any = any || out.counts[n] != 0;
        }
        if (out.sys_length < out.ref_length)
            out.brevity_penalty =
                out.sys_length > 0
                    ? std::exp(1.0 - static_cast<double>(out.ref_length) / static_cast<double>(out.sys_length))
                    : 0.0;
        if (!any) return out;  // no match at all is 0, smoothing or not
        double halved = 1.0;
        std::size_t used = BleuScore::order;
        for (std::size_t n = 0; n < BleuScore::order; ++n) {
            const double added = options.smoothing == Smoothing::add_k && n > 0 ? smooth_value() : 0.0;
            const double count = static_cast<double>(out.counts[n]) + added;
            const double total = static_cast<double>(out.totals[n]) + added;
            if (total == 0.0) break;
            if (options.effective_order) used = n + 1;
            if (count != 0.0)
                out.precisions[n] = 100.0 * count / total;
            else if (options.smoothing == Smoothing::exp)
                out.precisions[n] = 100.0 / ((halved *= 2.0) * total);
            else if (options.smoothing == Smoothing::floor)
                out.precisions[n] = 100.0 * smooth_value() / total;
        }
        double logs = 0.0;
        for (std::size_t n = 0; n < used; ++n) {
            if (out.precisions[n] == 0.0) return out;
            logs += std::log(out.precisions[n]);
        }
        out.score = out.brevity_penalty * std::exp(logs / static_cast<double>(used));
        return out;
    }
    /// BLEU, 0 to 100, from the sums of some sentences.
    double score(const Stats& stats) const { return result(stats).score; }

    /// What a reader needs to repeat the number: sacreBLEU's signature with hat's version.
    std::string signature() const {
        using Smoothing = BleuOptions::Smoothing;
        std::string smoothing;
        switch (options.smoothing) {
            case Smoothing::exp:
                smoothing = "exp";
                break;
            case Smoothing::none:
                smoothing = "none";
                break;
            case Smoothing::floor:
                smoothing = "floor[" + detail::decimals(smooth_value(), 2) + "]";
                break;
            case Smoothing::add_k:
                smoothing = "add-k[" + detail::decimals(smooth_value(), 2) + "]";
                break;
        }
        return std::string("nrefs:1|case:") + (options.lowercase ? "lc" : "mixed") +
               "|eff:" + (options.effective_order ? "yes" : "no") +
               "|tok:" + (options.tokenizer == BleuOptions::Tokenizer::v13a ? "13a" : "none") + "|smooth:" + smoothing +
               "|version:hat-" + version;
    }

private:
    /// Words with single spaces between them, and where each stands.
    struct Words {
        std::string text;
        std::vector<std::size_t> begin, end;
        explicit Words(std::string joined) : text(std::move(joined)) {
            for (const std::string_view word : split_words(text)) {
                begin.push_back(static_cast<std::size_t>(word.data() - text.data()));
                end.push_back(begin.back() + word.size());
            }
        }
    };

    double smooth_value() const {
        return options.smooth_value.value_or(options.smoothing == BleuOptions::Smoothing::floor ? 0.1 : 1.0);
    }
    std::string prepare(std::string_view text) const {
        std::string line = options.lowercase ? to_lower(text) : std::string(text);
        if (options.tokenizer == BleuOptions::Tokenizer::none) return join_words(split_words(line));
        // white space at the end goes first, so that a final "-\n" keeps its dash
        const auto words = split_words(line);
        line.resize(words.empty() ? 0
                                  : static_cast<std::size_t>(words.back().data() - line.data()) + words.back().size());
        return tokenize_13a(line);
    }
};

static_assert(CorpusMetric<Bleu>);

/// BLEU of detokenised, UTF-8 hypotheses. Throws invalid_value for no sentences or unequal counts.
inline BleuScore corpus_bleu(std::span<const std::string> hypotheses, std::span<const std::string> references,
                             const BleuOptions& options = {}) {
    const Bleu metric{options};
    return metric.result(sum_statistics(segment_statistics(metric, hypotheses, references)));
}

}  // namespace hat
