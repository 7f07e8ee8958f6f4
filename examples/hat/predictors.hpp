#pragma once
/// \file
/// The latency predictors the program knows by name, behind one type.

#include <array>
#include <cstddef>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/latency/linear.hpp>
#include <hat/latency/mlp.hpp>
#include <hat/latency/predicted.hpp>
#include <hat/latency/predictor_file.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/concepts.hpp>
#include <hat/space/features.hpp>
#include <hat/space/text.hpp>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace hat::cli {

/// Names of --model: the paper's network, the same trained exactly as the reference does, and ridge regression on
/// operation counts, which is the best from few rows.
inline const std::vector<std::string> predictor_names{"mlp", "mlp-paper", "linear"};

/// How a predictor is made.
struct PredictorOptions {
    std::string model = "mlp";
    int qkv = 512;                 ///< width of q, k and v where the rows do not say
    MlpOptions mlp{};              ///< of "mlp"
    MeanFeatures mean_features{};  ///< norms of the networks' features
    Milliseconds unit{0};          ///< of "mlp-paper": the reference's lat-norm; 0: the rows' mean
    std::uint64_t seed = 1;
};

/// A trained predictor; as a latency policy it tells the milliseconds of an architecture.
class Predictor {
public:
    using Mean = PredictedLatency<AnyRegressor, MeanFeatures>;
    using Operations = PredictedLatency<AnyRegressor, OperationFeatures>;

    /// Fits the chosen rows. Throws invalid_value for an unknown model or no rows, not_finite.
    template <ExecutorPolicy E = Serial>
    static Predictor fit(const LatencyDataset& data, std::span<const std::size_t> rows, const PredictorOptions& o,
                         const E& executor = {}) {
        Predictor out;
        out.qkv_ = o.qkv;
        if (rows.empty()) throw invalid_value("the latency predictor has no rows to learn from");
        if (o.model == "linear") {
            const Operations shape;
            std::vector<float> x;
            for (const std::size_t r : rows) {
                const auto one = shape.features.normalized(operations(data.rows.at(r), o.qkv));
                x.insert(x.end(), one.begin(), one.end());
            }
            Ridge ridge;
            ridge.fit(x, data.targets(rows));
            out.value_ = Operations{std::move(ridge), shape.features, shape.unit};
            return out;
        }
        const bool paper = o.model == "mlp-paper";
        if (!paper && o.model != "mlp") throw invalid_value("unknown latency predictor \"" + o.model + "\"");
        Milliseconds unit(1);
        if (paper) {
            const auto all = data.targets(rows);
            unit = o.unit.count() > 0
                       ? o.unit
                       : Milliseconds(std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size()));
        }
        MlpOptions options = paper ? MlpOptions::paper() : o.mlp;
        options.seed = o.seed;
        Mlp mlp(options);
        mlp.fit(data.inputs(o.mean_features, rows), data.targets(rows, unit), executor);
        out.value_ = Mean{std::move(mlp), o.mean_features, unit};
        return out;
    }

    /// The latency of an architecture.
    template <std::size_t E, std::size_t D>
    Milliseconds operator()(const Arch<E, D>& arch) const {
        return std::visit([&](const auto& p) { return p(arch); }, value_);
    }
    /// The latency of a network that is known by its row in a dataset.
    double milliseconds(const LatencyRow& row) const {
        if (const auto* mean = std::get_if<Mean>(&value_)) return value(*mean, mean->features.normalized(row.features));
        const auto& p = std::get<Operations>(value_);
        return value(p, p.features.normalized(operations(row, qkv_)));
    }

    /// Writes it, `notes` beside it. Throws bad_file.
    void save(const std::filesystem::path& path, const std::map<std::string, std::string>& notes) const {
        std::visit([&](const auto& p) { save_predictor(path, p, notes); }, value_);
    }
    /// Reads what save() wrote. Throws bad_file.
    static Predictor load(const std::filesystem::path& path) {
        Predictor out;
        if (SafetensorsFile(path).metadata("features") == detail::feature_names<OperationFeatures>())
            out.value_ = load_predictor<OperationFeatures>(path);
        else
            out.value_ = load_predictor<MeanFeatures>(path);
        return out;
    }

private:
    /// A row that names its network tells the exact counts, others their averages.
    static std::array<double, OperationFeatures::size> operations(const LatencyRow& row, int qkv) {
        return row.arch.empty() ? OperationFeatures::raw(row.features, qkv)
                                : OperationFeatures::raw(arch_from_text(row.arch));
    }
    template <class P, std::size_t N>
    static double value(const P& p, const std::array<float, N>& features) {
        return static_cast<double>(p.regressor.predict(std::span<const float>(features))) * p.unit.count();
    }

    std::variant<Mean, Operations> value_;
    int qkv_ = 512;
};

static_assert(LatencyPolicy<Predictor, RuntimeArch>);

}  // namespace hat::cli
