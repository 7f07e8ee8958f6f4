#pragma once
/// \file
/// What the search minimises (paper, section 3.2): the validation loss of a SubTransformer with inherited weights.

#include <cmath>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/core/tensor.hpp>
#include <hat/core/tokens.hpp>
#include <hat/model/elastic.hpp>
#include <hat/model/weights.hpp>
#include <hat/space/arch.hpp>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace hat {

/// How InheritedLoss works.
struct InheritedLossOptions {
    double label_smoothing = 0.1;  ///< share of the target's probability spread over the vocabulary
    /// What operands of products are rounded to. bf16x3 is faster with AMX, where losses differ from those of fp32 as
    /// other orders of summation do, and the same as fp32 elsewhere; bf16 is faster still with AMX, and with
    /// AVX512-BF16 on AMD Zen 4 and 5 (docs/performance.md), in exchange for losses that differ in the fourth digit.
    Precision precision = Precision::bf16x3;
    /// Bytes that may be kept of encoders' outputs, for other networks with the same encoder. The numbers are the same,
    /// as long as the weights do not change: 0 for weights that are still trained.
    std::size_t encoder_cache_bytes = 0;
};

/// A fitness policy: label-smoothed loss per target token, base 2 as the reference logs it. Each thread that asks works
/// alone, so that a generation is scored in parallel with the same numbers for any number of threads. Copies share the
/// batches, working memory and, if they may keep any, the outputs of encoders, which then need not run again for
/// networks that differ in the decoder only. The weights are the caller's and must outlive them.
class InheritedLoss {
public:
    /// Keeps a reference to the SuperTransformer's weights. Throws invalid_value without a validation batch.
    InheritedLoss(const Weights<float>& weights, std::vector<Batch> validation,
                  const InheritedLossOptions& options = {})
        : shared_(std::make_shared<Shared<float>>(weights, std::move(validation), options)) {
        if (shared_->validation.empty()) throw invalid_value("hat::InheritedLoss: there is no validation batch");
    }

    /// The validation loss of a SubTransformer with inherited weights.
    template <std::size_t E, std::size_t D>
    double operator()(const Arch<E, D>& arch) const {
        auto model = shared_->borrow();
        const LossSums sums = shared_->loss(*model, to_runtime(arch));
        shared_->give_back(std::move(model));
        return sums.loss / static_cast<double>(sums.tokens) / std::log(2.0);
    }

    /// How often an encoder's outputs were at hand, of all networks scored.
    std::size_t encoders_reused() const {
        const std::lock_guard lock(shared_->mutex);
        return shared_->reused;
    }

private:
    using Memories = std::vector<std::vector<Matrix<float>>>;  // of each batch
    struct Encoder {
        decltype(RuntimeArch::encoder) stack;
        std::shared_ptr<const Memories> memories;
        std::size_t bytes;
    };

    // a template, so that only who asks for a loss compiles the network
    template <class T>
    struct Shared {
        Shared(const Weights<T>& w, std::vector<Batch> v, const InheritedLossOptions& o)
            : weights(w), validation(std::move(v)), options(o) {
            for (const Batch& batch : validation) source_tokens += batch.source.tokens.size();
        }

        LossSums loss(ElasticTransformer<T>& model, const RuntimeArch& arch) {
            LossSums sums;
            const std::size_t count = model.memory_count(arch);
            const std::size_t bytes =
                count * source_tokens * static_cast<std::size_t>(arch.encoder.embed) * sizeof(float);
            if (bytes > options.encoder_cache_bytes) {
                for (const Batch& batch : validation)
                    sums += model.loss(arch, batch, options.label_smoothing, options.precision);
                return sums;
            }
            const auto stack = canonical(arch).encoder;
            auto memories = find(stack, count);
            if (!memories) {
                Memories fresh;
                for (const Batch& batch : validation) fresh.push_back(model.memories(arch, batch, options.precision));
                memories = std::make_shared<const Memories>(std::move(fresh));
                keep({stack, memories, bytes});
            }
            for (std::size_t i = 0; i < validation.size(); ++i)
                sums += model.loss(arch, validation[i], options.label_smoothing, options.precision, (*memories)[i]);
            return sums;
        }

        /// At least `count` memories of an encoder, or null.
        std::shared_ptr<const Memories> find(const decltype(RuntimeArch::encoder)& stack, std::size_t count) {
            const std::lock_guard lock(mutex);
            for (auto at = encoders.begin(); at != encoders.end(); ++at)
                if (at->stack == stack && at->memories->front().size() >= count) {
                    encoders.splice(encoders.begin(), encoders, at);  // the last used come first
                    ++reused;
                    return at->memories;
                }
            return nullptr;
        }
        void keep(Encoder encoder) {
            const std::lock_guard lock(mutex);
            for (auto at = encoders.begin(); at != encoders.end();) {
                if (at->stack != encoder.stack) {
                    ++at;
                    continue;
                }
                if (at->bytes >= encoder.bytes) return;  // another thread was faster
                kept_bytes -= at->bytes;
                at = encoders.erase(at);
            }
            kept_bytes += encoder.bytes;
            encoders.push_front(std::move(encoder));
            while (kept_bytes > options.encoder_cache_bytes) {
                kept_bytes -= encoders.back().bytes;
                encoders.pop_back();
            }
        }

        std::unique_ptr<ElasticTransformer<T>> borrow() {
            const std::lock_guard lock(mutex);
            if (idle.empty()) return std::make_unique<ElasticTransformer<T>>(weights);
            auto model = std::move(idle.back());
            idle.pop_back();
            return model;
        }
        void give_back(std::unique_ptr<ElasticTransformer<T>> model) {
            const std::lock_guard lock(mutex);
            idle.push_back(std::move(model));
        }

        const Weights<T>& weights;
        const std::vector<Batch> validation;
        const InheritedLossOptions options;
        std::size_t source_tokens = 0;
        std::mutex mutex;
        std::vector<std::unique_ptr<ElasticTransformer<T>>> idle;
        std::list<Encoder> encoders;
        std::size_t kept_bytes = 0, reused = 0;
    };
    std::shared_ptr<Shared<float>> shared_;
};

}  // namespace hat
