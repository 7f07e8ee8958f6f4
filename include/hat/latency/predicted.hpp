#pragma once
/// \file
/// Learned predictors as latency policies.

#include <concepts>
#include <hat/space/concepts.hpp>
#include <span>
#include <utility>

namespace hat {

/// Learns features -> number. hat::Mlp is the paper's; hat::Ridge needs fewer measurements.
template <class R>
concept Regressor = std::copyable<R> &&
    requires(R r, const R& trained, std::span<const float> x, std::span<const float> y) {
    r.fit(x, y);                                           // x is row-major, y.size() rows
    { trained.predict(x) } -> std::convertible_to<float>;  // one row
};

/// A trained Regressor, seen by the search as nothing more than a latency policy.
template <Regressor R, class Features>
struct PredictedLatency {
    R regressor{};
    Features features{};
    Milliseconds unit{1};  ///< the reference's lat-norm: what an output of 1 means

    /// The predicted latency of `arch`.
    template <class Arch>
    requires FeatureMap<Features, Arch> Milliseconds operator()(const Arch& arch) const {
        const auto row = features(arch);
        return static_cast<double>(regressor.predict(std::span<const float>(row))) * unit;
    }
};

}  // namespace hat
