#pragma once
/// \file
/// Training of codebooks: weights with one code stay equal, codes stay as they are.

#include <algorithm>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/model/weights.hpp>
#include <hat/quant/quantized.hpp>
#include <utility>
#include <vector>

namespace hat {

/// The gradient of codebooks, as a change of the gradient of weights: each number becomes the mean over the weights
/// that share its codebook entry. An optimiser that treats equal weights with equal gradients equally, as Adam does,
/// then trains the entries: dequantize() a model, train it with this as TrainingTask::constrain, and take the codebooks
/// back with read_codebooks(). Biases and layer norms are trained as ever. (The mean, not the sum: it is the gradient's
/// projection, so that its norm, which clipping limits, is what the step follows; Adam's steps do not depend on the
/// scale.)
class TieCodes {
public:
    /// Keeps a copy of the codes.
    explicit TieCodes(QuantizedWeights quantized) : quantized_(std::move(quantized)) {}

    /// Changes the gradient in place. Throws shape_mismatch for another layout.
    void operator()(Weights<float>& gradient) const {
        if (gradient.config() != quantized_.layout->config())
            throw shape_mismatch("hat::TieCodes: the gradient has another layout than the quantized weights");
        const auto& tensors = quantized_.layout->tensors();
        std::vector<double> sum;
        std::vector<std::size_t> count;
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            if (!is_quantized(tensors[i])) continue;
            const auto& t = quantized_.tensors[i];
            const auto numbers = gradient.tensor(static_cast<int>(i));
            const auto each = [&](auto&& f) {
                detail::for_each_value(tensors[i], t, quantized_.how.group_rows, quantized_.how.bits_of(i), f);
            };
            sum.assign(t.values.size(), 0), count.assign(t.values.size(), 0);
            each([&](std::size_t k, std::size_t v) { sum[v] += static_cast<double>(numbers[k]), ++count[v]; });
            for (std::size_t v = 0; v < sum.size(); ++v)
                sum[v] /= static_cast<double>(std::max<std::size_t>(1, count[v]));
            each([&](std::size_t k, std::size_t v) { numbers[k] = static_cast<float>(sum[v]); });
        }
    }

private:
    QuantizedWeights quantized_;
};

/// Codebooks, biases and layer norms of `quantized` become those of weights that were trained with TieCodes. Throws
/// shape_mismatch for another layout, and invalid_value naming a parameter whose weights with one code differ.
inline void read_codebooks(QuantizedWeights& quantized, const Weights<float>& trained) {
    if (trained.config() != quantized.layout->config())
        throw shape_mismatch("hat::read_codebooks: the trained weights have another layout than the quantized ones");
    const auto& tensors = quantized.layout->tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        auto& t = quantized.tensors[i];
        const auto numbers = trained.tensor(static_cast<int>(i));
        std::vector<bool> seen(t.values.size());
        detail::for_each_value(
            tensors[i], t, quantized.how.group_rows, quantized.how.bits_of(i), [&](std::size_t k, std::size_t v) {
                if (seen[v] && t.values[v] != numbers[k])
                    throw invalid_value("hat::read_codebooks: " + tensors[i].name + " holds two numbers for one code");
                t.values[v] = numbers[k], seen[v] = true;
            });
    }
}

}  // namespace hat
