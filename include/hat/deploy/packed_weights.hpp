#pragma once
/// \file
/// Reads packed weight files (.hatz): weight files whose bytes are entropy-coded, to be stored or sent. They are
/// unpacked into memory, where deploy/weight_file.hpp reads them. Any bytes may be given: what is wrong with them is
/// returned. No exceptions, no allocation. docs/deployment.md specifies the format; deploy/pack_weights.hpp writes it.
///
/// The code is a range asymmetric numeral system (J. Duda, arXiv 1311.2540) of order 0 with four interleaved states: a
/// byte that has f of 4096 parts of its block costs -log2(f / 4096) bits. Codes of k-means codebooks are not equally
/// frequent (about 3.8 of 4 bits for normally distributed weights), and text is less so.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <hat/deploy/weight_file.hpp>
#include <limits>
#include <span>

namespace hat {

namespace detail {

/// The first 32 bytes of a packed file. Numbers are in the byte order of the machine that wrote it, as in the weight
/// file.
struct PackedHeader {
    static constexpr std::array<unsigned char, 8> this_magic{'H', 'A', 'T', 'Z', 0x0D, 0x0A, 0x1A, 0x0A};
    std::array<unsigned char, 8> magic = this_magic;
    std::uint32_t order = WeightFileHeader::native;
    std::uint32_t version = 1;
    std::uint64_t bytes = 0;     ///< of the weight file
    std::uint64_t checksum = 0;  ///< WeightHash of the weight file
};
static_assert(sizeof(PackedHeader) == 32);

constexpr std::size_t packed_block = std::size_t{1}
                                     << 17U;  ///< bytes of the weight file in a block; the last has the rest
constexpr std::uint32_t packed_scale_bits = 12, packed_scale = 1U << packed_scale_bits;
constexpr std::uint32_t packed_low = 1U << 23U;  ///< states lie in [packed_low, 256 * packed_low)
constexpr std::size_t packed_states = 4;

/// Unpacks one block's code into `out`; false if it is none.
inline bool unpack_block(std::span<const std::byte> code, std::span<std::byte> out) {
    std::size_t at = 0;
    const auto next = [&](std::uint32_t& value) {
        if (at == code.size()) return false;
        value = std::to_integer<std::uint32_t>(code[at++]);
        return true;
    };
    // which bytes there are, and how frequent each is: below 128 in one byte, others in two
    std::array<std::uint16_t, 256> frequency{}, start{};
    std::array<std::uint8_t, packed_scale> symbol;
    if (code.size() < 32) return false;
    at = 32;
    std::uint32_t sum = 0;
    for (std::size_t s = 0; s < 256; ++s) {
        if ((std::to_integer<unsigned>(code[s / 8]) >> s % 8 & 1U) == 0) continue;
        std::uint32_t f = 0, high = 0;
        if (!next(f)) return false;
        if (f >= 128) {
            if (!next(high)) return false;
            f = (f & 127U) | high << 7U;
        }
        if (f == 0 || sum + f > packed_scale) return false;
        start[s] = static_cast<std::uint16_t>(sum), frequency[s] = static_cast<std::uint16_t>(f);
        std::fill_n(symbol.data() + sum, f, static_cast<std::uint8_t>(s));
        sum += f;
    }
    if (sum != packed_scale) return false;
    std::array<std::uint32_t, packed_states> state{};
    for (auto& x : state) {
        for (int shift = 0; shift < 32; shift += 8) {
            std::uint32_t b = 0;
            if (!next(b)) return false;
            x |= b << shift;
        }
        if (x < packed_low || x >= packed_low << 8U) return false;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::uint32_t& x = state[i % packed_states];
        const std::uint32_t part = x & (packed_scale - 1);
        const std::size_t s = symbol[part];
        out[i] = static_cast<std::byte>(s);
        x = frequency[s] * (x >> packed_scale_bits) + part - start[s];
        while (x < packed_low) {
            std::uint32_t b = 0;
            if (!next(b)) return false;
            x = x << 8U | b;
        }
    }
    // the states are those that the writer began with, and nothing is left
    return at == code.size() && std::all_of(state.begin(), state.end(), [](auto x) { return x == packed_low; });
}

}  // namespace detail

/// Whether the bytes begin as a packed weight file does.
inline bool is_packed(std::span<const std::byte> packed) {
    const auto& magic = detail::PackedHeader::this_magic;
    return packed.size() >= magic.size() && std::memcmp(packed.data(), magic.data(), magic.size()) == 0;
}

/// The size of the weight file in a packed one. At most 2428 times that of the packed one can be claimed.
inline WeightFileError unpacked_bytes(std::span<const std::byte> packed, std::size_t& bytes) {
    using E = WeightFileError;
    bytes = 0;
    if (!is_packed(packed)) return E::not_a_weight_file;
    detail::PackedHeader header;
    if (packed.size() < sizeof header) return E::truncated;
    std::memcpy(static_cast<void*>(&header), packed.data(), sizeof header);
    if (header.order == 0x04030201U) return E::foreign_endian;
    if (header.order != detail::WeightFileHeader::native || header.version == 0) return E::not_a_weight_file;
    if (header.version > detail::PackedHeader{}.version) return E::newer_version;
    // a block has 4 bytes of size, 32 of what occurs, 2 of one frequency and 16 of states at least
    if (header.bytes / detail::packed_block > packed.size() / 54) return E::truncated;
    if (header.bytes > std::numeric_limits<std::size_t>::max() / 2) return E::no_memory;
    bytes = static_cast<std::size_t>(header.bytes);
    return E::none;
}

/// Unpacks a packed weight file into `out`, which has unpacked_bytes(). Errors: those of unpacked_bytes(), no_memory
/// (`out` has another size), truncated, trailing_bytes, wrong_checksum (damaged).
inline WeightFileError unpack_weights(std::span<const std::byte> packed, std::span<std::byte> out) {
    using E = WeightFileError;
    std::size_t bytes = 0;
    if (const E error = unpacked_bytes(packed, bytes); error != E::none) return error;
    if (out.size() != bytes) return E::no_memory;
    detail::PackedHeader header;
    std::memcpy(static_cast<void*>(&header), packed.data(), sizeof header);
    std::span<const std::byte> rest = packed.subspan(sizeof header);
    for (std::size_t at = 0; at < bytes; at += detail::packed_block) {
        const std::span<std::byte> block = out.subspan(at, std::min(detail::packed_block, bytes - at));
        std::uint32_t size = 0;
        if (rest.size() < sizeof size) return E::truncated;
        std::memcpy(&size, rest.data(), sizeof size);
        rest = rest.subspan(sizeof size);
        if (size > rest.size()) return E::truncated;
        if (size == block.size()) {  // what no code makes smaller
            std::copy_n(rest.data(), size, block.data());
        } else if (size > block.size() || !detail::unpack_block(rest.first(size), block)) {
            return E::wrong_checksum;
        }
        rest = rest.subspan(size);
    }
    if (!rest.empty()) return E::trailing_bytes;
    WeightHash hash;
    hash.update(out);
    return hash.value() == header.checksum ? E::none : E::wrong_checksum;
}

}  // namespace hat
