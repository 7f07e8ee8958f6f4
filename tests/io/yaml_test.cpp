#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <hat/io/json.hpp>
#include <hat/io/yaml.hpp>
#include <io/parse.hpp>
#include <support/files.hpp>

using hat_test::parse;

TEST_CASE("values of every type are read") {
    const auto c = parse(
        "# comment\n"
        "layers: 6\n"
        "lr: 1e-7\n"
        "rate: 0.375\n"
        "whole: 3\n"
        "share: True\n"
        "fp16: false\n"
        "arch: transformersuper_wmt_en_de\n"
        "choice: [640, 512]\n"
        "adam-betas: (0.9, 0.98)\n"
        "single: (4,)\n"
        "negative: [-1, 1, 2]\n"
        "text: '12'\n");
    CHECK(c.get<int>("layers") == 6);
    CHECK(c.get<std::size_t>("layers") == 6);
    CHECK(c.get<double>("lr") == 1e-7);
    CHECK(c.get<double>("rate") == 0.375);
    CHECK(c.get<double>("whole") == 3.0);
    CHECK(c.get<bool>("share"));
    CHECK(!c.get<bool>("fp16"));
    CHECK(c.get<std::string>("arch") == "transformersuper_wmt_en_de");
    CHECK(c.get<std::vector<int>>("choice") == std::vector<int>{640, 512});
    CHECK(c.get<std::vector<double>>("adam-betas") == std::vector<double>{0.9, 0.98});
    CHECK(c.get<std::vector<int>>("single") == std::vector<int>{4});
    CHECK(c.get<std::vector<int>>("negative") == std::vector<int>{-1, 1, 2});
    CHECK(c.get<std::string>("text") == "12");
    CHECK(c.get_or<int>("absent", 7) == 7);
    CHECK(!c.has("absent"));
    CHECK(c.keys().size() == 12);
    CHECK_NOTHROW(c.reject_unknown());
}

TEST_CASE("values of another type are errors that name file, line, key, value and what was expected") {
    const auto c = parse(
        "a: 1\nb: six\nc: '12'\nd: [1, x]\ne:\nf: {g: 1}\nh: 99999999999\ni: yes\nj: .inf\nk: (1, 2\nl: (1,,2)\n");
    const auto fails = [&](auto&& read, const char* message) {
        CHECK_THROWS_WITH_AS(read(), message, hat::bad_config);
    };
    fails([&] { (void)c.get<int>("b"); }, "a.yml:2: key 'b' is 'six', expected a whole number");
    fails([&] { (void)c.get<int>("c"); }, "a.yml:3: key 'c' is '12', expected a whole number");
    fails([&] { (void)c.get<std::vector<int>>("d"); }, "a.yml:4: key 'd[1]' is 'x', expected a whole number");
    fails([&] { (void)c.get<double>("e"); }, "a.yml:5: key 'e' is nothing, expected a number");
    fails([&] { (void)c.get<std::string>("f"); }, "a.yml:6: key 'f' is a map, expected text");
    fails([&] { (void)c.get<int>("h"); },
          "a.yml:7: key 'h' is '99999999999', expected a whole number that fits its type");
    fails([&] { (void)c.get<bool>("i"); }, "a.yml:8: key 'i' is 'yes', expected True or False");
    fails([&] { (void)c.get<double>("j"); }, "a.yml:9: key 'j' is '.inf', expected a number");
    fails([&] { (void)c.get<std::vector<int>>("k"); },
          "a.yml:10: key 'k' is '(1, 2', expected a list, each a whole number");
    fails([&] { (void)c.get<std::vector<int>>("l"); },
          "a.yml:11: key 'l' is '(1,,2)', expected a list, each a whole number");
    fails([&] { (void)c.get<std::vector<int>>("a"); }, "a.yml:1: key 'a' is '1', expected a list, each a whole number");
    fails([&] { (void)c.get<int>("qkv-dim"); }, "a.yml: key 'qkv-dim' is missing, expected a whole number");
    fails([&] { throw c.problem("a", "at least 2"); }, "a.yml:1: key 'a' is '1', expected at least 2");
    CHECK_THROWS_AS((void)parse("x: nan").get<double>("x"), hat::bad_config);
    CHECK_THROWS_AS((void)parse("x: -3").get<std::size_t>("x"), hat::bad_config);
    CHECK_THROWS_AS((void)parse("x: 3.5").get<int>("x"), hat::bad_config);
    CHECK_THROWS_AS((void)parse("x: 0x10").get<int>("x"), hat::bad_config);
}

TEST_CASE("unknown keys are errors with the closest known key") {
    const auto c = parse("qkv-dim: 512\nencoder-layer: 6\n");
    (void)c.get<int>("qkv-dim");
    (void)c.has("encoder-layers");
    CHECK_THROWS_WITH_AS(c.reject_unknown(), "a.yml:2: unknown key 'encoder-layer', did you mean 'encoder-layers'?",
                         hat::bad_config);
    const std::vector<std::string_view> also{"encoder-layer"};
    CHECK_NOTHROW(c.reject_unknown(also));
    const auto strange = parse("zzzzzz: 1\n");
    (void)strange.has("qkv-dim");
    CHECK_THROWS_WITH_AS(strange.reject_unknown(), "a.yml:1: unknown key 'zzzzzz'", hat::bad_config);
    CHECK_THROWS_WITH_AS(strange.reject_unknown({}, "one of a book"),
                         "a.yml:1: unknown key 'zzzzzz', expected one of a book", hat::bad_config);
}

TEST_CASE("duplicate keys are errors, also in sections") {
    CHECK_THROWS_WITH_AS(parse("a: 1\nb: 2\na: 1\n"), "a.yml:3: duplicate key 'a', first given in line 1",
                         hat::bad_config);
    CHECK_THROWS_WITH_AS(parse("s:\n  a: 1\n  a: 2\n"), "a.yml:3: duplicate key 'a', first given in line 2",
                         hat::bad_config);
}

TEST_CASE("later files win key by key, and sections are merged") {
    const hat_test::TemporaryFolder folder;
    const std::string one = folder / "one.yml", two = folder / "two.yml";
    std::ofstream(one) << "a: 1\nb: 2\ntrain:\n  lr: 0.1\n  updates: 5\n";
    std::ofstream(two) << "b: 3\n\ntrain:\n  lr: fast\n";
    const auto c = hat::YamlConfig::load({one, two});
    CHECK(c.get<int>("a") == 1);
    CHECK(c.get<int>("b") == 3);
    const auto train = c.section("train");
    CHECK(train.get<int>("updates") == 5);
    CHECK_THROWS_WITH_AS((void)train.get<double>("lr"),
                         (two + ":4: key 'train.lr' is 'fast', expected a number").c_str(), hat::bad_config);
    CHECK_NOTHROW(train.reject_unknown());
    CHECK_THROWS_WITH_AS((void)train.get<int>("seed"),
                         (one + ", " + two + ": key 'train.seed' is missing, expected a whole number").c_str(),
                         hat::bad_config);
    CHECK(c.section("nothing").keys().empty());
    CHECK_THROWS_WITH_AS(c.section("a"), (one + ":1: key 'a' is '1', expected a section of keys and values").c_str(),
                         hat::bad_config);
    CHECK_THROWS_WITH_AS(hat::YamlConfig::load({one}).section("train").reject_unknown(),
                         (one + ":4: unknown key 'train.lr'").c_str(), hat::bad_config);
}

TEST_CASE("what is no configuration file is refused") {
    CHECK_THROWS_WITH_AS(hat::YamlConfig::load({"/no/such/file.yml"}),
                         "/no/such/file.yml: cannot be read: No such file or directory", hat::bad_file);
    const std::string folder = std::filesystem::temp_directory_path().string();
    CHECK_THROWS_WITH_AS(hat::YamlConfig::load({folder}), (folder + ": cannot be read: Is a directory").c_str(),
                         hat::bad_file);
    CHECK_THROWS_WITH_AS(parse("- 1\n- 2\n"), "a.yml:1: expected a map of keys to values, found a list of 2",
                         hat::bad_file);
    CHECK_THROWS_WITH_AS(parse("word\n"), "a.yml:1: expected a map of keys to values, found 'word'", hat::bad_file);
    CHECK_THROWS_WITH_AS(parse("a: 1\n---\nb: 2\n"), "a.yml: has several YAML documents, expected one", hat::bad_file);
    CHECK_THROWS_WITH_AS(parse("a: 1\nb: [1, 2\nc: }\n"), doctest::Contains("a.yml:3: not valid YAML: "),
                         hat::bad_file);
    CHECK_THROWS_WITH_AS(parse("[1, 2]: 3\n"), "a.yml:1: a key must be a plain word", hat::bad_file);
    // aliases that would unfold to millions of values
    std::string bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
    for (int i = 1; i < 8; ++i) {
        const std::string p = "*a" + std::to_string(i - 1), n = "a" + std::to_string(i);
        bomb += n + ": &" + n + " [";
        for (int j = 0; j < 10; ++j) bomb += (j ? "," : "") + p;
        bomb += "]\n";
    }
    CHECK_THROWS_WITH_AS(parse(bomb), doctest::Contains("too large or too deep for a configuration"), hat::bad_file);
    // an empty file has no keys
    CHECK(parse("").keys().empty());
    CHECK(parse("# only a comment\n").keys().empty());
}

TEST_CASE("closest_match finds small slips only") {
    const std::vector<std::string> known{"population-size", "parent-size", "lr"};
    CHECK(hat::closest_match("populaton-size", known) == "population-size");
    CHECK(hat::closest_match("lrs", known) == "lr");
    CHECK(hat::closest_match("vocabulary", known).empty());
    CHECK(hat::closest_match("x", known).empty());
    CHECK(hat::closest_match("lr", {}).empty());
}

TEST_CASE("values and keys of any length make short messages") {
    const std::string endless(3'000'000, 'x');
    const auto message = [](const std::string& text) {
        return hat_test::message_of<hat::error>([&] {
            const auto c = parse(text);
            c.get_or<int>("a", 0);
            c.reject_unknown();
        });
    };
    const std::string cut = std::string(80, 'x') + "... (3000000 bytes)'";
    CHECK(message(endless) == "a.yml:1: expected a map of keys to values, found '" + cut);
    CHECK(message("a: " + endless) == "a.yml:1: key 'a' is '" + cut + ", expected a whole number");
    CHECK(message("\"" + endless + "\": 1").size() < 300);
    CHECK(message("\"" + endless + "\": 1\n\"" + endless + "\": 2").size() < 300);
    CHECK(message("a: [" + endless).size() < 300);
    CHECK(message("a: !" + endless + " [").size() < 300);
    CHECK(hat::excerpt("\xC3\xA4\xC3\xA4", 3) == "\xC3\xA4... (4 bytes)");  // between characters
    CHECK(hat_test::message_of<hat::bad_file>([&] { hat::parse_json("[" + endless, "b"); }).size() < 500);
    CHECK(hat_test::message_of<hat::bad_file>([&] { hat::parse_json("[\"" + endless, "b"); }).size() < 500);
}
