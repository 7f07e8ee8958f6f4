#include <doctest/doctest.h>

#include <algorithm>
#include <hat/space/space.hpp>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

// configs/wmt14.en-de/supertransformer/space0.yml of the reference
struct Wmt {
    static constexpr auto encoder_embed = hat::choices(640, 512);
    static constexpr auto encoder_layers = hat::choices(6);
    static constexpr auto encoder_ffn = hat::choices(3072, 2048, 1024);
    static constexpr auto encoder_heads = hat::choices(8, 4);
    static constexpr auto decoder_embed = hat::choices(640, 512);
    static constexpr auto decoder_layers = hat::choices(6, 5, 4, 3, 2, 1);
    static constexpr auto decoder_ffn = hat::choices(3072, 2048, 1024);
    static constexpr auto decoder_heads = hat::choices(8, 4);
    static constexpr auto cross_heads = hat::choices(8, 4);
    static constexpr auto cross_span = hat::choices(1, 2, 3);
    static constexpr auto qkv = hat::choices(512);
};

// small enough to list, with every special case: shallow encoders, elastic qkv, a span that is never exact
struct Small {
    static constexpr auto encoder_embed = hat::choices(8);
    static constexpr auto encoder_layers = hat::choices(1, 2);
    static constexpr auto encoder_ffn = hat::choices(16);
    static constexpr auto encoder_heads = hat::choices(1, 2);
    static constexpr auto decoder_embed = hat::choices(12, 8);
    static constexpr auto decoder_layers = hat::choices(2, 1);
    static constexpr auto decoder_ffn = hat::choices(32, 16);
    static constexpr auto decoder_heads = hat::choices(1);
    static constexpr auto cross_heads = hat::choices(2);
    static constexpr auto cross_span = hat::choices(1, 3);
    static constexpr auto qkv = hat::choices(8, 4);
};

hat::RuntimeAxes axes() { return hat::to_runtime(hat::Space<Wmt>{}).axes(); }

std::string message_of(hat::RuntimeAxes a) {
    try {
        hat::RuntimeSpace space(std::move(a));
    } catch (const hat::invalid_value& e) {
        return e.what();
    }
    return "no error";
}

template <class Space>
std::vector<typename Space::Gene> all_genes(const Space& space) {
    std::vector<typename Space::Gene> out;
    const auto n = space.cardinality();
    auto gene = n;
    std::fill(gene.begin(), gene.end(), std::uint8_t{0});
    for (;;) {
        out.push_back(gene);
        std::size_t i = 0;
        while (i < gene.size() && ++gene[i] == n[i]) gene[i++] = 0;
        if (i == gene.size()) return out;
    }
}

// as text, to be a key
template <class Arch>
std::string key(const Arch& a) {
    std::string out;
    const auto stack = [&](const auto& s) {
        out += std::to_string(s.embed) + "/" + std::to_string(s.layers);
        for (const auto* row : {&s.ffn, &s.qkv, &s.self_heads, &s.cross_heads, &s.cross_span})
            for (const int v : *row) out += "," + std::to_string(v);
    };
    stack(a.encoder);
    stack(a.decoder);
    return out;
}

}  // namespace

static_assert(hat::SearchSpace<hat::Space<Wmt>> && hat::SearchSpace<hat::RuntimeSpace>);
static_assert(std::is_empty_v<hat::Space<Wmt>>);
static_assert(hat::StaticAxes<Wmt> && !hat::StaticAxes<hat::RuntimeAxes> && !hat::SpaceAxes<int>);

TEST_CASE("the published space has the reference's gene of 40 entries, in its order") {
    constexpr hat::Space<Wmt> space;
    static_assert(hat::Space<Wmt>::Gene{}.size() == 40);
    CHECK(space.gene_count() == 40);
    const std::vector<int> expected{2, 1, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 6, 3, 3, 3, 3,
                                    3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3};
    const auto n = space.cardinality();
    CHECK(std::vector<int>(n.begin(), n.end()) == expected);
    CHECK(space.gene_choices()[15] == std::vector<int>{6, 5, 4, 3, 2, 1});
    // decoding works at compile time
    constexpr auto arch = space.decode(hat::Space<Wmt>::Gene{});
    static_assert(arch.encoder.embed == 640 && arch.decoder.ffn[5] == 3072 && arch.decoder.qkv[0] == 512);
    static_assert(space.largest().decoder.cross_span[5] == 3);
}

TEST_CASE("the number of networks is exact") {
    // 2 (3 2)^6 2 sum_d (3 2 2 3)^d, the 0.42e15 of the literature
    CHECK(hat::Space<Wmt>{}.network_count().text() == "417846678672384");
    CHECK(hat::Space<Wmt>{}.network_count() == hat::to_runtime(hat::Space<Wmt>{}).network_count());

    // beyond 2^64: 255^(16 + 16) networks of one depth
    auto big = axes();
    big.encoder_embed = big.decoder_embed = {8};
    big.encoder_layers = big.decoder_layers = {16};
    big.encoder_heads = big.decoder_heads = big.cross_heads = big.cross_span = big.qkv = {1};
    big.encoder_ffn.clear();
    for (int i = 1; i <= 255; ++i) big.encoder_ffn.push_back(i);
    big.decoder_ffn = big.encoder_ffn;
    hat::BigCount expected(1);
    for (int i = 0; i < 32; ++i) expected *= 255;
    CHECK(hat::RuntimeSpace(big).network_count() == expected);
}

TEST_CASE("listing a small space finds exactly network_count() canonical networks, and each comes back") {
    constexpr hat::Space<Small> space;
    const auto runtime = hat::to_runtime(space);
    std::set<std::string> networks;
    for (const auto& gene : all_genes(space)) {
        const auto arch = space.decode(gene);
        REQUIRE(arch == hat::canonical(arch));
        networks.insert(key(arch));
        REQUIRE(space.contains(arch));
        REQUIRE(space.decode(space.encode(arch)) == arch);
        REQUIRE(space.encode(space.decode_all(gene)) == gene);
        const hat::RuntimeSpace::Gene same(gene.begin(), gene.end());
        REQUIRE(runtime.decode(same) == hat::to_runtime(arch));
        REQUIRE(runtime.encode(arch) == runtime.encode(hat::to_runtime(arch)));
        REQUIRE(space.gene_of_values(space.gene_values(gene)) == gene);
    }
    CHECK(space.network_count().text() == std::to_string(networks.size()));
    // by hand: encoder depth 1: 4 layers, one span left; depth 2: 16, two spans; decoder layers 4 and 8 choices
    CHECK(networks.size() == 2 * (4 * (4 + 16) + 16 * (8 + 64)));
}

TEST_CASE("random_network is uniform over networks, random_gene over genes") {
    constexpr hat::Space<Small> space;
    hat::Rng rng(11);
    std::map<std::string, int> seen;
    const int draws = 20 * 2464;
    for (int i = 0; i < draws; ++i) ++seen[key(space.random_network(rng))];
    CHECK(seen.size() == 2464);
    double chi2 = 0;
    for (const auto& [k, n] : seen) chi2 += (n - 20.0) * (n - 20.0) / 20;
    CHECK(chi2 < 2463 + 5 * 70.2);  // mean 2463, deviation sqrt(2 * 2463)
    CHECK(chi2 > 2463 - 5 * 70.2);

    std::map<int, int> depths;
    for (int i = 0; i < 20000; ++i) ++depths[space.decode(space.random_gene(rng)).decoder.layers];
    CHECK(std::abs(depths[1] - 10000) < 400);
    // the same seed draws the same in both kinds of space
    hat::Rng one(5), two(5);
    const auto runtime = hat::to_runtime(space);
    for (int i = 0; i < 50; ++i) CHECK(hat::to_runtime(space.random_network(one)) == runtime.random_network(two));
}

TEST_CASE("largest and smallest take the extremes of every axis, whatever their order") {
    const auto runtime = hat::to_runtime(hat::Space<Small>{});
    const auto big = runtime.largest(), small = runtime.smallest();
    CHECK(big.encoder.layers == 2);
    CHECK(big.decoder.embed == 12);
    CHECK(big.decoder.ffn[1] == 32);
    CHECK(big.decoder.cross_span[1] == 2);  // 3, clamped to the encoder's depth
    CHECK(big.encoder.qkv[1] == 8);
    CHECK(small.decoder.layers == 1);
    CHECK(small.decoder.ffn[0] == 16);
    CHECK(small.decoder.ffn[1] == 0);
    CHECK(small.decoder.cross_span[0] == 1);
    CHECK((runtime.contains(big) && runtime.contains(small)));
}

TEST_CASE("a fixed qkv width takes no gene entry, but must be right") {
    constexpr hat::Space<Wmt> space;
    auto arch = space.largest();
    arch.decoder.qkv[2] = 256;
    CHECK(!space.contains(arch));
    CHECK_THROWS_WITH_AS(space.encode(arch), "hat::Space: qkv of decoder layer 2 is 256, expected one of 512",
                         hat::invalid_value);
}

TEST_CASE("networks outside the space are named by axis, layer and value") {
    const auto space = hat::to_runtime(hat::Space<Wmt>{});
    const auto fails = [&](auto&& change, const char* message) {
        auto arch = space.largest();
        change(arch);
        CHECK(!space.contains(arch));
        CHECK_THROWS_WITH_AS(space.encode(arch), message, hat::invalid_value);
    };
    using A = hat::RuntimeArch;
    fails([](A& a) { a.encoder.embed = 600; }, "hat::Space: encoder_embed is 600, expected one of 640, 512");
    fails([](A& a) { a.encoder.layers = 5; }, "hat::Space: encoder_layers is 5, expected one of 6");
    fails([](A& a) { a.decoder.layers = 7; }, "hat::Space: decoder_layers is 7, expected one of 6, 5, 4, 3, 2, 1");
    fails([](A& a) { a.decoder.layers = 0; }, "hat::Space: decoder_layers is 0, expected one of 6, 5, 4, 3, 2, 1");
    fails([](A& a) { a.decoder.ffn[4] = 777; },
          "hat::Space: decoder_ffn of decoder layer 4 is 777, expected one of 3072, 2048, 1024");
    fails([](A& a) { a.decoder.ffn[4] = 0; },  // an active zero is not filled from layer 0
          "hat::Space: decoder_ffn of decoder layer 4 is 0, expected one of 3072, 2048, 1024");
    fails([](A& a) { a.encoder.self_heads[0] = 16; },
          "hat::Space: encoder_heads of encoder layer 0 is 16, expected one of 8, 4");
    fails([](A& a) { a.decoder.cross_span[1] = 4; },
          "hat::Space: cross_span of decoder layer 1 is 4, expected one of 1, 2, 3");
    // a compile-time space takes architectures of any capacity
    constexpr hat::Space<Wmt> fixed;
    auto arch = space.largest();
    CHECK(fixed.decode(fixed.encode(arch)) == fixed.largest());
    arch.decoder.layers = 16;
    CHECK(!fixed.contains(arch));
}

TEST_CASE("inactive entries of an encoded gene come from layer 0") {
    const auto space = hat::to_runtime(hat::Space<Wmt>{});
    auto arch = space.largest();
    arch.decoder.layers = 2;
    arch.decoder.ffn[0] = 1024;
    arch.decoder.cross_heads[0] = 4;
    arch.decoder.cross_span[0] = 2;
    const auto values = space.gene_values(space.encode(hat::canonical(arch)));
    CHECK(std::vector<int>(values.begin() + 16, values.begin() + 22) ==
          std::vector<int>{1024, 3072, 1024, 1024, 1024, 1024});
    CHECK(std::vector<int>(values.begin() + 28, values.begin() + 34) == std::vector<int>{4, 8, 4, 4, 4, 4});
    CHECK(std::vector<int>(values.begin() + 34, values.end()) == std::vector<int>{2, 3, 2, 2, 2, 2});
}

TEST_CASE("what is no gene is refused") {
    const auto space = hat::to_runtime(hat::Space<Wmt>{});
    auto gene = space.cardinality();
    for (auto& g : gene) g = 0;
    gene[15] = 6;
    CHECK_THROWS_WITH_AS(space.decode(gene), "hat::Space: gene entry 15 (decoder_layers) is 6, expected less than 6",
                         hat::invalid_value);
    gene.pop_back();
    CHECK_THROWS_WITH_AS(space.decode(gene), "hat::Space: a gene has 39 entries, expected 40", hat::invalid_value);
    const std::vector<int> short_row{640, 6};
    CHECK_THROWS_WITH_AS(space.gene_of_values(short_row), "hat::Space: a gene has 2 entries, expected 40",
                         hat::invalid_value);
    auto values = space.gene_values(space.encode(space.largest()));
    values[2] = 5;
    CHECK_THROWS_WITH_AS(space.gene_of_values(values),
                         "hat::Space: gene entry 2 is 5, expected one of 3072, 2048, 1024", hat::invalid_value);
}

TEST_CASE("axes that make no space are refused, naming the axis and the value") {
    CHECK(message_of(axes()) == "no error");
    auto a = axes();
    a.cross_heads.clear();
    CHECK(message_of(a) == "hat::Space: cross_heads has no choice, so the space has no network");
    a = axes();
    a.decoder_layers = {2, 0};
    CHECK(message_of(a) == "hat::Space: decoder_layers has the choice 0, expected positive numbers");
    a = axes();
    a.encoder_ffn = {512, 1024, 512};
    CHECK(message_of(a) == "hat::Space: encoder_ffn has the choice 512 twice");
    a = axes();
    a.encoder_layers = {6, 17};
    CHECK(message_of(a) == "hat::Space: encoder_layers has the choice 17, expected at most 16");
    a = axes();
    a.cross_span = {1, 4};
    CHECK(message_of(a) == "hat::Space: cross_span has the choice 4, expected 1, 2 or 3 encoder layers");
    a = axes();
    a.decoder_heads = {8, 6};
    CHECK(message_of(a) == "hat::Space: decoder_heads has the choice 6, which does not divide the qkv width 512");
    a = axes();
    a.qkv = {512, 12};
    CHECK(message_of(a) == "hat::Space: encoder_heads has the choice 8, which does not divide the qkv width 12");
    a = axes();
    a.encoder_ffn.clear();
    for (int i = 1; i <= 256; ++i) a.encoder_ffn.push_back(i);
    CHECK(message_of(a) == "hat::Space: encoder_ffn has 256 choices, expected at most 255");
}
