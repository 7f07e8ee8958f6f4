#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/layer_norm.hpp>
#include <kernel/sheet.hpp>

using hat_test::dot;
using hat_test::gradient_error;
using hat_test::Sheet;

TEST_CASE_TEMPLATE("layer norm equals its definition", T, float, double) {
    hat::Rng rng(1);
    for (const std::size_t n : {1U, 5U, 16U, 31U, 100U}) {
        const Sheet<T> x(4, n, 2, rng), w(1, n, 0, rng), b(1, n, 0, rng);
        Sheet<T> y(4, n, 3), alone(4, n, 3), again(4, n, 3);
        std::vector<T> mean(4), rstd(4);
        const hat::Norm<T> norm{w.data.data(), b.data.data()};
        hat::layer_norm<T>(hat::Serial{}, x.view(), norm, y.view(), mean.data(), rstd.data());
        hat::layer_norm<T>(hat::Serial{}, x.view(), norm, alone.view(), nullptr, nullptr);
        CHECK(y == alone);
        hat::layer_norm_again<T>(hat::Serial{}, x.view(), norm, mean.data(), rstd.data(), again.view());
        CHECK(again == y);
        CHECK(again.padding_untouched());
        CHECK(y.padding_untouched());
        for (std::size_t r = 0; r < 4; ++r) {
            double m = 0, v = 0;
            for (std::size_t j = 0; j < n; ++j) m += static_cast<double>(x(r, j)) / static_cast<double>(n);
            for (std::size_t j = 0; j < n; ++j)
                v += std::pow(static_cast<double>(x(r, j)) - m, 2) / static_cast<double>(n);
            CHECK(static_cast<double>(mean[r]) == doctest::Approx(m).epsilon(1e-5));
            for (std::size_t j = 0; j < n; ++j)
                CHECK(std::abs(static_cast<double>(y(r, j)) - ((static_cast<double>(x(r, j)) - m) /
                                                                   std::sqrt(v + 1e-5) * static_cast<double>(w(0, j)) +
                                                               static_cast<double>(b(0, j)))) < 1e-4);
        }
    }
}

TEST_CASE("the gradients of layer norm equal finite differences") {
    hat::Rng rng(2);
    for (const std::size_t n : {2U, 5U, 8U, 19U, 33U}) {
        const std::size_t rows = 7;
        Sheet<double> x(rows, n, 2, rng), w(1, n, 0, rng), b(1, n, 0, rng);
        const Sheet<double> g(rows, n, 1, rng);
        std::vector<double> mean(rows), rstd(rows);
        const auto loss = [&] {
            Sheet<double> y(rows, n);
            hat::layer_norm<double>(hat::Serial{}, x.constant(), {w.data.data(), b.data.data()}, y.view(), mean.data(),
                                    rstd.data());
            return dot(y, g);
        };
        loss();
        Sheet<double> dx(rows, n, 2), dw(1, n), db(1, n);
        const auto saved_mean = mean, saved_rstd = rstd;
        hat::layer_norm_backward<double>(hat::Serial{}, x.constant(), saved_mean.data(), saved_rstd.data(),
                                         w.data.data(), g.view(), dx.view(), false, dw.data.data(), db.data.data());
        CHECK(gradient_error(x, dx, loss) < 1e-5);  // n = 2 is almost a step function
        CHECK(gradient_error(w, dw, loss) < 1e-6);
        CHECK(gradient_error(b, db, loss) < 1e-6);
        CHECK(dx.padding_untouched());

        Sheet<double> more = g;
        hat::layer_norm_backward<double>(hat::Serial{}, x.constant(), saved_mean.data(), saved_rstd.data(),
                                         w.data.data(), g.view(), more.view(), true, dw.data.data(), db.data.data());
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t j = 0; j < n; ++j) CHECK(more(r, j) == doctest::Approx(g(r, j) + dx(r, j)).epsilon(1e-9));
    }
}

TEST_CASE("layer norm is the same bits for 1, 2 and 5 threads") {
    hat::Rng rng(3);
    const Sheet<float> x(500, 200, 0, rng), g(500, 200, 0, rng), w(1, 200, 0, rng), b(1, 200, 0, rng);
    const auto run = [&](const hat::ThreadPool& pool) {
        Sheet<float> y(500, 200), again(500, 200), dx(500, 200), dw(1, 200), db(1, 200);
        std::vector<float> mean(500), rstd(500);
        hat::layer_norm<float>(pool, x.view(), {w.data.data(), b.data.data()}, y.view(), mean.data(), rstd.data());
        hat::layer_norm_again<float>(pool, x.view(), {w.data.data(), b.data.data()}, mean.data(), rstd.data(),
                                     again.view());
        CHECK(again == y);
        hat::layer_norm_backward<float>(pool, x.view(), mean.data(), rstd.data(), w.data.data(), g.view(), dx.view(),
                                        false, dw.data.data(), db.data.data());
        std::vector<float> all = y.data;
        for (const auto* s : {&dx, &dw, &db}) all.insert(all.end(), s->data.begin(), s->data.end());
        return all;
    };
    const auto one = run(hat::ThreadPool(1));
    CHECK(one == run(hat::ThreadPool(2)));
    CHECK(one == run(hat::ThreadPool(5)));
}

TEST_CASE("a residual adds the dropped branch, in place too") {
    hat::Rng rng(4);
    const Sheet<double> x(6, 21, 0, rng), branch(6, 21, 0, rng);
    const hat::Dropout dropout{0.4, 77};
    Sheet<double> b = branch, sum(6, 21);
    hat::add_residual<double>(hat::Serial{}, x.view(), b.view(), dropout, sum.view());
    for (std::size_t r = 0; r < 6; ++r)
        for (std::size_t j = 0; j < 21; ++j)
            CHECK(sum(r, j) == x(r, j) + branch(r, j) * dropout.factor<double>(static_cast<std::uint32_t>(r * 21 + j)));
    Sheet<double> in_place = branch;
    hat::add_residual<double>(hat::Serial{}, x.view(), in_place.view(), dropout, in_place.view());
    CHECK(in_place == sum);
    Sheet<double> plain = branch;
    hat::add_residual<double>(hat::Serial{}, x.view(), plain.view(), {}, sum.view());
    CHECK(plain == branch);
    CHECK(sum(5, 20) == x(5, 20) + branch(5, 20));
}

TEST_CASE("a residual and the norm of the sum in one pass are the same bits as in two, in the residual's place too") {
    hat::Rng rng(5);
    const Sheet<float> x(300, 133, 2, rng), branch(300, 133, 3, rng), w(1, 133, 0, rng), b(1, 133, 0, rng);
    const hat::Norm<float> norm{w.data.data(), b.data.data()};
    for (const hat::Dropout& dropout : {hat::Dropout{}, hat::Dropout{0.3, 11}}) {
        Sheet<float> sum = branch, y(300, 133);
        std::vector<float> mean(300), rstd(300);
        hat::add_residual<float>(hat::Serial{}, x.view(), sum.view(), dropout, sum.view());
        hat::layer_norm<float>(hat::Serial{}, sum.view(), norm, y.view(), mean.data(), rstd.data());
        for (const std::size_t threads : {std::size_t{1}, std::size_t{3}}) {
            Sheet<float> found = branch, in_place = x;
            std::vector<float> found_mean(300), found_rstd(300);
            hat::add_and_normalize<float>(hat::ThreadPool(threads), in_place.view(), found.view(), dropout, norm,
                                          in_place.view(), found_mean.data(), found_rstd.data());
            CHECK(found == sum);
            CHECK(in_place == y);
            CHECK(found_mean == mean);
            CHECK(found_rstd == rstd);
            CHECK(found.padding_untouched());
            CHECK(in_place.padding_untouched());
        }
        Sheet<float> last = branch, elsewhere(300, 133, 1);
        hat::add_and_normalize<float>(hat::Serial{}, x.view(), last.view(), dropout, norm, elsewhere.view(), nullptr,
                                      nullptr);
        CHECK(elsewhere == y);
        CHECK(elsewhere.padding_untouched());
    }
}
