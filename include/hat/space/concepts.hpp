#pragma once
/// \file
/// What the parts of a search ask of each other. A policy is any value with the named members; no base class.

#include <chrono>
#include <concepts>
#include <cstddef>
#include <hat/core/executor.hpp>
#include <hat/core/rng.hpp>
#include <hat/space/arch_key.hpp>
#include <span>

namespace hat {

/// Latencies carry their unit: no confusion of seconds and milliseconds.
using Milliseconds = std::chrono::duration<double, std::milli>;

/// A design space: a gene is a row of choice indices, an Arch the network they mean (canonical). An Arch type of one's
/// own has an arch_key() in its namespace.
template <class S>
concept SearchSpace = requires(const S& space, const typename S::Gene& gene) {
    { space.decode(gene) } -> std::same_as<typename S::Arch>;
    { space.cardinality() } -> std::convertible_to<typename S::Gene>;  // choices per gene
    { arch_key(space.decode(gene)) } -> std::convertible_to<ArchKey>;  // equal keys are one network
};

/// Predicted or measured latency; asked from one thread only, so a measurement is undisturbed.
template <class L, class Arch>
concept LatencyPolicy = requires(const L& latency, const Arch& arch) {
    { latency(arch) } -> std::convertible_to<Milliseconds>;
};

/// What is minimised, e.g. validation loss with inherited weights; may be asked from several threads at once.
template <class F, class Arch>
concept FitnessPolicy = requires(const F& fitness, const Arch& arch) {
    { fitness(arch) } -> std::convertible_to<double>;
};

/// Changes a gene in place; the second argument is the number of choices per entry.
template <class M, class S>
concept MutationPolicy = requires(const M& mutate, typename S::Gene& gene, const typename S::Gene& cardinality,
                                  Rng& rng) {
    mutate(gene, cardinality, rng);
};

/// Makes a child of two parents.
template <class X, class S>
concept CrossoverPolicy = requires(const X& cross, const typename S::Gene& gene, Rng& rng) {
    { cross(gene, gene, rng) } -> std::same_as<typename S::Gene>;
};

/// Moves the indices of the survivors, best first, to the front of `order`.
template <class S>
concept SelectionPolicy = requires(const S& select, std::span<const double> losses, std::span<std::size_t> order,
                                   std::size_t keep, Rng& rng) {
    select(losses, order, keep, rng);
};

/// Turns an architecture into the numbers a Regressor learns from.
template <class F, class Arch>
concept FeatureMap = requires(const F& features, const Arch& arch) {
    { features(arch) } -> std::convertible_to<std::span<const float>>;
};

}  // namespace hat
