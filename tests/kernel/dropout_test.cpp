#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/dropout.hpp>
#include <kernel/sheet.hpp>

TEST_CASE("dropout keeps the stated share and scales it up") {
    constexpr std::uint32_t n = 200000;
    for (const double rate : {0.05, 0.1, 0.3, 0.5, 0.9})
        for (const std::uint64_t key : {0ULL, 1ULL, 0xFFFFFFFFFFFFFFFFULL, 0x123456789ABCDEFULL}) {
            const hat::Dropout d{rate, key};
            CHECK(d.active());
            double kept = 0, sum = 0;
            for (std::uint32_t i = 0; i < n; ++i) {
                kept += d.keep(i);
                sum += d.factor<double>(i);
            }
            const double deviation = std::sqrt(rate * (1 - rate) / n);
            CHECK(std::abs(kept / n - (1 - rate)) < 5 * deviation);
            CHECK(std::abs(sum / n - 1) < 5 * deviation / (1 - rate));
        }
}

TEST_CASE("masks of different keys, and neighbouring elements of one, are independent") {
    constexpr std::uint32_t n = 200000;
    const double rate = 0.3, expected = rate * rate, deviation = std::sqrt(expected * (1 - expected) / n);
    const auto both = [&](const hat::Dropout& a, const hat::Dropout& b, std::uint32_t shift) {
        double count = 0;
        for (std::uint32_t i = 0; i < n; ++i) count += !a.keep(i) && !b.keep(i + shift);
        return count / n;
    };
    const std::uint64_t keys[] = {1, 2, 1ULL << 32, 5 + (1ULL << 32), hat::derive_seed(1, 1), hat::derive_seed(1, 2)};
    for (const auto a : keys)
        for (const auto b : keys)
            if (a != b) CHECK(std::abs(both({rate, a}, {rate, b}, 0) - expected) < 5 * deviation);
    for (const auto a : keys)
        for (const std::uint32_t shift : {1U, 2U, 16U, 64U, 512U, 4096U})
            CHECK(std::abs(both({rate, a}, {rate, a}, shift) - expected) < 5 * deviation);
}

TEST_CASE("a mask is a function of element and key: any piece, any executor, forward as backward") {
    hat::Rng rng(1);
    const hat::Dropout d{0.25, hat::derive_seed(3, 4)};
    const hat_test::Sheet<float> x(40, 1000, 3, rng);
    hat_test::Sheet<float> serial = x, threaded = x;
    hat::apply_dropout<float>(hat::Serial{}, serial.view(), d);
    hat::apply_dropout<float>(hat::ThreadPool(5), threaded.view(), d);
    CHECK(serial == threaded);
    CHECK(serial.padding_untouched());
    for (std::size_t r = 0; r < x.rows; ++r)
        for (std::size_t c = 0; c < x.cols; ++c) {
            const auto i = static_cast<std::uint32_t>(r * x.cols + c);
            REQUIRE(serial(r, c) == x(r, c) * d.factor<float>(i));
            REQUIRE(d.factor<float>(i) == (d.keep(i) ? static_cast<float>(1 / 0.75) : 0.0F));
        }
    std::vector<float> piece(x.data.begin() + 10, x.data.begin() + 30);
    d.apply(piece.data(), piece.size(), 10);
    for (std::size_t i = 0; i < piece.size(); ++i) CHECK(piece[i] == serial(0, 10 + i));
}

TEST_CASE("rate 0 changes nothing") {
    hat::Rng rng(1);
    const hat_test::Sheet<float> x(3, 50, 0, rng);
    hat_test::Sheet<float> y = x;
    CHECK(!hat::Dropout{}.active());
    hat::apply_dropout<float>(hat::Serial{}, y.view(), {0.0, 9});
    CHECK(x == y);
}
