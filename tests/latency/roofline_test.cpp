#include <doctest/doctest.h>

#include <hat/core/error.hpp>
#include <hat/latency/roofline.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/concepts.hpp>
#include <hat/space/cost.hpp>
#include <limits>

namespace {

static_assert(hat::LatencyPolicy<hat::Roofline, hat::RuntimeArch>);

/// One layer each; widths that are easy to multiply.
hat::RuntimeArch one_layer() {
    hat::RuntimeArch a{};
    a.encoder.embed = 10, a.encoder.layers = 1, a.encoder.ffn[0] = 30, a.encoder.qkv[0] = 20;
    a.encoder.self_heads[0] = 2;
    a.decoder.embed = 10, a.decoder.layers = 1, a.decoder.ffn[0] = 30, a.decoder.qkv[0] = 20;
    a.decoder.self_heads[0] = a.decoder.cross_heads[0] = 2, a.decoder.cross_span[0] = 1;
    return a;
}

const hat::RooflineWork small{.source_length = 3, .target_length = 2, .beam = 1, .vocab = 100};

}  // namespace

TEST_CASE("a device without limits of memory takes the time of its operations, which are those of the cost model") {
    const hat::RooflineDevice device{.flops = 1e6, .bandwidth = 1e30};
    const auto e = hat::Roofline(device, small).estimate(one_layer());
    // rows x outputs x inputs of each product, twice; attention: 4 x queries x keys x qkv
    CHECK(e.encoder.flops == 2 * 3 * (60 * 10 + 10 * 20 + 30 * 10 + 10 * 30) + 4 * 3 * 3 * 20);
    const double keys_values = 2 * 3 * 40 * 10, layer = 2 * (60 * 10 + 10 * 20 + 20 * 10 + 10 * 20 + 30 * 10 + 10 * 30);
    CHECK(e.decoder.flops == keys_values + 2 * (layer + 2 * 100 * 10 + 4 * 3 * 20) + 4 * (1 + 2) * 20);
    CHECK(e.total().count() == doctest::Approx((e.encoder.flops + e.decoder.flops) / 1e6 * 1e3));
    CHECK(e.encoder.memory.count() == 0);

    // the encoder's products, without the biases and scalings that the reference counts, too
    hat::CostOptions options;
    options.source_length = 3;
    const auto c = hat::cost(one_layer(), options);
    const double not_products = 2 * 3 * (10 + 20 + 10);
    CHECK(e.encoder.flops + not_products == static_cast<double>(c.encoder_attention.flops + c.encoder_ffn.flops));
}

TEST_CASE("a device that computes in no time takes the time of reading its weights, once per step") {
    const hat::RooflineDevice device{.flops = 1e30, .bandwidth = 1e6};
    const auto e = hat::Roofline(device, small).estimate(one_layer());
    CHECK(e.encoder.bytes == 4 * (60 * 10 + 10 * 20 + 30 * 10 + 10 * 30));
    const double step = 4 * (60 * 10 + 10 * 20 + 20 * 10 + 10 * 20 + 30 * 10 + 10 * 30 + 100 * 10);
    const double kept = 4 * 2 * 20 * ((1 + 2) + 2 * 3);  // own keys and values grow; the source's are read each step
    CHECK(e.decoder.bytes == 4 * 40 * 10 + 2 * step + kept);
    CHECK(e.total().count() == doctest::Approx((e.encoder.bytes + e.decoder.bytes) / 1e6 * 1e3));
    CHECK(e.decoder.memory.count() == doctest::Approx(e.decoder.time.count()));

    SUBCASE("fewer bits, fewer bytes; keys and values stay fp32") {
        hat::RooflineWork four_bits = small;
        four_bits.bytes_per_weight = 0.5;
        const auto q = hat::Roofline(device, four_bits).estimate(one_layer());
        CHECK(q.encoder.bytes == e.encoder.bytes / 8);
        CHECK(q.decoder.bytes == (e.decoder.bytes - kept) / 8 + kept);
    }
    SUBCASE("a cache helps what fits it") {
        hat::RooflineDevice cached = device;
        cached.cache_bandwidth = 1e7;
        cached.cache_bytes = step;  // a decoder step fits, the network does not
        const auto c = hat::Roofline(cached, small).estimate(one_layer());
        CHECK(c.encoder.time == e.encoder.time);
        CHECK(c.decoder.time.count() == doctest::Approx((4 * 40 * 10 / 1e6 + (2 * step + kept) / 1e7) * 1e3));
        cached.cache_bytes = 1e9;
        CHECK(hat::Roofline(cached, small)(one_layer()).count() == doctest::Approx(e.total().count() / 10));
    }
    SUBCASE("starting a product costs") {
        hat::RooflineDevice launches = device;
        launches.product_overhead = hat::Milliseconds(1);
        const auto l = hat::Roofline(launches, small).estimate(one_layer());
        CHECK((l.encoder.time - e.encoder.time).count() == doctest::Approx(5));
        CHECK((l.decoder.time - e.decoder.time).count() == doctest::Approx(1 + 2 * 9));
    }
}

TEST_CASE("each product is bound by one or the other; more rows on the same weights become bound by computing") {
    const hat::RooflineDevice device{.flops = 100e9, .bandwidth = 25e9};
    hat::RooflineWork work = small;
    const auto at = [&](std::size_t beam) {
        work.beam = beam;
        return hat::Roofline(device, work).estimate(one_layer()).decoder;
    };
    CHECK(at(2).memory / at(2).time > 0.9);  // 2 FLOPs a weight and row; 4 bytes are as long as 16 FLOPs
    CHECK(at(64).memory / at(64).time < 0.2);
    CHECK(at(4).time < at(8).time * 1.01);
    CHECK(at(64).time > at(8).time * 4);
}

TEST_CASE("impossible devices and work are refused by name") {
    const auto refuse = [](hat::RooflineDevice d, hat::RooflineWork w, const char* what) {
        CHECK_THROWS_WITH_AS(hat::Roofline(d, w), what, hat::invalid_value);
    };
    const hat::RooflineDevice valid{.flops = 1, .bandwidth = 1};
    refuse({.flops = 0, .bandwidth = 1}, {}, "hat::Roofline: flops is 0.000000, expected a finite number above 0");
    refuse({.flops = std::numeric_limits<double>::infinity(), .bandwidth = 1}, {},
           "hat::Roofline: flops is inf, expected a finite number above 0");
    refuse({.flops = 1}, {}, "hat::Roofline: bandwidth is 0.000000, expected a finite number above 0");
    refuse({.flops = 1, .bandwidth = 1, .cache_bytes = 1}, {},
           "hat::Roofline: cache_bandwidth is 0.000000, expected a finite number above 0");
    refuse({.flops = 1, .bandwidth = 1, .product_overhead = hat::Milliseconds(-1)}, {},
           "hat::Roofline: product_overhead is -1.000000, expected a finite number from 0");
    refuse(valid, {.beam = 0}, "hat::Roofline: beam is 0.000000, expected a finite number above 0");
    refuse(valid, {.bytes_per_weight = 0},
           "hat::Roofline: bytes_per_weight is 0.000000, expected a finite number above 0");
}
