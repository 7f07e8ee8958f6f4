#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <hat/space/count.hpp>

TEST_CASE("counts print exactly, below and above 2^64") {
    CHECK(hat::BigCount(0).text() == "0");
    CHECK(hat::BigCount(18446744073709551615ULL).text() == "18446744073709551615");
    hat::BigCount n(1);
    for (int i = 0; i < 30; ++i) n *= 1000000007U;  // by an independent big-integer program
    CHECK(n.text() ==
          "1000000210000021315001392580065799407395098411857036651568873140948470270116877023201349757385061479"
          "7691266766197731868514233776351907404467040525565787688645653191403908465164280611972449312753862003"
          "45185547682050656074431240142354165860103635721843167095820468087863249");
    CHECK(n.value() == doctest::Approx(1.0000002100000214e+270));
}

TEST_CASE("counts add, subtract and compare across limbs") {
    hat::BigCount a(0xFFFFFFFFULL), b(0xFFFFFFFFFFFFFFFFULL);
    CHECK(a < b);
    a += hat::BigCount(1);
    CHECK(a == hat::BigCount(0x100000000ULL));
    b += a;
    CHECK(b.text() == "18446744078004518911");
    b -= hat::BigCount(0xFFFFFFFFFFFFFFFFULL);
    CHECK(b == a);
    b -= a;
    CHECK(b == hat::BigCount(0));
    CHECK(b.text() == "0");
    a *= 0;
    CHECK(a == b);
}

TEST_CASE("drawing below a count is uniform and never reaches it") {
    hat::Rng rng(3);
    std::array<int, 5> seen{};
    for (int i = 0; i < 50000; ++i) {
        const auto x = hat::BigCount::random_below(5, rng);
        REQUIRE(x < hat::BigCount(5));
        ++seen[static_cast<std::size_t>(x.value())];
    }
    for (const int n : seen) CHECK(std::abs(n - 10000) < 500);
    // more than 64 bits: the mean of many draws is half the bound
    hat::BigCount big(1);
    for (int i = 0; i < 5; ++i) big *= 1000000007U;
    double sum = 0;
    for (int i = 0; i < 20000; ++i) sum += hat::BigCount::random_below(big, rng).value();
    CHECK(sum / 20000 / big.value() == doctest::Approx(0.5).epsilon(0.02));
}
