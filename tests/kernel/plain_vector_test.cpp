#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hat/kernel/plain_vector.hpp>
#include <hat/kernel/simd.hpp>
#include <kernel/sheet.hpp>
#include <limits>
#include <type_traits>
#include <vector>

namespace simd = hat::simd;

#if defined(HAT_SCALAR)
static_assert(std::is_same_v<simd::Vec<float>, simd::Plain<float>>);
static_assert(std::is_same_v<simd::Vec<double>, simd::Plain<double>>);
static_assert(sizeof(simd::Bytes) == 16 && simd::dot_zero == 128);
#elif defined(__SSE2__) || defined(__ARM_NEON)
static_assert(!std::is_same_v<simd::Vec<float>, simd::Plain<float>>);
#endif

namespace {
template <class T>
std::vector<T> numbers(const simd::Plain<T>& v) {
    std::vector<T> out(v.size);
    v.store_unaligned(out.data());
    return out;
}
}  // namespace

// On every machine, also where kernels have real vectors.
TEST_CASE_TEMPLATE("plain vectors do to each lane what the type itself does", T, float, double) {
    using V = simd::Plain<T>;
    constexpr std::size_t w = V::size;
    static_assert(w * sizeof(T) == 16);
    const T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    const T from[] = {T(0.1), T(-2.3), T(3), T(0.7), T(-1.1), T(5), T(0.3), T(-0.0), T(1.7), T(2), T(-9), T(0.6)};
    const V a = V::load_unaligned(from), b = V::load_aligned(from + w), c = V::load_unaligned(from + 2 * w);
    const V sum = a + b, difference = a - b, product = a * b, quotient = a / c, fused = simd::fma(a, b, c);
    const V larger = simd::max(a, b), magnitude = simd::abs(a), power = simd::exp(a), root = simd::sqrt(a * a);
    const V positive = simd::where_positive(a, b), low = simd::interleave_low(a, b), high = simd::interleave_high(a, b);
    T total = 0, most = from[0];
    for (std::size_t i = 0; i < w; ++i) {
        const T x = from[i], y = from[w + i], z = from[2 * w + i];
        CHECK(sum.lane[i] == x + y);
        CHECK(difference.lane[i] == x - y);
        CHECK(product.lane[i] == x * y);
        CHECK(quotient.lane[i] == x / z);
        CHECK(fused.lane[i] == hat_test::step(x, y, z));
        CHECK(larger.lane[i] == std::max(x, y));
        CHECK(magnitude.lane[i] == std::abs(x));
        CHECK(std::abs(power.lane[i] - std::exp(x)) <= std::numeric_limits<T>::epsilon() * std::exp(x));
        CHECK(root.lane[i] == std::sqrt(x * x));
        CHECK(positive.lane[i] == (x > 0 ? y : T(0)));
        CHECK(low.lane[i] == from[i % 2 * w + i / 2]);
        CHECK(high.lane[i] == from[i % 2 * w + w / 2 + i / 2]);
        total += x, most = std::max(most, x);
    }
    CHECK(std::abs(simd::sum(a) - total) < 8 * std::numeric_limits<T>::epsilon());
    CHECK(simd::max_lane(a) == most);
    for (const T x : numbers(simd::exp(V(-inf)))) CHECK(x == T(0));
    for (const T x : numbers(simd::max(V(nan), V(T(1))))) CHECK(x == T(1));  // the second one where either is NaN
    for (const T x : numbers(simd::max(V(T(1)), V(nan)))) CHECK(std::isnan(x));
    for (const T x : numbers(simd::where_positive(V(nan), V(T(1))))) CHECK(x == T(0));
    T to[w + 1] = {};
    to[w] = T(99);
    a.store_unaligned(to);
    for (std::size_t i = 0; i < w; ++i) CHECK(to[i] == from[i]);
    CHECK(to[w] == T(99));
    b.store_aligned(to);
    for (std::size_t i = 0; i < w; ++i) CHECK(to[i] == from[w + i]);
}
