#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <hat/core/rng.hpp>
#include <hat/quant/kmeans.hpp>
#include <limits>
#include <support/files.hpp>

namespace {

double error_of(const std::vector<float>& values, const std::vector<float>& centroids) {
    double sum = 0;
    for (const float v : values) {
        double best = std::numeric_limits<double>::infinity();
        for (const float c : centroids)
            best = std::min(best, std::pow(static_cast<double>(v) - static_cast<double>(c), 2));
        sum += best;
    }
    return sum;
}

/// The least error over all ways to cut the sorted values into k segments.
double brute_force(const std::vector<float>& sorted, std::size_t first, std::size_t k) {
    const auto cost = [&](std::size_t a, std::size_t b) {
        double mean = 0, sum = 0;
        for (std::size_t i = a; i < b; ++i) mean += static_cast<double>(sorted[i]) / static_cast<double>(b - a);
        for (std::size_t i = a; i < b; ++i) sum += std::pow(static_cast<double>(sorted[i]) - mean, 2);
        return sum;
    };
    if (k == 1) return cost(first, sorted.size());
    double best = cost(first, sorted.size());
    for (std::size_t cut = first + 1; cut < sorted.size(); ++cut)
        best = std::min(best, cost(first, cut) + brute_force(sorted, cut, k - 1));
    return best;
}

std::vector<float> normal_numbers(std::size_t n, std::uint64_t seed) {
    hat::Rng rng(seed);
    std::vector<float> x(n);
    for (float& v : x) v = static_cast<float>(rng.normal() * 0.05 + 0.01);
    return x;
}

}  // namespace

TEST_CASE("few numbers are clustered as well as any way of cutting them") {
    hat::Rng rng(1);
    for (int trial = 0; trial < 200; ++trial) {
        std::vector<float> x(3 + rng.below(9));
        for (float& v : x) v = static_cast<float>(trial % 2 ? rng.normal() * 3 : static_cast<double>(rng.below(6)));
        for (std::size_t k = 1; k <= 4; ++k) {
            CAPTURE(k);
            const auto centroids = hat::kmeans(x, k);
            CHECK(centroids.size() <= k);
            CHECK(std::is_sorted(centroids.begin(), centroids.end()));
            auto sorted = x;
            std::sort(sorted.begin(), sorted.end());
            CHECK(error_of(x, centroids) == doctest::Approx(brute_force(sorted, 0, k)).epsilon(1e-5));
        }
    }
}

TEST_CASE("a trap for Lloyd's iterations from quantiles is solved") {
    // many numbers near 0 and two far pairs: quantiles put every centroid near 0
    std::vector<float> x;
    for (int i = 0; i < 500; ++i) x.push_back(static_cast<float>(i) * 1e-5F);
    for (const float far : {10.0F, 10.5F, 20.0F, 20.5F}) x.push_back(far);
    const auto c = hat::kmeans(x, 3);
    REQUIRE(c.size() == 3);
    CHECK(c[1] == doctest::Approx(10.25));
    CHECK(c[2] == doctest::Approx(20.25));
}

TEST_CASE("as many clusters as distinct numbers lose nothing") {
    hat::Rng rng(2);
    const auto levels = normal_numbers(16, 3);
    std::vector<float> x(5000);
    for (float& v : x) v = levels[rng.below(16)];
    CHECK(error_of(x, hat::kmeans(x, 16)) == 0);
    CHECK(hat::kmeans(x, 200).size() == 16);
    CHECK(hat::kmeans(std::vector<float>(50, 2.5F), 4) == std::vector<float>{2.5F});
}

TEST_CASE("many numbers reach the error that theory gives for a normal distribution") {
    const auto x = normal_numbers(100000, 4);
    double variance = 0;
    for (const float v : x) variance += std::pow(static_cast<double>(v) - 0.01, 2);
    // distortion of the optimal quantizer of a normal distribution (Max 1960): 4, 8, 16, 32 levels
    const double theory[] = {0.1175, 0.03454, 0.009497, 0.002499};
    double last = 1e9;
    for (std::size_t i = 0; i < 4; ++i) {
        const auto c = hat::kmeans(x, std::size_t{4} << i);
        const double error = error_of(x, c);
        CHECK(error / variance < theory[i] * 1.02);
        CHECK(error / variance > theory[i] * 0.95);
        CHECK(error < last);
        last = error;
    }
}

TEST_CASE("centroids do not depend on the order of the numbers; no centroid could move for the better") {
    auto x = normal_numbers(5000, 5);
    const auto c = hat::kmeans(x, 16);
    hat::Rng rng(1);
    hat::shuffle(std::span(x), rng);
    CHECK(hat::kmeans(x, 16) == c);
    std::vector<std::uint8_t> codes(x.size());
    hat::nearest_centroids(c, x, codes.data());
    for (std::size_t k = 0; k < c.size(); ++k) {
        double sum = 0, n = 0;
        for (std::size_t i = 0; i < x.size(); ++i)
            if (codes[i] == k) sum += static_cast<double>(x[i]), ++n;
        CHECK(n > 0);
        CHECK(static_cast<double>(c[k]) == doctest::Approx(sum / n).epsilon(1e-5));
    }
}

TEST_CASE("codes name the nearest centroid") {
    const std::vector<float> c{-1, 0, 2}, x{-9, -0.51F, -0.5F, 0, 0.99F, 1, 1.01F, 50};
    std::vector<std::uint8_t> codes(x.size());
    hat::nearest_centroids(c, x, codes.data());
    CHECK(codes == std::vector<std::uint8_t>{0, 0, 1, 1, 1, 2, 2, 2});
}

TEST_CASE("what cannot be clustered is refused") {
    using hat_test::contains;
    using hat_test::message_of;
    CHECK(contains(message_of<hat::invalid_value>([] { hat::kmeans({}, 4); }), "0 numbers in 4 clusters"));
    CHECK(contains(message_of<hat::invalid_value>([] { hat::kmeans(std::vector<float>{1}, 0); }),
                   "1 numbers in 0 clusters"));
    CHECK(contains(message_of<hat::not_finite>([] {
                       hat::kmeans(std::vector<float>{1, std::nanf("")}, 2);
                   }),
                   "number 1 is nan"));
    CHECK(contains(
        message_of<hat::not_finite>([] { hat::kmeans(std::vector<float>{std::numeric_limits<float>::infinity()}, 2); }),
        "number 0 is inf"));
}
