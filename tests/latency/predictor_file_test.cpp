#include <doctest/doctest.h>

#include <filesystem>
#include <hat/core/rng.hpp>
#include <hat/latency/predictor_file.hpp>
#include <hat/space/features.hpp>
#include <limits>
#include <string>
#include <vector>

#include "support/files.hpp"

namespace {
using Predictor = hat::PredictedLatency<hat::AnyRegressor, hat::MeanFeatures>;

Predictor make(bool mlp) {
    hat::MlpOptions o;
    o.hidden = {17, 5};
    o.steps = 50;
    Predictor p{.unit = hat::Milliseconds(0.1 + 0.2)};
    p.features.norm[3] = 7.25F;
    p.regressor = mlp ? hat::AnyRegressor(hat::Mlp(o)) : hat::AnyRegressor(hat::Ridge());
    hat::Rng rng(4);
    std::vector<float> x, y;
    for (int i = 0; i < 50; ++i) {
        for (int k = 0; k < 10; ++k) x.push_back(static_cast<float>(rng.uniform()));
        y.push_back(x[x.size() - 10] * 3 + x[x.size() - 5]);
    }
    p.regressor.fit(x, y);
    return p;
}
hat::RuntimeArch some_arch(int ffn) {
    hat::RuntimeArch a{};
    a.encoder.embed = a.decoder.embed = 512;
    a.encoder.layers = 1;
    a.decoder.layers = 1;
    a.encoder.ffn[0] = ffn;
    a.decoder.ffn[0] = 1024;
    a.encoder.self_heads[0] = a.decoder.self_heads[0] = a.decoder.cross_heads[0] = 4;
    a.decoder.cross_span[0] = 1;
    return a;
}
std::string refused(const std::filesystem::path& path) {
    const auto message = hat_test::message_of<hat::bad_file>([&] { hat::load_predictor<hat::MeanFeatures>(path); });
    CHECK(hat_test::contains(message, path.string()));
    return message;
}
}  // namespace

TEST_CASE("a predictor predicts the same bits after saving and loading") {
    const hat_test::TemporaryFolder folder;
    for (const bool mlp : {true, false}) {
        const Predictor p = make(mlp);
        hat::save_predictor(folder / "p.safetensors", p, {{"device", "here"}});
        const auto back = hat::load_predictor<hat::MeanFeatures>(folder / "p.safetensors");
        CHECK(back.unit == p.unit);
        CHECK(back.features.norm == p.features.norm);
        for (const int ffn : {512, 777, 3072}) CHECK(back(some_arch(ffn)) == p(some_arch(ffn)));
        CHECK(back(some_arch(512)) != back(some_arch(3072)));
        CHECK(hat::SafetensorsFile(folder / "p.safetensors").metadata("note.device") == "here");
    }
    CHECK(hat_test::count_files(folder.path) == 1);
}

TEST_CASE("an untrained predictor is not saved") {
    const hat_test::TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(hat::save_predictor(folder / "p", Predictor{}), doctest::Contains("is not trained"),
                         hat::invalid_value);
    CHECK_THROWS_WITH_AS(hat::save_predictor(folder / "p", Predictor{.regressor = hat::Mlp()}),
                         doctest::Contains("is not trained"), hat::invalid_value);
    CHECK(hat_test::count_files(folder.path) == 0);
}

TEST_CASE("broken and foreign predictor files are refused") {
    const hat_test::TemporaryFolder folder;
    const auto path = folder / "p.safetensors";
    CHECK(hat_test::contains(refused(path), "No such file"));
    hat::save_predictor(path, make(true));
    CHECK(hat_test::contains(
        hat_test::message_of<hat::bad_file>([&] { hat::load_predictor<hat::OperationFeatures>(path); }),
        "metadata \"features\" is \"encoder_embed_dim,"));
    const std::string good = hat::read_file(path);
    for (const std::size_t length : {std::size_t{0}, std::size_t{5}, good.size() / 2, good.size() - 1}) {
        hat::write_file_atomically(path, good.substr(0, length));
        refused(path);
    }
    std::string changed = good;
    changed[good.size() - 10] ^= 1;
    hat::write_file_atomically(path, changed);
    CHECK(hat_test::contains(refused(path), "corrupt"));

    const auto with = [&](const std::string& model, float weight, std::size_t inputs, double unit) {
        hat::SafetensorsWriter file;
        file.metadata = {{"format", "hat-predictor"},
                         {"features", hat::detail::feature_names<hat::MeanFeatures>()},
                         {"model", model},
                         {"layers", "1"}};
        const std::vector<float> norm(10, 1.0F), w(inputs, weight), bias{0}, target{0, 1};
        const std::vector<double> lines(10, static_cast<double>(weight)), zero{0};
        file.add<double>("unit_ms", {1}, std::span(&unit, 1));
        file.add<float>("features.norm", {10}, norm);
        file.add<double>("weights", {10}, lines);
        file.add<double>("intercept", {1}, zero);
        file.add<float>("layers.0.weight", {1, inputs}, w);
        file.add<float>("layers.0.bias", {1}, bias);
        file.add<float>("input.mean", {inputs}, std::span(norm).first(inputs));
        file.add<float>("input.scale", {inputs}, std::span(norm).first(inputs));
        file.add<float>("target", {2}, target);
        file.save(path);
    };
    const float nan = std::numeric_limits<float>::quiet_NaN();
    with("mlp", 1, 10, 1);
    CHECK(hat::load_predictor<hat::MeanFeatures>(path)(some_arch(0)).count() > 500);
    with("forest", 1, 10, 1);
    CHECK(hat_test::contains(refused(path), "metadata \"model\" is \"forest\", expected \"mlp\" or \"ridge\""));
    with("mlp", nan, 10, 1);
    CHECK(hat_test::contains(refused(path), "layer 0 holds nan"));
    with("ridge", nan, 10, 1);
    CHECK(hat_test::contains(refused(path), "a weight is not finite"));
    with("mlp", 1, 9, 1);
    CHECK(hat_test::contains(refused(path), "layers.0.weight has 9 inputs, expected 10"));
    with("mlp", 1, 10, 0);
    CHECK(hat_test::contains(refused(path), "tensor unit_ms holds 0.000000, expected a positive number"));
    hat::SafetensorsWriter other;
    other.metadata = {{"format", "something"}};
    other.save(path);
    CHECK(hat_test::contains(refused(path), "metadata \"format\" is \"something\", expected \"hat-predictor\""));
}
