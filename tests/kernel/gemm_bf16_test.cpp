#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/gemm_bf16.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/kernel/loss.hpp>
#include <kernel/sheet.hpp>
#include <limits>
#include <utility>
#include <vector>

using hat::simd::Bf16Pair;
using hat::simd::Bf16Part;
using hat_test::Sheet;

namespace {

/// x as bfloat16 has it.
float rounded(float x) { return hat::simd::first_of({hat::simd::round_to_bf16(x) << 16U}); }

Sheet<float> rounded(Sheet<float> s) {
    for (std::size_t i = 0; i < s.rows; ++i)
        for (std::size_t j = 0; j < s.cols; ++j) s(i, j) = rounded(s(i, j));
    return s;
}
Sheet<float> transposed(const Sheet<float>& s, std::size_t pad) {
    Sheet<float> t(s.cols, s.rows, pad);
    for (std::size_t i = 0; i < s.rows; ++i)
        for (std::size_t j = 0; j < s.cols; ++j) t(j, i) = s(i, j);
    return t;
}

/// c + the products of k numbers, in float: one after the other, or, as tiles add them up, two sums of 16 each at a
/// time. left(k) and right(k) are in bfloat16.
template <class Left, class Right>
float chain(float c, std::size_t k, bool tiles, Left left, Right right) {
    if (!tiles) {
        for (std::size_t i = 0; i < k; ++i) c = c + left(i) * right(i);  // the product is exact
        return c;
    }
    for (std::size_t first = 0; first < k; first += 32) {
        float sums[2] = {0, 0};
        for (std::size_t i = first; i < std::min(k, first + 32); ++i) sums[i % 2] = sums[i % 2] + left(i) * right(i);
        c = c + (sums[0] + sums[1]);
    }
    return c;
}

/// `start` (or 0) + a b and the epilogue, with operands in bfloat16.
Sheet<float> product(const Sheet<float>& a, const Sheet<float>& b, const Sheet<float>& start,
                     const hat::Epilogue<float>& end, bool tiles) {
    Sheet<float> out = start;
    for (std::size_t i = 0; i < a.rows; ++i)
        for (std::size_t j = 0; j < b.cols; ++j) {
            float sum = chain(
                end.accumulate ? start(i, j) : 0, a.cols, tiles, [&](std::size_t k) { return a(i, k); },
                [&](std::size_t k) { return b(k, j); });
            if (end.bias) sum = sum + end.bias[j];
            if (end.relu && sum < 0) sum = 0;
            sum = sum * end.scale;
            const auto number = static_cast<std::uint32_t>(i * out.cols + j);
            if (end.dropout.active()) sum = end.dropout.keep(number) ? sum * end.dropout.factor<float>(number) : 0;
            out(i, j) = sum;
        }
    return out;
}

struct Bf16Shape {
    std::size_t m, n, k;
};

/// Odd and even chains, tails of the register block and of panels, several blocks of k.
std::vector<Bf16Shape> bf16_shapes() {
    const std::size_t w = hat::simd::width<float>, r = hat::tile_rows<float>;
    std::vector<Bf16Shape> all;
    for (const std::size_t m : {std::size_t{1}, std::size_t{2}, r, r + 1, 2 * r + 3})
        for (const std::size_t n : {std::size_t{1}, w + 1, 2 * w, 9 * w + 3})
            for (const std::size_t k :
                 {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{64}, std::size_t{97}})
                all.push_back({m, n, k});
    all.push_back({3 * r + 1, 2 * w + 1, 2049});  // pairs in three blocks
    all.push_back({2 * r + 1, 3 * w, 2048});
    all.push_back({8 * r + 5, 6 * w + 1, 33});  // several blocks of rows
    all.push_back({1025, 35, 16});
    return all;
}

}  // namespace

TEST_CASE(
    "a product in bfloat16 is one chain over ascending k of the rounded operands, bit for bit, for any thread count") {
    hat::Rng rng(1);
    const hat::ThreadPool four(4);
    for (const auto& s : bf16_shapes()) {
        CAPTURE(s.m);
        CAPTURE(s.n);
        CAPTURE(s.k);
        const Sheet<float> a(s.m, s.k, 3, rng), b(s.k, s.n, 5, rng), bias(1, s.n, 0, rng), start(s.m, s.n, 2, rng);
        const Sheet<float> ra = rounded(a), rb = rounded(b), bt = transposed(b, 1), at = transposed(a, 4);
        const std::size_t room = hat::Panels<Bf16Pair>::elements(s.n, hat::chain_steps<Bf16Pair>(s.k));
        std::vector<Bf16Pair> memory(room), memory_t(room);
        const auto panels = hat::pack_plain<Bf16Pair>(hat::Serial{}, b.view(), memory.data());
        const auto panels_t = hat::pack_transposed<Bf16Pair>(four, bt.view(), memory_t.data());
        for (std::size_t i = 0; i < room; ++i) REQUIRE(memory[i].bits == memory_t[i].bits);
        for (const hat::Epilogue<float>& end :
             {hat::Epilogue<float>{}, hat::Epilogue<float>{.bias = bias.data.data(), .relu = true, .scale = 0.3F},
              hat::Epilogue<float>{.bias = bias.data.data(), .dropout = {0.3, 5}},
              hat::Epilogue<float>{.accumulate = true}}) {
            Sheet<float> found = start, threaded = start;
            const Sheet<float> expected = product(ra, rb, start, end, hat::simd::tiles_usable());
            double worst = 0;  // against double, relative to the sum of magnitudes
            if (!end.bias)
                for (std::size_t i = 0; i < s.m; ++i)
                    for (std::size_t j = 0; j < s.n; ++j) {
                        double exact = end.accumulate ? static_cast<double>(start(i, j)) : 0, size = std::abs(exact);
                        for (std::size_t k = 0; k < s.k; ++k) {
                            const double term = static_cast<double>(ra(i, k)) * static_cast<double>(rb(k, j));
                            exact += term;
                            size += std::abs(term);
                        }
                        worst = std::max(worst, std::abs(static_cast<double>(expected(i, j)) - exact) / size);
                    }
            CHECK(worst < 1e-5);
            hat::multiply<Bf16Pair>(hat::Serial{}, a.view(), panels, found.view(), end);
            hat::multiply<Bf16Pair>(four, a.view(), panels_t, threaded.view(), end);
            CHECK(found == expected);
            CHECK(threaded == expected);
            CHECK(found.padding_untouched());
            CHECK(threaded.padding_untouched());
            if (end.accumulate) {
                Sheet<float> left = start, left_threaded = start;
                hat::multiply_transposed<Bf16Pair>(hat::Serial{}, at.view(), b.view(), left.view());
                hat::multiply_transposed<Bf16Pair>(four, at.view(), b.view(), left_threaded.view());
                CHECK(left == expected);
                CHECK(left_threaded == expected);
                CHECK(left.padding_untouched());
            }
        }
    }
}

TEST_CASE("the paths of machines with and without tiles, whichever this one is: bits, and nothing beside the output") {
    hat::Rng rng(3);
    for (const Bf16Shape& s : std::vector<Bf16Shape>{
             {1, 1, 1}, {16, 32, 32}, {17, 33, 31}, {32, 64, 96}, {37, 50, 70}, {64, 16, 33}, {49, 70, 2050}}) {
        const std::size_t m = s.m, n = s.n, k = s.k;
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(k);
        const Sheet<float> a = rounded(Sheet<float>(m, k, 3, rng)), b = rounded(Sheet<float>(k, n, 5, rng)),
                           bias(1, n, 0, rng), start(m, n, 2, rng);
        const std::size_t steps = hat::chain_steps<Bf16Pair>(k), stride = hat::detail::left_stride(steps);
        std::vector<Bf16Pair> right(hat::Panels<Bf16Pair>::elements(n, steps));
        std::vector<Bf16Pair> left(hat::detail::left_rows(m) * stride, Bf16Pair{});
        const auto panels = hat::pack_plain<Bf16Pair>(hat::Serial{}, b.view(), right.data());
        for (std::size_t i = 0; i < m; ++i) hat::simd::round_left(a.view().row(i), k, left.data() + i * stride);
        const std::size_t count = right.size() / (steps * hat::tile_columns<Bf16Pair>);
        for (const hat::Epilogue<float>& end :
             {hat::Epilogue<float>{}, hat::Epilogue<float>{.bias = bias.data.data(), .relu = true, .scale = 0.3F},
              hat::Epilogue<float>{.bias = bias.data.data(), .accumulate = true}}) {
            Sheet<float> tiled = start, twin = start, chained = start;
            const hat::View<float> out = tiled.view(), twin_out = twin.view(), chained_out = chained.view();
            const hat::detail::PairPanels<Bf16Pair> operand(panels);
            hat::detail::multiply_tiles<true>(m, left.data(), stride, operand, 0, count, twin_out.data, twin_out.stride,
                                              end);
            hat::detail::multiply_panels<Bf16Pair>(m, left.data(), stride, 1, panels, 0, count, chained_out.data,
                                                   chained_out.stride, end);
            CHECK(twin == product(a, b, start, end, true));
            CHECK(chained == product(a, b, start, end, false));
            CHECK(twin.padding_untouched());
            CHECK(chained.padding_untouched());
            if (!hat::simd::tiles_usable()) continue;
            hat::detail::multiply_tiles(m, left.data(), stride, operand, 0, count, out.data, out.stride, end);
            CHECK(tiled == twin);
            CHECK(tiled.padding_untouched());
        }
    }
}

TEST_CASE("a product of three parts is the chain of six products of tiles, bit for bit, for any thread count") {
    hat::Rng rng(4);
    const hat::ThreadPool four(4);
    auto shapes = bf16_shapes();
    shapes.push_back({33, 2 * hat::simd::width<float> + 1, 1057});  // three blocks of k
    for (const auto& s : shapes) {
        CAPTURE(s.m);
        CAPTURE(s.n);
        CAPTURE(s.k);
        const Sheet<float> a(s.m, s.k, 3, rng), b(s.k, s.n, 5, rng), bias(1, s.n, 0, rng), start(s.m, s.n, 2, rng);
        const Sheet<float> bt = transposed(b, 1), at = transposed(a, 4);
        // the parts of both, one after the other
        Sheet<float> left[3] = {a, a, a}, right[3] = {b, b, b};
        const auto split = [](const Sheet<float>& all, Sheet<float>* parts, auto part_of) {
            for (std::size_t i = 0; i < all.rows; ++i)
                for (std::size_t j = 0; j < all.cols; ++j) {
                    float x = all(i, j);
                    for (std::size_t p = 0; p < 3; ++p) parts[p](i, j) = hat::simd::first_of({part_of(x, p) << 16U});
                }
        };
        split(a, left, [](float& x, std::size_t p) { return hat::simd::take_part<3, hat::simd::Side::left>(x, p); });
        split(b, right, [](float& x, std::size_t p) { return hat::simd::take_part<3, hat::simd::Side::right>(x, p); });
        const auto expected_of = [&](const hat::Epilogue<float>& end) {
            Sheet<float> out = start;
            for (std::size_t i = 0; i < s.m; ++i)
                for (std::size_t j = 0; j < s.n; ++j) {
                    float sum = end.accumulate ? start(i, j) : 0;
                    for (std::size_t k0 = 0; k0 < s.k; k0 += 32)
                        for (const auto& [l, r] : {std::pair(2, 0), std::pair(1, 0), std::pair(1, 1), std::pair(0, 1),
                                                   std::pair(0, 2), std::pair(0, 0)})
                            sum = chain(
                                sum, std::min<std::size_t>(32, s.k - k0), true,
                                [&, p = l](std::size_t k) { return left[p](i, k0 + k); },
                                [&, p = r](std::size_t k) { return right[p](k0 + k, j); });
                    if (end.bias) sum = sum + end.bias[j];
                    if (end.relu && sum < 0) sum = 0;
                    out(i, j) = sum * end.scale;
                }
            return out;
        };
        const std::size_t room = hat::Panels<Bf16Part>::elements(s.n, hat::chain_steps<Bf16Part>(s.k));
        std::vector<Bf16Part> memory(room), memory_t(room);
        const auto panels = hat::pack_plain<Bf16Part>(hat::Serial{}, b.view(), memory.data());
        const auto panels_t = hat::pack_transposed<Bf16Part>(four, bt.view(), memory_t.data());
        for (std::size_t i = 0; i < room; ++i) REQUIRE(memory[i].bits == memory_t[i].bits);
        for (const hat::Epilogue<float>& end :
             {hat::Epilogue<float>{.bias = bias.data.data(), .relu = true, .scale = 0.3F},
              hat::Epilogue<float>{.accumulate = true}}) {
            const Sheet<float> expected = expected_of(end);
            Sheet<float> found = start, threaded = start;
            hat::multiply<Bf16Part>(hat::Serial{}, a.view(), panels, found.view(), end);
            hat::multiply<Bf16Part>(four, a.view(), panels_t, threaded.view(), end);
            CHECK(found == expected);
            CHECK(threaded == expected);
            CHECK(found.padding_untouched());
            if (!end.accumulate) continue;
            Sheet<float> gradient = start;
            hat::multiply_transposed<Bf16Part>(four, at.view(), b.view(), gradient.view());
            CHECK(gradient == expected);
            CHECK(gradient.padding_untouched());
        }
    }
}

TEST_CASE_TEMPLATE("floats packed before are rounded while they are read: as if rounded before, bit for bit", P,
                   Bf16Pair, Bf16Part) {
    hat::Rng rng(6);
    const hat::ThreadPool four(4);
    constexpr std::size_t w = hat::tile_columns<float>;
    auto shapes = bf16_shapes();
    shapes.push_back({30, 5 * w, 512});
    shapes.push_back({256, w + 3, 40});        // a block of rows and two
    shapes.push_back({257, w + 3, 40});
    shapes.push_back({3, 5, 0});
    shapes.push_back({33, 2 * w + 1, 1057});
    if (hat::simd::fuses<float>) {                 // else each step is a function call: minutes on an emulated machine
        shapes.push_back({32, 18 * w + 1, 2048});  // several pieces
        shapes.push_back({70, 3 * w, 1057});       // several blocks of rows and of k
    }
    for (const auto& s : shapes) {
        CAPTURE(s.m);
        CAPTURE(s.n);
        CAPTURE(s.k);
        const Sheet<float> a(s.m, s.k, 3, rng), b(s.n, s.k, 5, rng), bias(1, s.n, 0, rng), start(s.m, s.n, 2, rng);
        std::vector<P> pairs(hat::Panels<P>::elements(s.n, hat::chain_steps<P>(s.k)));
        const auto before = hat::pack_transposed<P>(hat::Serial{}, b.view(), pairs.data());
        const hat::PackedMatrix<float> packed(b.view());
        std::vector<float> stored(hat::stored_elements(s.n, s.k));
        for (std::size_t n = 0; n < s.n; ++n)
            for (std::size_t k = 0; k < s.k; ++k)
                stored[n / hat::stored_columns * hat::stored_columns * s.k + k * hat::stored_columns +
                       n % hat::stored_columns] = b(n, k);
        for (const hat::Epilogue<float>& end :
             {hat::Epilogue<float>{.bias = bias.data.data(), .relu = true, .scale = 0.3F},
              hat::Epilogue<float>{.accumulate = true, .dropout = {0.3, 5}}}) {
            Sheet<float> expected = start, found = start, threaded = start, from_stored = start;
            hat::multiply<P>(hat::Serial{}, a.view(), before, expected.view(), end);
            hat::multiply<P>(hat::Serial{}, a.view(), packed.panels(), found.view(), end);
            hat::multiply<P>(four, a.view(), packed.panels(), threaded.view(), end);
            hat::multiply<P>(hat::Serial{}, a.view(), hat::stored_panels(stored.data(), s.n, s.k), from_stored.view(),
                             end);
            CHECK(found == expected);
            CHECK(threaded == expected);
            CHECK(from_stored == expected);
            CHECK(found.padding_untouched());
        }
    }
}

TEST_CASE("weights that are NaN or infinite are seen when they are rounded while they are read") {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    Sheet<float> a(1, 3), w(3, 3), c(1, 3);
    a(0, 0) = 1, a(0, 1) = 2, a(0, 2) = 3;
    w(0, 2) = nan, w(1, 1) = infinity, w(2, 0) = 0.5F;
    for (const auto precision : {hat::Precision::bf16, hat::Precision::bf16x3}) {
        const hat::PackedLinear<float> layer({w.view(), nullptr}, precision);
        hat::linear<float>(hat::Serial{}, a.view(), layer, c.view(), {.relu = true});
        CHECK(std::isnan(c(0, 0)));
        CHECK(!std::isfinite(c(0, 1)));
        CHECK(c(0, 2) == 0.5F);
    }
}

TEST_CASE("packed linear layers of a precision are those of weights packed at each use, bit for bit") {
    hat::Rng rng(7);
    const std::size_t m = 9, n = 70, k = 50;
    const Sheet<float> x(m, k, 1, rng), w(n, k, 2, rng), bias(1, n, 0, rng);
    const hat::Linear<float> layer{w.view(), bias.data.data()};
    Sheet<float> last(m, n);
    for (const auto precision : {hat::Precision::fp32, hat::Precision::bf16, hat::Precision::bf16x3}) {
        Sheet<float> expected(m, n), found(m, n);
        hat::linear<float>(hat::Serial{}, x.view(), layer, expected.view(), {.relu = true, .scale = 0.5F}, precision);
        hat::linear<float>(hat::Serial{}, x.view(), hat::PackedLinear<float>(layer, precision), found.view(),
                           {.relu = true, .scale = 0.5F});
        CHECK(found == expected);
        if (precision == hat::Precision::bf16) {
            CHECK_FALSE(found == last);
        }
        last = found;
    }
}

TEST_CASE("linear layers in bf16x3 are more exact than in fp32 where there are tiles, and those of fp32 elsewhere") {
    hat::Rng rng(5);
    const std::size_t m = 40, n = 48;
    for (const std::size_t k : {std::size_t{1}, std::size_t{64}, std::size_t{500}, std::size_t{2100}}) {
        CAPTURE(k);
        const Sheet<float> x(m, k, 1, rng), w(n, k, 2, rng);
        const auto run = [&](hat::Precision precision) {
            Sheet<float> y(m, n);
            hat::linear<float>(hat::Serial{}, x.view(), hat::Linear<float>{w.view(), nullptr}, y.view(), {}, precision);
            return y;
        };
        const Sheet<float> plain = run(hat::Precision::fp32), split = run(hat::Precision::bf16x3);
        if (!hat::simd::tiles_usable()) {
            CHECK(split == plain);
            continue;
        }
        double plain_error = 0, split_error = 0, worst = 0;
        for (std::size_t i = 0; i < m; ++i)
            for (std::size_t j = 0; j < n; ++j) {
                double exact = 0, size = 0;
                for (std::size_t t = 0; t < k; ++t) {
                    const double term = static_cast<double>(x(i, t)) * static_cast<double>(w(j, t));
                    exact += term, size += std::abs(term);
                }
                const double a = (static_cast<double>(plain(i, j)) - exact) / size,
                             b = (static_cast<double>(split(i, j)) - exact) / size;
                plain_error += a * a, split_error += b * b;
                worst = std::max(worst, std::abs(b));
            }
        CHECK(worst < 0x1p-22);  // the products that are left out are below 2^-22 together
        if (k > 1) {
            CHECK(split_error < plain_error);
        }
    }
}

TEST_CASE("products of linear layers and of the loss in bf16 are those of rounded operands") {
    hat::Rng rng(2);
    const std::size_t m = 37, n = 50, k = 29;
    const Sheet<float> x(m, k, 1, rng), w(n, k, 2, rng), dy(m, n, 0, rng), bias(1, n, 0, rng);
    const Sheet<float> rx = rounded(x), rw = rounded(w), rdy = rounded(dy);
    const hat::Serial serial;
    const auto bf16 = hat::Precision::bf16;
    const bool tiles = hat::simd::tiles_usable();
    Sheet<float> y(m, n), dx(m, k), dw(n, k), db(1, n);
    hat::linear<float>(serial, x.view(), hat::Linear<float>{w.view(), bias.data.data()}, y.view(), {.relu = true},
                       bf16);
    CHECK(y == product(rx, transposed(rw, 0), y, {.bias = bias.data.data(), .relu = true}, tiles));
    hat::linear_backward_input<float>(serial, dy.view(), w.view(), dx.view(), false, bf16);
    CHECK(dx == product(rdy, rw, dx, {}, tiles));
    const Sheet<float> before = dw;
    hat::linear_backward_weight<float>(serial, dy.view(), x.view(), dw.view(), db.data.data(), bf16);
    CHECK(dw == product(transposed(rdy, 0), rx, before, {.accumulate = true}, tiles));
    for (std::size_t j = 0; j < n; ++j) {  // sums of dy itself, not rounded
        float sum = 0;
        for (std::size_t i = 0; i < m; ++i) sum += dy(i, j);
        CHECK(db(0, j) == sum);
    }

    // the loss is near that of the rounded operands, whose gradients are rounded once more
    hat::Arena arena;
    std::vector<std::int32_t> targets(m);
    for (auto& t : targets) t = static_cast<std::int32_t>(rng.below(n));
    Sheet<float> g(m, k), gw(n, k), rg(m, k), rgw(n, k);
    hat::View<float> g_view = g.view(), gw_view = gw.view(), rg_view = rg.view(), rgw_view = rgw.view();
    const auto loss = hat::output_loss<float>(serial, x.view(), w.view(), targets, 0.1, arena, &g_view, &gw_view, bf16);
    const auto same = hat::output_loss<float>(serial, rx.view(), rw.view(), targets, 0.1, arena, &rg_view, &rgw_view);
    CHECK(loss.loss == doctest::Approx(same.loss).epsilon(1e-6));
    CHECK(loss.nll == doctest::Approx(same.nll).epsilon(1e-6));
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t j = 0; j < k; ++j) CHECK(g(i, j) == doctest::Approx(rg(i, j)).epsilon(0.02).scale(0.1));
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < k; ++j) CHECK(gw(i, j) == doctest::Approx(rgw(i, j)).epsilon(0.02).scale(0.1));
}

TEST_CASE("bf16 lets NaN and infinity through, so that broken weights are seen; empty sides write nothing") {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    Sheet<float> a(1, 3), w(3, 3), c(1, 3);
    a(0, 0) = 1, a(0, 1) = 2, a(0, 2) = 3;
    w(0, 2) = nan, w(1, 1) = infinity, w(2, 0) = 0.5F;
    hat::linear<float>(hat::Serial{}, a.view(), hat::Linear<float>{w.view(), nullptr}, c.view(), {.relu = true},
                       hat::Precision::bf16);
    CHECK(std::isnan(c(0, 0)));
    CHECK(c(0, 1) == infinity);
    CHECK(c(0, 2) == 0.5F);

    std::vector<Bf16Pair> memory(1);
    const Sheet<float> empty(3, 0, 1);
    Sheet<float> five(3, 5, 1);
    const Sheet<float> zeros = five;
    std::fill(five.view().row(1), five.view().row(1) + 5, 9.0F);
    hat::multiply<Bf16Pair>(hat::Serial{}, empty.view(), hat::Panels<Bf16Pair>{memory.data(), 5, 0}, five.view());
    CHECK(five == zeros);
    CHECK(five.padding_untouched());
}
