#pragma once
/// \file
/// Token ids: the special ones, and sentences as the model reads them (ragged, so that no work is ever spent on
/// padding).

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hat {

/// Ids with a fixed meaning in every vocabulary, as in the reference (fairseq).
struct SpecialTokens {
    static constexpr std::int32_t bos = 0;    ///< begin of sentence; not used by the models
    static constexpr std::int32_t pad = 1;    ///< padding
    static constexpr std::int32_t eos = 2;    ///< end of sentence; the decoder also starts with it
    static constexpr std::int32_t unk = 3;    ///< unknown word
    static constexpr std::int32_t count = 4;  ///< words of the vocabulary begin here
};

/// Sentences stored one after the other; sentence i is tokens[offsets[i] .. offsets[i + 1]).
struct Ragged {
    std::vector<std::int32_t> tokens;     ///< of all sentences
    std::vector<std::size_t> offsets{0};  ///< where each sentence begins, and where the last one ends

    /// Number of sentences.
    std::size_t size() const { return offsets.size() - 1; }
    /// The tokens of sentence `i`.
    std::span<const std::int32_t> operator[](std::size_t i) const {
        return {tokens.data() + offsets[i], offsets[i + 1] - offsets[i]};
    }
    /// Adds one sentence.
    void push_back(std::span<const std::int32_t> sentence) {
        for (const std::int32_t token : sentence) tokens.push_back(token);
        offsets.push_back(tokens.size());
    }
    /// Removes all sentences and keeps the memory.
    void clear() {
        tokens.clear();
        offsets.assign(1, 0);
    }
};

/// One training or scoring batch. Source and target sentences end in eos; `previous` is the decoder's input: the
/// target with its eos moved to the front. `previous` and `target` have equal offsets.
struct Batch {
    Ragged source;    ///< what is read
    Ragged previous;  ///< what the decoder is fed: the target, one step late
    Ragged target;    ///< what it shall say

    /// Number of sentence pairs.
    std::size_t sentences() const { return source.size(); }
    /// The number of target tokens: what losses are divided by.
    std::size_t target_tokens() const { return target.tokens.size(); }
    /// Adds one pair; both end in eos.
    void push_back(std::span<const std::int32_t> source_sentence, std::span<const std::int32_t> target_sentence) {
        source.push_back(source_sentence);
        target.push_back(target_sentence);
        previous.tokens.push_back(target_sentence.back());
        for (std::size_t i = 0; i + 1 < target_sentence.size(); ++i) previous.tokens.push_back(target_sentence[i]);
        previous.offsets.push_back(previous.tokens.size());
    }
};

}  // namespace hat
