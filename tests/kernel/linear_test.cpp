#include <doctest/doctest.h>

#include <hat/core/thread_pool.hpp>
#include <hat/kernel/dropout.hpp>
#include <hat/kernel/linear.hpp>
#include <kernel/sheet.hpp>

using hat_test::dot;
using hat_test::gradient_error;
using hat_test::Sheet;

TEST_CASE("the gradients of a linear layer equal finite differences") {
    hat::Rng rng(1);
    const std::size_t sizes[][3] = {{1, 1, 1}, {5, 17, 9}, {33, 8, 40}};
    for (const auto& s : sizes) {
        Sheet<double> x(s[0], s[2], 3, rng), w(s[1], s[2], 2, rng), bias(1, s[1], 0, rng);
        const Sheet<double> g(s[0], s[1], 1, rng);
        const double scale = 0.7;
        const auto loss = [&] {
            Sheet<double> y(s[0], s[1], 1);
            hat::linear<double>(hat::Serial{}, x.view(), hat::Linear<double>{w.view(), bias.data.data()}, y.view(),
                                {.scale = scale});
            return dot(y, g);
        };
        Sheet<double> dy = g, dx(s[0], s[2], 3), dw(s[1], s[2], 2), db(1, s[1]);
        for (std::size_t r = 0; r < dy.rows; ++r)
            for (std::size_t c = 0; c < dy.cols; ++c) dy(r, c) *= scale;
        hat::linear_backward_input<double>(hat::Serial{}, dy.constant(), w.constant(), dx.view(), false);
        hat::linear_backward_weight<double>(hat::Serial{}, dy.constant(), x.constant(), dw.view(), db.data.data());
        CHECK(gradient_error(x, dx, loss) < 1e-6);
        CHECK(gradient_error(w, dw, loss) < 1e-6);
        CHECK(gradient_error(bias, db, loss) < 1e-6);
        CHECK(dx.padding_untouched());
        CHECK(dw.padding_untouched());

        // both add: a second call doubles, a third without bias leaves the bias alone
        const Sheet<double> once = dx, weights_once = dw, bias_once = db;
        hat::linear_backward_input<double>(hat::Serial{}, dy.constant(), w.constant(), dx.view(), true);
        hat::linear_backward_weight<double>(hat::Serial{}, dy.constant(), x.constant(), dw.view(), nullptr);
        CHECK(db == bias_once);
        for (std::size_t i = 0; i < s[0]; ++i)
            for (std::size_t j = 0; j < s[2]; ++j) CHECK(dx(i, j) == doctest::Approx(2 * once(i, j)).epsilon(1e-9));
        for (std::size_t i = 0; i < s[1]; ++i)
            for (std::size_t j = 0; j < s[2]; ++j)
                CHECK(dw(i, j) == doctest::Approx(2 * weights_once(i, j)).epsilon(1e-9));
    }
}

TEST_CASE("a linear layer and its gradients are the same bits for 1, 2 and 5 threads") {
    hat::Rng rng(2);
    const Sheet<float> x(300, 130, 0, rng), w(270, 130, 0, rng), dy(300, 270, 0, rng), bias(1, 270, 0, rng);
    const auto run = [&](const hat::ThreadPool& pool) {
        Sheet<float> y(300, 270), dx(300, 130), dw(270, 130), db(1, 270);
        hat::linear<float>(pool, x.view(), hat::Linear<float>{w.view(), bias.data.data()}, y.view(), {.relu = true});
        hat::linear_backward_input<float>(pool, dy.view(), w.view(), dx.view(), false);
        hat::linear_backward_weight<float>(pool, dy.view(), x.view(), dw.view(), db.data.data());
        std::vector<float> all = y.data;
        for (const auto* s : {&dx, &dw, &db}) all.insert(all.end(), s->data.begin(), s->data.end());
        return all;
    };
    const auto one = run(hat::ThreadPool(1));
    CHECK(one == run(hat::ThreadPool(2)));
    CHECK(one == run(hat::ThreadPool(5)));
}

TEST_CASE("dropout with a linear layer is the same bits as after it") {
    hat::Rng rng(4);
    const std::size_t m = 301, n = 1100, k = 37;  // several pieces of rows and of panels
    const Sheet<float> x(m, k, 0, rng), w(n, k, 0, rng), bias(1, n, 0, rng);
    const hat::Linear<float> layer{w.view(), bias.data.data()};
    const hat::Dropout dropout{0.2, 9};
    for (const hat::Precision precision : {hat::Precision::fp32, hat::Precision::bf16, hat::Precision::bf16x3})
        for (const std::size_t threads : {std::size_t{1}, std::size_t{3}}) {
            CAPTURE(hat::name_of(precision));
            CAPTURE(threads);
            Sheet<float> after(m, n), with(m, n, 1);
            hat::linear<float>(hat::Serial{}, x.view(), layer, after.view(), {.relu = true}, precision);
            hat::apply_dropout<float>(hat::Serial{}, after.view(), dropout);
            hat::linear<float>(hat::ThreadPool(threads), x.view(), layer, with.view(), {.relu = true}, precision,
                               dropout);
            CHECK(with == after);
            CHECK(with.padding_untouched());
        }
}

TEST_CASE("column sums add rows in ascending order") {
    Sheet<float> dy(3, 40);
    for (std::size_t j = 0; j < 40; ++j) dy(0, j) = 1e8F, dy(1, j) = 1, dy(2, j) = -1e8F;
    std::vector<float> sums(40, 0.0F);
    hat::add_column_sums<float>(hat::Serial{}, dy.constant(), sums.data());
    for (const float s : sums) CHECK(s == 0.0F);  // the 1 is lost in the middle
}
