#pragma once
/// \file
/// Architectures as text: one line that can be read back, and a drawing in words for people.

#include <charconv>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/arch_key.hpp>
#include <hat/space/reflect.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace hat {

/// One line, "encoder.embed=512 encoder.layers=2 encoder.ffn=1024,512 ...", active layers only; arch_from_text() reads
/// it back.
template <std::size_t E, std::size_t D>
std::string to_text(const Arch<E, D>& arch) {
    std::string out;
    for_each_field(arch, [&](const std::string& name, const auto& value) {
        if (!out.empty()) out += ' ';
        out += name + '=';
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, int>) {
            out += std::to_string(value);
        } else {
            const int layers = name[0] == 'e' ? arch.encoder.layers : arch.decoder.layers;
            for (std::size_t i = 0; i < static_cast<std::size_t>(layers); ++i)
                out += (i ? "," : "") + std::to_string(value[i]);
        }
    });
    return out;
}

namespace detail {
/// A network as text, for messages: its to_text() if there is one, else the numbers of its key.
template <class A>
std::string describe_network(const A& arch) {
    if constexpr (requires { std::string(to_text(arch)); }) {
        return std::string(to_text(arch));
    } else {
        std::string text;
        for (const int v : arch_key(arch)) text.append(text.empty() ? "[" : " ").append(std::to_string(v));
        return text + "]";
    }
}
}  // namespace detail

/// Reads what to_text() wrote, fields in any order. Throws invalid_value naming the field that is missing, unknown,
/// given twice, of the wrong length or no positive number.
inline RuntimeArch arch_from_text(std::string_view text) {
    const auto fail = [](const std::string& what) { return invalid_value("hat::arch_from_text: " + what); };
    std::vector<std::pair<std::string, std::string>> given;
    const auto position = [&](std::string_view name) {
        std::size_t i = 0;
        while (i < given.size() && given[i].first != name) ++i;
        return i;
    };
    for (std::size_t at = 0; (at = text.find_first_not_of(" \t\r\n", at)) != text.npos;) {
        const std::string_view word = text.substr(at, text.find_first_of(" \t\r\n", at) - at);
        at += word.size();
        const auto equals = word.find('=');
        if (equals == word.npos || equals == 0) throw fail("found '" + std::string(word) + "', expected field=value");
        const std::string name(word.substr(0, equals));
        if (position(name) < given.size()) throw fail("field '" + name + "' is given twice");
        given.emplace_back(name, word.substr(equals + 1));
    }
    RuntimeArch arch;
    for_each_field(arch, [&](const std::string& name, auto& value) {
        const std::size_t found = position(name);
        if (found == given.size()) throw fail("field '" + name + "' is missing");
        const std::string list = given[found].second;
        given[found].first.clear();
        constexpr bool single = std::is_same_v<std::remove_cvref_t<decltype(value)>, int>;
        std::size_t wanted = 1;
        if constexpr (!single)
            wanted = static_cast<std::size_t>(name[0] == 'e' ? arch.encoder.layers : arch.decoder.layers);
        const auto bad = [&] {
            return fail("field '" + name + "' is '" + list + "', expected " + std::to_string(wanted) +
                        " positive whole number" + (wanted == 1 ? "" : "s, one per layer"));
        };
        const char* p = list.data();
        const char* const end = p + list.size();
        for (std::size_t i = 0; i < wanted; ++i) {
            if (i != 0 && (p == end || *p++ != ',')) throw bad();
            int number = 0;
            const auto [next, error] = std::from_chars(p, end, number);
            if (error != std::errc() || number < 1) throw bad();
            p = next;
            if constexpr (single)
                value = number;
            else
                value[i] = number;
        }
        if (p != end) throw bad();
        if constexpr (single)
            if (name.ends_with("layers") && value > static_cast<int>(runtime_max_layers))
                throw fail("field '" + name + "' is " + list + ", expected at most " +
                           std::to_string(runtime_max_layers));
    });
    for (const auto& [name, value] : given)
        if (!name.empty()) throw fail("unknown field '" + name + "'");
    return canonical(arch);
}

/// Several lines for people: each side's width and depth, then one line per layer.
template <std::size_t E, std::size_t D>
std::string describe(const Arch<E, D>& arch) {
    std::string out;
    const auto heads = [](int n) { return std::to_string(n) + (n == 1 ? " head" : " heads"); };
    const auto side = [&](const auto& s, const char* name, bool decoder) {
        out += std::string(name) + ": width " + std::to_string(s.embed) + ", " + std::to_string(s.layers) +
               (s.layers == 1 ? " layer\n" : " layers\n");
        for (std::size_t i = 0; i < static_cast<std::size_t>(s.layers); ++i) {
            out += "  layer " + std::to_string(i) + ": qkv " + std::to_string(s.qkv[i]) + ", self-attention " +
                   heads(s.self_heads[i]);
            if (decoder)
                out += ", cross-attention " + heads(s.cross_heads[i]) + " over the last " +
                       (s.cross_span[i] == 1 ? "encoder layer" : std::to_string(s.cross_span[i]) + " encoder layers");
            out += ", FFN " + std::to_string(s.ffn[i]) + "\n";
        }
    };
    side(arch.encoder, "encoder", false);
    side(arch.decoder, "decoder", true);
    return out;
}

}  // namespace hat
