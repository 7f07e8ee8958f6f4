#pragma once
/// \file
/// The latency predictors the program knows by name, behind one type.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <hat/io/json.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/latency/linear.hpp>
#include <hat/latency/metrics.hpp>
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

/// The predictors' names: an MLP of the paper's size on operation counts (on the paper's ten means where rows do not
/// name their networks), the paper's own recipe, and ridge regression on operation counts, which is the best from few
/// rows.
inline const std::vector<std::string> predictor_names{"mlp", "mlp-paper", "linear"};

/// How a predictor is made.
struct PredictorOptions {
    std::string model = "mlp";
    int qkv = 512;                           ///< width of q, k and v where the rows do not say
    MlpOptions mlp{};                        ///< of "mlp"
    MlpOptions paper = MlpOptions::paper();  ///< of "mlp-paper"
    MeanFeatures mean_features{};            ///< norms of the paper's features
    Milliseconds unit{0};                    ///< of "mlp-paper": the reference's lat-norm; 0: the rows' mean
    std::uint64_t seed = 1;
};

/// A trained predictor; as a latency policy it tells the milliseconds of an architecture.
class Predictor {
public:
    /// Fits the chosen rows. Throws invalid_value for an unknown model or no rows, not_finite.
    template <ExecutorPolicy E = Serial>
    static Predictor fit(const LatencyDataset& data, std::span<const std::size_t> rows, const PredictorOptions& o,
                         const E& executor = {}) {
        if (std::find(predictor_names.begin(), predictor_names.end(), o.model) == predictor_names.end())
            throw invalid_value("unknown latency predictor \"" + o.model + "\"");
        if (rows.empty()) throw invalid_value("the latency predictor has no rows to learn from");
        const bool paper = o.model == "mlp-paper", linear = o.model == "linear";
        const bool named =
            std::all_of(rows.begin(), rows.end(), [&](std::size_t r) { return !data.rows.at(r).arch.empty(); });
        Predictor out;
        out.qkv_ = o.qkv;
        if (linear || (named && !paper))
            out.value_ = Operations{};
        else
            out.value_ = Mean{{}, o.mean_features, Milliseconds(1)};
        if (paper) {
            const auto all = data.targets(rows);
            std::get<Mean>(out.value_).unit =
                o.unit.count() > 0
                    ? o.unit
                    : Milliseconds(std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size()));
        }
        std::visit(
            [&](auto& p) {
                std::vector<float> x;
                for (const std::size_t r : rows) {
                    const auto one = out.inputs(p.features, data.rows.at(r));
                    x.insert(x.end(), one.begin(), one.end());
                }
                const std::vector<float> y = data.targets(rows, p.unit);
                if (linear) {
                    Ridge ridge;
                    ridge.fit(x, y);
                    p.regressor = std::move(ridge);
                } else {
                    MlpOptions options = paper ? o.paper : o.mlp;
                    options.seed = o.seed;
                    Mlp mlp(options);
                    mlp.fit(x, y, executor);
                    p.regressor = std::move(mlp);
                }
            },
            out.value_);
        return out;
    }

    /// The latency of an architecture.
    template <std::size_t E, std::size_t D>
    Milliseconds operator()(const Arch<E, D>& arch) const {
        return std::visit([&](const auto& p) { return p(arch); }, value_);
    }
    /// The latency of a network that is known by its row in a dataset.
    double milliseconds(const LatencyRow& row) const {
        return std::visit(
            [&](const auto& p) {
                const auto x = inputs(p.features, row);
                return static_cast<double>(p.regressor.predict(std::span<const float>(x))) * p.unit.count();
            },
            value_);
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
    using Mean = PredictedLatency<AnyRegressor, MeanFeatures>;
    using Operations = PredictedLatency<AnyRegressor, OperationFeatures>;

    std::array<float, MeanFeatures::size> inputs(const MeanFeatures& features, const LatencyRow& row) const {
        return features.normalized(row.features);
    }
    /// A row that names its network tells the exact counts, others their averages.
    std::array<float, OperationFeatures::size> inputs(const OperationFeatures& features, const LatencyRow& row) const {
        return features.normalized(row.arch.empty() ? OperationFeatures::raw(row.features, qkv_)
                                                    : OperationFeatures::raw(arch_from_text(row.arch)));
    }

    std::variant<Mean, Operations> value_;
    int qkv_ = 512;
};

static_assert(LatencyPolicy<Predictor, RuntimeArch>);

/// How good a predictor is on rows it has not seen.
struct Judgement {
    std::vector<double> truth, predicted;  ///< milliseconds
    RegressionReport report;

    nlohmann::ordered_json metrics() const {
        return {{"rmse_ms", report.rmse}, {"mape", report.mape},
                {"r2", report.r2},        {"kendall_tau", report.kendall_tau},
                {"mae_ms", report.mae},   {"spearman_rho", report.spearman_rho}};
    }
};

inline Judgement judge(const Predictor& predictor, const LatencyDataset& data, std::span<const std::size_t> rows) {
    Judgement out;
    for (const std::size_t r : rows) {
        out.truth.push_back(data.rows.at(r).total_ms());
        out.predicted.push_back(predictor.milliseconds(data.rows.at(r)));
    }
    out.report = evaluate_regression(out.truth, out.predicted);
    return out;
}

}  // namespace hat::cli
