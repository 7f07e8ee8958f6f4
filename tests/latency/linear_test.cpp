#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/rng.hpp>
#include <hat/latency/linear.hpp>
#include <latency/data.hpp>
#include <limits>
#include <vector>

using hat_test::Data;

namespace {
Data noisy_line(std::size_t rows, double noise, std::uint64_t seed, std::size_t useless = 0) {
    hat::Rng rng(seed);
    Data d;
    for (std::size_t i = 0; i < rows; ++i) {
        const double a = rng.uniform(), b = 100 * rng.uniform();
        d.x.insert(d.x.end(), {static_cast<float>(a), static_cast<float>(b)});
        for (std::size_t k = 0; k < useless; ++k) d.x.push_back(static_cast<float>(rng.normal()));
        d.y.push_back(static_cast<float>(7 + 3 * a - 0.5 * b + noise * rng.normal()));
    }
    return d;
}
}  // namespace

TEST_CASE("an exact line is found") {
    const Data d = noisy_line(30, 0, 1);
    hat::Ridge r;
    r.fit(d.x, d.y);
    CHECK(r.weights()[0] == doctest::Approx(3).epsilon(1e-3));
    CHECK(r.weights()[1] == doctest::Approx(-0.5).epsilon(1e-4));
    CHECK(r.intercept() == doctest::Approx(7).epsilon(1e-3));
    CHECK(r.penalty() == doctest::Approx(1e-6));
    CHECK(r.predict(std::vector<float>{1, 10}) == doctest::Approx(5).epsilon(1e-3));
}

TEST_CASE("the leave-one-out error equals leaving every row out in turn") {
    const Data d = noisy_line(12, 2, 3, 2);
    for (const double penalty : {1e-3, 0.3}) {
        hat::Ridge whole(penalty);
        whole.fit(d.x, d.y);
        // the closed form keeps the standardisation of all rows and the absolute penalty: do the same here
        std::vector<double> mean(4), scale(4);
        double target = 0;
        for (std::size_t i = 0; i < 12; ++i) {
            target += d.y[i] / 12.0;
            for (std::size_t j = 0; j < 4; ++j) mean[j] += d.x[4 * i + j] / 12.0;
        }
        for (std::size_t i = 0; i < 12; ++i)
            for (std::size_t j = 0; j < 4; ++j) scale[j] += std::pow(d.x[4 * i + j] - mean[j], 2) / 12.0;
        double sum = 0;
        for (std::size_t out = 0; out < 12; ++out) {
            // minimise over intercept (free) and weights: 5 unknowns, by Gaussian elimination
            double a[5][6] = {};
            for (std::size_t i = 0; i < 12; ++i) {
                if (i == out) continue;
                double row[5] = {1, 0, 0, 0, 0};
                for (std::size_t j = 0; j < 4; ++j) row[j + 1] = (d.x[4 * i + j] - mean[j]) / std::sqrt(scale[j]);
                for (std::size_t p = 0; p < 5; ++p) {
                    for (std::size_t q = 0; q < 5; ++q) a[p][q] += row[p] * row[q];
                    a[p][5] += row[p] * (d.y[i] - target);
                }
            }
            for (std::size_t p = 1; p < 5; ++p) a[p][p] += penalty * 12;
            for (std::size_t p = 0; p < 5; ++p)
                for (std::size_t q = 0; q < 5; ++q) {
                    if (q == p) continue;
                    const double f = a[q][p] / a[p][p];
                    for (std::size_t k = 0; k < 6; ++k) a[q][k] -= f * a[p][k];
                }
            double guess = target + a[0][5] / a[0][0];
            for (std::size_t j = 0; j < 4; ++j)
                guess += a[j + 1][5] / a[j + 1][j + 1] * (d.x[4 * out + j] - mean[j]) / std::sqrt(scale[j]);
            sum += std::pow(guess - d.y[out], 2) / 12;
        }
        CHECK(whole.leave_one_out_rmse() == doctest::Approx(std::sqrt(sum)).epsilon(1e-6));
    }
}

TEST_CASE("many useless features and few rows: a larger penalty is chosen and beats none") {
    const Data d = noisy_line(24, 20, 5, 18), test = noisy_line(500, 0, 6, 18);
    hat::Ridge chosen, none(1e-9);
    chosen.fit(d.x, d.y);
    none.fit(d.x, d.y);
    CHECK(chosen.penalty() > 1e-3);
    const auto error = [&](const hat::Ridge& r) {
        double sum = 0;
        for (std::size_t i = 0; i < 500; ++i)
            sum += std::pow(r.predict(std::span<const float>(test.x).subspan(20 * i, 20)) - test.y[i], 2);
        return sum;
    };
    CHECK(error(chosen) < error(none));
}

TEST_CASE("constant, repeated and too many features do no harm") {
    hat::Ridge r;
    r.fit(std::vector<float>{5, 1, 1, 5, 2, 2, 5, 3, 3}, std::vector<float>{10, 20, 30});
    CHECK(r.predict(std::vector<float>{5, 4, 4}) == doctest::Approx(40).epsilon(0.01));
    CHECK(r.predict(std::vector<float>{6, 2, 2}) == doctest::Approx(20).epsilon(0.01));
    r.fit(std::vector<float>{1, 2, 3, 4}, std::vector<float>{9});
    CHECK(r.predict(std::vector<float>{4, 3, 2, 1}) == doctest::Approx(9));
}

TEST_CASE("bad rows are refused by name") {
    hat::Ridge r;
    CHECK_THROWS_WITH_AS(r.fit({}, {}), "hat::Ridge: there are no rows to learn from", hat::invalid_value);
    CHECK_THROWS_WITH_AS(r.fit(std::vector<float>{1, 2, 3}, std::vector<float>{1, 2}),
                         "hat::Ridge: 3 features cannot be 2 rows", hat::shape_mismatch);
    CHECK_THROWS_WITH_AS(r.fit(std::vector<float>{1, INFINITY}, std::vector<float>{1, 2}),
                         "hat::Ridge: feature 0 of row 1 is inf", hat::not_finite);
    r.fit(std::vector<float>{1, 2}, std::vector<float>{1, 2});
    CHECK_THROWS_WITH_AS(r.predict(std::vector<float>{1, 2}), "hat::Ridge: the row has 2 features, expected 1",
                         hat::shape_mismatch);
    CHECK_THROWS_AS(hat::Ridge::trained({}, 0), hat::invalid_value);
    CHECK_THROWS_AS(hat::Ridge::trained({NAN}, 0), hat::not_finite);
    CHECK(hat::Ridge::trained({2}, 1).predict(std::vector<float>{3}) == 7);
}
