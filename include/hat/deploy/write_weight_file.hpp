#pragma once
/// \file
/// Writes weight files (.hatw), which deploy/weight_file.hpp reads.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <hat/core/error.hpp>
#include <hat/deploy/weight_file.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/file_path.hpp>
#include <hat/text/subword.hpp>
#include <hat/text/vocabulary.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hat {

/// A tokenizer as a weight file holds it.
struct TokenizerParts {
    TokenizerKind kind = TokenizerKind::none;  ///< what it is
    std::string bytes;                         ///< a SentencePiece model, or words
    std::vector<std::uint32_t> index;          ///< what is computed once, see SubwordModel::index() and WordModel

    friend bool operator==(const TokenizerParts&, const TokenizerParts&) = default;  ///< memberwise
};

/// The parts of a SentencePiece model's bytes. Throws invalid_value for one that SubwordModel does not read.
inline TokenizerParts subword_parts(std::string_view model) {
    SubwordModel subwords;
    if (const SubwordError error = subwords.load(model); error != SubwordError::none)
        throw invalid_value("hat::subword_parts: " + std::string(describe(error)));
    const auto index = subwords.index();
    return {TokenizerKind::subwords, std::string(model), {index.begin(), index.end()}};
}

/// The parts of a list of words.
inline TokenizerParts word_parts(const Vocabulary& vocabulary) {
    TokenizerParts parts{TokenizerKind::words, "", {}};
    std::vector<std::uint32_t> begin, sorted;
    for (std::size_t i = 0; i < vocabulary.size(); ++i) {
        const std::string& word = vocabulary.token(static_cast<std::int32_t>(i));
        begin.push_back(static_cast<std::uint32_t>(parts.bytes.size()));
        parts.bytes += word;
        // of a word that is there twice, the last one has the name
        if (vocabulary.id(word) == static_cast<std::int32_t>(i)) sorted.push_back(static_cast<std::uint32_t>(i));
    }
    begin.push_back(static_cast<std::uint32_t>(parts.bytes.size()));
    std::sort(sorted.begin(), sorted.end(), [&](std::uint32_t a, std::uint32_t b) {
        return vocabulary.token(static_cast<std::int32_t>(a)) < vocabulary.token(static_cast<std::int32_t>(b));
    });
    parts.index = {static_cast<std::uint32_t>(vocabulary.size()), static_cast<std::uint32_t>(sorted.size())};
    parts.index.insert(parts.index.end(), begin.begin(), begin.end());
    parts.index.insert(parts.index.end(), sorted.begin(), sorted.end());
    return parts;
}

/// What a weight file is made of.
struct WeightFileParts {
    RuntimeArch arch;                    ///< the network
    StaticConfig config;                 ///< what it is besides
    std::span<const std::byte> weights;  ///< see store_weights()
    TokenizerParts source;               ///< reads the source language
    TokenizerParts target;               ///< writes the target language; equal ones are stored once
    std::string notes;                   ///< where the model comes from, lines of text
};

namespace detail {
inline std::vector<std::uint32_t> description_words(const WeightFileParts& p) {
    const StaticConfig& c = p.config;
    const std::uint32_t flags =
        (c.encoder_pre_norm ? flag_encoder_pre_norm : 0U) | (c.decoder_pre_norm ? flag_decoder_pre_norm : 0U) |
        (c.decoder_final_norm ? flag_decoder_final_norm : 0U) | (c.vocab_original_scaling ? flag_original_scaling : 0U);
    std::vector<std::uint32_t> words{
        static_cast<std::uint32_t>(c.source_vocab),
        static_cast<std::uint32_t>(c.target_vocab),
        static_cast<std::uint32_t>(c.sharing),
        flags,
        static_cast<std::uint32_t>(c.encoder_super_embed),
        static_cast<std::uint32_t>(c.decoder_super_embed),
        static_cast<std::uint32_t>(c.format),
        static_cast<std::uint32_t>(p.source.kind) | static_cast<std::uint32_t>(p.target.kind) << 16U,
        static_cast<std::uint32_t>(c.book_rows),
        static_cast<std::uint32_t>(c.codebook_math)};
    const auto side = [&](const auto& s) {
        const auto put = [&](int v) { words.push_back(static_cast<std::uint32_t>(v)); };
        put(s.embed), put(s.layers);
        for (std::size_t i = 0; i < static_cast<std::size_t>(s.layers); ++i)
            for (const auto* list : {&s.ffn, &s.qkv, &s.self_heads, &s.cross_heads, &s.cross_span}) put((*list)[i]);
    };
    side(p.arch.encoder), side(p.arch.decoder);
    return words;
}
}  // namespace detail

/// The bytes of a weight file. Throws invalid_value when the parts make no file that WeightFile reads.
inline std::string weight_file_bytes(WeightFileParts parts) {
    parts.arch = canonical(parts.arch);
    if (!detail::plausible(parts.arch, parts.config, parts.weights.size()) ||
        plan_model(parts.arch, parts.config).bytes != parts.weights.size())
        throw invalid_value("hat::weight_file_bytes: " + std::to_string(parts.weights.size()) +
                            " bytes of weights are not those of this architecture and configuration");
    const auto check = [&](const TokenizerParts& t, std::size_t ids, const char* side) {
        DeployedTokenizer tokenizer;
        if (tokenizer.load(t.kind, t.bytes, t.index) != SubwordError::none)
            throw invalid_value(std::string("hat::weight_file_bytes: the ") + side + " tokenizer cannot be read");
        if (t.kind != TokenizerKind::none && tokenizer.vocabulary_size() != ids)
            throw invalid_value(std::string("hat::weight_file_bytes: the ") + side + " tokenizer has " +
                                std::to_string(tokenizer.vocabulary_size()) + " ids, but the network " +
                                std::to_string(ids));
    };
    check(parts.source, parts.config.source_vocab, "source");
    check(parts.target, parts.config.target_vocab, "target");

    struct Piece {
        WeightSection kind;
        std::string_view bytes;
    };
    const auto description = detail::description_words(parts);
    const auto words = [](const std::vector<std::uint32_t>& v) {
        return bytes_of<std::uint32_t>(std::span<const std::uint32_t>(v));
    };
    const bool joint = parts.source == parts.target;
    std::vector<Piece> pieces{{WeightSection::description, words(description)},
                              {WeightSection::notes, parts.notes},
                              {WeightSection::source_tokenizer, parts.source.bytes},
                              {WeightSection::source_index, words(parts.source.index)}};
    if (!joint) {
        pieces.push_back({WeightSection::target_tokenizer, parts.target.bytes});
        pieces.push_back({WeightSection::target_index, words(parts.target.index)});
    }
    pieces.push_back({WeightSection::weights, bytes_of(parts.weights)});
    std::erase_if(pieces, [](const Piece& p) { return p.bytes.empty(); });

    // the table: what is joint has two entries for one place
    const auto up = [](std::size_t n) {
        return (n + detail::weight_alignment - 1) / detail::weight_alignment * detail::weight_alignment;
    };
    std::vector<detail::WeightFileSection> table;
    const auto entry = [&](WeightSection kind, std::size_t at, std::size_t bytes) {
        table.push_back({static_cast<std::uint32_t>(kind), 0, at, bytes});
    };
    const bool twice = joint && parts.source.kind != TokenizerKind::none;
    const std::size_t sections = pieces.size() + (twice ? 2 : 0);
    std::size_t at = up(sizeof(detail::WeightFileHeader) + sections * sizeof(detail::WeightFileSection));
    for (const Piece& p : pieces) {
        entry(p.kind, at, p.bytes.size());
        if (twice && p.kind == WeightSection::source_tokenizer)
            entry(WeightSection::target_tokenizer, at, p.bytes.size());
        if (twice && p.kind == WeightSection::source_index) entry(WeightSection::target_index, at, p.bytes.size());
        at += up(p.bytes.size());
    }
    detail::WeightFileHeader header;
    header.bytes = at;
    header.sections = static_cast<std::uint32_t>(table.size());

    // every part is filled up to the next multiple of 64 bytes
    std::string file;
    file.reserve(at);
    const auto put = [&](std::string_view bytes) {
        file += bytes;
        file.append(up(file.size()) - file.size(), '\0');
    };
    put({reinterpret_cast<const char*>(&header), sizeof header});
    put(bytes_of<detail::WeightFileSection>(std::span<const detail::WeightFileSection>(table)));
    for (const Piece& p : pieces) put(p.bytes);
    WeightHash hash;
    hash.update(std::as_bytes(std::span(file)));
    header.checksum = hash.value();
    std::memcpy(file.data(), &header, sizeof header);
    return file;
}

/// Writes a weight file, at once or not at all. Throws bad_file when it cannot be written, and what weight_file_bytes()
/// throws.
inline void save_weight_file(const FilePath& path, WeightFileParts parts) {
    write_file_atomically(path, weight_file_bytes(std::move(parts)));
}

}  // namespace hat
