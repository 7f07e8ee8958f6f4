#include <doctest/doctest.h>

#include <algorithm>
#include <hat/space/features.hpp>
#include <hat/space/space.hpp>
#include <numeric>
#include <support/golden.hpp>
#include <vector>

namespace {

int span_of(int reference) { return reference == -1 ? 1 : reference + 1; }

/// The space of the fixtures' `gene_choice`, and which of their gene entries are ours.
struct FixtureSpace {
    std::vector<std::size_t> kept;  // entry of the fixtures for each of our entries
    std::vector<bool> is_span;      // by our entry
    hat::RuntimeSpace space;        // last: reading it fills the two above

    explicit FixtureSpace(const hat::Json& genes) : space(read(genes, *this)) {}

    /// A gene of the fixtures as choices of ours.
    std::vector<int> ours(const std::vector<int>& theirs) const {
        std::vector<int> out;
        for (std::size_t i = 0; i < kept.size(); ++i)
            out.push_back(is_span[i] ? span_of(theirs.at(kept[i])) : theirs.at(kept[i]));
        return out;
    }

private:
    // The reference has entries for every layer of the SuperTransformer, also for those that no depth of the space
    // uses; a full-length list of a decoded gene says how many.
    static hat::RuntimeAxes read(const hat::Json& genes, FixtureSpace& self) {
        const auto choice = genes.at("gene_choice").get<std::vector<std::vector<int>>>();
        const auto& full = genes.at("pairs").at(0).at("config_from_gene");
        const std::size_t enc = full.at("encoder").at("encoder_ffn_embed_dim").size();
        const std::size_t dec = full.at("decoder").at("decoder_arbitrary_ende_attn").size();
        REQUIRE(choice.size() == 4 + 2 * enc + 4 * dec);
        std::size_t at = 0;
        const auto take = [&](std::size_t entries, std::size_t used, bool span = false) {
            auto axis = choice.at(at);
            for (std::size_t i = 0; i < entries; ++i) {
                REQUIRE(choice.at(at + i) == axis);
                if (i >= used) continue;
                self.kept.push_back(at + i);
                self.is_span.push_back(span);
            }
            at += entries;
            if (span)
                for (int& v : axis) v = span_of(v);
            return axis;
        };
        hat::RuntimeAxes a;
        a.encoder_embed = take(1, 1);
        a.encoder_layers = take(1, 1);
        const auto enc_used =
            static_cast<std::size_t>(*std::max_element(a.encoder_layers.begin(), a.encoder_layers.end()));
        a.encoder_ffn = take(enc, enc_used);
        a.encoder_heads = take(enc, enc_used);
        a.decoder_embed = take(1, 1);
        a.decoder_layers = take(1, 1);
        const auto dec_used =
            static_cast<std::size_t>(*std::max_element(a.decoder_layers.begin(), a.decoder_layers.end()));
        a.decoder_ffn = take(dec, dec_used);
        a.decoder_heads = take(dec, dec_used);
        a.cross_heads = take(dec, dec_used);
        a.cross_span = take(dec, dec_used, true);
        int qkv = 1;  // the manifest does not say: any width that all heads divide
        for (const auto* axis : {&a.encoder_heads, &a.decoder_heads, &a.cross_heads})
            for (const int h : *axis) qkv = std::lcm(qkv, h);
        a.qkv = {qkv};
        return a;
    }
};

/// A "config" object: lists as long as they are given, the rest zero.
hat::RuntimeArch arch_of(const hat::Json& config, int qkv) {
    hat::RuntimeArch a;
    const auto side = [&](auto& stack, const std::string& name) {
        const auto& s = config.at(name);
        stack.embed = s.at(name + "_embed_dim");
        stack.layers = s.at(name + "_layer_num");
        std::fill_n(stack.qkv.begin(), stack.layers, qkv);
        const auto row = [&](auto& values, const std::string& key) {
            const auto list = s.at(name + "_" + key).template get<std::vector<int>>();
            REQUIRE(list.size() >= static_cast<std::size_t>(stack.layers));
            std::copy(list.begin(), list.end(), values.begin());
        };
        row(stack.ffn, "ffn_embed_dim");
        row(stack.self_heads, "self_attention_heads");
        if (name == "decoder") {
            row(stack.cross_heads, "ende_attention_heads");
            row(stack.cross_span, "arbitrary_ende_attn");
            for (int& v : stack.cross_span)
                if (v != 0) v = span_of(v);
        }
    };
    side(a.encoder, "encoder");
    side(a.decoder, "decoder");
    return a;
}

}  // namespace

TEST_CASE("genes have the reference's layout and choices") {
    const hat_test::Golden golden;
    const auto& genes = golden.manifest().at("genes");
    const FixtureSpace fixture(genes);
    auto expected = genes.at("gene_choice").get<std::vector<std::vector<int>>>();
    const auto ours = fixture.space.gene_choices();
    REQUIRE(ours.size() == fixture.kept.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
        auto theirs = expected.at(fixture.kept[i]);
        if (fixture.is_span[i])
            for (int& v : theirs) v = span_of(v);
        CHECK(ours[i] == theirs);
    }
}

TEST_CASE("configurations become the reference's genes and come back") {
    const hat_test::Golden golden;
    const auto& genes = golden.manifest().at("genes");
    const FixtureSpace fixture(genes);
    const int qkv = fixture.space.axes().qkv.at(0);
    for (const auto& pair : genes.at("pairs")) {
        CAPTURE(pair.at("config").dump());
        const auto config = arch_of(pair.at("config"), qkv);
        const auto decoded = arch_of(pair.at("config_from_gene"), qkv);
        const auto theirs = fixture.ours(pair.at("gene").get<std::vector<int>>());
        // the gene, unused entries included: filled from layer 0, spans as the configuration lists them
        const auto gene = fixture.space.encode(config);
        CHECK(fixture.space.gene_values(gene) == theirs);
        CHECK(fixture.space.gene_of_values(theirs) == gene);
        // the configuration it decodes to: all entries, and the network it means
        auto all = fixture.space.decode_all(gene);
        const auto enc =
            *std::max_element(fixture.space.axes().encoder_layers.begin(), fixture.space.axes().encoder_layers.end());
        const auto dec =
            *std::max_element(fixture.space.axes().decoder_layers.begin(), fixture.space.axes().decoder_layers.end());
        for (std::size_t i = 0; i < static_cast<std::size_t>(enc); ++i) {
            CHECK(all.encoder.ffn[i] == decoded.encoder.ffn[i]);
            CHECK(all.encoder.self_heads[i] == decoded.encoder.self_heads[i]);
        }
        for (std::size_t i = 0; i < static_cast<std::size_t>(dec); ++i) {
            CHECK(all.decoder.ffn[i] == decoded.decoder.ffn[i]);
            CHECK(all.decoder.self_heads[i] == decoded.decoder.self_heads[i]);
            CHECK(all.decoder.cross_heads[i] == decoded.decoder.cross_heads[i]);
            CHECK(all.decoder.cross_span[i] == decoded.decoder.cross_span[i]);
        }
        CHECK(fixture.space.decode(gene) == hat::canonical(decoded));
        CHECK(fixture.space.decode(gene) == hat::canonical(config));
        // from the network alone the same network comes back
        CHECK(fixture.space.decode(fixture.space.encode(hat::canonical(config))) == hat::canonical(config));
    }
}

TEST_CASE("the ten features are the reference's") {
    const hat_test::Golden golden;
    const auto& genes = golden.manifest().at("genes");
    std::size_t checked = 0;
    for (const auto& pair : genes.at("pairs")) {
        const auto expected = pair.at("features").get<std::vector<double>>();
        const auto raw = hat::MeanFeatures::raw(arch_of(pair.at("config"), 1));
        REQUIRE(expected.size() == raw.size());
        for (std::size_t i = 0; i < raw.size(); ++i) CHECK(raw[i] == doctest::Approx(expected[i]).epsilon(1e-12));
        ++checked;
    }
    CHECK(checked > 0);
}
