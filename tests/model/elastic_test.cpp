#include <doctest/doctest.h>

#include <cmath>
#include <hat/model/elastic.hpp>
#include <limits>
#include <model/all_dropouts.hpp>
#include <model/models.hpp>
#include <support/files.hpp>

using hat_test::contains;
using hat_test::message_of;

using hat_test::all_dropouts;

namespace {

/// Large enough that every kernel cuts its work into several pieces.
hat::TransformerConfig wide_config() {
    auto c = hat_test::small_config();
    c.source_vocab = c.target_vocab = 300;
    c.shape.encoder.embed = c.shape.decoder.embed = 72;
    for (std::size_t i = 0; i < 3; ++i) c.shape.encoder.ffn[i] = 200, c.shape.encoder.qkv[i] = 64;
    for (std::size_t i = 0; i < 2; ++i) {
        c.shape.decoder.ffn[i] = 200, c.shape.decoder.qkv[i] = 64, c.shape.decoder.self_heads[i] = 4;
        c.shape.decoder.cross_span[i] = 2;
    }
    return c;
}

template <class T>
bool same(std::span<const T> a, std::span<const T> b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace

TEST_CASE("loss and gradient are the same bits for 1, 2 and 5 threads") {
    const auto config = wide_config();
    const auto weights = hat_test::random_weights<float>(config, 1);
    hat::Rng rng(2);
    const auto batch = hat_test::random_batch(config, 40, 30, rng);
    hat::Weights<float> expected(weights.shared_layout());
    hat::ElasticTransformer<float> one(weights);
    const auto sums = one.loss_and_gradient(config.shape, batch, all_dropouts, expected);
    for (const std::size_t threads : {2U, 5U}) {
        hat::ElasticTransformer<float> many(weights, hat::ThreadPool(threads));
        for (int repeat = 0; repeat < 2; ++repeat) {
            hat::Weights<float> gradient(weights.shared_layout());
            CHECK(many.loss_and_gradient(config.shape, batch, all_dropouts, gradient).loss == sums.loss);
            CHECK(same<float>(gradient.values(), expected.values()));
        }
        CHECK(many.peak_bytes() == one.peak_bytes());
    }
}

TEST_CASE("a layer keeps queries, keys, values, maps, neurons and the inputs of its norms for the backward pass") {
    for (const bool pre_norm : {false, true}) {
        auto config = wide_config();
        config.encoder_pre_norm = config.decoder_pre_norm = pre_norm;
        const auto weights = hat_test::random_weights<float>(config, 1);
        hat::Rng rng(3);
        const auto batch = hat_test::random_batch(config, 40, 30, rng);
        const auto peak = [&](int encoder_layers, int decoder_layers) {
            auto arch = config.shape;
            arch.encoder.layers = encoder_layers;
            arch.decoder.layers = decoder_layers;
            hat::ElasticTransformer<float> model(weights);
            hat::Weights<float> gradient(weights.shared_layout());
            model.loss_and_gradient(arch, batch, all_dropouts, gradient);
            return model.peak_bytes();
        };
        const auto bytes = [](std::size_t n) { return hat::FixedArena::block_bytes<float>(n); };
        const auto attention = [&](const hat::Ragged& from, const hat::Ragged& to, std::size_t heads,
                                   std::size_t span) {
            const std::size_t rows = from.tokens.size(), memory = span * to.tokens.size();
            std::size_t map = 0;
            for (std::size_t i = 0; i < from.size(); ++i) map += heads * from[i].size() * span * to[i].size();
            return bytes(rows * 64) + 2 * bytes(memory * 64) + bytes(map) + bytes(rows * 72) + 2 * bytes(rows);
        };
        const auto feed_forward = [&](std::size_t rows) {
            return bytes(rows * 200) + bytes(rows * 72) + 2 * bytes(rows);
        };
        const auto &s = batch.source, &t = batch.previous;
        const auto heads = static_cast<std::size_t>(config.shape.encoder.self_heads[2]);
        CHECK(peak(3, 2) - peak(2, 2) == attention(s, s, heads, 1) + feed_forward(s.tokens.size()));
        CHECK(peak(3, 2) - peak(3, 1) ==
              attention(t, t, 4, 1) +
                  attention(t, s, static_cast<std::size_t>(config.shape.decoder.cross_heads[1]), 2) +
                  feed_forward(t.tokens.size()));
    }
}

TEST_CASE("the loss and gradient of a batch are the sums over its sentences") {
    for (const bool pre_norm : {false, true}) {
        const auto config = hat_test::small_config(hat::EmbeddingSharing::all, pre_norm);
        const auto weights = hat_test::random_weights<double>(config, 1);
        hat::Rng rng(3);
        const auto batch = hat_test::random_batch(config, 7, 6, rng);
        hat::ElasticTransformer<double> model(weights);
        hat::Weights<double> whole(weights.shared_layout()), parts(weights.shared_layout());
        hat::LossSums sums;
        auto arch = config.shape;
        arch.decoder.cross_span = {3, 2};
        const auto all = model.loss_and_gradient(arch, batch, {}, whole);
        const auto logits = model.logits(arch, batch);
        for (std::size_t i = 0; i < batch.sentences(); ++i) {
            hat::Batch single;
            single.push_back(batch.source[i], batch.target[i]);
            sums += model.loss_and_gradient(arch, single, {}, parts);
            const auto own = model.logits(arch, single);
            CHECK(std::equal(
                own.begin(), own.end(),
                logits.begin() + static_cast<std::ptrdiff_t>(batch.target.offsets[i] * config.target_vocab)));
        }
        CHECK(all.loss == doctest::Approx(sums.loss).epsilon(1e-12));
        CHECK(all.nll == doctest::Approx(sums.nll).epsilon(1e-12));
        CHECK(all.tokens == sums.tokens);
        for (std::size_t i = 0; i < whole.values().size(); ++i)
            REQUIRE(std::abs(whole.values()[i] - parts.values()[i]) < 1e-10);
    }
}

TEST_CASE("the gradient is added, the same loss comes with and without it, and dropout follows its seed") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<double>(config, 1);
    hat::Rng rng(4);
    const auto batch = hat_test::random_batch(config, 5, 6, rng);
    hat::ElasticTransformer<double> model(weights);
    hat::Weights<double> once(weights.shared_layout()), twice(weights.shared_layout());
    const double plain = model.loss_and_gradient(config.shape, batch, {}, once).loss;
    CHECK(model.loss(config.shape, batch, 0.1).loss == plain);
    model.loss_and_gradient(config.shape, batch, {}, twice);
    model.loss_and_gradient(config.shape, batch, {}, twice);
    for (std::size_t i = 0; i < once.values().size(); ++i)
        REQUIRE(std::abs(twice.values()[i] - 2 * once.values()[i]) < 1e-10);
    auto options = all_dropouts;
    const double a = model.loss_and_gradient(config.shape, batch, options, once).loss;
    CHECK(model.loss_and_gradient(config.shape, batch, options, once).loss == a);
    options.seed = 10;
    CHECK(model.loss_and_gradient(config.shape, batch, options, once).loss != a);
    CHECK(a != plain);
}

TEST_CASE("the mean loss under dropout stays near the loss without") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<double>(config, 1);
    hat::Rng rng(4);
    const auto batch = hat_test::random_batch(config, 5, 6, rng);
    hat::ElasticTransformer<double> model(weights);
    hat::Weights<double> unused(weights.shared_layout());
    double sum = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed)
        sum += model
                   .loss_and_gradient(
                       config.shape, batch,
                       {.dropout = 0.02, .attention_dropout = 0.02, .activation_dropout = 0.02, .seed = seed}, unused)
                   .loss;
    CHECK(sum / 200 == doctest::Approx(model.loss(config.shape, batch, 0.1).loss).epsilon(0.02));
}

TEST_CASE("bad architectures, batches and options are refused with a clear message") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<float>(config, 1);
    hat::ElasticTransformer<float> model(weights);
    hat::Weights<float> gradient(weights.shared_layout());
    hat::Rng rng(4);
    const auto good = hat_test::random_batch(config, 3, 4, rng);
    const auto loss_of = [&](const hat::Batch& batch) { model.loss(config.shape, batch, 0.1); };

    auto batch = good;
    batch.source.tokens[0] = 11;
    CHECK(message_of<hat::invalid_value>([&] { loss_of(batch); }) ==
          "hat: source token 11 is outside the vocabulary of 11");
    batch = good;
    batch.source.tokens[1] = -1;
    CHECK(contains(message_of<hat::invalid_value>([&] { loss_of(batch); }), "source token -1 is outside"));
    batch = good;
    batch.previous.tokens[1] = 99;
    CHECK(contains(message_of<hat::invalid_value>([&] { loss_of(batch); }), "target token 99 is outside"));
    batch = good;
    batch.target.tokens[1] = 99;
    CHECK(contains(message_of<hat::invalid_value>([&] { loss_of(batch); }), "target token 99 is outside"));
    batch = good;
    batch.source.push_back({});
    CHECK(contains(message_of<hat::shape_mismatch>([&] { loss_of(batch); }), "source sentence 3 is empty"));
    batch = good;
    batch.source.push_back(std::vector<std::int32_t>{4, 2});
    CHECK(contains(message_of<hat::shape_mismatch>([&] { loss_of(batch); }), "4 source and 3 target sentences"));
    batch = good;
    batch.target.push_back(std::vector<std::int32_t>{4, 2});
    CHECK(contains(message_of<hat::shape_mismatch>([&] { loss_of(batch); }), "differ in length"));

    auto arch = config.shape;
    arch.encoder.embed = 11;
    CHECK(contains(message_of<hat::shape_mismatch>([&] { model.loss(arch, good, 0.1); }),
                   "encoder embedding width is 11, but the weights hold at most 10"));

    const auto with = [&](const hat::LossOptions& o) {
        return message_of<hat::invalid_value>([&] { model.loss_and_gradient(config.shape, good, o, gradient); });
    };
    CHECK(contains(with({.dropout = 1.0}), "dropout is 1.000000, expected at least 0 and less than 1"));
    CHECK(contains(with({.attention_dropout = -0.5}), "attention_dropout is -0.5"));
    CHECK(contains(with({.activation_dropout = std::nan("")}), "activation_dropout is nan"));
    CHECK(contains(with({.label_smoothing = 2}), "label_smoothing is 2"));

    auto other = hat_test::small_config();
    other.shape.encoder.ffn[0] = 99;
    hat::Weights<float> wrong(other);
    CHECK(contains(message_of<hat::shape_mismatch>([&] { model.loss_and_gradient(config.shape, good, {}, wrong); }),
                   "the gradient has another layout"));
}

TEST_CASE("a NaN in any active parameter is seen in the loss or the gradient") {
    const auto config = hat_test::small_config();
    hat::Rng rng(4);
    const auto batch = hat_test::random_batch(config, 3, 4, rng);
    auto weights = hat_test::random_weights<float>(config, 1);
    hat::ElasticTransformer<float> model(weights);
    for (std::size_t i = 1; i < weights.layout().tensors().size(); ++i) {  // 0: an embedding, most rows are unused
        CAPTURE(weights.layout().tensors()[i].name);
        float& v = weights.tensor(static_cast<int>(i))[0];
        const float old = v;
        v = std::numeric_limits<float>::quiet_NaN();
        hat::Weights<float> gradient(weights.shared_layout());
        CHECK(contains(message_of<hat::not_finite>([&] { model.loss_and_gradient(config.shape, batch, {}, gradient); }),
                       "the loss is NaN over"));
        CHECK(std::isnan(model.loss(config.shape, batch, 0.1).loss));
        v = old;
    }
}
