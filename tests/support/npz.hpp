#pragma once
/// \file
/// Reads numpy's uncompressed .npz files (a zip of stored .npy members), float32, float64, int32 and int64.

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hat_test {

/// One array; `floats` or `ints` is filled, by its type.
struct NpzArray {
    std::vector<std::size_t> shape;
    std::vector<float> floats;
    std::vector<std::int32_t> ints;
};

using Npz = std::map<std::string, NpzArray>;

namespace detail {

template <class T>
T load(std::string_view bytes, std::size_t at) {
    if (at > bytes.size() || bytes.size() - at < sizeof(T)) throw hat::error("npz: truncated");
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

/// What stands between the quotes or brackets after `key` in a .npy header.
inline std::string npy_field(const std::string& header, const std::string& key, char open, char close) {
    const auto at = header.find("'" + key + "':");
    const auto begin = header.find(open, at + key.size() + 3);
    const auto end = header.find(close, begin + 1);
    if (at == std::string::npos || begin == std::string::npos || end == std::string::npos)
        throw hat::error("npz: no " + key + " in " + header);
    return header.substr(begin + 1, end - begin - 1);
}

template <class From, class To>
std::vector<To> npy_values(std::string_view data, std::size_t count) {
    std::vector<To> values;
    values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) values.push_back(static_cast<To>(load<From>(data, i * sizeof(From))));
    return values;
}

inline NpzArray read_npy(std::string_view bytes) {
    if (bytes.substr(0, 6) != "\x93NUMPY") throw hat::error("npz: a member is no .npy file");
    const bool old = load<std::uint8_t>(bytes, 6) == 1;
    const std::size_t length = old ? load<std::uint16_t>(bytes, 8) : load<std::uint32_t>(bytes, 8);
    const std::size_t start = old ? 10 : 12;
    const std::string header(bytes.substr(start, length));
    if (header.find("'fortran_order': False") == std::string::npos) throw hat::error("npz: not in C order: " + header);
    NpzArray array;
    std::size_t count = 1;
    std::string digits;
    for (const char c : npy_field(header, "shape", '(', ')') + ",") {
        if (c >= '0' && c <= '9') digits += c;
        if (c == ',' && !digits.empty()) {
            array.shape.push_back(std::stoul(digits));
            count *= array.shape.back();
            digits.clear();
        }
    }
    const std::string type = npy_field(header, "descr", '\'', '\'');
    const std::string_view data = bytes.substr(start + length);
    if (type == "<f4")
        array.floats = npy_values<float, float>(data, count);
    else if (type == "<f8")
        array.floats = npy_values<double, float>(data, count);
    else if (type == "<i4")
        array.ints = npy_values<std::int32_t, std::int32_t>(data, count);
    else if (type == "<i8")
        array.ints = npy_values<std::int64_t, std::int32_t>(data, count);
    else
        throw hat::error("npz: unknown type " + type);
    return array;
}

}  // namespace detail

/// All arrays of a file by name (without ".npy").
inline Npz load_npz(const std::filesystem::path& path) {
    const std::string bytes = hat::read_file(path);
    Npz arrays;
    try {
        std::size_t end = bytes.rfind("PK\x05\x06");  // the zip's end record
        if (end == std::string::npos) throw hat::error("npz: not a zip file");
        const std::size_t count = detail::load<std::uint16_t>(bytes, end + 10);
        std::size_t at = detail::load<std::uint32_t>(bytes, end + 16);  // its directory
        for (std::size_t i = 0; i < count; ++i) {
            if (detail::load<std::uint32_t>(bytes, at) != 0x02014b50) throw hat::error("npz: broken directory");
            if (detail::load<std::uint16_t>(bytes, at + 10) != 0)
                throw hat::error("npz: compressed members are not read");
            const std::size_t size = detail::load<std::uint32_t>(bytes, at + 24);
            const std::size_t name = detail::load<std::uint16_t>(bytes, at + 28);
            const std::size_t local = detail::load<std::uint32_t>(bytes, at + 42);
            const std::size_t begin = local + 30u + detail::load<std::uint16_t>(bytes, local + 26) +
                                      detail::load<std::uint16_t>(bytes, local + 28);
            std::string key = bytes.substr(at + 46, name);
            if (key.size() > 4 && key.substr(key.size() - 4) == ".npy") key.resize(key.size() - 4);
            if (begin > bytes.size() || bytes.size() - begin < size) throw hat::error("npz: truncated");
            arrays[key] = detail::read_npy(std::string_view(bytes).substr(begin, size));
            at +=
                46u + name + detail::load<std::uint16_t>(bytes, at + 30) + detail::load<std::uint16_t>(bytes, at + 32);
        }
    } catch (const hat::error& e) {
        throw hat::bad_file(path.string(), e.what());
    }
    return arrays;
}

/// The array `name`; throws when it is missing.
inline const NpzArray& at(const Npz& arrays, const std::string& name) {
    const auto it = arrays.find(name);
    if (it == arrays.end()) throw hat::error("npz: no array " + name);
    return it->second;
}

}  // namespace hat_test
