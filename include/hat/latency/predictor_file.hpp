#pragma once
/// \file
/// Trained predictors on disk, with everything that turns an architecture into milliseconds: weights, normalisation of
/// features and targets, unit. Optional: needs nlohmann_json (target hat::json).

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <hat/io/safetensors.hpp>
#include <hat/latency/linear.hpp>
#include <hat/latency/mlp.hpp>
#include <hat/latency/predicted.hpp>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace hat {

/// One of the regressors a file can hold, chosen at run time.
class AnyRegressor {
public:
    AnyRegressor() = default;
    /// An MLP, trained or not.
    AnyRegressor(Mlp mlp) : value_(std::move(mlp)) {}
    /// A ridge regression, trained or not.
    AnyRegressor(Ridge ridge) : value_(std::move(ridge)) {}

    /// Trains the regressor it holds; throws as that does.
    void fit(std::span<const float> x, std::span<const float> y) {
        std::visit([&](auto& r) { r.fit(x, y); }, value_);
    }
    /// What the regressor it holds predicts; throws as that does.
    float predict(std::span<const float> row) const {
        return std::visit([&](const auto& r) { return r.predict(row); }, value_);
    }
    /// The regressor it holds.
    const std::variant<Ridge, Mlp>& value() const { return value_; }

private:
    std::variant<Ridge, Mlp> value_;
};

static_assert(Regressor<AnyRegressor>);

namespace detail {
template <class Features>
std::string feature_names() {
    std::string names;
    for (const auto name : Features::names) names.append(names.empty() ? "" : ",").append(name);
    return names;
}
}  // namespace detail

/// Writes a trained predictor atomically. `notes` is free text kept beside it (say, the device and its score); its
/// keys begin with "note.". Throws bad_file, invalid_value if it is not trained.
template <class Features>
void save_predictor(const std::filesystem::path& path, const PredictedLatency<AnyRegressor, Features>& predictor,
                    const std::map<std::string, std::string>& notes = {}) {
    SafetensorsWriter file;
    file.metadata = {{"format", "hat-predictor"}, {"features", detail::feature_names<Features>()}};
    for (const auto& [key, value] : notes) file.metadata["note." + key] = value;
    const double unit = predictor.unit.count();
    file.add<double>("unit_ms", {1}, std::span(&unit, 1));
    file.add<float>("features.norm", {Features::size}, predictor.features.norm);
    double intercept = 0;
    std::array<float, 2> target{};
    if (const auto* ridge = std::get_if<Ridge>(&predictor.regressor.value())) {
        if (ridge->weights().empty()) throw invalid_value("hat::save_predictor: the predictor is not trained");
        file.metadata["model"] = "ridge";
        intercept = ridge->intercept();
        file.add<double>("weights", {ridge->weights().size()}, ridge->weights());
        file.add<double>("intercept", {1}, std::span(&intercept, 1));
        file.save(path);
        return;
    }
    const Mlp& mlp = std::get<Mlp>(predictor.regressor.value());
    if (!mlp.is_trained()) throw invalid_value("hat::save_predictor: the predictor is not trained");
    file.metadata["model"] = "mlp";
    file.metadata["layers"] = std::to_string(mlp.layers().size());
    for (std::size_t i = 0; i < mlp.layers().size(); ++i) {
        const MlpLayer& l = mlp.layers()[i];
        file.add<float>("layers." + std::to_string(i) + ".weight", {l.outputs, l.inputs}, l.weight);
        file.add<float>("layers." + std::to_string(i) + ".bias", {l.outputs}, l.bias);
    }
    const MlpNormalization& norm = mlp.normalization();
    target = {norm.y_mean, norm.y_scale};
    file.add<float>("input.mean", {norm.x_mean.size()}, norm.x_mean);
    file.add<float>("input.scale", {norm.x_scale.size()}, norm.x_scale);
    file.add<float>("target", {2}, target);
    file.save(path);
}

/// Reads a predictor back; it predicts the same bits. Throws bad_file if the file is missing, truncated or corrupt, no
/// predictor, or made for other features.
template <class Features>
PredictedLatency<AnyRegressor, Features> load_predictor(const std::filesystem::path& path) {
    const SafetensorsFile file(path);
    const auto fail = [&](const std::string& what) { throw bad_file(path.string(), what); };
    const auto expect = [&](const std::string& key, const std::string& expected) {
        if (file.metadata(key) != expected)
            fail("metadata \"" + key + "\" is \"" + file.metadata(key) + "\", expected \"" + expected + "\"");
    };
    expect("format", "hat-predictor");
    expect("features", detail::feature_names<Features>());
    PredictedLatency<AnyRegressor, Features> out;
    const auto positive = [&](const char* name, double v) {
        if (!(v > 0) || !std::isfinite(v))
            fail("tensor " + std::string(name) + " holds " + std::to_string(v) + ", expected a positive number");
    };
    double unit = 0;
    file.read<double>("unit_ms", {1}, std::span(&unit, 1));
    positive("unit_ms", unit);
    out.unit = Milliseconds(unit);
    file.read<float>("features.norm", {Features::size}, out.features.norm);
    for (const float v : out.features.norm) positive("features.norm", static_cast<double>(v));
    try {
        if (file.metadata("model") == "ridge") {
            double intercept = 0;
            std::vector<double> weights(Features::size);
            file.read<double>("weights", {Features::size}, weights);
            file.read<double>("intercept", {1}, std::span(&intercept, 1));
            out.regressor = Ridge::trained(std::move(weights), intercept);
        } else if (file.metadata("model") == "mlp") {
            std::vector<MlpLayer> layers;
            for (std::size_t i = 0; std::to_string(i) != file.metadata("layers"); ++i) {
                const std::string name = "layers." + std::to_string(i);
                const auto& shape = file.info(name + ".weight").shape;
                if (shape.size() != 2)
                    fail("tensor " + name + ".weight has " + std::to_string(shape.size()) + " dimensions, expected 2");
                layers.push_back(
                    {shape[0], shape[1], file.read<float>(name + ".weight"), file.read<float>(name + ".bias")});
            }
            if (!layers.empty() && layers.front().inputs != Features::size)
                fail("tensor layers.0.weight has " + std::to_string(layers.front().inputs) + " inputs, expected " +
                     std::to_string(Features::size));
            std::array<float, 2> target{};
            file.read<float>("target", {2}, target);
            out.regressor = Mlp::trained(std::move(layers), {file.read<float>("input.mean"),
                                                             file.read<float>("input.scale"), target[0], target[1]});
        } else {
            fail("metadata \"model\" is \"" + file.metadata("model") + "\", expected \"mlp\" or \"ridge\"");
        }
    } catch (const shape_mismatch& e) {
        fail(e.what());
    } catch (const not_finite& e) {
        fail(e.what());
    }
    return out;
}

}  // namespace hat
