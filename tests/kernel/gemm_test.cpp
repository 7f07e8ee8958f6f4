#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/linear.hpp>
#include <kernel/sheet.hpp>
#include <limits>
#include <memory>
#include <vector>

using hat_test::Sheet;

namespace {

/// The oracle: for every output one chain over ascending k, then the epilogue. a(i, k), b(k, j).
template <class T, class A, class B>
void oracle(Sheet<T>& c, std::size_t k, A&& a, B&& b, const hat::Epilogue<T>& end) {
    for (std::size_t i = 0; i < c.rows; ++i)
        for (std::size_t j = 0; j < c.cols; ++j) {
            T sum = end.accumulate ? c(i, j) : T(0);
            for (std::size_t kk = 0; kk < k; ++kk) sum = hat_test::step(a(i, kk), b(kk, j), sum);
            if (end.bias) sum = sum + end.bias[j];
            if (end.relu && sum < T(0)) sum = T(0);
            sum = sum * end.scale;
            const auto number = static_cast<std::uint32_t>(i * c.cols + j);
            if (end.dropout.active())
                sum = end.dropout.keep(number) ? sum * end.dropout.template factor<T>(number) : T(0);
            c(i, j) = sum;
        }
}

struct Shape {
    std::size_t m, n, k;
};

/// Tails of every kind: of the register block's rows, of vectors and panels, of blocks of K, few rows with many panels.
template <class T>
std::vector<Shape> shapes() {
    const std::size_t w = hat::simd::width<T>, r = hat::tile_rows<T>;
    std::vector<Shape> all;
    for (const std::size_t m : {std::size_t{1}, std::size_t{2}, std::size_t{3}, r - 1, r, r + 1, 2 * r + 3})
        for (const std::size_t n : {std::size_t{1}, w - 1, w, w + 1, 2 * w - 1, 2 * w, 2 * w + 1, 8 * w, 9 * w + 3})
            for (const std::size_t k : {std::size_t{1}, std::size_t{7}, std::size_t{64}}) all.push_back({m, n, k});
    for (const std::size_t k : {std::size_t{511}, std::size_t{512}, std::size_t{513}, std::size_t{1100}})
        for (const std::size_t m : {std::size_t{1}, std::size_t{2}, std::size_t{17}}) all.push_back({m, 8 * w + 5, k});
    all.push_back({3 * r + 1, 2 * w + 1, 1024});  // rows a page apart
    all.push_back({8 * r + 5, 6 * w + 1, 33});    // several blocks of rows
    all.push_back({hat::tile_rows<T> * 8, 1, 2});
    all.push_back({5, 700, 300});
    all.push_back({2 * r + 3, 33 * w + 3, 70});  // many rows, more panels than a piece has
    all.push_back({8 * r + 5, 67 * w + 1, 20});
    all.push_back({r + 1, 300, 1100});  // a right operand that is prefetched, in two blocks of K
    return all;
}

/// While it lives, tiles read as on another processor.
class StreamingAs {
public:
    explicit StreamingAs(const hat::detail::Streaming& as) { hat::detail::streaming = as; }
    ~StreamingAs() { hat::detail::streaming = suits_; }
    StreamingAs(const StreamingAs&) = delete;
    StreamingAs& operator=(const StreamingAs&) = delete;

private:
    hat::detail::Streaming suits_ = hat::detail::streaming;
};

}  // namespace

TEST_CASE_TEMPLATE("a product is one chain of fused multiply-adds per output, bit for bit", T, float, double) {
    hat::Rng rng(1);
    const hat::ThreadPool four(4);
    for (const auto& s : shapes<T>()) {
        CAPTURE(s.m);
        CAPTURE(s.n);
        CAPTURE(s.k);
        for (const std::size_t pad : {std::size_t{0}, std::size_t{5}}) {
            const Sheet<T> a(s.m, s.k, pad, rng), b(s.k, s.n, pad, rng), bias(1, s.n, 0, rng),
                start(s.m, s.n, pad, rng);
            Sheet<T> bt(s.n, s.k, pad);
            for (std::size_t j = 0; j < s.n; ++j)
                for (std::size_t kk = 0; kk < s.k; ++kk) bt(j, kk) = b(kk, j);
            std::vector<T> memory(hat::Panels<T>::elements(s.n, s.k)), memory_t(memory.size());
            const auto panels = hat::pack_plain<T>(four, b.view(), memory.data());
            const auto panels_t = hat::pack_transposed<T>(hat::Serial{}, bt.view(), memory_t.data());
            CHECK(memory == memory_t);
            const std::array<hat::Epilogue<T>, 8> ends{
                hat::Epilogue<T>{},
                {.bias = bias.data.data()},
                {.bias = bias.data.data(), .relu = true},
                {.bias = bias.data.data(), .scale = T(0.3)},
                {.accumulate = true},
                {.bias = bias.data.data(), .relu = true, .accumulate = true},
                {.bias = bias.data.data(), .relu = true, .dropout = {0.3, 5}},
                {.bias = bias.data.data(), .scale = T(0.3), .accumulate = true, .dropout = {0.6, 7}}};
            for (std::size_t e = 0; e < ends.size(); ++e) {
                CAPTURE(e);
                Sheet<T> expected = start, found = start, threaded = start;
                oracle(
                    expected, s.k, [&](auto i, auto kk) { return a(i, kk); }, [&](auto kk, auto j) { return b(kk, j); },
                    ends[e]);
                hat::multiply<T>(hat::Serial{}, a.view(), panels, found.view(), ends[e]);
                hat::multiply<T>(four, a.view(), panels_t, threaded.view(), ends[e]);
                CHECK(found == expected);
                CHECK(threaded == expected);
                CHECK(found.padding_untouched());
                CHECK(threaded.padding_untouched());
            }
        }
    }
}

TEST_CASE_TEMPLATE("few rows times a right operand that no cache holds: the same chains, bit for bit", T, float,
                   double) {
    // as on every processor, whichever this one is
    hat::detail::Streaming as{};
    SUBCASE("in turns") { as = {.one_row = 2048, .few_rows = 4096, .turns = true, .once = false}; }
    SUBCASE("prefetched for a single use") { as = {.one_row = 0, .few_rows = 2560, .turns = false, .once = true}; }
    SUBCASE("prefetched into all caches") { as = {.one_row = 0, .few_rows = 2560, .turns = false, .once = false}; }
    const StreamingAs set(as);
    hat::Rng rng(4);
    const hat::ThreadPool four(4);
    const std::size_t n = 1100;  // panels that take turns, some that are left, a part of one
    for (const std::size_t more : {std::size_t{1}, std::size_t{8}}) {
        if (more == 8 && !hat::simd::fuses<T>) break;  // each step is a function call
        const std::size_t k = hat::detail::turns_from_bytes / sizeof(T) / n / 8 * 8 + 8 + more;
        const Sheet<T> b(k, n, 0, rng), bias(1, n, 0, rng);
        std::vector<T> memory(hat::Panels<T>::elements(n, k)), stored(hat::stored_elements(n, k));
        const auto panels = hat::pack_plain<T>(hat::Serial{}, b.view(), memory.data());
        for (std::size_t kk = 0; kk < k; ++kk)
            for (std::size_t j = 0; j < n; ++j)
                stored[(j / hat::stored_columns * k + kk) * hat::stored_columns + j % hat::stored_columns] = b(kk, j);
        for (std::size_t m = hat::detail::turn_rows - 1; m <= hat::detail::turn_rows_at_most + 1; ++m) {
            CAPTURE(m);
            CAPTURE(k);
            const Sheet<T> a(m, k, 3, rng);
            const hat::Epilogue<T> end{.bias = bias.data.data(), .relu = true, .scale = T(0.3)};
            Sheet<T> expected(m, n, 5), found = expected, threaded = expected, from_stored = expected;
            oracle(
                expected, k, [&](auto i, auto kk) { return a(i, kk); }, [&](auto kk, auto j) { return b(kk, j); }, end);
            hat::multiply<T>(hat::Serial{}, a.view(), panels, found.view(), end);
            hat::multiply<T>(four, a.view(), panels, threaded.view(), end);
            hat::multiply<T>(hat::Serial{}, a.view(), hat::stored_panels(stored.data(), n, k), from_stored.view(), end);
            CHECK(found == expected);
            CHECK(threaded == expected);
            CHECK(from_stored == expected);
            CHECK(found.padding_untouched());
            if (m == 5) {  // a number of rows that the compiler knows
                Sheet<T> fixed(m, n, 5);
                hat::multiply<T>(hat::Serial{}, a.view().rows_at(0, hat::Fixed<5>{}), panels,
                                 fixed.view().rows_at(0, hat::Fixed<5>{}), end);
                CHECK(fixed == expected);
                CHECK(fixed.padding_untouched());
            }
        }
    }
}

TEST_CASE_TEMPLATE("a product with a transposed left side adds the same chains", T, float, double) {
    hat::Rng rng(2);
    const hat::ThreadPool four(4);
    for (const auto& s : shapes<T>()) {
        CAPTURE(s.m);
        CAPTURE(s.n);
        CAPTURE(s.k);
        const Sheet<T> at(s.k, s.m, 3, rng), b(s.k, s.n, 1, rng), start(s.m, s.n, 2, rng);
        Sheet<T> expected = start, found = start, threaded = start;
        oracle(
            expected, s.k, [&](auto i, auto kk) { return at(kk, i); }, [&](auto kk, auto j) { return b(kk, j); },
            hat::Epilogue<T>{.accumulate = true});
        hat::multiply_transposed<T>(hat::Serial{}, at.view(), b.view(), found.view());
        hat::multiply_transposed<T>(four, at.view(), b.view(), threaded.view());
        CHECK(found == expected);
        CHECK(threaded == expected);
        CHECK(found.padding_untouched());
    }
}

TEST_CASE_TEMPLATE("blocks of rows cover a product, in register blocks, as many for each thread", In, float,
                   hat::simd::Bf16Pair) {
    for (const std::size_t unit : {std::size_t{6}, std::size_t{9}, std::size_t{16}})
        for (const std::size_t threads : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{64}})
            for (const std::size_t m : {std::size_t{1}, std::size_t{5}, std::size_t{63}, std::size_t{64},
                                        std::size_t{256}, std::size_t{1000}, std::size_t{4100}, std::size_t{8000}}) {
                CAPTURE(unit);
                CAPTURE(threads);
                CAPTURE(m);
                const hat::detail::RowBlocks<In> blocks(m, 1 << 19, threads, unit);
                CHECK(blocks.begin(0) == 0);
                CHECK(blocks.begin(blocks.count()) == m);
                for (std::size_t i = 0; i < blocks.count(); ++i) {
                    CHECK(blocks.rows(i) > 0);
                    CHECK(blocks.rows(i) <= 256);
                    if (i + 1 < blocks.count()) CHECK(blocks.rows(i) % unit == 0);
                }
                const bool few = blocks.count() == (m + unit - 1) / unit;  // nothing is left to cut
                CHECK((few || blocks.count() % threads == 0));
            }
    CHECK(hat::detail::RowBlocks<In>(60, 10, 8, 6).count() == 1);  // too little work to wake others
}

TEST_CASE("an empty chain is zero, and empty sides write nothing") {
    const Sheet<float> a(3, 0, 1), bias(1, 5, 0);
    std::vector<float> memory(1);
    Sheet<float> c(3, 5, 1), five = c;
    std::fill(c.view().row(0), c.view().row(0) + 5, 9.0F);
    const hat::Panels<float> none{memory.data(), 5, 0};
    hat::multiply<float>(hat::Serial{}, a.view(), none, c.view());
    CHECK(c == five);
    std::vector<float> shift{1, -2, 3, -4, 5};
    hat::multiply<float>(hat::Serial{}, a.view(), none, c.view(), {.bias = shift.data(), .relu = true, .scale = 2});
    for (std::size_t j = 0; j < 5; ++j) CHECK(c(1, j) == 2 * std::max(0.0F, shift[j]));
    const Sheet<float> before = c;
    hat::multiply<float>(hat::Serial{}, a.view(), none, c.view(), {.accumulate = true});
    CHECK(c == before);
    hat::multiply<float>(hat::Serial{}, hat::View<const float>{memory.data(), 0, 0}, none,
                         hat::View<float>{memory.data(), 0, 5});
    CHECK(c.padding_untouched());
}

TEST_CASE("relu lets a NaN through, so that broken weights are seen") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    Sheet<float> a(1, 1), b(1, 3);
    a(0, 0) = 1;
    b(0, 0) = nan, b(0, 1) = -1, b(0, 2) = 2;
    std::vector<float> memory(hat::Panels<float>::elements(3, 1));
    Sheet<float> c(1, 3);
    hat::multiply<float>(hat::Serial{}, a.view(), hat::pack_plain<float>(hat::Serial{}, b.constant(), memory.data()),
                         c.view(), {.relu = true});
    CHECK(std::isnan(c(0, 0)));
    CHECK(c(0, 1) == 0);
    CHECK(c(0, 2) == 2);
}

TEST_CASE("weights packed once give the same bits, and survive a move") {
    hat::Rng rng(3);
    const Sheet<float> w(37, 29, 4, rng), x(11, 29, 0, rng), bias(1, 37, 0, rng);
    Sheet<float> fresh(11, 37), packed(11, 37);
    const hat::Linear<float> layer{w.view(), bias.data.data()};
    hat::linear<float>(hat::Serial{}, x.view(), layer, fresh.view(), {.relu = true, .scale = 0.5F});
    hat::PackedLinear<float> first(layer);
    const hat::PackedLinear<float> second = std::move(first);
    CHECK(second.outputs() == 37);
    CHECK(second.weight.bytes() == hat::Panels<float>::elements(37, 29) * sizeof(float));
    hat::linear<float>(hat::Serial{}, x.view(), second, packed.view(), {.relu = true, .scale = 0.5F});
    CHECK(fresh == packed);
}
