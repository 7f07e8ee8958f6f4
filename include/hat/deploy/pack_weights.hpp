#pragma once
/// \file
/// Writes packed weight files (.hatz), which deploy/packed_weights.hpp reads.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <hat/deploy/packed_weights.hpp>
#include <span>
#include <string>

namespace hat {

namespace detail {

/// Frequencies of bytes in `block`, in parts of packed_scale: their sum is that, and what is there has at least one.
inline std::array<std::uint32_t, 256> packed_frequencies(std::span<const std::byte> block) {
    std::array<std::uint64_t, 256> counts{};
    for (const std::byte b : block) ++counts[std::to_integer<std::size_t>(b)];
    std::array<std::uint32_t, 256> parts{};
    std::uint32_t sum = 0;
    for (std::size_t s = 0; s < 256; ++s) {
        if (counts[s] == 0) continue;
        parts[s] = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(counts[s] * packed_scale / block.size()));
        sum += parts[s];
    }
    // what rounding left over, or took too much, is the affair of those that are frequent: there it costs the least
    while (sum != packed_scale) {
        const bool add = sum < packed_scale;
        std::size_t best = 256;
        double least = 0;
        for (std::size_t s = 0; s < 256; ++s) {
            if (parts[s] == 0 || (!add && parts[s] == 1)) continue;
            // bits that one part more saves, or one less costs, to first order
            const double gain = static_cast<double>(counts[s]) / (add ? parts[s] + 0.5 : 0.5 - parts[s]);
            if (best == 256 || gain > least) best = s, least = gain;
        }
        parts[best] += add ? 1U : ~0U;
        sum += add ? 1U : ~0U;
    }
    return parts;
}

/// The code of one block.
inline std::string pack_block(std::span<const std::byte> block) {
    const auto parts = packed_frequencies(block);
    std::array<std::uint32_t, 256> start{};
    std::string head(32, '\0');
    for (std::uint32_t s = 0, sum = 0; s < 256; ++s) {
        start[s] = sum;
        sum += parts[s];
        if (parts[s] == 0) continue;
        head[s / 8] = static_cast<char>(static_cast<unsigned char>(head[s / 8]) | 1U << s % 8);
        head += static_cast<char>(parts[s] < 128 ? parts[s] : (parts[s] & 127U) | 128U);
        if (parts[s] >= 128) head += static_cast<char>(parts[s] >> 7U);
    }
    // written from the end to the beginning
    std::string code;
    std::array<std::uint32_t, packed_states> state;
    state.fill(packed_low);
    for (std::size_t i = block.size(); i-- > 0;) {
        const auto s = std::to_integer<std::size_t>(block[i]);
        std::uint32_t& x = state[i % packed_states];
        const std::uint64_t most = std::uint64_t{packed_low >> packed_scale_bits << 8U} * parts[s];
        for (; x >= most; x >>= 8U) code += static_cast<char>(x & 255U);
        x = (x / parts[s] << packed_scale_bits) + x % parts[s] + start[s];
    }
    for (std::size_t i = packed_states; i-- > 0;)
        for (int shift = 24; shift >= 0; shift -= 8) code += static_cast<char>(state[i] >> shift & 255U);
    std::reverse(code.begin(), code.end());
    return head + code;
}

}  // namespace detail

/// The bytes of a packed weight file; `file` is what weight_file_bytes() gives.
inline std::string pack_weights(std::span<const std::byte> file) {
    const auto put = [](std::string& out, const auto& value) {
        out.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    WeightHash hash;
    hash.update(file);
    detail::PackedHeader header;
    header.bytes = file.size(), header.checksum = hash.value();
    std::string out;
    put(out, header);
    for (std::size_t at = 0; at < file.size(); at += detail::packed_block) {
        const auto block = file.subspan(at, std::min(detail::packed_block, file.size() - at));
        const std::string code = detail::pack_block(block);
        const bool smaller = code.size() < block.size();
        put(out, static_cast<std::uint32_t>(smaller ? code.size() : block.size()));
        if (smaller)
            out += code;
        else
            out.append(reinterpret_cast<const char*>(block.data()), block.size());
    }
    return out;
}

}  // namespace hat
