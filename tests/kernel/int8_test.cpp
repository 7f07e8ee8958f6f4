#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/int8.hpp>
#include <kernel/sheet.hpp>
#include <limits>
#include <numeric>
#include <vector>

using hat_test::Sheet;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(),
                not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Codes and scale of a row by the book: double division, round half to even.
struct PlainRow {
    std::vector<int> codes;
    double scale = 0;
};
PlainRow quantize(const float* x, std::size_t n) {
    PlainRow out;
    float largest = 0;
    for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
    out.scale = largest / 127.0F;
    const float inverse = 127.0F / largest;
    for (std::size_t i = 0; i < n; ++i)
        out.codes.push_back(
            largest > 0 ? static_cast<int>(std::nearbyint(static_cast<double>(x[i]) * static_cast<double>(inverse)))
                        : 0);
    return out;
}

/// scale * relu(x w^T + bias) of the quantized operands, in long integers and doubles; `sizes` gets the sum of the
/// magnitudes that were added.
Sheet<double> oracle(const Sheet<float>& x, const Sheet<float>& w, const float* bias, hat::Activation<float> end,
                     Sheet<double>* sizes) {
    Sheet<double> y(x.rows, w.rows);
    *sizes = y;
    std::vector<PlainRow> rows;
    for (std::size_t n = 0; n < w.rows; ++n) rows.push_back(quantize(w.data.data() + n * w.stride, w.cols));
    for (std::size_t m = 0; m < x.rows; ++m) {
        const PlainRow left = quantize(x.data.data() + m * x.stride, x.cols);
        for (std::size_t n = 0; n < w.rows; ++n) {
            long sum = 0;
            for (std::size_t k = 0; k < x.cols; ++k) sum += long{left.codes[k]} * rows[n].codes[k];
            const double b = bias ? static_cast<double>(bias[n]) : 0.0,
                         product = static_cast<double>(sum) * left.scale * rows[n].scale;
            double v = product + b;
            if (end.relu) v = std::max(v, 0.0);
            y(m, n) = v * static_cast<double>(end.scale);
            (*sizes)(m, n) = (std::abs(product) + std::abs(b)) * std::abs(static_cast<double>(end.scale));
        }
    }
    return y;
}

template <class E>
Sheet<float> run(const E& executor, const Sheet<float>& x, const hat::Int8Linear& layer,
                 hat::Activation<float> end = {}) {
    Sheet<float> y(x.rows, layer.outputs(), 3);
    hat::linear<float>(executor, x.view(), layer, y.view(), end);
    CHECK(y.padding_untouched());
    return y;
}

bool close(const Sheet<float>& y, const Sheet<double>& expected, const Sheet<double>& sizes) {
    for (std::size_t i = 0; i < y.rows; ++i)
        for (std::size_t j = 0; j < y.cols; ++j)
            if (!(std::abs(static_cast<double>(y(i, j)) - expected(i, j)) <= 4e-7 * sizes(i, j))) return false;
    return true;
}

}  // namespace

TEST_CASE("a row is quantized to the nearest of 255 codes") {
    hat::Rng rng(1);
    for (const std::size_t n : std::initializer_list<std::size_t>{1, 2, 15, 16, 17, 64, 333}) {
        const Sheet<float> x(1, n, 0, rng);
        std::vector<std::int8_t> codes(n);
        const float scale = hat::quantize_row(x.data.data(), n, codes.data());
        const PlainRow expected = quantize(x.data.data(), n);
        CHECK(static_cast<double>(scale) == expected.scale);
        int most = 0, total = 0;
        for (std::size_t i = 0; i < n; ++i) {
            CHECK(codes[i] == expected.codes[i]);
            most = std::max(most, std::abs(int{codes[i]}));
            total += codes[i];
            CHECK(std::abs(x(0, i) - scale * codes[i]) <= 0.5001F * scale);
        }
        CHECK(most == 127);
        std::int32_t sum = -1;
        CHECK(hat::quantize_row(x.data.data(), n, codes.data(), &sum) == scale);
        CHECK(sum == total);
    }
    std::vector<std::int8_t> codes(20);
    const auto scale_of = [&](std::vector<float> x) {
        std::fill(codes.begin(), codes.end(), std::int8_t{1});
        x.resize(20);
        std::int32_t sum = -1;
        const float scale = hat::quantize_row(x.data(), x.size(), codes.data(), &sum);
        CHECK(sum == std::accumulate(codes.begin(), codes.end(), 0));
        return scale;
    };
    const std::vector<std::int8_t> zeros(20);
    CHECK(scale_of({}) == 0.0F);
    CHECK(codes == zeros);
    CHECK(scale_of({1e-40F, -1e-31F}) == 0.0F);  // too small for a scale: zero
    CHECK(codes == zeros);
    for (const float bad : {not_a_number, infinity, -infinity})
        for (std::size_t at = 0; at < 20; ++at) {
            std::vector<float> x(20, 1.0F);
            x[at] = bad;
            CHECK(std::isnan(scale_of(x)));
            CHECK(codes == zeros);
        }
    CHECK(scale_of({std::numeric_limits<float>::max(), -1}) == std::numeric_limits<float>::max() / 127);
    CHECK(codes[0] == 127);
    CHECK(scale_of({-1e-30F, 1e-38F}) == 1e-30F / 127);
    CHECK(codes[0] == -127);
    CHECK(std::isnan(scale_of(std::vector<float>(20, not_a_number))));
    CHECK(std::isnan(scale_of({not_a_number, 1e-40F})));
    CHECK(hat::quantize_row(nullptr, 0, nullptr) == 0.0F);
}

TEST_CASE("8-bit layers equal integer sums for every shape, and rows do not depend on each other") {
    hat::Rng rng(2);
    const std::size_t shapes[][2] = {{1, 1},   {31, 3},  {32, 4},   {33, 5},  {64, 16},
                                     {65, 17}, {7, 130}, {100, 63}, {129, 66}};
    for (const auto& [n, k] : shapes) {
        const Sheet<float> w(n, k, 2, rng), bias(1, n, 0, rng), all(33, k, 5, rng);
        const hat::Int8Linear layer(hat::Linear<float>{w.view(), bias.data.data()}),
            plain(hat::Linear<float>{w.view(), nullptr});
        CHECK(layer.outputs() == n);
        const hat::Activation<float> end{.relu = true, .scale = 0.37F};
        Sheet<double> sizes(0, 0);
        const Sheet<float> whole = run(hat::Serial{}, all, layer, end), product = run(hat::Serial{}, all, plain);
        CHECK(close(whole, oracle(all, w, bias.data.data(), end, &sizes), sizes));
        CHECK(close(product, oracle(all, w, nullptr, {}, &sizes), sizes));
        for (std::size_t m = 1; m <= 33; ++m) {
            Sheet<float> x(m, k, 1);
            for (std::size_t i = 0; i < m; ++i)
                for (std::size_t j = 0; j < k; ++j) x(i, j) = all(33 - m + i, j);
            const Sheet<float> y = run(hat::Serial{}, x, layer, end);
            bool same = true;
            for (std::size_t i = 0; i < m; ++i)
                for (std::size_t j = 0; j < n; ++j) same = same && y(i, j) == whole(33 - m + i, j);
            CHECK(same);
        }
    }
}

TEST_CASE("8-bit layers are the same bits for 1, 2 and 5 threads") {
    hat::Rng rng(3);
    const Sheet<float> x(150, 300, 0, rng), w(1000, 300, 0, rng);
    const hat::Int8Linear layer(hat::Linear<float>{w.view()});
    const Sheet<float> one = run(hat::Serial{}, x, layer);
    CHECK(one == run(hat::ThreadPool(2), x, layer));
    CHECK(one == run(hat::ThreadPool(5), x, layer));
}

TEST_CASE("the largest sums are exact") {
    // every code is 127 or -127; the sums reach 127 * 127 * k and are no floats
    for (const std::size_t k : std::initializer_list<std::size_t>{4093, 66001, 131072}) {
        Sheet<float> x(3, k), w(2, k);
        for (std::size_t j = 0; j < k; ++j)
            x(0, j) = 127, x(1, j) = -127, x(2, j) = j % 2 ? 127.0F : -127.0F, w(0, j) = 127, w(1, j) = -127;
        const Sheet<float> y = run(hat::Serial{}, x, hat::Int8Linear(hat::Linear<float>{w.view()}));
        const auto full = static_cast<float>(127 * 127 * static_cast<std::int64_t>(k));
        for (std::size_t n = 0; n < 2; ++n) {
            const float sign = n ? -1.0F : 1.0F;
            CHECK(y(0, n) == sign * full);
            CHECK(y(1, n) == -sign * full);
            CHECK(y(2, n) == (k % 2 ? -sign * 127 * 127 : 0.0F));
        }
    }
}

TEST_CASE("8-bit layers without inputs, rows or outputs") {
    const std::vector<float> bias = {1, -2, 3};
    const hat::View<const float> none(nullptr, 3, 0, 0);
    const hat::Int8Linear layer(hat::Linear<float>{none, bias.data()});
    Sheet<float> x(2, 0);
    const Sheet<float> y = run(hat::Serial{}, x, layer, {.relu = true, .scale = 2});
    for (std::size_t i = 0; i < 2; ++i) {
        CHECK(y(i, 0) == 2);
        CHECK(y(i, 1) == 0);
        CHECK(y(i, 2) == 6);
    }
    hat::Rng rng(4);
    const Sheet<float> w(3, 5, 0, rng);
    const hat::Int8Linear some(hat::Linear<float>{w.view()});
    CHECK(run(hat::Serial{}, Sheet<float>(0, 5), some).data.empty());
    const hat::Int8Linear nothing(hat::Linear<float>{hat::View<const float>(nullptr, 0, 5, 5)});
    run(hat::Serial{}, Sheet<float>(2, 5), nothing);
}

TEST_CASE("a NaN or an infinity spoils its row of activations or its output, and nothing else") {
    hat::Rng rng(5);
    for (const float bad : {not_a_number, infinity, -infinity}) {
        Sheet<float> x(4, 20, 0, rng), w(40, 20, 0, rng);
        x(2, 7) = bad;
        w(33, 19) = bad;
        const Sheet<float> y = run(hat::Serial{}, x, hat::Int8Linear(hat::Linear<float>{w.view()}), {.relu = true});
        for (std::size_t i = 0; i < 4; ++i)
            for (std::size_t j = 0; j < 40; ++j) CHECK(std::isnan(y(i, j)) == (i == 2 || j == 33));
    }
}

TEST_CASE("8-bit codes have the documented places, and rows are read back") {
    hat::Rng rng(6);
    const Sheet<float> w(70, 37, 0, rng);
    const hat::Int8Matrix matrix(w.view());
    const hat::Int8Panels& p = matrix.panels();
    CHECK(hat::Int8Panels::bytes(70, 37) == 96 * 40);
    CHECK(matrix.bytes() == 96 * 40 + 70 * 4);
    std::vector<int> seen(96 * 40);
    for (std::size_t n = 0; n < 70; ++n) {
        const PlainRow row = quantize(w.data.data() + n * w.stride, 37);
        CHECK(static_cast<double>(p.scales[n]) == row.scale);
        std::vector<float> vector(37);
        CHECK(p.vector(n, 37, vector.data()) == vector.data());
        for (std::size_t k = 0; k < 37; ++k) {
            const std::size_t at = n / 32 * (10 * 128) + k / 4 * 128 + n % 32 * 4 + k % 4;
            CHECK(p.codes[at] == row.codes[k] + 128);
            CHECK(vector[k] == p.scales[n] * static_cast<float>(row.codes[k]));
            seen[at] = 1;
        }
    }
    for (std::size_t i = 0; i < seen.size(); ++i)
        if (!seen[i]) CHECK(p.codes[i] == 128);
    // the same panels elsewhere, as in a mapped file
    const Sheet<float> x(3, 37, 0, rng);
    CHECK(run(hat::Serial{}, x, hat::Int8Linear(p, nullptr)) ==
          run(hat::Serial{}, x, hat::Int8Linear(hat::Linear<float>{w.view()})));
}
