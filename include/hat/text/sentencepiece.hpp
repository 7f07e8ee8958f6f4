#pragma once
/// \file
/// Subword models of the SentencePiece library (component hat::sentencepiece).

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/core/tokens.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/text/tokenizer.hpp>
#include <hat/text/utf8.hpp>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace hat {

/// How train_sentencepiece makes a model. Anything not listed has the library's default.
struct SentencePieceOptions {
    /// The library's two kinds of subwords.
    enum class Model { bpe, unigram };
    Model model = Model::bpe;                ///< which one
    std::size_t vocab_size = 8000;           ///< special tokens included
    double character_coverage = 1.0;         ///< part of the text's characters that get a piece; 0.9995 for CJK
    bool byte_fallback = false;              ///< unknown characters become bytes instead of unk
    bool hard_vocab_limit = true;            ///< false: too little text for vocab_size makes a smaller model (unigram)
    std::string normalization = "nmt_nfkc";  ///< or nfkc, nmt_nfkc_cf, nfkc_cf, identity
};

namespace detail {
/// Whether a serialized model has all its parts: its last one is the normalizer (field 3 of ModelProto, after the
/// pieces and the trainer's options; all are length-delimited). A file cut off between two pieces parses as well.
inline bool is_whole_model(std::string_view bytes) {
    const auto varint = [&] {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
            const auto byte = static_cast<unsigned char>(bytes.front());
            bytes.remove_prefix(1);
            value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
            if ((byte & 0x80U) == 0) break;
        }
        return value;
    };
    bool normalizer = false;
    while (!bytes.empty()) {
        const std::uint64_t tag = varint(), length = varint();
        if ((tag & 7U) != 2 || length > bytes.size()) return false;
        bytes.remove_prefix(static_cast<std::size_t>(length));
        normalizer = normalizer || (tag >> 3) == 3;
    }
    return normalizer;
}
}  // namespace detail

/// A SentencePiece model whose piece ids are the model's ids. Cheap to copy: copies share the immutable model.
class SentencePieceTokenizer {
public:
    /// Throws bad_file when the file is missing, unreadable or no SentencePiece model with hat's special ids.
    static SentencePieceTokenizer load(const std::filesystem::path& path) {
        return from_bytes(read_file(path), path.string());
    }
    /// From what bytes() gave; `name` is for messages. Throws bad_file.
    static SentencePieceTokenizer from_bytes(std::string_view bytes, std::string_view name = "SentencePiece model") {
        const auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
        if (!detail::is_whole_model(bytes) || !processor->LoadFromSerializedProto(bytes).ok())
            throw bad_file(
                name, "is no SentencePiece model (" + std::to_string(bytes.size()) + " bytes, truncated or corrupt)");
        const auto check = [&](const char* what, int found, std::int32_t expected) {
            if (found != expected)
                throw bad_file(name, std::string(what) + "_id is " + std::to_string(found) + "; expected " +
                                         std::to_string(expected) +
                                         " (train with bos_id 0, pad_id 1, eos_id 2, unk_id 3)");
        };
        check("bos", processor->bos_id(), SpecialTokens::bos);
        check("pad", processor->pad_id(), SpecialTokens::pad);
        check("eos", processor->eos_id(), SpecialTokens::eos);
        check("unk", processor->unk_id(), SpecialTokens::unk);
        SentencePieceTokenizer tokenizer;
        tokenizer.processor_ = processor;
        return tokenizer;
    }

    /// Ids without eos. Throws invalid_value when `text` is not UTF-8.
    std::vector<std::int32_t> encode(std::string_view text) const {
        if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos)
            throw invalid_value("invalid UTF-8 at byte " + std::to_string(bad + 1) + " of a sentence to encode");
        std::vector<int> ids;
        check(processor_->Encode(text, &ids));
        return {ids.begin(), ids.end()};
    }
    /// The text of some ids; special tokens vanish, unk becomes " \u2047 ". Throws invalid_value for a foreign id.
    std::string decode(std::span<const std::int32_t> ids) const {
        for (const std::int32_t id : ids) piece(id);
        std::string text;
        check(processor_->Decode(std::vector<int>(ids.begin(), ids.end()), &text));
        return text;
    }
    /// Number of pieces, special tokens included.
    std::size_t vocabulary_size() const { return static_cast<std::size_t>(processor_->GetPieceSize()); }
    /// The piece as the model spells it, with U+2581 for a space. Throws invalid_value for a foreign id.
    const std::string& piece(std::int32_t id) const {
        if (id < 0 || static_cast<std::size_t>(id) >= vocabulary_size())
            throw invalid_value("token id " + std::to_string(id) + ": the SentencePiece model has ids 0 to " +
                                std::to_string(vocabulary_size() - 1));
        return processor_->IdToPiece(id);
    }

    /// The model as a file holds it.
    std::string bytes() const { return processor_->serialized_model_proto(); }
    /// Writes the model at once or not at all. Throws bad_file.
    void save(const std::filesystem::path& path) const { write_file_atomically(path, bytes()); }

private:
    SentencePieceTokenizer() = default;
    static void check(const sentencepiece::util::Status& status) {
        if (!status.ok()) throw invalid_value(std::string("SentencePiece: ") + status.error_message());
    }

    std::shared_ptr<const sentencepiece::SentencePieceProcessor> processor_;
};

static_assert(Tokenizer<SentencePieceTokenizer>);

namespace detail {
/// Hands lines to the library one by one, several blocks after each other.
class LineIterator : public sentencepiece::SentenceIterator {
public:
    explicit LineIterator(std::span<const std::span<const std::string>> blocks) : blocks_(blocks) { skip_empty(); }
    bool done() const override { return block_ == blocks_.size(); }
    void Next() override {
        ++line_;
        skip_empty();
    }
    const std::string& value() const override { return blocks_[block_][line_]; }
    sentencepiece::util::Status status() const override { return {}; }

private:
    void skip_empty() {
        while (block_ < blocks_.size() && line_ == blocks_[block_].size()) {
            ++block_;
            line_ = 0;
        }
    }
    std::span<const std::span<const std::string>> blocks_;
    std::size_t block_ = 0, line_ = 0;
};
}  // namespace detail

/// Trains a model in memory on all lines of all blocks: {source, target} for a joint model, one block for a separate
/// one. The same lines and options give the same bytes on any number of processors. The library logs nothing (its
/// process-wide log level is set to fatal). Lines with U+2585, which the library reserves, do not count as text.
/// Throws invalid_value, with the largest or smallest possible vocab_size when that is at fault.
inline SentencePieceTokenizer train_sentencepiece(std::span<const std::span<const std::string>> blocks,
                                                  const SentencePieceOptions& options = {}) {
    std::size_t longest = 0, words = 0;
    for (const auto& block : blocks)
        for (const std::string& line : block) {
            longest = std::max(longest, line.size());
            words += split_words(line).size();
        }
    if (words == 0) throw invalid_value("SentencePiece: there is no text to train on");
    constexpr std::size_t most = std::size_t{1} << 24;
    if (options.vocab_size <= SpecialTokens::count || options.vocab_size > most)
        throw invalid_value(
            "SentencePiece: vocab_size = " + std::to_string(static_cast<std::ptrdiff_t>(options.vocab_size)) +
            ": expected " + std::to_string(SpecialTokens::count + 1) + " to " + std::to_string(most));
    detail::LineIterator lines(blocks);
    const auto flag = [](bool value) { return std::string(value ? "true" : "false"); };
    const std::unordered_map<std::string, std::string> arguments{
        {"model_type", options.model == SentencePieceOptions::Model::bpe ? "bpe" : "unigram"},
        {"vocab_size", std::to_string(options.vocab_size)},
        {"character_coverage", std::to_string(options.character_coverage)},
        {"byte_fallback", flag(options.byte_fallback)},
        {"hard_vocab_limit", flag(options.hard_vocab_limit)},
        {"normalization_rule_name", options.normalization},
        {"bos_id", std::to_string(SpecialTokens::bos)},
        {"pad_id", std::to_string(SpecialTokens::pad)},
        {"eos_id", std::to_string(SpecialTokens::eos)},
        {"unk_id", std::to_string(SpecialTokens::unk)},
        {"max_sentence_length", std::to_string(std::max<std::size_t>(longest + 1, 10))},  // else long lines are lost
        {"num_threads", "4"},  // sums are cut by it: never the machine's number
        {"minloglevel", "4"}};
    std::string bytes;
    const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &lines, &bytes);
    if (!status.ok()) {
        // messages look like "Internal: file.cc(12) [condition] sentence"; the sentence is for people
        std::string message = status.error_message();
        const std::string asked = "SentencePiece: vocab_size = " + std::to_string(options.vocab_size);
        if (const auto at = message.find("to a value <= "); at != std::string::npos)
            throw invalid_value(asked + " is too large for this text: expected at most " +
                                message.substr(at + 14, message.find_first_not_of("0123456789", at + 14) - at - 14));
        if (const auto at = message.find(" vs "); at != std::string::npos && message.find("required_chars") < at)
            throw invalid_value(asked + " is too small: the characters of this text and the special tokens need " +
                                message.substr(at + 4, message.find_first_not_of("0123456789", at + 4) - at - 4) +
                                " (or lower character_coverage)");
        if (const auto end = message.rfind("] "); end != std::string::npos && end + 2 < message.size())
            message.erase(0, end + 2);
        throw invalid_value("SentencePiece: training failed: " + message);
    }
    return SentencePieceTokenizer::from_bytes(bytes);
}

/// Trains a model on one list of lines; see above.
inline SentencePieceTokenizer train_sentencepiece(std::span<const std::string> lines,
                                                  const SentencePieceOptions& options = {}) {
    return train_sentencepiece(std::span<const std::span<const std::string>>(&lines, 1), options);
}

}  // namespace hat
