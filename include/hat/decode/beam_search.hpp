#pragma once
/// \file
/// Beam search with the rules of the reference (semantics, section 12), batched.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/tokens.hpp>
#include <hat/decode/inference.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/softmax.hpp>
#include <limits>
#include <string>
#include <vector>

namespace hat {

/// How to search. The defaults are those of the paper's IWSLT results; its WMT results use beam 4, length penalty 0.6.
struct BeamOptions {
    std::size_t beam = 5;        ///< hypotheses kept per sentence; 1 is greedy search
    double length_penalty = 1;   ///< scores are divided by length ^ this
    bool normalize = true;       ///< false: scores are plain sums of log-probabilities
    double unknown_penalty = 0;  ///< subtracted from the log-probability of the unknown token
    std::size_t min_length = 1;  ///< tokens before eos
    double max_length_a = 0;     ///< at most a * source length + b tokens before eos (but never less than min_length),
    std::size_t max_length_b = 200;    ///< where the source length includes its eos
    std::size_t max_positions = 1024;  ///< the decoder's positions: at most one token less before eos
    /// The reference takes the longest source of the batch as source length, so that a translation depends on the other
    /// sentences of its batch. Only for parity; by default each sentence has its own limit.
    bool max_length_by_batch = false;
    std::size_t n_best = 1;  ///< hypotheses returned per sentence, at most `beam`
};

/// One translation. `tokens` ends in eos.
struct Hypothesis {
    std::vector<std::int32_t> tokens;       ///< target ids
    double score = 0;                       ///< log-probability, divided by length ^ length_penalty when normalised
    std::vector<double> positional_scores;  ///< log-probability of each token (less the unknown penalty)
};

/// The widest beam: far beyond what translations gain from.
inline constexpr std::size_t most_beam = 1024;

/// Throws invalid_value for options no search can have.
inline void validate(const BeamOptions& o) {
    const auto fail = [](const std::string& what) { throw invalid_value("hat::beam_search: " + what); };
    const auto text = [](std::size_t n) { return std::to_string(static_cast<std::ptrdiff_t>(n)); };  // -1 stays -1
    if (o.beam == 0 || o.beam > most_beam)
        fail("beam is " + text(o.beam) + ", expected 1 to " + std::to_string(most_beam));
    if (o.n_best == 0 || o.n_best > o.beam)
        fail("n_best is " + text(o.n_best) + ", expected 1 to the beam, " + std::to_string(o.beam));
    if (!std::isfinite(o.length_penalty)) fail("length_penalty is not finite");
    if (!std::isfinite(o.unknown_penalty)) fail("unknown_penalty is not finite");
    if (!std::isfinite(o.max_length_a) || o.max_length_a < 0)
        fail("max_length_a is " + std::to_string(o.max_length_a) + ", expected at least 0");
    if (o.max_positions < 2) fail("max_positions is " + std::to_string(o.max_positions) + ", expected at least 2");
    if (o.max_length_a == 0 && o.max_length_b == 0)
        fail("max_length_a and max_length_b are both 0: nothing may be said");
    if (o.min_length >= o.max_positions || (o.max_length_a == 0 && o.min_length > o.max_length_b))
        fail("min_length is " + std::to_string(o.min_length) + ", which max_length_b " +
             std::to_string(o.max_length_b) + " or max_positions " + std::to_string(o.max_positions) +
             " does not allow");
}

/// The model gave NaN or infinity for a sentence.
struct logits_not_finite : not_finite {
    /// In step `step_` of sentence `sentence_` of the batch, both counted from 0.
    logits_not_finite(std::size_t step_, std::size_t sentence_)
        : not_finite("hat::beam_search: the logits of step " + std::to_string(step_) + " of sentence " +
                     std::to_string(sentence_) + " are not finite"),
          step(step_),
          sentence(sentence_) {}
    std::size_t step;      ///< tokens before it
    std::size_t sentence;  ///< its index in the batch
};

namespace detail {

/// One way to continue a row.
template <class T>
struct Continuation {
    T score = 0;  ///< of the whole prefix
    T logit = 0;
    std::size_t row = 0;
    std::int32_t token = 0;
};

/// The k best of a row of logits, the largest first, equal ones by ascending token; -infinity is never chosen. Blocks
/// that cannot hold one of the k are skipped by their maximum. `maxima` is scratch.
template <class T>
void best_of_row(const T* x, std::size_t n, std::size_t k, std::vector<T>& maxima, std::vector<Continuation<T>>& out) {
    constexpr std::size_t block = 256;
    const std::size_t blocks = (n + block - 1) / block;
    const auto length = [&](std::size_t b) { return std::min(block, n - b * block); };
    maxima.resize(2 * blocks);
    for (std::size_t b = 0; b < blocks; ++b) maxima[b] = row_max(x + b * block, length(b));
    T threshold = std::numeric_limits<T>::lowest();
    if (k < blocks) {  // the k largest numbers are at least the k-th largest maximum
        const auto first = maxima.begin() + static_cast<std::ptrdiff_t>(blocks);
        std::copy_n(maxima.begin(), blocks, first);
        std::nth_element(first, first + static_cast<std::ptrdiff_t>(k - 1), maxima.end(),
                         [](T a, T b) { return a > b; });
        threshold = std::max(threshold, first[static_cast<std::ptrdiff_t>(k - 1)]);
    }
    out.clear();
    for (std::size_t b = 0; b < blocks; ++b) {
        if (maxima[b] < threshold) continue;
        for (std::size_t i = b * block; i < b * block + length(b); ++i)
            if (x[i] >= threshold) out.push_back({T(0), x[i], 0, static_cast<std::int32_t>(i)});
    }
    const std::size_t kept = std::min(k, out.size());
    std::partial_sort(
        out.begin(), out.begin() + static_cast<std::ptrdiff_t>(kept), out.end(),
        [](const auto& a, const auto& b) { return a.logit != b.logit ? a.logit > b.logit : a.token < b.token; });
    out.resize(kept);
}

/// The search over one batch; see beam_search().
template <class T>
class BeamSearch {
public:
    BeamSearch(InferenceSession<T>& session, const Ragged& sources, const BeamOptions& options)
        : session_(&session), options_(options), result_(sources.size()) {
        const std::size_t all = longest(sources);
        for (std::size_t i = 0; i < sources.size(); ++i)
            limits_.push_back(limit(options.max_length_by_batch ? all : sources[i].size()));
    }

    std::vector<std::vector<Hypothesis>> run() {
        const std::size_t beam = options_.beam;
        session_->start(beam);
        for (std::size_t i = 0; i < result_.size(); ++i) active_.push_back(i);
        Step now;  // the rows about to be fed
        now.tokens.assign(active_.size() * beam, SpecialTokens::eos);
        now.parents.clear();
        now.scores.assign(active_.size() * beam, -std::numeric_limits<T>::infinity());
        for (std::size_t i = 0; i < active_.size(); ++i) now.scores[i * beam] = T(0);
        for (std::size_t step = 0; !active_.empty(); ++step) {
            const View<T> logits = session_->step(now.tokens, now.parents);
            steps_.push_back(std::move(now));
            score_rows(step, logits);
            now = advance(step);
        }
        for (auto& hypotheses : result_) {
            std::stable_sort(hypotheses.begin(), hypotheses.end(),
                             [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
            hypotheses.resize(std::min(hypotheses.size(), options_.n_best));
        }
        return std::move(result_);
    }

private:
    /// The rows fed in one step: their last token, the row before it and the score of the prefix.
    struct Step {
        std::vector<std::int32_t> tokens;
        std::vector<std::size_t> parents;
        std::vector<T> scores;
    };

    std::size_t limit(std::size_t source_length) const {
        const double most =
            options_.max_length_a * static_cast<double>(source_length) + static_cast<double>(options_.max_length_b);
        const auto positions = static_cast<double>(options_.max_positions - 1);
        return std::max(static_cast<std::size_t>(std::min(most, positions)),
                        std::max<std::size_t>(1, options_.min_length));
    }

    /// The 2 * beam best continuations of every row, into candidates_.
    void score_rows(std::size_t step, View<T> logits) {
        const std::size_t beam = options_.beam;
        const Step& fed = steps_.back();
        if (candidates_.size() < logits.rows) candidates_.resize(logits.rows), maxima_.resize(logits.rows);
        parallel_rows(session_->pool(), logits.rows, 4 * logits.cols, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                auto& out = candidates_[r];
                out.clear();
                if (fed.scores[r] == -std::numeric_limits<T>::infinity()) continue;  // a beam without a hypothesis
                T* x = logits.row(r);
                const std::size_t sentence = active_[r / beam];
                const T top = row_max(x, logits.cols), log_sum = std::log(sum_exp(x, logits.cols, top));
                if (!std::isfinite(top) || !std::isfinite(log_sum)) throw logits_not_finite(step, sentence);
                if (step == limits_[sentence]) {
                    out.push_back({T(0), x[SpecialTokens::eos], 0, SpecialTokens::eos});
                } else {
                    x[SpecialTokens::pad] = -std::numeric_limits<T>::infinity();
                    x[SpecialTokens::unk] -= static_cast<T>(options_.unknown_penalty);
                    if (step < options_.min_length) x[SpecialTokens::eos] = -std::numeric_limits<T>::infinity();
                    best_of_row(x, logits.cols, 2 * beam, maxima_[r], out);
                }
                for (auto& c : out) {
                    c.score = (c.logit - top) - log_sum + fed.scores[r];
                    c.row = r;
                }
            }
        });
    }
    static T sum_exp(const T* x, std::size_t n, T shift) {
        auto sum = simd::zero<T>();
        const auto s = simd::splat(shift);
        simd::for_each_vector<T>(
            n, [&](auto load, auto) { sum = sum + simd::exp<T>(load(x, -std::numeric_limits<T>::infinity()) - s); });
        return simd::sum<T>(sum);
    }

    /// Finishes hypotheses and sentences, and gives the rows of the next step.
    Step advance(std::size_t step) {
        const std::size_t beam = options_.beam;
        Step next;
        std::vector<std::size_t> still;
        for (std::size_t group = 0; group < active_.size(); ++group) {
            auto& best = candidates_[group * beam];
            for (std::size_t b = 1; b < beam; ++b) {
                const auto& more = candidates_[group * beam + b];
                best.insert(best.end(), more.begin(), more.end());
            }
            std::stable_sort(best.begin(), best.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
            best.resize(std::min(best.size(), 2 * beam));

            auto& finished = result_[active_[group]];
            for (std::size_t i = 0; i < std::min(beam, best.size()); ++i)
                if (best[i].token == SpecialTokens::eos && finished.size() < beam)
                    finished.push_back(trace(step, best[i]));
            std::size_t live = 0;
            const std::size_t begin = next.tokens.size();
            for (const auto& c : best)
                if (c.token != SpecialTokens::eos && live < beam) {
                    next.tokens.push_back(c.token);
                    next.parents.push_back(c.row);
                    next.scores.push_back(c.score);
                    ++live;
                }
            if (live == 0 || finished.size() == beam) {
                next.tokens.resize(begin);
                next.parents.resize(begin);
                next.scores.resize(begin);
                continue;
            }
            for (; live < beam; ++live) {  // fewer continuations than beams: rows without a hypothesis
                next.tokens.push_back(next.tokens[begin]);
                next.parents.push_back(next.parents[begin]);
                next.scores.push_back(-std::numeric_limits<T>::infinity());
            }
            still.push_back(active_[group]);
        }
        active_ = std::move(still);
        return next;
    }

    /// The hypothesis that ends with `last`, fed `step` + 1 rows before.
    Hypothesis trace(std::size_t step, const Continuation<T>& last) const {
        Hypothesis h;
        h.tokens.resize(step + 1);
        h.positional_scores.resize(step + 1);
        std::int32_t token = last.token;
        T score = last.score;
        std::size_t row = last.row;
        for (std::size_t t = step + 1; t-- > 0;) {
            const T before = steps_[t].scores[row];
            h.tokens[t] = token;
            h.positional_scores[t] = static_cast<double>(score - before);
            token = steps_[t].tokens[row];
            score = before;
            if (t > 0) row = steps_[t].parents[row];
        }
        h.score = static_cast<double>(last.score);
        if (options_.normalize) h.score /= std::pow(static_cast<double>(step + 1), options_.length_penalty);
        return h;
    }

    InferenceSession<T>* session_;
    BeamOptions options_;
    std::vector<std::vector<Hypothesis>> result_;
    std::vector<std::size_t> limits_, active_;
    std::vector<Step> steps_;
    std::vector<std::vector<Continuation<T>>> candidates_;
    std::vector<std::vector<T>> maxima_;
};

}  // namespace detail

/// Translates sentences that end in eos: for each the `n_best` hypotheses with the highest scores, best first. In step
/// t the 2 * beam best continuations of all beams are ranked; an eos among the first `beam` finishes a hypothesis, the
/// first `beam` others go on; a sentence is done with `beam` finished ones. By default results do not depend on the
/// other sentences, and never on threads. Throws invalid_value or shape_mismatch for bad options or sentences,
/// logits_not_finite when the model gives NaN or infinity.
template <class T>
std::vector<std::vector<Hypothesis>> beam_search(InferenceSession<T>& session, const Ragged& sources,
                                                 const BeamOptions& options = {}) {
    validate(options);
    if (sources.size() == 0) return {};
    session.encode(sources);
    return detail::BeamSearch<T>(session, sources, options).run();
}

}  // namespace hat
