#pragma once
/// \file
/// K-means quantization (paper, section 4.4): every weight matrix, embeddings included, becomes short codes into
/// codebooks; biases and layer norms stay as they are.

#include <algorithm>
#include <array>
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
    /// Bits of each parameter in the order of the layout, instead of `bits` for all; those of parameters that are not
    /// quantized count for nothing. Empty: `bits`. See allocate_bits().
    std::vector<unsigned> bits_each{};
    friend bool operator==(const Quantization&, const Quantization&) = default;  ///< memberwise

    /// Bits of parameter `i`.
    unsigned bits_of(std::size_t i) const { return bits_each.empty() ? bits : bits_each[i]; }
};

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

/// Throws invalid_value unless all bits are 2 to 8 and bits_each, if there is one, has one for each parameter.
inline void validate(const Quantization& how, const WeightLayout& layout) {
    const std::size_t n = layout.tensors().size();
    if (!how.bits_each.empty() && how.bits_each.size() != n)
        throw invalid_value("hat::Quantization: bits_each has " + std::to_string(how.bits_each.size()) +
                            " numbers, expected one for each of the " + std::to_string(n) + " parameters");
    for (std::size_t i = 0; i < n; ++i)
        if (is_quantized(layout.tensors()[i]) && (how.bits_of(i) < 2 || how.bits_of(i) > 8))
            throw invalid_value("hat::Quantization: " + std::to_string(how.bits_of(i)) + " bits" +
                                (how.bits_each.empty() ? "" : " for " + layout.tensors()[i].name) +
                                ", expected 2 to 8");
}

namespace detail {
/// Numbers and codes (in bytes) that a quantized parameter stores.
struct QuantizedSize {
    std::size_t values = 0, codes = 0;
    std::size_t bytes() const { return 4 * values + codes; }
};
inline QuantizedSize quantized_size(const TensorInfo& info, std::size_t group_rows, unsigned bits) {
    if (!is_quantized(info)) return {info.size, 0};
    const std::size_t rows = group_rows ? group_rows : info.rows();
    return {((info.rows() + rows - 1) / rows) << bits, (info.size * bits + 7) / 8};
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
    validate(how, layout);
    std::size_t sum = 0;
    for (std::size_t i = 0; i < layout.tensors().size(); ++i)
        sum += detail::quantized_size(layout.tensors()[i], how.group_rows, how.bits_of(i)).bytes();
    return sum;
}

namespace detail {
/// One parameter in a few bits.
template <ExecutorPolicy E>
QuantizedTensor quantize_tensor(const E& executor, const TensorInfo& info, std::span<const float> numbers,
                                std::size_t group_rows, unsigned bits) {
    QuantizedTensor t;
    if (!is_quantized(info)) {
        t.values.assign(numbers.begin(), numbers.end());
        return t;
    }
    const auto size = quantized_size(info, group_rows, bits);
    const std::size_t book = std::size_t{1} << bits, groups = size.values / book;
    const std::size_t group = (group_rows ? group_rows : info.rows()) * info.cols();
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
    for (std::size_t k = 0; k < codes.size(); ++k) put_code(t.codes, bits, k, codes[k]);
    return t;
}

/// Calls f(i, v) for every number i of a parameter, stored as number v of `values`.
template <class F>
void for_each_value(const TensorInfo& info, const QuantizedTensor& t, std::size_t group_rows, unsigned bits, F&& f) {
    const std::size_t group = (group_rows ? group_rows : info.rows()) * info.cols();
    for (std::size_t i = 0; i < info.size; ++i)
        f(i, is_quantized(info) ? ((i / group) << bits) + get_code(t.codes, bits, i) : i);
}
}  // namespace detail

namespace detail {
inline void require_finite(const char* who, const TensorInfo& info, std::span<const float> numbers) {
    for (const float v : numbers)
        if (!std::isfinite(v)) throw not_finite(std::string(who) + ": " + info.name + " holds " + std::to_string(v));
}
}  // namespace detail

/// Quantizes a model; `arch` is the network to run. Extract a SubTransformer first to store nothing else. Throws
/// not_finite naming the tensor, and invalid_value as validate() does.
template <ExecutorPolicy E>
QuantizedWeights quantize(const E& executor, const Weights<float>& weights, const RuntimeArch& arch,
                          const Quantization& how = {}) {
    validate(how, weights.layout());
    require_fits(arch, weights.config().shape);
    QuantizedWeights out{weights.shared_layout(), arch, how, {}};
    const auto& tensors = weights.layout().tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const auto numbers = weights.tensor(static_cast<int>(i));
        detail::require_finite("hat::quantize", tensors[i], numbers);
        out.tensors.push_back(detail::quantize_tensor(executor, tensors[i], numbers, how.group_rows, how.bits_of(i)));
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
        detail::for_each_value(tensors[i], t, quantized.how.group_rows, quantized.how.bits_of(i),
                               [&](std::size_t k, std::size_t v) { out[k] = t.values[v]; });
    }
    return weights;
}

/// How many matrices have how many bits: "4 bits", or "3 of 3, 20 of 4, 2 of 5 bits".
inline std::string bits_text(const WeightLayout& layout, const Quantization& how) {
    std::array<std::size_t, 9> count{};
    std::size_t all = 0;
    for (std::size_t i = 0; i < layout.tensors().size(); ++i)
        if (is_quantized(layout.tensors()[i])) ++count.at(how.bits_of(i)), ++all;
    std::string out;
    for (std::size_t bits = 0; bits < count.size(); ++bits)
        if (const std::size_t n = count[bits]; n > 0)
            out += (out.empty() ? "" : ", ") + (n < all ? std::to_string(n) + " of " : "") + std::to_string(bits);
    return out + " bits";
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
