#include <doctest/doctest.h>

#include <cmath>
#include <hat/model/elastic.hpp>
#include <hat/model/extract.hpp>
#include <hat/quant/quantized.hpp>
#include <hat/space/cost.hpp>
#include <limits>
#include <model/models.hpp>
#include <support/files.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

hat::TransformerConfig config_of(hat::EmbeddingSharing sharing) {
    auto c = hat_test::small_config(sharing, true, 40, 48);
    c.source_vocab = c.target_vocab = 200;
    for (std::size_t i = 0; i < 3; ++i) c.shape.encoder.ffn[i] = 90;
    return c;
}

double total_error(const std::vector<hat::QuantizationError>& report) {
    double sum = 0;
    for (const auto& r : report) sum += r.relative;
    return sum;
}

}  // namespace

TEST_CASE("codes of every width come back from their packed bytes") {
    hat::Rng rng(1);
    for (unsigned bits = 1; bits <= 8; ++bits) {
        const std::size_t n = 77;
        std::vector<std::uint8_t> codes((n * bits + 7) / 8);
        std::vector<unsigned> expected;
        for (std::size_t i = 0; i < n; ++i) {
            expected.push_back(static_cast<unsigned>(rng.below(1U << bits)));
            hat::detail::put_code(codes, bits, i, expected[i]);
        }
        for (std::size_t i = 0; i < n; ++i) CHECK(hat::detail::get_code(codes, bits, i) == expected[i]);
    }
}

TEST_CASE("more bits and smaller groups make smaller errors; biases and norms are exact; threads change nothing") {
    const auto config = config_of(hat::EmbeddingSharing::none);
    const auto weights = hat_test::random_weights<float>(config, 1);
    double last = 1e9;
    for (unsigned bits = 2; bits <= 8; ++bits) {
        const auto q = hat::quantize(hat::ThreadPool(2), weights, config.shape, {bits, 0});
        const auto grouped = hat::quantize(hat::ThreadPool(2), weights, config.shape, {bits, 7});
        const auto report = hat::quantization_report(weights, q);
        const auto serial = hat::quantize(hat::Serial{}, weights, config.shape, {bits, 7});
        REQUIRE(report.size() == weights.layout().tensors().size());
        for (std::size_t i = 0; i < report.size(); ++i) {
            const auto& info = weights.layout().tensors()[i];
            CAPTURE(info.name);
            CHECK(report[i].name == info.name);
            CHECK(report[i].bytes_fp32 == 4 * info.size);
            if (hat::is_quantized(info)) {
                CHECK(report[i].relative > 0);
                CHECK(report[i].relative < (bits == 4 ? 0.13 : 0.45));
            } else {
                CHECK(report[i].relative == 0);
                CHECK(report[i].bytes == 4 * info.size);
            }
            CHECK(serial.tensors[i].values == grouped.tensors[i].values);
            CHECK(serial.tensors[i].codes == grouped.tensors[i].codes);
        }
        const double error = total_error(report);
        CHECK(error < 0.75 * last);
        CHECK(total_error(hat::quantization_report(weights, grouped)) < error);
        last = error;
    }
}

TEST_CASE("matrices of few distinct numbers are stored without loss") {
    const auto config = config_of(hat::EmbeddingSharing::all);
    auto weights = hat_test::random_weights<float>(config, 1);
    hat::Rng rng(2);
    std::vector<float> levels;
    for (int i = 0; i < 16; ++i) levels.push_back(static_cast<float>(rng.normal()));
    for (float& v : weights.values()) v = levels[rng.below(16)];
    for (const std::size_t rows : {0U, 5U}) {
        const auto found = hat::dequantize(hat::quantize(hat::Serial{}, weights, config.shape, {4, rows}));
        for (std::size_t i = 0; i < weights.layout().tensors().size(); ++i) {
            const std::span<const float> a = weights.tensor(static_cast<int>(i)), b = found.tensor(static_cast<int>(i));
            CHECK(std::equal(a.begin(), a.end(), b.begin()));
        }
    }
}

TEST_CASE("sizes are bits / 32 of fp32 plus codebooks, as promised before quantizing and as the cost says") {
    for (const auto sharing :
         {hat::EmbeddingSharing::none, hat::EmbeddingSharing::decoder_input_output, hat::EmbeddingSharing::all}) {
        const auto config = config_of(sharing);
        const auto weights = hat_test::random_weights<float>(config, 1);
        hat::CostOptions options;
        options.source_vocab = options.target_vocab = 200;
        options.sharing = sharing;
        options.encoder_pre_norm = options.decoder_pre_norm = true;
        std::size_t parameters = 0, matrices = 0, vectors = 0, count = 0;
        for (const auto& t : weights.layout().tensors()) {
            parameters += t.size;
            (hat::is_quantized(t) ? matrices : vectors) += t.size;
            count += hat::is_quantized(t);
        }
        CHECK(parameters == hat::total_params(config.shape, options));
#ifdef HAT_SANITIZED
        constexpr unsigned next = 3;
#else
        constexpr unsigned next = 1;
#endif
        for (unsigned bits = 2; bits <= 8; bits += next) {
            const auto q = hat::quantize(hat::Serial{}, weights, config.shape, {bits, 0});
            CHECK(q.bytes() == hat::quantized_bytes(weights.layout(), {bits, 0}));
            CHECK(q.bytes() == hat::quantized_bytes(config.shape, options, bits));
            CHECK(q.bytes() - 4 * vectors - count * (std::size_t{4} << bits) <= matrices * bits / 8 + count);
            std::size_t reported = 0;
            for (const auto& r : hat::quantization_report(weights, q)) reported += r.bytes;
            CHECK(reported == q.bytes());
            CHECK(hat::quantize(hat::Serial{}, weights, config.shape, {bits, 16}).bytes() ==
                  hat::quantized_bytes(weights.layout(), {bits, 16}));
        }
    }
}

TEST_CASE("an 8-bit network answers as the original, a 4-bit one nearly") {
    const auto config = config_of(hat::EmbeddingSharing::all);
    const auto super = hat_test::random_weights<float>(config, 1);
    hat::Rng rng(3);
    const auto own = hat::extract(super, hat_test::random_arch(config.shape, rng));
    const auto& arch = own.config().shape;
    const auto batch = hat_test::random_batch(config, 10, 10, rng);
    const double expected = hat::ElasticTransformer<float>(own).loss(arch, batch, 0).loss;
    const auto error = [&](unsigned bits) {
        const auto w = hat::dequantize(hat::quantize(hat::Serial{}, own, arch, {bits, 0}));
        return std::abs(hat::ElasticTransformer<float>(w).loss(arch, batch, 0).loss / expected - 1);
    };
    CHECK(error(8) < 0.01);
    CHECK(error(4) < 0.1);
}

TEST_CASE("bad requests are refused") {
    const auto config = hat_test::small_config();
    auto weights = hat_test::random_weights<float>(config, 1);
    const auto with = [&](hat::Quantization how) {
        return message_of<hat::invalid_value>([&] { hat::quantize(hat::Serial{}, weights, config.shape, how); });
    };
    CHECK(with({1, 0}) == "hat::Quantization: 1 bits, expected 2 to 8");
    CHECK(with({9, 0}) == "hat::Quantization: 9 bits, expected 2 to 8");
    CHECK(contains(message_of<hat::invalid_value>([&] { hat::quantized_bytes(weights.layout(), {0, 0}); }), "0 bits"));
    auto arch = config.shape;
    arch.encoder.embed = 11;
    CHECK(contains(message_of<hat::shape_mismatch>([&] { hat::quantize(hat::Serial{}, weights, arch); }),
                   "encoder embedding width is 11"));
    const auto q = hat::quantize(hat::Serial{}, weights, config.shape);
    const auto other = hat_test::random_weights<float>(hat_test::small_config(hat::EmbeddingSharing::none), 1);
    CHECK(contains(message_of<hat::shape_mismatch>([&] { hat::quantization_report(other, q); }),
                   "another configuration"));
    for (const char* name : {"encoder.layers.1.fc1.weight", "decoder.layers.0.fc1.bias"}) {
        auto broken = weights;
        broken.tensor(broken.layout().find(name))[3] = std::numeric_limits<float>::quiet_NaN();
        CHECK(message_of<hat::not_finite>([&] { hat::quantize(hat::Serial{}, broken, config.shape); }) ==
              "hat::quantize: " + std::string(name) + " holds nan");
    }
}
