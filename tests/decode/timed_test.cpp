#include <doctest/doctest.h>

#include <decode/models.hpp>
#include <hat/decode/timed.hpp>
#include <support/files.hpp>

using hat_test::contains;
using hat_test::message_of;

TEST_CASE("a probe runs the encoder, the decoder's steps and a whole translation of the stated size") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<float>(config, 3);
    const auto arch = hat_test::small_sub();
    hat::LatencyProbe<float> probe(weights, arch,
                                   {.source_length = 9, .target_length = 6, .beam = 3, .batch = 2, .threads = 2});
    probe.encode();
    const float found = probe.decode();
    CHECK(probe.decode() == found);

    // the same steps by hand: five 7s follow a first 7
    hat::ElasticTransformer<float> model(weights);
    hat::Batch batch;
    batch.source.push_back(std::vector<std::int32_t>{7, 7, 7, 7, 7, 7, 7, 7, 2});
    batch.previous.push_back(std::vector<std::int32_t>(6, 7));
    batch.target = batch.previous;
    CHECK(model.logits(arch, batch)(5, 0) == found);

    const auto translations = probe.translate();
    REQUIRE(translations.size() == 2);
    CHECK(translations[0][0].tokens.size() == 7);
    CHECK(translations[1][0].tokens == translations[0][0].tokens);
}

TEST_CASE("a probe refuses sizes of zero and architectures that do not fit") {
    const auto weights = hat_test::random_weights<float>(hat_test::small_config(), 3);
    const auto refused = [&](const hat::ProbeOptions& o) {
        return message_of<hat::invalid_value>([&] { hat::LatencyProbe<float>(weights, hat_test::small_sub(), o); });
    };
    CHECK(contains(refused({.source_length = 0}), "source_length is 0, expected at least 1"));
    CHECK(contains(refused({.target_length = 0}), "target_length is 0"));
    CHECK(contains(refused({.beam = 0}), "beam is 0"));
    CHECK(contains(refused({.batch = 0}), "batch is 0"));
    CHECK(contains(refused({.threads = 0}), "threads is 0"));
    CHECK(contains(message_of<hat::shape_mismatch>(
                       [&] { hat::LatencyProbe<float>(weights, hat_test::small_arch(36, 24, 40, 5)); }),
                   "encoder depth is 5"));
}
