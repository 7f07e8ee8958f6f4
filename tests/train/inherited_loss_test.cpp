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
    const hat::InheritedLoss fitness(weights, batches, {.label_smoothing = 0.2});
    for (const hat::RuntimeArch& arch : {hat_test::tiny_arch(), shallower()}) {
        hat::ElasticTransformer<float> model(weights);
        hat::LossSums sums;
        for (const auto& batch : batches) sums += model.loss(arch, batch, 0.2, hat::Precision::bf16x3);
        CHECK(fitness(arch) == sums.loss / static_cast<double>(sums.tokens) / std::log(2.0));
    }
    CHECK(fitness(hat_test::tiny_arch()) != fitness(shallower()));
    CHECK_THROWS_AS(hat::InheritedLoss(weights, {}), hat::invalid_value);
}

TEST_CASE("threads that score with copies of an inherited loss get the numbers of one thread") {
    const auto weights = inherited_weights();
    const hat::InheritedLoss fitness(weights, hat_test::copy_task(3, 4, 16), {.encoder_cache_bytes = 1 << 20});
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
    const hat::InheritedLoss exact(weights, batches, {.precision = hat::Precision::fp32}),
        rounded(weights, batches, {.precision = hat::Precision::bf16}), split(weights, batches);
    for (const hat::RuntimeArch& arch : {hat_test::tiny_arch(), shallower()}) {
        CHECK(rounded(arch) == doctest::Approx(exact(arch)).epsilon(0.005));
        CHECK(rounded(arch) != exact(arch));
        CHECK(rounded(arch) == rounded(arch));
        CHECK(split(arch) == doctest::Approx(exact(arch)).epsilon(1e-6));
    }
}

TEST_CASE("networks with the same encoder run it once, and have the loss of networks scored alone") {
    auto config = hat_test::tiny_config();
    config.encoder_pre_norm = true;
    hat::Weights<float> weights(config);
    weights.initialize(7);
    const auto batches = hat_test::copy_task(3, 4, 16);
    const hat::InheritedLoss alone(weights, batches);
    const auto spans = [](int first, int second) {
        auto arch = hat_test::tiny_arch();
        arch.decoder.cross_span[0] = first, arch.decoder.cross_span[1] = second;
        return arch;
    };
    auto narrow = spans(1, 2);
    narrow.encoder.embed = 12;
    const auto deepest = spans(1, 2), last = spans(1, 1);
    SUBCASE("whichever comes first") {
        const hat::InheritedLoss fitness(weights, batches, {.encoder_cache_bytes = 1 << 20});
        CHECK(fitness(last) == alone(last));
        CHECK(fitness.encoders_reused() == 0);
        CHECK(fitness(deepest) == alone(deepest));  // needs one encoder layer more than was kept
        CHECK(fitness.encoders_reused() == 0);
        CHECK(fitness(last) == alone(last));
        CHECK(fitness(spans(2, 1)) == alone(spans(2, 1)));
        CHECK(fitness(shallower()) == alone(shallower()));
        CHECK(fitness.encoders_reused() == 3);
        CHECK(fitness(narrow) == alone(narrow));
        CHECK(fitness.encoders_reused() == 3);
        CHECK(alone.encoders_reused() == 0);
    }
    SUBCASE("in as much memory as was allowed: the encoder that was used last stays") {
        std::size_t tokens = 0;
        for (const auto& batch : batches) tokens += batch.source.tokens.size();
        const hat::InheritedLoss fitness(weights, batches,
                                         {.encoder_cache_bytes = 2 * tokens * 16 * sizeof(float)});  // of `deepest`
        CHECK(fitness(deepest) == alone(deepest));
        CHECK(fitness(last) == alone(last));
        CHECK(fitness.encoders_reused() == 1);
        CHECK(fitness(narrow) == alone(narrow));
        CHECK(fitness(deepest) == alone(deepest));
        CHECK(fitness.encoders_reused() == 1);
        CHECK(fitness(last) == alone(last));
        CHECK(fitness.encoders_reused() == 2);
    }
}

TEST_CASE("memories of another batch or encoder are refused") {
    const auto weights = inherited_weights();
    hat::ElasticTransformer<float> model(weights);
    const auto batches = hat_test::copy_task(3, 2, 16);
    const auto arch = hat_test::tiny_arch();
    auto narrow = arch;
    narrow.encoder.embed = 12;
    const auto memories = model.memories(arch, batches[0]);
    CHECK(memories.size() == model.memory_count(arch));
    CHECK(model.loss(arch, batches[0], 0.1, hat::Precision::fp32, memories).loss ==
          model.loss(arch, batches[0], 0.1).loss);
    const auto refused = [&](const hat::RuntimeArch& a, const hat::Batch& batch, const auto& m) {
        CHECK_THROWS_AS(model.loss(a, batch, 0.1, hat::Precision::fp32, m), hat::shape_mismatch);
    };
    refused(narrow, batches[0], memories);
    refused(arch, batches[0], std::vector<hat::Matrix<float>>{});
    refused(arch, hat_test::copy_task(3, 2, 8)[0], memories);
}
