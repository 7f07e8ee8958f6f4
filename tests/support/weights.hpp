#pragma once
/// \file
/// Random weights for tests that need a model.

#include <cstdint>
#include <hat/core/rng.hpp>
#include <hat/model/config.hpp>
#include <hat/model/weights.hpp>

namespace hat_test {

/// Weights as training leaves them: no bias is zero, no norm one.
template <class T>
hat::Weights<T> random_weights(const hat::TransformerConfig& config, std::uint64_t seed) {
    hat::Weights<T> w(config);
    w.initialize(seed);
    hat::Rng rng(seed + 1);
    for (T& v : w.values()) v += static_cast<T>(0.1 * rng.normal());
    return w;
}

}  // namespace hat_test
