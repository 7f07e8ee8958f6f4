#pragma once
/// \file
/// The tokenizers that a weight file can hold, read where they lie: no allocation, no exceptions.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <hat/core/tokens.hpp>
#include <hat/text/subword.hpp>
#include <hat/text/utf8.hpp>
#include <span>
#include <string_view>

namespace hat {

/// Kinds of tokenizers in a weight file.
enum class TokenizerKind : std::uint8_t {
    none,      ///< there is none: tokens only
    subwords,  ///< a SentencePiece model
    words,     ///< a list of words between white space
};

/// A list of words and their ids, for text that is tokenised already; gives what WhitespaceTokenizer gives. Its index,
/// in this machine's byte order: the number of words n, the number of different ones m, where each word begins (n + 1
/// numbers), and the ids of the different words in the order of their bytes (m numbers).
class WordModel {
public:
    /// Takes the words, one after the other in the order of their ids, and their index; both must outlive it. Any bytes
    /// may be given; false when they do not fit together.
    bool load(std::string_view words, std::span<const std::uint32_t> index) {
        *this = {};
        if (index.size() < 2) return false;
        const std::uint64_t n = index[0], m = index[1];
        if (n < SpecialTokens::count || m > n || index.size() != n + m + 3) return false;
        const auto begin = index.subspan(2, static_cast<std::size_t>(n) + 1), sorted = index.last(index[1]);
        std::uint32_t longest = 0;
        for (std::size_t i = 0; i < n; ++i) {
            if (begin[i] > begin[i + 1]) return false;
            longest = std::max(longest, begin[i + 1] - begin[i]);
        }
        if (begin[0] != 0 || begin[index[0]] != words.size()) return false;
        for (const std::uint32_t id : sorted)
            if (id >= n) return false;
        words_ = words, begin_ = begin, sorted_ = sorted, longest_ = longest;
        return true;
    }
    /// Number of ids, special tokens included; 0 when nothing is loaded.
    std::size_t vocabulary_size() const { return begin_.empty() ? 0 : begin_.size() - 1; }
    /// The word of an id below vocabulary_size().
    std::string_view word(std::size_t id) const { return words_.substr(begin_[id], begin_[id + 1] - begin_[id]); }
    /// Bytes that decode() writes for an id at most, the space before it included.
    std::size_t longest() const { return std::size_t{longest_} + 1; }

    /// Writes the ids of a text's words, without eos.
    SubwordResult encode(std::string_view text, std::span<std::int32_t> ids) const {
        SubwordResult result;
        for_each_word(text, [&](std::string_view w) {
            if (result.size == ids.size()) result.error = SubwordError::ids_too_small;
            if (result) ids[result.size++] = id(w);
        });
        return result ? result : SubwordResult{result.error};
    }
    /// Writes the words with spaces between them; bos, pad and eos are left out.
    SubwordResult decode(std::span<const std::int32_t> ids, std::span<char> text) const {
        std::size_t size = 0;
        for (const std::int32_t i : ids) {
            if (i < 0 || static_cast<std::size_t>(i) >= vocabulary_size()) return {SubwordError::foreign_id};
            if (i < SpecialTokens::count && i != SpecialTokens::unk) continue;
            const std::string_view w = word(static_cast<std::size_t>(i));
            const bool space = size > 0;
            if (w.size() + space > text.size() - size) return {SubwordError::text_too_small};
            if (space) text[size++] = ' ';
            std::copy(w.begin(), w.end(), text.begin() + static_cast<std::ptrdiff_t>(size));
            size += w.size();
        }
        return {SubwordError::none, size};
    }

private:
    std::int32_t id(std::string_view w) const {
        const auto at = std::lower_bound(sorted_.begin(), sorted_.end(), w,
                                         [&](std::uint32_t i, std::string_view x) { return word(i) < x; });
        // words spelled like a special token are unk: text cannot end a sentence
        if (at == sorted_.end() || word(*at) != w || *at < SpecialTokens::count) return SpecialTokens::unk;
        return static_cast<std::int32_t>(*at);
    }

    std::string_view words_;
    std::span<const std::uint32_t> begin_, sorted_;
    std::uint32_t longest_ = 0;
};

/// One of the two kinds of tokenizers, or none.
class DeployedTokenizer {
public:
    /// Takes what a weight file holds of a tokenizer, which must outlive it. Any bytes may be given.
    SubwordError load(TokenizerKind kind, std::string_view bytes, std::span<const std::uint32_t> index) {
        *this = {};
        SubwordError error = SubwordError::none;
        if (kind == TokenizerKind::subwords)
            error = subwords_.load(bytes, index);
        else if (kind == TokenizerKind::words && !words_.load(bytes, index))
            error = SubwordError::bad_index;
        if (error == SubwordError::none) kind_ = kind;
        return error;
    }
    /// What it is.
    TokenizerKind kind() const { return kind_; }
    /// Number of ids, special tokens included; 0 when there is none.
    std::size_t vocabulary_size() const {
        return kind_ == TokenizerKind::words ? words_.vocabulary_size() : subwords_.vocabulary_size();
    }
    /// Scratch memory for a sentence of so many bytes once normalised.
    static constexpr std::size_t scratch_bytes(std::size_t normalized_bytes) {
        return SubwordModel::scratch_bytes(normalized_bytes);
    }
    /// Writes the ids of a text, without bos and eos; see SubwordModel::encode(). Allocates nothing.
    SubwordResult encode(std::string_view text, std::span<std::int32_t> ids, std::span<std::byte> scratch) const {
        return kind_ == TokenizerKind::words ? words_.encode(text, ids) : subwords_.encode(text, ids, scratch);
    }
    /// Writes the text of ids; see SubwordModel::decode(). Allocates nothing.
    SubwordResult decode(std::span<const std::int32_t> ids, std::span<char> text) const {
        return kind_ == TokenizerKind::words ? words_.decode(ids, text) : subwords_.decode(ids, text);
    }
    /// Bytes of the text of this many ids, at most.
    std::size_t decoded_bytes(std::size_t ids) const {
        return kind_ == TokenizerKind::words ? ids * words_.longest() : subwords_.decoded_bytes(ids);
    }

private:
    TokenizerKind kind_ = TokenizerKind::none;
    SubwordModel subwords_;
    WordModel words_;
};

}  // namespace hat
