#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <hat/core/executor.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/search/searcher.hpp>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "search/toy.hpp"

namespace {

const hat::Budget small{.latency = hat::Milliseconds(5.5),
                        .population = 24,
                        .parents = 6,
                        .mutations = 9,
                        .crossovers = 9,
                        .iterations = 6};

/// The toy policy with everything exchangeable.
template <class Latency, class Fitness, class Executor = hat::Serial, class Space = toy::ArraySpace>
struct Custom {
    Space space{};
    Latency latency{};
    Fitness fitness{};
    hat::Truncation selection{};
    hat::UniformMutation mutation{};
    hat::UniformCrossover crossover{};
    Executor executor{};
    std::function<void(const hat::Progress&)> observer{};
};

struct Count {
    std::shared_ptr<std::map<hat::ArchKey, int>> asked = std::make_shared<std::map<hat::ArchKey, int>>();
    double operator()(const toy::Arch& a) const {
        ++(*asked)[hat::arch_key(a)];
        return toy::Fitness{}(a);
    }
};

}  // namespace

TEST_CASE("the defaults are the paper's") {
    const hat::Budget b;
    CHECK((b.population == 125 && b.parents == 25 && b.mutations == 50 && b.crossovers == 50 && b.iterations == 30));
    CHECK(hat::SearchDefaults{}.mutation.probability == 0.3);
}

TEST_CASE("the search finds the true optimum under the limit in most seeds") {
    const hat::Searcher searcher{toy::Policy{}};
    for (const double limit : {3.0, 5.5, 7.0}) {
        const double best = toy::optimum(hat::Milliseconds(limit));
        int hits = 0;
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            const auto found = searcher.run({.latency = hat::Milliseconds(limit),
                                             .population = 40,
                                             .parents = 10,
                                             .mutations = 15,
                                             .crossovers = 15,
                                             .iterations = 10},
                                            seed);
            CHECK(found.latency.count() <= limit);
            CHECK(found.loss == toy::Fitness{}(found.arch));
            CHECK(found.latency == toy::Latency{}(found.arch));
            CHECK(found.loss >= best);
            hits += found.loss == best;
        }
        CAPTURE(limit);
        CHECK(hits >= 16);
    }
}

TEST_CASE("the same seed gives the same search, another seed another one") {
    const hat::Searcher searcher{toy::Policy{}};
    const auto all = [&](std::uint64_t seed) {
        auto state = searcher.start(small, seed);
        while (!searcher.finished(state)) searcher.step(state);
        return state;
    };
    const auto a = all(3);
    CHECK(a == all(3));
    CHECK(!(a.networks == all(4).networks));
    CHECK(a.history.size() == small.iterations + 1);
    searcher.run(small, 3);  // does not disturb
    CHECK(a == all(3));
}

TEST_CASE("one thread and four give the same search") {
    using Pooled = Custom<toy::Latency, toy::Fitness, hat::ThreadPool>;
    const hat::Searcher one{Pooled{.executor = hat::ThreadPool(1)}}, four{Pooled{.executor = hat::ThreadPool(4)}};
    auto a = one.start(small, 9), b = four.start(small, 9);
    while (!one.finished(a)) {
        one.step(a);
        four.step(b);
        CHECK(a == b);
    }
}

TEST_CASE("array and vector genes give the same search") {
    const hat::Searcher a{Custom<toy::Latency, toy::Fitness, hat::Serial, toy::ArraySpace>{}};
    const hat::Searcher b{Custom<toy::Latency, toy::Fitness, hat::Serial, toy::VectorSpace>{}};
    CHECK(a.run(small, 5).arch == b.run(small, 5).arch);
}

TEST_CASE("a search continued from any generation equals the uninterrupted one") {
    const hat::Searcher searcher{toy::Policy{}};
    std::vector<decltype(searcher)::State> states{searcher.start(small, 11)};
    while (!searcher.finished(states.back())) {
        states.push_back(states.back());
        searcher.step(states.back());
    }
    for (auto state : states) {
        const hat::Searcher fresh{toy::Policy{}};
        while (!fresh.finished(state)) fresh.step(state);
        CHECK(state == states.back());
    }
    auto done = states.back();
    searcher.step(done);  // nothing left to do
    CHECK(done == states.back());
}

TEST_CASE("each network is scored once, only under the limit, and the last generation too") {
    Custom<toy::Latency, Count> policy;
    const hat::Searcher searcher{policy};
    auto state = searcher.start(small, 2);
    while (!searcher.finished(state)) searcher.step(state);
    CHECK(policy.fitness.asked->size() == state.networks.size());
    for (const auto& [key, times] : *policy.fitness.asked) CHECK(times == 1);
    for (const auto& n : state.networks) {
        CHECK(std::isfinite(n.loss));
        CHECK(n.latency <= small.latency);
    }
    CHECK(state.history.back().evaluations == state.networks.size());
    CHECK(state.population.size() == small.population);
    std::size_t members = small.population + small.iterations * small.population;
    CHECK(state.history.back().cache_hits + state.history.back().evaluations == members);
    // the winner is the best ever seen
    for (const auto& n : state.networks) CHECK(searcher.result(state).loss <= n.loss);
}

TEST_CASE("a generation holds no network twice while the space has others") {
    const hat::Searcher searcher{toy::Policy{}};
    auto state = searcher.start(small, 21);
    while (!searcher.finished(state)) {
        searcher.step(state);
        auto sorted = state.population;
        std::sort(sorted.begin(), sorted.end());
        CHECK(std::unique(sorted.begin(), sorted.end()) == sorted.end());
    }
}

TEST_CASE("a limit that few networks meet repeats them instead of looping for ever") {
    const hat::Searcher searcher{toy::Policy{}};
    hat::Budget tight = small;
    tight.latency = hat::Milliseconds(2.0);  // only the smallest width, depth and ffn: two networks (heads)
    auto state = searcher.start(tight, 1);
    while (!searcher.finished(state)) searcher.step(state);
    CHECK(state.networks.size() == 2);
    CHECK(state.population.size() == small.population);
    CHECK(searcher.result(state).loss == toy::optimum(tight.latency));
}

TEST_CASE("a limit that random draws never meet is reached by descent") {
    const hat::Searcher searcher{toy::Policy{}};
    hat::Budget tight = small;
    tight.latency = hat::Milliseconds(2.0);
    tight.max_draws = 1;
    const auto found = searcher.run(tight, 1);
    CHECK(found.latency.count() == 2.0);
}

TEST_CASE("an infeasible limit names itself and the smallest reachable latency") {
    const hat::Searcher searcher{toy::Policy{}};
    hat::Budget tight = small;
    tight.latency = hat::Milliseconds(1.9375);
    std::string message;
    try {
        searcher.run(tight, 1);
    } catch (const hat::infeasible& e) {
        message = e.what();
    }
    CHECK(message.find("limit of 1.9375 ms") != std::string::npos);
    CHECK(message.find("smallest reachable latency is 2 ms") != std::string::npos);
    const auto smallest = searcher.smallest({1, 2, 2, 2, 2, 1, 1, 1});
    CHECK(smallest.latency.count() == 2.0);
    CHECK(message.find(hat::detail::describe_network(smallest.arch)) != std::string::npos);
}

TEST_CASE("the observer hears of every generation") {
    Custom<toy::Latency, toy::Fitness> policy;
    std::vector<hat::Progress> heard;
    policy.observer = [&](const hat::Progress& p) { heard.push_back(p); };
    const hat::Searcher searcher{policy};
    const auto found = searcher.run(small, 8);
    REQUIRE(heard.size() == small.iterations + 1);
    for (std::size_t i = 0; i < heard.size(); ++i) {
        CHECK(heard[i].iteration == i);
        CHECK(heard[i].iterations == small.iterations);
        CHECK(heard[i].mean_loss >= heard[i].best_loss);
        CHECK(heard[i].draws >= small.population);
        CHECK(heard[i].best_latency <= small.latency);
        if (i > 0) {
            CHECK(heard[i].best_loss <= heard[i - 1].best_loss);
            CHECK(heard[i].evaluations >= heard[i - 1].evaluations);
            CHECK(heard[i].seconds >= heard[i - 1].seconds);
        }
    }
    CHECK(heard.back().best_loss == found.loss);
    CHECK(heard.back().best_latency == found.latency);
}

TEST_CASE("an observer that throws leaves a complete generation behind") {
    Custom<toy::Latency, toy::Fitness> policy;
    policy.observer = [](const hat::Progress& p) {
        if (p.iteration == 2) throw hat::interrupted("stop");
    };
    const hat::Searcher searcher{policy};
    auto state = searcher.start(small, 8);
    CHECK_THROWS_AS(while (!searcher.finished(state)) searcher.step(state), hat::interrupted);
    CHECK(state.history.size() == 3);
    while (!searcher.finished(state)) searcher.step(state);
    policy.observer = nullptr;
    CHECK(searcher.result(state).arch == hat::Searcher{policy}.run(small, 8).arch);
}

namespace {
struct Batched {
    std::shared_ptr<int> calls = std::make_shared<int>(0);
    double operator()(const toy::Arch&) const { throw std::logic_error("the batch must be used"); }
    void batch(std::span<const toy::Arch> archs, std::span<double> losses) const {
        ++*calls;
        for (std::size_t i = 0; i < archs.size(); ++i) losses[i] = toy::Fitness{}(archs[i]);
    }
};
}  // namespace

TEST_CASE("a fitness that scores a whole generation at once is asked that way") {
    Custom<toy::Latency, Batched> policy;
    const hat::Searcher batched{policy};
    CHECK(batched.run(small, 4).arch == hat::Searcher{toy::Policy{}}.run(small, 4).arch);
    CHECK(*policy.fitness.calls <= static_cast<int>(small.iterations) + 1);
    CHECK(*policy.fitness.calls > 1);
}

namespace {
struct SometimesNaN {
    double operator()(const toy::Arch& a) const {
        return a.decoder.layers == 2 ? std::numeric_limits<double>::quiet_NaN() : 1.0;
    }
};
struct NegativeLatency {  // a line that leaves the range it was fitted on
    hat::Milliseconds operator()(const toy::Arch& a) const { return toy::Latency{}(a)-hat::Milliseconds(3); }
};
struct InfiniteLatency {
    hat::Milliseconds operator()(const toy::Arch&) const {
        return hat::Milliseconds(std::numeric_limits<double>::infinity());
    }
};
struct FailsLater {
    std::shared_ptr<int> left = std::make_shared<int>(40);
    double operator()(const toy::Arch& a) const {
        if (--*left == 0) throw std::runtime_error("out of memory");
        return toy::Fitness{}(a);
    }
};
}  // namespace

TEST_CASE("scores and latencies that are not finite are refused with the network's name") {
    const hat::Searcher nan{Custom<toy::Latency, SometimesNaN>{}};
    auto state = nan.start(small, 1);
    const auto before = state;
    CHECK_THROWS_WITH_AS(nan.step(state), doctest::Contains("fitness policy returned"), hat::not_finite);
    CHECK(state == before);
    const hat::Searcher negative{Custom<NegativeLatency, toy::Fitness>{}};
    CHECK_THROWS_WITH_AS(negative.run(small, 1), doctest::Contains("latency policy returned -0.5 ms for the network"),
                         hat::invalid_value);
    const hat::Searcher inf{Custom<InfiniteLatency, toy::Fitness>{}};
    CHECK_THROWS_WITH_AS(inf.run(small, 1), doctest::Contains("latency policy returned inf for the network"),
                         hat::not_finite);
}

TEST_CASE("a policy that throws in the middle leaves the state as it was") {
    Custom<toy::Latency, FailsLater> policy;
    const hat::Searcher searcher{policy};
    auto state = searcher.start(small, 8);
    CHECK_THROWS_WITH(while (!searcher.finished(state)) searcher.step(state), "out of memory");
    CHECK(state.history.size() >= 1);
    while (!searcher.finished(state)) searcher.step(state);
    CHECK(searcher.result(state).arch == hat::Searcher{toy::Policy{}}.run(small, 8).arch);
}

TEST_CASE("impossible budgets are refused by name") {
    const hat::Searcher searcher{toy::Policy{}};
    const auto with = [](auto change) {
        hat::Budget b = small;
        change(b);
        return b;
    };
    const auto refuse = [&](const hat::Budget& b, const char* what) {
        CHECK_THROWS_WITH_AS(searcher.run(b, 1), doctest::Contains(what), hat::invalid_value);
    };
    refuse(with([](auto& b) { b.latency = {}; }), "the latency limit is 0 ms");
    refuse(with([](auto& b) { b.latency = hat::Milliseconds(std::nan("")); }), "the latency limit is nan ms");
    refuse(with([](auto& b) { b.population = 0; }), "population is 0");
    refuse(with([](auto& b) { b.parents = 0; }), "parents is 0");
    refuse(with([](auto& b) { b.parents = 25; }), "parents is 25, more than the population of 24");
    refuse(with([](auto& b) { b.parents = 1; }), "crossovers need at least 2 parents");
    refuse(with([](auto& b) { b.mutations = b.crossovers = 0; }), "mutations and crossovers are both 0");
    refuse(with([](auto& b) { b.max_draws = 0; }), "max_draws is 0");
    CHECK_THROWS_WITH_AS(searcher.result(searcher.start(small, 1)), doctest::Contains("has not made a step"),
                         hat::invalid_value);
}

TEST_CASE("a space with an axis without choices is refused") {
    struct Empty : toy::ArraySpace {
        Gene cardinality() const { return {2, 3, 0, 3, 3, 2, 2, 2}; }
    };
    const hat::Searcher searcher{Custom<toy::Latency, toy::Fitness, hat::Serial, Empty>{}};
    CHECK_THROWS_WITH_AS(searcher.run(small, 1), "hat::Searcher: entry 2 of the gene has no choice",
                         hat::invalid_value);
}

TEST_CASE("the winner is measured again") {
    const hat::Searcher searcher{toy::Policy{}};
    const auto found = searcher.run(small, 1);
    const auto slow = [](const toy::Arch& a) { return 2 * toy::Latency{}(a); };
    const auto again = hat::remeasure(found, slow, small.latency);
    CHECK(again.limit == small.latency);
    CHECK(again.predicted == found.latency);
    CHECK(again.measured == 2 * found.latency);
    CHECK(!again.within());
    CHECK(hat::remeasure(found, toy::Latency{}, small.latency).within());
    CHECK_THROWS_AS(hat::remeasure(found, InfiniteLatency{}, small.latency), hat::not_finite);
}
