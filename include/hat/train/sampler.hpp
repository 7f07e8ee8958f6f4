#pragma once
/// \file
/// Which SubTransformer an update of the SuperTransformer trains (paper, section 3.2: uniform sampling).

#include <concepts>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/concepts.hpp>
#include <utility>

namespace hat {

/// A space that can draw genes (all of hat's can).
template <class S>
concept SampledSpace = SearchSpace<S> && requires(const S& space, Rng& rng) {
    { space.random_gene(rng) } -> std::convertible_to<typename S::Gene>;
};

/// What uniform means.
enum class SampleOver {
    genes,    ///< every choice of every axis is equally likely, as in the paper: depths are, too
    networks  ///< every distinct network is equally likely: most are deep
};

/// One SubTransformer per update, a pure function of seed and update number: resuming needs no further state.
template <SampledSpace S>
class UniformSampler {
public:
    /// Draws from `space`.
    explicit UniformSampler(S space, std::uint64_t seed = 1, SampleOver over = SampleOver::genes)
        : space_(std::move(space)), seed_(seed), over_(over) {
        if (over == SampleOver::networks && !draws_networks)
            throw invalid_value("hat::UniformSampler: this space cannot draw uniformly over networks");
    }

    /// The network trained by the update after `updates` completed ones.
    RuntimeArch operator()(std::uint64_t updates) const {
        Rng rng(derive_seed(seed_, updates));
        if constexpr (draws_networks)
            if (over_ == SampleOver::networks) return to_runtime(space_.random_network(rng));
        return to_runtime(space_.decode(space_.random_gene(rng)));
    }

private:
    static constexpr bool draws_networks = requires(const S& space, Rng& rng) { space.random_network(rng); };

    S space_;
    std::uint64_t seed_;
    SampleOver over_;
};

}  // namespace hat
