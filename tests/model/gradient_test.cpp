#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <hat/core/thread_pool.hpp>
#include <hat/model/elastic.hpp>
#include <kernel/sheet.hpp>
#include <model/all_dropouts.hpp>
#include <model/models.hpp>

using hat_test::all_dropouts;

namespace {

/// Compares the whole gradient, tensor by tensor, to central differences.
void check_gradient(const hat::TransformerConfig& config, const hat::RuntimeArch& arch,
                    const hat::LossOptions& options) {
    auto weights = hat_test::random_weights<double>(config, 3);
    hat::Rng rng(5);
    const auto batch = hat_test::random_batch(config, 3, 4, rng);
    hat::ElasticTransformer<double> model(weights);
    hat::Weights<double> gradient(weights.shared_layout()), scratch(weights.shared_layout());
    const auto sums = model.loss_and_gradient(arch, batch, options, gradient);
    CHECK(sums.tokens == batch.target_tokens());
    const bool drops = options.dropout > 0;
    const auto loss = [&] {
        return drops ? model.loss_and_gradient(arch, batch, options, scratch).loss
                     : model.loss(arch, batch, options.label_smoothing).loss;
    };
    const auto active = weights.layout().active(arch);
    for (std::size_t i = 0; i < active.size(); ++i) {
        const int at = static_cast<int>(i);
        CAPTURE(weights.info(at).name);
        const auto found = gradient.tensor(at);
        if (!active[i]) {
            for (const double g : found) CHECK(g == 0);
            continue;
        }
        const std::size_t step = 1 + found.size() / 4;  // some elements of each tensor
        CHECK(hat_test::gradient_error(weights.tensor(at), std::span<const double>(found), loss, step, i % step) <
              2e-5);
    }
}

const hat::LossOptions plain{.label_smoothing = 0.1};
/// Narrower than small_config() in every way, spans 3 and 2.
hat::RuntimeArch narrow(const hat::TransformerConfig& c) {
    hat::RuntimeArch a = c.shape;
    a.encoder.embed -= 3, a.decoder.embed -= 2;
    a.encoder.ffn = {9, 14, 5}, a.encoder.qkv = {6, 12, 8}, a.encoder.self_heads = {3, 1, 4};
    a.decoder.ffn = {7, 11}, a.decoder.qkv = {8, 9}, a.decoder.self_heads = {2, 3};
    a.decoder.cross_heads = {4, 1}, a.decoder.cross_span = {3, 2};
    return a;
}

}  // namespace

TEST_CASE("gradients equal finite differences: each norm, each sharing, with and without dropout") {
    for (const bool pre_norm : {false, true})
        for (const auto sharing :
             {hat::EmbeddingSharing::none, hat::EmbeddingSharing::decoder_input_output, hat::EmbeddingSharing::all})
            for (const auto& options : {plain, all_dropouts}) {
                CAPTURE(pre_norm);
                CAPTURE(static_cast<int>(sharing));
                CAPTURE(options.dropout);
                const auto config = hat_test::small_config(sharing, pre_norm);
                check_gradient(config, config.shape, options);
                check_gradient(config, narrow(config), options);
            }
}

TEST_CASE("gradients equal finite differences: each attention span at each depth") {
    for (const bool pre_norm : {false, true})
        for (const int depth : {1, 2, 3})
            for (const auto& spans : {std::array{1, 1}, {1, 2}, {2, 2}, {2, 3}, {3, 1}, {3, 3}}) {
                CAPTURE(pre_norm);
                CAPTURE(depth);
                CAPTURE(spans[0]);
                CAPTURE(spans[1]);
                const auto config = hat_test::small_config(hat::EmbeddingSharing::all, pre_norm);
                auto arch = config.shape;
                arch.encoder.layers = depth;
                arch.decoder.cross_span = {spans[0], spans[1]};
                check_gradient(config, arch, depth == 3 && spans[0] == 3 ? all_dropouts : plain);
            }
}

TEST_CASE("gradients in bf16 are near those in fp32, the same for any number of threads; doubles have no bf16") {
    for (const bool pre_norm : {false, true}) {
        CAPTURE(pre_norm);
        const auto config = hat_test::small_config(hat::EmbeddingSharing::all, pre_norm);
        const auto weights = hat_test::random_weights<float>(config, 3);
        hat::Rng rng(5);
        const auto batch = hat_test::random_batch(config, 8, 9, rng);
        hat::LossOptions options = all_dropouts;
        const auto run = [&](std::size_t threads, hat::Weights<float>& gradient) {
            return hat::ElasticTransformer<float>(weights, hat::ThreadPool(threads))
                .loss_and_gradient(narrow(config), batch, options, gradient);
        };
        hat::Weights<float> exact(weights.shared_layout()), rounded(exact), threaded(exact);
        const double loss = run(1, exact).loss;
        options.precision = hat::Precision::bf16;
        const double near = run(1, rounded).loss;
        CHECK(near != loss);
        CHECK(near == doctest::Approx(loss).epsilon(0.01));
        CHECK(run(3, threaded).loss == near);
        double error = 0, size = 0;
        for (std::size_t i = 0; i < exact.values().size(); ++i) {
            CHECK(rounded.values()[i] == threaded.values()[i]);
            const double e = exact.values()[i], d = rounded.values()[i] - e;
            error += d * d, size += e * e;
        }
        // an operand is off by up to 1/256, about 1/600 on average, and some ten products follow each other
        CHECK(std::sqrt(error / size) < 0.02);
        CHECK(error > 0);
        options.precision = hat::Precision::bf16x3;
        hat::Weights<float> split(weights.shared_layout());
        CHECK(run(3, split).loss == doctest::Approx(loss).epsilon(1e-6));
        error = 0;
        for (std::size_t i = 0; i < exact.values().size(); ++i) {
            const double d = static_cast<double>(split.values()[i]) - static_cast<double>(exact.values()[i]);
            error += d * d;
        }
        CHECK(std::sqrt(error / size) < 1e-5);
    }
    const auto config = hat_test::small_config(hat::EmbeddingSharing::all, false);
    const auto weights = hat_test::random_weights<double>(config, 3);
    hat::Weights<double> gradient(weights.shared_layout());
    hat::Rng rng(5);
    CHECK_THROWS_WITH_AS(
        hat::ElasticTransformer<double>(weights).loss_and_gradient(
            config.shape, hat_test::random_batch(config, 2, 3, rng), {.precision = hat::Precision::bf16}, gradient),
        "hat::ElasticTransformer: precision is bf16, which needs a model of floats", hat::invalid_value);
}

TEST_CASE("gradients equal finite differences: encoder and decoder of different widths") {
    for (const auto sharing : {hat::EmbeddingSharing::none, hat::EmbeddingSharing::all})
        for (const int encoder : {8, 12}) {
            CAPTURE(encoder);
            const auto config = hat_test::small_config(sharing, false, encoder, 10);
            check_gradient(config, config.shape, all_dropouts);
            check_gradient(config, narrow(config), all_dropouts);
        }
}

TEST_CASE("gradients equal finite differences: the reference's peculiarities and mixed norms") {
    for (const int span : {2, 3}) {
        auto config = hat_test::small_config(hat::EmbeddingSharing::all, true);
        config.attend_to_copies_of = 3;
        config.unnormalized_memory = true;
        config.vocab_original_scaling = true;
        auto arch = config.shape;
        arch.decoder.cross_span = {span, 1};
        for (const int depth : {1, 2, 3}) {
            arch.encoder.layers = depth;
            check_gradient(config, arch, plain);
        }
    }
    auto config = hat_test::small_config(hat::EmbeddingSharing::none, true);
    config.decoder_final_norm = false;
    check_gradient(config, config.shape, plain);
    config.decoder_pre_norm = false;
    check_gradient(config, narrow(config), all_dropouts);
}
