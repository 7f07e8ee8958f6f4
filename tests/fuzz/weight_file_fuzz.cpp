// Fuzzes hat::WeightFile and what runs on it: any bytes as a weight file whose checksum is not looked at.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <hat/deploy/static_translator.hpp>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const hat::AlignedBytes memory(std::max<std::size_t>(size, 1));  // of exactly the file's size
    if (!memory.data()) return 0;
    std::transform(data, data + size, memory.data(), [](std::uint8_t b) { return static_cast<std::byte>(b); });
    const std::span<const std::byte> bytes(memory.data(), size);
    hat::WeightFile file;
    const auto with = file.open(bytes, hat::WeightCheck::everything);
    const auto without = file.open(bytes, hat::WeightCheck::structure);
    if (with != without && with != hat::WeightFileError::wrong_checksum) std::abort();
    hat::AnyTranslator<> translator;
    if (translator.open(bytes, hat::WeightCheck::structure, {}, {6, 5, 2}) != hat::WeightFileError::none) return 0;
    std::vector<char> out(64);
    for (const char* text : {"a b", "Open the file.", ""}) translator.translate(text, out);
    return 0;
}
