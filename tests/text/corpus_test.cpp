#include <doctest/doctest.h>

#include <filesystem>
#include <hat/text/corpus.hpp>
#include <hat/text/gzip.hpp>
#include <limits>
#include <string>
#include <text/files.hpp>

using Lines = std::vector<std::string>;

TEST_CASE("Unequal line counts name both files and both counts") {
    const TempFolder dir;
    const std::string a = dir.write("a.en", "1\n2\n3\n"), b = dir.write("a.de", "1\n2\n");
    CHECK(message_of<hat::bad_file>([&] { hat::read_parallel(a, b); }) ==
          b + ": has 2 lines, but " + a + " has 3; expected equal counts, line i translating line i");
    const std::string empty = dir.write("empty", "");
    CHECK(message_of<hat::bad_file>([&] { hat::read_parallel(empty, empty); }) ==
          empty + ": is empty; expected one sentence a line");
    const auto text = hat::read_parallel(a, a);
    CHECK(text.size() == 3);
    CHECK(text.source == text.target);
}

TEST_CASE("Each pair is dropped for its first reason and the report says where") {
    const hat::ParallelText text{{"a b", "", "a", "a b c d e f", "a b", "a b", "x y", "same s", "a b"},
                                 {"c d", "x", " \u00A0 ", "a b c", "c d", "a b c d e", "x", "same s", "c d e"}};
    const auto out = hat::filter(text, {.min_length = 1, .max_length = 5, .max_ratio = 2.0, .drop_copies = true});
    CHECK(out.text.source == Lines{"a b", "x y", "a b"});
    CHECK(out.text.target == Lines{"c d", "x", "c d e"});
    using R = hat::FilterReport;
    CHECK(out.report.read == 9);
    CHECK(out.report.kept == 3);
    CHECK(out.report.dropped() == 6);
    CHECK(out.report.reasons[R::empty_side].first_lines == std::vector<std::size_t>{2, 3});
    CHECK(out.report.reasons[R::too_long].first_lines == std::vector<std::size_t>{4});
    CHECK(out.report.reasons[R::duplicate].first_lines == std::vector<std::size_t>{5});
    CHECK(out.report.reasons[R::ratio].first_lines == std::vector<std::size_t>{6});
    CHECK(out.report.reasons[R::copy].first_lines == std::vector<std::size_t>{8});
    CHECK(out.report.reasons[R::too_short].count == 0);
    CHECK(out.report.text() ==
          "kept 3 of 9 pairs\n"
          "dropped 2: empty side (line 2 3)\n"
          "dropped 1: too long (line 4)\n"
          "dropped 1: ratio (line 6)\n"
          "dropped 1: source = target (line 8)\n"
          "dropped 1: duplicate (line 5)\n");
}

TEST_CASE("The report keeps a few examples and all counts") {
    hat::ParallelText text;
    text.source.assign(20, "a");
    text.target.assign(20, "b");
    const auto out = hat::filter(text, {});
    CHECK(out.report.text() == "kept 1 of 20 pairs\ndropped 19: duplicate (line 2 3 4 5 6 ...)\n");
    CHECK(hat::filter(text, {.drop_duplicates = false}).report.kept == 20);
    CHECK(hat::filter(text, {.min_length = 2}).report.reasons[hat::FilterReport::too_short].count == 20);
}

TEST_CASE("The length is whatever the caller counts") {
    const hat::ParallelText text{{"abcd", "abcdef"}, {"abcd", "ab"}};
    const auto bytes = [](std::string_view s) { return s.size(); };
    CHECK(hat::filter(text, {.max_length = 5}, bytes).text.source == Lines{"abcd"});
    CHECK(hat::filter(text, {.max_ratio = 2.5}, bytes).text.source == Lines{"abcd"});
    CHECK(hat::filter(text, {.max_ratio = 3.0}, bytes).text.size() == 2);
    CHECK(hat::filter(text, {.max_ratio = std::numeric_limits<double>::infinity()}, bytes).text.size() == 2);
}

TEST_CASE("Options that no pair can satisfy are refused") {
    CHECK(message_of<hat::invalid_value>([] { hat::filter({}, {.min_length = 9, .max_length = 8}); }) ==
          "max_length = 8 is below min_length = 9: no pair would be kept");
    CHECK(message_of<hat::invalid_value>([] { hat::filter({}, {.max_length = 0}); }) ==
          "max_length = 0 is below min_length = 1: no pair would be kept");
    CHECK(message_of<hat::invalid_value>([] { hat::filter({}, {.max_ratio = 0.5}); }) ==
          "max_ratio = 0.500000: expected 1 or more");
    CHECK_THROWS_AS(hat::filter({}, {.max_ratio = std::numeric_limits<double>::quiet_NaN()}), hat::invalid_value);
}

TEST_CASE("Test sentences that stand in the training text are counted") {
    const hat::ParallelText train{{"a", "b", "c"}, {"A", "B", "C"}};
    const hat::ParallelText test{{"a", "b", "x", "y"}, {"A", "X", "C", "Y"}};
    const auto overlap = hat::count_overlap(train, test);
    CHECK(overlap.pairs == 1);
    CHECK(overlap.sources == 2);
    CHECK(overlap.targets == 2);
    CHECK(overlap.first_lines == std::vector<std::size_t>{1, 2, 3});
}

TEST_CASE("The sample corpus has its sizes and no held-out sentence in the training text") {
    const std::filesystem::path dir = std::filesystem::path(HAT_SOURCE_DIR) / "examples/data/en-de";
    const auto read = [&](const std::string& split) {
        return hat::read_parallel(dir / (split + ".en"), dir / (split + ".de"));
    };
    const auto train = read("train"), dev = read("dev"), test = read("test");
    CHECK(train.size() == 12000);
    CHECK(dev.size() == 500);
    CHECK(test.size() == 500);
    for (const auto& [a, b] : {std::pair{&train, &dev}, std::pair{&train, &test}, std::pair{&dev, &test}}) {
        const auto overlap = hat::count_overlap(*a, *b);
        CHECK(overlap.pairs == 0);
        if (a == &train) {
            CHECK(overlap.sources == 0);
            CHECK(overlap.targets == 0);
        }
    }
    CHECK(hat::filter(train, {}).report.kept == 12000);
    CHECK(std::filesystem::file_size(dir / "LICENSE-MPL-2.0.txt") > 10000);
}
