#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <hat/search/operators.hpp>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

namespace {
std::vector<std::size_t> select(const auto& selection, const std::vector<double>& losses, std::size_t keep,
                                std::uint64_t seed = 1) {
    std::vector<std::size_t> order(losses.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    hat::Rng rng(seed);
    selection(std::span<const double>(losses), std::span<std::size_t>(order), keep, rng);
    CHECK(std::set<std::size_t>(order.begin(), order.end()).size() == losses.size());  // still a permutation
    order.resize(std::min(keep, order.size()));
    return order;
}
}  // namespace

TEST_CASE("truncation keeps the best in order, ties by position") {
    CHECK(select(hat::Truncation{}, {3, 1, 2, 1, 0}, 3) == std::vector<std::size_t>{4, 1, 3});
    CHECK(select(hat::Truncation{}, {1, 1, 1, 1}, 2) == std::vector<std::size_t>{0, 1});
    CHECK(select(hat::Truncation{}, {2, 1}, 5) == std::vector<std::size_t>{1, 0});
}

TEST_CASE("a tournament prefers the better, sorts its survivors and keeps each once") {
    std::vector<double> losses(20);
    std::iota(losses.begin(), losses.end(), 0.0);
    std::vector<int> wins(20);
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
        const auto kept = select(hat::Tournament{3}, losses, 5, seed);
        CHECK(std::is_sorted(kept.begin(), kept.end()));
        CHECK(std::set<std::size_t>(kept.begin(), kept.end()).size() == 5);
        for (const std::size_t i : kept) ++wins[i];
    }
    CHECK(wins[0] > wins[10]);
    CHECK(wins[10] > wins[19]);
    CHECK(wins[0] > 1000);
    CHECK(select(hat::Tournament{1000}, losses, 3) == std::vector<std::size_t>{0, 1, 2});
}

TEST_CASE("mutation replaces each entry with its probability, within the cardinality") {
    using Entries = std::array<std::uint8_t, 4>;
    const Entries cardinality{1, 2, 3, 250};
    hat::Rng rng(7);
    std::array<int, 4> changed{};
    const int rounds = 20000;
    for (int r = 0; r < rounds; ++r) {
        Entries g{0, 0, 0, 0};
        hat::UniformMutation{0.3}(g, cardinality, rng);
        for (std::size_t i = 0; i < 4; ++i) {
            REQUIRE(g[i] < cardinality[i]);
            changed[i] += g[i] != 0;
        }
    }
    CHECK(changed[0] == 0);
    CHECK(changed[1] / double(rounds) == doctest::Approx(0.3 * 0.5).epsilon(0.06));
    CHECK(changed[2] / double(rounds) == doctest::Approx(0.3 * 2 / 3).epsilon(0.06));
    CHECK(changed[3] / double(rounds) == doctest::Approx(0.3 * 249 / 250).epsilon(0.06));

    std::vector<std::uint8_t> v{1, 1}, same = v;
    hat::UniformMutation{0.0}(v, std::vector<std::uint8_t>{9, 9}, rng);
    CHECK(v == same);
}

TEST_CASE("crossover takes every entry from one of the two parents") {
    const std::vector<std::uint8_t> a(1000, 1), b(1000, 2);
    hat::Rng rng(3);
    const auto child = hat::UniformCrossover{}(a, b, rng);
    const auto from_a = std::count(child.begin(), child.end(), 1);
    CHECK(from_a + std::count(child.begin(), child.end(), 2) == 1000);
    CHECK(from_a > 430);
    CHECK(from_a < 570);
    CHECK(hat::UniformCrossover{1.0}(a, b, rng) == a);
    CHECK(hat::UniformCrossover{0.0}(a, b, rng) == b);
}
