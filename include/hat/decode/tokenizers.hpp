#pragma once
/// \file
/// The tokenizers of a model's folder, of whatever kind. Optional: needs SentencePiece (target hat::sentencepiece).

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/text/sentencepiece.hpp>
#include <hat/text/tokenizer.hpp>
#include <hat/text/vocabulary.hpp>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace hat {

/// One of the tokenizers a model can be saved with.
class AnyTokenizer {
public:
    /// Holds any of the two kinds.
    AnyTokenizer(SentencePieceTokenizer t) : tokenizer_(std::move(t)) {}
    /// Holds any of the two kinds.
    AnyTokenizer(WhitespaceTokenizer t) : tokenizer_(std::move(t)) {}

    /// Ids of a text, without bos and eos.
    std::vector<std::int32_t> encode(std::string_view text) const {
        return std::visit([&](const auto& t) { return t.encode(text); }, tokenizer_);
    }
    /// The text of ids.
    std::string decode(std::span<const std::int32_t> ids) const {
        return std::visit([&](const auto& t) { return t.decode(ids); }, tokenizer_);
    }
    /// Number of ids, special tokens included.
    std::size_t vocabulary_size() const {
        return std::visit([](const auto& t) { return t.vocabulary_size(); }, tokenizer_);
    }
    /// Null when it is of another kind.
    const SentencePieceTokenizer* sentencepiece() const { return std::get_if<SentencePieceTokenizer>(&tokenizer_); }
    /// Null when it is of another kind.
    const WhitespaceTokenizer* whitespace() const { return std::get_if<WhitespaceTokenizer>(&tokenizer_); }

private:
    std::variant<SentencePieceTokenizer, WhitespaceTokenizer> tokenizer_;
};

static_assert(Tokenizer<AnyTokenizer>);

/// What reads the source and what writes the target language.
struct TokenizerPair {
    AnyTokenizer source;  ///< encodes what is translated
    AnyTokenizer target;  ///< decodes what comes out
};

namespace detail {
/// Every name a tokenizer's file can have.
inline constexpr std::array tokenizer_files = {"joint.spm",  "joint.dict.txt",  "source.spm",
                                               "target.spm", "source.dict.txt", "target.dict.txt"};
}  // namespace detail

/// Reads the tokenizers of a folder. Each side is `source.spm` / `target.spm` (SentencePiece) or `source.dict.txt` /
/// `target.dict.txt` (words between white space, fairseq's format); `joint.spm` or `joint.dict.txt` is both sides.
/// Throws bad_file when a side has none or several, or a broken one.
inline TokenizerPair load_tokenizers(const std::filesystem::path& folder) {
    const auto side = [&](const std::string& name) -> AnyTokenizer {
        std::vector<std::string> found;
        for (const std::string& file :
             {std::string("joint.spm"), std::string("joint.dict.txt"), name + ".spm", name + ".dict.txt"})
            if (std::filesystem::exists(folder / file)) found.push_back(file);
        if (found.size() != 1)
            throw bad_file(
                folder.string(),
                "has " + (found.empty() ? "no " + name + " tokenizer" : "both " + found[0] + " and " + found[1]) +
                    ", expected one of joint.spm, joint.dict.txt, " + name + ".spm and " + name + ".dict.txt");
        if (found[0].ends_with(".spm")) return SentencePieceTokenizer::load(folder / found[0]);
        return WhitespaceTokenizer{Vocabulary::load(folder / found[0])};
    };
    return {side("source"), side("target")};
}

/// CRC-32 of both tokenizers, as text: what a model's note "tokenizers" says, so that Translator notices others.
inline std::string tokenizers_checksum(const TokenizerPair& tokenizers) {
    std::uint32_t crc = 0;
    for (const AnyTokenizer* t : {&tokenizers.source, &tokenizers.target})
        crc = crc32(t->sentencepiece() ? t->sentencepiece()->bytes() : t->whitespace()->vocabulary.text(), crc);
    char text[9];
    std::snprintf(text, sizeof text, "%08x", static_cast<unsigned>(crc));
    return text;
}

/// Throws bad_file, naming `where`, when a model's notes say that it has other tokenizers.
inline void require_noted(const std::map<std::string, std::string>& notes, const TokenizerPair& tokenizers,
                          const std::string& where) {
    const auto note = notes.find("tokenizers");
    if (note == notes.end()) return;
    if (const std::string found = tokenizers_checksum(tokenizers); found != note->second)
        throw bad_file(where, "these tokenizers are not those of the model, or damaged: their checksum is " + found +
                                  ", expected " + note->second);
}

/// Writes the files that load_tokenizers() reads; two equal tokenizers become one joint file. Files of another kind
/// that were there are removed. Each file is written at once or not at all. Throws bad_file.
inline void save_tokenizers(const std::filesystem::path& folder, const TokenizerPair& tokenizers) {
    std::vector<std::string> written;
    const auto save = [&](const std::string& name, const AnyTokenizer& tokenizer) {
        const auto* pieces = tokenizer.sentencepiece();
        written.push_back(name + (pieces ? ".spm" : ".dict.txt"));
        pieces ? pieces->save(folder / written.back())
               : tokenizer.whitespace()->vocabulary.save(folder / written.back());
    };
    const auto &source = tokenizers.source, &target = tokenizers.target;
    const bool joint =
        source.sentencepiece()
            ? target.sentencepiece() && source.sentencepiece()->bytes() == target.sentencepiece()->bytes()
            : target.whitespace() && source.whitespace()->vocabulary == target.whitespace()->vocabulary;
    if (joint) {
        save("joint", source);
    } else {
        save("source", source);
        save("target", target);
    }
    for (const char* name : detail::tokenizer_files)
        if (std::find(written.begin(), written.end(), name) == written.end()) {
            std::error_code failure;
            std::filesystem::remove(folder / name, failure);
            if (failure) throw bad_file((folder / name).string(), "cannot be removed: " + failure.message());
        }
}

}  // namespace hat
