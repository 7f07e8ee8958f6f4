#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <hat/core/rng.hpp>
#include <hat/kernel/simd.hpp>
#include <kernel/sheet.hpp>
#include <limits>
#include <memory>
#include <utility>
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
    const auto root = lanes<T>(simd::sqrt(va * va)), power = lanes<T>(simd::exp(va));
    T most = a[0];
    double total = 0;
    for (std::size_t i = 0; i < w; ++i) {
        CHECK(fused[i] == hat_test::step(a[i], a[w + i], a[2 * w + i]));
        CHECK(larger[i] == std::max(a[i], a[w + i]));
        CHECK(root[i] == std::sqrt(a[i] * a[i]));
        CHECK(std::abs(power[i] - std::exp(a[i])) <= 4 * std::numeric_limits<T>::epsilon() * std::exp(a[i]));
        most = std::max(most, a[i]);
        total += static_cast<double>(a[i]);
    }
    CHECK(simd::max_lane(va) == most);
    CHECK(std::abs(static_cast<double>(simd::sum(va)) - total) <
          16 * static_cast<double>(std::numeric_limits<T>::epsilon()) * static_cast<double>(w));
    for (const T x : lanes<T>(simd::exp(simd::splat(-std::numeric_limits<T>::infinity())))) CHECK(x == T(0));
    for (const T x : lanes<T>(simd::zero<T>())) CHECK(x == T(0));
    const auto nan = simd::splat(std::numeric_limits<T>::quiet_NaN()), one = simd::splat(T(1));
    for (const T x : lanes<T>(simd::max(nan, one))) CHECK(x == T(1));  // the second one where either is NaN
    for (const T x : lanes<T>(simd::max(one, nan))) CHECK(std::isnan(x));
}

namespace {
/// Bytes of one register, seeded.
std::vector<std::uint8_t> some_bytes(std::uint64_t seed, unsigned low, unsigned high) {
    hat::Rng rng(seed);
    std::vector<std::uint8_t> x(sizeof(simd::Bytes));
    for (auto& v : x) v = static_cast<std::uint8_t>(low + rng.below(high - low + 1));
    return x;
}
}  // namespace

TEST_CASE("dot products of four bytes equal their portable twin, at the extremes too") {
    constexpr std::size_t lanes = sizeof(simd::Bytes) / 4;
    const auto check = [](const std::vector<std::uint8_t>& w, const std::vector<std::int8_t>& four) {
        std::vector<std::int8_t> x(sizeof(simd::Bytes));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = four[i % 4];
        std::vector<std::int32_t> found(lanes), expected(lanes, -1000000);
        const auto start = simd::splat_sum(-1000000);
        simd::store_sums(found.data(), simd::dot4(start, simd::dot_operand(simd::load_bytes(w.data())),
                                                  simd::splat_four(four.data())));
        simd::dot4_portable(expected.data(), w.data(), x.data());
        CHECK(found == expected);
        for (std::size_t i = 0; i < lanes; ++i) {
            int sum = -1000000;
            for (std::size_t j = 0; j < 4; ++j) sum += (w[4 * i + j] - simd::dot_zero) * x[j];
            CHECK(found[i] == sum);
        }
    };
    hat::Rng rng(3);
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        std::vector<std::int8_t> x(4);
        for (auto& v : x) v = static_cast<std::int8_t>(static_cast<int>(rng.below(255)) - 127);
        check(some_bytes(seed, 1, 255), x);
    }
    for (const int w : {1, 128, 255})
        for (const int x : {-127, 0, 127}) {
            const auto v = static_cast<std::int8_t>(x);
            check(std::vector<std::uint8_t>(sizeof(simd::Bytes), static_cast<std::uint8_t>(w)), {v, v, v, v});
        }
    std::vector<std::int32_t> sum(lanes);
    simd::store_sums(sum.data(), simd::add_sums(simd::splat_sum(7), simd::splat_sum(-9)));
    CHECK(sum == std::vector<std::int32_t>(lanes, -2));
}

TEST_CASE("byte tables equal their portable twin, nibbles come apart") {
    std::vector<std::uint8_t> table(16);
    for (std::size_t i = 0; i < 16; ++i) table[i] = static_cast<std::uint8_t>(255 - 13 * i);
    const auto bytes = some_bytes(1, 0, 255);
    std::vector<std::uint8_t> low(bytes.size()), high(bytes.size()), found(bytes.size()), expected(bytes.size());
    const auto b = simd::load_bytes(bytes.data());
    simd::store_bytes(low.data(), simd::low_nibbles(b));
    simd::store_bytes(high.data(), simd::high_nibbles(b));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        CHECK(low[i] == bytes[i] % 16);
        CHECK(high[i] == bytes[i] / 16);
    }
    simd::store_bytes(found.data(), simd::lookup_bytes(simd::byte_table(table.data()), simd::load_bytes(low.data())));
    simd::lookup_bytes_portable(table.data(), low.data(), expected.data());
    CHECK(found == expected);
    for (std::size_t i = 0; i < bytes.size(); ++i) CHECK(found[i] == table[bytes[i] % 16]);
}

TEST_CASE("tables of sixteen floats equal their portable twin, bit for bit, at every shift") {
    auto table = some_numbers<float>(16);
    table[3] = -0.0F, table[9] = std::numeric_limits<float>::infinity(), table[12] = 1e-42F;
    hat::Rng rng(5);
    std::vector<std::uint32_t> words(simd::width<float>);
    const auto t = simd::load_table(table.data());
    const auto bits = [](const simd::Vec<float>& v) {
        std::vector<std::uint32_t> out(simd::width<float>);
        const auto x = lanes<float>(v);
        std::memcpy(out.data(), x.data(), 4 * x.size());
        return out;
    };
    for (int round = 0; round < 20; ++round) {
        for (auto& w : words) w = static_cast<std::uint32_t>(rng.below(std::uint64_t{1} << 32));
        const auto codes = simd::load_codes(words.data());
        const auto check = [&]<unsigned shift>(std::integral_constant<unsigned, shift>) {
            const auto found = bits(simd::lookup<shift>(t, codes));
            CHECK(found == bits(simd::lookup_portable(table.data(), words.data(), shift)));
            for (std::size_t i = 0; i < words.size(); ++i) {
                std::uint32_t expected;
                std::memcpy(&expected, &table[(words[i] >> shift) % 16], 4);
                CHECK(found[i] == expected);
            }
        };
        [&]<unsigned... i>(std::integer_sequence<unsigned, i...>) {
            (check(std::integral_constant<unsigned, 4 * i>{}), ...);
        }
        (std::make_integer_sequence<unsigned, 8>{});
        check(std::integral_constant<unsigned, 3>{});
    }
}

TEST_CASE("rounding to bytes equals its portable twin: to the nearest, halves to even") {
    constexpr std::size_t w = simd::width<float>;
    for (float x = -127; x <= 127; x += 0.25F) {
        std::vector<std::int8_t> found(w + 1, 99), portable = found;
        const auto v = simd::splat(x / 2), two = simd::splat(2.0F);
        for (std::size_t n = 1; n <= w; ++n) {
            const auto integers = lanes<float>(simd::store_rounded(found.data(), v, two, n));
            simd::store_rounded_portable(portable.data(), simd::fma(v, two, simd::splat(12582912.0F)), n);
            CHECK(found == portable);
            for (std::size_t i = 0; i < n; ++i) CHECK(static_cast<float>(found[i]) == std::nearbyint(x));
            for (const float integer : integers) CHECK(integer == std::nearbyint(x));
            CHECK(found[n] == 99);
        }
    }
    std::vector<std::int32_t> integers(w);
    for (std::size_t i = 0; i < w; ++i) integers[i] = static_cast<std::int32_t>(123456789 * (i + 1) % 1000003) - 500000;
    const auto floats = lanes<float>(simd::load_as_float(integers.data()));
    for (std::size_t i = 0; i < w; ++i) CHECK(floats[i] == static_cast<float>(integers[i]));
}

TEST_CASE("rounding to pairs of bfloat16 equals its portable twin: to nearest even, denormals to zero, NaN stays") {
    hat::Rng rng(5);
    const auto float_of = [](std::uint32_t bits) {
        float x;
        std::memcpy(&x, &bits, sizeof x);
        return x;
    };
    const auto random = [&] { return static_cast<std::uint32_t>(rng.below(std::uint64_t{1} << 32)); };
    const std::vector<std::uint32_t> special{0,          0x80000000, 1,          0x807fffff, 0x00800000, 0x7f7fffff,
                                             0x7f800000, 0xff800000, 0x7f800001, 0x7fffffff, 0xffc00000, 0x3f808000,
                                             0x3f818000, 0x3f808001, 0x3f807fff, 0x7f7f8000};
    for (std::size_t n = 0; n <= 70; ++n) {
        std::vector<float> first(n), second(n);
        for (std::size_t i = 0; i < n; ++i) {
            first[i] = float_of(i % 3 ? random() : special[rng.below(special.size())]);
            second[i] = float_of(i % 4 ? random() : special[rng.below(special.size())]);
        }
        const auto check = [&](auto&& round, std::size_t size) {  // round(portable, out)
            std::vector<simd::Bf16Pair> found(size + 1, {7}), portable(size + 1, {7});
            round(false, found.data());
            round(true, portable.data());
            for (std::size_t i = 0; i <= size; ++i) CHECK(found[i].bits == portable[i].bits);
            CHECK(found[size].bits == 7);
        };
        check(
            [&](bool portable, simd::Bf16Pair* out) {
                portable ? simd::round_left_portable(first.data(), n, out) : simd::round_left(first.data(), n, out);
            },
            (n + 1) / 2);
        for (const float* other : {static_cast<const float*>(second.data()), static_cast<const float*>(nullptr)})
            check(
                [&](bool portable, simd::Bf16Pair* out) {
                    portable ? simd::round_right_portable(first.data(), other, n, out)
                             : simd::round_right(first.data(), other, n, out);
                },
                n);
    }
    CHECK(simd::round_to_bf16(1.00390625F) == 0x3f80);  // halfway: to even
    CHECK(simd::round_to_bf16(1.01171875F) == 0x3f82);
    CHECK(simd::round_to_bf16(1e-40F) == 0);
    CHECK(simd::round_to_bf16(3.4e38F) == 0x7f80);  // beyond the largest
    const float one_two[] = {1, 2};
    simd::Bf16Pair pair;
    simd::round_left(one_two, 2, &pair);
    CHECK(simd::first_of(pair) == 1);
    CHECK(simd::second_of(pair) == 2);
}

TEST_CASE("rounding to pairs and transposing equals its portable twin, bit for bit, and reads nothing outside") {
    constexpr std::size_t w = simd::width<float>, stride = 2 * w + 3;
    hat::Rng rng(7);
    std::vector<std::size_t> counts{0, 1, w / 2 + 1, w};
    for (const std::size_t rows : counts)
        for (const std::size_t k : {std::size_t{0}, std::size_t{1}, w - 1, w, w + 1, 2 * w - 1, 2 * w}) {
            CAPTURE(rows);
            CAPTURE(k);
            std::vector<simd::Bf16Pair> found((w + 2) * w, {7}), portable = found;
            const auto check = [&] {
                for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i].bits == portable[i].bits);
            };
            // memory that ends with the block, so that a sanitizer sees what is read behind it
            std::vector<float> block(rows && k ? (rows - 1) * stride + k : 0);
            for (float& x : block) x = static_cast<float>(rng.normal());
            simd::round_right_across(block.data(), stride, rows, k, found.data(), w + 2);
            simd::round_right_across_portable(block.data(), stride, rows, k, portable.data(), w + 2);
            check();
            if (rows > 1 && k > 2) {
                CHECK(simd::first_of(found[w + 2 + 1]) ==
                      simd::first_of({simd::round_to_bf16(block[stride + 2]) << 16U}));
            }
            block.assign(rows && k ? (k - 1) * stride + rows : 0, 0.0F);
            for (float& x : block) x = static_cast<float>(rng.normal());
            simd::round_left_along(block.data(), stride, k, rows, found.data(), w + 2);
            simd::round_left_along_portable(block.data(), stride, k, rows, portable.data(), w + 2);
            check();
            if (rows > 1 && k > 3) {
                CHECK(simd::second_of(found[w + 2 + 1]) ==
                      simd::first_of({simd::round_to_bf16(block[3 * stride + 1]) << 16U}));
            }
        }
}

TEST_CASE("three parts in bfloat16 are the number, and those of vectors equal their portable twins, bit for bit") {
    constexpr std::size_t w = simd::width<float>, step = 3 * w * w;
    hat::Rng rng(9);
    std::vector<float> block(4 * w * w + 3 * w);
    for (float& x : block) {  // any significand; exponents far from the smallest normal number's and the largest
        const auto bits = static_cast<std::uint32_t>(rng.below(std::uint64_t{1} << 32)) & 0x807fffffU;
        const std::uint32_t with_exponent = bits | (64 + static_cast<std::uint32_t>(rng.below(128))) << 23U;
        std::memcpy(&x, &with_exponent, sizeof x);
    }
    const auto parts_of = [](float x, bool left) {
        std::array<std::uint32_t, 3> parts;
        for (std::size_t p = 0; p < 3; ++p)
            parts[p] = left ? simd::take_part<3, simd::Side::left>(x, p) : simd::take_part<3, simd::Side::right>(x, p);
        CHECK((x == 0 || std::isnan(x)));  // nothing is left
        return parts;
    };
    for (const float x : block)
        for (const bool left : {false, true}) {
            float sum = 0;
            const auto parts = parts_of(x, left);
            for (std::size_t i = 3; i-- > 0;) sum += simd::first_of({parts[i] << 16U});
            CHECK(sum == x);
            const float first = simd::first_of({parts[0] << 16U});
            // half a unit of the first part's last place, or all of it towards zero
            CHECK(std::abs(x - first) <= std::ldexp(std::abs(x), left ? -8 : -7));
            if (!left) CHECK(std::abs(first) <= std::abs(x));
        }
    CHECK(parts_of(1.00390625F, true)[0] == 0x3f81);  // halfway: away from zero
    CHECK(parts_of(1.00390625F, false)[0] == 0x3f80);
    for (const bool left : {false, true}) {  // a broken number stays one, whatever its bits
        for (const std::uint32_t bits :
             {0x7fc00000U, 0x7fffffffU, 0xffffffffU, 0x7f800001U, 0x7f800000U, 0xff800000U}) {
            float x;
            std::memcpy(&x, &bits, sizeof x);
            const auto parts = parts_of(x, left);
            CHECK(std::any_of(parts.begin(), parts.end(),
                              [](std::uint32_t p) { return std::isnan(simd::first_of({p << 16U})); }));
        }
    }
    for (const std::size_t n : {std::size_t{1}, w - 1, w, 2 * w - 1, 2 * w}) {
        CAPTURE(n);
        std::vector<simd::Bf16Pair> found(3 * step, {7}), portable = found;
        const auto check = [&] {
            for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i].bits == portable[i].bits);
        };
        simd::round_left<3>(block.data(), n, found.data(), step);
        simd::round_left_portable<3>(block.data(), n, portable.data(), step);
        check();
        for (std::size_t p = 0; p < 3; ++p) CHECK(found[p * step + (n + 1) / 2].bits == 7);
        simd::round_right<3>(block.data(), block.data() + n, n, found.data(), step);
        simd::round_right_portable<3>(block.data(), block.data() + n, n, portable.data(), step);
        check();
        const auto parts = parts_of(block[0], false);
        for (std::size_t p = 0; p < 3; ++p) CHECK((found[p * step].bits >> 16U) == parts[p]);
        simd::round_right_across<3>(block.data(), 2 * w + 1, w - 1, n, found.data(), w + 2, step);
        simd::round_right_across_portable<3>(block.data(), 2 * w + 1, w - 1, n, portable.data(), w + 2, step);
        check();
        simd::round_left_along<3>(block.data(), w + 1, n, w - 1, found.data(), w + 2, step);
        simd::round_left_along_portable<3>(block.data(), w + 1, n, w - 1, portable.data(), w + 2, step);
        check();
    }
}

TEST_CASE("a step of a chain over pairs of bfloat16 equals its portable twin, bit for bit, without denormals") {
    constexpr std::size_t w = simd::width<float>;
    hat::Rng rng(6);
    std::vector<simd::Bf16Pair> a(w), b(w);
    std::vector<float> c(w), expected(w);
    for (int round = 0; round < 2000; ++round) {
        const auto spread = static_cast<std::uint32_t>(1 + round % 20);  // of the exponents
        const auto half = [&] {
            const auto exponent = 127 - spread / 2 + static_cast<std::uint32_t>(rng.below(spread));
            return static_cast<std::uint32_t>(rng.below(2)) << 15U | exponent << 7U |
                   static_cast<std::uint32_t>(rng.below(128));
        };
        for (std::size_t i = 0; i < w; ++i) {
            a[i] = {half() << 16U | half()};
            b[i] = {half() << 16U | half()};
            const std::uint32_t sum = half() << 16U | static_cast<std::uint32_t>(rng.below(1U << 16U));
            std::memcpy(&c[i], &sum, sizeof sum);
        }
        expected = c;
        simd::fma_portable(a.data(), b.data(), expected.data());
        const auto whole = lanes<float>(simd::fma(simd::load(a.data()), simd::load(b.data()), simd::load(c.data())));
        const auto left = lanes<float>(simd::fma(simd::splat(a[0]), simd::load(b.data()), simd::load(c.data())));
        for (std::size_t i = 0; i < w; ++i) CHECK(whole[i] == expected[i]);
        std::fill(a.begin() + 1, a.end(), a[0]);
        expected = c;
        simd::fma_portable(a.data(), b.data(), expected.data());
        for (std::size_t i = 0; i < w; ++i) CHECK(left[i] == expected[i]);
    }
}

TEST_CASE("sums over a row are made in one order whatever the vectors") {
    for (const std::size_t n : {0U, 1U, 3U, 4U, 7U, 15U, 16U, 17U, 31U, 36U, 64U, 100U, 257U}) {
        const auto x = some_numbers<float>(n);
        simd::LaneSums<float> sums;
        std::vector<float> copy(n);
        simd::for_each_part<float>(n, [&](std::size_t i, auto load, auto store) {
            sums[i] = simd::fma(load(x.data()), load(x.data()), sums[i]);
            store(copy.data(), load(x.data()));
        });
        CHECK(copy == x);
        float chain[16] = {};
        for (std::size_t i = 0; i < n; ++i) chain[i % 16] = hat_test::step(x[i], x[i], chain[i % 16]);
        for (const std::size_t half : {8U, 4U, 2U, 1U})
            for (std::size_t i = 0; i < half; ++i) chain[i] += chain[i + half];
        CHECK(sums.total() == chain[0]);
    }
}

TEST_CASE("the exponential is what its formula gives on every machine, and close to the real one") {
    const auto formula = [](float x) {
        const float shifted = hat_test::step(x, 1.44269504F, 12582912.0F), n = shifted - 12582912.0F;
        const float r = hat_test::step(n, -0x1.7f7d1cp-20F, hat_test::step(n, -0x1.62e4p-1F, x));
        float series = 1.0F / 5040;
        for (const float c : {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F})
            series = hat_test::step(series, r, c);
        return std::ldexp(series, static_cast<int>(n));
    };
    double worst = 0;
    for (float x = -86.25F; x < 88.7F; x += 0.00517F) {
        const float found = lanes<float>(simd::exp(simd::splat(x)))[0];
        CHECK(found == formula(x));
        const double real = std::exp(static_cast<double>(x));
        worst = std::max(worst, std::abs(static_cast<double>(found) - real) / real);
    }
    MESSAGE("largest relative error of exp: " << worst);
    CHECK(worst < (simd::fuses<float> ? 9e-8 : 2.4e-7));
    const float inf = std::numeric_limits<float>::infinity();
    const auto at = [](float x) { return lanes<float>(simd::exp(simd::splat(x))).back(); };
    CHECK(at(0) == 1);
    CHECK(at(-0.0F) == 1);
    for (const float x : {-86.26F, -87.5F, -1e4F, -3e38F, -inf}) CHECK(at(x) == 0);
    for (const float x : {88.73F, 88.81F, 89.5F, 1e4F, 3e38F, inf}) CHECK(at(x) == inf);
    CHECK(std::isnan(at(std::numeric_limits<float>::quiet_NaN())));
}
