#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/loss.hpp>
#include <kernel/sheet.hpp>

using hat_test::gradient_error;
using hat_test::Sheet;

TEST_CASE("the smoothed loss of a row equals its definition, with and without gradient") {
    hat::Rng rng(1);
    for (const std::size_t n : {5U, 16U, 33U, 100U})
        for (const double smoothing : {0.0, 0.1, 0.6}) {
            Sheet<double> x(1, n, 0, rng);
            const std::size_t target = n / 2;
            double sum = 0, nll = 0, all = 0;
            for (const double v : x.data) sum += std::exp(v);
            for (const double v : x.data) all -= v - std::log(sum);
            nll = std::log(sum) - x.data[target];
            const auto loss = [&] {
                Sheet<double> copy = x;
                return hat::smoothed_loss_row(copy.data.data(), n, target, smoothing, false).loss;
            };
            Sheet<double> d = x;
            const auto found = hat::smoothed_loss_row(d.data.data(), n, target, smoothing, true);
            CHECK(found.nll == doctest::Approx(nll).epsilon(1e-12));
            CHECK(found.loss ==
                  doctest::Approx((1 - smoothing) * nll + smoothing / static_cast<double>(n) * all).epsilon(1e-12));
            CHECK(found.loss == loss());
            CHECK(found.tokens == 1);
            CHECK(gradient_error(x, d, loss) < 1e-6);
        }
}

TEST_CASE("the loss stays finite for large logits and shows a NaN") {
    std::vector<float> x(20, -1e4F);
    x[3] = 1e4F;
    auto copy = x;
    CHECK(hat::smoothed_loss_row(copy.data(), 20, 3, 0.0, true).loss == doctest::Approx(0));
    copy = x;
    CHECK(hat::smoothed_loss_row(copy.data(), 20, 4, 0.0, true).loss == doctest::Approx(2e4));
    for (const float g : copy) CHECK(std::isfinite(g));
    for (std::size_t at = 0; at < 20; ++at) {
        copy = x;
        copy[at] = std::nanf("");
        CHECK(std::isnan(hat::smoothed_loss_row(copy.data(), 20, 3, 0.1, true).loss));
    }
}

TEST_CASE("the gradients of the output layer and loss equal finite differences") {
    hat::Rng rng(2);
    const std::size_t rows = 9, width = 7, vocabulary = 21;
    Sheet<double> y(rows, width, 2, rng), matrix(vocabulary, width, 3, rng);
    std::vector<std::int32_t> targets;
    for (std::size_t i = 0; i < rows; ++i) targets.push_back(static_cast<std::int32_t>(rng.below(vocabulary)));
    hat::Arena arena;
    const auto loss = [&] {
        arena.reset();
        return hat::output_loss<double>(hat::Serial{}, y.constant(), matrix.constant(), targets, 0.1, arena, nullptr,
                                        nullptr)
            .loss;
    };
    Sheet<double> dy(rows, width, 2), dmatrix(vocabulary, width, 3);
    auto vy = dy.view(), vm = dmatrix.view();
    const auto sums =
        hat::output_loss<double>(hat::Serial{}, y.constant(), matrix.constant(), targets, 0.1, arena, &vy, &vm);
    CHECK(sums.tokens == rows);
    CHECK(sums.loss == loss());
    CHECK(gradient_error(y, dy, loss) < 1e-6);
    CHECK(gradient_error(matrix, dmatrix, loss) < 1e-6);
    CHECK(dy.padding_untouched());
    CHECK(dmatrix.padding_untouched());

    Sheet<double> in_place = y, dmatrix_too(vocabulary, width);
    auto vp = in_place.view(), vt = dmatrix_too.view();
    hat::output_loss<double>(hat::Serial{}, in_place.constant(), matrix.constant(), targets, 0.1, arena, &vp, &vt);
    CHECK(in_place == dy);
    CHECK(dmatrix_too == dmatrix);

    const Sheet<double> once = dmatrix;  // the matrix's gradient is added to
    hat::output_loss<double>(hat::Serial{}, y.constant(), matrix.constant(), targets, 0.1, arena, &vy, &vm);
    for (std::size_t i = 0; i < vocabulary; ++i)
        for (std::size_t j = 0; j < width; ++j) CHECK(dmatrix(i, j) == doctest::Approx(2 * once(i, j)).epsilon(1e-9));
}

TEST_CASE("more rows than a block, and any number of threads, give the same losses and gradients") {
    hat::Rng rng(3);
    const std::size_t rows = 1100, width = 24, vocabulary = 130;
    const Sheet<float> y(rows, width, 0, rng), matrix(vocabulary, width, 0, rng);
    std::vector<std::int32_t> targets;
    for (std::size_t i = 0; i < rows; ++i) targets.push_back(static_cast<std::int32_t>(rng.below(vocabulary)));
    const auto run = [&](const hat::ThreadPool& pool, std::size_t first, std::size_t count) {
        hat::Arena arena;
        Sheet<float> dy(count, width), dm(vocabulary, width);
        auto vy = dy.view(), vm = dm.view();
        const auto sums = hat::output_loss<float>(pool, y.view().rows_at(first, count), matrix.view(),
                                                  std::span(targets).subspan(first, count), 0.1, arena, &vy, &vm);
        Sheet<float> in_place(count, width), dm_too(vocabulary, width);
        auto vp = in_place.view(), vt = dm_too.view();
        for (std::size_t i = 0; i < count; ++i) std::copy_n(y.view().row(first + i), width, vp.row(i));
        hat::output_loss<float>(pool, hat::View<const float>(vp), matrix.view(),
                                std::span(targets).subspan(first, count), 0.1, arena, &vp, &vt);
        CHECK(in_place == dy);
        CHECK(dm_too == dm);
        return std::tuple(sums.loss, dy.data, dm.data);
    };
    const auto one = run(hat::ThreadPool(1), 0, rows);
    CHECK(one == run(hat::ThreadPool(2), 0, rows));
    CHECK(one == run(hat::ThreadPool(5), 0, rows));
    double pieces = 0;
    for (std::size_t r = 0; r < rows; r += 100) {
        const auto piece = run(hat::ThreadPool(1), r, 100);
        pieces += std::get<0>(piece);
        CHECK(std::equal(std::get<1>(piece).begin(), std::get<1>(piece).end(),
                         std::get<1>(one).begin() + static_cast<std::ptrdiff_t>(r * width)));
    }
    CHECK(pieces == doctest::Approx(std::get<0>(one)).epsilon(1e-9));
}
