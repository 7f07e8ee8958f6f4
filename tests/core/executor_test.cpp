#include <doctest/doctest.h>

#include <hat/core/executor.hpp>
#include <stdexcept>
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

TEST_CASE("nested calls and exceptions") {
    const hat::ThreadPool pool(3);
    std::vector<int> hits(100);
    pool(10, [&](std::size_t i) { pool(10, [&](std::size_t j) { ++hits[i * 10 + j]; }); });
    for (int h : hits) CHECK(h == 1);
    CHECK_THROWS_AS(pool(8, [](std::size_t i) { if (i == 5) throw std::runtime_error("no"); }), std::runtime_error);
    int sum = 0;
    hat::Serial{}(4, [&](std::size_t i) { sum += static_cast<int>(i); });
    CHECK(sum == 6);
}
