#pragma once
/// \file
/// UTF-8: validation, code points, and white space as Unicode (and Python's str.split, which sacreBLEU uses) has it.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hat {

/// Number of bytes of the valid code point at byte `i`; 0 when there is none (overlong forms, surrogates and values
/// past U+10FFFF are invalid) or `text` ends before it does.
inline std::size_t valid_utf8_length(std::string_view text, std::size_t i) {
    const auto byte = [&](std::size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0U; };
    const auto continues = [&](std::size_t k) { return (byte(k) & 0xC0U) == 0x80U; };
    if (i >= text.size()) return 0;
    const unsigned a = byte(i), b = byte(i + 1);
    if (a < 0x80U) return 1;
    if (a >= 0xC2U && a <= 0xDFU && continues(i + 1)) return 2;
    if (a >= 0xE0U && a <= 0xEFU && continues(i + 1) && continues(i + 2) && (a != 0xE0U || b >= 0xA0U) &&
        (a != 0xEDU || b < 0xA0U))
        return 3;
    if (a >= 0xF0U && a <= 0xF4U && continues(i + 1) && continues(i + 2) && continues(i + 3) &&
        (a != 0xF0U || b >= 0x90U) && (a != 0xF4U || b < 0x90U))
        return 4;
    return 0;
}

/// Position of the first byte that is not valid UTF-8, or std::string_view::npos when all of `text` is valid.
inline std::size_t find_invalid_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t n = valid_utf8_length(text, i);
        if (n == 0) return i;
        i += n;
    }
    return std::string_view::npos;
}

/// Number of bytes of the code point that starts with `lead`. Only for valid UTF-8.
inline std::size_t utf8_length(char lead) {
    const auto a = static_cast<unsigned char>(lead);
    return a < 0x80U ? 1 : a < 0xE0U ? 2 : a < 0xF0U ? 3 : 4;
}

/// The code point that starts at byte `i`. Only for valid UTF-8.
inline char32_t utf8_decode(std::string_view text, std::size_t i) {
    const std::size_t n = utf8_length(text[i]);
    const auto lead = static_cast<unsigned char>(text[i]);
    char32_t c = n == 1 ? lead : lead & (0xFFU >> (n + 1));
    for (std::size_t k = 1; k < n; ++k) c = (c << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3FU);
    return c;
}

/// Appends one code point.
inline void utf8_append(std::string& out, char32_t c) {
    const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0 | (c >> 6));
        put(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        put(0xE0 | (c >> 12));
        put(0x80 | ((c >> 6) & 0x3F));
        put(0x80 | (c & 0x3F));
    } else {
        put(0xF0 | (c >> 18));
        put(0x80 | ((c >> 12) & 0x3F));
        put(0x80 | ((c >> 6) & 0x3F));
        put(0x80 | (c & 0x3F));
    }
}

/// White space of any script: what Python's str.isspace() accepts.
inline bool is_space(char32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/// Calls f(word) for every word of `text` between white space; words are views into it. Invalid bytes count as parts of
/// words.
template <class F>
void for_each_word(std::string_view text, F&& f) {
    std::size_t start = 0, i = 0;
    while (i < text.size()) {
        std::size_t n = utf8_length(text[i]);
        if (i + n > text.size()) n = 1;
        if (is_space(n == 1 ? static_cast<unsigned char>(text[i]) : utf8_decode(text, i))) {
            if (i > start) f(text.substr(start, i - start));
            start = i + n;
        }
        i += n;
    }
    if (text.size() > start) f(text.substr(start));
}

/// The words of `text`, see for_each_word().
inline std::vector<std::string_view> split_words(std::string_view text) {
    std::vector<std::string_view> words;
    for_each_word(text, [&](std::string_view word) { words.push_back(word); });
    return words;
}

/// Words with `separator` between them.
inline std::string join_words(const std::vector<std::string_view>& words, std::string_view separator = " ") {
    std::string out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) out += separator;
        out += words[i];
    }
    return out;
}

}  // namespace hat
