#pragma once
/// \file
/// Learned predictors as latency policies.

#include <concepts>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/space/concepts.hpp>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

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
    R regressor{};         ///< fitted, or to be fitted by fit()
    Features features{};   ///< what it sees of a network
    Milliseconds unit{1};  ///< the reference's lat-norm: what an output of 1 means

    /// Learns from networks and their measured latencies. Throws shape_mismatch unless there is one for each, and what
    /// the regressor throws.
    template <class Archs>
    requires FeatureMap<Features, std::iter_value_t<decltype(std::begin(std::declval<const Archs&>()))>>
    void fit(const Archs& archs, std::span<const double> milliseconds) {
        std::vector<float> x, y;
        std::size_t networks = 0;
        for (const auto& arch : archs) {
            for (const float f : features(arch)) x.push_back(f);
            ++networks;
        }
        for (const double ms : milliseconds) y.push_back(static_cast<float>(ms / unit.count()));
        if (networks != y.size())
            throw shape_mismatch("hat::PredictedLatency: " + std::to_string(networks) + " networks and " +
                                 std::to_string(y.size()) + " latencies, expected one for each");
        regressor.fit(std::span<const float>(x.data(), x.size()), std::span<const float>(y.data(), y.size()));
    }

    /// The predicted latency of `arch`.
    template <class Arch>
    requires FeatureMap<Features, Arch> Milliseconds operator()(const Arch& arch) const {
        const auto row = features(arch);
        return static_cast<double>(regressor.predict(std::span<const float>(row))) * unit;
    }
};

}  // namespace hat
