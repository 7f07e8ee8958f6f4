// Run by itself (one rank) and by mpiexec: every rank runs every test.
#include <doctest/doctest.h>

#include <atomic>
#include <hat/core/thread_pool.hpp>
#include <hat/distributed/mpi.hpp>
#include <hat/search/searcher.hpp>
#include <memory>
#include <stdexcept>
#include <string>

#include "search/toy.hpp"
#include "support/files.hpp"

using hat_test::contains;

namespace {

struct Session {
    Session() { MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level); }
    ~Session() { MPI_Finalize(); }
    int level = 0;
} const session;

const hat::Budget budget{.latency = hat::Milliseconds(5.5),
                         .population = 25,
                         .parents = 6,
                         .mutations = 9,
                         .crossovers = 9,
                         .iterations = 6};

template <class Latency, class Fitness>
struct Custom : hat::SearchDefaults {
    toy::ArraySpace space{};
    Latency latency;
    Fitness fitness;
};
template <class Latency, class Fitness>
auto search(Latency latency, Fitness fitness, std::uint64_t seed = 3) {
    const hat::Searcher searcher{Custom<Latency, Fitness>{{}, {}, std::move(latency), std::move(fitness)}};
    auto state = searcher.start(budget, seed);
    while (!searcher.finished(state)) searcher.step(state);
    return state;
}

/// Counts what this rank scores.
struct Counted {
    std::shared_ptr<std::atomic<int>> asked = std::make_shared<std::atomic<int>>(0);
    double operator()(const toy::Arch& a) const {
        ++*asked;
        return toy::Fitness{}(a);
    }
};
/// The same, by generations.
struct Batched : Counted {
    std::shared_ptr<int> batches = std::make_shared<int>(0);
    void batch(std::span<const toy::Arch> archs, std::span<double> losses) const {
        ++*batches;
        for (std::size_t i = 0; i < archs.size(); ++i) losses[i] = Counted::operator()(archs[i]);
    }
};

template <class Exception, class F>
std::string message(const F& f) {
    try {
        f();
    } catch (const Exception& e) {
        return e.what();
    } catch (...) {
        return "another exception";
    }
    return "no exception";
}

}  // namespace

TEST_CASE("any number of ranks makes the search of one process, and each network is scored on one rank") {
    const hat::MpiRanks ranks;
    const auto alone = search(toy::Latency{}, toy::Fitness{});
    const Counted counted;
    CHECK(search(toy::Latency{}, hat::MpiFitness(counted)) == alone);
    const Counted pooled;
    CHECK(search(toy::Latency{}, hat::MpiFitness(pooled, ranks, hat::ThreadPool(3))) == alone);
    const Batched batched;
    CHECK(search(toy::Latency{}, hat::MpiFitness(batched)) == alone);
    CHECK(*batched.batches == static_cast<int>(budget.iterations) + 1);
    for (const auto* count : {counted.asked.get(), pooled.asked.get(), batched.asked.get()}) {
        const double mine[] = {static_cast<double>(*count)};
        double sum = 0;
        for (const double n : ranks.gather(mine)) sum += n;
        CHECK(sum == static_cast<double>(alone.networks.size()));
        const double share = sum / static_cast<double>(ranks.count());
        CHECK(std::abs(mine[0] - share) <= static_cast<double>(budget.iterations) + 1);  // one per generation
    }
}

TEST_CASE("an exception on one rank is one on all, and they go on together") {
    const hat::MpiRanks ranks;
    const auto last = ranks.count() - 1;
    const auto failing = [&](const toy::Arch& a) {
        if (ranks.rank() == last) throw std::out_of_range("no weights here");
        return toy::Fitness{}(a);
    };
    const auto fail = [&] { search(toy::Latency{}, hat::MpiFitness(failing)); };
    if (ranks.rank() == last)
        CHECK(message<std::out_of_range>(fail) == "no weights here");
    else
        CHECK(message<hat::error>(fail) ==
              "hat::MpiFitness: scoring networks failed on rank " + std::to_string(last) + ": no weights here");
    const double mine[] = {static_cast<double>(ranks.rank())};
    CHECK(ranks.gather(mine).back() == static_cast<double>(last));

    const auto odd = [&](const toy::Arch&) -> double { throw 7; };
    const std::array<toy::Arch, 1> one{};
    const auto fail_oddly = [&] { hat::MpiFitness(odd).batch(std::span<const toy::Arch>(one), {}); };
    CHECK(message<hat::error>(fail_oddly) ==
          (ranks.rank() == 0 ? "another exception"
                             : "hat::MpiFitness: scoring networks failed on rank 0: an exception that is no "
                               "std::exception"));
}

TEST_CASE("ranks that search for themselves are told so") {
    const hat::MpiRanks ranks;
    const auto apart = [&] { search(toy::Latency{}, hat::MpiFitness(toy::Fitness{}), 3 + ranks.rank()); };
    CHECK(contains(message<hat::error>(apart), "different networks") == (ranks.count() > 1));
    CHECK(ranks.agree(~0ULL));
    CHECK(ranks.agree(ranks.rank() == 0 ? 1 : 2) == (ranks.count() == 1));
}

TEST_CASE("latencies that differ from rank to rank are those of rank 0") {
    const hat::MpiRanks ranks;
    int asked = 0;
    const auto measured = [&](const toy::Arch& a) {
        ++asked;
        return toy::Latency{}(a) * (1.0 + 0.3 * static_cast<double>(ranks.rank()));
    };
    CHECK(search(hat::MpiLatency(measured), hat::MpiFitness(toy::Fitness{})) == search(toy::Latency{}, toy::Fitness{}));
    CHECK((asked > 0) == (ranks.rank() == 0));

    const auto broken = [](const toy::Arch&) -> hat::Milliseconds { throw hat::bad_file("board", "does not answer"); };
    const auto fail = [&] { search(hat::MpiLatency(broken), hat::MpiFitness(toy::Fitness{})); };
    CHECK(message<hat::error>(fail) == (ranks.rank() == 0 ? "board: does not answer"
                                                          : "hat::MpiLatency: the latency policy failed on rank 0: "
                                                            "board: does not answer"));
    // another network than rank 0's
    const toy::ArraySpace space;
    auto gene = space.cardinality();
    for (auto& entry : gene) entry = ranks.rank() == 0 ? 0 : 1;
    const auto other = [&] { hat::MpiLatency{measured}(space.decode(gene)); };
    CHECK(contains(message<hat::error>(other), "another network than rank 0") == (ranks.rank() != 0));
}
