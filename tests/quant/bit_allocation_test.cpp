#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <hat/quant/bit_allocation.hpp>
#include <limits>
#include <model/models.hpp>
#include <support/files.hpp>
#include <vector>

using hat_test::contains;
using hat_test::message_of;

namespace {

using Bytes = std::vector<std::array<std::size_t, 7>>;
using Increase = std::vector<std::array<double, 7>>;

/// Matrices of so many weights whose loss rises by factor * 4^-bits.
std::pair<Bytes, Increase> quadratic(const std::vector<std::pair<std::size_t, double>>& matrices) {
    std::pair<Bytes, Increase> out;
    for (const auto& [weights, factor] : matrices) {
        auto& bytes = out.first.emplace_back();
        auto& increase = out.second.emplace_back();
        for (unsigned b = 2; b <= 8; ++b) {
            bytes[b - 2] = weights * b / 8;
            increase[b - 2] = factor * std::pow(0.25, b);
        }
    }
    return out;
}

std::size_t size_of(const Bytes& bytes, const std::vector<unsigned>& bits) {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) sum += bytes[i][bits[i] - 2];
    return sum;
}
double loss_of(const Increase& increase, const std::vector<unsigned>& bits) {
    double sum = 0;
    for (std::size_t i = 0; i < increase.size(); ++i) sum += increase[i][bits[i] - 2];
    return sum;
}

/// |w - original|^2, matrix by matrix with its own weight: what the loss of a network is near its minimum.
struct Bowl {
    const hat::Weights<float>& original;
    std::vector<double> weight;

    double operator()(const hat::Weights<float>& w) const {
        double sum = 1;
        for (std::size_t i = 0; i < weight.size(); ++i) {
            const auto a = original.tensor(static_cast<int>(i)), b = w.tensor(static_cast<int>(i));
            for (std::size_t k = 0; k < a.size(); ++k) {
                const double d = static_cast<double>(a[k]) - static_cast<double>(b[k]);
                sum += weight[i] * d * d;
            }
        }
        return sum;
    }
};

}  // namespace

TEST_CASE("equal matrices get equal bits; a sensitive one gets more of them; all fit") {
    const auto [bytes, increase] = quadratic({{800, 1}, {800, 1}, {800, 1}});
    CHECK(hat::detail::spread_bits(bytes, increase, 1200) == std::vector<unsigned>{4, 4, 4});
    CHECK(hat::detail::spread_bits(bytes, increase, 1 << 20) == std::vector<unsigned>{8, 8, 8});
    CHECK(hat::detail::spread_bits(bytes, increase, 600) == std::vector<unsigned>{2, 2, 2});
    CHECK(contains(
        message_of<hat::invalid_value>([&, &b = bytes, &i = increase] { hat::detail::spread_bits(b, i, 599); }),
        "599 bytes, expected at least 600, those of 2 bits everywhere"));
    // a factor of 16 is worth two bits
    const auto [others, rise] = quadratic({{800, 16}, {800, 1}});
    CHECK(hat::detail::spread_bits(others, rise, 800) == std::vector<unsigned>{5, 3});
}

TEST_CASE("bits are spread as well as by trying everything") {
    hat::Rng rng(1);
    for (int trial = 0; trial < 20; ++trial) {
        std::vector<std::pair<std::size_t, double>> matrices;
        for (int i = 0; i < 4; ++i) matrices.emplace_back(100 + rng.below(2000), std::exp(4 * rng.uniform()));
        const auto [bytes, increase] = quadratic(matrices);
        const std::size_t budget = size_of(bytes, {4, 4, 4, 4});
        const auto found = hat::detail::spread_bits(bytes, increase, budget);
        CHECK(size_of(bytes, found) <= budget);
        CHECK(loss_of(increase, found) <= loss_of(increase, {4, 4, 4, 4}));
        double best = std::numeric_limits<double>::infinity();
        std::vector<unsigned> bits(4);
        for (unsigned code = 0; code < 7 * 7 * 7 * 7; ++code) {
            for (unsigned i = 0, rest = code; i < 4; ++i, rest /= 7) bits[i] = 2 + rest % 7;
            if (size_of(bytes, bits) <= budget) best = std::min(best, loss_of(increase, bits));
        }
        CHECK(loss_of(increase, found) == doctest::Approx(best).epsilon(1e-9));
    }
}

TEST_CASE("where the loss is sensitive go the bits, at no more bytes and a lower loss than with equal ones") {
    const auto config = hat_test::small_config(hat::EmbeddingSharing::all, true, 40, 48);
    const auto weights = hat_test::random_weights<float>(config, 1);
    const auto& tensors = weights.layout().tensors();
    Bowl loss{weights, {}};
    for (std::size_t i = 0; i < tensors.size(); ++i) loss.weight.push_back(i % 3 == 0 ? 100 : i % 3 == 1 ? 1 : 0.01);
    const std::size_t budget = hat::quantized_bytes(weights.layout(), {4, 0});
    const auto found = hat::allocate_bits(hat::Serial{}, weights, budget, loss);
    CHECK(found.loss == 1);
    CHECK(found.bytes <= budget);
    CHECK(found.bytes > budget * 9 / 10);
    CHECK(found.bytes == hat::quantized_bytes(weights.layout(), found.how));
    unsigned least = 8, most = 2;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        if (!hat::is_quantized(tensors[i])) continue;
        if (i % 3 == 0) least = std::min(least, found.how.bits_of(i));
        if (i % 3 == 2) most = std::max(most, found.how.bits_of(i));
    }
    CHECK(least > most);
    const auto rise = [&](const hat::Quantization& how) {
        return loss(hat::dequantize(hat::quantize(hat::Serial{}, weights, config.shape, how))) - 1;
    };
    CHECK(rise(found.how) < 0.3 * rise({4, 0}));
    CHECK(found.loss_after == doctest::Approx(1 + rise(found.how)));
    double expected = 0;
    for (std::size_t i = 0; i < tensors.size(); ++i)
        if (hat::is_quantized(tensors[i])) expected += found.increase[i][found.how.bits_of(i) - 2];
    CHECK(expected == doctest::Approx(rise(found.how)).epsilon(1e-6));
}

TEST_CASE("equal bits stay where errors that seem harmless one by one do harm together") {
    const auto config = hat_test::small_config(hat::EmbeddingSharing::all, true, 40, 48);
    const auto weights = hat_test::random_weights<float>(config, 1);
    const std::size_t n = weights.layout().tensors().size();
    const auto loss = [&](const hat::Weights<float>& w) {
        std::size_t changed = 0;
        for (int i = 0; i < static_cast<int>(n); ++i) {
            const auto a = w.tensor(i), b = weights.tensor(i);
            changed += !std::equal(a.begin(), a.end(), b.begin());
        }
        return changed > 1 ? Bowl{weights, std::vector<double>(n, 1)}(w) : 1.0;
    };
    const auto found = hat::allocate_bits(hat::Serial{}, weights, hat::quantized_bytes(weights.layout(), {4, 0}), loss);
    CHECK(found.how.bits_each == std::vector<unsigned>(n, 4));
    CHECK(found.loss_after == loss(hat::dequantize(hat::quantize(hat::Serial{}, weights, config.shape, {4, 0}))));
    CHECK(found.loss_after > 1);
}

TEST_CASE("a loss that is no number is refused, or counts as the worst") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<float>(config, 1);
    const std::size_t budget = hat::quantized_bytes(weights.layout(), {4, 0});
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(hat::allocate_bits(hat::Serial{}, weights, budget, [&](const auto&) { return nan; }),
                         "hat::allocate_bits: the loss of the weights is no number", hat::not_finite);
    // the first matrix breaks the network: it gets as many bits as make it exact, one for each of its 110 numbers
    std::size_t first = 0;
    while (!hat::is_quantized(weights.layout().tensors()[first])) ++first;
    const auto original = weights.tensor(static_cast<int>(first));
    const auto found = hat::allocate_bits(hat::Serial{}, weights, budget, [&](const hat::Weights<float>& w) {
        const auto now = w.tensor(static_cast<int>(first));
        return std::equal(now.begin(), now.end(), original.begin()) ? 1.0 : nan;
    });
    CHECK(found.how.bits_of(first) == 7);
    CHECK(found.bytes <= budget);
}
