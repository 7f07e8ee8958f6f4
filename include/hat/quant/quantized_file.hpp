#pragma once
/// \file
/// A quantized model in one compact file: 8 bytes "HATQUANT", version and sizes, a JSON header (configuration,
/// architecture, bits), codebooks and codes, CRC-32 of everything before. Optional: needs nlohmann_json (target
/// hat::json).

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <hat/model/model_file.hpp>
#include <hat/quant/quantized.hpp>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hat {

static_assert(std::endian::native == std::endian::little, "hat: quantized files are little endian");

namespace detail {
inline constexpr std::string_view quantized_magic = "HATQUANT";
inline constexpr std::uint32_t quantized_version = 1;

/// What follows the magic.
struct QuantizedSizes {
    std::uint32_t version = quantized_version;
    std::uint32_t header = 0;   // bytes of JSON
    std::uint64_t payload = 0;  // bytes of numbers and codes
};
static_assert(sizeof(QuantizedSizes) == 16);
}  // namespace detail

/// Writes a quantized model atomically; `notes` are stored beside it. Throws bad_file.
inline void save_quantized(const std::filesystem::path& path, const QuantizedWeights& quantized,
                           const std::map<std::string, std::string>& notes = {}) {
    Json header = {{"config", config_to_json(quantized.layout->config())},
                   {"arch", arch_to_json(quantized.arch)},
                   {"bits", quantized.how.bits},
                   {"group_rows", quantized.how.group_rows},
                   {"notes", notes}};
    if (!quantized.how.bits_each.empty()) header["bits_each"] = quantized.how.bits_each;
    std::string text;
    try {
        text = header.dump();
    } catch (const Json::exception& e) {
        throw bad_file(path.string(), std::string("cannot be written: a note is not UTF-8: ") + e.what());
    }
    const detail::QuantizedSizes sizes{detail::quantized_version, static_cast<std::uint32_t>(text.size()),
                                       quantized.bytes()};
    AtomicFile file(path);
    std::uint32_t crc = 0;
    const auto write = [&](std::string_view bytes) {
        crc = crc32(bytes, crc);
        file.write(bytes);
    };
    write(detail::quantized_magic);
    write(bytes_of(std::span<const detail::QuantizedSizes>(&sizes, 1)));
    write(text);
    for (const auto& t : quantized.tensors) {
        write(bytes_of(std::span<const float>(t.values)));
        write(bytes_of(std::span<const std::uint8_t>(t.codes)));
    }
    file.write(bytes_of(std::span<const std::uint32_t>(&crc, 1)));
    file.commit();
}

/// Whether a file begins like a quantized model. False if it cannot be read.
inline bool is_quantized_file(const std::filesystem::path& path) {
    std::array<char, 8> begin{};
    std::ifstream in(path, std::ios::binary);
    in.read(begin.data(), begin.size());
    return in && std::string_view(begin.data(), begin.size()) == detail::quantized_magic;
}

/// Reads a quantized model and checks it as a whole: kind, version, length, checksum, configuration, sizes. Throws
/// bad_file. The notes are added to `notes` unless it is null.
inline QuantizedWeights load_quantized(const std::filesystem::path& path,
                                       std::map<std::string, std::string>* notes = nullptr) {
    const std::string name = path.string(), bytes = read_file(path);
    const auto fail = [&](const std::string& what) { throw bad_file(name, what); };
    const std::string_view all = bytes;
    const std::size_t magic = detail::quantized_magic.size(), front = magic + sizeof(detail::QuantizedSizes);
    if (all.substr(0, magic) != detail::quantized_magic.substr(0, std::min(magic, all.size())))
        fail("not a quantized hat model: expected to begin with " + std::string(detail::quantized_magic));
    if (all.size() < front + 4)
        fail("truncated: " + std::to_string(all.size()) + " bytes, expected at least " + std::to_string(front + 4));
    detail::QuantizedSizes sizes;
    std::memcpy(&sizes, all.data() + magic, sizeof sizes);
    if (sizes.version != detail::quantized_version)
        fail("has version " + std::to_string(sizes.version) + ", this program reads version " +
             std::to_string(detail::quantized_version));
    const std::size_t present = all.size() - front - 4;
    if (sizes.header > present || sizes.payload > present - sizes.header)
        fail("truncated: " + std::to_string(sizes.header) + " bytes of header and " + std::to_string(sizes.payload) +
             " of weights are announced, but only " + std::to_string(present) + " are there");
    if (sizes.header + sizes.payload != present)
        fail(std::to_string(present - sizes.header - sizes.payload) + " bytes too long");
    std::uint32_t expected = 0;
    std::memcpy(&expected, all.data() + all.size() - 4, 4);
    if (const std::uint32_t found = crc32(all.substr(0, all.size() - 4)); found != expected)
        fail("corrupt: the checksum is " + detail::crc_text(found) + ", expected " + detail::crc_text(expected));

    const Json json = parse_json(all.substr(front, sizes.header), name + " (header)");
    const JsonView header(json, name);
    header.require_only({"config", "arch", "bits", "bits_each", "group_rows", "notes"});
    QuantizedWeights out;
    try {
        out.layout = std::make_shared<const WeightLayout>(config_from_json(header["config"]));
        out.arch = arch_from_json(header["arch"]);
        out.how = {header.get<unsigned>("bits"), header.get<std::size_t>("group_rows"), {}};
        if (header.has("bits_each")) out.how.bits_each = header.get<std::vector<unsigned>>("bits_each");
        require_fits(out.arch, out.layout->config().shape);
        const std::size_t needed = quantized_bytes(*out.layout, out.how);
        if (needed != sizes.payload)
            fail("has " + std::to_string(sizes.payload) + " bytes of weights, but its configuration needs " +
                 std::to_string(needed));
    } catch (const bad_file&) {
        throw;
    } catch (const error& e) {  // a configuration or architecture that makes no model
        fail(e.what());
    }
    const JsonView stored = header["notes"];
    if (!stored.json().is_object()) stored.fail("must be an object");
    if (notes)
        for (const auto& item : stored.json().items()) (*notes)[item.key()] = stored.get<std::string>(item.key());

    const char* at = all.data() + front + sizes.header;
    const auto read = [&](auto& values, std::size_t count) {
        values.resize(count);
        if (count) std::memcpy(values.data(), at, count * sizeof(values[0]));
        at += count * sizeof(values[0]);
    };
    for (std::size_t i = 0; i < out.layout->tensors().size(); ++i) {
        const auto size = detail::quantized_size(out.layout->tensors()[i], out.how.group_rows, out.how.bits_of(i));
        QuantizedTensor t;
        read(t.values, size.values);
        read(t.codes, size.codes);
        out.tensors.push_back(std::move(t));
    }
    return out;
}

/// Reads a quantized model as one to run: weights in fp32 again.
inline Model load_quantized_model(const std::filesystem::path& path) {
    std::map<std::string, std::string> notes;
    const QuantizedWeights quantized = load_quantized(path, &notes);
    return {dequantize(quantized), quantized.arch, std::move(notes)};
}

}  // namespace hat
