#pragma once
/// \file
/// Bits where they matter: each matrix gets as many as the measured loss asks for, within one size for all.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <hat/model/weights.hpp>
#include <hat/quant/quantized.hpp>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hat {

/// What allocate_bits() found.
struct BitAllocation {
    Quantization how;       ///< bits_each is filled; hand it to quantize()
    std::size_t bytes = 0;  ///< of all parameters then
    double loss = 0;        ///< of the weights as they were
    double loss_after = 0;  ///< of the weights in these bits
    /// Increase of the loss, parameter by parameter, with only that one in 2, 3 ... 8 bits: measured for 2 bits,
    /// estimated from it for the others. 0 for the parameters that are not quantized, and where 2 bits showed none.
    std::vector<std::array<double, 7>> increase;
};

namespace detail {
/// Bytes of all parameters in b bits; `bytes[i][b - 2]` are those of parameter i.
inline std::size_t total_bytes(const std::vector<std::array<std::size_t, 7>>& bytes, unsigned b) {
    std::size_t sum = 0;
    for (const auto& each : bytes) sum += each[b - 2];
    return sum;
}

/// Bits of every matrix, `fewest` to 8, for the least total increase within `budget` bytes: a knapsack with one choice
/// of several for each matrix, by dynamic programming over what is spent beyond the fewest bits everywhere, in at most
/// 2^16 units (sizes are rounded up to units, so that the budget is kept). `bytes[i][b - 2]` and `increase[i][b - 2]`
/// are those of matrix i in b bits.
inline std::vector<unsigned> spread_bits(const std::vector<std::array<std::size_t, 7>>& bytes,
                                         const std::vector<std::array<double, 7>>& increase, std::size_t budget,
                                         unsigned fewest = 2) {
    const std::size_t n = bytes.size(), first = fewest - 2;
    const std::size_t least = total_bytes(bytes, fewest), most = total_bytes(bytes, 8);
    if (least > budget)
        throw invalid_value("hat::allocate_bits: " + std::to_string(budget) + " bytes, expected at least " +
                            std::to_string(least) + ", those of " + std::to_string(fewest) + " bits everywhere");
    const std::size_t spare = std::min(budget, most) - least, unit = spare / (std::size_t{1} << 16) + 1;
    const std::size_t units = spare / unit;
    std::vector<double> total(units + 1), next(units + 1);  // least increase for at most so many units
    std::vector<std::uint8_t> choice(n * (units + 1));
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t u = 0; u <= units; ++u) {
            double best = std::numeric_limits<double>::infinity();
            for (std::size_t b = first; b < 7; ++b) {
                const std::size_t price = (bytes[i][b] - bytes[i][first] + unit - 1) / unit;
                if (price > u) break;
                if (const double sum = total[u - price] + increase[i][b]; sum < best)
                    best = sum, choice[i * (units + 1) + u] = static_cast<std::uint8_t>(b);
            }
            next[u] = best;
        }
        std::swap(total, next);
    }
    std::vector<unsigned> bits(n);
    for (std::size_t i = n, u = units; i-- > 0;) {
        const std::size_t b = choice[i * (units + 1) + u];
        bits[i] = static_cast<unsigned>(b + 2);
        u -= (bytes[i][b] - bytes[i][first] + unit - 1) / unit;
    }
    return bits;
}
}  // namespace detail

/// Chooses the bits of each matrix so that all parameters take at most `budget` bytes and the loss rises least. `loss`
/// (a callable: const Weights<float>& to double, lower is better, say the loss on some validation sentences) is
/// measured once for every matrix, with only that one in 2 bits. For other bits the increase is taken to be
/// proportional to the squared error of the weights, as it is to second order (the first order is 0 on average at a
/// minimum), because what more bits do to the loss drowns in the noise of the measurement; increases of several
/// matrices are taken to add up. Both are rough where bits are few. So the best choices with at least 2, 3, 4 ... bits
/// for every matrix are all measured as a whole, and the one with the lowest loss is returned: equal bits are among
/// them if the budget is just theirs. `group_rows` as in Quantization. Throws invalid_value when 2 bits everywhere are
/// too many bytes, and not_finite when the loss of the weights as they are is no number (a broken one of quantized
/// weights counts as infinite).
template <ExecutorPolicy E, class Loss>
BitAllocation allocate_bits(const E& executor, const Weights<float>& weights, std::size_t budget, Loss&& loss,
                            std::size_t group_rows = 0) {
    constexpr unsigned measured_bits = 2;
    const auto& tensors = weights.layout().tensors();
    BitAllocation found;
    found.loss = loss(weights);
    if (!std::isfinite(found.loss)) throw not_finite("hat::allocate_bits: the loss of the weights is no number");
    std::vector<std::array<std::size_t, 7>> bytes(tensors.size());
    found.increase.resize(tensors.size());
    Weights<float> changed = weights;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        for (unsigned b = 2; b <= 8; ++b) bytes[i][b - 2] = detail::quantized_size(tensors[i], group_rows, b).bytes();
        if (!is_quantized(tensors[i])) continue;
        const std::span<const float> original = weights.tensor(static_cast<int>(i));
        const std::span<float> numbers = changed.tensor(static_cast<int>(i));
        std::array<double, 7> error{};
        double measured = 0;
        for (unsigned b = 2; b <= 8; ++b) {
            const auto t = detail::quantize_tensor(executor, tensors[i], original, group_rows, b);
            detail::for_each_value(tensors[i], t, group_rows, b, [&](std::size_t k, std::size_t v) {
                numbers[k] = t.values[v];
                const double d = static_cast<double>(numbers[k]) - static_cast<double>(original[k]);
                error[b - 2] += d * d;
            });
            if (b == measured_bits) measured = loss(changed) - found.loss;
        }
        if (!std::isfinite(measured)) measured = 1e9 * (1 + std::abs(found.loss));
        const double unit = error[measured_bits - 2];
        for (std::size_t b = 0; b < error.size(); ++b)
            found.increase[i][b] = measured > 0 && error[b] > 0 ? measured * (error[b] / unit) : 0;
        std::copy(original.begin(), original.end(), numbers.begin());
    }
    double least = std::numeric_limits<double>::infinity();
    for (unsigned fewest = 2; fewest <= 8; ++fewest) {
        if (fewest > 2 && detail::total_bytes(bytes, fewest) > budget) break;
        const Quantization how{.group_rows = group_rows,
                               .bits_each = detail::spread_bits(bytes, found.increase, budget, fewest)};
        const double after = loss(dequantize(quantize(executor, weights, weights.config().shape, how)));
        if (fewest > 2 && !(after < least)) continue;
        found.how = how, found.loss_after = after;
        if (std::isfinite(after)) least = after;
    }
    found.bytes = quantized_bytes(weights.layout(), found.how);
    return found;
}

}  // namespace hat
