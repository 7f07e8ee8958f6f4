#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <hat/search/state_file.hpp>
#include <string>

#include "search/toy.hpp"
#include "support/files.hpp"

namespace {

const hat::Budget budget{.latency = hat::Milliseconds(5.3),
                         .population = 20,
                         .parents = 5,
                         .mutations = 8,
                         .crossovers = 7,
                         .iterations = 5};

/// Rewrites a saved search with a valid checksum.
void edit(const std::filesystem::path& path, const std::function<void(hat::Json&)>& change) {
    hat::Json json = hat::load_json(path);
    json.erase("crc32");
    change(json);
    json["crc32"] = hat::crc32(json.dump());
    hat::save_json(path, json);
}

}  // namespace

TEST_CASE("a search saved and loaded after every generation equals the uninterrupted one") {
    const hat_test::TemporaryFolder folder;
    const auto path = folder / "search.json";
    const hat::Searcher searcher{toy::Policy{}};
    auto whole = searcher.start(budget, 5);
    auto resumed = whole;
    while (!searcher.finished(whole)) {
        searcher.step(whole);
        hat::save_search(path, searcher, resumed, "weights 1");
        resumed = hat::load_search(path, searcher, budget, 5, "weights 1");
        searcher.step(resumed);
        CHECK(resumed == whole);
        hat::save_search(path, searcher, resumed, "weights 1");
        CHECK(hat::load_search(path, searcher, budget, 5, "weights 1") == whole);
    }
    CHECK(resumed.history.back().seconds > 0);
    CHECK(hat::run_resumable(searcher, budget, 5, path, "weights 1").arch == searcher.run(budget, 5).arch);
}

TEST_CASE("a search killed at random moments ends with the same winner") {
    const hat_test::TemporaryFolder folder;
    const auto path = folder / "search.json";
    struct Slow {
        double operator()(const toy::Arch& a) const {
            ::usleep(300);
            return toy::Fitness{}(a);
        }
    };
    struct Policy : hat::SearchDefaults {
        toy::ArraySpace space;
        toy::Latency latency;
        Slow fitness;
    };
    const hat::Searcher searcher{Policy{}};
    const auto expected = hat::Searcher{toy::Policy{}}.run(budget, 7);
    hat::Rng rng(1);
    int killed = 0;
    for (int attempt = 0; attempt < 200; ++attempt) {
        const ::pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            hat::run_resumable(searcher, budget, 7, path);
            ::_exit(0);
        }
        ::usleep(static_cast<::useconds_t>(2000 + rng.below(10000 + 1000 * static_cast<std::uint64_t>(attempt))));
        ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
        if (WIFEXITED(status)) break;
        ++killed;
    }
    CHECK(killed > 1);
    const auto state = hat::load_search(path, searcher, budget, 7);
    CHECK(searcher.finished(state));
    CHECK(searcher.result(state).arch == expected.arch);
    CHECK(searcher.result(state).loss == expected.loss);
}

TEST_CASE("a search file that does not fit is refused by key, value and expectation") {
    const hat_test::TemporaryFolder folder;
    const auto path = folder / "search.json";
    const hat::Searcher searcher{toy::Policy{}};
    auto state = searcher.start(budget, 5);
    searcher.step(state);
    const auto fresh = [&] { hat::save_search(path, searcher, state, "w"); };
    const auto refuse = [&](const std::string& what, auto&&... with) {
        CHECK_THROWS_WITH_AS(hat::load_search(path, with...), doctest::Contains(what.c_str()), hat::bad_file);
        CHECK_THROWS_WITH_AS(hat::load_search(path, with...), doctest::Contains(path.c_str()), hat::bad_file);
    };
    refuse("No such file", searcher, budget, 5u, "w");
    fresh();
    refuse("key \"scores\" is \"w\", expected \"v\": the search was made with other weights", searcher, budget, 5u,
           "v");
    refuse("key \"seed\" is 5, expected 6", searcher, budget, 6u, "w");
    hat::Budget other = budget;
    other.latency = hat::Milliseconds(6);
    refuse("key \"budget.latency_ms\" is 5.3, expected 6.0", searcher, other, 5u, "w");
    other = budget;
    other.iterations = 9;
    refuse("key \"budget.iterations\" is 5, expected 9", searcher, other, 5u, "w");

    struct Wider : toy::ArraySpace {
        Arch decode(const Gene& g) const {
            Arch a = toy::ArraySpace::decode(g);
            if (g[2] == 2) a.decoder.ffn[0] = 999;
            return a;
        }
    };
    struct WiderPolicy : hat::SearchDefaults {
        Wider space;
        toy::Latency latency;
        toy::Fitness fitness;
    };
    refuse("the search was made with another space", hat::Searcher{WiderPolicy{}}, budget, 5u, "w");

    edit(path, [](hat::Json& j) { j["genes"][3][1] = 3; });
    refuse("key \"genes[3][1]\" is 3, expected less than 3", searcher, budget, 5u, "w");
    fresh();
    edit(path, [](hat::Json& j) { j["genes"][3].push_back(0); });
    refuse("key \"genes[3]\" has 9 elements, expected 8", searcher, budget, 5u, "w");
    fresh();
    edit(path, [](hat::Json& j) { j["losses"].erase(0); });
    refuse("key \"losses\" has 19 elements, expected 20", searcher, budget, 5u, "w");
    fresh();
    edit(path, [](hat::Json& j) { j["losses"][2] = "x"; });
    refuse("key \"losses[2]\" is \"x\", expected a number", searcher, budget, 5u, "w");
    fresh();
    edit(path, [](hat::Json& j) { j["population"][0] = 20; });
    refuse("key \"population[0]\" is 20, expected less than 20", searcher, budget, 5u, "w");
    fresh();
    edit(path, [](hat::Json& j) { j["history"] = hat::Json::array(); });
    refuse("key \"history\" does not fit the 20 networks", searcher, budget, 5u, "w");
    fresh();
    edit(path, [](hat::Json& j) { j["format"] = "other"; });
    refuse("key \"format\" is \"other\", expected \"hat-search\"", searcher, budget, 5u, "w");
    fresh();
    edit(path, [](hat::Json& j) { j["version"] = 99; });
    refuse("key \"version\" is 99, expected 1", searcher, budget, 5u, "w");
    fresh();
    edit(path, [](hat::Json& j) { j.erase("rng"); });
    refuse("key \"rng\" is missing", searcher, budget, 5u, "w");
}

TEST_CASE("a truncated or changed search file is refused") {
    const hat_test::TemporaryFolder folder;
    const auto path = folder / "search.json";
    const hat::Searcher searcher{toy::Policy{}};
    auto state = searcher.start(budget, 5);
    searcher.step(state);
    hat::save_search(path, searcher, state);
    const std::string good = hat::read_file(path);
    for (const std::size_t length : {std::size_t{0}, std::size_t{1}, good.size() / 2, good.size() - 3}) {
        hat::write_file_atomically(path, good.substr(0, length));
        CHECK_THROWS_WITH_AS(hat::load_search(path, searcher, budget, 5), doctest::Contains("not valid JSON"),
                             hat::bad_file);
    }
    std::string changed = good;
    const auto at = changed.find("\"losses\":[") + 10;
    changed[at] = changed[at] == '1' ? '2' : '1';
    hat::write_file_atomically(path, changed);
    CHECK_THROWS_WITH_AS(hat::load_search(path, searcher, budget, 5), doctest::Contains("the file is corrupt"),
                         hat::bad_file);
    // an unwritable place keeps the error's name
    CHECK_THROWS_AS(hat::save_search(folder / "missing" / "x.json", searcher, state), hat::bad_file);
}
