#include <doctest/doctest.h>

#include <cmath>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/embedding.hpp>
#include <kernel/sheet.hpp>

using hat_test::Sheet;

namespace {
hat::Ragged sentences() {
    hat::Ragged r;
    r.push_back(std::vector<std::int32_t>{4, 1, 6, 2});
    r.push_back(std::vector<std::int32_t>{2});
    r.push_back(std::vector<std::int32_t>{6, 6, 5, 7, 2});
    return r;
}
}  // namespace

TEST_CASE("sinusoids: sines, then cosines, positions from 2, the super width's frequencies, also after growing") {
    hat::SinusoidTable<double> table(10), narrow(10, 7);
    table.reserve(4);
    const double first = table.position(3)[1];
    table.reserve(500);
    CHECK(table.position(3)[1] == first);
    for (const std::size_t n : {0U, 1U, 63U, 64U, 499U})
        for (std::size_t k = 0; k < 5; ++k) {
            const double angle = static_cast<double>(n + 2) * std::exp(-static_cast<double>(k) * std::log(10000.0) / 4);
            CHECK(table.position(n)[k] == doctest::Approx(std::sin(angle)).epsilon(1e-9));
            CHECK(table.position(n)[5 + k] == doctest::Approx(std::cos(angle)).epsilon(1e-9));
        }
    narrow.reserve(70);
    for (std::size_t k = 0; k < 7; ++k) CHECK(narrow.position(69)[k] == table.position(69)[k]);
    std::vector<double> memory(8 * 10);
    hat::SinusoidTable<double> lent(10, 10, memory.data(), 8);
    lent.reserve(8);
    CHECK(lent.position(7) == memory.data() + 70);
    CHECK(lent.position(7)[9] == table.position(7)[9]);
    hat::SinusoidTable<double> odd(5), two(2), one(1);
    for (auto* t : {&odd, &two, &one}) t->reserve(8);
    CHECK(odd.position(0)[4] == 0);
    CHECK(two.position(1)[0] == doctest::Approx(std::sin(3.0)));
    CHECK(two.position(1)[1] == doctest::Approx(std::cos(3.0)));
    CHECK(one.position(7)[0] == 0);
}

TEST_CASE("an embedding is scale * row + position, restarting at each sentence") {
    hat::Rng rng(1);
    const Sheet<double> table(8, 12, 4, rng);
    hat::SinusoidTable<double> positions(16);
    positions.reserve(8);
    const auto tokens = sentences();
    const std::size_t width = 11;
    Sheet<double> x(10, width, 2);
    hat::embed<double>(hat::Serial{}, table.view().prefix(std::size_t{8}, width), 3.0, positions, tokens, x.view());
    for (std::size_t i = 0; i < tokens.size(); ++i)
        for (std::size_t t = 0; t < tokens[i].size(); ++t)
            for (std::size_t c = 0; c < width; ++c)
                CHECK(x(tokens.offsets[i] + t, c) ==
                      doctest::Approx(3 * table(static_cast<std::size_t>(tokens[i][t]), c) + positions.position(t)[c]));
    CHECK(x.padding_untouched());
}

TEST_CASE("the gradient of an embedding equals finite differences; padding gets none") {
    hat::Rng rng(2);
    for (const std::size_t width : {3U, 16U, 33U}) {
        Sheet<double> table(8, width, 5, rng);
        const Sheet<double> g(10, width, 0, rng);
        hat::SinusoidTable<double> positions(width);
        positions.reserve(8);
        const auto tokens = sentences();
        const auto loss = [&] {
            Sheet<double> x(10, width);
            hat::embed<double>(hat::Serial{}, table.constant(), 1.7, positions, tokens, x.view());
            for (std::size_t c = 0; c < width; ++c) x(1, c) = 0;  // token 1 is padding
            return hat_test::dot(x, g);
        };
        Sheet<double> d(8, width, 5), threaded(8, width, 5);
        hat::embed_backward<double>(hat::Serial{}, tokens.tokens, 1.7, g.view(), d.view());
        hat::embed_backward<double>(hat::ThreadPool(5), tokens.tokens, 1.7, g.view(), threaded.view());
        CHECK(d == threaded);
        CHECK(d.padding_untouched());
        CHECK(hat_test::gradient_error(table, d, loss) < 1e-6);
        for (std::size_t c = 0; c < width; ++c) CHECK(d(1, c) == 0);
    }
}
