#include <doctest/doctest.h>

#include <hat/latency/meter.hpp>
#include <hat/latency/predicted.hpp>
#include <hat/search/cached.hpp>
#include <hat/search/searcher.hpp>
#include <string>

#include "search/toy.hpp"

// Each negative differs from the good one above it in just one thing.
namespace {
using toy::Arch;
using Space = toy::ArraySpace;
using Gene = Space::Gene;
struct Other {};

// clang-format off
struct Latency            { hat::Milliseconds operator()(const Arch&) const { return {}; } };
struct LatencySeconds     { std::chrono::seconds operator()(const Arch&) const { return {}; } };
struct LatencyNumber      { double operator()(const Arch&) const { return {}; } };
struct LatencyVoid        { void operator()(const Arch&) const {} };
struct LatencyNotConst    { hat::Milliseconds operator()(const Arch&) { return {}; } };
struct LatencyOther       { hat::Milliseconds operator()(const Other&) const { return {}; } };
struct LatencyMutable     { hat::Milliseconds operator()(Arch&) const { return {}; } };
struct LatencyTwo         { hat::Milliseconds operator()(const Arch&, int) const { return {}; } };
struct LatencyPrivate     { private: hat::Milliseconds operator()(const Arch&) const { return {}; } };
static_assert(hat::LatencyPolicy<Latency, Arch>);
static_assert(hat::LatencyPolicy<LatencySeconds, Arch>);  // any duration is a latency
static_assert(!hat::LatencyPolicy<LatencyNumber, Arch>);
static_assert(!hat::LatencyPolicy<LatencyVoid, Arch>);
static_assert(!hat::LatencyPolicy<LatencyNotConst, Arch>);
static_assert(!hat::LatencyPolicy<LatencyOther, Arch>);
static_assert(!hat::LatencyPolicy<LatencyMutable, Arch>);
static_assert(!hat::LatencyPolicy<LatencyTwo, Arch>);
static_assert(!hat::LatencyPolicy<LatencyPrivate, Arch>);
static_assert(!hat::LatencyPolicy<Other, Arch>);
static_assert(!hat::FitnessPolicy<Latency, Arch>);

struct Fitness            { double operator()(const Arch&) const { return {}; } };
struct FitnessFloat       { float operator()(const Arch&) const { return {}; } };
struct FitnessText        { std::string operator()(const Arch&) const { return {}; } };
struct FitnessNotConst    { double operator()(const Arch&) { return {}; } };
static_assert(hat::FitnessPolicy<Fitness, Arch>);
static_assert(hat::FitnessPolicy<FitnessFloat, Arch>);
static_assert(!hat::FitnessPolicy<FitnessText, Arch>);
static_assert(!hat::FitnessPolicy<FitnessNotConst, Arch>);
static_assert(!hat::LatencyPolicy<Fitness, Arch>);

struct Mutation           { void operator()(Gene&, const Gene&, hat::Rng&) const {} };
struct MutationNotConst   { void operator()(Gene&, const Gene&, hat::Rng&) {} };
struct MutationBounds     { void operator()(Gene&, Gene&, hat::Rng&) const {} };
static_assert(hat::MutationPolicy<Mutation, Space>);
static_assert(hat::MutationPolicy<hat::UniformMutation, Space>);
static_assert(hat::MutationPolicy<hat::UniformMutation, toy::VectorSpace>);
static_assert(!hat::MutationPolicy<MutationNotConst, Space>);
static_assert(!hat::MutationPolicy<MutationBounds, Space>);

struct Crossover          { Gene operator()(const Gene& a, const Gene&, hat::Rng&) const { return a; } };
struct CrossoverVoid      { void operator()(const Gene&, const Gene&, hat::Rng&) const {} };
struct CrossoverChanges   { Gene operator()(Gene& a, const Gene&, hat::Rng&) const { return a; } };
static_assert(hat::CrossoverPolicy<Crossover, Space>);
static_assert(hat::CrossoverPolicy<hat::UniformCrossover, toy::VectorSpace>);
static_assert(!hat::CrossoverPolicy<CrossoverVoid, Space>);
static_assert(!hat::CrossoverPolicy<CrossoverChanges, Space>);
static_assert(!hat::CrossoverPolicy<Crossover, toy::VectorSpace>);

static_assert(!hat::SelectionPolicy<Crossover>);
static_assert(!hat::ExecutorPolicy<Crossover>);

struct NoCardinality      { using Arch = toy::Arch; using Gene = Space::Gene; Arch decode(const Gene&) const { return {}; } };
struct WithCardinality : NoCardinality { Gene cardinality() const { return {}; } };
struct DecodesOther    : WithCardinality { Other decode(const Gene&) const { return {}; } };
struct DecodeNotConst  : WithCardinality { Arch decode(const Gene&) { return {}; } };
static_assert(hat::SearchSpace<WithCardinality>);
static_assert(!hat::SearchSpace<NoCardinality>);
static_assert(!hat::SearchSpace<DecodesOther>);
static_assert(!hat::SearchSpace<DecodeNotConst>);

template <class S = Space, class L = Latency, class F = Fitness>
struct Policy : hat::SearchDefaults { S space; L latency; F fitness; };
struct NoFitness : hat::SearchDefaults { Space space; Latency latency; };
static_assert(hat::SearchPolicy<Policy<>>);
static_assert(!hat::SearchPolicy<Policy<DecodesOther>>);
static_assert(!hat::SearchPolicy<Policy<Space, LatencyNotConst>>);
static_assert(!hat::SearchPolicy<Policy<Space, Latency, FitnessText>>);
static_assert(!hat::SearchPolicy<NoFitness>);

struct Mean {
    void fit(std::span<const float>, std::span<const float>) {}
    float predict(std::span<const float>) const { return 0; }
};
struct NoFit              { float predict(std::span<const float>) const { return 0; } };
struct PredictNotConst    { void fit(std::span<const float>, std::span<const float>) {} float predict(std::span<const float>) { return 0; } };
struct PredictText        { void fit(std::span<const float>, std::span<const float>) {} std::string predict(std::span<const float>) const { return ""; } };
struct NotCopyable : Mean { NotCopyable() = default; NotCopyable(NotCopyable&&) = default; };
static_assert(hat::Regressor<Mean>);
static_assert(!hat::Regressor<NoFit>);
static_assert(!hat::Regressor<PredictNotConst>);
static_assert(!hat::Regressor<PredictText>);
static_assert(!hat::Regressor<NotCopyable>);

struct Model              { void encode() {} void decode() {} };
struct NoDecode           { void encode() {} };
static_assert(hat::TimedModel<Model>);
static_assert(!hat::TimedModel<NoDecode>);
// clang-format on
}  // namespace

TEST_CASE("any duration is a latency, and is converted to milliseconds") {
    struct Slow {
        std::chrono::seconds operator()(const Arch&) const { return std::chrono::seconds(2); }
    };
    CHECK(hat::Cached<Slow>{}(Arch{}).count() == 2000);
    const hat::Searcher searcher{Policy<Space, Slow>{}};
    CHECK(searcher.run({.latency = std::chrono::seconds(2), .iterations = 1}, 1).latency.count() == 2000);
    CHECK_THROWS_AS(searcher.run({.latency = std::chrono::milliseconds(1999), .iterations = 1}, 1), hat::infeasible);
}
