#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/attention.hpp>
#include <kernel/sheet.hpp>

using hat_test::dot;
using hat_test::gradient_error;
using hat_test::Sheet;

namespace {

const std::vector<std::size_t> queries{0, 3, 4, 9}, other_keys{0, 6, 7, 11};

struct Case {
    std::size_t heads, width;
    bool cross, causal;
    double rate;
};
const Case cases[] = {{1, 8, false, false, 0},   {2, 12, false, true, 0},   {3, 15, true, false, 0},
                      {4, 16, false, true, 0.3}, {2, 10, true, false, 0.5}, {1, 40, false, false, 0.2}};

hat::AttentionShape shape_of(const Case& c) { return {queries, c.cross ? other_keys : queries, c.heads, c.causal}; }

}  // namespace

TEST_CASE("attention equals its definition: ragged, several heads, causal, cross, dropped") {
    hat::Rng rng(1);
    for (const auto& c : cases) {
        CAPTURE(c.heads);
        CAPTURE(c.width);
        const auto shape = shape_of(c);
        const std::size_t rows = queries.back(), key_rows = shape.key.back(), hs = c.width / c.heads;
        const Sheet<double> q(rows, c.width, 1, rng), k(key_rows, c.width, 2, rng), v(key_rows, c.width, 3, rng);
        Sheet<double> out(rows, c.width, 4);
        std::vector<double> map(shape.map_size());
        const hat::Dropout dropout{c.rate, 5};
        hat::attention<double>(hat::Serial{}, shape, q.view(), k.view(), v.view(), map.data(), dropout, out.view());
        CHECK(out.padding_untouched());
        std::size_t at = 0;
        for (std::size_t i = 0; i < shape.sentences(); ++i)
            for (std::size_t h = 0; h < c.heads; ++h)
                for (std::size_t t = 0; t < shape.queries(i); ++t) {
                    const std::size_t row = queries[i] + t, seen = c.causal ? t + 1 : shape.keys(i);
                    std::vector<double> p(shape.keys(i));
                    double sum = 0;
                    for (std::size_t s = 0; s < seen; ++s) {
                        double score = 0;
                        for (std::size_t j = h * hs; j < (h + 1) * hs; ++j) score += q(row, j) * k(shape.key[i] + s, j);
                        sum += p[s] = std::exp(score);
                    }
                    for (std::size_t j = h * hs; j < (h + 1) * hs; ++j) {
                        double expected = 0;
                        for (std::size_t s = 0; s < seen; ++s)
                            expected += p[s] / sum * v(shape.key[i] + s, j) *
                                        (c.rate > 0 ? dropout.factor<double>(static_cast<std::uint32_t>(at + s)) : 1.0);
                        CHECK(out(row, j) == doctest::Approx(expected).epsilon(1e-9));
                    }
                    for (std::size_t s = 0; s < shape.keys(i); ++s)
                        CHECK(map[at + s] == doctest::Approx(p[s] / sum).epsilon(1e-9));
                    at += shape.keys(i);
                }
        CHECK(at == map.size());
    }
}

TEST_CASE_TEMPLATE("the products of attention are one chain of multiply-adds per output, bit for bit", T, float,
                   double) {
    hat::Rng rng(4);
    const std::size_t w = hat::tile_columns<T>, r = hat::tile_rows<T>;
    const std::size_t sizes[][3] = {
        {1, 1, 1},          {1, 2 * w, 3},          {2, w - 1, 17},         {r, 3 * w / 2, 5}, {r, w, 20},
        {r + 1, w / 2, 64}, {2 * r + 1, 2 * w, 29}, {3 * r, w / 2 + 1, 33}, {40, w, 1100},     {200, 4 * w, 300},
        {7, w, 0}};
    for (const auto& size : sizes) {
        const std::size_t m = size[0], n = size[1], k = size[2];
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(k);
        const Sheet<T> a(m, k, 3, rng), at(k, m, 0, rng), b(k, n, 5, rng), bt(n, k, 2, rng);
        const auto check = [&](const T* left, std::size_t a_row, std::size_t a_col, const T* right, std::size_t k_step,
                               std::size_t n_step) {
            Sheet<T> c(m, n, 4), expected(m, n);
            for (std::size_t i = 0; i < m; ++i)
                for (std::size_t j = 0; j < n; ++j)
                    for (std::size_t x = 0; x < k; ++x)
                        expected(i, j) =
                            hat_test::step(left[i * a_row + x * a_col], right[x * k_step + j * n_step], expected(i, j));
            hat::detail::small_multiply<T>(hat::Serial{}, m, n, k, left, a_row, a_col, right, k_step, n_step,
                                           c.data.data(), c.stride);
            CHECK(c == expected);
            CHECK(c.padding_untouched());
        };
        check(a.data.data(), a.stride, 1, b.data.data(), b.stride, 1);
        check(a.data.data(), a.stride, 1, bt.data.data(), 1, bt.stride);
        check(at.data.data(), 1, m, b.data.data(), b.stride, 1);
    }
}

TEST_CASE("the gradients of attention equal finite differences") {
    hat::Rng rng(2);
    for (const auto& c : cases) {
        CAPTURE(c.heads);
        CAPTURE(c.width);
        const auto shape = shape_of(c);
        const std::size_t rows = queries.back(), key_rows = shape.key.back();
        Sheet<double> q(rows, c.width, 1, rng), k(key_rows, c.width, 2, rng), v(key_rows, c.width, 3, rng);
        const Sheet<double> g(rows, c.width, 0, rng);
        std::vector<double> map(shape.map_size());
        const hat::Dropout dropout{c.rate, 5};
        Sheet<double> out(rows, c.width, 3);
        const auto loss = [&] {
            hat::attention<double>(hat::Serial{}, shape, q.constant(), k.constant(), v.constant(), map.data(), dropout,
                                   out.view());
            return dot(out, g);
        };
        loss();
        const auto saved = map;
        const auto first = out;
        Sheet<double> dq(rows, c.width, 1), dk(key_rows, c.width, 2), dv(key_rows, c.width, 3), again(rows, c.width, 1);
        hat::attention_backward<double>(hat::Serial{}, shape, q.constant(), k.constant(), v.constant(), saved.data(),
                                        dropout, g.view(), dq.view(), dk.view(), dv.view(), again.view());
        CHECK(again == first);
        CHECK(gradient_error(q, dq, loss) < 1e-6);
        CHECK(gradient_error(k, dk, loss) < 1e-6);
        CHECK(gradient_error(v, dv, loss) < 1e-6);
        for (const auto* d : {&dq, &dk, &dv, &again}) CHECK(d->padding_untouched());

        // in place
        Sheet<double> d = g, keys = k, values = v;
        hat::attention_backward<double>(hat::Serial{}, shape, q.constant(), keys.constant(), values.constant(),
                                        saved.data(), dropout, d.view(), d.view(), keys.view(), values.view(),
                                        again.view());
        CHECK(d == dq);
        CHECK(keys == dk);
        CHECK(values == dv);
        CHECK(again == first);
    }
}

TEST_CASE("attention of a sentence does not depend on its neighbours or on the threads") {
    hat::Rng rng(3);
    std::vector<std::size_t> offsets{0};
    for (const std::size_t n : {17U, 40U, 1U, 33U, 25U, 60U}) offsets.push_back(offsets.back() + n);
    const Sheet<float> q(offsets.back(), 32, 0, rng), k(offsets.back(), 32, 0, rng), v(offsets.back(), 32, 0, rng),
        g(offsets.back(), 32, 0, rng);
    const auto run = [&](const hat::ThreadPool& pool, std::span<const std::size_t> at, std::size_t first) {
        const std::size_t rows = at.back();
        const hat::AttentionShape shape{at, at, 4, true};
        Sheet<float> out(rows, 32), again(rows, 32), dq(rows, 32), dk(rows, 32), dv(rows, 32);
        std::vector<float> map(shape.map_size());
        const auto cut = [&](const Sheet<float>& s) { return s.view().rows_at(first, rows); };
        hat::attention<float>(pool, shape, cut(q), cut(k), cut(v), map.data(), {}, out.view());
        hat::attention_backward<float>(pool, shape, cut(q), cut(k), cut(v), map.data(), {}, cut(g), dq.view(),
                                       dk.view(), dv.view(), again.view());
        CHECK(again == out);
        std::vector<std::vector<float>> all{out.data, dq.data, dk.data, dv.data};
        return all;
    };
    const auto one = run(hat::ThreadPool(1), offsets, 0);
    CHECK(one == run(hat::ThreadPool(2), offsets, 0));
    CHECK(one == run(hat::ThreadPool(5), offsets, 0));
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
        const std::vector<std::size_t> alone{0, offsets[i + 1] - offsets[i]};
        const auto single = run(hat::ThreadPool(1), alone, offsets[i]);
        for (std::size_t a = 0; a < 4; ++a)
            CHECK(std::equal(single[a].begin(), single[a].end(),
                             one[a].begin() + static_cast<std::ptrdiff_t>(offsets[i] * 32)));
    }
}
