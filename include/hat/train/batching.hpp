#pragma once
/// \file
/// Sentences into batches of about equal work. Every order is a pure function of (seed, epoch), so that training can
/// go on at any batch of any epoch without a stored state.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/core/tokens.hpp>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hat {

/// How Batches cuts. Lengths are tokens and include eos. Batches are ragged, so only real tokens count.
struct BatchOptions {
    /// What happens to a pair longer than max_tokens.
    enum class TooLong { error, drop };
    std::size_t max_tokens = 4096;      ///< in a batch, per side
    std::size_t max_sentences = 0;      ///< in a batch; 0: no limit
    std::size_t max_length = 0;         ///< of a sentence, per side; 0: max_tokens
    TooLong too_long = TooLong::error;  ///< refuse the corpus, or leave such pairs out
    std::uint64_t seed = 1;             ///< of the shuffling
};

/// The batches of one epoch, as sentence numbers: plan[i] lists those of batch i.
struct BatchPlan {
    std::vector<std::size_t> sentences;   ///< indices of pairs, batch after batch
    std::vector<std::size_t> offsets{0};  ///< where each batch begins, and where the last one ends

    /// Number of batches.
    std::size_t size() const { return offsets.size() - 1; }
    /// The pairs of batch `i`.
    std::span<const std::size_t> operator[](std::size_t i) const {
        return {sentences.data() + offsets[i], offsets[i + 1] - offsets[i]};
    }
};

/// A parallel corpus of ids, and the batches of its epochs.
class Batches {
public:
    /// Every sentence must end in eos. Throws shape_mismatch for unequal counts, invalid_value (with the sentence's
    /// number, from 1) for a missing eos or, unless they are dropped, a sentence longer than allowed, and when no
    /// sentence is left.
    Batches(Ragged source, Ragged target, const BatchOptions& options)
        : source_(std::move(source)), target_(std::move(target)), options_(options) {
        if (source_.size() != target_.size())
            throw shape_mismatch("batches: " + std::to_string(source_.size()) + " source sentences, " +
                                 std::to_string(target_.size()) + " target sentences; expected equal counts");
        if (options_.max_tokens == 0) throw invalid_value("batches: max_tokens = 0: expected 1 or more");
        if (options_.max_length > options_.max_tokens)
            throw invalid_value("batches: max_length = " + std::to_string(options_.max_length) +
                                " is more than max_tokens = " + std::to_string(options_.max_tokens) +
                                ": such a sentence fits in no batch");
        const std::size_t limit = options_.max_length != 0 ? options_.max_length : options_.max_tokens;
        for (std::size_t i = 0; i < source_.size(); ++i) {
            check_eos(source_[i], "source", i);
            check_eos(target_[i], "target", i);
            const std::size_t length = std::max(source_[i].size(), target_[i].size());
            if (length <= limit)
                kept_.push_back(i);
            else if (options_.too_long == BatchOptions::TooLong::drop)
                dropped_.push_back(i);
            else
                throw invalid_value("batches: sentence " + std::to_string(i + 1) + " has " + std::to_string(length) +
                                    " tokens; expected at most " + std::to_string(limit) +
                                    " (raise the limit or let too long sentences be dropped)");
        }
        if (kept_.empty())
            throw invalid_value("batches: none of " + std::to_string(source_.size()) + " sentences is left");
    }

    /// Sentences of similar length together (equal lengths in random order), the batches in random order: what
    /// training reads. Both orders differ from epoch to epoch.
    BatchPlan epoch(std::uint64_t number) const {
        Rng rng(derive_seed(options_.seed, number));
        std::vector<std::size_t> order = kept_;
        shuffle(order, rng);
        // lengths (each below 2^32), and the place after shuffling, which decides ties
        std::vector<std::array<std::uint64_t, 2>> keys;
        for (const std::size_t i : order)
            keys.push_back({std::uint64_t{source_[i].size()} << 32U | target_[i].size(), keys.size()});
        std::sort(keys.begin(), keys.end());
        std::vector<std::size_t> by_length;
        for (const auto& key : keys) by_length.push_back(order[static_cast<std::size_t>(key[1])]);
        const BatchPlan sorted = cut(by_length);
        std::vector<std::size_t> turn(sorted.size());
        std::iota(turn.begin(), turn.end(), std::size_t{0});
        shuffle(turn, rng);
        BatchPlan plan;
        plan.sentences.reserve(order.size());
        for (const std::size_t i : turn) {
            for (const std::size_t s : sorted[i]) plan.sentences.push_back(s);
            plan.offsets.push_back(plan.sentences.size());
        }
        return plan;
    }

    /// The corpus' own order: what validation and scoring read.
    BatchPlan in_order() const { return cut(kept_); }

    /// Batch `i` of a plan of this corpus.
    Batch batch(const BatchPlan& plan, std::size_t i) const {
        Batch out;
        for (const std::size_t s : plan[i]) out.push_back(source_[s], target_[s]);
        return out;
    }

    /// All source sentences, also those that are dropped.
    const Ragged& source() const { return source_; }
    /// All target sentences, also those that are dropped.
    const Ragged& target() const { return target_; }
    /// How many sentences the epochs hold.
    std::size_t sentences() const { return kept_.size(); }
    /// Numbers (from 0) of the sentences that were too long.
    const std::vector<std::size_t>& dropped() const { return dropped_; }

private:
    static void check_eos(std::span<const std::int32_t> sentence, const char* side, std::size_t i) {
        if (sentence.empty() || sentence.back() != SpecialTokens::eos)
            throw invalid_value(std::string("batches: ") + side + " sentence " + std::to_string(i + 1) +
                                " does not end in eos (id " + std::to_string(SpecialTokens::eos) + ")");
    }
    BatchPlan cut(const std::vector<std::size_t>& order) const {
        BatchPlan plan;
        plan.sentences = order;
        std::size_t first = 0, source_tokens = 0, target_tokens = 0;
        for (std::size_t i = 0; i < order.size(); ++i) {
            source_tokens += source_[order[i]].size();
            target_tokens += target_[order[i]].size();
            const bool full = options_.max_sentences != 0 && i - first == options_.max_sentences;
            if (full || std::max(source_tokens, target_tokens) > options_.max_tokens) {
                plan.offsets.push_back(first = i);
                source_tokens = source_[order[i]].size();
                target_tokens = target_[order[i]].size();
            }
        }
        plan.offsets.push_back(order.size());
        return plan;
    }

    Ragged source_, target_;
    BatchOptions options_;
    std::vector<std::size_t> kept_, dropped_;
};

}  // namespace hat
