#pragma once
/// \file
/// Quantization-aware training: the loss is that of the quantized model, while full weights are trained underneath and
/// move from code to code.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/model/weights.hpp>
#include <hat/quant/kmeans.hpp>
#include <hat/quant/quantized.hpp>
#include <utility>
#include <vector>

namespace hat {

/// Other weights with the codebooks of `quantized`: each number of a matrix gets the code of the nearest entry, then
/// each entry becomes the mean of the numbers that have its code (one of Lloyd's iterations; an entry without numbers
/// stays). Biases and layer norms are those of the weights. Throws shape_mismatch for another layout, not_finite naming
/// a tensor, and invalid_value naming one whose codebooks do not ascend as those of quantize() do.
inline QuantizedWeights requantize(const QuantizedWeights& quantized, const Weights<float>& weights) {
    if (weights.config() != quantized.layout->config())
        throw shape_mismatch("hat::requantize: the weights have another layout than the quantized ones");
    QuantizedWeights out{quantized.layout, quantized.arch, quantized.how, {}};
    const auto& tensors = quantized.layout->tensors();
    std::vector<std::uint8_t> codes;
    std::vector<float> entries;
    std::vector<double> sum;
    std::vector<std::size_t> count;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto numbers = weights.tensor(static_cast<int>(i));
        detail::require_finite("hat::requantize", tensors[i], numbers);
        QuantizedTensor t;
        if (!is_quantized(tensors[i])) {
            t.values.assign(numbers.begin(), numbers.end());
            out.tensors.push_back(std::move(t));
            continue;
        }
        t.values = quantized.tensors[i].values;
        t.codes.resize(quantized.tensors[i].codes.size());
        const unsigned bits = quantized.how.bits_of(i);
        const std::size_t book = std::size_t{1} << bits, rows = quantized.how.group_rows;
        const std::size_t group = (rows ? rows : tensors[i].rows()) * tensors[i].cols();
        for (std::size_t first = 0, g = 0; first < numbers.size(); first += group, ++g) {
            const auto part = numbers.subspan(first, std::min(group, numbers.size() - first));
            // entries ascend; zeros fill up a codebook of few numbers
            const auto from = t.values.begin() + static_cast<std::ptrdiff_t>(g * book);
            const auto end = from + static_cast<std::ptrdiff_t>(book), filled = std::is_sorted_until(from, end);
            if (std::any_of(filled, end, [](float v) { return v != 0; }))
                throw invalid_value("hat::requantize: a codebook of " + tensors[i].name + " does not ascend");
            entries.assign(from, filled);
            codes.resize(part.size());
            nearest_centroids(entries, part, codes.data());
            sum.assign(entries.size(), 0), count.assign(entries.size(), 0);
            for (std::size_t k = 0; k < part.size(); ++k) {
                sum[codes[k]] += static_cast<double>(part[k]), ++count[codes[k]];
                detail::put_code(t.codes, bits, first + k, codes[k]);
            }
            for (std::size_t c = 0; c < entries.size(); ++c)
                if (count[c])
                    from[static_cast<std::ptrdiff_t>(c)] = static_cast<float>(sum[c] / static_cast<double>(count[c]));
        }
        out.tensors.push_back(std::move(t));
    }
    return out;
}

/// For TrainingTask::stand_in: training computes the loss of the quantized weights, and its gradient trains the full
/// ones ("straight through": rounding counts as if it changed nothing). Start from the weights that were quantized; the
/// trained model is requantize(quantized, trained).
inline auto straight_through(QuantizedWeights quantized) {
    return [q = std::move(quantized)](const Weights<float>& trained) { return dequantize(requantize(q, trained)); };
}

}  // namespace hat
