#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <hat/core/executor.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/parallel.hpp>
#include <limits>
#include <stdexcept>
#include <string>
#include <support/files.hpp>
#include <thread>
#include <vector>

TEST_CASE("a pool runs every index exactly once, again and again") {
    for (std::size_t threads : {1u, 2u, 5u}) {
        const hat::ThreadPool pool(threads);
        CHECK(pool.threads() == threads);
        for (std::size_t round = 0; round < 300; ++round) {
            std::vector<int> hits(round % 40);
            pool(hits.size(), [&](std::size_t i) { ++hits[i]; });
            for (int h : hits) CHECK(h == 1);
        }
    }
}

namespace {

/// Waits for `ready`, but not forever; whether it came.
template <class Ready>
bool in_time(const Ready& ready) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!ready())
        if (std::chrono::steady_clock::now() > end)
            return false;
        else
            std::this_thread::yield();
    return true;
}

}  // namespace

TEST_CASE("a thread that is slow is helped: every index runs once, whoever takes it") {
    const hat::ThreadPool pool(3);
    std::vector<int> hits(30);
    std::atomic<std::size_t> done{0};
    pool(hits.size(), [&](std::size_t i) {
        // whoever has the first index waits until all others have run: the rest of its part must be run by others
        if (i == 0) CHECK(in_time([&] { return done == hits.size() - 1; }));
        ++hits[i];
        ++done;
    });
    for (int h : hits) CHECK(h == 1);
}

TEST_CASE("each thread begins with the same part of every call") {
    const hat::ThreadPool pool(3);
    std::vector<std::thread::id> first(3), second(3);
    for (auto* who : {&first, &second}) {
        std::atomic<std::size_t> begun{0};
        pool(3, [&](std::size_t i) {
            ++begun;
            CHECK(in_time([&] { return begun == 3; }));  // so that each thread has one
            (*who)[i] = std::this_thread::get_id();
        });
    }
    CHECK(first[0] == std::this_thread::get_id());
    CHECK(first == second);
}

TEST_CASE("pieces cover everything, differ by one thing at most, and are as many for each thread") {
    for (std::size_t n : {1u, 7u, 100u, 4097u})
        for (std::size_t count : {1u, 2u, 7u}) {
            CHECK(hat::piece_begin(0, count, n) == 0);
            CHECK(hat::piece_begin(count, count, n) == n);
            for (std::size_t i = 0; i < count; ++i) {
                const std::size_t size = hat::piece_begin(i + 1, count, n) - hat::piece_begin(i, count, n);
                CHECK(size >= n / count);
                CHECK(size <= (n + count - 1) / count);
            }
        }
    for (const std::size_t threads : {1u, 2u, 5u})
        for (const std::size_t rows : {1u, 3u, 1000u}) {
            std::vector<int> hits(rows);
            hat::parallel_rows(hat::ThreadPool(threads), rows, 100, [&](std::size_t r, std::size_t last) {
                for (; r < last; ++r) ++hits[r];
            });
            CHECK(hits == std::vector<int>(rows, 1));
        }
    CHECK(hat::even_pieces(33, 2, 1000) == 34);
    CHECK(hat::even_pieces(5, 8, 6) == 6);
    CHECK(hat::even_pieces(5, static_cast<std::size_t>(-1), 6) == 6);
    CHECK(hat::even_pieces(5, 0, 6) == 5);
    CHECK(hat::threads_of(hat::Serial{}) == 1);
    CHECK(hat::threads_of(hat::ThreadPool(3)) == 3);
    CHECK(hat::threads_of([](std::size_t, auto&&) {}) == 1);  // an executor that does not say
}

TEST_CASE("nested calls and exceptions") {
    const hat::ThreadPool pool(3);
    std::vector<int> hits(100);
    pool(10, [&](std::size_t i) { pool(10, [&](std::size_t j) { ++hits[i * 10 + j]; }); });
    for (int h : hits) CHECK(h == 1);
    CHECK_THROWS_AS(pool(8,
                         [](std::size_t i) {
                             if (i == 5) throw std::runtime_error("no");
                         }),
                    std::runtime_error);
    int sum = 0;
    hat::Serial{}(4, [&](std::size_t i) { sum += static_cast<int>(i); });
    CHECK(sum == 6);
}

TEST_CASE("thread counts no machine has are refused with the number and the range") {
    const auto refused = [](std::size_t threads) {
        return hat_test::message_of<hat::invalid_value>([&] { const hat::ThreadPool pool(threads); });
    };
    CHECK(refused(1025) == "hat::ThreadPool: threads is 1025, expected 0 (one per hardware thread) to 1024");
    CHECK(refused(static_cast<std::size_t>(-1)) ==
          "hat::ThreadPool: threads is -1, expected 0 (one per hardware thread) to 1024");
}

// sanitizers need more address space than this leaves, and the emulators that run tests for ARM do not limit threads so
#if !defined(HAT_SANITIZED) && !defined(__arm__) && !defined(__aarch64__)
TEST_CASE("when the system runs out of threads, those that started end and an error says how many") {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const ::rlimit little{400U << 20, 400U << 20};  // bytes of addresses: some stacks, not 1000
        ::setrlimit(RLIMIT_AS, &little);
        const std::string message = hat_test::message_of<hat::invalid_value>([] { const hat::ThreadPool pool(1000); });
        ::_exit(message.starts_with("hat::ThreadPool: the system lets only ") &&
                        message.find(" of 1000 threads run: ") != std::string::npos
                    ? 0
                    : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
#endif
