#include <doctest/doctest.h>

#include <deploy/parts.hpp>
#include <hat/deploy/deployed_tokenizer.hpp>
#include <hat/text/tokenizer.hpp>
#include <string>
#include <vector>

TEST_CASE("words have the ids and the text that a whitespace tokenizer gives") {
    const hat::WhitespaceTokenizer reference{hat_test::word_vocabulary(20)};
    const auto parts = hat::word_parts(reference.vocabulary);
    hat::WordModel words;
    REQUIRE(words.load(parts.bytes, parts.index));
    CHECK(words.vocabulary_size() == 20);
    for (const std::string text : {"w4 w5  w18\tw19 none", "", "  ", "</s> <unk> <pad> w6", "w5\xC2\xA0w7", "w", "w181",
                                   "\xFFw4 w4\xE2", "<s>", "zz"}) {
        CAPTURE(text);
        std::vector<std::int32_t> ids(16);
        const auto result = words.encode(text, ids);
        REQUIRE(result);
        ids.resize(result.size);
        CHECK(ids == reference.encode(text));
        std::vector<char> out(ids.size() * words.longest());
        const auto decoded = words.decode(ids, out);
        REQUIRE(decoded);
        CHECK(std::string(out.data(), decoded.size) == reference.decode(ids));
    }
    std::vector<std::int32_t> all(20), few(2);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(i);
    std::vector<char> out(20 * words.longest()), small(3);
    CHECK(std::string(out.data(), words.decode(all, out).size) == reference.decode(all));
    CHECK(words.encode("w4 w5 w6", few).error == hat::SubwordError::ids_too_small);
    CHECK(words.decode(all, small).error == hat::SubwordError::text_too_small);
    CHECK(words.decode(std::vector<std::int32_t>{20}, out).error == hat::SubwordError::foreign_id);
    CHECK(words.decode(std::vector<std::int32_t>{-1}, out).error == hat::SubwordError::foreign_id);
}

TEST_CASE("an index of words that does not fit is refused") {
    const auto parts = hat::word_parts(hat_test::word_vocabulary(20));
    hat::WordModel words;
    for (std::size_t i = 0; i < parts.index.size(); ++i) {
        auto index = parts.index;
        index[i] = 0xFFFFFFF0U;
        CHECK(!words.load(parts.bytes, index));
        index = parts.index;
        index.resize(i);
        CHECK(!words.load(parts.bytes, index));
    }
    CHECK(!words.load(parts.bytes + "x", parts.index));
    CHECK(words.vocabulary_size() == 0);
    std::vector<std::int32_t> ids(4);
    CHECK(words.encode("a", ids).size == 1);  // unk: nothing is known
    hat::DeployedTokenizer none;
    CHECK(none.load(hat::TokenizerKind::words, parts.bytes, {}) == hat::SubwordError::bad_index);
    CHECK(none.kind() == hat::TokenizerKind::none);
    CHECK(none.encode("a", ids, {}).error == hat::SubwordError::not_loaded);
    CHECK(none.load(hat::TokenizerKind::words, parts.bytes, parts.index) == hat::SubwordError::none);
    CHECK(none.vocabulary_size() == 20);
}
