#include <hat/train/inherited_loss.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <support/tiny.hpp>
#include <thread>
#include <vector>

namespace {

hat::Weights<float> inherited_weights() {
    hat::Weights<float> w(hat_test::tiny_config());
    w.initialize(5);
    return w;
}

/// The tiny network with one decoder layer less.
hat::RuntimeArch shallower() {
    auto arch = hat_test::tiny_arch();
    arch.decoder.layers = 1;
    return arch;
}

}  // namespace

TEST_CASE("the inherited loss is that of all tokens of all batches, in bits") {
    const auto weights = inherited_weights();
    const auto batches = hat_test::copy_task(3, 4, 16);
    const hat::InheritedLoss fitness(weights, batches, 0.2);
    for (const hat::RuntimeArch& arch : {hat_test::tiny_arch(), shallower()}) {
        hat::ElasticTransformer<float> model(weights);
        hat::LossSums sums;
        for (const auto& batch : batches) sums += model.loss(arch, batch, 0.2);
        CHECK(fitness(arch) == sums.loss / static_cast<double>(sums.tokens) / std::log(2.0));
    }
    CHECK(fitness(hat_test::tiny_arch()) != fitness(shallower()));
    CHECK_THROWS_AS(hat::InheritedLoss(weights, {}), hat::invalid_value);
}

TEST_CASE("threads that score with copies of an inherited loss get the numbers of one thread") {
    const auto weights = inherited_weights();
    const hat::InheritedLoss fitness(weights, hat_test::copy_task(3, 4, 16));
    const double whole = fitness(hat_test::tiny_arch()), part = fitness(shallower());
    std::vector<double> got(8);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < got.size(); ++i)
        threads.emplace_back(
            [&got, i, copy = fitness] { got[i] = copy(i % 2 == 0 ? hat_test::tiny_arch() : shallower()); });
    for (auto& thread : threads) thread.join();
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == (i % 2 == 0 ? whole : part));
}

TEST_CASE("in bfloat16 the inherited loss is nearly that in float, and repeatable") {
    const auto weights = inherited_weights();
    const auto batches = hat_test::copy_task(3, 4, 16);
    const hat::InheritedLoss exact(weights, batches), rounded(weights, batches, 0.1, hat::Precision::bf16);
    for (const hat::RuntimeArch& arch : {hat_test::tiny_arch(), shallower()}) {
        CHECK(rounded(arch) == doctest::Approx(exact(arch)).epsilon(0.005));
        CHECK(rounded(arch) != exact(arch));
        CHECK(rounded(arch) == rounded(arch));
    }
}
