#pragma once
/// \file
/// Reads weight files (.hatw): everything one network needs to translate, laid out so that it is used where it lies, in
/// a mapped file or inside the program. Any bytes may be given: what is wrong with them is returned. No exceptions, no
/// allocation. docs/deployment.md specifies the format; deploy/write_weight_file.hpp writes it.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <hat/deploy/deployed_tokenizer.hpp>
#include <hat/model/stored.hpp>
#include <hat/space/arch.hpp>
#include <limits>
#include <span>
#include <string_view>

namespace hat {

/// What can be wrong with a weight file, or with its use.
enum class WeightFileError : std::uint8_t {
    none,                ///< nothing
    not_a_weight_file,   ///< it does not begin as one
    foreign_endian,      ///< written on a machine of the other byte order
    newer_version,       ///< of a later version of the format
    truncated,           ///< shorter than it says
    trailing_bytes,      ///< longer than it says
    misaligned,          ///< the memory is not 64-byte aligned
    wrong_checksum,      ///< damaged
    bad_section,         ///< a section that is missing, there twice or outside the file
    bad_description,     ///< the description fits no network
    unknown_format,      ///< weights in a format that this version does not know
    wrong_size,          ///< the weights are not as long as the network's
    bad_tokenizer,       ///< a tokenizer that cannot be read
    wrong_vocabulary,    ///< a tokenizer with another number of ids than the network
    wrong_architecture,  ///< another network than the compiled one
    wrong_config,        ///< another configuration than the compiled one
    no_tokenizer,        ///< text cannot be translated without one
    too_large,           ///< bounds that this network's memory cannot be planned for
    no_memory,           ///< the memory given is too small, or the system has no more
};

/// One sentence without a full stop, for messages.
constexpr std::string_view message(WeightFileError error) {
    switch (error) {
        case WeightFileError::none:
            return "no error";
        case WeightFileError::not_a_weight_file:
            return "not a weight file: it does not begin with HATW";
        case WeightFileError::foreign_endian:
            return "the weight file was written for machines of the other byte order; export it on one of this kind";
        case WeightFileError::newer_version:
            return "the weight file has a newer version of the format than this program reads";
        case WeightFileError::truncated:
            return "the weight file is truncated";
        case WeightFileError::trailing_bytes:
            return "the weight file is longer than it says";
        case WeightFileError::misaligned:
            return "the weight file's memory is not aligned to 64 bytes";
        case WeightFileError::wrong_checksum:
            return "the weight file is damaged: its checksum is wrong";
        case WeightFileError::bad_section:
            return "a section of the weight file is missing, there twice or outside the file";
        case WeightFileError::bad_description:
            return "the weight file describes no network that can run";
        case WeightFileError::unknown_format:
            return "the weight file has weights in a format that this program does not know";
        case WeightFileError::wrong_size:
            return "the weight file's weights are not as long as its network needs";
        case WeightFileError::bad_tokenizer:
            return "a tokenizer in the weight file cannot be read";
        case WeightFileError::wrong_vocabulary:
            return "a tokenizer in the weight file has another number of ids than the network";
        case WeightFileError::wrong_architecture:
            return "the weight file holds another architecture than this program was compiled for";
        case WeightFileError::wrong_config:
            return "the weight file's vocabularies or options are not those this program was compiled for";
        case WeightFileError::no_tokenizer:
            return "the weight file has no tokenizers";
        case WeightFileError::too_large:
            return "the limits are larger than this network's memory can be planned for";
        case WeightFileError::no_memory:
            return "there is not enough memory";
    }
    return "unknown error";
}

/// Sections of a weight file.
enum class WeightSection : std::uint32_t {
    description = 1,       ///< architecture and configuration
    weights = 2,           ///< what plan_model() lays out
    source_tokenizer = 3,  ///< a SentencePiece model's bytes, or words
    source_index = 4,      ///< its index
    target_tokenizer = 5,  ///< the same of the target language; may be the source's
    target_index = 6,      ///< its index
    notes = 7,             ///< where the model comes from: lines of UTF-8 text
};

/// What is checked when a weight file is opened.
enum class WeightCheck : std::uint8_t {
    everything,  ///< also the checksum: reads the whole file
    structure,   ///< all but the checksum: damaged weights give wrong translations
};

/// The checksum of weight files: eight lanes of 64 bits, as fast as memory. Every change of one 64-bit word changes it.
class WeightHash {
public:
    /// Adds bytes; all calls but the last take multiples of 64. Words are read in this machine's byte order.
    void update(std::span<const std::byte> bytes) {
        const std::byte* p = bytes.data();
        std::size_t left = bytes.size();
        std::array<std::uint64_t, 8> lane = lanes_;
        for (; left >= 64; left -= 64, p += 64) mix(lane, p);
        if (left > 0) {
            std::array<std::byte, 64> last{};
            std::copy_n(p, left, last.data());
            mix(lane, last.data());
        }
        lanes_ = lane;
        size_ += bytes.size();
    }
    /// The checksum of all bytes so far.
    std::uint64_t value() const {
        std::uint64_t h = size_;
        for (const std::uint64_t lane : lanes_) h = step(h, lane);
        return h ^ (h >> 32U);
    }

private:
    static std::uint64_t step(std::uint64_t h, std::uint64_t word) {
        return std::rotl((h ^ word) * 0x9E3779B97F4A7C15U, 29);  // 2^64 / golden ratio: an odd number without pattern
    }
    static void mix(std::array<std::uint64_t, 8>& lane, const std::byte* p) {
        std::array<std::uint64_t, 8> word;
        std::memcpy(word.data(), p, sizeof word);
        for (std::size_t i = 0; i < 8; ++i) lane[i] = step(lane[i], word[i]);
    }

    std::array<std::uint64_t, 8> lanes_{1, 2, 3, 4, 5, 6, 7, 8};
    std::uint64_t size_ = 0;
};

namespace detail {

/// The first 64 bytes of a weight file.
struct WeightFileHeader {
    static constexpr std::array<unsigned char, 8> this_magic{'H', 'A', 'T', 'W', 0x0D, 0x0A, 0x1A, 0x0A};
    static constexpr std::uint32_t native = 0x01020304, this_version = 1;
    std::array<unsigned char, 8> magic = this_magic;
    std::uint32_t order = native;
    std::uint32_t version = this_version;
    std::uint64_t bytes = 0;
    std::uint64_t checksum = 0;  ///< of the whole file, with this field zero
    std::uint32_t sections = 0;
    std::array<std::uint32_t, 7> reserved{};
};
static_assert(sizeof(WeightFileHeader) == 64);
/// An entry of the table of sections, which follows the header.
struct WeightFileSection {
    std::uint32_t kind = 0, reserved = 0;
    std::uint64_t offset = 0, bytes = 0;
};
static_assert(sizeof(WeightFileSection) == 24);

constexpr std::size_t most_weight_sections = 64, weight_alignment = 64, description_head = 10;
constexpr std::size_t most_description_words = description_head + 2 * (2 + 5 * runtime_max_layers);

/// Bits of word 3 of a description.
enum DescriptionFlag : std::uint32_t {
    flag_encoder_pre_norm = 1,
    flag_decoder_pre_norm = 2,
    flag_decoder_final_norm = 4,
    flag_original_scaling = 8
};

/// Whether a network can run, with sizes for which plan_model() cannot overflow. `weight_bytes`: of its weights.
inline bool plausible(const RuntimeArch& arch, const StaticConfig& c, std::uint64_t weight_bytes) {
    constexpr int most_width = 1 << 16;
    constexpr std::size_t most_vocab = std::size_t{1} << 24U;
    std::uint64_t numbers = 0;
    const auto size = [&](int v) { return v >= 1 && v <= most_width; };
    const auto matrix = [&](std::size_t n, std::size_t k) {
        numbers += std::uint64_t{(n + 31) / 32 * 32} * k + n + 64;
    };
    const auto side = [&](const auto& s, bool decoder) {
        if (!size(s.embed) || s.layers < 1 || s.layers > static_cast<int>(s.max_layers)) return false;
        const auto width = static_cast<std::size_t>(s.embed), memory = static_cast<std::size_t>(arch.encoder.embed);
        for (std::size_t i = 0; i < static_cast<std::size_t>(s.layers); ++i) {
            if (!size(s.ffn[i]) || !size(s.qkv[i])) return false;
            if (s.self_heads[i] < 1 || s.qkv[i] % s.self_heads[i] != 0) return false;
            const auto qkv = static_cast<std::size_t>(s.qkv[i]), ffn = static_cast<std::size_t>(s.ffn[i]);
            matrix(qkv, width), matrix(qkv, width), matrix(qkv, width), matrix(width, qkv);
            matrix(ffn, width), matrix(width, ffn), matrix(width, 8);
            if (!decoder) continue;
            if (s.cross_heads[i] < 1 || s.qkv[i] % s.cross_heads[i] != 0) return false;
            if (s.cross_span[i] < 1 || s.cross_span[i] > std::min(3, arch.encoder.layers)) return false;
            matrix(qkv, width), matrix(qkv, memory), matrix(qkv, memory), matrix(width, qkv);
        }
        return true;
    };
    if (!side(arch.encoder, false) || !side(arch.decoder, true) || arch != canonical(arch)) return false;
    const auto vocabulary = [&](std::size_t v) { return v > SpecialTokens::count && v <= most_vocab; };
    if (!vocabulary(c.source_vocab) || !vocabulary(c.target_vocab)) return false;
    if (c.sharing == EmbeddingSharing::all && c.source_vocab != c.target_vocab) return false;
    const auto super = [](int v) { return v >= 0 && v <= most_width; };
    if (c.book_rows % CodebookPanels::columns != 0 || c.book_rows > most_vocab) return false;
    if (!super(c.encoder_super_embed) || !super(c.decoder_super_embed)) return false;
    for (const int width : {arch.encoder.embed, arch.decoder.embed, arch.decoder.embed})
        matrix(std::max(c.source_vocab, c.target_vocab), static_cast<std::size_t>(width));
    // no format has less than a bit for a number; and where addresses are short, nothing may wrap around
    return numbers / 32 <= weight_bytes && numbers < std::numeric_limits<std::size_t>::max() / 8;
}

}  // namespace detail

/// A weight file that was read. It refers to the bytes, which must outlive it; any number of threads and processes may
/// use the same ones.
class WeightFile {
public:
    /// Reads a file's bytes, 64-byte aligned. After an error the object is as one default-constructed.
    WeightFileError open(std::span<const std::byte> bytes, WeightCheck check = WeightCheck::everything) {
        *this = {};
        const WeightFileError error = read(bytes, check);
        if (error != WeightFileError::none) *this = {};
        return error;
    }
    /// Opens what a program was compiled for, the StaticTransformer `Model`.
    template <class Model>
    WeightFileError open_for(std::span<const std::byte> bytes, WeightCheck check = WeightCheck::everything) {
        WeightFileError error = open(bytes, check);
        if (error == WeightFileError::none) error = matches<Model>();
        if (error != WeightFileError::none) *this = {};
        return error;
    }
    /// Whether these are the weights of the StaticTransformer `Model`: none, wrong_architecture or wrong_config.
    template <class Model>
    WeightFileError matches() const {
        if (arch_ != to_runtime(Model::architecture)) return WeightFileError::wrong_architecture;
        if (resolved(config_, arch_) != resolved(Model::configuration, Model::architecture))
            return WeightFileError::wrong_config;
        return weights().size() == Model::weight_bytes ? WeightFileError::none : WeightFileError::wrong_size;
    }

    /// The network.
    const RuntimeArch& arch() const { return arch_; }
    /// What it is besides its architecture.
    const StaticConfig& config() const { return config_; }
    /// Its weights, as plan_model() lays them out.
    std::span<const std::byte> weights() const { return section(WeightSection::weights); }
    /// What reads the source language; of kind none when the file has no tokenizers.
    const DeployedTokenizer& source_tokenizer() const { return source_; }
    /// What writes the target language.
    const DeployedTokenizer& target_tokenizer() const { return target_; }
    /// Where the model comes from; lines of text.
    std::string_view notes() const { return text(WeightSection::notes); }
    /// The bytes of a section; empty when there is none.
    std::span<const std::byte> section(WeightSection kind) const { return sections_[static_cast<std::size_t>(kind)]; }

private:
    using E = WeightFileError;
    static constexpr std::size_t kinds = static_cast<std::size_t>(WeightSection::notes) + 1;

    E read(std::span<const std::byte> bytes, WeightCheck check) {
        using Header = detail::WeightFileHeader;
        using Section = detail::WeightFileSection;
        Header header;
        const std::size_t first = std::min(bytes.size(), sizeof header);
        if (first > 0) std::memcpy(static_cast<void*>(&header), bytes.data(), first);
        if (!std::equal(header.magic.begin(),
                        header.magic.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(first, 8)),
                        Header::this_magic.begin()) ||
            first == 0)
            return E::not_a_weight_file;
        if (first < sizeof header) return E::truncated;
        if (header.order == 0x04030201U) return E::foreign_endian;
        if (header.order != Header::native || header.version == 0) return E::not_a_weight_file;
        if (header.version > Header::this_version) return E::newer_version;
        if (header.bytes > bytes.size()) return E::truncated;
        if (header.bytes < bytes.size()) return E::trailing_bytes;
        if (reinterpret_cast<std::uintptr_t>(bytes.data()) % detail::weight_alignment != 0) return E::misaligned;
        if (check == WeightCheck::everything) {
            Header bare = header;
            bare.checksum = 0;
            WeightHash hash;
            hash.update(std::as_bytes(std::span(&bare, 1)));
            hash.update(bytes.subspan(sizeof header));
            if (hash.value() != header.checksum) return E::wrong_checksum;
        }
        if (header.sections > detail::most_weight_sections ||
            sizeof header + header.sections * sizeof(Section) > bytes.size())
            return E::bad_section;
        for (std::size_t i = 0; i < header.sections; ++i) {
            Section s;
            std::memcpy(static_cast<void*>(&s), bytes.data() + sizeof header + i * sizeof s, sizeof s);
            if (s.offset > bytes.size() || s.bytes > bytes.size() - s.offset ||
                s.offset % detail::weight_alignment != 0)
                return E::bad_section;
            if (s.kind == 0 || s.kind >= kinds) continue;  // of a later minor version
            auto& here = sections_[s.kind];
            if (here.data()) return E::bad_section;
            here = bytes.subspan(static_cast<std::size_t>(s.offset), static_cast<std::size_t>(s.bytes));
        }
        for (const auto kind : {WeightSection::description, WeightSection::weights})
            if (section(kind).empty()) return E::bad_section;
        TokenizerKind source = TokenizerKind::none, target = TokenizerKind::none;
        if (const E error = describe(source, target); error != E::none) return error;
        if (const E error = tokenizer(source_, source, WeightSection::source_tokenizer, WeightSection::source_index,
                                      config_.source_vocab);
            error != E::none)
            return error;
        return tokenizer(target_, target, WeightSection::target_tokenizer, WeightSection::target_index,
                         config_.target_vocab);
    }

    E describe(TokenizerKind& source, TokenizerKind& target) {
        const auto bytes = section(WeightSection::description);
        std::array<std::uint32_t, detail::most_description_words> words{};
        const std::size_t count = bytes.size() / sizeof(std::uint32_t);
        if (bytes.size() % sizeof(std::uint32_t) != 0 || count > words.size() || count < detail::description_head)
            return E::bad_description;
        std::memcpy(words.data(), bytes.data(), bytes.size());
        std::size_t at = detail::description_head;
        // a number that fits no int becomes 0, which no size may be
        const auto take = [&] {
            const std::uint32_t w = at < count ? words[at] : 0;
            ++at;
            return w <= static_cast<std::uint32_t>(std::numeric_limits<int>::max()) ? static_cast<int>(w) : 0;
        };
        const auto side = [&](auto& s) {
            s.embed = take(), s.layers = take();
            if (s.layers < 1 || s.layers > static_cast<int>(s.max_layers)) return false;
            for (std::size_t i = 0; i < static_cast<std::size_t>(s.layers); ++i)
                for (auto* list : {&s.ffn, &s.qkv, &s.self_heads, &s.cross_heads, &s.cross_span}) (*list)[i] = take();
            return true;
        };
        if (!side(arch_.encoder) || !side(arch_.decoder) || at != count) return E::bad_description;
        const auto last_kind = static_cast<std::uint32_t>(TokenizerKind::words);
        const std::uint32_t flags = words[3], kind[2] = {words[7] & 0xFFFFU, words[7] >> 16U};
        if (words[2] > static_cast<std::uint32_t>(EmbeddingSharing::all) || flags > 15 ||
            words[4] > static_cast<std::uint32_t>(std::numeric_limits<int>::max()) ||
            words[5] > static_cast<std::uint32_t>(std::numeric_limits<int>::max()) || kind[0] > last_kind ||
            kind[1] > last_kind || words[9] > static_cast<std::uint32_t>(CodebookMath::integers))
            return E::bad_description;
        if (words[6] > static_cast<std::uint32_t>(last_matrix_format)) return E::unknown_format;
        config_ = {.source_vocab = words[0],
                   .target_vocab = words[1],
                   .sharing = static_cast<EmbeddingSharing>(words[2]),
                   .encoder_pre_norm = (flags & detail::flag_encoder_pre_norm) != 0,
                   .decoder_pre_norm = (flags & detail::flag_decoder_pre_norm) != 0,
                   .decoder_final_norm = (flags & detail::flag_decoder_final_norm) != 0,
                   .encoder_super_embed = static_cast<int>(words[4]),
                   .decoder_super_embed = static_cast<int>(words[5]),
                   .vocab_original_scaling = (flags & detail::flag_original_scaling) != 0,
                   .format = static_cast<MatrixFormat>(words[6]),
                   .book_rows = words[8],
                   .codebook_math = static_cast<CodebookMath>(words[9])};
        source = static_cast<TokenizerKind>(kind[0]), target = static_cast<TokenizerKind>(kind[1]);
        if (!detail::plausible(arch_, config_, weights().size())) return E::bad_description;
        return plan_model(arch_, config_).bytes == weights().size() ? E::none : E::wrong_size;
    }
    E tokenizer(DeployedTokenizer& t, TokenizerKind kind, WeightSection bytes, WeightSection index, std::size_t ids) {
        if (kind == TokenizerKind::none) return E::none;
        const auto words = section(index);
        if (words.size() % sizeof(std::uint32_t) != 0) return E::bad_tokenizer;
        if (t.load(kind, text(bytes),
                   {reinterpret_cast<const std::uint32_t*>(words.data()), words.size() / sizeof(std::uint32_t)}) !=
            SubwordError::none)
            return E::bad_tokenizer;
        return t.vocabulary_size() == ids ? E::none : E::wrong_vocabulary;
    }
    std::string_view text(WeightSection kind) const {
        const auto bytes = section(kind);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

    RuntimeArch arch_{};
    StaticConfig config_{};
    std::array<std::span<const std::byte>, kinds> sections_{};
    DeployedTokenizer source_, target_;
};

}  // namespace hat
