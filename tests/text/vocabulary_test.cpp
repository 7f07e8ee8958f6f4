#include <doctest/doctest.h>

#include <filesystem>
#include <hat/text/tokenizer.hpp>
#include <hat/text/vocabulary.hpp>
#include <text/files.hpp>

using Ids = std::vector<std::int32_t>;

namespace {
const std::vector<std::string> lines{"b a b c", "a b  d", "c </s> \u00E4"};

hat::Vocabulary build(const hat::VocabularyOptions& options) {
    hat::TokenCounts counts;
    hat::count_words(counts, lines);
    return hat::Vocabulary::build(counts, options);
}
}  // namespace

TEST_CASE("The special tokens come first, then the most frequent words, ties in byte order") {
    const auto v = build({.multiple = 1});
    REQUIRE(v.size() == 9);
    const char* expected[] = {"<s>", "<pad>", "</s>", "<unk>", "b", "a", "c", "d", "\u00E4"};
    for (int i = 0; i < 9; ++i) {
        CHECK(v.token(i) == expected[i]);
        CHECK(v.id(expected[i]) == i);
    }
    CHECK(v.count(4) == 3);
    CHECK(v.count(8) == 1);
    CHECK(v.id("zebra") == hat::SpecialTokens::unk);
    CHECK_FALSE(v.contains("zebra"));
}

TEST_CASE("Rare words are left out, the size is limited and filled up") {
    CHECK(build({.min_count = 2, .multiple = 1}).size() == 7);
    CHECK(build({.max_size = 5, .multiple = 1}).token(4) == "b");
    CHECK(build({.max_size = 5, .multiple = 1}).size() == 5);
    const auto v = build({});
    REQUIRE(v.size() == 16);
    CHECK(v.token(9) == "madeupword0000");
    CHECK(v.token(15) == "madeupword0006");
    CHECK(message_of<hat::invalid_value>([] { build({.max_size = 3}); }) ==
          "vocabulary: max_size = 3: expected at least the 4 special tokens");
    CHECK(message_of<hat::invalid_value>([] { build({.multiple = 0}); }) ==
          "vocabulary: multiple = 0: expected 1 or more");
}

TEST_CASE("Text becomes ids and text again; text cannot spell a special token") {
    const hat::WhitespaceTokenizer t{build({})};
    CHECK(t.encode("a  b\u00A0zebra c") == Ids{5, 4, 3, 6});
    CHECK(t.encode("a </s> <s> <pad> <unk>") == Ids{5, 3, 3, 3, 3});
    CHECK(t.encode("").empty());
    CHECK(t.decode(Ids{0, 5, 1, 4, 3, 2}) == "a b <unk>");
    CHECK(t.vocabulary_size() == 16);
    CHECK(message_of<hat::invalid_value>([&] { t.decode(Ids{16}); }) == "token id 16: the vocabulary has ids 0 to 15");
    CHECK_THROWS_AS(t.decode(Ids{-1}), hat::invalid_value);
}

TEST_CASE("Lines become sentences that end in eos") {
    const hat::WhitespaceTokenizer t{build({})};
    const auto ragged = hat::encode_lines(t, std::vector<std::string>{"a b", "", "c"});
    CHECK(ragged.tokens == Ids{5, 4, 2, 2, 6, 2});
    CHECK(ragged.offsets == std::vector<std::size_t>{0, 3, 4, 6});
}

TEST_CASE("A dict.txt survives saving and loading") {
    const TempFolder dir;
    const auto v = build({});
    v.save(dir / "dict.txt");
    const auto w = hat::Vocabulary::load(dir / "dict.txt");
    REQUIRE(w.size() == v.size());
    for (std::int32_t i = 0; i < 16; ++i) {
        CHECK(w.token(i) == v.token(i));
        if (i > 3) CHECK(w.count(i) == v.count(i));
    }
    CHECK(hat::read_plain_lines(dir / "dict.txt").front() == "b 3");
    CHECK(hat_test::count_files(dir.path) == 1);
}

TEST_CASE("fairseq's overwrite flag gives the name to the later line, also after saving") {
    const TempFolder dir;
    const std::string text = "the 9\n</s> 7 #fairseq:overwrite\nthe 2 #fairseq:overwrite\nx y 1\n";
    const auto v = hat::Vocabulary::load(dir.write("dict.txt", text));
    REQUIRE(v.size() == 8);
    CHECK(v.id("</s>") == 5);
    CHECK(v.id("the") == 6);
    CHECK(v.token(4) == "the");
    CHECK(v.id("x y") == 7);  // only the last space separates
    v.save(dir / "again.txt");
    CHECK(hat::read_file(dir / "again.txt") == text);
}

TEST_CASE("A bad dict.txt is named with its line") {
    const TempFolder dir;
    const auto load = [&](std::string_view text) {
        const std::string path = dir.write("d", text);
        return message_of<hat::bad_file>([&] { hat::Vocabulary::load(path); }).substr(path.size());
    };
    CHECK(load("a 1\nb\n") == ":2: 'b': expected a token, a space and its count");
    CHECK(load("a 1\n\nb 2\n") == ":2: '': expected a token, a space and its count");
    CHECK(load(" 1\n") == ":1: ' 1': expected a token, a space and its count");
    CHECK(load("a 1\nb two\n") == ":2: count 'two' of token 'b': expected a number of occurrences, 0 or more");
    CHECK(load("b -2\n") == ":1: count '-2' of token 'b': expected a number of occurrences, 0 or more");
    CHECK(load("b 2x\n") == ":1: count '2x' of token 'b': expected a number of occurrences, 0 or more");
    CHECK(load("a 1\nb 1\na 3\n") ==
          ":3: duplicate token 'a'; it has id 4 already (end the line in '#fairseq:overwrite' if this is meant)");
    CHECK(load("</s> 1\n").starts_with(":1: duplicate token '</s>'; it has id 2 already"));
    CHECK(load("a 1\nb\xFF 1\n") == ":2: invalid UTF-8: byte 0xFF at column 2; expected UTF-8 text");
    CHECK(message_of<hat::bad_file>([&] { hat::Vocabulary::load(dir / "none"); }) ==
          (dir / "none") + ": cannot be read: No such file or directory");
    CHECK_THROWS_AS(hat::Vocabulary{}.save(dir / "no/such/folder"), hat::bad_file);
}
