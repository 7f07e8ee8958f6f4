#pragma once
/// \file
/// The default operators of the evolutionary search (paper, section 3.2; numbers from configs/*/evo_search/*.yml).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <hat/core/executor.hpp>
#include <hat/core/rng.hpp>
#include <hat/space/concepts.hpp>
#include <span>
#include <utility>

namespace hat {

namespace detail {
/// Whether network a is better than b; of equal losses the first one is.
struct Better {
    std::span<const double> losses;
    bool operator()(std::size_t a, std::size_t b) const {
        return losses[a] < losses[b] || (!(losses[b] < losses[a]) && a < b);
    }
};
}  // namespace detail

/// Keeps the best; equal losses keep their order, so the survivors never depend on the standard library.
struct Truncation {
    /// Puts the `keep` best first in `order`.
    void operator()(std::span<const double> losses, std::span<std::size_t> order, std::size_t keep, Rng&) const {
        keep = std::min(keep, order.size());
        std::size_t* const first = order.data();
        std::partial_sort(first, first + keep, first + order.size(), detail::Better{losses});
    }
};

/// Each survivor is the best of `size` random ones that are still in the game: softer pressure than Truncation.
struct Tournament {
    std::size_t size = 2;  ///< contestants of each round; 1 is a random choice

    /// Puts the winners of `keep` tournaments first in `order`.
    void operator()(std::span<const double> losses, std::span<std::size_t> order, std::size_t keep, Rng& rng) const {
        const detail::Better better{losses};
        keep = std::min(keep, order.size());
        for (std::size_t done = 0; done < keep; ++done) {
            std::size_t winner = done + rng.below(order.size() - done);
            for (std::size_t round = 1; round < size; ++round) {
                const std::size_t other = done + rng.below(order.size() - done);
                if (better(order[other], order[winner])) winner = other;
            }
            std::swap(order[done], order[winner]);
        }
        std::size_t* const first = order.data();
        std::partial_sort(first, first + keep, first + keep, better);  // std::sort would be one more to compile
    }
};

/// Replaces each entry with this probability by a random choice (which may be the same value, as in the reference).
struct UniformMutation {
    double probability = 0.3;  ///< of each entry

    /// Changes `gene`, whose entries have `cardinality` choices.
    template <class Gene>
    void operator()(Gene& gene, const Gene& cardinality, Rng& rng) const {
        for (std::size_t i = 0; i < gene.size(); ++i)
            if (rng.uniform() < probability)
                gene[i] = static_cast<typename Gene::value_type>(rng.below(static_cast<std::uint64_t>(cardinality[i])));
    }
};

/// Takes each entry from the first parent with this probability, else from the second.
struct UniformCrossover {
    double first = 0.5;  ///< probability that an entry is the first parent's

    /// The child of two genes.
    template <class Gene>
    Gene operator()(const Gene& a, const Gene& b, Rng& rng) const {
        Gene child = b;
        for (std::size_t i = 0; i < child.size(); ++i)
            if (rng.uniform() < first) child[i] = a[i];
        return child;
    }
};

/// Base of a search policy that takes everything but space, latency and fitness from the paper.
struct SearchDefaults {
    Truncation selection;        ///< the best survive
    UniformMutation mutation;    ///< entries are drawn anew
    UniformCrossover crossover;  ///< entries come from either parent
    Serial executor;             ///< networks are scored one after the other
};

static_assert(SelectionPolicy<Truncation> && SelectionPolicy<Tournament>);

}  // namespace hat
