#pragma once
/// \file
/// Configuration files: YAML read strictly. Optional component hat::yaml (yaml-cpp).
///
/// Every error names file, line, key, the value found and what was expected. Duplicate keys, unknown keys and values
/// of another type are errors; later files override earlier ones key by key.

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace hat {

/// One value of a configuration, with the place it was read from.
struct ConfigNode {
    /// What a value can be.
    enum class Kind { null, scalar, list, map };
    Kind kind = Kind::map;          ///< what this one is
    std::string scalar;             ///< the text of a scalar
    bool quoted = false;            ///< "5" is text, never a number
    std::string key;                ///< of a member of a map
    std::vector<ConfigNode> items;  ///< of a list, or the members of a map, in file order
    std::string file;               ///< where the value was read
    std::size_t line = 0;           ///< from 1

    /// The member with this key, or null.
    const ConfigNode* find(std::string_view name) const {
        for (const auto& item : items)
            if (item.key == name) return &item;
        return nullptr;
    }
};

/// The candidate most like `word`, or empty if none is close: for "did you mean".
inline std::string closest_match(std::string_view word, const std::vector<std::string>& candidates) {
    std::string best;
    if (word.size() > 100) return best;  // no key is so long, and the distances would take long
    std::size_t least = std::min(std::max<std::size_t>(2, word.size() / 4) + 1, word.size());
    for (const auto& c : candidates) {  // edit distance
        std::vector<std::size_t> row(c.size() + 1);
        for (std::size_t j = 0; j <= c.size(); ++j) row[j] = j;
        for (std::size_t i = 0; i < word.size(); ++i) {
            std::size_t diagonal = std::exchange(row[0], i + 1);
            for (std::size_t j = 0; j < c.size(); ++j) {
                const std::size_t changed = diagonal + (word[i] == c[j] ? 0 : 1);
                diagonal = row[j + 1];
                row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
            }
        }
        if (row.back() < least) {
            least = row.back();
            best = c;
        }
    }
    return best;
}

/// A configuration: a map of keys to values, possibly with sections. Reading a key marks it as known;
/// reject_unknown() at the end finds the keys nobody asked for. Not for use by several threads at once.
class YamlConfig {
public:
    /// No keys.
    YamlConfig() = default;

    /// Reads the files in order; a later one's values replace an earlier one's, sections are merged.
    /// Throws bad_file (missing, unreadable, not YAML) or bad_config (duplicate key, no map).
    static YamlConfig load(const std::vector<std::string>& paths) {
        YamlConfig config;
        for (const auto& path : paths) config.add_file(path);
        return config;
    }
    /// Adds one more file on top.
    void add_file(const std::string& path) { add_text(read_file(path), path); }
    /// Adds YAML text on top; `name` stands for the file in messages.
    void add_text(const std::string& text, const std::string& name) {
        std::vector<YAML::Node> documents;
        try {
            documents = YAML::LoadAll(text);
        } catch (const YAML::Exception& e) {
            throw bad_file(name, static_cast<std::size_t>(std::max(0, e.mark.line)) + 1,
                           "not valid YAML: " + excerpt(e.msg, 200));
        }
        if (documents.size() > 1) throw bad_file(name, "has several YAML documents, expected one");
        if (names_.empty())
            names_ = name;
        else
            names_ += ", " + name;
        if (documents.empty() || documents[0].IsNull()) return;
        std::size_t budget = 100000;
        ConfigNode node = convert(documents[0], name, budget, 0);
        if (node.kind != ConfigNode::Kind::map)
            throw bad_file(name, node.line, "expected a map of keys to values, found " + kind_name(node));
        merge(root_, std::move(node));
    }

    /// Whether the key is there; it counts as known from now on.
    bool has(const std::string& key) const { return lookup(key) != nullptr; }
    /// All keys that are there, in the order of their first appearance.
    std::vector<std::string> keys() const {
        std::vector<std::string> out;
        for (const auto& member : root_.items) out.push_back(member.key);
        return out;
    }
    /// The value as it was read, or null.
    const ConfigNode* node(const std::string& key) const { return lookup(key); }

    /// The value of a key that must be there, as T: bool, an integer or floating-point type, std::string, or a
    /// std::vector of these ("[1, 2]" or Python's "(1, 2)"). Throws bad_config if it is missing or of another type.
    template <class T>
    T get(const std::string& key) const {
        const ConfigNode* n = lookup(key);
        if (!n)
            throw bad_config((names_.empty() ? "configuration" : names_) + ": key '" + prefix_ + key +
                             "' is missing, expected " + expected<T>());
        return convert_to<T>(*n, prefix_ + key);
    }
    /// The value of a key that may be left out.
    template <class T>
    T get_or(const std::string& key, T otherwise) const {
        const ConfigNode* n = lookup(key);
        return n ? convert_to<T>(*n, prefix_ + key) : otherwise;
    }
    /// A section, empty if it is left out. Its unknown keys are its own matter: call reject_unknown() on it too.
    YamlConfig section(const std::string& key) const {
        YamlConfig out;
        out.names_ = names_;
        out.prefix_ = prefix_ + key + ".";
        if (const ConfigNode* n = lookup(key)) {
            if (n->kind != ConfigNode::Kind::map) throw wrong(*n, prefix_ + key, "a section of keys and values");
            out.root_ = *n;
        }
        return out;
    }

    /// Throws bad_config unless every key was asked for or is in `also_known`; names the closest known key, or, if
    /// none is close, what was `expected`.
    void reject_unknown(std::span<const std::string_view> also_known = {}, std::string_view expected = "") const {
        std::vector<std::string> known(asked_.begin(), asked_.end());
        known.insert(known.end(), also_known.begin(), also_known.end());
        for (const auto& n : root_.items) {
            if (std::find(known.begin(), known.end(), n.key) != known.end()) continue;
            const std::string match = closest_match(n.key, known);
            std::string hint;
            if (!match.empty())
                hint = ", did you mean '" + prefix_ + match + "'?";
            else if (!expected.empty())
                hint = ", expected " + std::string(expected);
            throw bad_config(where(n) + ": unknown key '" + prefix_ + excerpt(n.key) + "'" + hint);
        }
    }

    /// An error with the file and line of a key, for what the reader itself cannot see.
    bad_config about(const std::string& key, const std::string& text) const {
        const ConfigNode* n = lookup(key);
        return bad_config((n                ? where(*n)
                           : names_.empty() ? "configuration"
                                            : names_) +
                          ": key '" + prefix_ + key + "': " + text);
    }
    /// An error about a key's value, with file and line: for checks beyond the type.
    bad_config problem(const std::string& key, const std::string& expected_text) const {
        const ConfigNode* n = lookup(key);
        return n ? wrong(*n, prefix_ + key, expected_text)
                 : bad_config((names_.empty() ? "configuration" : names_) + ": key '" + prefix_ + key +
                              "' is missing, expected " + expected_text);
    }

private:
    template <class T>
    struct is_vector : std::false_type {};
    template <class T>
    struct is_vector<std::vector<T>> : std::true_type {};

    static std::string where(const ConfigNode& n) { return n.file + ":" + std::to_string(n.line); }
    static std::string kind_name(const ConfigNode& n) {
        switch (n.kind) {
            case ConfigNode::Kind::null:
                return "nothing";
            case ConfigNode::Kind::scalar:
                return "'" + excerpt(n.scalar) + "'";
            case ConfigNode::Kind::list:
                return "a list of " + std::to_string(n.items.size());
            case ConfigNode::Kind::map:
                break;
        }
        return "a map";
    }
    static bad_config wrong(const ConfigNode& n, const std::string& key, const std::string& expected_text) {
        return bad_config(where(n) + ": key '" + key + "' is " + kind_name(n) + ", expected " + expected_text);
    }

    const ConfigNode* lookup(const std::string& key) const {
        asked_.insert(key);
        return root_.find(key);
    }

    static ConfigNode convert(const YAML::Node& from, const std::string& file, std::size_t& budget, int depth) {
        ConfigNode out;
        out.file = file;
        out.line = static_cast<std::size_t>(std::max(0, from.Mark().line)) + 1;
        if (budget-- == 0 || depth > 50) throw bad_file(file, out.line, "too large or too deep for a configuration");
        if (from.IsNull()) {
            out.kind = ConfigNode::Kind::null;
        } else if (from.IsScalar()) {
            out.kind = ConfigNode::Kind::scalar;
            out.scalar = from.Scalar();
            out.quoted = from.Tag() == "!";
        } else if (from.IsSequence()) {
            out.kind = ConfigNode::Kind::list;
            for (const auto& item : from) out.items.push_back(convert(item, file, budget, depth + 1));
        } else {
            for (const auto& member : from) {
                const std::size_t line = static_cast<std::size_t>(std::max(0, member.first.Mark().line)) + 1;
                if (!member.first.IsScalar()) throw bad_file(file, line, "a key must be a plain word");
                const std::string key = member.first.Scalar();
                if (const ConfigNode* twice = out.find(key))
                    throw bad_config(file + ":" + std::to_string(line) + ": duplicate key '" + excerpt(key) +
                                     "', first given in line " + std::to_string(twice->line));
                out.items.push_back(convert(member.second, file, budget, depth + 1));
                out.items.back().key = key;
                out.items.back().line = line;  // the key's line, also for a value that starts later
            }
        }
        return out;
    }
    static void merge(ConfigNode& into, ConfigNode from) {
        for (auto& value : from.items) {
            const auto same = std::find_if(into.items.begin(), into.items.end(),
                                           [&](const ConfigNode& n) { return n.key == value.key; });
            if (same == into.items.end())
                into.items.push_back(std::move(value));
            else if (same->kind == ConfigNode::Kind::map && value.kind == ConfigNode::Kind::map)
                merge(*same, std::move(value));
            else
                *same = std::move(value);
        }
    }

    template <class T>
    static std::string expected() {
        if constexpr (is_vector<T>::value)
            return "a list, each " + expected<typename T::value_type>();
        else if constexpr (std::same_as<T, bool>)
            return "True or False";
        else if constexpr (std::integral<T>)
            return std::signed_integral<T> ? "a whole number" : "a whole number of at least 0";
        else if constexpr (std::floating_point<T>)
            return "a number";
        else
            return "text";
    }

    template <class T>
    static T convert_to(const ConfigNode& n, const std::string& key) {
        const auto fail = [&] { return wrong(n, key, expected<T>()); };
        if constexpr (is_vector<T>::value) {
            T out;
            if (n.kind == ConfigNode::Kind::list) {
                for (std::size_t i = 0; i < n.items.size(); ++i)
                    out.push_back(convert_to<typename T::value_type>(n.items[i], key + "[" + std::to_string(i) + "]"));
                return out;
            }
            // a Python tuple is a plain scalar to YAML
            std::string_view text = n.scalar;
            if (n.kind != ConfigNode::Kind::scalar || text.size() < 2 || text.front() != '(' || text.back() != ')')
                throw fail();
            text = text.substr(1, text.size() - 2);
            while (!text.empty()) {
                const std::size_t comma = std::min(text.find(','), text.size());
                ConfigNode item = n;
                item.scalar = trim(text.substr(0, comma));
                text.remove_prefix(std::min(comma + 1, text.size()));
                if (item.scalar.empty()) {
                    if (trim(text).empty() && !out.empty()) break;  // "(1, )"
                    throw fail();
                }
                out.push_back(convert_to<typename T::value_type>(item, key + "[" + std::to_string(out.size()) + "]"));
            }
            return out;
        } else {
            if (n.kind != ConfigNode::Kind::scalar) throw fail();
            const std::string& s = n.scalar;
            if constexpr (std::same_as<T, std::string>) {
                return s;
            } else {
                if (n.quoted) throw fail();
                if constexpr (std::same_as<T, bool>) {
                    if (s == "True" || s == "true") return true;
                    if (s == "False" || s == "false") return false;
                    throw fail();
                } else {
                    T value{};
                    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
                    if (error == std::errc::result_out_of_range)
                        throw wrong(n, key, expected<T>() + " that fits its type");
                    if (error != std::errc() || end != s.data() + s.size()) throw fail();
                    if constexpr (std::floating_point<T>)
                        if (!std::isfinite(value)) throw wrong(n, key, "a finite number");
                    return value;
                }
            }
        }
    }
    static std::string trim(std::string_view text) {
        const auto first = text.find_first_not_of(" \t");
        if (first == text.npos) return {};
        return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
    }

    ConfigNode root_;
    std::string names_;   // of the files, for messages about keys that are nowhere
    std::string prefix_;  // "section."
    mutable std::set<std::string> asked_;
};

}  // namespace hat
