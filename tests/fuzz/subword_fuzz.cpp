// Fuzzes hat::SubwordModel: any bytes as a model, as an index, as text and as ids.
// Input: one byte n, n bytes of text, then a model.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <hat/text/subword.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {
/// Encodes and decodes in memory of exactly the sizes that the model asks for.
void use(const hat::SubwordModel& model, std::string_view text) {
    const std::size_t size = model.normalized_bytes(text);
    std::vector<std::byte> scratch(hat::SubwordModel::scratch_bytes(size));
    std::vector<std::int32_t> ids(size);
    const auto encoded = model.encode(text, ids, scratch);
    if (!encoded && encoded.error != hat::SubwordError::control_piece) std::abort();
    ids.resize(encoded.size);
    std::vector<char> back(model.decoded_bytes(ids.size()));
    if (!model.decode(ids, back)) std::abort();
    std::vector<std::byte> half(scratch.size() / 2);
    model.encode(text, ids, half);
    // the text as ids
    std::vector<std::int32_t> any(text.size() / 2);
    for (std::size_t i = 0; i < any.size(); ++i)
        any[i] = static_cast<unsigned char>(text[2 * i]) | static_cast<unsigned char>(text[2 * i + 1]) << 8;
    back.resize(model.decoded_bytes(any.size()));
    model.decode(any, back);
    model.decode(any, std::span(back).first(back.size() / 3));
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t n = std::min<std::size_t>(data[0], size - 1);
    const std::string text(reinterpret_cast<const char*>(data) + 1, n);
    const std::vector<char> bytes(data + 1 + n, data + size);
    const std::string_view model_bytes(bytes.data(), bytes.size());
    hat::SubwordModel model;
    if (model.load(model_bytes) == hat::SubwordError::none) {
        use(model, text);
        // the text also changes words of a good index
        std::vector<std::uint32_t> index(model.index().begin(), model.index().end());
        hat::SubwordModel mapped;
        if (mapped.load(model_bytes, index) != hat::SubwordError::none) std::abort();
        use(mapped, text);
        for (std::size_t i = 0; i + 4 <= text.size(); i += 4) {
            std::uint32_t word = 0;
            std::memcpy(&word, text.data() + i, 4);
            index[(word >> 8U) % index.size()] ^= 1U << (word & 31U);
        }
        if (mapped.load(model_bytes, index) == hat::SubwordError::none) use(mapped, text);
    }
    return 0;
}
