#include <doctest/doctest.h>

#include <cmath>
#include <hat/kernel/softmax.hpp>
#include <kernel/sheet.hpp>

using hat_test::Sheet;

TEST_CASE_TEMPLATE("softmax equals its definition for every length and stays finite for large scores", T, float,
                   double) {
    hat::Rng rng(1);
    for (std::size_t n = 1; n <= 3 * hat::simd::width<T> + 2; ++n)
        for (const double shift : {0.0, 1e4, -1e4}) {
            std::vector<T> x(n), y;
            for (T& v : x) v = static_cast<T>(8 * rng.uniform() - 4 + shift);
            y = x;
            y.push_back(T(99));
            hat::softmax_row(y.data(), n);
            CHECK(y[n] == T(99));
            double sum = 0, top = -1e300;
            for (const T v : x) top = std::max(top, static_cast<double>(v));
            for (const T v : x) sum += std::exp(static_cast<double>(v) - top);
            for (std::size_t i = 0; i < n; ++i)
                CHECK(static_cast<double>(y[i]) == doctest::Approx(std::exp(static_cast<double>(x[i]) - top) / sum)
                                                       .epsilon(sizeof(T) == 4 ? 1e-5 : 1e-12));
        }
}

TEST_CASE("the largest of a row is found wherever it is, negative rows included") {
    for (std::size_t n = 1; n <= 40; ++n)
        for (std::size_t at = 0; at < n; ++at) {
            std::vector<float> x(n, -7.0F);
            x[at] = -3.0F;
            CHECK(hat::row_max(x.data(), n) == -3.0F);
        }
}

TEST_CASE("the gradient of softmax equals finite differences") {
    hat::Rng rng(2);
    for (const std::size_t n : {1U, 3U, 8U, 13U, 40U}) {
        Sheet<double> x(1, n, 0, rng);
        const Sheet<double> g(1, n, 0, rng);
        const auto loss = [&] {
            Sheet<double> p = x;
            hat::softmax_row(p.data.data(), n);
            return hat_test::dot(p, g);
        };
        Sheet<double> p = x, d = g;
        hat::softmax_row(p.data.data(), n);
        hat::softmax_row_backward(p.data.data(), d.data.data(), n);
        if (n == 1)
            CHECK(std::abs(d(0, 0)) < 1e-15);
        else
            CHECK(hat_test::gradient_error(x, d, loss) < 1e-6);
    }
}
