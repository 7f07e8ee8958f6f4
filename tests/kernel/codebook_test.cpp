#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <hat/core/thread_pool.hpp>
#include <hat/kernel/codebook.hpp>
#include <kernel/sheet.hpp>
#include <limits>
#include <vector>

using hat_test::Sheet;

namespace {

/// A matrix of codes with its codebooks.
struct Coded {
    std::size_t n, k, book_rows;
    std::vector<std::uint8_t> codes;
    std::vector<float> books;

    Coded(std::size_t rows, std::size_t cols, std::size_t group, std::uint64_t seed, std::size_t entries = 16)
        : n(rows), k(cols), book_rows(group), books(16 * hat::CodebookPanels::book_count(rows, group)) {
        hat::Rng rng(seed);
        for (std::size_t i = 0; i < n * k; ++i) codes.push_back(static_cast<std::uint8_t>(rng.below(entries)));
        for (std::size_t i = 0; i < books.size(); ++i)
            if (i % 16 < entries) books[i] = static_cast<float>(rng.uniform() - 0.5);
    }
    std::size_t book(std::size_t row) const { return 16 * (book_rows ? row / book_rows : 0); }
    float weight(std::size_t row, std::size_t col) const { return books[book(row) + codes[row * k + col]]; }
    Sheet<float> dense() const {
        Sheet<float> w(n, k);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < k; ++j) w(i, j) = weight(i, j);
        return w;
    }
    hat::CodebookLinear layer(hat::CodebookMath math, const float* bias = nullptr) const {
        return {
            hat::CodebookMatrix(
                n, k, [&](std::size_t i, std::size_t j) { return codes[i * k + j]; }, books.data(), book_rows, math),
            bias};
    }
};

template <class L, class E>
Sheet<float> run(const E& executor, const Sheet<float>& x, const L& layer, hat::Activation<float> end = {}) {
    Sheet<float> y(x.rows, layer.outputs(), 3);
    hat::linear<float>(executor, x.view(), layer, y.view(), end);
    CHECK(y.padding_untouched());
    return y;
}

/// The last m rows, with a stride of their own.
Sheet<float> last_rows(const Sheet<float>& x, std::size_t m) {
    Sheet<float> out(m, x.cols, 1);
    for (std::size_t i = 0; i < m; ++i)
        for (std::size_t j = 0; j < x.cols; ++j) out(i, j) = x(x.rows - m + i, j);
    return out;
}

struct LayerShape {
    std::size_t n, k, book_rows;
};
constexpr LayerShape layer_shapes[] = {{1, 1, 0},   {31, 3, 0},   {32, 8, 32},   {33, 9, 0},    {64, 16, 32},
                                       {65, 17, 0}, {7, 130, 32}, {129, 63, 64}, {300, 70, 32}, {257, 39, 96}};

}  // namespace

TEST_CASE("exact layers of codes equal packed weights to the bit, for every shape and number of rows") {
    hat::Rng rng(1);
    for (const auto& [n, k, book_rows] : layer_shapes) {
        const Coded w(n, k, book_rows, n + k);
        const Sheet<float> dense = w.dense(), bias(1, n, 0, rng), all(33, k, 5, rng);
        const auto layer = w.layer(hat::CodebookMath::exact, bias.data.data());
        CHECK(layer.outputs() == n);
        const hat::PackedLinear<float> packed(hat::Linear<float>{dense.view(), bias.data.data()}),
            plain(hat::Linear<float>{dense.view()});
        for (std::size_t m = 1; m <= 33; ++m) {
            const Sheet<float> x = last_rows(all, m);
            for (const hat::Activation<float> end : {hat::Activation<float>{}, {.relu = true, .scale = 0.37F}})
                CHECK(run(hat::Serial{}, x, layer, end) == run(hat::Serial{}, x, packed, end));
            CHECK(run(hat::Serial{}, x, w.layer(hat::CodebookMath::exact)) == run(hat::Serial{}, x, plain));
        }
    }
}

TEST_CASE("integer layers of codes equal integer sums of rounded centroids, and rows do not depend on each other") {
    hat::Rng rng(2);
    for (const auto& [n, k, book_rows] : layer_shapes) {
        const Coded w(n, k, book_rows, n * k);
        const Sheet<float> bias(1, n, 0, rng), all(33, k, 5, rng);
        const auto layer = w.layer(hat::CodebookMath::integers, bias.data.data());
        const hat::Activation<float> end{.relu = true, .scale = -0.37F};
        const Sheet<float> whole = run(hat::Serial{}, all, layer, end),
                           plain = run(hat::Serial{}, all, w.layer(hat::CodebookMath::integers));
        std::vector<std::int8_t> x(k);
        bool right = true;
        for (std::size_t m = 0; m < 33; ++m) {
            const auto row = static_cast<double>(hat::quantize_row(all.data.data() + m * all.stride, k, x.data()));
            for (std::size_t i = 0; i < n; ++i) {
                float largest = 0;
                for (std::size_t c = 0; c < 16; ++c) largest = std::max(largest, std::abs(w.books[w.book(i) + c]));
                long sum = 0;
                for (std::size_t j = 0; j < k; ++j)
                    sum +=
                        std::lrint(static_cast<double>(w.weight(i, j)) * static_cast<double>(127.0F / largest)) * x[j];
                const double product = static_cast<double>(sum) * row * static_cast<double>(largest / 127.0F),
                             b = static_cast<double>(bias(0, i)), size = std::abs(product) + std::abs(b);
                right = right && std::abs(static_cast<double>(plain(m, i)) - product) <= 4e-7 * size;
                right = right && std::abs(static_cast<double>(whole(m, i)) -
                                          std::max(0.0, product + b) * static_cast<double>(end.scale)) <= 4e-7 * size;
            }
        }
        CHECK(right);
        for (std::size_t m = 1; m <= 33; ++m) {
            const Sheet<float> y = run(hat::Serial{}, last_rows(all, m), layer, end);
            CHECK(y == last_rows(whole, m));
        }
    }
}

TEST_CASE("layers of codes are the same bits for 1, 2 and 5 threads") {
    hat::Rng rng(3);
    const Sheet<float> x(150, 300, 0, rng);
    const Coded w(1000, 300, 0, 1);
    for (const auto math : {hat::CodebookMath::exact, hat::CodebookMath::integers}) {
        const auto layer = w.layer(math);
        const Sheet<float> one = run(hat::Serial{}, x, layer);
        CHECK(one == run(hat::ThreadPool(2), x, layer));
        CHECK(one == run(hat::ThreadPool(5), x, layer));
    }
}

TEST_CASE("codebooks of 2 to 16 numbers, also special ones where sums are exact") {
    hat::Rng rng(4);
    for (std::size_t entries = 2; entries <= 16; ++entries) {
        const Coded w(40, 21, 0, entries, entries);
        const Sheet<float> x(3, 21, 0, rng), dense = w.dense();
        CHECK(run(hat::Serial{}, x, w.layer(hat::CodebookMath::exact)) ==
              run(hat::Serial{}, x, hat::PackedLinear<float>(hat::Linear<float>{dense.view()})));
    }
    // a NaN or an infinity in an activation or a codebook goes where it goes in floats
    Coded w(40, 9, 32, 1);
    w.books[16 + 5] = std::numeric_limits<float>::quiet_NaN();
    Sheet<float> x(3, 9, 0, rng);
    x(1, 4) = std::numeric_limits<float>::infinity();
    const Sheet<float> dense = w.dense(), y = run(hat::Serial{}, x, w.layer(hat::CodebookMath::exact)),
                       expected = run(hat::Serial{}, x, hat::PackedLinear<float>(hat::Linear<float>{dense.view()}));
    for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t j = 0; j < 40; ++j) {
            CHECK(std::isnan(y(i, j)) == std::isnan(expected(i, j)));
            if (!std::isnan(expected(i, j))) CHECK(y(i, j) == expected(i, j));
        }
    // in integers the codebook's outputs and the row are NaN
    const Sheet<float> z = run(hat::Serial{}, x, w.layer(hat::CodebookMath::integers), {.relu = true});
    for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t j = 0; j < 40; ++j) CHECK(std::isnan(z(i, j)) == (i == 1 || j >= 32));
}

TEST_CASE("layers of codes without inputs, rows or outputs") {
    const std::vector<float> bias = {1, -2, 3};
    for (const auto math : {hat::CodebookMath::exact, hat::CodebookMath::integers}) {
        const Sheet<float> y = run(hat::Serial{}, Sheet<float>(2, 0), Coded(3, 0, 0, 1).layer(math, bias.data()),
                                   {.relu = true, .scale = 2});
        for (std::size_t i = 0; i < 2; ++i) {
            CHECK(y(i, 0) == 2);
            CHECK(y(i, 1) == 0);
            CHECK(y(i, 2) == 6);
        }
        CHECK(run(hat::Serial{}, Sheet<float>(0, 5), Coded(3, 5, 0, 1).layer(math)).data.empty());
        run(hat::Serial{}, Sheet<float>(2, 5), Coded(0, 5, 0, 1).layer(math));
    }
}

TEST_CASE("codes have the documented places, and rows are read back") {
    const Coded w(70, 37, 32, 5);
    const auto layer = w.layer(hat::CodebookMath::integers);
    const hat::CodebookPanels& p = layer.weight.panels();
    CHECK(hat::CodebookPanels::words(70, 37) == 96 * 5);
    CHECK(hat::CodebookPanels::book_count(70, 32) == 3);
    CHECK(hat::CodebookPanels::book_count(70, 0) == 1);
    CHECK(layer.weight.bytes() == 96 * 5 * 4 + 3 * 16 * 4 + 3 * sizeof(hat::ByteBook));
    std::vector<std::uint32_t> words(96 * 5);
    for (std::size_t n = 0; n < 70; ++n) {
        std::vector<float> vector(37);
        CHECK(p.vector(n, 37, vector.data()) == vector.data());
        for (std::size_t k = 0; k < 37; ++k) {
            words[n / 32 * (5 * 32) + k / 8 * 32 + n % 32] |= static_cast<std::uint32_t>(w.codes[n * 37 + k])
                                                              << (k % 4 * 8 + (k % 8 < 4 ? 0 : 4));
            CHECK(vector[k] == w.weight(n, k));
        }
    }
    CHECK(words == std::vector<std::uint32_t>(p.codes, p.codes + words.size()));
    // the same panels elsewhere, as in a mapped file: 8-bit codebooks are used, made, or not needed
    hat::Rng rng(6);
    const Sheet<float> x(3, 37, 0, rng), expected = run(hat::Serial{}, x, layer);
    hat::CodebookPanels mapped = p;
    CHECK(expected == run(hat::Serial{}, x,
                          hat::CodebookLinear(hat::CodebookMatrix(mapped, hat::CodebookMath::integers), nullptr)));
    CHECK(hat::CodebookMatrix(mapped, hat::CodebookMath::integers).bytes() == 0);
    CHECK(run(hat::Serial{}, x, hat::CodebookLinear(hat::CodebookMatrix(mapped, hat::CodebookMath::exact), nullptr)) ==
          run(hat::Serial{}, x, w.layer(hat::CodebookMath::exact)));
    mapped.bytes = nullptr;
    CHECK(expected == run(hat::Serial{}, x,
                          hat::CodebookLinear(hat::CodebookMatrix(mapped, hat::CodebookMath::integers), nullptr)));
    for (std::size_t i = 0; i < 3; ++i) {
        const hat::ByteBook book = hat::byte_book(p.books + 16 * i);
        for (std::size_t c = 0; c < 16; ++c)
            CHECK(std::abs(p.books[16 * i + c] - book.scale * static_cast<float>(book.codes[c] - 128)) <=
                  0.5001F * book.scale);
    }
}
