#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <deploy/parts.hpp>
#include <hat/core/rng.hpp>
#include <hat/deploy/pack_weights.hpp>
#include <hat/deploy/packed_weights.hpp>
#include <string>
#include <vector>

namespace {

using Packed = std::vector<std::byte>;
using Error = hat::WeightFileError;

Packed packed(std::span<const std::byte> bytes) {
    const std::string text = hat::pack_weights(bytes);
    const auto as_bytes = std::as_bytes(std::span(text));
    return {as_bytes.begin(), as_bytes.end()};
}
Error unpack(const Packed& from, std::vector<std::byte>& out) {
    std::size_t size = 0;
    const Error error = hat::unpacked_bytes(from, size);
    if (error != Error::none) return error;
    out.assign(size, std::byte{0x55});
    return hat::unpack_weights(from, out);
}
/// Bytes below `values`, small ones more often.
std::vector<std::byte> skewed(std::size_t size, unsigned values, std::uint64_t seed) {
    hat::Rng rng(seed);
    std::vector<std::byte> out(size);
    for (auto& b : out) b = static_cast<std::byte>(std::min(rng.below(values), rng.below(values)));
    return out;
}
double entropy_bits(const std::vector<std::byte>& bytes) {
    std::array<double, 256> counts{};
    for (const std::byte b : bytes) counts[std::to_integer<std::size_t>(b)] += 1;
    double bits = 0;
    for (const double c : counts)
        if (c > 0) bits -= c * std::log2(c / static_cast<double>(bytes.size()));
    return bits;
}

}  // namespace

TEST_CASE("packed bytes come back, whatever they are") {
    constexpr std::size_t block = hat::detail::packed_block;
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{5}, block - 1, block, block + 1, 2 * block + 77})
        for (const unsigned values : {1U, 2U, 16U, 256U}) {
            const auto bytes = skewed(size, values, size + values);
            const Packed file = packed(bytes);
            CHECK(hat::is_packed(file));
            std::vector<std::byte> back;
            CHECK(unpack(file, back) == Error::none);
            CHECK(back == bytes);
            // never much more than the bytes themselves
            CHECK(file.size() <= size + 32 + 4 * (size / block + 1));
        }
}

TEST_CASE("the code is as short as the entropy of its bytes, but for the tables") {
    const auto bytes = skewed(hat::detail::packed_block, 200, 7);
    const double size = static_cast<double>(packed(bytes).size()), least = entropy_bits(bytes) / 8;
    CHECK(size > least);
    CHECK(size < least * 1.002 + 500);
}

TEST_CASE("a rare byte beside a frequent one keeps a code") {
    std::vector<std::byte> bytes(100000, std::byte{9});
    for (std::size_t i = 0; i < 255; ++i) bytes[i * 391] = static_cast<std::byte>(i);
    std::vector<std::byte> back;
    CHECK(unpack(packed(bytes), back) == Error::none);
    CHECK(back == bytes);
}

TEST_CASE("an unpacked weight file is the one that was packed") {
    const hat_test::TinyParts tiny(0, {.format = hat::MatrixFormat::codebook4});
    const auto file = tiny.file();
    const Packed small = packed(hat_test::span(file));
    CHECK(small.size() < file.size());
    const hat::AlignedBytes memory(file.size());
    const std::span<std::byte> out(memory.data(), file.size());
    REQUIRE(hat::unpack_weights(small, out) == Error::none);
    CHECK(std::memcmp(out.data(), file.data(), file.size()) == 0);
    hat::WeightFile opened;
    CHECK(opened.open(out) == Error::none);
}

TEST_CASE("packed files that are damaged are refused") {
    const auto bytes = skewed(3000, 40, 3);
    const Packed good = packed(bytes);
    std::vector<std::byte> out;
    for (std::size_t size = 0; size < good.size(); ++size) {
        const Error error = unpack({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}, out);
        CHECK(error == (size < 8 ? Error::not_a_weight_file : Error::truncated));
    }
    Packed longer = good;
    longer.push_back({});
    CHECK(unpack(longer, out) == Error::trailing_bytes);
    for (std::size_t at = 0; at < good.size(); ++at)
        for (const unsigned flip : {1U, 0x80U, 0xFFU}) {
            Packed bad = good;
            bad[at] ^= static_cast<std::byte>(flip);
            INFO(at, " ", flip);
            // the size that bytes 16 to 23 claim is bounded by the file's own, and too large a one is not allocated
            // here
            std::size_t size = 0;
            if (hat::unpacked_bytes(bad, size) == Error::none && size > 1U << 24U) continue;
            CHECK(unpack(bad, out) != Error::none);
        }
    std::vector<std::byte> other(bytes.size() + 1);
    CHECK(hat::unpack_weights(good, other) == Error::no_memory);
    Packed foreign = good;
    std::swap(foreign[8], foreign[11]), std::swap(foreign[9], foreign[10]);
    CHECK(unpack(foreign, out) == Error::foreign_endian);
    Packed newer = good;
    newer[12] = std::byte{2};
    CHECK(unpack(newer, out) == Error::newer_version);
    Packed huge = good;
    huge[20] = std::byte{1};
    CHECK(unpack(huge, out) == Error::truncated);
}
