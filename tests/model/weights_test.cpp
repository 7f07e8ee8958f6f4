#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <hat/model/weights.hpp>
#include <model/models.hpp>
#include <set>
#include <support/files.hpp>

using hat_test::contains;
using hat_test::message_of;

TEST_CASE("initial weights follow the reference's distributions") {
    auto config = hat_test::small_config(hat::EmbeddingSharing::none, true);
    config.source_vocab = config.target_vocab = 500;
    config.shape.encoder.embed = config.shape.decoder.embed = 64;
    config.shape.encoder.ffn[0] = 256;
    hat::Weights<float> w(config);
    w.initialize(5);
    std::set<float> firsts;
    for (std::size_t i = 0; i < w.layout().tensors().size(); ++i) {
        const auto& t = w.layout().tensors()[i];
        CAPTURE(t.name);
        const auto values = w.tensor(static_cast<int>(i));
        double mean = 0, square = 0, largest = 0;
        for (const float v : values) {
            mean += static_cast<double>(v) / static_cast<double>(t.size);
            square += static_cast<double>(v) * static_cast<double>(v) / static_cast<double>(t.size);
            largest = std::max(largest, std::abs(static_cast<double>(v)));
        }
        const double n = static_cast<double>(t.size);
        switch (t.kind) {
            case hat::TensorInfo::Kind::embedding:
            case hat::TensorInfo::Kind::output_embedding: {
                const double variance = 1.0 / static_cast<double>(t.cols());
                CHECK(std::abs(mean) < 5 * std::sqrt(variance / n));
                CHECK(square == doctest::Approx(variance).epsilon(0.03));
                bool pad_is_zero = true;
                for (std::size_t c = 0; c < t.cols(); ++c) pad_is_zero = pad_is_zero && values[t.cols() + c] == 0;
                CHECK(pad_is_zero == (t.kind == hat::TensorInfo::Kind::embedding));
                CHECK(firsts.insert(values[0]).second);
                break;
            }
            case hat::TensorInfo::Kind::matrix: {
                const double bound = std::sqrt(6.0 / static_cast<double>(t.rows() + t.cols()));
                CHECK(largest <= bound);
                CHECK(largest > 0.95 * bound);
                CHECK(std::abs(mean) < 5 * bound / std::sqrt(3 * n));
                CHECK(square == doctest::Approx(bound * bound / 3).epsilon(0.15));
                CHECK(firsts.insert(values[0]).second);  // each tensor has its own stream
                break;
            }
            case hat::TensorInfo::Kind::norm_weight:
                for (const float v : values) CHECK(v == 1);
                break;
            case hat::TensorInfo::Kind::bias:
            case hat::TensorInfo::Kind::norm_bias:
                CHECK(largest == 0);
                break;
        }
    }
    hat::Weights<float> same(config), other(config);
    same.initialize(5), other.initialize(6);
    CHECK(std::equal(w.values().begin(), w.values().end(), same.values().begin()));
    CHECK(!std::equal(w.values().begin(), w.values().end(), other.values().begin()));
}

TEST_CASE("tensors are aligned, disjoint, and found by name; copies and moves keep their numbers") {
    const auto config = hat_test::small_config();
    auto w = hat_test::random_weights<float>(config, 1);
    std::size_t end = 0;
    for (std::size_t i = 0; i < w.layout().tensors().size(); ++i) {
        const auto& t = w.layout().tensors()[i];
        CHECK(t.offset % 16 == 0);
        CHECK(t.offset >= end);
        end = t.offset + t.size;
        CHECK(w.layout().find(t.name) == static_cast<int>(i));
        CHECK(reinterpret_cast<std::uintptr_t>(w.tensor(static_cast<int>(i)).data()) % 64 == 0);
    }
    CHECK(end <= w.layout().size());
    CHECK(w.layout().find("no such tensor") == -1);
    const std::vector<float> numbers(w.values().begin(), w.values().end());
    const hat::Weights<float> copy = w;
    w.values()[0] += 1;
    CHECK(copy.values()[0] == numbers[0]);
    w = copy;
    const hat::Weights<float> moved = std::move(w);
    CHECK(std::equal(numbers.begin(), numbers.end(), moved.values().begin(), moved.values().end()));
}

TEST_CASE("configurations that make no weights are refused") {
    const auto message = [](auto change) {
        auto c = hat_test::small_config();
        change(c);
        return message_of<hat::invalid_value>([&] { hat::WeightLayout layout(c); });
    };
    CHECK(message([](auto&) {}) == "");
    CHECK(
        contains(message([](auto& c) { c.shape.encoder.embed = 0; }), "encoder width 0 and depth 3 must be positive"));
    CHECK(contains(message([](auto& c) { c.shape.decoder.layers = 0; }), "decoder width 10 and depth 0"));
    CHECK(contains(message([](auto& c) { c.shape.decoder.layers = 17; }), "depth 17"));
    CHECK(contains(message([](auto& c) { c.shape.encoder.ffn[1] = 0; }), "encoder layer 1: FFN width 0"));
    CHECK(contains(message([](auto& c) { c.shape.decoder.qkv[0] = -4; }),
                   "decoder layer 0: FFN width 13 and qkv width -4"));
    CHECK(contains(message([](auto& c) { c.source_vocab = c.target_vocab = 4; }), "must exceed the 4 special tokens"));
    CHECK(contains(message([](auto& c) { c.source_vocab = 12; }),
                   "shared embeddings need equal vocabularies, got 12 and 11"));
    CHECK(contains(message([](auto& c) { c.encoder_super_embed = 9; }),
                   "encoder width 10 exceeds that of its SuperTransformer, 9"));
    CHECK(contains(message([](auto& c) { c.attend_to_copies_of = 2; }),
                   "attend_to_copies_of is 2, expected 0 or at least the encoder's 3 layers"));
}
