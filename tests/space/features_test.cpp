#include <doctest/doctest.h>

#include <hat/space/features.hpp>
#include <vector>

namespace {

hat::Arch<3, 4> sample() {
    hat::Arch<3, 4> a;
    a.encoder.embed = 640;
    a.encoder.layers = 3;
    a.encoder.ffn = {1024, 2048, 1024};
    a.encoder.qkv = {512, 512, 512};
    a.encoder.self_heads = {4, 8, 8};
    a.decoder.embed = 512;
    a.decoder.layers = 2;
    a.decoder.ffn = {3072, 1024};
    a.decoder.qkv = {512, 512};
    a.decoder.self_heads = {8, 4};
    a.decoder.cross_heads = {4, 4};
    a.decoder.cross_span = {1, 3};
    return a;
}

}  // namespace

TEST_CASE("the ten features are means over active layers, divided by the reference's norm") {
    auto a = sample();
    const auto raw = hat::MeanFeatures::raw(a);
    CHECK(raw == std::array<double, 10>{640, 3, 4096.0 / 3, 20.0 / 3, 512, 2, 2048, 6, 4, 2});
    const auto x = hat::MeanFeatures{}(a);
    const std::vector<double> expected{1, 0.5, 4096.0 / 3 / 2048, 20.0 / 18, 0.8, 1.0 / 3, 1, 1, 4.0 / 6, 1};
    for (std::size_t i = 0; i < x.size(); ++i)
        CHECK(static_cast<double>(x[i]) == doctest::Approx(expected[i]).epsilon(1e-6));
    // what an inactive layer says does not count
    a.decoder.ffn[3] = 3072;
    a.decoder.cross_span[2] = 3;
    CHECK(hat::MeanFeatures::raw(a) == raw);
    hat::MeanFeatures plain;
    plain.norm.fill(1);
    CHECK(plain(a)[4] == 512.0F);
}

TEST_CASE("operation counts follow every layer's own widths") {
    auto a = sample();
    const auto raw = hat::OperationFeatures::raw(a);
    CHECK(raw == std::array<double, 13>{3, 640, 3.0 * 512 * 640, 4096.0 * 640, 20, 2, 512, 2.0 * 512 * 512,
                                        4096.0 * 512, 12, 8, 4, 4.0 * 512 * 640});
    // a dataset row holds means only; with one qkv width they say the same
    const auto from_means = hat::OperationFeatures::raw(hat::MeanFeatures::raw(a), 512);
    for (std::size_t i = 0; i < raw.size(); ++i) CHECK(from_means[i] == doctest::Approx(raw[i]));
    a.decoder.qkv[1] = 256;
    CHECK(hat::OperationFeatures::raw(a)[7] == (512.0 + 256) * 512);
    CHECK(hat::OperationFeatures::raw(a)[12] == (1.0 * 512 + 3 * 256) * 640);
    CHECK(hat::OperationFeatures{}(a)[0] == 0.5F);
}

TEST_CASE("features are distinct where the networks' costs are") {
    const auto a = sample();
    auto b = a;
    b.decoder.ffn = {2048, 2048};  // the same mean, so the same point to both
    CHECK(hat::MeanFeatures{}(a) == hat::MeanFeatures{}(b));
    b.decoder.qkv = {256, 512};
    CHECK(hat::MeanFeatures{}(a) == hat::MeanFeatures{}(b));
    CHECK(hat::OperationFeatures{}(a) != hat::OperationFeatures{}(b));
}
