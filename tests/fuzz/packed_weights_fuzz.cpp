// Fuzzes hat::unpack_weights: any bytes as a packed weight file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <hat/deploy/packed_weights.hpp>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto packed = std::as_bytes(std::span(data, size));
    std::size_t bytes = 0;
    if (hat::unpacked_bytes(packed, bytes) != hat::WeightFileError::none) return 0;
    if (bytes > hat::detail::packed_block * (size / 54 + 1)) std::abort();  // more than it may claim
    std::vector<std::byte> out(bytes);
    hat::unpack_weights(packed, out);
    return 0;
}
