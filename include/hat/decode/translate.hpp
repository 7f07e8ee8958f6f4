#pragma once
/// \file
/// Text in, text out, from a saved model's folder alone. Optional: needs nlohmann_json and SentencePiece (targets
/// hat::json and hat::sentencepiece).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/core/tokens.hpp>
#include <hat/decode/beam_search.hpp>
#include <hat/decode/inference.hpp>
#include <hat/decode/tokenizers.hpp>
#include <hat/model/model_file.hpp>
#include <hat/model/weights.hpp>
#include <hat/quant/quantized_file.hpp>
#include <hat/text/utf8.hpp>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hat {

/// How to translate text.
struct TranslateOptions {
    BeamOptions search{};              ///< how each sentence is searched
    std::size_t threads = 1;           ///< 0: one per hardware thread; translations do not depend on it
    std::size_t batch_tokens = 1024;   ///< source tokens translated together: speed against memory
    std::size_t batch_sentences = 64;  ///< and at most so many sentences
    /// What products round their operands to. With AMX, bf16x3 is as exact as fp32 and faster for many sentences at
    /// once, slower for a single one (docs/performance.md); elsewhere it is fp32.
    Precision precision = Precision::fp32;
};

/// A translation as text. `hypothesis.tokens` are the target's ids.
struct Translation {
    std::string text;       ///< what the target tokenizer makes of the ids
    Hypothesis hypothesis;  ///< ids and scores
};

/// A sentence that cannot be translated.
struct bad_sentence : invalid_value {
    /// The sentence counted from 0; messages count from 1.
    bad_sentence(std::size_t index_, const std::string& reason_)
        : invalid_value("sentence " + std::to_string(index_ + 1) + ": " + reason_), index(index_), reason(reason_) {}
    std::size_t index;   ///< among those given, from 0
    std::string reason;  ///< without the number
};

/// Reads `folder`/model.safetensors (see save_model()) or `folder`/model.hatq (see save_quantized()). Throws bad_file
/// naming what is missing, broken or there twice.
inline Model load_model_folder(const std::filesystem::path& folder) {
    const bool quantized = std::filesystem::exists(folder / "model.hatq");
    if (quantized && std::filesystem::exists(folder / "model.safetensors"))
        throw bad_file(folder.string(), "has both model.safetensors and model.hatq, expected one of them");
    return quantized ? load_quantized_model(folder / "model.hatq") : load_model(folder / "model.safetensors");
}

/// Translates text with a saved model. One object serves one thread at a time.
class Translator {
public:
    /// Reads `folder`/model.safetensors (see save_model()) or `folder`/model.hatq (see save_quantized()) and the
    /// tokenizers beside it (see load_tokenizers()). Throws bad_file naming what is missing, broken or there twice, and
    /// invalid_value for bad options. A model's note "tokenizers", if it has one, must be their checksum.
    explicit Translator(const std::filesystem::path& folder, const TranslateOptions& options = {})
        : Translator{load_model_folder(folder), load_tokenizers(folder), options, folder.string()} {}
    /// From parts in memory. Throws bad_file when vocabularies and tokenizers differ in size.
    Translator(std::shared_ptr<const Weights<float>> weights, const RuntimeArch& arch, TokenizerPair tokenizers,
               const TranslateOptions& options = {}, const std::string& name = "hat::Translator")
        : Translator(std::make_unique<InferenceModel<float>>(std::move(weights), arch, options.precision),
                     std::move(tokenizers), options, name) {}

    /// The network that translates.
    const InferenceModel<float>& model() const { return *model_; }
    /// What reads and writes the text.
    const TokenizerPair& tokenizers() const { return tokenizers_; }

    /// The best translation of one sentence. An empty sentence (or only white space) gives an empty one. Throws
    /// bad_sentence for invalid UTF-8, a NUL byte, more tokens than positions (options.search.max_positions, eos
    /// included), and when the model gives NaN or infinity.
    std::string translate(const std::string& sentence) { return translate(std::span(&sentence, 1))[0]; }
    /// The best translation of each sentence, in their order. Messages count sentences from 1. Nothing is translated
    /// unless every sentence can be.
    std::vector<std::string> translate(std::span<const std::string> sentences) {
        std::vector<std::string> out;
        for (auto& hypotheses : search(sentences, 1)) out.push_back(std::move(hypotheses[0].text));
        return out;
    }
    /// The options.search.n_best best translations of each sentence, best first. An empty sentence has one.
    std::vector<std::vector<Translation>> n_best(std::span<const std::string> sentences) {
        return search(sentences, options_.search.n_best);
    }

private:
    Translator(std::unique_ptr<InferenceModel<float>> model, TokenizerPair tokenizers, const TranslateOptions& options,
               const std::string& name)
        : options_(checked(options)),
          tokenizers_(std::move(tokenizers)),
          model_(std::move(model)),
          session_(*model_, ThreadPool(options.threads)) {
        const auto require = [&](const char* side, std::size_t found, std::size_t expected) {
            if (found != expected)
                throw bad_file(name, std::string("the ") + side + " tokenizer has " + std::to_string(found) +
                                         " ids, but the model " + std::to_string(expected));
        };
        require("source", tokenizers_.source.vocabulary_size(), model_->source_vocab());
        require("target", tokenizers_.target.vocabulary_size(), model_->target_vocab());
    }
    Translator(Model&& model, TokenizerPair tokenizers, const TranslateOptions& options, const std::string& name)
        : Translator(std::make_unique<InferenceModel<float>>(std::move(model.weights), model.arch, options.precision),
                     std::move(tokenizers), options, name) {
        require_noted(model.notes, tokenizers_, name);
    }

    static const TranslateOptions& checked(const TranslateOptions& o) {
        validate(o.search);
        if (o.batch_tokens == 0) throw invalid_value("hat::Translator: batch_tokens is 0, expected at least 1");
        if (o.batch_sentences == 0) throw invalid_value("hat::Translator: batch_sentences is 0, expected at least 1");
        return o;
    }

    std::vector<std::vector<Translation>> search(std::span<const std::string> sentences, std::size_t n_best) {
        const Ragged sources = tokenize(sentences);
        // long sentences first, so that those of a batch end at about the same time
        std::vector<std::size_t> order(sources.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return sources[a].size() != sources[b].size() ? sources[a].size() > sources[b].size() : a < b;
        });
        BeamOptions options = options_.search;
        options.n_best = n_best;
        std::vector<std::vector<Translation>> out(sources.size());
        Ragged batch;
        for (std::size_t i = 0; i < order.size();) {
            const std::size_t first = i;
            batch.clear();
            while (i < order.size() && sources[order[i]].size() > 1 && i - first < options_.batch_sentences &&
                   (i == first || batch.tokens.size() + sources[order[i]].size() <= options_.batch_tokens))
                batch.push_back(sources[order[i++]]);
            auto found = search_batch(batch, options, std::span(order).subspan(first));
            for (std::size_t j = 0; j < found.size(); ++j)
                for (Hypothesis& h : found[j]) {
                    std::string text = tokenizers_.target.decode(std::span(h.tokens).first(h.tokens.size() - 1));
                    out[order[first + j]].push_back({std::move(text), std::move(h)});
                }
            if (i == first) out[order[i++]].push_back({"", {{SpecialTokens::eos}, 0, {0}}});  // nothing but eos
        }
        return out;
    }

    /// beam_search() with messages that count the caller's sentences; `order` holds their indices.
    std::vector<std::vector<Hypothesis>> search_batch(const Ragged& batch, const BeamOptions& options,
                                                      std::span<const std::size_t> order) {
        try {
            return beam_search(session_, batch, options);
        } catch (const logits_not_finite& e) {
            throw bad_sentence(order[e.sentence], "the logits of step " + std::to_string(e.step) +
                                                      " are not finite: has the model NaN or infinite weights?");
        }
    }

    Ragged tokenize(std::span<const std::string> sentences) const {
        Ragged out;
        for (std::size_t i = 0; i < sentences.size(); ++i) {
            const auto fail = [&](const std::string& what) { throw bad_sentence(i, what); };
            if (const std::size_t bad = find_invalid_utf8(sentences[i]); bad != std::string::npos)
                fail("invalid UTF-8 at byte " + std::to_string(bad + 1));
            if (const std::size_t nul = sentences[i].find('\0'); nul != std::string::npos)
                fail("NUL byte at byte " + std::to_string(nul + 1));
            std::vector<std::int32_t> ids = tokenizers_.source.encode(sentences[i]);
            ids.push_back(SpecialTokens::eos);
            if (ids.size() > options_.search.max_positions)
                fail("has " + std::to_string(ids.size()) + " tokens with its eos, expected at most " +
                     std::to_string(options_.search.max_positions));
            out.push_back(ids);
        }
        return out;
    }

    TranslateOptions options_;
    TokenizerPair tokenizers_;
    std::unique_ptr<InferenceModel<float>> model_;  // the session refers to it: it must not move
    InferenceSession<float> session_;
};

}  // namespace hat
