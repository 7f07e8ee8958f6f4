#pragma once
/// \file
/// The deployed tokenizer: encodes and decodes with a trained SentencePiece model and nothing but the standard library.
/// No exceptions, no run-time type information, no allocation while encoding and decoding. Gives the ids and the text
/// that the library (hat/text/sentencepiece.hpp) gives.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <hat/core/tokens.hpp>
#include <hat/text/utf8.hpp>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace hat {

/// What can be wrong with a subword model, or with a call of it.
enum class SubwordError : std::uint8_t {
    none,               ///< nothing
    truncated,          ///< the model's bytes end too early
    malformed,          ///< the bytes are no SentencePiece model
    unsupported,        ///< a SentencePiece model of a kind that hat does not train
    bad_piece,          ///< a piece that is empty, defined twice or of the wrong type, or one that is missing
    foreign_ids,        ///< the special tokens do not have hat's ids
    bad_index,          ///< the index was not made by this version for this model
    not_loaded,         ///< there is no model
    scratch_too_small,  ///< the caller's scratch memory does not hold the sentence
    ids_too_small,      ///< the caller's span does not hold the ids
    text_too_small,     ///< the caller's span does not hold the text
    foreign_id,         ///< an id outside [0, vocabulary_size())
    control_piece,      ///< the text spells a control piece in one character, which SentencePiece refuses to encode
};

/// One sentence without a full stop, for messages.
constexpr std::string_view describe(SubwordError error) {
    switch (error) {
        case SubwordError::none:
            return "no error";
        case SubwordError::truncated:
            return "the subword model is truncated";
        case SubwordError::malformed:
            return "not a SentencePiece model, or a corrupt one";
        case SubwordError::unsupported:
            return "a kind of SentencePiece model that hat does not train";
        case SubwordError::bad_piece:
            return "the subword model has an invalid, doubled or missing piece";
        case SubwordError::foreign_ids:
            return "the subword model's special tokens are not <s> 0, <pad> 1, </s> 2, <unk> 3";
        case SubwordError::bad_index:
            return "the subword index does not belong to this model and version";
        case SubwordError::not_loaded:
            return "no subword model is loaded";
        case SubwordError::scratch_too_small:
            return "the scratch memory is too small for this sentence";
        case SubwordError::ids_too_small:
            return "the sentence has more tokens than there is room for";
        case SubwordError::text_too_small:
            return "the text is longer than there is room for";
        case SubwordError::foreign_id:
            return "a token id outside the vocabulary";
        case SubwordError::control_piece:
            return "the text spells a control piece";
    }
    return "unknown error";
}

/// How much was written, or why nothing useful was.
struct SubwordResult {
    SubwordError error = SubwordError::none;  ///< what went wrong
    std::size_t size = 0;                     ///< ids or bytes written; 0 on an error
    /// Whether all went well.
    explicit operator bool() const { return error == SubwordError::none; }
};

namespace detail {

/// One field of a message in protocol-buffer encoding.
struct WireField {
    std::uint32_t number = 0, type = 0;
    std::uint64_t value = 0;  // types 0 (varint), 1 and 5 (8 and 4 bytes, little-endian)
    std::string_view bytes;   // type 2

    bool flag() const { return value != 0; }
    float real() const { return std::bit_cast<float>(static_cast<std::uint32_t>(value)); }
};

/// Takes fields off the front of a message.
struct WireReader {
    std::string_view rest;
    SubwordError error = SubwordError::none;

    /// False at the end and on errors.
    bool next(WireField& field) {
        if (rest.empty()) return false;
        std::uint64_t tag = 0;
        if (!varint(tag)) return false;
        if (tag >> 3U == 0 || tag > std::numeric_limits<std::uint32_t>::max()) return fail(SubwordError::malformed);
        field.number = static_cast<std::uint32_t>(tag >> 3U);
        field.type = static_cast<std::uint32_t>(tag & 7U);
        field.bytes = {};
        switch (field.type) {
            case 0:
                return varint(field.value);
            case 1:
                return fixed(8, field.value);
            case 5:
                return fixed(4, field.value);
            case 2:
                if (!varint(field.value)) return false;
                if (field.value > rest.size()) return fail(SubwordError::truncated);
                field.bytes = rest.substr(0, static_cast<std::size_t>(field.value));
                rest.remove_prefix(field.bytes.size());
                return true;
            default:
                return fail(SubwordError::malformed);
        }
    }

private:
    bool fail(SubwordError what) {
        error = what;
        return false;
    }
    bool varint(std::uint64_t& value) {
        value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (rest.empty()) return fail(SubwordError::truncated);
            const auto byte = static_cast<unsigned char>(rest.front());
            rest.remove_prefix(1);
            value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
            if ((byte & 0x80U) == 0) return true;
        }
        return fail(SubwordError::malformed);
    }
    bool fixed(std::size_t n, std::uint64_t& value) {
        if (rest.size() < n) return fail(SubwordError::truncated);
        value = 0;
        for (std::size_t i = 0; i < n; ++i)
            value |= static_cast<std::uint64_t>(static_cast<unsigned char>(rest[i])) << (8 * i);
        rest.remove_prefix(n);
        return true;
    }
};

inline std::uint32_t load_u32(const char* at) {  // little-endian
    const auto byte = [&](int i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(at[i])); };
    return byte(0) | byte(1) << 8U | byte(2) << 16U | byte(3) << 24U;
}

/// Bytes of the character that starts with `lead`, as SentencePiece counts them in any bytes.
inline std::uint32_t character_bytes(char lead) {
    const auto a = static_cast<unsigned char>(lead);
    return a < 0xC0U ? 1 : a < 0xE0U ? 2 : a < 0xF0U ? 3 : 4;
}

/// The number that a piece from <0x00> to <0xFF> spells, or -1.
inline int byte_of(std::string_view piece) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
    const std::size_t high = digits.find(piece[3]), low = digits.find(piece[4]);
    return high == digits.npos || low == digits.npos ? -1 : static_cast<int>(16 * high + low);
}

enum class PieceType : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };

constexpr std::uint32_t no_piece = 0xFFFFFFFFU;
constexpr std::string_view space_symbol = "\xE2\x96\x81";        // U+2581 stands for a space
constexpr std::string_view replacement_symbol = "\xEF\xBF\xBD";  // U+FFFD stands for an invalid byte
constexpr std::string_view default_unknown_surface = " \xE2\x81\x87 ";

/// The index of a model: one array of words, so that it can lie in a memory-mapped file. Header, 256 ids of bytes,
/// three words a piece (where it begins in the model's bytes, type and length, score), and a trie of all pieces in
/// breadth-first order: node i's children are the nodes first[i] to first[i + 1], labelled in ascending order, and
/// ids[i] is the piece that ends there.
struct SubwordHeader {
    static constexpr std::uint32_t this_format = 0x48535701U;  // "HSW", version 1
    enum Flag : std::uint32_t {
        add_dummy_prefix = 1,
        remove_extra_whitespaces = 2,
        escape_whitespaces = 4,
        whitespace_as_suffix = 8,
        byte_fallback = 16,
        has_user_defined = 32,
        has_unknown_surface = 64,
    };
    std::uint32_t format = this_format, model_bytes = 0, pieces = 0, nodes = 0, bpe = 0,
                  flags = add_dummy_prefix | remove_extra_whitespaces | escape_whitespaces;
    std::uint32_t rules_begin = 0, rules_units = 0;     // double array of normalisation rules
    std::uint32_t strings_begin = 0, strings_size = 0;  // what they replace by
    std::uint32_t unknown_begin = 0, unknown_size = 0;
    std::uint32_t longest_surface = 0;  // bytes that decode() writes for one id, at most
    float min_score = 0, max_score = 0;

    bool has(Flag flag) const { return (flags & flag) != 0; }
};
static_assert(std::is_trivially_copyable_v<SubwordHeader> && sizeof(SubwordHeader) % sizeof(std::uint32_t) == 0);

/// A model and its index, read. Constructing it checks nothing but the sizes.
class SubwordView {
public:
    static constexpr std::size_t header_words = sizeof(SubwordHeader) / sizeof(std::uint32_t), byte_words = 256;

    SubwordView() = default;
    SubwordView(std::string_view model, std::span<const std::uint32_t> words) : model_(model) {
        if (words.size() < header_words) return;
        std::memcpy(static_cast<void*>(&header), words.data(), sizeof(SubwordHeader));
        if (header.format != SubwordHeader::this_format || words.size() != words_of(header)) return;
        byte_ids_ = words.data() + header_words;
        pieces_ = byte_ids_ + byte_words;
        first_ = pieces_ + std::size_t{3} * header.pieces;
        ids_ = first_ + header.nodes + 1;
        labels_ = reinterpret_cast<const unsigned char*>(ids_ + header.nodes);
    }

    static std::uint64_t words_of(const SubwordHeader& h) {
        return header_words + byte_words + std::uint64_t{3} * h.pieces + std::uint64_t{2} * h.nodes + 1 +
               (std::uint64_t{h.nodes} + 3) / 4;
    }

    explicit operator bool() const { return pieces_ != nullptr; }

    /// Whether every number in the index stays within the index and the model.
    bool valid() const {
        if (pieces_ == nullptr || header.model_bytes != model_.size() || header.pieces <= SpecialTokens::unk ||
            header.pieces > static_cast<std::uint32_t>(std::numeric_limits<std::int32_t>::max()) || header.nodes == 0)
            return false;
        const auto within = [&](std::uint64_t begin, std::uint64_t size) { return begin + size <= model_.size(); };
        if (!within(header.rules_begin, std::uint64_t{4} * header.rules_units) ||
            !within(header.strings_begin, header.strings_size) || !within(header.unknown_begin, header.unknown_size))
            return false;
        std::uint32_t longest = std::max<std::uint32_t>(
            {static_cast<std::uint32_t>(unknown_surface().size()), static_cast<std::uint32_t>(space_symbol.size())});
        for (std::uint32_t i = 0; i < header.pieces; ++i) {
            const auto type = static_cast<std::uint32_t>(this->type(i));
            if (type < 1 || type > 6 || size(i) == 0 || !within(pieces_[3 * std::size_t{i}], size(i)) ||
                !std::isfinite(score(i)))
                return false;
            if (this->type(i) == PieceType::byte && byte_of(piece(i)) < 0) return false;
            longest = std::max(longest, size(i));
        }
        for (std::size_t b = 0; b < byte_words; ++b)
            if (byte_ids_[b] >= header.pieces && (header.has(SubwordHeader::byte_fallback) || byte_ids_[b] != no_piece))
                return false;
        for (std::uint32_t i = 0; i < header.nodes; ++i) {
            if (first_[i] <= i || first_[i] > first_[i + 1] || first_[i + 1] > header.nodes) return false;
            if (ids_[i] != no_piece && ids_[i] >= header.pieces) return false;
        }
        return longest <= header.longest_surface;
    }

    std::string_view piece(std::uint32_t id) const { return model_.substr(pieces_[3 * std::size_t{id}], size(id)); }
    PieceType type(std::uint32_t id) const { return static_cast<PieceType>(pieces_[3 * std::size_t{id} + 1] >> 24U); }
    float score(std::uint32_t id) const { return std::bit_cast<float>(pieces_[3 * std::size_t{id} + 2]); }
    /// Whether text is cut into such pieces.
    bool matches(std::uint32_t id) const {
        return id != no_piece && (type(id) == PieceType::normal || type(id) == PieceType::user_defined);
    }
    std::uint32_t byte_id(unsigned char byte) const { return byte_ids_[byte]; }
    std::string_view unknown_surface() const {
        return header.has(SubwordHeader::has_unknown_surface) ? model_.substr(header.unknown_begin, header.unknown_size)
                                                              : default_unknown_surface;
    }

    // The trie; node 0 is its root.
    std::uint32_t child(std::uint32_t node, char byte) const {
        const std::uint32_t begin = first_[node], count = first_[node + 1] - begin;
        if (count == 0) return no_piece;
        const void* at = std::memchr(labels_ + begin, static_cast<unsigned char>(byte), count);
        return at == nullptr ? no_piece : static_cast<std::uint32_t>(static_cast<const unsigned char*>(at) - labels_);
    }
    std::uint32_t walk(std::uint32_t node, std::string_view text) const {
        for (std::size_t i = 0; i < text.size() && node != no_piece; ++i) node = child(node, text[i]);
        return node;
    }
    /// The piece that ends at a node, or no_piece.
    std::uint32_t id_at(std::uint32_t node) const { return node == no_piece ? no_piece : ids_[node]; }
    /// Bytes of the longest user-defined piece that `text` starts with, or 0.
    std::size_t user_defined_prefix(std::string_view text) const {
        std::size_t longest = 0;
        if (!header.has(SubwordHeader::has_user_defined)) return longest;
        std::uint32_t node = 0;
        for (std::size_t i = 0; i < text.size(); ++i) {
            node = child(node, text[i]);
            if (node == no_piece) break;
            if (ids_[node] != no_piece && type(ids_[node]) == PieceType::user_defined) longest = i + 1;
        }
        return longest;
    }

    /// Writes the normalised text, as long as it fits, and gives its length; one that does not fit is counted with the
    /// spaces that would be cut off its end.
    std::size_t normalize(std::string_view text, std::span<char> out) const {
        const bool trim = header.has(SubwordHeader::remove_extra_whitespaces);
        const bool escape = header.has(SubwordHeader::escape_whitespaces);
        const bool dummy = header.has(SubwordHeader::add_dummy_prefix);
        const bool suffix = header.has(SubwordHeader::whitespace_as_suffix);
        const std::string_view space = escape ? space_symbol : std::string_view(" ");
        while (trim && !text.empty()) {
            const Prefix prefix = normalize_prefix(text);
            if (prefix.text != " ") break;
            text.remove_prefix(prefix.bytes);
        }
        if (text.empty()) return 0;
        std::size_t size = 0;
        const auto put = [&](std::string_view part) {
            if (size <= out.size() && part.size() <= out.size() - size)
                std::copy(part.begin(), part.end(), out.begin() + static_cast<std::ptrdiff_t>(size));
            size += part.size();
        };
        if (dummy && !suffix) put(space);
        bool after_space = trim;
        while (!text.empty()) {
            const Prefix prefix = normalize_prefix(text);
            std::string_view part = prefix.text;
            while (after_space && part.starts_with(' ')) part.remove_prefix(1);
            if (!part.empty()) after_space = trim && part.ends_with(' ');
            while (!part.empty()) {
                const std::size_t plain = std::min(escape ? part.find(' ') : part.size(), part.size());
                put(part.substr(0, plain));
                part.remove_prefix(plain);
                if (part.empty()) break;
                put(space);
                part.remove_prefix(1);
            }
            text.remove_prefix(prefix.bytes);
        }
        if (trim && size <= out.size())
            while (std::string_view(out.data(), size).ends_with(space)) size -= space.size();
        if (dummy && suffix) put(space);
        return size;
    }

    SubwordHeader header;

private:
    struct Prefix {
        std::string_view text;  // what the first `bytes` bytes become
        std::size_t bytes;
    };

    std::uint32_t size(std::uint32_t id) const { return pieces_[3 * std::size_t{id} + 1] & 0xFFFFFFU; }

    /// The longest rule that applies at the front of a text that is not empty, or its first character.
    Prefix normalize_prefix(std::string_view text) const {
        if (const std::size_t n = user_defined_prefix(text); n > 0) return {text.substr(0, n), n};
        // A double array of 32-bit units. A unit holds the label that leads to it (bits 0-7), whether one of its
        // children is a leaf (bit 8), and an offset (bits 10-31, in steps of 256 when bit 9 is set): the child by a
        // byte is at position ^ offset ^ byte, the leaf at position ^ offset. A leaf has bit 31 set and holds a value.
        std::size_t longest = 0;
        std::uint32_t value = 0;
        if (header.rules_units > 0) {
            std::uint32_t unit = rule(0), at = offset(unit);
            for (std::size_t i = 0; i < text.size(); ++i) {
                const auto byte = static_cast<unsigned char>(text[i]);
                at ^= byte;
                if (at >= header.rules_units) break;
                unit = rule(at);
                if ((unit & 0x800000FFU) != byte) break;
                at ^= offset(unit);
                if ((unit & 0x100U) == 0) continue;
                if (at >= header.rules_units) break;
                longest = i + 1;
                value = rule(at) & 0x7FFFFFFFU;
            }
        }
        if (longest > 0) {
            const std::string_view strings = model_.substr(header.strings_begin, header.strings_size);
            if (value >= strings.size()) return {{}, longest};
            const std::string_view from = strings.substr(value);
            return {from.substr(0, from.find('\0')), longest};
        }
        const std::size_t n = valid_utf8_length(text, 0);
        return n == 0 ? Prefix{replacement_symbol, 1} : Prefix{text.substr(0, n), n};
    }
    std::uint32_t rule(std::uint32_t i) const {
        return load_u32(model_.data() + header.rules_begin + 4 * std::size_t{i});
    }
    static std::uint32_t offset(std::uint32_t unit) { return (unit >> 10U) << ((unit & 0x200U) >> 6U); }

    std::string_view model_;
    const std::uint32_t* byte_ids_ = nullptr;
    const std::uint32_t* pieces_ = nullptr;
    const std::uint32_t* first_ = nullptr;
    const std::uint32_t* ids_ = nullptr;
    const unsigned char* labels_ = nullptr;
};

/// Reads the bytes of a model and makes its index.
class SubwordIndexer {
public:
    explicit SubwordIndexer(std::string_view model) : model_(model) {}

    SubwordError build(std::vector<std::uint32_t>& words) {
        if (model_.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
            return SubwordError::unsupported;
        header_.model_bytes = static_cast<std::uint32_t>(model_.size());
        for (const auto read :
             {&SubwordIndexer::read_model, &SubwordIndexer::check_pieces, &SubwordIndexer::build_trie})
            if (const SubwordError error = (this->*read)(); error != SubwordError::none) return error;
        words.clear();
        words.reserve(static_cast<std::size_t>(SubwordView::words_of(header_)));
        words.resize(SubwordView::header_words);
        std::memcpy(words.data(), &header_, sizeof header_);
        words.insert(words.end(), byte_ids_.begin(), byte_ids_.end());
        for (const Piece& p : pieces_) {
            words.push_back(begin_of(p.text));
            words.push_back(static_cast<std::uint32_t>(p.type) << 24U | static_cast<std::uint32_t>(p.text.size()));
            words.push_back(std::bit_cast<std::uint32_t>(p.score));
        }
        words.insert(words.end(), first_.begin(), first_.end());
        words.insert(words.end(), ids_.begin(), ids_.end());
        const std::size_t labels = words.size();
        words.resize(labels + (labels_.size() + 3) / 4);
        std::memcpy(words.data() + labels, labels_.data(), labels_.size());
        return SubwordError::none;
    }

private:
    struct Piece {
        std::string_view text;
        float score = 0;
        PieceType type = PieceType::normal;
    };

    std::uint32_t begin_of(std::string_view part) const {
        return part.empty() ? 0 : static_cast<std::uint32_t>(part.data() - model_.data());
    }

    SubwordError read_model() {
        pieces_.reserve(model_.size() / 24 + 1);
        bool trainer = false, normalizer = false;
        WireReader in{model_};
        for (WireField f; in.next(f);) {
            if (f.number > 5) continue;
            if (f.type != 2) return SubwordError::malformed;
            SubwordError error = SubwordError::none;
            trainer = trainer || f.number == 2;
            normalizer = normalizer || f.number == 3;
            if (f.number == 1) error = read_piece(f.bytes);
            if (f.number == 2) error = read_trainer(f.bytes);
            if (f.number == 3) error = read_normalizer(f.bytes);
            if (f.number == 5) error = read_denormalizer(f.bytes);
            if (error != SubwordError::none) return error;
        }
        if (in.error != SubwordError::none) return in.error;
        // the last part that a trained model has; without it the file was cut off between two parts
        if (!trainer || !normalizer) return pieces_.empty() ? SubwordError::malformed : SubwordError::truncated;
        return read_rules();
    }

    // Damage within a part that is whole is no truncation.
    static SubwordError inner(SubwordError error) {
        return error == SubwordError::truncated ? SubwordError::malformed : error;
    }

    SubwordError read_piece(std::string_view bytes) {
        Piece piece;
        WireReader in{bytes};
        for (WireField f; in.next(f);) {
            if (f.number > 3) continue;
            constexpr std::array<std::uint32_t, 4> types{0, 2, 5, 0};
            if (f.type != types[f.number]) return SubwordError::malformed;
            if (f.number == 1) piece.text = f.bytes;
            if (f.number == 2) piece.score = f.real();
            if (f.number == 3) {
                if (f.value < 1 || f.value > 6) return SubwordError::bad_piece;
                piece.type = static_cast<PieceType>(f.value);
            }
        }
        pieces_.push_back(piece);
        return inner(in.error);
    }

    void set(SubwordHeader::Flag flag, bool on) { header_.flags = on ? header_.flags | flag : header_.flags & ~flag; }

    SubwordError read_trainer(std::string_view bytes) {
        WireReader in{bytes};
        for (WireField f; in.next(f);) {
            const bool text = f.number >= 44 && f.number <= 48;
            const bool number = f.number == 3 || f.number == 24 || f.number == 35;
            if ((text && f.type != 2) || (number && f.type != 0)) return SubwordError::malformed;
            if (f.number == 3) {
                if (f.value != 1 && f.value != 2) return SubwordError::unsupported;  // words or characters
                header_.bpe = f.value == 2 ? 1 : 0;
            }
            if (f.number == 24) set(SubwordHeader::whitespace_as_suffix, f.flag());
            if (f.number == 35) set(SubwordHeader::byte_fallback, f.flag());
            if (f.number == 44) {
                const std::string_view surface = f.bytes.substr(0, f.bytes.find('\0'));
                set(SubwordHeader::has_unknown_surface, true);
                header_.unknown_begin = begin_of(surface);
                header_.unknown_size = static_cast<std::uint32_t>(surface.size());
            }
            if (f.number == 45) special_[SpecialTokens::unk] = f.bytes;
            if (f.number == 46) special_[SpecialTokens::bos] = f.bytes;
            if (f.number == 47) special_[SpecialTokens::eos] = f.bytes;
            if (f.number == 48) special_[SpecialTokens::pad] = f.bytes;
        }
        return inner(in.error);
    }

    SubwordError read_normalizer(std::string_view bytes) {
        WireReader in{bytes};
        for (WireField f; in.next(f);) {
            if ((f.number == 2 && f.type != 2) || (f.number >= 3 && f.number <= 5 && f.type != 0))
                return SubwordError::malformed;
            if (f.number == 2) rules_ = f.bytes;
            if (f.number == 3) set(SubwordHeader::add_dummy_prefix, f.flag());
            if (f.number == 4) set(SubwordHeader::remove_extra_whitespaces, f.flag());
            if (f.number == 5) set(SubwordHeader::escape_whitespaces, f.flag());
        }
        return inner(in.error);
    }

    static SubwordError read_denormalizer(std::string_view bytes) {
        WireReader in{bytes};
        for (WireField f; in.next(f);)
            if (f.number == 2 && (f.type != 2 || !f.bytes.empty())) return SubwordError::unsupported;
        return inner(in.error);
    }

    // <bytes of the double array, 4 bytes> <double array> <strings that end in a zero byte>
    SubwordError read_rules() {
        if (rules_.empty()) return SubwordError::none;
        if (rules_.size() < 4) return SubwordError::malformed;
        const std::uint32_t bytes = load_u32(rules_.data());
        if (bytes > rules_.size() - 4) return SubwordError::malformed;
        header_.rules_begin = begin_of(rules_) + 4;
        header_.rules_units = bytes / 4;
        header_.strings_begin = header_.rules_begin + bytes;
        header_.strings_size = static_cast<std::uint32_t>(rules_.size() - 4 - bytes);
        return SubwordError::none;
    }

    SubwordError check_pieces() {
        header_.pieces = static_cast<std::uint32_t>(pieces_.size());
        header_.min_score = std::numeric_limits<float>::max();
        header_.max_score = std::numeric_limits<float>::min();  // the smallest positive number, as in SentencePiece
        byte_ids_.fill(no_piece);
        std::size_t unknown = 0;
        std::size_t longest = std::max(
            header_.has(SubwordHeader::has_unknown_surface) ? header_.unknown_size : default_unknown_surface.size(),
            replacement_symbol.size());
        for (std::size_t i = 0; i < pieces_.size(); ++i) {
            const Piece& piece = pieces_[i];
            if (piece.text.empty() || piece.text.find('\0') != piece.text.npos || !std::isfinite(piece.score))
                return SubwordError::bad_piece;
            if (piece.text.size() >= (std::size_t{1} << 24U)) return SubwordError::unsupported;
            longest = std::max(longest, piece.text.size());
            if (piece.type == PieceType::normal) {
                header_.min_score = std::min(header_.min_score, piece.score);
                header_.max_score = std::max(header_.max_score, piece.score);
            }
            if (piece.type == PieceType::user_defined) set(SubwordHeader::has_user_defined, true);
            if (piece.type == PieceType::unknown) ++unknown;
            // training never makes these, and how BPE cuts them up again would need more memory
            if (piece.type == PieceType::unused && header_.bpe != 0) return SubwordError::unsupported;
            if (piece.type == PieceType::byte) {
                const int byte = byte_of(piece.text);
                if (byte < 0 || !header_.has(SubwordHeader::byte_fallback)) return SubwordError::bad_piece;
                byte_ids_[static_cast<std::size_t>(byte)] = static_cast<std::uint32_t>(i);
            }
        }
        header_.longest_surface = static_cast<std::uint32_t>(longest);
        if (unknown != 1) return SubwordError::bad_piece;
        if (header_.has(SubwordHeader::byte_fallback) &&
            std::find(byte_ids_.begin(), byte_ids_.end(), no_piece) != byte_ids_.end())
            return SubwordError::bad_piece;
        for (const std::int32_t id : {SpecialTokens::bos, SpecialTokens::pad, SpecialTokens::eos, SpecialTokens::unk}) {
            const auto i = static_cast<std::size_t>(id);
            const PieceType type = id == SpecialTokens::unk ? PieceType::unknown : PieceType::control;
            if (i >= pieces_.size() || pieces_[i].type != type || pieces_[i].text != special_[i])
                return SubwordError::foreign_ids;
        }
        return SubwordError::none;
    }

    SubwordError build_trie() {
        struct Key {
            std::uint64_t head;  // the first eight bytes, so that most comparisons are one of numbers
            std::uint32_t id;
        };
        std::vector<Key> keys(pieces_.size());
        for (std::uint32_t id = 0; id < keys.size(); ++id) {
            const std::string_view text = pieces_[id].text;
            std::uint64_t head = 0;
            for (std::size_t i = 0; i < 8; ++i)
                head = head << 8U | (i < text.size() ? static_cast<unsigned char>(text[i]) : 0U);
            keys[id] = {head, id};
        }
        std::sort(keys.begin(), keys.end(), [&](const Key& a, const Key& b) {
            return a.head != b.head ? a.head < b.head : pieces_[a.id].text < pieces_[b.id].text;
        });
        // A node is a range of pieces with the same first `depth` bytes.
        struct Range {
            std::uint32_t begin, end, depth;
        };
        std::vector<Range> nodes{{0, static_cast<std::uint32_t>(keys.size()), 0}};
        nodes.reserve(4 * keys.size());
        labels_.push_back(0);
        for (std::size_t n = 0; n < nodes.size(); ++n) {
            Range at = nodes[n];
            const auto text = [&] { return pieces_[keys[at.begin].id].text; };
            first_.push_back(static_cast<std::uint32_t>(nodes.size()));
            ids_.push_back(no_piece);
            if (text().size() == at.depth) {
                ids_.back() = keys[at.begin++].id;
                if (at.begin < at.end && text().size() == at.depth) return SubwordError::bad_piece;  // twice the same
            }
            while (at.begin < at.end) {
                const char label = text()[at.depth];
                const std::uint32_t begin = at.begin;
                while (at.begin < at.end && text()[at.depth] == label) ++at.begin;
                nodes.push_back({begin, at.begin, at.depth + 1});
                labels_.push_back(static_cast<unsigned char>(label));
            }
        }
        first_.push_back(static_cast<std::uint32_t>(nodes.size()));
        header_.nodes = static_cast<std::uint32_t>(nodes.size());
        return SubwordError::none;
    }

    std::string_view model_, rules_;
    std::array<std::string_view, 4> special_{"<s>", "<pad>", "</s>", "<unk>"};
    SubwordHeader header_;
    std::vector<Piece> pieces_;
    std::array<std::uint32_t, 256> byte_ids_{};
    std::vector<std::uint32_t> first_, ids_;
    std::vector<unsigned char> labels_;
};

/// Takes pieces of text in order and writes their ids.
struct SubwordWriter {
    const SubwordView& view;
    std::span<std::int32_t> ids;
    std::size_t size = 0;
    bool after_unknown = false;
    SubwordError error = SubwordError::none;

    void put(std::string_view text, std::uint32_t id) {
        const PieceType type = view.type(id);
        if (type == PieceType::control) error = SubwordError::control_piece;
        const bool unknown = type == PieceType::unknown;
        if (unknown && view.header.has(SubwordHeader::byte_fallback)) {
            for (const char c : text) push(view.byte_id(static_cast<unsigned char>(c)));
        } else if (!(unknown && after_unknown)) {  // unknown pieces in a row are one token
            push(id);
        }
        after_unknown = unknown;
    }

private:
    void push(std::uint32_t id) {
        if (size < ids.size())
            ids[size++] = static_cast<std::int32_t>(id);
        else if (error == SubwordError::none)
            error = SubwordError::ids_too_small;
    }
};

/// The part of a text that ends at a position, on the most probable path to there.
struct UnigramNode {
    float score;
    std::uint32_t begin, id;
};

/// The most probable segmentation. `nodes` has one element more than `text` bytes. Additions and comparisons are in the
/// types SentencePiece has them in: a path's score is a float, a longer path is compared as double.
inline void encode_unigram(const SubwordView& view, std::string_view text, std::span<UnigramNode> nodes,
                           SubwordWriter& out) {
    constexpr float unknown_penalty = 10;
    const float unknown_score = view.header.min_score - unknown_penalty;
    const auto size = static_cast<std::uint32_t>(text.size());
    std::fill(nodes.begin(), nodes.end(), UnigramNode{0, no_piece, 0});
    for (std::uint32_t begin = 0; begin < size;) {
        const float before = nodes[begin].score;
        const auto offer = [&](std::uint32_t end, auto score, std::uint32_t id) {
            UnigramNode& node = nodes[end];
            if (node.begin == no_piece || score > node.score) node = {static_cast<float>(score), begin, id};
        };
        const std::uint32_t character = std::min(character_bytes(text[begin]), size - begin);
        bool has_character = false;
        for (std::uint32_t end = begin, node = 0; end < size;) {
            node = view.child(node, text[end]);
            if (node == no_piece) break;
            ++end;
            const std::uint32_t id = view.id_at(node);
            if (!view.matches(id)) continue;
            const float bonus = static_cast<float>(end - begin) * view.header.max_score;
            const double score = view.type(id) == PieceType::user_defined ? static_cast<double>(bonus) - 0.1
                                                                          : static_cast<double>(view.score(id));
            offer(end, score + static_cast<double>(before), id);
            has_character = has_character || end - begin == character;
        }
        if (!has_character) offer(begin + character, unknown_score + before, std::uint32_t{SpecialTokens::unk});
        begin += character;
    }
    // turn the links of the path around: from now on `begin` of a position on it is where the next part ends
    for (std::uint32_t end = size, begin = nodes[end].begin; end > 0;) {
        const std::uint32_t next = nodes[begin].begin;
        nodes[begin].begin = end;
        end = begin;
        begin = next;
    }
    for (std::uint32_t begin = 0; begin < size;) {
        const std::uint32_t end = nodes[begin].begin;
        out.put(text.substr(begin, end - begin), nodes[end].id);
        begin = end;
    }
}

/// A part of the text while pairs are merged.
struct BpeSymbol {
    std::uint32_t begin, size;     // size 0: merged into one before it
    std::uint32_t previous, next;  // no_piece at the ends
    std::uint32_t node;            // of the trie, or no_piece
    std::uint32_t frozen;          // user-defined pieces are never merged
};

/// Two neighbours that make a piece.
struct BpePair {
    float score;
    std::uint32_t left, right, size, node;
};

/// Merges the pair with the best score, the leftmost of equals, until there is none. `symbols` has as many elements as
/// `text` bytes, `pairs` twice as many.
inline void encode_bpe(const SubwordView& view, std::string_view text, std::span<BpeSymbol> symbols,
                       std::span<BpePair> pairs, SubwordWriter& out) {
    std::uint32_t count = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t user_defined = view.user_defined_prefix(text.substr(begin));
        const std::size_t size =
            user_defined > 0 ? user_defined : std::min<std::size_t>(character_bytes(text[begin]), text.size() - begin);
        symbols[count] = {static_cast<std::uint32_t>(begin),
                          static_cast<std::uint32_t>(size),
                          count - 1,
                          begin + size == text.size() ? no_piece : count + 1,
                          view.walk(0, text.substr(begin, size)),
                          user_defined > 0 ? 1U : 0U};
        ++count;
        begin += size;
    }
    const auto worse = [](const BpePair& a, const BpePair& b) {
        return a.score < b.score || (a.score == b.score && a.left > b.left);
    };
    std::size_t heap = 0;  // each merge takes one pair and adds two at most, so that all fit
    const auto offer = [&](std::uint32_t left, std::uint32_t right) {
        if (left == no_piece || right == no_piece) return;
        const BpeSymbol &a = symbols[left], &b = symbols[right];
        if (a.frozen != 0 || b.frozen != 0 || a.node == no_piece) return;
        const std::uint32_t node = view.walk(a.node, text.substr(b.begin, b.size)), id = view.id_at(node);
        if (!view.matches(id)) return;
        pairs[heap++] = {view.score(id), left, right, a.size + b.size, node};
        std::push_heap(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(heap), worse);
    };
    for (std::uint32_t i = 1; i < count; ++i) offer(i - 1, i);
    while (heap > 0) {
        std::pop_heap(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(heap), worse);
        const BpePair pair = pairs[--heap];
        BpeSymbol &left = symbols[pair.left], &right = symbols[pair.right];
        if (left.size == 0 || right.size == 0 || left.size + right.size != pair.size) continue;  // one has changed
        left.size = pair.size;
        left.node = pair.node;
        left.next = right.next;
        if (right.next != no_piece) symbols[right.next].previous = pair.left;
        right.size = 0;
        offer(left.previous, pair.left);
        offer(pair.left, left.next);
    }
    for (std::uint32_t i = 0; i != no_piece; i = symbols[i].next) {
        const std::uint32_t id = view.id_at(symbols[i].node);
        out.put(text.substr(symbols[i].begin, symbols[i].size),
                id == no_piece ? std::uint32_t{SpecialTokens::unk} : id);
    }
}

}  // namespace detail

/// A trained SentencePiece model, BPE or unigram, for programs that only translate. It reads the bytes that
/// SentencePieceTokenizer::bytes() gives and produces the same ids and the same text. It keeps a view of those bytes,
/// which may lie in a memory-mapped file and must outlive it. Cheap to move. encode and decode may be called from
/// several threads at once.
class SubwordModel {
public:
    /// Reads a model and makes its index (the one allocation). Any bytes may be given: what is wrong with them is
    /// returned, and the object is then as one default-constructed.
    SubwordError load(std::string_view model) {
        *this = {};
        const SubwordError error = detail::SubwordIndexer(model).build(own_);
        if (error != SubwordError::none)
            own_ = {};
        else
            model_ = model;
        return error;
    }
    /// Takes a model with the index that index() gave for it, both of which must outlive this object: no allocation.
    /// Any bytes may be given; an index that does not fit the model or is damaged is bad_index, or gives wrong ids when
    /// every number of it is possible.
    SubwordError load(std::string_view model, std::span<const std::uint32_t> index) {
        *this = {};
        if (!detail::SubwordView(model, index).valid()) return SubwordError::bad_index;
        model_ = model;
        shared_ = index;
        return SubwordError::none;
    }
    /// Everything load() computes, for a file beside the model's bytes; in this machine's byte order. Empty when
    /// nothing is loaded.
    std::span<const std::uint32_t> index() const { return own_.empty() ? shared_ : std::span(own_); }

    /// Number of pieces, special tokens included; 0 when nothing is loaded.
    std::size_t vocabulary_size() const { return view().header.pieces; }
    /// The piece as the model spells it, with U+2581 for a space; empty for a foreign id.
    std::string_view piece(std::int32_t id) const {
        const detail::SubwordView v = view();
        return known(v, id) ? v.piece(static_cast<std::uint32_t>(id)) : std::string_view{};
    }

    /// Scratch memory for a sentence that has this many bytes once normalised, whatever the model.
    static constexpr std::size_t scratch_bytes(std::size_t normalized_bytes) {
        constexpr std::size_t bpe = sizeof(detail::BpeSymbol) + 2 * sizeof(detail::BpePair);
        constexpr std::size_t a_byte = 1 + std::max(bpe, sizeof(detail::UnigramNode));
        return normalized_bytes * a_byte + sizeof(detail::UnigramNode) + alignof(detail::UnigramNode);
    }
    /// Bytes of a text once normalised, at most: spaces become three bytes, and characters what the model's rules say.
    /// Text of European languages has about 1.5 times its bytes. Takes as long as normalising.
    std::size_t normalized_bytes(std::string_view text) const {
        const detail::SubwordView v = view();
        return v ? v.normalize(text, {}) : 0;
    }

    /// Writes the ids of a text, without bos and eos. Invalid UTF-8 is read as U+FFFD, byte by byte. A sentence has no
    /// more ids than normalised bytes. Allocates nothing.
    SubwordResult encode(std::string_view text, std::span<std::int32_t> ids, std::span<std::byte> scratch) const {
        const detail::SubwordView v = view();
        if (!v) return {SubwordError::not_loaded};
        char* const front = reinterpret_cast<char*>(scratch.data());
        const std::size_t size = v.normalize(text, {front, scratch.size()});
        if (size == 0) return {};
        if (size > scratch.size() || size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
            return {SubwordError::scratch_too_small};
        const std::string_view normalized(front, size);
        void* at = scratch.data() + size;
        std::size_t left = scratch.size() - size;
        // `n` elements at the front of what is left, or none
        const auto take = [&]<class T>(std::span<T>& span, std::size_t n) {
            if (std::align(alignof(T), 1, at, left) == nullptr || left / sizeof(T) < n) return false;
            span = {static_cast<T*>(at), n};
            at = span.data() + n;
            left -= n * sizeof(T);
            return true;
        };
        detail::SubwordWriter out{v, ids};
        if (v.header.bpe != 0) {
            std::span<detail::BpeSymbol> symbols;
            std::span<detail::BpePair> pairs;
            if (!take(symbols, size) || !take(pairs, 2 * size)) return {SubwordError::scratch_too_small};
            detail::encode_bpe(v, normalized, symbols, pairs, out);
        } else {
            std::span<detail::UnigramNode> nodes;
            if (!take(nodes, size + 1)) return {SubwordError::scratch_too_small};
            detail::encode_unigram(v, normalized, nodes, out);
        }
        return {out.error, out.error == SubwordError::none ? out.size : 0};
    }
    /// The ids of a text, in memory of their own. Nothing when encode() above has an error: without a model, or for a
    /// text that spells a control piece.
    std::optional<std::vector<std::int32_t>> encode(std::string_view text) const {
        const std::size_t size = normalized_bytes(text);
        std::vector<std::int32_t> ids(size);
        std::vector<std::byte> scratch(scratch_bytes(size));
        const SubwordResult result = encode(text, ids, scratch);
        if (!result) return {};
        ids.resize(result.size);
        return ids;
    }

    /// Bytes of the text of this many ids, at most.
    std::size_t decoded_bytes(std::size_t ids) const { return ids * view().header.longest_surface; }
    /// Writes the text of some ids, which is UTF-8 when the model's pieces are. Special tokens vanish; unk becomes
    /// " \u2047 ", if the model does not say otherwise. Allocates nothing.
    SubwordResult decode(std::span<const std::int32_t> ids, std::span<char> text) const {
        const detail::SubwordView v = view();
        if (!v) return {SubwordError::not_loaded};
        std::size_t size = 0;
        bool fits = true;
        const auto put = [&](std::string_view part) {
            fits = fits && part.size() <= text.size() - size;
            if (!fits) return;
            std::copy(part.begin(), part.end(), text.begin() + static_cast<std::ptrdiff_t>(size));
            size += part.size();
        };
        const bool trim = v.header.has(detail::SubwordHeader::remove_extra_whitespaces);
        const bool cut = trim || v.header.has(detail::SubwordHeader::add_dummy_prefix);
        bool at_front = true, cut_one = false;
        for (std::size_t i = 0; i < ids.size() && fits;) {
            if (!known(v, ids[i])) return {SubwordError::foreign_id};
            const auto id = static_cast<std::uint32_t>(ids[i]);
            const detail::PieceType type = v.type(id);
            if (type == detail::PieceType::byte) {
                std::array<char, 4> bytes{};
                std::size_t n = 0;
                while (n < bytes.size() && i + n < ids.size() && known(v, ids[i + n]) &&
                       v.type(static_cast<std::uint32_t>(ids[i + n])) == detail::PieceType::byte) {
                    bytes[n] = static_cast<char>(detail::byte_of(v.piece(static_cast<std::uint32_t>(ids[i + n]))));
                    ++n;
                }
                const std::size_t character = valid_utf8_length({bytes.data(), n}, 0);
                put(character == 0 ? detail::replacement_symbol : std::string_view(bytes.data(), character));
                i += std::max<std::size_t>(character, 1);
                continue;
            }
            ++i;
            // spaces are cut off the front of every piece until there is text, or only once
            if (cut_one || size > 0) at_front = false;
            cut_one = false;
            if (type == detail::PieceType::control) continue;
            if (type == detail::PieceType::unknown) {
                put(v.unknown_surface());
                continue;
            }
            std::string_view piece = v.piece(id);
            if (at_front && cut && piece.starts_with(detail::space_symbol)) {
                piece.remove_prefix(detail::space_symbol.size());
                cut_one = !trim;
            }
            while (!piece.empty()) {
                const std::size_t plain = std::min(piece.find(detail::space_symbol), piece.size());
                put(piece.substr(0, plain));
                piece.remove_prefix(plain);
                if (piece.empty()) break;
                put(" ");
                piece.remove_prefix(detail::space_symbol.size());
            }
        }
        if (!fits) return {SubwordError::text_too_small};
        return {SubwordError::none, size};
    }
    /// The text of some ids, in memory of its own. Nothing when decode() above has an error: without a model, or for a
    /// foreign id.
    std::optional<std::string> decode(std::span<const std::int32_t> ids) const {
        std::string text(decoded_bytes(ids.size()), '\0');
        const SubwordResult result = decode(ids, text);
        if (!result) return {};
        text.resize(result.size);
        return text;
    }

private:
    detail::SubwordView view() const { return {model_, index()}; }
    static bool known(const detail::SubwordView& v, std::int32_t id) {
        return id >= 0 && static_cast<std::uint32_t>(id) < v.header.pieces;
    }

    std::string_view model_;
    std::vector<std::uint32_t> own_;
    std::span<const std::uint32_t> shared_;
};

}  // namespace hat
