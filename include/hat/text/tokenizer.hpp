#pragma once
/// \file
/// What turns text into ids and back.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <hat/core/tokens.hpp>
#include <hat/text/utf8.hpp>
#include <hat/text/vocabulary.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hat {

/// encode gives ids below vocabulary_size(), without bos and eos; decode takes what encode gives (special tokens
/// vanish). Ids of special tokens are those of SpecialTokens. Both may be called from several threads at once.
template <class T>
concept Tokenizer = requires(const T& t, std::string_view text, std::span<const std::int32_t> ids) {
    { t.encode(text) } -> std::same_as<std::vector<std::int32_t>>;
    { t.decode(ids) } -> std::same_as<std::string>;
    { t.vocabulary_size() } -> std::convertible_to<std::size_t>;
};

/// For text that is tokenised already: words between white space, looked up in a vocabulary.
struct WhitespaceTokenizer {
    Vocabulary vocabulary;  ///< words and their ids

    /// Ids of the words of a text, without bos and eos.
    std::vector<std::int32_t> encode(std::string_view text) const {
        const std::vector<std::string_view> words = split_words(text);
        return vocabulary.encode({words.data(), words.size()});
    }
    /// The words with spaces between them.
    std::string decode(std::span<const std::int32_t> ids) const { return vocabulary.decode(ids); }
    /// Number of ids, special tokens included.
    std::size_t vocabulary_size() const { return vocabulary.size(); }
};

static_assert(Tokenizer<WhitespaceTokenizer>);

/// All lines as ids, each ending in eos: what the model and the batches read.
template <Tokenizer T>
Ragged encode_lines(const T& tokenizer, std::span<const std::string> lines) {
    Ragged out;
    for (const std::string& line : lines) {
        std::vector<std::int32_t> ids = tokenizer.encode(line);
        ids.push_back(SpecialTokens::eos);
        out.push_back({ids.data(), ids.size()});
    }
    return out;
}

}  // namespace hat
