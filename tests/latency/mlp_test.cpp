#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <hat/core/executor.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/io/csv.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/latency/metrics.hpp>
#include <hat/latency/mlp.hpp>
#include <latency/data.hpp>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "support/npz.hpp"
#include "support/shared.hpp"

using hat_test::Data;

namespace {

/// A bent surface of three features in very different units.
Data surface(std::size_t rows, std::uint64_t seed) {
    hat::Rng rng(seed);
    Data d;
    for (std::size_t i = 0; i < rows; ++i) {
        const double a = rng.uniform(), b = rng.uniform(), c = rng.uniform();
        d.x.insert(d.x.end(), {static_cast<float>(1000 * a), static_cast<float>(b), static_cast<float>(0.01 * c)});
        d.y.push_back(static_cast<float>(200 + 50 * a * b + 80 * std::abs(c - 0.5)));
    }
    return d;
}
double error_on(const hat::Mlp& m, const Data& d) {
    std::vector<double> truth(d.y.begin(), d.y.end()), guess;
    for (const float v : m.predict_rows(d.x, d.y.size())) guess.push_back(v);
    return hat::rmse(truth, guess);
}
hat::MlpOptions little() {
    hat::MlpOptions o;
    o.hidden = {32, 32};
    o.steps = 1500;
    o.learning_rate = 5e-3;
    return o;
}
const float not_a_number = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST_CASE("a network learns a bent surface whose features have very different units") {
    const Data train = surface(600, 1), test = surface(300, 2);
    hat::Mlp m(little());
    m.fit(train.x, train.y);
    CHECK(error_on(m, test) < 1.5);  // the deviation of the targets is about 16
    hat::Mlp deeper{[] {
        auto o = little();
        o.hidden = {24, 16, 12, 8};
        return o;
    }()};
    deeper.fit(train.x, train.y);
    CHECK(deeper.layers().size() == 5);
    CHECK(error_on(deeper, test) < 3);
    hat::Mlp straight{[] {
        auto o = little();
        o.hidden = {};  // no hidden layer: a straight line
        return o;
    }()};
    straight.fit(train.x, train.y);
    CHECK(error_on(straight, test) > 5);
    CHECK(error_on(straight, test) < 16);
}

TEST_CASE("training is the same for the same seed, on any number of threads") {
    const Data d = surface(300, 1);
    auto o = little();
    o.hidden = {200, 200};
    o.steps = 60;
    hat::Mlp a(o), b(o), pool(o);
    a.fit(d.x, d.y);
    b.fit(d.x, d.y);
    pool.fit(d.x, d.y, hat::ThreadPool(3));
    CHECK(a.layers() == b.layers());
    CHECK(a.layers() == pool.layers());
    o.seed = 2;
    hat::Mlp other(o);
    other.fit(d.x, d.y);
    CHECK(!(a.layers() == other.layers()));
}

TEST_CASE("rows predicted together equal rows predicted alone, and copies predict the same") {
    const Data d = surface(100, 1);
    auto o = little();
    o.steps = 20;
    hat::Mlp m(o);
    m.fit(d.x, d.y);
    const hat::Mlp copy = m;
    const auto all = m.predict_rows(d.x, d.y.size());
    for (std::size_t i = 0; i < d.y.size(); ++i)
        CHECK(copy.predict(std::span<const float>(d.x).subspan(3 * i, 3)) == all[i]);
    CHECK(m.predict_rows(d.x, d.y.size(), hat::ThreadPool(2)) == all);
    CHECK(m.predict_rows({}, 0).empty());
    m.fit(d.x, d.y, hat::Serial{});
    CHECK(copy.layers() == m.layers());
}

TEST_CASE("fewer rows than a batch, one row, and constant features or targets are fine") {
    for (const std::size_t rows : {1u, 2u, 20u, 100u}) {
        const Data d = surface(rows, 3);
        hat::Mlp m(little());
        m.fit(d.x, d.y);
        CHECK(std::isfinite(m.predict(std::span<const float>(d.x).first(3))));
        CHECK(error_on(m, d) < 8);
    }
    Data flat{{1, 5, 1, 6, 1, 7}, {3, 3, 3}};
    hat::Mlp m(little());
    m.fit(flat.x, flat.y);
    CHECK(m.predict(std::vector<float>{1, 6}) == doctest::Approx(3).epsilon(0.05));
}

TEST_CASE("training stops early and keeps the best weights on the validation rows") {
    hat::Rng rng(1);
    Data noise, held;
    for (Data* d : {&noise, &held})
        for (int i = 0; i < 40; ++i) {  // nothing to learn: more training can only hurt
            for (int k = 0; k < 3; ++k) d->x.push_back(static_cast<float>(rng.normal()));
            d->y.push_back(static_cast<float>(rng.normal()));
        }
    auto o = little();
    o.steps = 4000;
    o.cosine = false;
    o.check_every = 10;
    o.patience = 5;
    hat::Mlp stopped(o);
    stopped.fit(noise.x, noise.y, held.x, held.y);
    CHECK(stopped.steps() < 1000);
    auto to_the_best = o;  // what followed it was given up
    to_the_best.steps = stopped.steps() - o.patience * o.check_every;
    hat::Mlp best(to_the_best);
    best.fit(noise.x, noise.y, {}, {});
    CHECK(best.layers() == stopped.layers());
    hat::Mlp whole(o);
    whole.fit(noise.x, noise.y, {}, {});
    CHECK(whole.steps() == 4000);
    CHECK(error_on(stopped, held) < error_on(whole, held));
    CHECK(error_on(stopped, noise) > error_on(whole, noise));
}

TEST_CASE("the gradient is the loss's: one step of plain numbers, by finite differences") {
    // Adam's first step moves every weight by the learning rate against the sign of its gradient.
    const Data d{{0.3F, -0.2F, 0.9F, 0.4F, -0.5F, 0.8F}, {0.7F, -0.4F}};
    hat::MlpOptions o;
    o.hidden = {5, 4};
    o.standardize = false;
    o.validation = 0;
    o.cosine = false;
    o.learning_rate = 1e-30;
    o.steps = 1;
    hat::Mlp before(o);
    before.fit(d.x, d.y);
    o.learning_rate = 1e-4;
    hat::Mlp after(o);
    after.fit(d.x, d.y);
    const auto loss = [&](const std::vector<hat::MlpLayer>& layers) {  // in double, written plainly
        double sum = 0;
        for (std::size_t r = 0; r < 2; ++r) {
            std::vector<double> in(d.x.begin() + static_cast<std::ptrdiff_t>(3 * r),
                                   d.x.begin() + static_cast<std::ptrdiff_t>(3 * r + 3));
            for (std::size_t l = 0; l < layers.size(); ++l) {
                std::vector<double> out;
                for (std::size_t i = 0; i < layers[l].outputs; ++i) {
                    double v = layers[l].bias[i];
                    for (std::size_t j = 0; j < in.size(); ++j)
                        v += static_cast<double>(layers[l].weight[i * in.size() + j]) * in[j];
                    out.push_back(l + 1 < layers.size() ? std::max(v, 0.0) : v);
                }
                in = out;
            }
            sum += (in[0] - d.y[r]) * (in[0] - d.y[r]) / 2;
        }
        return sum;
    };
    std::size_t moved = 0;
    const auto check = [&](std::size_t l, bool bias, std::size_t i) {
        auto layers = before.layers();
        float& w = bias ? layers[l].bias[i] : layers[l].weight[i];
        const float w0 = w;
        const double h = 1e-3;
        w = static_cast<float>(w0 + h);
        const double up = loss(layers);
        w = static_cast<float>(w0 - h);
        const double slope = (up - loss(layers)) / (2 * h);
        const double change = (bias ? after.layers()[l].bias[i] : after.layers()[l].weight[i]) - w0;
        if (std::abs(slope) < 1e-4) return;
        ++moved;
        CHECK(change == doctest::Approx(slope > 0 ? -1e-4 : 1e-4).epsilon(0.01));
    };
    for (std::size_t l = 0; l < before.layers().size(); ++l) {
        for (std::size_t i = 0; i < before.layers()[l].weight.size(); ++i) check(l, false, i);
        for (std::size_t i = 0; i < before.layers()[l].bias.size(); ++i) check(l, true, i);
    }
    CHECK(moved > 10);
}

TEST_CASE("bad data and options are refused by name") {
    hat::Mlp m(little());
    const std::vector<float> x{1, 2, 3, 4}, y{1, 2};
    CHECK_THROWS_WITH_AS(m.predict(x), "hat::Mlp: predict() before fit()", hat::invalid_value);
    CHECK_THROWS_WITH_AS((void)m.layers(), "hat::Mlp: it is not trained", hat::invalid_value);
    CHECK_THROWS_WITH_AS(m.fit({}, {}), "hat::Mlp: there are no rows to learn from", hat::invalid_value);
    CHECK_THROWS_WITH_AS(m.fit(std::vector<float>{1, 2, 3}, y), "hat::Mlp: 3 features cannot be 2 rows",
                         hat::shape_mismatch);
    CHECK_THROWS_WITH_AS(m.fit(std::vector<float>{1, 2, not_a_number, 4}, y), "hat::Mlp: feature 0 of row 1 is nan",
                         hat::not_finite);
    CHECK_THROWS_WITH_AS(m.fit(x, std::vector<float>{1, not_a_number}), "hat::Mlp: the target of row 1 is nan",
                         hat::not_finite);
    CHECK_THROWS_WITH_AS(m.fit(x, y, std::vector<float>{1}, std::vector<float>{1}),
                         doctest::Contains("another number of features"), hat::shape_mismatch);
    auto wild = little();
    wild.learning_rate = 1e20;
    wild.validation = 0;
    hat::Mlp exploding(wild);
    CHECK_THROWS_WITH_AS(exploding.fit(x, y), doctest::Contains("at step 2; is the learning rate"), hat::not_finite);
    CHECK(!exploding.is_trained());
    m.fit(x, y);
    CHECK_THROWS_WITH_AS(m.predict(std::vector<float>{1}), "hat::Mlp: 1 rows have 1 features, expected 2",
                         hat::shape_mismatch);
    const auto refuse = [&](auto change, const char* what) {
        auto o = little();
        change(o);
        hat::Mlp bad(o);
        CHECK_THROWS_WITH_AS(bad.fit(x, y), what, hat::invalid_value);
    };
    refuse([](auto& o) { o.hidden = {3, 0}; }, "hat::MlpOptions: a hidden layer has width 0, expected at least 1");
    refuse([](auto& o) { o.steps = 0; }, "hat::MlpOptions: steps is 0, expected at least 1");
    refuse([](auto& o) { o.batch = 0; }, "hat::MlpOptions: batch is 0, expected at least 1");
    refuse([](auto& o) { o.check_every = 0; }, "hat::MlpOptions: check_every is 0, expected at least 1");
    refuse([](auto& o) { o.learning_rate = 0; }, "hat::MlpOptions: learning_rate is 0.000000, expected more than 0");
    const hat::MlpLayer two{2, 1, {1, 1}, {0, 0}}, one{1, 2, {1, 1}, {0}}, odd{1, 3, {1, 1, 1}, {0}};
    const hat::MlpNormalization norm{{0}, {1}, 0, 1};
    CHECK(hat::Mlp::trained({two, one}, norm).predict(std::vector<float>{3}) == 6);
    CHECK_THROWS_WITH_AS(hat::Mlp::trained({two, odd}, norm), "hat::Mlp: layer 1 has 3 inputs, expected 2",
                         hat::shape_mismatch);
    CHECK_THROWS_WITH_AS(hat::Mlp::trained({two}, norm), "hat::Mlp: the last layer has 2 outputs, expected 1",
                         hat::shape_mismatch);
    CHECK_THROWS_AS(hat::Mlp::trained({}, norm), hat::shape_mismatch);
    CHECK_THROWS_WITH_AS(hat::Mlp::trained({{1, 1, {not_a_number}, {0}}}, norm), "hat::Mlp: layer 0 holds nan",
                         hat::not_finite);
}

TEST_CASE("with the reference's weights it gives the reference's predictions") {
    const auto predictors = hat_test::shared_reference("predictors");
    if (!predictors) return;
    for (const auto& [name, unit] :
         {std::pair("iwslt14deen_gpu_titanxp", 200.0), std::pair("wmt14enfr_cpu_raspberrypi", 5000.0)}) {
        const auto weights = hat_test::load_npz(*predictors / (std::string(name) + ".npz"));
        std::vector<hat::MlpLayer> layers;
        for (const char* layer : {"first_layer", "layers.0", "layers.1", "layers.2", "predict"}) {
            const auto& w = weights.at(std::string(layer) + ".weight");
            const auto& b = weights.at(std::string(layer) + ".bias");
            layers.push_back({w.shape[0], w.shape[1], w.floats, b.floats});
        }
        const hat::MlpNormalization none{std::vector<float>(10, 0.0F), std::vector<float>(10, 1.0F), 0, 1};
        const auto predictor = hat::Mlp::trained(layers, none);
        const auto data =
            hat::LatencyDataset::load(predictors->parent_path() / "latency" / (std::string(name) + "_all.csv"));
        REQUIRE(data.rows.size() == 2000);
        const auto expected = hat::CsvTable::load(*predictors / (std::string(name) + "_pred200.csv"));
        REQUIRE(expected.rows() == 200);
        std::vector<std::size_t> first(200);
        std::iota(first.begin(), first.end(), std::size_t{0});
        const auto ms = predictor.predict_rows(data.inputs(hat::MeanFeatures{}, first), 200);
        for (std::size_t i = 0; i < 200; ++i) {
            CHECK(data.rows[i].total_ms() == doctest::Approx(expected.number(i, 1)).epsilon(1e-6));
            CHECK(static_cast<double>(ms[i]) * unit == doctest::Approx(expected.number(i, 2)).epsilon(2e-5));
        }
    }
}
