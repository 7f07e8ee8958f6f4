#pragma once
/// \file
/// The rules of beam search (semantics, section 12) on any incremental decoder, with memory from an arena. Throws
/// nothing and checks nothing: beam_search() and StaticTransformer do.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/tokens.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/softmax.hpp>
#include <limits>
#include <span>

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

    /// The most tokens before eos that a source of `source_length` tokens, eos included, may get.
    std::size_t limit(std::size_t source_length) const {
        const double most = max_length_a * static_cast<double>(source_length) + static_cast<double>(max_length_b);
        const auto positions = static_cast<double>(max_positions - 1);
        return std::max(static_cast<std::size_t>(std::min(most, positions)), std::max<std::size_t>(1, min_length));
    }
};

namespace detail {

/// One way to continue a row.
template <class T>
struct Continuation {
    T score;  ///< of the whole prefix
    T logit;
    std::size_t row;
    std::int32_t token;
    std::uint32_t rank;  ///< among the row's
};

/// Numbers whose maximum is found at once.
inline constexpr std::size_t maxima_block = 256;
/// Blocks of a row of n numbers.
constexpr std::size_t maxima_blocks(std::size_t n) { return (n + maxima_block - 1) / maxima_block; }

/// The maximum of each block of a row.
template <class T>
void block_maxima(const T* x, std::size_t n, T* maxima) {
    for (std::size_t b = 0; b < maxima_blocks(n); ++b)
        maxima[b] = row_max(x + b * maxima_block, std::min(maxima_block, n - b * maxima_block));
}

/// The k best of a row, the largest first, equal ones by ascending token; -infinity is never chosen. Returns how many.
/// Blocks that cannot hold one of the k are skipped by their maximum. `sorted` is scratch for as many as there are
/// blocks, `out` has room for k.
template <class T>
std::size_t best_of_row(const T* x, std::size_t n, std::size_t k, const T* maxima, T* sorted, Continuation<T>* out) {
    const std::size_t blocks = maxima_blocks(n);
    T threshold = std::numeric_limits<T>::lowest();
    if (k < blocks) {  // the k largest numbers are at least the k-th largest maximum
        std::copy_n(maxima, blocks, sorted);
        std::nth_element(sorted, sorted + (k - 1), sorted + blocks, [](T a, T b) { return a > b; });
        threshold = std::max(threshold, sorted[k - 1]);
    }
    std::size_t found = 0;
    for (std::size_t b = 0; b < blocks; ++b) {
        if (!(maxima[b] >= threshold)) continue;
        const std::size_t last = std::min(n, (b + 1) * maxima_block);
        for (std::size_t i = b * maxima_block; i < last; ++i) {
            if (!(x[i] >= threshold) || (found == k && !(x[i] > out[k - 1].logit))) continue;
            std::size_t at = found < k ? found++ : k - 1;
            for (; at > 0 && x[i] > out[at - 1].logit; --at) out[at] = out[at - 1];
            out[at] = {T(0), x[i], 0, static_cast<std::int32_t>(i), 0};
        }
    }
    return found;
}

/// A finished hypothesis: it ends with `last` after `step` tokens.
template <class T>
struct FinishedBeam {
    std::size_t step;
    Continuation<T> last;
    double score;  ///< as it is reported
};
/// The rows fed in one step: their last token, the row before it and the score of the prefix.
template <class T>
struct BeamStep {
    std::int32_t* tokens;
    std::size_t* parents;
    T* scores;
    std::size_t rows;
};

/// The search over one batch that `decoder` has encoded; sentences with source lengths `offsets`[i + 1] - `offsets`[i].
/// `memory` must not be reset while it lives.
template <class Decoder, class Memory>
class BeamSearch {
public:
    using T = typename Decoder::T;

    using Finished = FinishedBeam<T>;
    /// A row of logits with NaN or infinity.
    struct Failure {
        bool failed = false;
        std::size_t step = 0, sentence = 0;
    };

    BeamSearch(Decoder& decoder, Memory& memory, const BeamOptions& options, std::span<const std::size_t> offsets,
               std::size_t vocabulary)
        : decoder_(&decoder),
          memory_(&memory),
          options_(options),
          sentences_(offsets.size() - 1),
          blocks_(maxima_blocks(vocabulary)) {
        const std::size_t beam = options.beam, rows = sentences_ * beam;
        limits_ = memory.template take<std::size_t>(sentences_);
        active_ = memory.template take<std::size_t>(sentences_);
        finished_ = memory.template take<Finished>(rows);
        finished_count_ = memory.template take<std::size_t>(sentences_);
        candidates_ = memory.template take<Continuation<T>>(rows * 2 * beam);
        candidate_count_ = memory.template take<std::size_t>(rows);
        merged_ = memory.template take<Continuation<T>>(beam * 2 * beam);
        maxima_ = memory.template take<T>(2 * rows * blocks_);
        bad_ = memory.template take<std::uint8_t>(rows);
        std::size_t longest = 0;
        for (std::size_t i = 0; i < sentences_; ++i) longest = std::max(longest, offsets[i + 1] - offsets[i]);
        for (std::size_t i = 0; i < sentences_; ++i) {
            limits_[i] = options.limit(options.max_length_by_batch ? longest : offsets[i + 1] - offsets[i]);
            active_[i] = i;
            finished_count_[i] = 0;
        }
        active_count_ = sentences_;
    }
    /// Makes room for `length` tokens, eos included, at once instead of as they come.
    void reserve(std::size_t length) { steps_.reserve(*memory_, length + 1); }

    /// Searches. After a failure there are no results.
    Failure run() {
        const std::size_t beam = options_.beam;
        push_step();
        Step& first = steps_.data[0];
        first.rows = active_count_ * beam;
        for (std::size_t r = 0; r < first.rows; ++r) {
            first.tokens[r] = SpecialTokens::eos;
            first.scores[r] = r % beam == 0 ? T(0) : -std::numeric_limits<T>::infinity();
        }
        for (std::size_t step = 0; active_count_ > 0; ++step) {
            const Step& now = steps_.data[step];
            const auto logits = decoder_->step({now.tokens, now.rows}, {now.parents, step == 0 ? 0 : now.rows});
            score_rows(step, logits);
            for (std::size_t r = 0; r < now.rows; ++r)
                if (bad_[r]) return {true, step, active_[r / beam]};
            push_step();
            advance(step);
        }
        for (std::size_t i = 0; i < sentences_; ++i) {  // best first, equal ones in the order they were finished
            Finished* const f = finished_ + i * beam;
            for (std::size_t a = 1; a < finished_count_[i]; ++a)
                for (std::size_t b = a; b > 0 && f[b].score > f[b - 1].score; --b) std::swap(f[b], f[b - 1]);
        }
        return {};
    }

    /// The hypotheses of sentence i, best first.
    std::span<const Finished> finished(std::size_t i) const {
        return {finished_ + i * options_.beam, finished_count_[i]};
    }
    /// Writes the `f.step` + 1 tokens of a hypothesis, and the log-probability of each unless `scores` is null.
    void trace(const Finished& f, std::int32_t* tokens, double* scores) const {
        std::int32_t token = f.last.token;
        T score = f.last.score;
        std::size_t row = f.last.row;
        for (std::size_t t = f.step + 1; t-- > 0;) {
            const Step& s = steps_.data[t];
            tokens[t] = token;
            if (scores) scores[t] = static_cast<double>(score - s.scores[row]);
            token = s.tokens[row];
            score = s.scores[row];
            if (t > 0) row = s.parents[row];
        }
    }

private:
    using Step = BeamStep<T>;

    /// A further step with room for every active row.
    void push_step() {
        steps_.reserve(*memory_, step_count_ + 1, step_count_);
        const std::size_t rows = active_count_ * options_.beam;
        steps_.data[step_count_++] = {memory_->template take<std::int32_t>(rows),
                                      memory_->template take<std::size_t>(rows), memory_->template take<T>(rows), 0};
    }

    /// The 2 * beam best continuations of every row, into candidates_.
    template <class Logits>
    void score_rows(std::size_t step, const Logits& logits) {
        const std::size_t beam = options_.beam;
        const Step& fed = steps_.data[step];
        parallel_rows(decoder_->executor(), fed.rows, 4 * logits.cols, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                Continuation<T>* const out = candidates_ + r * 2 * beam;
                std::size_t& count = candidate_count_[r];
                count = 0, bad_[r] = 0;
                if (fed.scores[r] == -std::numeric_limits<T>::infinity()) continue;  // a beam without a hypothesis
                T* const x = logits.row(r);
                T *const maxima = maxima_ + r * 2 * blocks_, *const sorted = maxima + blocks_;
                block_maxima(x, logits.cols, maxima);
                const T top = row_max(maxima, blocks_), log_sum = std::log(row_exp<T>(x, nullptr, logits.cols, top));
                if (!std::isfinite(top) || !std::isfinite(log_sum)) {
                    bad_[r] = 1;
                    continue;
                }
                if (step == limits_[active_[r / beam]]) {
                    out[count++] = {T(0), x[SpecialTokens::eos], 0, SpecialTokens::eos, 0};
                } else {
                    x[SpecialTokens::pad] = -std::numeric_limits<T>::infinity();
                    x[SpecialTokens::unk] -= static_cast<T>(options_.unknown_penalty);
                    if (step < options_.min_length) x[SpecialTokens::eos] = -std::numeric_limits<T>::infinity();
                    maxima[0] = row_max(x, std::min<std::size_t>(maxima_block, logits.cols));  // they are all there
                    count = best_of_row(x, logits.cols, 2 * beam, maxima, sorted, out);
                }
                for (std::size_t c = 0; c < count; ++c) {
                    out[c].score = (out[c].logit - top) - log_sum + fed.scores[r];
                    out[c].row = r;
                    out[c].rank = static_cast<std::uint32_t>(c);
                }
            }
        });
    }
    /// Finishes hypotheses and sentences, and fills the rows of the next step.
    void advance(std::size_t step) {
        const std::size_t beam = options_.beam;
        Step& next = steps_.data[step + 1];
        std::size_t still = 0;
        for (std::size_t group = 0; group < active_count_; ++group) {
            std::size_t count = 0;
            for (std::size_t r = group * beam; r < (group + 1) * beam; ++r)
                for (std::size_t c = 0; c < candidate_count_[r]; ++c) merged_[count++] = candidates_[r * 2 * beam + c];
            const std::size_t best = std::min(count, 2 * beam);
            std::partial_sort(merged_, merged_ + best, merged_ + count, [](const auto& a, const auto& b) {
                return a.score != b.score ? a.score > b.score : a.row != b.row ? a.row < b.row : a.rank < b.rank;
            });
            const std::size_t sentence = active_[group];
            std::size_t& finished = finished_count_[sentence];
            for (std::size_t i = 0; i < std::min(beam, best); ++i)
                if (merged_[i].token == SpecialTokens::eos && finished < beam)
                    finished_[sentence * beam + finished++] = {step, merged_[i], reported(step, merged_[i].score)};
            const std::size_t begin = next.rows;
            for (std::size_t i = 0; i < best && next.rows - begin < beam; ++i)
                if (const auto& c = merged_[i]; c.token != SpecialTokens::eos) {
                    next.tokens[next.rows] = c.token;
                    next.parents[next.rows] = c.row;
                    next.scores[next.rows++] = c.score;
                }
            if (next.rows == begin || finished == beam) {
                next.rows = begin;
                continue;
            }
            for (; next.rows - begin < beam;
                 ++next.rows) {  // fewer continuations than beams: rows without a hypothesis
                next.tokens[next.rows] = next.tokens[begin];
                next.parents[next.rows] = next.parents[begin];
                next.scores[next.rows] = -std::numeric_limits<T>::infinity();
            }
            active_[still++] = sentence;
        }
        active_count_ = still;
    }
    double reported(std::size_t step, T score) const {
        const auto s = static_cast<double>(score);
        return options_.normalize ? s / std::pow(static_cast<double>(step + 1), options_.length_penalty) : s;
    }

    Decoder* decoder_;
    Memory* memory_;
    BeamOptions options_;
    std::size_t sentences_, blocks_, active_count_ = 0, step_count_ = 0;
    std::size_t *limits_, *active_, *finished_count_, *candidate_count_;
    Finished* finished_;
    Continuation<T>*candidates_, *merged_;
    T* maxima_;
    std::uint8_t* bad_;
    GrowingBlock<Step> steps_;
};

}  // namespace detail
}  // namespace hat
