#include <doctest/doctest.h>

#include <hat/space/space.hpp>
#include <hat/train/sampler.hpp>
#include <map>

namespace {

hat::RuntimeSpace space() {
    return hat::RuntimeSpace(
        hat::RuntimeAxes{{8, 16}, {1, 2}, {16, 32}, {1, 2}, {8, 16}, {1, 3}, {16, 32}, {2}, {1, 2}, {1, 2, 3}, {16}});
}

}  // namespace

TEST_CASE("the network of an update depends on seed and update number alone") {
    const hat::UniformSampler a(space(), 5), b(space(), 5), c(space(), 6);
    int different = 0;
    for (std::uint64_t update = 100; update-- > 0;) {
        CHECK(a(update) == b(update));
        CHECK(space().contains(a(update)));
        different += a(update) == c(update) ? 0 : 1;
    }
    CHECK(different > 90);
}

TEST_CASE("sampling over genes draws depths alike, over networks mostly deep ones") {
    const hat::UniformSampler genes(space(), 1), networks(space(), 1, hat::SampleOver::networks);
    int deep_genes = 0, deep_networks = 0;
    std::map<int, int> width;
    for (std::uint64_t update = 0; update < 2000; ++update) {
        deep_genes += genes(update).decoder.layers == 3;
        deep_networks += networks(update).decoder.layers == 3;
        ++width[genes(update).encoder.embed];
    }
    CHECK(deep_genes == doctest::Approx(1000).epsilon(0.1));
    CHECK(width[8] == doctest::Approx(1000).epsilon(0.1));
    CHECK(deep_networks > 1900);  // 12^2 times as many as with one layer
}
