#pragma once
/// \file
/// The paper's evolutionary search (section 3.2) for the best network under a latency limit.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/search/cached.hpp>
#include <hat/search/operators.hpp>
#include <hat/space/concepts.hpp>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hat {

/// What a search needs; each member has its own concept, so the compiler names the one that is wrong.
/// Optional: `observer(const Progress&)`, called after every generation; `fitness.batch(archs, losses)` with a
/// std::span<const Arch> and a std::span<double>, which then scores all new networks of a generation at once.
template <class P>
concept SearchPolicy =
    SearchSpace<decltype(P::space)> && LatencyPolicy<decltype(P::latency), typename decltype(P::space)::Arch> &&
    FitnessPolicy<decltype(P::fitness), typename decltype(P::space)::Arch> && SelectionPolicy<decltype(P::selection)> &&
    MutationPolicy<decltype(P::mutation), decltype(P::space)> &&
    CrossoverPolicy<decltype(P::crossover), decltype(P::space)> && ExecutorPolicy<decltype(P::executor)>;

/// The size of a search. Defaults: the reference's configs/*/evo_search/*.yml.
struct Budget {
    Milliseconds latency{};         ///< the limit; networks above it are never scored
    std::size_t population = 125;   ///< random networks of the first generation
    std::size_t parents = 25;       ///< survivors of each generation
    std::size_t mutations = 50;     ///< children by mutation, per generation
    std::size_t crossovers = 50;    ///< children by crossover, per generation
    std::size_t iterations = 30;    ///< generations bred (and scored) after the first
    std::size_t max_draws = 1000;   ///< draws above the limit, per network wanted, before the limit is examined
    std::size_t max_redraws = 100;  ///< draws of networks that the generation already has, before one is accepted
    friend bool operator==(const Budget&, const Budget&) = default;  ///< memberwise
};

/// What an observer is told after every generation.
struct Progress {
    std::size_t iteration = 0;    ///< 0 is the first, random generation
    std::size_t iterations = 0;   ///< the last iteration's number
    double best_loss = 0;         ///< of all networks so far
    Milliseconds best_latency{};  ///< of that network
    double mean_loss = 0;         ///< of this generation
    std::size_t evaluations = 0;  ///< networks scored so far
    std::size_t cache_hits = 0;   ///< members of generations so far whose score was known already
    std::size_t draws = 0;        ///< genes drawn so far, among them those above the limit or repeated
    double seconds = 0;           ///< spent in the search so far, over all its resumptions
    /// Equal up to the time it took.
    friend bool operator==(const Progress& a, const Progress& b) {
        return a.iteration == b.iteration && a.iterations == b.iterations && a.best_loss == b.best_loss &&
               a.best_latency == b.best_latency && a.mean_loss == b.mean_loss && a.evaluations == b.evaluations &&
               a.cache_hits == b.cache_hits && a.draws == b.draws;
    }
};

/// A network the search has scored.
template <class Gene>
struct Scored {
    Gene gene{};                                                     ///< of the network
    double loss = std::numeric_limits<double>::quiet_NaN();          ///< NaN: not scored yet
    Milliseconds latency{};                                          ///< what the latency policy said
    friend bool operator==(const Scored&, const Scored&) = default;  ///< memberwise
};

/// A search between two generations: a plain value that can be copied, stored (search/state_file.hpp) and continued.
template <class Gene>
struct SearchState {
    Budget budget;                        ///< how large the search is
    std::uint64_t seed = 0;               ///< it was started with
    std::uint64_t rng = 0;                ///< state of the search's random numbers
    std::vector<Scored<Gene>> networks;   ///< every network that was in a generation, in order of appearance
    std::vector<std::size_t> population;  ///< the current generation, as indices into `networks`
    std::vector<Progress> history;        ///< one entry per generation
    friend bool operator==(const SearchState&, const SearchState&) = default;  ///< memberwise
};

/// The winner of a search.
template <class A>
struct Found {
    A arch{};                ///< the network
    double loss = 0;         ///< what the fitness policy said
    Milliseconds latency{};  ///< what the latency policy said
};

/// What remeasure() reports.
struct Remeasured {
    Milliseconds limit{};      ///< what was asked for
    Milliseconds predicted{};  ///< what the search believed
    Milliseconds measured{};   ///< what the meter says
    /// Whether the measurement is within the limit.
    bool within() const { return measured <= limit; }
};

/// Asks a second, better latency policy (normally a measurement on the device) about the winner of a search, to be
/// reported beside the limit and the prediction. Throws not_finite if it answers NaN or an infinity.
template <class A, LatencyPolicy<A> L>
Remeasured remeasure(const Found<A>& found, const L& latency, Milliseconds limit) {
    const Milliseconds measured = latency(found.arch);
    if (!std::isfinite(measured.count()))
        throw not_finite("hat::remeasure: the latency of " + detail::describe_network(found.arch) + " is not finite");
    return {limit, found.latency, measured};
}

/// The evolutionary search. Random numbers are drawn here only, losses are stored by index, and the latency policy is
/// asked from the calling thread only: the same seed gives the same answer with any executor.
///
/// As in the paper: a random first generation under the limit; then each generation keeps the best as parents and adds
/// mutants and crossovers of them, each redrawn until it is under the limit. Different from the reference, on purpose:
/// - a network is scored once (genes that differ only in unused entries are one network; parents are not scored again);
/// - the children of the last iteration are scored too, and the winner is the best of all generations;
/// - a child that its generation already has is redrawn, up to `max_redraws` times;
/// - a limit that random draws do not meet is compared with the smallest latency that descent finds: below that,
///   hat::infeasible; else children are moved towards that smallest network until they are under the limit.
template <SearchPolicy Policy>
class Searcher {
    // optional members that could never be called would be passed over in silence
    static constexpr bool has_observer = requires(const Policy& p) { p.observer; }
    || requires(Policy& p, const Progress& progress) { p.observer(progress); };
    static_assert(
        !has_observer || requires(const Policy& p, const Progress& progress) { p.observer(progress); },
        "hat::Searcher: the policy's observer cannot be called: observer(progress) must take a "
        "const hat::Progress& and be const");
    template <class F, class A = typename decltype(Policy::space)::Arch>
    static constexpr bool can_batch = requires(F& f, std::span<const A> archs, std::span<double> losses) {
        f.batch(archs, losses);
    };
    template <class F>
    static constexpr bool has_batch = can_batch<F> || requires {
        &F::batch;
    };
    static_assert(!has_batch<decltype(Policy::fitness)> || can_batch<const decltype(Policy::fitness)>,
                  "hat::Searcher: the fitness policy's batch cannot be called: batch(archs, losses) must take a "
                  "std::span<const Arch> and a std::span<double> and be const");

public:
    using Space = decltype(Policy::space);  ///< where it searches
    using Arch = typename Space::Arch;      ///< a network
    using Gene = typename Space::Gene;      ///< what is drawn and bred
    using State = SearchState<Gene>;        ///< a search between two generations
    using Found = hat::Found<Arch>;         ///< a winner

    /// Keeps the policy.
    explicit Searcher(Policy policy) : policy_(std::move(policy)) {}

    /// The policy it was made from.
    const Policy& policy() const { return policy_; }

    /// The whole search. Throws infeasible if neither random draws nor descent find a network under the limit,
    /// not_finite if a policy answers NaN or an infinity, invalid_value for an impossible budget or a latency below
    /// zero (of a predictor that extrapolates: below any limit, it would win).
    Found run(const Budget& budget, std::uint64_t seed) const {
        State state = start(budget, seed);
        while (!finished(state)) step(state);
        return result(state);
    }

    /// A search that has not drawn anything yet.
    State start(const Budget& budget, std::uint64_t seed) const {
        check(budget);
        State state;
        state.budget = budget;
        state.seed = state.rng = seed;
        return state;
    }

    /// One generation: drawn, scored, reported to the observer. If a policy throws, the state is what it was; if the
    /// observer throws (to stop the search), the generation is complete and the state can be stored and continued.
    void step(State& state) const {
        check(state.budget);
        if (finished(state)) return;
        const auto begin = std::chrono::steady_clock::now();
        Run run{*this, state};
        run.breed();
        run.score();
        State& next = run.state;
        next.rng = run.rng.state();

        const Scored<Gene>& best = next.networks[best_index(next)];
        Progress p = state.history.empty() ? Progress{} : state.history.back();
        p.iteration = state.history.size();
        p.iterations = next.budget.iterations;
        p.best_loss = best.loss;
        p.best_latency = best.latency;
        p.mean_loss = 0;
        for (const std::size_t i : next.population) p.mean_loss += next.networks[i].loss;
        p.mean_loss /= static_cast<double>(next.population.size());
        p.cache_hits += next.population.size() - (next.networks.size() - p.evaluations);
        p.evaluations = next.networks.size();
        p.draws += run.draws;
        p.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        next.history.push_back(p);
        state = std::move(next);
        if constexpr (requires { policy_.observer(p); }) {
            if constexpr (requires { policy_.observer == nullptr; })
                if (policy_.observer == nullptr) return;  // an empty std::function
            policy_.observer(p);
        }
    }

    /// Whether all generations are done.
    bool finished(const State& state) const { return state.history.size() > state.budget.iterations; }

    /// The best network so far; of equal losses the one with the smallest latency. Throws invalid_value before the
    /// first step.
    Found result(const State& state) const {
        if (state.networks.empty()) throw invalid_value("hat::Searcher::result: the search has not made a step yet");
        const Scored<Gene>& best = state.networks[best_index(state)];
        return {policy_.space.decode(best.gene), best.loss, best.latency};
    }

    /// The network of smallest latency that greedy descent finds from `gene`: one entry after the other takes its
    /// fastest choice, until no single change is faster. `loss` is NaN: it is not scored.
    Found smallest(const Gene& gene) const {
        const Descent d = descend(gene);
        return {policy_.space.decode(d.gene), std::numeric_limits<double>::quiet_NaN(), d.latency};
    }

private:
    using Index = std::unordered_map<ArchKey, std::size_t, ArchKeyHash>;

    static void check(const Budget& b) {
        const auto fail = [](const std::string& what) { throw invalid_value("hat::Budget: " + what); };
        if (!std::isfinite(b.latency.count()) || b.latency.count() <= 0)
            fail("the latency limit is " + text(b.latency) + "; expected a positive number");
        if (b.population == 0) fail("population is 0; expected at least 1");
        if (b.parents == 0) fail("parents is 0; expected at least 1");
        if (b.parents > b.population)
            fail("parents is " + std::to_string(b.parents) + ", more than the population of " +
                 std::to_string(b.population));
        if (b.crossovers > 0 && b.parents < 2) fail("crossovers need at least 2 parents, found 1");
        if (b.mutations + b.crossovers == 0) fail("mutations and crossovers are both 0: no child would be bred");
        if (b.max_draws == 0) fail("max_draws is 0; expected at least 1");
    }

    static std::string text(Milliseconds t) {
        char buffer[48];
        std::snprintf(buffer, sizeof buffer, "%.6g ms", t.count());
        return buffer;
    }

    static std::size_t best_index(const State& state) {
        std::size_t best = 0;
        for (std::size_t i = 1; i < state.networks.size(); ++i) {
            const auto &a = state.networks[i], &b = state.networks[best];
            if (a.loss < b.loss || (a.loss == b.loss && a.latency < b.latency)) best = i;
        }
        return best;
    }

    Gene choices() const {
        Gene cardinality = policy_.space.cardinality();
        for (std::size_t i = 0; i < cardinality.size(); ++i)
            if (cardinality[i] < 1)
                throw invalid_value("hat::Searcher: entry " + std::to_string(i) + " of the gene has no choice");
        return cardinality;
    }

    Milliseconds latency_of(const Arch& arch) const {
        const Milliseconds t = policy_.latency(arch);
        if (!std::isfinite(t.count()))
            throw not_finite("hat::Searcher: the latency policy returned " + std::to_string(t.count()) +
                             " for the network " + detail::describe_network(arch));
        if (t.count() < 0)
            throw invalid_value("hat::Searcher: the latency policy returned " + text(t) + " for the network " +
                                detail::describe_network(arch) +
                                "; no network is that fast: fit the predictor on networks like this one too");
        return t;
    }

    struct Descent {
        Gene gene;
        Milliseconds latency;
    };
    Descent descend(const Gene& from) const {
        const Gene cardinality = choices();
        Descent best{from, latency_of(policy_.space.decode(from))};
        for (bool improved = true; improved;) {
            improved = false;
            for (std::size_t i = 0; i < cardinality.size(); ++i) {
                for (std::size_t c = 0; c < static_cast<std::size_t>(cardinality[i]); ++c) {
                    Gene other = best.gene;
                    other[i] = static_cast<typename Gene::value_type>(c);
                    if (other[i] == best.gene[i]) continue;
                    if (const Milliseconds t = latency_of(policy_.space.decode(other)); t < best.latency) {
                        best = {std::move(other), t};
                        improved = true;
                    }
                }
            }
        }
        return best;
    }

    /// One step at work on a copy of the state.
    struct Run {
        Run(const Searcher& s, const State& from) : searcher(s), state(from), rng(from.rng), cardinality(s.choices()) {
            known.reserve(state.networks.size() + state.budget.population);
            for (std::size_t i = 0; i < state.networks.size(); ++i)
                known.emplace(arch_key(searcher.policy_.space.decode(state.networks[i].gene)), i);
        }

        void breed() {
            const Policy& policy = searcher.policy_;
            const Budget& budget = state.budget;
            if (state.history.empty()) {
                for (std::size_t i = 0; i < budget.population; ++i) add([&] { return random_gene(); });
                return;
            }
            const std::vector<std::size_t> old = std::move(state.population);
            state.population.clear();
            std::vector<double> losses(old.size());
            for (std::size_t i = 0; i < old.size(); ++i) losses[i] = state.networks[old[i]].loss;
            std::vector<std::size_t> order(old.size());
            std::iota(order.begin(), order.end(), std::size_t{0});
            const std::size_t keep = std::min(budget.parents, old.size());
            policy.selection(std::span<const double>(losses.data(), losses.size()),
                             std::span<std::size_t>(order.data(), order.size()), keep, rng);
            for (std::size_t i = 0; i < keep; ++i) {
                state.population.push_back(old[order[i]]);
                note(state.networks[old[order[i]]].gene, state.networks[old[order[i]]].latency);
            }
            const std::vector<std::size_t> parents = state.population;
            const auto parent = [&](std::size_t i) { return state.networks[parents[i]].gene; };
            for (std::size_t i = 0; i < budget.mutations; ++i)
                add([&] {
                    Gene child = parent(rng.below(keep));
                    policy.mutation(child, cardinality, rng);
                    return child;
                });
            for (std::size_t i = 0; i < budget.crossovers; ++i)
                add([&] {
                    const std::size_t a = rng.below(keep), other = rng.below(keep - 1);
                    return policy.crossover(parent(a), parent(other + (other >= a ? 1 : 0)), rng);  // two distinct
                });
        }

        /// Scores the networks that have no loss yet.
        void score() {
            const Policy& policy = searcher.policy_;
            std::vector<Arch> archs;
            const std::size_t first = state.history.empty() ? 0 : state.history.back().evaluations;
            for (std::size_t i = first; i < state.networks.size(); ++i)
                archs.push_back(policy.space.decode(state.networks[i].gene));
            std::vector<double> losses(archs.size(), std::numeric_limits<double>::quiet_NaN());
            if (archs.empty()) return;
            if constexpr (requires(std::span<const Arch> a, std::span<double> l) { policy.fitness.batch(a, l); })
                policy.fitness.batch(std::span<const Arch>(archs), std::span<double>(losses.data(), losses.size()));
            else
                policy.executor(archs.size(), [&](std::size_t i) { losses[i] = policy.fitness(archs[i]); });
            for (std::size_t i = 0; i < archs.size(); ++i) {
                if (!std::isfinite(losses[i]))
                    throw not_finite("hat::Searcher: the fitness policy returned " + std::to_string(losses[i]) +
                                     " for the network " + detail::describe_network(archs[i]));
                state.networks[first + i].loss = losses[i];
            }
        }

        const Searcher& searcher;
        State state;
        Rng rng;
        std::size_t draws = 0;

    private:
        Gene random_gene() {
            Gene gene = cardinality;
            for (std::size_t i = 0; i < gene.size(); ++i)
                gene[i] = static_cast<typename Gene::value_type>(rng.below(static_cast<std::uint64_t>(cardinality[i])));
            return gene;
        }

        /// A drawn gene with what is known of its network.
        struct Candidate {
            Gene gene;
            ArchKey key;
            std::size_t index;  ///< into state.networks, or its size: a new network
            Milliseconds latency;
        };
        Candidate examine(Gene gene) {
            ++draws;
            const Arch arch = searcher.policy_.space.decode(gene);
            ArchKey key = arch_key(arch);
            if (const auto at = known.find(key); at != known.end())
                return {std::move(gene), std::move(key), at->second, state.networks[at->second].latency};
            return {std::move(gene), std::move(key), state.networks.size(), searcher.latency_of(arch)};
        }

        /// Remembers the fastest network of this step, parents included.
        void note(const Gene& gene, Milliseconds latency) {
            if (fastest && fastest->latency <= latency) return;
            fastest = Descent{gene, latency};
        }

        /// Adds one network under the limit that `make` draws to the generation.
        template <class Make>
        void add(const Make& make) {
            const Budget& budget = state.budget;
            std::size_t above = 0, repeats = 0;
            while (above < budget.max_draws) {
                Candidate c = examine(make());
                note(c.gene, c.latency);
                if (c.latency > budget.latency)
                    ++above;
                else if (std::find(state.population.begin(), state.population.end(), c.index) ==
                             state.population.end() ||
                         ++repeats > budget.max_redraws)
                    return accept(std::move(c));
            }
            accept(pull_under_limit(make()));
        }

        void accept(Candidate c) {
            if (c.index == state.networks.size()) {
                known.emplace(std::move(c.key), c.index);
                state.networks.push_back({std::move(c.gene), std::numeric_limits<double>::quiet_NaN(), c.latency});
            }
            state.population.push_back(c.index);
        }

        /// Gives random entries of the gene the values of the fastest network until it is under the limit.
        Candidate pull_under_limit(Gene gene) {
            if (!anchor) {
                anchor = searcher.descend(fastest->gene);
                if (anchor->latency > state.budget.latency)
                    throw infeasible("hat::Searcher: no network found at or below the limit of " +
                                     text(state.budget.latency) + "; the smallest reachable latency is " +
                                     text(anchor->latency) + ", of " +
                                     detail::describe_network(searcher.policy_.space.decode(anchor->gene)));
            }
            std::vector<std::size_t> entries(gene.size());
            std::iota(entries.begin(), entries.end(), std::size_t{0});
            shuffle(entries, rng);
            for (const std::size_t i : entries) {
                gene[i] = anchor->gene[i];
                if (Candidate c = examine(gene); c.latency <= state.budget.latency) return c;
            }
            Candidate last = examine(anchor->gene);
            last.latency = anchor->latency;  // a second measurement of it may be noisy
            return last;
        }

        Gene cardinality;
        Index known;                     ///< networks by key
        std::optional<Descent> fastest;  ///< of all networks seen in this step
        std::optional<Descent> anchor;   ///< the fastest network that descent finds, once needed
    };

    Policy policy_;
};

namespace detail {
// clang passes over a guide whose class refuses the policy without saying why; an assertion says it
template <class Policy>
struct Checked {
    static_assert(SearchPolicy<Policy>, "hat::Searcher: the policy is no hat::SearchPolicy; the next lines say why");
    using type = Policy;
};
template <class Policy>
struct Checked<Searcher<Policy>> {  // a copy
    using type = Policy;
};
}  // namespace detail

/// hat::Searcher{policy}: the compiler says what the policy lacks.
template <class Policy>
Searcher(Policy) -> Searcher<typename detail::Checked<Policy>::type>;

}  // namespace hat
