#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/rng.hpp>
#include <hat/kernel/simd.hpp>
#include <limits>
#include <memory>
#include <vector>

namespace simd = hat::simd;

namespace {

template <class T>
std::vector<T> lanes(const simd::Vec<T>& v) {
    std::vector<T> out(simd::width<T>);
    simd::store(out.data(), v);
    return out;
}

template <class T>
std::vector<T> some_numbers(std::size_t n) {
    hat::Rng rng(7);
    std::vector<T> x(n);
    for (T& v : x) v = static_cast<T>(4 * rng.uniform() - 2);
    return x;
}

}  // namespace

TEST_CASE_TEMPLATE("partial loads equal their portable twins and read nothing past the end", T, float, double) {
    for (std::size_t n = 1; n < simd::width<T>; ++n) {
        // exactly n numbers on the heap: a sanitizer sees any further read
        const std::unique_ptr<T[]> p(new T[n]);
        for (std::size_t i = 0; i < n; ++i) p[i] = static_cast<T>(i + 1);
        for (const T rest : {T(0), T(-3), -std::numeric_limits<T>::infinity()}) {
            const auto found = lanes<T>(simd::load_partial(p.get(), n, rest));
            CHECK(found == lanes<T>(simd::load_partial_portable(p.get(), n, rest)));
            for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == (i < n ? p[i] : rest));
        }
    }
}

TEST_CASE_TEMPLATE("partial stores equal their portable twins and write nothing past the end", T, float, double) {
    const auto x = some_numbers<T>(simd::width<T>);
    const auto v = simd::load(x.data());
    for (std::size_t n = 1; n < simd::width<T>; ++n) {
        std::vector<T> masked(simd::width<T> + 1, T(99)), portable = masked;
        simd::store_partial(masked.data(), v, n);
        simd::store_partial_portable(portable.data(), v, n);
        CHECK(masked == portable);
        for (std::size_t i = 0; i < masked.size(); ++i) CHECK(masked[i] == (i < n ? x[i] : T(99)));
        const std::unique_ptr<T[]> exact(new T[n]);
        simd::store_partial(exact.get(), v, n);
        CHECK(exact[n - 1] == x[n - 1]);
    }
}

TEST_CASE_TEMPLATE("transposing a block equals its portable twin and touches nothing else", T, float, double) {
    constexpr std::size_t w = simd::width<T>, out_stride = w + 3;
    for (std::size_t rows = 0; rows <= w; ++rows)
        for (std::size_t cols = 1; cols <= w; ++cols) {
            // rows x cols on the heap, exactly: a sanitizer sees any further read
            const auto in = some_numbers<T>(rows * cols);
            std::vector<T> found(w * out_stride, T(99)), expected = found;
            simd::transpose(in.data(), cols, rows, cols, found.data(), out_stride);
            simd::transpose_portable(in.data(), cols, rows, cols, expected.data(), out_stride);
            CHECK(found == expected);
            for (std::size_t c = 0; c < cols; ++c)
                for (std::size_t r = 0; r < w; ++r)
                    CHECK(found[c * out_stride + r] == (r < rows ? in[r * cols + c] : T(0)));
        }
}

TEST_CASE_TEMPLATE("a loop over vectors covers every length once, and only it", T, float, double) {
    for (std::size_t n = 0; n <= 3 * simd::width<T> + 1; ++n) {
        const auto x = some_numbers<T>(n);
        std::vector<T> y(n + 1, T(99));
        std::size_t calls = 0;
        simd::for_each_vector<T>(n, [&](auto load, auto store) {
            store(y.data(), load(x.data()) + simd::splat(T(1)));
            ++calls;
        });
        CHECK(calls == (n + simd::width<T> - 1) / simd::width<T>);
        for (std::size_t i = 0; i < n; ++i) CHECK(y[i] == x[i] + T(1));
        CHECK(y[n] == T(99));
    }
}

TEST_CASE_TEMPLATE("lane operations equal their scalar forms", T, float, double) {
    constexpr std::size_t w = simd::width<T>;
    const auto a = some_numbers<T>(3 * w);
    const auto va = simd::load(a.data()), vb = simd::load(a.data() + w), vc = simd::load(a.data() + 2 * w);
    const auto fused = lanes<T>(simd::fma(va, vb, vc)), larger = lanes<T>(simd::max(va, vb));
    const auto root = lanes<T>(simd::sqrt<T>(va * va)), power = lanes<T>(simd::exp(va));
    T most = a[0];
    double total = 0;
    for (std::size_t i = 0; i < w; ++i) {
#if defined(__FMA__) || defined(__aarch64__)
        CHECK(fused[i] == std::fma(a[i], a[w + i], a[2 * w + i]));
#else
        const T product = a[i] * a[w + i];
        CHECK(fused[i] == product + a[2 * w + i]);
#endif
        CHECK(larger[i] == std::max(a[i], a[w + i]));
        CHECK(root[i] == std::sqrt(a[i] * a[i]));
        CHECK(std::abs(power[i] - std::exp(a[i])) <= 4 * std::numeric_limits<T>::epsilon() * std::exp(a[i]));
        most = std::max(most, a[i]);
        total += static_cast<double>(a[i]);
    }
    CHECK(simd::max_lane<T>(va) == most);
    CHECK(std::abs(static_cast<double>(simd::sum<T>(va)) - total) <
          16 * static_cast<double>(std::numeric_limits<T>::epsilon()) * static_cast<double>(w));
    for (const T x : lanes<T>(simd::exp(simd::splat(-std::numeric_limits<T>::infinity())))) CHECK(x == T(0));
    for (const T x : lanes<T>(simd::zero<T>())) CHECK(x == T(0));
    const auto nan = simd::splat(std::numeric_limits<T>::quiet_NaN()), one = simd::splat(T(1));
    for (const T x : lanes<T>(simd::max(nan, one))) CHECK(x == T(1));  // the second one where either is NaN
    for (const T x : lanes<T>(simd::max(one, nan))) CHECK(std::isnan(x));
}
