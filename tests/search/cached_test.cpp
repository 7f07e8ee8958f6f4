#include <doctest/doctest.h>

#include <atomic>
#include <hat/core/thread_pool.hpp>
#include <hat/search/cached.hpp>
#include <limits>
#include <string>

#include "search/toy.hpp"

namespace {
struct Counting {
    std::shared_ptr<std::atomic<int>> calls = std::make_shared<std::atomic<int>>(0);
    double operator()(const toy::Arch& a) const {
        ++*calls;
        return a.decoder.layers;
    }
};
struct Broken {
    double value;
    double operator()(const toy::Arch&) const { return value; }
};
}  // namespace

TEST_CASE("a network is asked for once, whatever its inactive layers say") {
    const hat::Cached<Counting> cached{Counting{}};
    const toy::ArraySpace space;
    toy::Arch a = space.decode({0, 1, 2, 1, 0, 0, 0, 0});
    CHECK(cached(a) == 2.0);
    CHECK(cached(a) == 2.0);
    a.decoder.ffn[2] = 77;  // layer 3 is not active
    CHECK(cached(a) == 2.0);
    CHECK(*cached.policy().calls == 1);
    CHECK(cached.hits() == 2);
    a.decoder.ffn[1] = 77;
    CHECK(cached(a) == 2.0);
    CHECK(*cached.policy().calls == 2);
    CHECK(cached.size() == 2);
    const auto copy = cached;
    CHECK(copy(a) == 2.0);
    CHECK(cached.hits() == 3);
}

TEST_CASE("latencies keep their unit") {
    const hat::Cached<toy::Latency> cached;
    const toy::Arch a = toy::ArraySpace{}.decode({});
    static_assert(std::same_as<decltype(cached(a)), hat::Milliseconds>);
    static_assert(hat::LatencyPolicy<hat::Cached<toy::Latency>, toy::Arch>);
    static_assert(!hat::FitnessPolicy<hat::Cached<toy::Latency>, toy::Arch>);
    static_assert(hat::FitnessPolicy<hat::Cached<toy::Fitness>, toy::Arch>);
    CHECK(cached(a) == toy::Latency{}(a));
    CHECK(cached(a) == toy::Latency{}(a));
    CHECK(cached.hits() == 1);
}

TEST_CASE("many threads may ask") {
    const hat::Cached<Counting> cached{Counting{}};
    const hat::ThreadPool pool(4);
    const toy::ArraySpace space;
    std::vector<double> out(1000);
    pool(out.size(), [&](std::size_t i) {
        out[i] = cached(space.decode({0, static_cast<std::uint8_t>(i % 3), 0, 0, 0, 0, 0, 0}));
    });
    for (std::size_t i = 0; i < out.size(); ++i) CHECK(out[i] == double(1 + i % 3));
    CHECK(cached.size() == 3);
    CHECK(static_cast<int>(cached.hits()) + *cached.policy().calls == 1000);
}

TEST_CASE("a score that is not finite is refused by name and not remembered") {
    const toy::Arch a = toy::ArraySpace{}.decode({});
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        const hat::Cached<Broken> cached{Broken{bad}};
        CHECK_THROWS_WITH_AS(cached(a), doctest::Contains(hat::detail::describe_network(a).c_str()), hat::not_finite);
        CHECK(cached.size() == 0);
    }
}

TEST_CASE("keys tell all networks of the space apart, and their hashes differ") {
    const toy::ArraySpace space;
    std::vector<std::size_t> hashes;
    std::vector<hat::ArchKey> keys;
    toy::ArraySpace::Gene g{};
    const auto n = space.cardinality();
    for (std::size_t i = 0; i < g.size();) {
        const auto key = hat::arch_key(space.decode(g));
        if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
            keys.push_back(key);
            hashes.push_back(hat::ArchKeyHash{}(key));
        }
        for (i = 0; i < g.size() && ++g[i] == n[i];) g[i++] = 0;
    }
    CHECK(keys.size() == 516);
    std::sort(hashes.begin(), hashes.end());
    CHECK(std::unique(hashes.begin(), hashes.end()) == hashes.end());
}
