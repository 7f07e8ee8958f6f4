#include <doctest/doctest.h>

#include <hat/io/csv.hpp>
#include <limits>
#include <string>

#include "support/files.hpp"

namespace {
hat::CsvTable parse(const hat_test::TemporaryFolder& folder, const std::string& text) {
    hat::write_file_atomically(folder / "t.csv", text);
    return hat::CsvTable::load(folder / "t.csv");
}
std::string refuse(const hat_test::TemporaryFolder& folder, const std::string& text) {
    return hat_test::message_of<hat::bad_file>([&] { parse(folder, text); });
}
}  // namespace

TEST_CASE("plain, quoted, windows and unterminated lines") {
    const hat_test::TemporaryFolder folder;
    for (const char* text : {"a,b\n1,x\n-2.5e3,y\n", "a,b\r\n1,x\r\n-2.5e3,y\r\n",
                             "\xEF\xBB\xBF"
                             "a,b\n1,x\n-2.5e3,y",
                             "\"a\",b\n\"1\",\"x\"\n-2.5e3,\"y\"\n"}) {
        const auto t = parse(folder, text);
        CHECK(t.columns() == std::vector<std::string>{"a", "b"});
        REQUIRE(t.rows() == 2);
        CHECK(t.number(0, 0) == 1);
        CHECK(t.integer(0, 0) == 1);
        CHECK(t.number(1, 0) == -2500);
        CHECK(t.text(1, 1) == "y");
    }
    CHECK(parse(folder, "a,b\n").rows() == 0);
    CHECK(parse(folder, "a,b\n,\n").text(0, 1).empty());
}

TEST_CASE("any text and any number survive writing and reading") {
    const hat_test::TemporaryFolder folder;
    hat::CsvTable t({"name", "value"});
    const std::vector<std::string> names{"plain", "a,b", "say \"x\"", "two\nlines", "", "cr\rlf"};
    hat::CsvTable numbers({"v"});
    for (const auto& n : names) t.add({n, hat::number_text(0.1)});
    t.save(folder / "t.csv");
    const auto back = hat::CsvTable::load(folder / "t.csv");
    REQUIRE(back.rows() == names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
        CHECK(back.text(i, 0) == names[i]);
        CHECK(back.number(i, 1) == 0.1);
    }
    for (const double v : {1.0 / 3, 1e300, 5e-324, -0.0, 640.0})
        CHECK(parse(folder, "v\n" + hat::number_text(v) + "\n").number(0, 0) == v);
    CHECK(hat::number_text(640.0) == "640");
    CHECK_THROWS_WITH_AS(t.add({"x"}), "hat::CsvTable::add: the row has 1 cells, expected 2", hat::shape_mismatch);
}

TEST_CASE("broken tables are refused with file, line and column") {
    const hat_test::TemporaryFolder folder;
    const std::string file = (folder / "t.csv").string();
    CHECK(refuse(folder, "") == file + ": the file is empty, expected a line of column names");
    CHECK(refuse(folder, "a,b\n1,2\n1\n") == file + ":3: the line has 1 cells, expected 2");
    CHECK(refuse(folder, "a,b\n1,2,3\n") == file + ":2: the line has 3 cells, expected 2");
    CHECK(refuse(folder, "a,b\n1,2\n\n1,2\n") == file + ":3: the line is empty");
    CHECK(refuse(folder, "a,,c\n") == file + ":1: column 2 has no name");
    CHECK(refuse(folder, "a,b,a\n") == file + ":1: column \"a\" is there twice");
    CHECK(refuse(folder, "a,b\n1,\"2\n3,4\n") == file + ":2: column 2: the quote is never closed");
    CHECK(refuse(folder, "a,b\n1,2\"\n") == file + ":2: column 2 has a quote inside an unquoted cell");
    CHECK(refuse(folder, "a,b\n\"1\"x,2\n") == file + ":2: column 1 has text after its closing quote");
    CHECK(hat_test::contains(hat_test::message_of<hat::bad_file>([&] { hat::CsvTable::load(folder / "missing.csv"); }),
                             "missing.csv"));
    // lines are counted through quoted line breaks
    const auto t = parse(folder, "a,b\n\"1\n2\",3\nx,4\n");
    CHECK(hat_test::message_of<hat::bad_file>([&] { (void)t.number(1, 0); }) ==
          file + ":4: column 1 \"a\" is \"x\", expected a finite number");
    for (const char* cell : {"", "nan", "inf", "1e999", "1 ", " 1", "1.2.3", "0x10", "1;2"}) {
        const auto one = parse(folder, std::string("a,b\n0,\"") + cell + "\"\n");
        CHECK(hat_test::message_of<hat::bad_file>([&] { (void)one.number(0, 1); }) ==
              file + ":2: column 2 \"b\" is \"" + cell + "\", expected a finite number");
    }
    const auto negative = parse(folder, "a\n-1\n");
    CHECK(hat_test::message_of<hat::bad_file>([&] { (void)negative.integer(0, 0); }) ==
          file + ":2: column 1 \"a\" is \"-1\", expected a whole number of at least 0");
    CHECK(hat_test::message_of<hat::bad_file>([&] { (void)negative.require("b"); }) ==
          file + ":1: column \"b\" is missing, found: a");
}
