#pragma once
/// \file
/// What the search minimises (paper, section 3.2): the validation loss of a SubTransformer with inherited weights.

#include <cmath>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/core/tokens.hpp>
#include <hat/model/elastic.hpp>
#include <hat/model/weights.hpp>
#include <hat/space/arch.hpp>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace hat {

/// A fitness policy: label-smoothed loss per target token, base 2 as the reference logs it. Each thread that asks works
/// alone, so that a generation is scored in parallel with the same numbers for any number of threads. Copies share the
/// batches and working memory; the weights are the caller's and must outlive them.
class InheritedLoss {
public:
    /// Keeps a reference to the SuperTransformer's weights. With bf16, operands of products are rounded to bfloat16
    /// (LossOptions::precision): faster with AMX, and with AVX512-BF16 on AMD Zen 4 (docs/performance.md), in exchange
    /// for losses that differ in the fourth digit.
    InheritedLoss(const Weights<float>& weights, std::vector<Batch> validation, double label_smoothing = 0.1,
                  Precision precision = Precision::fp32)
        : shared_(std::make_shared<Shared>(weights, std::move(validation), label_smoothing, precision)) {
        if (shared_->validation.empty()) throw invalid_value("hat::InheritedLoss: there is no validation batch");
    }

    /// The validation loss of a SubTransformer with inherited weights.
    template <std::size_t E, std::size_t D>
    double operator()(const Arch<E, D>& arch) const {
        auto model = shared_->borrow();
        LossSums sums;
        for (const Batch& batch : shared_->validation)
            sums += model->loss(to_runtime(arch), batch, shared_->smoothing, shared_->precision);
        shared_->give_back(std::move(model));
        return sums.loss / static_cast<double>(sums.tokens) / std::log(2.0);
    }

private:
    struct Shared {
        Shared(const Weights<float>& w, std::vector<Batch> v, double s, Precision p)
            : weights(w), validation(std::move(v)), smoothing(s), precision(p) {}

        std::unique_ptr<ElasticTransformer<float>> borrow() {
            const std::lock_guard lock(mutex);
            if (idle.empty()) return std::make_unique<ElasticTransformer<float>>(weights);
            auto model = std::move(idle.back());
            idle.pop_back();
            return model;
        }
        void give_back(std::unique_ptr<ElasticTransformer<float>> model) {
            const std::lock_guard lock(mutex);
            idle.push_back(std::move(model));
        }

        const Weights<float>& weights;
        const std::vector<Batch> validation;
        const double smoothing;
        const Precision precision;
        std::mutex mutex;
        std::vector<std::unique_ptr<ElasticTransformer<float>>> idle;
    };
    std::shared_ptr<Shared> shared_;
};

}  // namespace hat
