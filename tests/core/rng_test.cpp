#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <hat/core/rng.hpp>
#include <vector>

TEST_CASE("equal seeds give equal streams, and a stored state continues") {
    hat::Rng a(7), b(7);
    for (int i = 0; i < 100; ++i) CHECK(a.next() == b.next());
    hat::Rng c(0);
    c.set_state(a.state());
    CHECK(c.next() == a.next());
    CHECK(hat::derive_seed(1, 2) != hat::derive_seed(2, 1));
}

TEST_CASE("below() is uniform over its range") {
    hat::Rng rng(3);
    std::array<int, 7> seen{};
    for (int i = 0; i < 70000; ++i) ++seen[static_cast<std::size_t>(rng.below(7))];
    for (int n : seen) {
        CHECK(n > 9500);
        CHECK(n < 10500);
    }
}

TEST_CASE("uniform() and normal() have the moments they should") {
    hat::Rng rng(5);
    double sum = 0, sum2 = 0, normal = 0, normal2 = 0;
    const int n = 200000;
    for (int i = 0; i < n; ++i) {
        const double u = rng.uniform(), z = rng.normal();
        CHECK((u >= 0 && u < 1));
        sum += u, sum2 += u * u, normal += z, normal2 += z * z;
    }
    CHECK(sum / n == doctest::Approx(0.5).epsilon(0.01));
    CHECK(sum2 / n == doctest::Approx(1.0 / 3).epsilon(0.01));
    CHECK(normal / n == doctest::Approx(0).epsilon(0.01));
    CHECK(normal2 / n == doctest::Approx(1).epsilon(0.02));
}

TEST_CASE("shuffle() is a permutation that depends on the seed alone") {
    std::array<int, 50> a{}, b{};
    for (int i = 0; i < 50; ++i) a[static_cast<std::size_t>(i)] = b[static_cast<std::size_t>(i)] = i;
    hat::Rng r1(9), r2(9);
    hat::shuffle<int>(a, r1);
    hat::shuffle<int>(b, r2);
    CHECK(a == b);
    std::vector<int> whole(50);
    for (int i = 0; i < 50; ++i) whole[static_cast<std::size_t>(i)] = i;
    hat::Rng r3(9);
    hat::shuffle(whole, r3);
    CHECK(std::equal(whole.begin(), whole.end(), a.begin(), a.end()));
    std::array<bool, 50> seen{};
    for (int v : a) seen[static_cast<std::size_t>(v)] = true;
    for (bool s : seen) CHECK(s);
    CHECK(a[0] + a[1] * 50 != 50);
}

TEST_CASE("numbers below a bound of any unsigned type are the same, of that type") {
    hat::Rng wide(7), narrow(7), small(7);
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t expected = wide.below(std::uint64_t{200});
        const std::uint32_t of_32_bits = narrow.below(std::uint32_t{200});
        const std::uint8_t of_8_bits = small.below(std::uint8_t{200});
        CHECK((of_32_bits == expected && of_8_bits == expected));
    }
}
