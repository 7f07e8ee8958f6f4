#include <doctest/doctest.h>

#include <hat/io/json.hpp>
#include <support/files.hpp>

using hat_test::contains;
using hat_test::message_of;

TEST_CASE("JSON goes to a file and back, numbers to the last bit") {
    const hat_test::TemporaryFolder folder;
    const hat::Json json = {{"a", 0.1}, {"b", {1, 2, 3}}, {"c", 18446744073709551615ULL}, {"d", 1e-310}};
    hat::save_json(folder / "a.json", json);
    CHECK(hat::load_json(folder / "a.json") == json);
    CHECK_THROWS_AS(hat::save_json(folder / "a.json", hat::Json("\xff")), hat::bad_file);
    CHECK(hat::load_json(folder / "a.json") == json);
}

TEST_CASE("a syntax error is reported with file, line and column") {
    const std::string message =
        message_of<hat::bad_file>([] { hat::parse_json("{\n  \"a\": 1,\n  \"b\" 2\n}", "x.json"); });
    CHECK(contains(message, "x.json:3: column 7: not valid JSON"));
    CHECK(contains(message_of<hat::bad_file>([] { hat::parse_json("", "x.json"); }), "x.json:1: column 1"));
    CHECK(contains(message_of<hat::bad_file>([] { hat::parse_json("{} x", "x.json"); }), "x.json:1: column 4"));
    CHECK(contains(message_of<hat::bad_file>([] { hat::parse_json("[1e999]", "x.json"); }), "x.json: not valid JSON"));
}

TEST_CASE("a key given twice is an error, in nested objects too") {
    CHECK(message_of<hat::bad_file>([] { hat::parse_json(R"({"a": {"b": 1, "c": 2, "b": 3}})", "x.json"); }) ==
          "x.json: key \"b\" is given twice in one object");
    CHECK(hat::parse_json(R"([{"b": 1}, {"b": {"b": 3}}])", "x.json").size() == 2);
}

TEST_CASE("getters are strict and name the key path") {
    const hat::Json json = {{"a", {{"n", 300}, {"list", {1, 2, "x"}}, {"f", 1.5}, {"b", true}, {"neg", -1}}}};
    const hat::JsonView view(json, "x.json");
    CHECK(view["a"].get<int>("n") == 300);
    CHECK(view["a"].get<double>("n") == 300.0);
    CHECK(view["a"].get<bool>("b"));
    CHECK(view["a"].get_or<int>("absent", 7) == 7);
    const auto message = [&](auto f) { return message_of<hat::bad_file>(f); };
    CHECK(message([&] { view["a"].get<int>("m"); }) == "x.json: key \"a.m\" is missing");
    CHECK(message([&] { view["a"].get<std::uint8_t>("n"); }) == "x.json: key \"a.n\" is 300, expected 0 to 255");
    CHECK(message([&] { view["a"].get<std::size_t>("neg"); }).find("key \"a.neg\" is -1, expected 0 to") !=
          std::string::npos);
    CHECK(message([&] { view["a"].get<int>("f"); }) == "x.json: key \"a.f\" is 1.5, expected an integer");
    CHECK(message([&] { view["a"].get<bool>("n"); }) == "x.json: key \"a.n\" is 300, expected true or false");
    CHECK(message([&] { view["a"].get<std::string>("n"); }) == "x.json: key \"a.n\" is 300, expected a string");
    CHECK(message([&] { view["a"].get<double>("b"); }) == "x.json: key \"a.b\" is true, expected a number");
    CHECK(message([&] { view["a"].get<std::vector<int>>("list"); }) ==
          "x.json: key \"a.list[2]\" is \"x\", expected an integer");
    CHECK(message([&] { view["a"]["n"]["z"]; }) == "x.json: key \"a.n\" is 300, expected an object");
    CHECK(message([&] { view["a"]["list"][3]; }) == "x.json: key \"a.list\" has 3 elements, expected more than 3");
    CHECK(message([&] {
              view["a"].require_only({"n", "list", "f", "b"});
          }) == "x.json: key \"a.neg\" is unknown, expected one of: n, list, f, b");
}
