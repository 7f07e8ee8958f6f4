#pragma once
/// \file
/// Named tensors in one file: https://github.com/huggingface/safetensors (an 8-byte length, a JSON header, the
/// numbers). Optional: needs nlohmann_json (target hat::json).

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace hat {

static_assert(std::endian::native == std::endian::little, "hat: safetensors files are little endian");

namespace detail {
template <class T>
constexpr std::string_view safetensors_dtype() {
    if constexpr (std::is_same_v<T, float>)
        return "F32";
    else if constexpr (std::is_same_v<T, double>)
        return "F64";
    else if constexpr (std::is_same_v<T, std::int8_t>)
        return "I8";
    else if constexpr (std::is_same_v<T, std::uint8_t>)
        return "U8";
    else if constexpr (std::is_same_v<T, std::int16_t>)
        return "I16";
    else if constexpr (std::is_same_v<T, std::uint16_t>)
        return "U16";
    else if constexpr (std::is_same_v<T, std::int32_t>)
        return "I32";
    else if constexpr (std::is_same_v<T, std::uint32_t>)
        return "U32";
    else if constexpr (std::is_same_v<T, std::int64_t>)
        return "I64";
    else {
        static_assert(std::is_same_v<T, std::uint64_t>, "hat: this type has no safetensors name");
        return "U64";
    }
}

/// Bytes of one element, 0 for an unknown type.
inline std::size_t safetensors_dtype_size(std::string_view dtype) {
    if (dtype == "BOOL" || dtype == "U8" || dtype == "I8") return 1;
    if (dtype == "F16" || dtype == "BF16" || dtype == "U16" || dtype == "I16") return 2;
    if (dtype == "F32" || dtype == "U32" || dtype == "I32") return 4;
    if (dtype == "F64" || dtype == "U64" || dtype == "I64") return 8;
    return 0;
}

inline std::string shape_text(const std::vector<std::size_t>& shape) {
    std::string text;
    for (const std::size_t n : shape) text += (text.empty() ? "" : " x ") + std::to_string(n);
    return shape.empty() ? "a scalar" : text;
}

/// The checksum covers the header with these digits in its place, and the numbers.
inline constexpr std::string_view crc_key = "\"crc32\":\"", no_crc = "00000000";

inline std::string crc_text(std::uint32_t crc) {
    char text[9];
    std::snprintf(text, sizeof text, "%08x", static_cast<unsigned>(crc));
    return text;
}
}  // namespace detail

/// Collects tensors and writes them with a checksum, atomically. Keeps references: the numbers must live until save().
class SafetensorsWriter {
public:
    /// Free text beside the tensors ("crc32" is taken by the checksum).
    std::map<std::string, std::string> metadata;

    /// Adds a tensor, row-major. Throws shape_mismatch, and invalid_value when the name is taken.
    template <class T>
    void add(const std::string& name, std::vector<std::size_t> shape, std::span<const T> values) {
        std::size_t size = 1;
        for (const std::size_t n : shape) size *= n;
        if (size != values.size())
            throw shape_mismatch("hat::SafetensorsWriter: tensor " + name + " has " + std::to_string(values.size()) +
                                 " numbers, but its shape is " + detail::shape_text(shape));
        if (name == "__metadata__" || !names_.insert(name).second)
            throw invalid_value("hat::SafetensorsWriter: tensor name \"" + name + "\" is taken");
        tensors_.push_back({name, detail::safetensors_dtype<T>(), std::move(shape), bytes_of(values)});
    }

    /// Writes the file. Throws bad_file; an older file of this name is then still there.
    void save(const std::filesystem::path& path) const {
        std::size_t at = 0;
        Json header = Json::object();
        for (const auto& t : tensors_) {
            header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + t.bytes.size()}}};
            at += t.bytes.size();
        }
        Json& meta = header["__metadata__"] = metadata;
        meta["crc32"] = detail::no_crc;
        std::string text;
        try {
            text = header.dump();
        } catch (const Json::exception& e) {
            throw bad_file(path.string(),
                           std::string("cannot be written: a name or metadata is not UTF-8: ") + e.what());
        }
        text.resize((text.size() + 7) / 8 * 8, ' ');
        std::uint32_t crc = crc32(text);
        for (const auto& t : tensors_) crc = crc32(t.bytes, crc);
        text.replace(text.find(detail::crc_key) + detail::crc_key.size(), detail::no_crc.size(), detail::crc_text(crc));
        const std::uint64_t length = text.size();
        AtomicFile file(path);
        file.write(bytes_of(std::span<const std::uint64_t>(&length, 1)));
        file.write(text);
        for (const auto& t : tensors_) file.write(t.bytes);
        file.commit();
    }

private:
    struct Tensor {
        std::string name;
        std::string_view dtype;
        std::vector<std::size_t> shape;
        std::string_view bytes;
    };
    std::vector<Tensor> tensors_;
    std::set<std::string> names_;
};

/// A file of named tensors, checked as a whole when it is opened: lengths, types, shapes, offsets, and the checksum if
/// it has one. Its numbers are read when they are asked for. Every error is a bad_file that names file and tensor.
class SafetensorsFile {
public:
    /// When the checksum is compared. Who knows what to expect of the tensors can say more about a changed file than
    /// that it is changed: it opens with `later`, and calls require_intact() before it trusts a number.
    enum class Checksum { now, later };

    /// What the header says about a tensor.
    struct Tensor {
        std::string dtype;               ///< e.g. "F32"
        std::vector<std::size_t> shape;  ///< row-major
        std::size_t begin = 0;           ///< first byte, counted from the end of the header
        std::size_t end = 0;             ///< one past the last byte
    };

    /// Opens and checks the file.
    explicit SafetensorsFile(const std::filesystem::path& path, Checksum checksum = Checksum::now)
        : path_(path.string()), file_(path) {
        std::uint64_t length = 0;
        if (file_.size() < sizeof length)
            fail("truncated: " + std::to_string(file_.size()) + " bytes, expected at least 8");
        char first[sizeof length];
        file_.read_at(0, first);
        std::memcpy(&length, first, sizeof length);
        if (length > most_header)
            fail("not a safetensors file: its header would have " + std::to_string(length) +
                 " bytes, expected at most " + std::to_string(most_header));
        if (length > file_.size() - sizeof length)
            fail("truncated: the header has " + std::to_string(length) + " bytes, but only " +
                 std::to_string(file_.size() - sizeof length) + " follow");
        std::string text(static_cast<std::size_t>(length), ' ');
        file_.read_at(sizeof length, text);
        const Json header = parse_json(text, path_ + " (header)");
        data_ = sizeof length + text.size();
        read_header(JsonView(header, path_));
        check_offsets();
        if (const auto at = text.find(detail::crc_key); at != std::string::npos)
            text.replace(at + detail::crc_key.size(), detail::no_crc.size(), detail::no_crc);
        header_crc_ = crc32(text);
        if (checksum == Checksum::now) require_intact();
        unchecked_ = checksum == Checksum::later;
    }

    /// Throws if the file has a checksum and it is not that of its bytes.
    void require_intact() const {
        if (const std::string damage = wrong_checksum(); !damage.empty()) throw bad_file(path_, "corrupt: " + damage);
    }

    /// The file's name.
    const std::string& path() const { return path_; }
    /// All free text of the header, the checksum included.
    const std::map<std::string, std::string>& metadata() const { return metadata_; }
    /// All tensors by name.
    const std::map<std::string, Tensor>& tensors() const { return tensors_; }
    /// Whether there is a tensor of this name.
    bool contains(const std::string& name) const { return tensors_.count(name) != 0; }
    /// Metadata that must be there.
    const std::string& metadata(const std::string& key) const {
        const auto it = metadata_.find(key);
        if (it == metadata_.end()) fail("metadata \"" + key + "\" is missing");
        return it->second;
    }
    /// What the header says about a tensor that must be there.
    const Tensor& info(const std::string& name) const {
        const auto it = tensors_.find(name);
        if (it == tensors_.end()) fail("tensor " + name + " is missing");
        return it->second;
    }

    /// Throws unless there is a tensor of this name, type and shape.
    template <class T>
    const Tensor& require(const std::string& name, const std::vector<std::size_t>& shape) const {
        const Tensor& t = typed<T>(name);
        if (t.shape != shape)
            fail("tensor " + name + " is " + detail::shape_text(t.shape) + ", expected " + detail::shape_text(shape));
        return t;
    }
    /// Copies a tensor that must have this type and shape.
    template <class T>
    void read(const std::string& name, const std::vector<std::size_t>& shape, std::span<T> out) const {
        const Tensor& t = require<T>(name, shape);
        if (out.size_bytes() != t.end - t.begin)
            throw shape_mismatch("hat::SafetensorsFile: tensor " + name + " does not fit its destination");
        file_.read_at(data_ + t.begin, {reinterpret_cast<char*>(out.data()), out.size_bytes()});
    }
    /// A tensor of this type and any shape.
    template <class T>
    std::vector<T> read(const std::string& name) const {
        const Tensor& t = typed<T>(name);
        std::vector<T> values((t.end - t.begin) / sizeof(T));
        read<T>(name, t.shape, values);
        return values;
    }
    /// Throws unless the file has exactly these tensors.
    void require_exactly(const std::vector<std::string>& names) const {
        for (const auto& name : names) info(name);
        const std::set<std::string> known(names.begin(), names.end());
        for (const auto& item : tensors_)
            if (known.count(item.first) == 0) fail("tensor " + item.first + " is not expected here");
    }

private:
    static constexpr std::uint64_t most_header = 100'000'000;  // the format's own limit

    [[noreturn]] void fail(const std::string& what) const {
        const std::string damage = unchecked_ ? wrong_checksum() : "";
        throw bad_file(path_, what + (damage.empty() ? "" : "; the file was damaged or edited: " + damage));
    }
    /// "the checksum is ..., expected ..."; empty if it is right, or there is none.
    std::string wrong_checksum() const {
        const auto crc = metadata_.find("crc32");
        if (crc == metadata_.end()) return "";
        const std::string found = detail::crc_text(checksum_of_numbers(header_crc_));
        return found == crc->second ? "" : "the checksum is " + found + ", expected " + crc->second;
    }

    template <class T>
    const Tensor& typed(const std::string& name) const {
        const Tensor& t = info(name);
        if (t.dtype != detail::safetensors_dtype<T>())
            fail("tensor " + name + " has type " + t.dtype + ", expected " +
                 std::string(detail::safetensors_dtype<T>()));
        return t;
    }
    void read_header(const JsonView& header) {
        if (!header.json().is_object()) header.fail("is no safetensors header, expected an object");
        for (const auto& item : header.json().items()) {
            if (item.key() == "__metadata__") {
                const JsonView meta = header["__metadata__"];
                if (!meta.json().is_object()) meta.fail("must be an object");
                for (const auto& m : meta.json().items()) metadata_[m.key()] = meta.get<std::string>(m.key());
                continue;
            }
            const JsonView view = header[item.key()];
            Tensor t{view.get<std::string>("dtype"), view.get<std::vector<std::size_t>>("shape"), 0, 0};
            const auto offsets = view.get<std::vector<std::size_t>>("data_offsets");
            if (offsets.size() != 2 || offsets[0] > offsets[1])
                fail("tensor " + item.key() + " has data_offsets " + view["data_offsets"].json().dump() +
                     ", expected [begin, end]");
            t.begin = offsets[0];
            t.end = offsets[1];
            const std::size_t element = detail::safetensors_dtype_size(t.dtype);
            if (element == 0) fail("tensor " + item.key() + " has the unknown type " + t.dtype);
            std::size_t size = element;
            for (const std::size_t n : t.shape)
                if (__builtin_mul_overflow(size, n, &size)) fail("tensor " + item.key() + " is too large");
            if (size != t.end - t.begin)
                fail("tensor " + item.key() + " (" + t.dtype + ", " + detail::shape_text(t.shape) + ") needs " +
                     std::to_string(size) + " bytes, but has " + std::to_string(t.end - t.begin));
            tensors_.emplace(item.key(), std::move(t));
        }
    }
    /// The numbers must follow each other without a gap or an overlap, up to the end of the file.
    void check_offsets() const {
        std::vector<std::pair<const Tensor*, const std::string*>> order;
        for (const auto& item : tensors_) order.emplace_back(&item.second, &item.first);
        std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
            return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
        });
        const std::size_t available = file_.size() - data_;
        std::size_t at = 0;
        for (const auto& [t, name] : order) {
            if (t->begin != at)
                fail("tensor " + *name + " starts at byte " + std::to_string(t->begin) + " of the numbers, expected " +
                     std::to_string(at) + (t->begin < at ? " (it overlaps another)" : " (there is a gap)"));
            if (t->end > available)
                fail("truncated: tensor " + *name + " ends at byte " + std::to_string(t->end) +
                     " of the numbers, but there are only " + std::to_string(available));
            at = t->end;
        }
        if (at != available)
            fail("the tensors have " + std::to_string(at) + " bytes, but " + std::to_string(available) +
                 " follow the header");
    }

    std::uint32_t checksum_of_numbers(std::uint32_t crc) const {
        std::vector<char> block(std::min(std::size_t{1} << 20, file_.size() - data_));
        for (std::size_t at = data_; at < file_.size();) {
            const std::span<char> part(block.data(), std::min(block.size(), file_.size() - at));
            file_.read_at(at, part);
            crc = crc32({part.data(), part.size()}, crc);
            at += part.size();
        }
        return crc;
    }

    std::string path_;
    InputFile file_;
    std::size_t data_ = 0;
    std::uint32_t header_crc_ = 0;
    bool unchecked_ = false;  // opened without a look at the checksum
    std::map<std::string, std::string> metadata_;
    std::map<std::string, Tensor> tensors_;
};

}  // namespace hat
