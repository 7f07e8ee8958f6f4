#pragma once
/// \file
/// Words and their ids, in the reference's (fairseq's) order and file format.

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <hat/core/error.hpp>
#include <hat/core/tokens.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/file_path.hpp>
#include <hat/text/lines.hpp>
#include <hat/text/utf8.hpp>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hat {

/// How often each token occurs. Ordered by token, so that everything made from it is repeatable.
using TokenCounts = std::map<std::string, std::uint64_t, std::less<>>;

/// Adds the words (between white space) of some lines, a range of strings, to the counts.
template <class Lines>
void count_words(TokenCounts& counts, const Lines& lines) {
    for (const std::string& line : lines)
        for (const std::string_view word : split_words(line)) {
            const auto found = counts.find(word);
            if (found != counts.end())
                ++found->second;
            else
                counts.emplace(word, 1);
        }
}

/// How a vocabulary is made from counts (fairseq-preprocess: threshold, nwords, padding-factor).
struct VocabularyOptions {
    std::uint64_t min_count = 1;                                     ///< rarer tokens become unk
    std::size_t max_size = std::numeric_limits<std::size_t>::max();  ///< special tokens included, padding not
    std::size_t multiple = 8;  ///< the size is filled up to a multiple of this with unused words
};

/// Tokens and their ids; the first four are the special ones, see SpecialTokens.
class Vocabulary {
public:
    /// Only the special tokens.
    Vocabulary() {
        for (const char* token : {"<s>", "<pad>", "</s>", "<unk>"}) add(token, 0);
    }

    /// The most frequent tokens first, equal counts in byte order. Special tokens' names in the text are not counted.
    /// Throws invalid_value when max_size has no room for the special tokens or multiple is zero.
    static Vocabulary build(const TokenCounts& counts, const VocabularyOptions& options = {}) {
        if (options.max_size < SpecialTokens::count)
            throw invalid_value("vocabulary: max_size = " + std::to_string(options.max_size) +
                                ": expected at least the 4 special tokens");
        if (options.multiple == 0) throw invalid_value("vocabulary: multiple = 0: expected 1 or more");
        Vocabulary vocabulary;
        std::vector<std::string_view> tokens;             // in byte order
        std::vector<std::array<std::uint64_t, 2>> order;  // counts from above, and places in `tokens`
        for (const auto& [token, count] : counts) {
            if (count < options.min_count || vocabulary.contains(token)) continue;
            order.push_back({~count, tokens.size()});
            tokens.push_back(token);
        }
        std::sort(order.begin(), order.end());
        for (const auto& [rest, place] : order) {
            if (vocabulary.size() == options.max_size) break;
            vocabulary.add(tokens[static_cast<std::size_t>(place)], ~rest);
        }
        for (std::size_t i = 0; vocabulary.size() % options.multiple != 0; ++i) {
            std::string digits = std::to_string(i);
            digits.insert(0, 4 - std::min<std::size_t>(digits.size(), 4), '0');
            if (const std::string token = "madeupword" + digits; !vocabulary.contains(token)) vocabulary.add(token, 0);
        }
        return vocabulary;
    }

    /// Reads a fairseq `dict.txt`: one "token count" a line, without the special tokens. A token that occurs twice is
    /// an error unless the line ends in "#fairseq:overwrite"; then the later line gets its own id and the name.
    /// Throws bad_file with the line.
    static Vocabulary load(const FilePath& path) {
        Vocabulary vocabulary;
        std::size_t number = 0;
        for (std::string_view line : read_plain_lines(path)) {
            ++number;
            const auto fail = [&](const std::string& what) { throw bad_file(path.string(), number, what); };
            line = trim_end(line);
            constexpr std::string_view flag = " #fairseq:overwrite";
            const bool overwrite = line.ends_with(flag);
            if (overwrite) line.remove_suffix(flag.size());
            const std::size_t space = line.rfind(' ');
            if (space == std::string_view::npos || space == 0)
                fail("'" + excerpt(line) + "': expected a token, a space and its count");
            const std::string_view token = line.substr(0, space), digits = line.substr(space + 1);
            std::uint64_t count = 0;
            const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
            if (status != std::errc{} || end != digits.data() + digits.size())
                fail("count '" + excerpt(digits) + "' of token '" + excerpt(token) +
                     "': expected a number of occurrences, 0 or more");
            if (vocabulary.contains(token) && !overwrite)
                fail("duplicate token '" + excerpt(token) + "'; it has id " + std::to_string(vocabulary.id(token)) +
                     " already (end the line in '#fairseq:overwrite' if this is meant)");
            vocabulary.add(token, count);
        }
        return vocabulary;
    }

    /// What a `dict.txt` holds: one "token count" a line, without the special tokens.
    std::string text() const {
        std::string out;
        std::unordered_map<std::string_view, std::int64_t> seen;
        for (std::size_t i = 0; i < size(); ++i) {
            const bool again = ++seen[tokens_[i]] > 1;
            if (i < SpecialTokens::count) continue;
            out += tokens_[i] + " " + std::to_string(counts_[i]) + (again ? " #fairseq:overwrite\n" : "\n");
        }
        return out;
    }
    /// Writes a `dict.txt` that load() and fairseq read, at once or not at all. Throws bad_file.
    void save(const FilePath& path) const { write_file_atomically(path, text()); }

    /// Whether both have the same tokens, counts and ids.
    friend bool operator==(const Vocabulary&, const Vocabulary&) = default;  ///< memberwise

    /// Number of tokens, the special ones included.
    std::size_t size() const { return tokens_.size(); }
    /// Whether this is one of the tokens, special ones included.
    bool contains(std::string_view token) const { return ids_.find(token) != ids_.end(); }
    /// The token's id, or unk.
    std::int32_t id(std::string_view token) const {
        const auto found = ids_.find(token);
        return found == ids_.end() ? SpecialTokens::unk : found->second;
    }
    /// Throws invalid_value for an id outside [0, size()).
    const std::string& token(std::int32_t id) const { return tokens_[checked(id)]; }
    /// Occurrences in the text the vocabulary was made from.
    std::uint64_t count(std::int32_t id) const { return counts_[checked(id)]; }

    /// Ids of words, without eos. Words spelled like a special token are unk: text cannot end a sentence.
    std::vector<std::int32_t> encode(std::span<const std::string_view> words) const {
        std::vector<std::int32_t> ids;
        ids.reserve(words.size());
        for (const std::string_view word : words) {
            const std::int32_t i = id(word);
            ids.push_back(i < SpecialTokens::count ? SpecialTokens::unk : i);
        }
        return ids;
    }
    /// The tokens with spaces between them; bos, pad and eos are left out. Throws invalid_value for a foreign id.
    std::string decode(std::span<const std::int32_t> ids) const {
        std::string out;
        for (const std::int32_t i : ids) {
            const std::string& word = token(i);
            if (i < SpecialTokens::count && i != SpecialTokens::unk) continue;
            if (!out.empty()) out += ' ';
            out += word;
        }
        return out;
    }

private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
    };

    void add(std::string_view token, std::uint64_t count) {
        ids_[std::string(token)] = static_cast<std::int32_t>(tokens_.size());
        tokens_.emplace_back(token);
        counts_.push_back(count);
    }
    std::size_t checked(std::int32_t id) const {
        if (id < 0 || static_cast<std::size_t>(id) >= size())
            throw invalid_value("token id " + std::to_string(id) + ": the vocabulary has ids 0 to " +
                                std::to_string(size() - 1));
        return static_cast<std::size_t>(id);
    }
    static std::string_view trim_end(std::string_view line) {
        while (line.ends_with(' ') || line.ends_with('\t')) line.remove_suffix(1);
        return line;
    }

    std::vector<std::string> tokens_;
    std::vector<std::uint64_t> counts_;
    std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> ids_;
};

}  // namespace hat
