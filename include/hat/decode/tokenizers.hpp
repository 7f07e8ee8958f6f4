#pragma once
/// \file
/// The tokenizers of a model's folder, of whatever kind. Optional: needs SentencePiece (target hat::sentencepiece).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/text/sentencepiece.hpp>
#include <hat/text/tokenizer.hpp>
#include <hat/text/vocabulary.hpp>
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
    AnyTokenizer(SentencePieceTokenizer t) : tokenizer_(std::move(t)) {}
    AnyTokenizer(WhitespaceTokenizer t) : tokenizer_(std::move(t)) {}

    std::vector<std::int32_t> encode(std::string_view text) const {
        return std::visit([&](const auto& t) { return t.encode(text); }, tokenizer_);
    }
    std::string decode(std::span<const std::int32_t> ids) const {
        return std::visit([&](const auto& t) { return t.decode(ids); }, tokenizer_);
    }
    std::size_t vocabulary_size() const {
        return std::visit([](const auto& t) { return t.vocabulary_size(); }, tokenizer_);
    }
    /// Null when it is of another kind.
    const SentencePieceTokenizer* sentencepiece() const { return std::get_if<SentencePieceTokenizer>(&tokenizer_); }
    const WhitespaceTokenizer* whitespace() const { return std::get_if<WhitespaceTokenizer>(&tokenizer_); }

private:
    std::variant<SentencePieceTokenizer, WhitespaceTokenizer> tokenizer_;
};

static_assert(Tokenizer<AnyTokenizer>);

/// What reads the source and what writes the target language.
struct TokenizerPair {
    AnyTokenizer source, target;
};

/// Reads the tokenizers of a folder. Each side is `joint.spm` (SentencePiece, both sides), `source.spm` / `target.spm`,
/// or `source.dict.txt` / `target.dict.txt` (words between white space, fairseq's format). Throws bad_file when a side
/// has none or several, or a broken one.
inline TokenizerPair load_tokenizers(const std::filesystem::path& folder) {
    const auto side = [&](const std::string& name) -> AnyTokenizer {
        const std::filesystem::path joint = folder / "joint.spm", pieces = folder / (name + ".spm"),
                                    words = folder / (name + ".dict.txt");
        std::vector<std::filesystem::path> found;
        for (const auto& path : {joint, pieces, words})
            if (std::filesystem::exists(path)) found.push_back(path);
        if (found.size() != 1)
            throw bad_file(
                folder.string(),
                "has " +
                    (found.empty() ? "no " + name + " tokenizer"
                                   : "both " + found[0].filename().string() + " and " + found[1].filename().string()) +
                    ", expected one of joint.spm, " + name + ".spm and " + name + ".dict.txt");
        if (found[0] == words) return WhitespaceTokenizer{Vocabulary::load(words)};
        return SentencePieceTokenizer::load(found[0]);
    };
    return {side("source"), side("target")};
}

/// Writes the files that load_tokenizers() reads; two equal SentencePiece models become joint.spm. Files of another
/// kind that were there are removed. Each file is written at once or not at all. Throws bad_file.
inline void save_tokenizers(const std::filesystem::path& folder, const TokenizerPair& tokenizers) {
    const auto *source = tokenizers.source.sentencepiece(), *target = tokenizers.target.sentencepiece();
    std::vector<std::string> written;
    const auto save = [&](const auto& tokenizer, const std::string& name) {
        tokenizer.save(folder / name);
        written.push_back(name);
    };
    if (source && target && source->bytes() == target->bytes()) {
        save(*source, "joint.spm");
    } else {
        source ? save(*source, "source.spm") : save(tokenizers.source.whitespace()->vocabulary, "source.dict.txt");
        target ? save(*target, "target.spm") : save(tokenizers.target.whitespace()->vocabulary, "target.dict.txt");
    }
    for (const char* name : {"joint.spm", "source.spm", "target.spm", "source.dict.txt", "target.dict.txt"})
        if (std::find(written.begin(), written.end(), name) == written.end()) {
            std::error_code failure;
            std::filesystem::remove(folder / name, failure);
            if (failure) throw bad_file((folder / name).string(), "cannot be removed: " + failure.message());
        }
}

}  // namespace hat
