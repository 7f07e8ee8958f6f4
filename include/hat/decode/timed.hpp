#pragma once
/// \file
/// What a latency meter runs: the parts of one translation of stated size, with tokens that do not matter.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/core/tokens.hpp>
#include <hat/decode/beam_search.hpp>
#include <hat/decode/inference.hpp>
#include <hat/model/weights.hpp>
#include <string>
#include <vector>

namespace hat {

/// The size of the translation to time. The defaults are the reference's for WMT; for IWSLT both lengths are 23.
struct ProbeOptions {
    std::size_t source_length = 30;  ///< tokens of each source sentence, eos included
    std::size_t target_length = 30;  ///< decoder steps
    std::size_t beam = 5;            ///< decoder rows per sentence
    std::size_t batch = 1;           ///< sentences at once
    std::size_t threads = 1;         ///< 0: one per hardware thread
};

/// One SubTransformer, ready to be timed by the reference's protocol (semantics, section 14), but as it runs in use:
/// without dropout or gradients (TRAP 5). Packing the weights is not part of what is timed.
template <class T = float>
class LatencyProbe {
public:
    /// Keeps a reference to the weights: they must outlive it. Throws shape_mismatch unless
    /// `arch` is a leading block of the weights, invalid_value for an option that is 0.
    LatencyProbe(const Weights<T>& weights, const RuntimeArch& arch, const ProbeOptions& options = {})
        : options_(checked(options)), model_(weights, arch), session_(model_, ThreadPool(options.threads)) {
        constexpr std::int32_t word = 7;  // as in the reference, where the vocabulary has it
        std::vector<std::int32_t> sentence(options.source_length,
                                           std::min(word, static_cast<std::int32_t>(model_.source_vocab()) - 1));
        sentence.back() = SpecialTokens::eos;
        for (std::size_t i = 0; i < options.batch; ++i) sources_.push_back({sentence.data(), sentence.size()});
        tokens_.assign(options.batch * options.beam,
                       std::min(word, static_cast<std::int32_t>(model_.target_vocab()) - 1));
        for (std::size_t r = 0; r < tokens_.size(); ++r) parents_.push_back(r);
        encode();
    }
    LatencyProbe(const LatencyProbe&) = delete;  // the session refers to the model
    LatencyProbe& operator=(const LatencyProbe&) = delete;

    /// What is timed.
    const ProbeOptions& options() const { return options_; }
    /// The network that is timed.
    const InferenceModel<T>& model() const { return model_; }

    /// Runs the encoder once.
    void encode() { session_.encode(sources_); }
    /// Runs the decoder `target_length` steps, output projection included; no softmax, no search, no reordering. The
    /// first step includes the keys and values of the encoder-decoder attentions. Returns one logit, so that nothing is
    /// optimised away.
    T decode() {
        session_.start(options_.beam);
        T last = session_.step(tokens_)(0, 0);
        for (std::size_t i = 1; i < options_.target_length; ++i) last = session_.step(tokens_, parents_)(0, 0);
        return last;
    }
    /// Translates for real, encoder and beam search, with exactly `target_length` tokens before eos.
    std::vector<std::vector<Hypothesis>> translate() {
        BeamOptions o;
        o.beam = options_.beam;
        o.min_length = o.max_length_b = options_.target_length;
        o.max_positions = std::max(o.max_positions, options_.target_length + 1);
        return beam_search(session_, sources_, o);
    }

private:
    static const ProbeOptions& checked(const ProbeOptions& o) {
        const auto positive = [](std::size_t value, const char* name) {
            if (value == 0)
                throw invalid_value(std::string("hat::LatencyProbe: ") + name + " is 0, expected at least 1");
        };
        positive(o.source_length, "source_length");
        positive(o.target_length, "target_length");
        positive(o.beam, "beam");
        positive(o.batch, "batch");
        positive(o.threads, "threads");
        return o;
    }

    ProbeOptions options_;
    InferenceModel<T> model_;
    InferenceSession<T> session_;
    Ragged sources_;
    std::vector<std::int32_t> tokens_;
    std::vector<std::size_t> parents_;
};

}  // namespace hat
