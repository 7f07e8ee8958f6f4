#pragma once
/// \file
/// Adam with decoupled weight decay, as the reference computes it (semantics of fairseq's optimiser: epsilon is added
/// to the root of the uncorrected second moment).

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/simd.hpp>
#include <hat/model/weights.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hat {

/// Defaults of the paper's recipes.
struct AdamOptions {
    double beta1 = 0.9;       ///< decay of the first moment
    double beta2 = 0.98;      ///< decay of the second moment
    double epsilon = 1e-8;    ///< added to the root of the second moment
    double weight_decay = 0;  ///< every weight loses lr * weight_decay of itself per update
    double clip_norm = 0;     ///< largest norm of the whole gradient; 0: no limit
    friend bool operator==(const AdamOptions&, const AdamOptions&) = default;  ///< memberwise
};

/// Throws invalid_value that names the option, its value and what was expected.
inline void validate(const AdamOptions& o) {
    const auto require = [](bool good, const std::string& name, double value, const std::string& expected) {
        if (!good)
            throw invalid_value("hat::AdamOptions: " + name + " is " + std::to_string(value) + ", expected " +
                                expected);
    };
    require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1, "0 to less than 1");
    require(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2, "0 to less than 1");
    require(std::isfinite(o.epsilon) && o.epsilon > 0, "epsilon", o.epsilon, "a positive number");
    require(std::isfinite(o.weight_decay) && o.weight_decay >= 0, "weight_decay", o.weight_decay, "at least 0");
    require(std::isfinite(o.clip_norm) && o.clip_norm >= 0, "clip_norm", o.clip_norm, "at least 0 (0: no limit)");
}

/// The optimiser and its state: two moments of every weight and a step count of every tensor. A tensor the sampled
/// SubTransformer does not use is left alone; one it uses in part is updated as a whole, its unused entries with
/// gradient zero (as the reference does in float32 on one machine). Results do not depend on the number of threads.
template <class T>
class Adam {
public:
    /// Moments of zero for weights of this layout. Throws invalid_value naming an impossible option.
    Adam(std::shared_ptr<const WeightLayout> layout, AdamOptions options = {}, ThreadPool pool = ThreadPool(1))
        : first(layout), second(layout), steps(layout->tensors().size()), options_(options), pool_(std::move(pool)) {
        validate(options_);
        for (std::size_t t = 0; t < steps.size(); ++t)
            for (std::size_t begin = 0; begin < layout->tensors()[t].size; begin += block)
                blocks_.push_back({t, begin, std::min(block, layout->tensors()[t].size - begin)});
    }

    Weights<T> first;                  ///< moments of the gradient
    Weights<T> second;                 ///< moments of the squared gradient
    std::vector<std::uint64_t> steps;  ///< updates each tensor has seen

    /// How it updates.
    const AdamOptions& options() const { return options_; }

    /// Sets the gradients of the active tensors to zero; Adam reads no others. Throws shape_mismatch when the layouts
    /// differ.
    void clear(Weights<T>& gradient, const std::vector<bool>& active) const {
        if (active.size() != steps.size() || gradient.config() != first.config())
            throw shape_mismatch("hat::Adam: gradient and moments have different layouts");
        pool_(blocks_.size(), [&](std::size_t b) {
            const Block& at = blocks_[b];
            if (active[at.tensor]) std::fill_n(values(gradient, at), at.size, T(0));
        });
    }

    /// The norm of scale * gradient over the active tensors; sums in double, in one order. Throws not_finite with the
    /// name of the first tensor that has a NaN or infinity.
    double gradient_norm(const Weights<T>& gradient, const std::vector<bool>& active, double scale) const {
        std::vector<double> sums(blocks_.size());
        pool_(blocks_.size(), [&](std::size_t b) {
            const Block& at = blocks_[b];
            if (active[at.tensor]) sums[b] = sum_of_squares(values(gradient, at), at.size);
        });
        double sum = 0;
        for (std::size_t b = 0; b < sums.size(); ++b) {
            if (!std::isfinite(sums[b]))
                throw not_finite("the gradient of " + gradient.layout().tensors()[blocks_[b].tensor].name +
                                 " has a NaN or infinity");
            sum += sums[b];
        }
        const double norm = std::abs(scale) * std::sqrt(sum);
        if (!std::isfinite(norm)) throw not_finite("the norm of the gradient overflows");
        return norm;
    }

    /// One update with scale * gradient (scale: 1 / number of target tokens, when the gradient is that of a sum).
    /// Returns the gradient's norm before clipping. Throws not_finite, and has then changed nothing.
    double update(Weights<T>& weights, const Weights<T>& gradient, const std::vector<bool>& active, double lr,
                  double scale = 1) {
        if (active.size() != steps.size() || weights.config() != first.config() || gradient.config() != first.config())
            throw shape_mismatch("hat::Adam: weights, gradient and moments have different layouts");
        const double norm = gradient_norm(gradient, active, scale);
        double factor = scale;
        if (options_.clip_norm > 0 && norm > options_.clip_norm) factor *= options_.clip_norm / (norm + 1e-6);
        std::vector<double> rate(steps.size());
        for (std::size_t t = 0; t < steps.size(); ++t) {
            if (!active[t]) continue;
            const double n = static_cast<double>(++steps[t]);
            rate[t] = lr * std::sqrt(1 - std::pow(options_.beta2, n)) / (1 - std::pow(options_.beta1, n));
        }
        pool_(blocks_.size(), [&](std::size_t b) {
            const Block& at = blocks_[b];
            if (active[at.tensor])
                step(values(weights, at), values(gradient, at), values(first, at), values(second, at), at.size,
                     rate[at.tensor], lr, factor);
        });
        return norm;
    }

private:
    /// Pieces of work; their size never depends on the number of threads.
    struct Block {
        std::size_t tensor, begin, size;
    };
    static constexpr std::size_t block = 16384;

    template <class W>
    static auto* values(W& weights, const Block& at) {
        return weights.values().data() + weights.layout().tensors()[at.tensor].offset + at.begin;
    }

    static double sum_of_squares(const T* g, std::size_t n) {
        constexpr std::size_t lanes = 16;
        double sums[lanes] = {};
        const std::size_t whole = n / lanes * lanes;
        for (std::size_t i = 0; i < whole; i += lanes)
            for (std::size_t j = 0; j < lanes; ++j) {
                const double v = static_cast<double>(g[i + j]);
                sums[j] += v * v;
            }
        double sum = 0;
        for (std::size_t i = whole; i < n; ++i) {
            const double v = static_cast<double>(g[i]);
            sum += v * v;
        }
        for (const double s : sums) sum += s;
        return sum;
    }

    void step(T* weight, const T* gradient, T* m, T* v, std::size_t n, double rate, double lr, double factor) const {
        const auto constant = [](double x) { return simd::splat(static_cast<T>(x)); };
        const auto scale = constant(factor), b1 = constant(options_.beta1), c1 = constant(1 - options_.beta1),
                   b2 = constant(options_.beta2), c2 = constant(1 - options_.beta2), eps = constant(options_.epsilon),
                   step_size = constant(rate), decay = constant(-options_.weight_decay * lr);
        simd::for_each_vector<T>(n, [&](auto load, auto store) {
            const auto g = load(gradient) * scale;
            const auto m1 = simd::fma(c1, g, load(m) * b1);
            const auto v1 = simd::fma(c2 * g, g, load(v) * b2);
            const auto w = load(weight);
            store(m, m1);
            store(v, v1);
            store(weight, simd::fma(decay, w, w) - step_size * m1 / (simd::sqrt(v1) + eps));
        });
    }

    AdamOptions options_;
    ThreadPool pool_;
    std::vector<Block> blocks_;
};

}  // namespace hat
