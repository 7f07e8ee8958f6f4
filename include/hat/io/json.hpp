#pragma once
/// \file
/// JSON files with messages that name file, line or key. Optional: needs nlohmann_json (target hat::json).

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace hat {

using Json = nlohmann::json;  ///< any JSON value

/// Parses `text`; `name` (a file) is what messages call it. Throws bad_file with line and column of a syntax error,
/// and for a key that is given twice in one object.
inline Json parse_json(std::string_view text, const std::string& name) {
    std::vector<std::set<std::string>> open;  // the keys seen so far of every open object
    std::string duplicate;
    const auto watch = [&](int, Json::parse_event_t event, Json& value) {
        if (event == Json::parse_event_t::object_start) open.emplace_back();
        if (event == Json::parse_event_t::object_end) open.pop_back();
        if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second &&
            duplicate.empty())
            duplicate = value.get<std::string>();
        return true;
    };
    try {
        Json json = Json::parse(text.begin(), text.end(), watch);
        if (!duplicate.empty()) throw bad_file(name, "key \"" + excerpt(duplicate) + "\" is given twice in one object");
        return json;
    } catch (const Json::parse_error& e) {
        const std::size_t at = std::min(e.byte > 0 ? e.byte - 1 : 0, text.size());
        const std::string_view before = text.substr(0, at);
        const std::size_t line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
        const std::size_t last = before.rfind('\n');
        const std::size_t column = last == std::string_view::npos ? at + 1 : at - last;
        std::string reason = e.what();
        if (const auto syntax = reason.find("syntax error"); syntax != std::string::npos) reason.erase(0, syntax);
        throw bad_file(name, line, "column " + std::to_string(column) + ": not valid JSON: " + excerpt(reason, 300));
    } catch (const Json::exception& e) {
        throw bad_file(name, "not valid JSON: " + excerpt(e.what(), 300));
    }
}

/// Reads a JSON file. Throws bad_file.
inline Json load_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

/// Writes a JSON file atomically; equal values give equal bytes. Throws bad_file.
inline void save_json(const std::filesystem::path& path, const Json& json, int indent = 2) {
    std::string text;
    try {
        text = json.dump(indent) + "\n";
    } catch (const Json::exception& e) {
        throw bad_file(path.string(), std::string("cannot be written as JSON: ") + e.what());
    }
    write_file_atomically(path, text);
}

/// A place inside a JSON document that knows its file and key path, so that every error names both. Getters are
/// strict: nothing is converted but integers to floating point.
class JsonView {
public:
    /// Refers to `json`, which must outlive it; `file` and `path` are for messages.
    JsonView(const Json& json, std::string file, std::string path = "")
        : json_(&json), file_(std::move(file)), path_(std::move(path)) {}
    JsonView(Json&&, std::string, std::string = "") = delete;  // would dangle

    /// The value itself.
    const Json& json() const { return *json_; }
    /// The document's file.
    const std::string& file() const { return file_; }
    /// The place in the document, e.g. "a.b[2]"; empty: the document.
    const std::string& path() const { return path_; }
    /// Whether this is an object with the member `key`.
    bool has(const std::string& key) const { return json_->is_object() && json_->contains(key); }

    /// The member `key`; throws when it is missing.
    JsonView operator[](const std::string& key) const {
        if (!json_->is_object()) fail("is " + kind() + ", expected an object");
        const auto it = json_->find(key);
        const std::string child = path_.empty() ? key : path_ + "." + key;
        if (it == json_->end()) throw bad_file(file_, "key \"" + child + "\" is missing");
        return JsonView(*it, file_, child);
    }
    /// The array element `index`; throws when it is missing.
    JsonView operator[](std::size_t index) const {
        if (index >= size())
            fail("has " + std::to_string(size()) + " elements, expected more than " + std::to_string(index));
        return JsonView((*json_)[index], file_, path_ + "[" + std::to_string(index) + "]");
    }
    /// Length of an array; throws when it is none.
    std::size_t size() const {
        if (!json_->is_array()) fail("is " + kind() + ", expected an array");
        return json_->size();
    }
    /// The value as a bool, integer, floating-point number, std::string, or std::vector of these.
    template <class T>
    T as() const {
        if constexpr (std::is_same_v<T, bool>) {
            if (!json_->is_boolean()) fail("is " + kind() + ", expected true or false");
            return json_->template get<bool>();
        } else if constexpr (std::is_integral_v<T>) {
            if (!json_->is_number_integer()) fail("is " + kind() + ", expected an integer");
            if (json_->is_number_unsigned() ? !std::in_range<T>(json_->template get<std::uint64_t>())
                                            : !std::in_range<T>(json_->template get<std::int64_t>()))
                fail("is " + json_->dump() + ", expected " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                     std::to_string(std::numeric_limits<T>::max()));
            return json_->template get<T>();
        } else if constexpr (std::is_floating_point_v<T>) {
            if (!json_->is_number()) fail("is " + kind() + ", expected a number");
            return json_->template get<T>();
        } else if constexpr (std::is_same_v<T, std::string>) {
            if (!json_->is_string()) fail("is " + kind() + ", expected a string");
            return json_->template get<std::string>();
        } else {
            T values;
            for (std::size_t i = 0; i < size(); ++i) values.push_back((*this)[i].template as<typename T::value_type>());
            return values;
        }
    }
    /// The member `key`, as as() gives it; throws when it is missing.
    template <class T>
    T get(const std::string& key) const {
        return (*this)[key].template as<T>();
    }
    /// As get(), or `fallback` when the key is absent.
    template <class T>
    T get_or(const std::string& key, T fallback) const {
        return has(key) ? get<T>(key) : fallback;
    }
    /// Throws for any key that is not in `known`.
    void require_only(std::initializer_list<std::string_view> known) const {
        if (!json_->is_object()) fail("is " + kind() + ", expected an object");
        for (const auto& item : json_->items())
            if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
                std::string expected;
                for (const auto& k : known) expected += (expected.empty() ? "" : ", ") + std::string(k);
                throw bad_file(file_, "key \"" + (path_.empty() ? "" : path_ + ".") + excerpt(item.key()) +
                                          "\" is unknown, expected one of: " + expected);
            }
    }
    /// Throws bad_file about this place: "`file`: key `path` `what`".
    [[noreturn]] void fail(const std::string& what) const {
        throw bad_file(file_, (path_.empty() ? "the document " : "key \"" + path_ + "\" ") + what);
    }

private:
    std::string kind() const {
        if (json_->is_structured()) return json_->is_array() ? "an array" : "an object";
        return excerpt(json_->dump(-1, ' ', false, Json::error_handler_t::replace));
    }

    const Json* json_;
    std::string file_, path_;
};

}  // namespace hat
