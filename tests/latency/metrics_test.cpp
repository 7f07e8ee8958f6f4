#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/rng.hpp>
#include <hat/latency/metrics.hpp>
#include <vector>

using Values = std::vector<double>;

namespace {
/// Tau-b from its definition, over all pairs.
double slow_tau(const Values& a, const Values& b) {
    double s = 0, na = 0, nb = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        for (std::size_t j = i + 1; j < a.size(); ++j) {
            const double x = (a[i] > a[j]) - (a[i] < a[j]), y = (b[i] > b[j]) - (b[i] < b[j]);
            s += x * y;
            na += x * x;
            nb += y * y;
        }
    return na == 0 || nb == 0 ? 0 : s / std::sqrt(na * nb);
}
}  // namespace

TEST_CASE("errors worked out by hand") {
    const Values truth{1, 2, 4}, predicted{2, 2, 2};
    CHECK(hat::rmse(truth, predicted) == doctest::Approx(std::sqrt(5.0 / 3)));
    CHECK(hat::mae(truth, predicted) == doctest::Approx(1.0));
    CHECK(hat::mape(truth, predicted) == doctest::Approx(50.0));
    CHECK(hat::r2(truth, predicted) == doctest::Approx(1 - 5.0 / (16.0 / 9 + 1.0 / 9 + 25.0 / 9)));
    CHECK(hat::r2(truth, truth) == 1.0);
    CHECK(hat::r2(Values{3, 3}, Values{3, 3}) == 1.0);
    CHECK(hat::r2(Values{3, 3}, Values{3, 4}) == 0.0);
    const auto all = hat::evaluate_regression(truth, predicted);
    CHECK(all.rows == 3);
    CHECK(all.rmse == hat::rmse(truth, predicted));
    CHECK(all.mae == hat::mae(truth, predicted));
    CHECK(all.mape == hat::mape(truth, predicted));
    CHECK(all.r2 == hat::r2(truth, predicted));
    CHECK(all.kendall_tau == 0);
}

TEST_CASE("kendall's tau equals its definition, with and without ties") {
    hat::Rng rng(5);
    for (const std::uint64_t levels : {2u, 5u, 1000000u})
        for (std::size_t n = 1; n < 60; ++n) {
            Values a(n), b(n);
            for (std::size_t i = 0; i < n; ++i) {
                a[i] = static_cast<double>(rng.below(levels));
                b[i] = rng.below(3) ? a[i] : static_cast<double>(rng.below(levels));
            }
            CHECK(hat::kendall_tau(a, b) == doctest::Approx(slow_tau(a, b)).epsilon(1e-12));
        }
    CHECK(hat::kendall_tau(Values{1, 2, 3}, Values{10, 20, 30}) == doctest::Approx(1));
    CHECK(hat::kendall_tau(Values{1, 2, 3}, Values{3, 2, 1}) == doctest::Approx(-1));
    CHECK(hat::kendall_tau(Values{1, 1}, Values{1, 2}) == 0);
    // the example in the documentation of scipy.stats.kendalltau
    CHECK(hat::kendall_tau(Values{12, 2, 1, 12, 2}, Values{1, 4, 7, 1, 0}) == doctest::Approx(-0.47140452079103173));
    Values many(20000), same(20000);
    for (std::size_t i = 0; i < many.size(); ++i) many[i] = same[i] = rng.uniform();
    CHECK(hat::kendall_tau(many, same) == doctest::Approx(1));
}

TEST_CASE("spearman's rho is the correlation of mean ranks") {
    CHECK(hat::spearman_rho(Values{1, 2, 3, 4, 5}, Values{5, 6, 7, 8, 7}) == doctest::Approx(0.8207826816681233));
    CHECK(hat::spearman_rho(Values{1, 10, 100}, Values{-3, -2, 8}) == doctest::Approx(1));
    CHECK(hat::spearman_rho(Values{1, 2, 3}, Values{9, 9, 9}) == 0);
}

TEST_CASE("metrics refuse what has no answer") {
    CHECK_THROWS_WITH_AS(hat::rmse(Values{1, 2}, Values{1}), "hat::rmse: 2 true values, but 1 predictions",
                         hat::shape_mismatch);
    CHECK_THROWS_WITH_AS(hat::mae(Values{}, Values{}), "hat::mae: there are no values", hat::invalid_value);
    CHECK_THROWS_WITH_AS(hat::mape(Values{1, 0}, Values{1, 1}), "hat::mape: true value 1 is zero", hat::invalid_value);
    CHECK_THROWS_AS(hat::kendall_tau(Values{}, Values{}), hat::invalid_value);
    CHECK_THROWS_AS(hat::spearman_rho(Values{1}, Values{}), hat::shape_mismatch);
}
