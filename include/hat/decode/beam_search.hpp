#pragma once
/// \file
/// Beam search with the rules of the reference (semantics, section 12), batched.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/tokens.hpp>
#include <hat/decode/beam.hpp>
#include <hat/decode/inference.hpp>
#include <string>
#include <vector>

namespace hat {

/// One translation. `tokens` ends in eos.
struct Hypothesis {
    std::vector<std::int32_t> tokens;       ///< target ids
    double score = 0;                       ///< log-probability, divided by length ^ length_penalty when normalised
    std::vector<double> positional_scores;  ///< log-probability of each token (less the unknown penalty)
};

/// The widest beam: far beyond what translations gain from.
inline constexpr std::size_t most_beam = 1024;

/// Throws invalid_value for options no search can have.
inline void validate(const BeamOptions& o) {
    const auto fail = [](const std::string& what) { throw invalid_value("hat::beam_search: " + what); };
    const auto text = [](std::size_t n) { return std::to_string(static_cast<std::ptrdiff_t>(n)); };  // -1 stays -1
    if (o.beam == 0 || o.beam > most_beam)
        fail("beam is " + text(o.beam) + ", expected 1 to " + std::to_string(most_beam));
    if (o.n_best == 0 || o.n_best > o.beam)
        fail("n_best is " + text(o.n_best) + ", expected 1 to the beam, " + std::to_string(o.beam));
    if (!std::isfinite(o.length_penalty)) fail("length_penalty is not finite");
    if (!std::isfinite(o.unknown_penalty)) fail("unknown_penalty is not finite");
    if (!std::isfinite(o.max_length_a) || o.max_length_a < 0)
        fail("max_length_a is " + std::to_string(o.max_length_a) + ", expected at least 0");
    if (o.max_positions < 2) fail("max_positions is " + std::to_string(o.max_positions) + ", expected at least 2");
    if (o.max_length_a == 0 && o.max_length_b == 0)
        fail("max_length_a and max_length_b are both 0: nothing may be said");
    if (o.min_length >= o.max_positions || (o.max_length_a == 0 && o.min_length > o.max_length_b))
        fail("min_length is " + std::to_string(o.min_length) + ", which max_length_b " +
             std::to_string(o.max_length_b) + " or max_positions " + std::to_string(o.max_positions) +
             " does not allow");
}

/// The model gave NaN or infinity for a sentence.
struct logits_not_finite : not_finite {
    /// In step `step_` of sentence `sentence_` of the batch, both counted from 0.
    logits_not_finite(std::size_t step_, std::size_t sentence_)
        : not_finite("hat::beam_search: the logits of step " + std::to_string(step_) + " of sentence " +
                     std::to_string(sentence_) + " are not finite"),
          step(step_),
          sentence(sentence_) {}
    std::size_t step;      ///< tokens before it
    std::size_t sentence;  ///< its index in the batch
};

/// Translates sentences that end in eos: for each the `n_best` hypotheses with the highest scores, best first. In step
/// t the 2 * beam best continuations of all beams are ranked; an eos among the first `beam` finishes a hypothesis, the
/// first `beam` others go on; a sentence is done with `beam` finished ones. By default results do not depend on the
/// other sentences, and never on threads. Throws invalid_value or shape_mismatch for bad options or sentences,
/// logits_not_finite when the model gives NaN or infinity.
template <class T>
std::vector<std::vector<Hypothesis>> beam_search(InferenceSession<T>& session, const Ragged& sources,
                                                 const BeamOptions& options = {}) {
    validate(options);
    if (sources.size() == 0) return {};
    session.encode(sources);
    session.start(options.beam);
    Arena memory;
    detail::BeamSearch search(session.decoder(), memory, options, sources.offsets, session.model().target_vocab());
    if (const auto failure = search.run(); failure.failed) throw logits_not_finite(failure.step, failure.sentence);
    std::vector<std::vector<Hypothesis>> result(sources.size());
    for (std::size_t i = 0; i < result.size(); ++i)
        for (const auto& f : search.finished(i).first(std::min(search.finished(i).size(), options.n_best))) {
            Hypothesis h{std::vector<std::int32_t>(f.step + 1), f.score, std::vector<double>(f.step + 1)};
            search.trace(f, h.tokens.data(), h.positional_scores.data());
            result[i].push_back(std::move(h));
        }
    return result;
}

}  // namespace hat
