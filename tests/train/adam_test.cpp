#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <hat/train/adam.hpp>
#include <limits>
#include <support/files.hpp>
#include <support/numbers.hpp>
#include <support/tiny.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

template <class T>
hat::Weights<T> random_weights(std::uint64_t seed, std::shared_ptr<const hat::WeightLayout> layout, double size = 1) {
    hat::Weights<T> w(std::move(layout));
    hat::Rng rng(seed);
    for (T& v : w.values()) v = static_cast<T>(rng.normal() * size);
    return w;
}

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace

TEST_CASE_TEMPLATE("Adam follows the formula, with clipping, decay and a step count per tensor", T, float, double) {
    const auto layout = std::make_shared<const hat::WeightLayout>(hat_test::tiny_config());
    const hat::AdamOptions options{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.1, .clip_norm = 0.5};
    hat::Adam<T> adam(layout, options);
    auto weights = random_weights<T>(1, layout);
    const auto all = layout->active(hat_test::tiny_arch()), few = layout->active(hat_test::tiny_sub_arch());
    const std::size_t n = layout->tensors().size();
    std::vector<std::vector<double>> w(n), m(n), v(n);
    std::vector<int> steps(n);
    for (std::size_t t = 0; t < n; ++t) {
        const auto values = weights.tensor(static_cast<int>(t));
        w[t].assign(values.begin(), values.end());
        m[t].resize(w[t].size());
        v[t].resize(w[t].size());
    }
    for (int update = 0; update < 4; ++update) {
        const double lr = 0.01 * (update + 1), scale = 0.25;
        const auto gradient =
            random_weights<T>(10 + static_cast<std::uint64_t>(update), layout, update == 3 ? 1e-4 : 1);
        const auto& active = update == 1 ? few : all;
        double squares = 0;
        for (std::size_t t = 0; t < n; ++t)
            if (active[t])
                for (const T g : gradient.tensor(static_cast<int>(t))) squares += double(g) * double(g) * scale * scale;
        const double norm = adam.update(weights, gradient, active, lr, scale);
        CHECK(norm == doctest::Approx(std::sqrt(squares)).epsilon(1e-9));
        const double factor = scale * (norm > 0.5 ? 0.5 / (norm + 1e-6) : 1.0);
        CHECK((factor == scale) == (update == 3));
        for (std::size_t t = 0; t < n; ++t) {
            if (!active[t]) continue;
            ++steps[t];
            const auto g = gradient.tensor(static_cast<int>(t));
            const double rate = lr * std::sqrt(1 - std::pow(0.95, steps[t])) / (1 - std::pow(0.8, steps[t]));
            for (std::size_t i = 0; i < w[t].size(); ++i) {
                const double x = double(g[i]) * factor;
                m[t][i] = 0.8 * m[t][i] + 0.2 * x;
                v[t][i] = 0.95 * v[t][i] + 0.05 * x * x;
                w[t][i] -= 0.1 * lr * w[t][i];
                w[t][i] -= rate * m[t][i] / (std::sqrt(v[t][i]) + 1e-3);
            }
        }
    }
    double worst = 0;
    for (std::size_t t = 0; t < n; ++t) {
        CHECK(adam.steps[t] == static_cast<std::uint64_t>(steps[t]));
        CHECK(adam.steps[t] == (few[t] ? 4U : 3U));
        const auto values = weights.tensor(static_cast<int>(t));
        for (std::size_t i = 0; i < w[t].size(); ++i)
            worst = hat_test::worse(worst, std::abs(double(values[i]) - w[t][i]));
    }
    CHECK(worst < (sizeof(T) == 4 ? 2e-6 : 1e-14));
}

TEST_CASE("a tensor outside the sampled network keeps weights and moments to the bit") {
    const auto layout = std::make_shared<const hat::WeightLayout>(hat_test::tiny_config());
    hat::Adam<float> adam(layout, {.weight_decay = 0.1});
    auto weights = random_weights<float>(1, layout);
    const auto gradient = random_weights<float>(2, layout);
    adam.update(weights, gradient, layout->active(hat_test::tiny_arch()), 0.01);
    const auto before = weights;
    const auto active = layout->active(hat_test::tiny_sub_arch());
    adam.update(weights, gradient, active, 0.01);
    for (std::size_t t = 0; t < active.size(); ++t) {
        const int i = static_cast<int>(t);
        CHECK(same_bits<float>(weights.tensor(i), before.tensor(i)) == !active[t]);
    }
}

TEST_CASE("one thread and three give the same bits, on tensors of several blocks") {
    const auto layout = std::make_shared<const hat::WeightLayout>(hat_test::tiny_config(5000));
    hat::Adam<float> one(layout, {.clip_norm = 1}), three(layout, {.clip_norm = 1}, hat::ThreadPool(3));
    auto a = random_weights<float>(1, layout), b = a;
    const auto active = layout->active(hat_test::tiny_arch());
    for (std::uint64_t update = 0; update < 3; ++update) {
        const auto gradient = random_weights<float>(5 + update, layout);
        CHECK(one.update(a, gradient, active, 0.01) == three.update(b, gradient, active, 0.01));
    }
    CHECK(same_bits<float>(a.values(), b.values()));
    CHECK(same_bits<float>(one.second.values(), three.second.values()));
}

TEST_CASE("only the gradients of active tensors are cleared, by any number of threads") {
    const auto layout = std::make_shared<const hat::WeightLayout>(hat_test::tiny_config());
    const auto active = layout->active(hat_test::tiny_sub_arch());
    const auto before = random_weights<float>(3, layout);
    for (const std::size_t threads : {std::size_t{1}, std::size_t{3}}) {
        auto gradient = before;
        hat::Adam<float>(layout, {}, hat::ThreadPool(threads)).clear(gradient, active);
        for (std::size_t t = 0; t < active.size(); ++t) {
            const auto values = gradient.tensor(static_cast<int>(t));
            const auto old = before.tensor(static_cast<int>(t));
            for (std::size_t i = 0; i < values.size(); ++i) REQUIRE(values[i] == (active[t] ? 0 : old[i]));
        }
    }
    CHECK(std::count(active.begin(), active.end(), false) > 0);
    hat::Weights<float> other(hat_test::tiny_config(20));
    CHECK_THROWS_AS(hat::Adam<float>(layout).clear(other, active), hat::shape_mismatch);
}

TEST_CASE("a NaN or infinity is reported with its tensor and changes nothing") {
    const auto layout = std::make_shared<const hat::WeightLayout>(hat_test::tiny_config());
    hat::Adam<float> adam(layout);
    auto weights = random_weights<float>(1, layout);
    auto gradient = random_weights<float>(2, layout);
    const int bad = layout->find("decoder.layers.1.fc1.weight");
    gradient.tensor(bad)[7] = std::numeric_limits<float>::infinity();
    const auto before = weights;
    const auto active = layout->active(hat_test::tiny_arch());
    CHECK(message_of<hat::not_finite>([&] { adam.update(weights, gradient, active, 0.01); }) ==
          "the gradient of decoder.layers.1.fc1.weight has a NaN or infinity");
    gradient.tensor(bad)[7] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_AS(adam.update(weights, gradient, active, 0.01), hat::not_finite);
    CHECK(same_bits<float>(weights.values(), before.values()));
    CHECK(adam.steps[0] == 0);
    // not part of the network: not looked at
    CHECK_NOTHROW(adam.update(weights, gradient, layout->active(hat_test::tiny_sub_arch()), 0.01));
}

TEST_CASE("impossible options and foreign layouts are refused") {
    const auto layout = std::make_shared<const hat::WeightLayout>(hat_test::tiny_config());
    const auto message = [&](hat::AdamOptions o) {
        return message_of<hat::invalid_value>([&] { hat::Adam<float> adam(layout, o); });
    };
    CHECK(message({.beta1 = 1}) == "hat::AdamOptions: beta1 is 1.000000, expected 0 to less than 1");
    CHECK(contains(message({.beta2 = -0.1}), "beta2 is -0.1"));
    CHECK(contains(message({.epsilon = 0}), "epsilon is 0"));
    CHECK(contains(message({.weight_decay = -1}), "weight_decay is -1"));
    CHECK(contains(message({.clip_norm = std::nan("")}), "clip_norm is"));
    hat::Adam<float> adam(layout);
    hat::Weights<float> weights(layout), other(hat_test::tiny_config(20));
    CHECK_THROWS_AS(adam.update(weights, other, layout->active(hat_test::tiny_arch()), 0.1), hat::shape_mismatch);
}
