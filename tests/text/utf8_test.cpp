#include <doctest/doctest.h>

#include <hat/text/lowercase.hpp>
#include <hat/text/utf8.hpp>

using namespace std::string_view_literals;

TEST_CASE("Valid UTF-8 passes, and the first invalid byte is found") {
    constexpr auto none = std::string_view::npos;
    CHECK(hat::find_invalid_utf8("") == none);
    CHECK(hat::find_invalid_utf8("Grüße, 日本 \U0001F600") == none);
    CHECK(hat::find_invalid_utf8("\xF4\x8F\xBF\xBF") == none);  // U+10FFFF
    CHECK(hat::find_invalid_utf8("ab\x80") == 2);               // a lone continuation
    CHECK(hat::find_invalid_utf8("a\xC3") == 1);                // cut off
    CHECK(hat::find_invalid_utf8("\xE2\x82") == 0);             // cut off
    CHECK(hat::find_invalid_utf8("\xF0\x9F\x98") == 0);         // cut off
    CHECK(hat::find_invalid_utf8("\xC0\xAF") == 0);             // overlong
    CHECK(hat::find_invalid_utf8("\xC1\xBF") == 0);             // overlong
    CHECK(hat::find_invalid_utf8("\xE0\x80\xAF") == 0);         // overlong
    CHECK(hat::find_invalid_utf8("\xF0\x80\x80\xAF") == 0);     // overlong
    CHECK(hat::find_invalid_utf8("\xED\xA0\x80") == 0);         // surrogate
    CHECK(hat::find_invalid_utf8("\xF4\x90\x80\x80") == 0);     // past U+10FFFF
    CHECK(hat::find_invalid_utf8("Gr\xFC\xDF") == 2);           // Latin-1
}

TEST_CASE("Every code point survives encoding and decoding") {
    for (char32_t c = 0; c <= 0x10FFFF; c += 7) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        std::string s;
        hat::utf8_append(s, c);
        REQUIRE(hat::find_invalid_utf8(s) == std::string_view::npos);
        REQUIRE(hat::utf8_length(s[0]) == s.size());
        REQUIRE(hat::utf8_decode(s, 0) == c);
    }
}

TEST_CASE("Words are split at white space of every script") {
    const auto words = hat::split_words(
        " a\tb\u00A0c\u3000\u2009d\x1F"
        "e\u0085 ");
    CHECK(words == std::vector{"a"sv, "b"sv, "c"sv, "d"sv, "e"sv});
    CHECK(hat::split_words("").empty());
    CHECK(hat::split_words(" \u00A0 ").empty());
    CHECK(hat::split_words("a\u200Bb").size() == 1);  // a zero-width space is no white space
    CHECK(hat::join_words(words) == "a b c d e");
    CHECK(hat::split_words("x\xE2").size() == 1);  // invalid bytes do not read past the end
}

TEST_CASE("Lower case knows the scripts and leaves the rest alone") {
    CHECK(hat::to_lower("ÄÖÜ ẞ STRAßE 12 日本"sv) == "äöü ß straße 12 日本");
    CHECK(hat::to_lower("ŁÓDŹ ČESKÝ ΑΒΓ ЖЁ"sv) == "łódź český αβγ жё");
    CHECK(hat::to_lower(U'Ÿ') == U'ÿ');
    CHECK(hat::to_lower(U'\u0101') == U'\u0101');  // between two capitals of a range of step 2
    CHECK(hat::to_lower("\u0130"sv) == "i\u0307");
}
