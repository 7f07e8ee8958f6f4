#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <hat/core/rng.hpp>
#include <hat/kernel/amx.hpp>
#include <thread>
#include <vector>

namespace simd = hat::simd;

namespace {

constexpr std::size_t tile_w = simd::width<float>, tile_s = simd::tile_side;

/// A number in bfloat16 whose exponent is one of `spread` from `lowest` on (biased, 0: denormal).
std::uint32_t half_number(hat::Rng& rng, std::uint32_t lowest, std::uint32_t spread) {
    return static_cast<std::uint32_t>(rng.below(2)) << 15U |
           (lowest + static_cast<std::uint32_t>(rng.below(spread))) << 7U | static_cast<std::uint32_t>(rng.below(128));
}

/// A right operand in memory that counts how often it is asked to prepare.
template <class P>
struct Counted : simd::StepsInMemory<P> {
    std::size_t& calls;
    void prepare() const { ++calls; }
};

template <std::size_t R, std::size_t C, class P = simd::Bf16Pair>
void compare(hat::Rng& rng, std::size_t steps, std::uint32_t lowest, std::uint32_t spread, bool load) {
    steps *= simd::parts<P>;
    const std::size_t a_row = steps + 5, b_step = 2 * tile_w, c_row = C * tile_w + 3;
    std::vector<P> a(R * tile_s * a_row), b(steps * b_step);
    std::vector<float> c(R * tile_s * c_row);
    for (auto& p : a) p.bits = half_number(rng, lowest, spread) << 16U | half_number(rng, lowest, spread);
    for (auto& p : b) p.bits = half_number(rng, lowest, spread) << 16U | half_number(rng, lowest, spread);
    for (float& x : c) {
        const std::uint32_t bits =
            half_number(rng, lowest, spread) << 16U | static_cast<std::uint32_t>(rng.below(65536));
        std::memcpy(&x, &bits, sizeof x);
    }
    std::vector<float> portable = c;
    std::size_t prepared = 0;
    {
        const simd::TileScope scope;
        simd::dot_tiles<R, C>(steps, a.data(), a_row, Counted<P>{{b.data(), b_step}, prepared}, c.data(), c_row, load);
    }
    CHECK(prepared == steps / simd::steps_at_once<P> * simd::prepare_calls);
    std::vector<float> by_twin = portable;
    simd::dot_tiles_by_twin<R, C>(steps, a.data(), a_row, Counted<P>{{b.data(), b_step}, prepared}, by_twin.data(),
                                  c_row, load);
    CHECK(prepared == 2 * (steps / simd::steps_at_once<P> * simd::prepare_calls));
    simd::dot_tiles_portable<R, C>(steps, a.data(), a_row, b.data(), b_step, portable.data(), c_row, load);
    const auto different = [&](const std::vector<float>& found) {
        std::size_t n = 0;
        for (std::size_t i = 0; i < found.size(); ++i)
            n += std::memcmp(&found[i], &portable[i], sizeof found[i]) != 0 &&
                 !(std::isnan(found[i]) && std::isnan(portable[i]));
        return n;
    };
    CHECK(different(c) == 0);
    CHECK(different(by_twin) == 0);
}

}  // namespace

TEST_CASE("dot products in tiles equal their portable twin, bit for bit, with denormals and infinities") {
    if (!simd::tiles_usable()) {
        MESSAGE("left out: no AMX for this build, processor or process");
        return;
    }
    hat::Rng rng(1);
    for (int round = 0; round < 40; ++round)
        for (const std::size_t steps : {std::size_t{0}, tile_s, 5 * tile_s})
            for (const bool load : {false, true}) {
                const auto spread = static_cast<std::uint32_t>(1 + round);
                CAPTURE(spread);
                CAPTURE(steps);
                for (const std::uint32_t lowest : {127 - spread / 2, std::uint32_t{0}, 63 - spread / 2, 215U}) {
                    CAPTURE(lowest);
                    compare<1, 1>(rng, steps, lowest, spread, load);
                    compare<1, 2>(rng, steps, lowest, spread, load);
                    compare<2, 1>(rng, steps, lowest, spread, load);
                    compare<2, 2>(rng, steps, lowest, spread, load);
                    compare<1, 1, simd::Bf16Part>(rng, steps, lowest, spread, load);
                    compare<1, 2, simd::Bf16Part>(rng, steps, lowest, spread, load);
                    compare<2, 1, simd::Bf16Part>(rng, steps, lowest, spread, load);
                    compare<2, 2, simd::Bf16Part>(rng, steps, lowest, spread, load);
                }
            }
}

TEST_CASE("every thread has tiles of its own") {
    if (!simd::tiles_usable()) {
        MESSAGE("left out: no AMX for this build, processor or process");
        return;
    }
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 3; ++t)
        threads.emplace_back([t] {
            hat::Rng rng(t);
            for (int round = 0; round < 50; ++round) compare<2, 2>(rng, 4 * tile_s, 120, 14, true);
        });
    for (auto& t : threads) t.join();
}

TEST_CASE("the twin of tiles: two chains of sixteen, then their sum, then what was there") {
    // one row: 1 in every first number, 2^-24 in every second; the right operand is 1
    std::vector<simd::Bf16Pair> a(tile_s * tile_s), b(tile_s * tile_w);
    for (auto& p : a) p = {0x3f800000U | 0x3380U};
    for (auto& p : b) p = {0x3f803f80U};
    std::vector<float> c(tile_s * tile_w, 1.0F);
    simd::dot_tiles_portable<1, 1>(tile_s, a.data(), tile_s, b.data(), tile_w, c.data(), tile_w, true);
    // added one by one to 16 they would be lost; together they are 2^-20, and half an ulp of 16 is that
    CHECK(c[0] == 17.0F);
    simd::dot_tiles_portable<1, 1>(tile_s, a.data(), tile_s, b.data(), tile_w, c.data(), tile_w, false);
    CHECK(c[0] == 16.0F);
    for (auto& p : a) p = {0x3f803400U};  // 1 and 2^-23: together 2^-19
    simd::dot_tiles_portable<1, 1>(tile_s, a.data(), tile_s, b.data(), tile_w, c.data(), tile_w, false);
    CHECK(c[0] == 16.0F + 0x1p-19F);
    a[0] = {0x00010000U};  // a denormal number counts as zero
    simd::dot_tiles_portable<1, 1>(tile_s, a.data(), tile_s, b.data(), tile_w, c.data(), tile_w, false);
    CHECK(c[0] == 15.0F + 15 * 0x1p-23F);
}

TEST_CASE("the twin of tiles with three parts: six products of parts, the small ones first") {
    // a number is 1 + 2^-8 + 2^-16 in three parts, the other one 1 + 2^-9 + 2^-17
    std::vector<simd::Bf16Part> a(3 * tile_s * tile_s), b(3 * tile_s * tile_w);
    const std::uint32_t left[] = {0x3f80, 0x3b80, 0x3780}, right[] = {0x3f80, 0x3b00, 0x3700};
    for (std::size_t part = 0; part < 3; ++part) {
        for (std::size_t r = 0; r < tile_s; ++r) a[r * 3 * tile_s + part * tile_s].bits = left[part] << 16U;
        for (std::size_t j = 0; j < tile_w; ++j) b[part * tile_s * tile_w + j].bits = right[part] << 16U;
    }
    std::vector<float> c(tile_s * tile_w);
    simd::dot_tiles_portable<1, 1>(3 * tile_s, a.data(), 3 * tile_s, b.data(), tile_w, c.data(), tile_w, false);
    // without the products of the second and third part, 2^-25 each, and of the third ones
    const double expected = 1 + 0x1p-8 + 0x1p-16 + 0x1p-9 + 0x1p-17 + 0x1p-17;
    for (const float x : c) CHECK(static_cast<double>(x) == expected);
}
