#include <doctest/doctest.h>

#include <deploy/bare.hpp>
#include <deploy/parts.hpp>
#include <hat/decode/beam_search.hpp>
#include <hat/deploy/static_translator.hpp>
#include <hat/text/tokenizer.hpp>
#include <string>
#include <vector>

using E = hat::WeightFileError;
using S = hat::TextStatus;
using hat_test::TinyParts;

namespace {

constexpr hat::StaticLimits translator_limits{9, 12, 3};
using TranslatorModel = hat::StaticTransformer<hat_test::tiny_arch(1), hat_test::static_config(1), translator_limits>;
using Fixed = hat::StaticTranslator<TranslatorModel>;
using AnyTiny = hat::AnyTranslator<TranslatorModel>;

/// What the library says.
std::string reference(const TinyParts& tiny, const std::string& text) {
    const hat::WhitespaceTokenizer source{hat_test::word_vocabulary(tiny.parts.config.source_vocab)},
        target{hat_test::word_vocabulary(tiny.parts.config.target_vocab)};
    const hat::InferenceModel<float> model(tiny.super, tiny.arch);
    hat::InferenceSession<float> session(model);
    hat::BeamOptions options;
    options.beam = translator_limits.beam, options.max_positions = translator_limits.max_target;
    hat::Ragged batch;
    auto ids = source.encode(text);
    ids.push_back(hat::SpecialTokens::eos);
    batch.push_back(ids);
    return target.decode(hat::beam_search(session, batch, options)[0][0].tokens);
}

}  // namespace

TEST_CASE("text is translated as the elastic path does, compiled in or not") {
    const std::vector<std::string> texts{"w4 w5 w6", "w7", "w10 w11 none w13 w4 w4 w4 w30", "w30 w29 w28"};
    for (const std::uint64_t index : {1U, 2U}) {
        const TinyParts tiny(index);
        const auto bytes = tiny.file();
        AnyTiny any;
        REQUIRE(any.open(hat_test::span(bytes), hat::WeightCheck::everything, {}, translator_limits) == E::none);
        CHECK(any.engine().compiled() == (index == 1));
        for (const auto& text : texts) {
            const std::string expected = reference(tiny, text);
            CHECK(any.translate(text) == expected);
            CHECK(any.last().status == S::ok);
            CHECK(any.last().target_tokens == any.tokens().size() + 1);
            std::vector<char> out(200);
            const auto result = any.translate(text, out);
            REQUIRE(result.status == S::ok);
            CHECK(std::string(out.data(), result.size) == expected);
        }
        Fixed fixed;
        const E error = fixed.open(hat_test::span(bytes));
        CHECK(error == (index == 1 ? E::none : E::wrong_architecture));
        if (error == E::none)
            for (const auto& text : texts) CHECK(fixed.translate(text) == any.translate(text));
    }
}

TEST_CASE("a translator works in memory of the caller's") {
    const auto bytes = TinyParts(1).file();
    hat::AlignedBuffer<std::byte> memory(Fixed::memory_bytes() + 64);
    Fixed t;
    CHECK(t.open(hat_test::span(bytes), hat::WeightCheck::everything, {memory.data(), Fixed::memory_bytes() - 1}) ==
          E::no_memory);
    CHECK(t.translate("w4").empty());
    CHECK(t.last().status == S::not_open);
    CHECK(t.open(hat_test::span(bytes), hat::WeightCheck::everything, {memory.data() + 4, Fixed::memory_bytes()}) ==
          E::misaligned);
    REQUIRE(t.open(hat_test::span(bytes), hat::WeightCheck::everything, {memory.data(), Fixed::memory_bytes()}) ==
            E::none);
    CHECK(!t.translate("w4 w5").empty());
}

TEST_CASE("what cannot be translated has a status, and the next sentence works") {
    const auto bytes = TinyParts(1).file();
    Fixed t;
    REQUIRE(t.open(hat_test::span(bytes)) == E::none);
    std::vector<char> out(200);
    const auto status = [&](std::string_view text, const hat::StaticSearch& how = {}) {
        return t.translate(text, out, how).status;
    };
    CHECK(t.translate("w4 a\xFF", out).position == 4);
    CHECK(status("w4 a\xFF") == S::invalid_utf8);
    CHECK(t.translate(std::string_view("a\0b", 3), out).position == 1);
    CHECK(status(std::string_view("a\0b", 3)) == S::nul_byte);
    CHECK(status("a a a a a a a a a") == S::too_many_tokens);  // nine, and eos
    CHECK(status("a a a a a a a a") == S::ok);
    CHECK(status("w4", {.min_length = 12}) == S::bad_options);
    CHECK(t.translate("w4 w5", std::span(out).first(0), {.min_length = 3}).status == S::output_too_small);
    CHECK(status("") == S::ok);
    CHECK(t.translate("  \t", out).size == 0);
    CHECK(t.translate("").empty());
    CHECK(t.last().status == S::ok);
    for (std::uint8_t s = 0; s <= static_cast<std::uint8_t>(S::output_too_small); ++s)
        CHECK(hat::message(static_cast<S>(s)).size() > 5);
    TinyParts bare(1);
    bare.parts.source = bare.parts.target = {};
    const auto tokens_only = bare.file();
    CHECK(t.open(hat_test::span(tokens_only)) == E::no_tokenizer);
    CHECK(status("w4") == S::not_open);
}

TEST_CASE("a translator compiled without exceptions and run-time type information runs") {
    const hat::RuntimeArch arch = hat::to_runtime(hat_test::bare_arch);
    const auto weights = hat_test::super_weights(arch, hat_test::bare_config, 5);
    const auto stored = hat::store_weights(weights, arch);
    const hat_test::TemporaryFolder folder;
    hat::WeightFileParts parts{arch, hat::static_config(weights.config()), {stored.data(), stored.size()}, {}, {}, ""};
    parts.source = parts.target = hat::word_parts(hat_test::word_vocabulary(20));
    hat::save_weight_file(folder / "w", parts);
    const auto bytes = TinyParts::bytes(hat::read_file(folder / "w"));
    const auto text = hat_test::translate_bare(hat_test::span(bytes));
    REQUIRE(text.size() > 2);
    const std::size_t middle = text.find('|');
    CHECK(text.substr(0, middle) == text.substr(middle + 1));
}
