#pragma once
/// \file
/// K-means quantization (paper, section 4.4): every weight matrix, embeddings included, becomes short codes into
/// codebooks; biases and layer norms stay as they are.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <hat/model/config.hpp>
#include <hat/model/weights.hpp>
#include <hat/quant/kmeans.hpp>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace hat {

/// How matrices are quantized.
struct Quantization {
    unsigned bits = 4;           ///< of a code, 2 to 8; a codebook has 2^bits numbers
    std::size_t group_rows = 0;  ///< rows that share a codebook; 0: the whole matrix
    friend bool operator==(const Quantization&, const Quantization&) = default;  ///< memberwise
};

/// Throws unless the bits are 2 to 8.
inline void validate(const Quantization& how) {
    if (how.bits < 2 || how.bits > 8)
        throw invalid_value("hat::Quantization: " + std::to_string(how.bits) + " bits, expected 2 to 8");
}

/// One parameter: codes and codebooks of a matrix, or the numbers of a bias or layer norm.
struct QuantizedTensor {
    std::vector<float> values;        ///< codebooks of 2^bits numbers, one per group of rows; or the numbers themselves
    std::vector<std::uint8_t> codes;  ///< element i of a matrix has bits [i * bits, (i + 1) * bits), lowest bit first

    /// Memory of values and codes.
    std::size_t bytes() const { return 4 * values.size() + codes.size(); }
};

/// A quantized model: what it is for, and its parameters in the order of the layout.
struct QuantizedWeights {
    std::shared_ptr<const WeightLayout> layout;  ///< which parameter is which
    RuntimeArch arch;                            ///< the network to run
    Quantization how;                            ///< bits and groups
    std::vector<QuantizedTensor> tensors;        ///< in the order of the layout

    /// Bytes of all parameters.
    std::size_t bytes() const {
        std::size_t sum = 0;
        for (const auto& t : tensors) sum += t.bytes();
        return sum;
    }
};

/// Whether a parameter is quantized: matrices and embeddings are.
inline bool is_quantized(const TensorInfo& info) {
    using Kind = TensorInfo::Kind;
    return info.kind == Kind::matrix || info.kind == Kind::embedding || info.kind == Kind::output_embedding;
}

namespace detail {
/// Numbers and codes (in bytes) that a quantized parameter stores.
struct QuantizedSize {
    std::size_t values = 0, codes = 0;
};
inline QuantizedSize quantized_size(const TensorInfo& info, const Quantization& how) {
    if (!is_quantized(info)) return {info.size, 0};
    const std::size_t rows = how.group_rows ? how.group_rows : info.rows();
    return {((info.rows() + rows - 1) / rows) << how.bits, (info.size * how.bits + 7) / 8};
}

/// A code of up to 8 bits touches at most two bytes.
inline void put_code(std::vector<std::uint8_t>& codes, unsigned bits, std::size_t i, unsigned code) {
    const std::size_t at = i * bits / 8, shift = i * bits % 8;
    codes[at] = static_cast<std::uint8_t>(codes[at] | (code << shift));
    if (shift + bits > 8) codes[at + 1] = static_cast<std::uint8_t>(codes[at + 1] | (code >> (8 - shift)));
}
inline unsigned get_code(const std::vector<std::uint8_t>& codes, unsigned bits, std::size_t i) {
    const std::size_t at = i * bits / 8, shift = i * bits % 8;
    const unsigned high = shift + bits > 8 ? codes[at + 1] : 0U;
    return ((codes[at] | (high << 8)) >> shift) & ((1U << bits) - 1U);
}
}  // namespace detail

/// Bytes of all parameters after quantization; 4 * (numbers of parameters) before.
inline std::size_t quantized_bytes(const WeightLayout& layout, const Quantization& how) {
    validate(how);
    std::size_t sum = 0;
    for (const auto& t : layout.tensors()) {
        const auto size = detail::quantized_size(t, how);
        sum += 4 * size.values + size.codes;
    }
    return sum;
}

/// Quantizes a model; `arch` is the network to run. Extract a SubTransformer first to store nothing else. Throws
/// not_finite naming the tensor.
template <ExecutorPolicy E>
QuantizedWeights quantize(const E& executor, const Weights<float>& weights, const RuntimeArch& arch,
                          const Quantization& how = {}) {
    validate(how);
    require_fits(arch, weights.config().shape);
    QuantizedWeights out{weights.shared_layout(), arch, how, {}};
    const auto& tensors = weights.layout().tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto& info = tensors[i];
        const auto numbers = weights.tensor(static_cast<int>(i));
        for (const float v : numbers)
            if (!std::isfinite(v)) throw not_finite("hat::quantize: " + info.name + " holds " + std::to_string(v));
        QuantizedTensor t;
        if (!is_quantized(info)) {
            t.values.assign(numbers.begin(), numbers.end());
            out.tensors.push_back(std::move(t));
            continue;
        }
        const auto size = detail::quantized_size(info, how);
        const std::size_t book = std::size_t{1} << how.bits, groups = size.values / book;
        const std::size_t group = (how.group_rows ? how.group_rows : info.rows()) * info.cols();
        t.values.resize(size.values);
        t.codes.resize(size.codes);
        std::vector<std::uint8_t> codes(info.size);
        executor(groups, [&](std::size_t g) {
            const std::size_t first = g * group;
            const auto part = numbers.subspan(first, std::min(group, info.size - first));
            const auto centroids = kmeans(part, book);
            nearest_centroids(centroids, part, codes.data() + first);
            const auto to = t.values.begin() + static_cast<std::ptrdiff_t>(g * book);
            std::fill(std::copy(centroids.begin(), centroids.end(), to), to + static_cast<std::ptrdiff_t>(book), 0.0F);
        });
        for (std::size_t k = 0; k < codes.size(); ++k) detail::put_code(t.codes, how.bits, k, codes[k]);
        out.tensors.push_back(std::move(t));
    }
    return out;
}

/// The weights that codes and codebooks stand for: run them as any others.
inline Weights<float> dequantize(const QuantizedWeights& quantized) {
    Weights<float> weights(quantized.layout);
    const auto& tensors = quantized.layout->tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto& t = quantized.tensors[i];
        const auto out = weights.tensor(static_cast<int>(i));
        if (!is_quantized(tensors[i])) {
            std::copy(t.values.begin(), t.values.end(), out.begin());
            continue;
        }
        const unsigned bits = quantized.how.bits;
        const std::size_t group =
            (quantized.how.group_rows ? quantized.how.group_rows : tensors[i].rows()) * tensors[i].cols();
        for (std::size_t k = 0; k < out.size(); ++k)
            out[k] = t.values[((k / group) << bits) + detail::get_code(t.codes, bits, k)];
    }
    return weights;
}

/// What quantization did to one parameter.
struct QuantizationError {
    std::string name;            ///< of the parameter
    std::size_t bytes_fp32 = 0;  ///< before
    std::size_t bytes = 0;       ///< after
    double relative = 0;         ///< |quantized - original| / |original|, Euclidean norms; 0 for a parameter of zeros
};

/// Sizes and errors of every parameter, in the order of the layout.
inline std::vector<QuantizationError> quantization_report(const Weights<float>& original,
                                                          const QuantizedWeights& quantized) {
    if (original.config() != quantized.layout->config())
        throw shape_mismatch(
            "hat::quantization_report: the original has another configuration than the quantized weights");
    const Weights<float> found = dequantize(quantized);
    std::vector<QuantizationError> report;
    for (std::size_t i = 0; i < quantized.tensors.size(); ++i) {
        const int at = static_cast<int>(i);
        const auto a = original.tensor(at), b = found.tensor(at);
        double error = 0, norm = 0;
        for (std::size_t k = 0; k < a.size(); ++k) {
            const double v = static_cast<double>(a[k]), d = static_cast<double>(b[k]) - v;
            error += d * d, norm += v * v;
        }
        report.push_back({original.info(at).name, 4 * a.size(), quantized.tensors[i].bytes(),
                          norm > 0 ? std::sqrt(error / norm) : 0.0});
    }
    return report;
}

}  // namespace hat
