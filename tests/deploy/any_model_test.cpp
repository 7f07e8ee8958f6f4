#include <doctest/doctest.h>

#include <deploy/parts.hpp>
#include <hat/decode/beam_search.hpp>
#include <hat/deploy/any_model.hpp>
#include <vector>

using hat_test::TinyParts;

namespace {

constexpr hat::StaticLimits limits{9, 40, 3};
template <std::uint64_t index>
using Static = hat::StaticTransformer<hat_test::tiny_arch(index), hat_test::static_config(index), limits>;
using Any = hat::AnyModel<Static<0>, Static<4>>;

std::vector<std::int32_t> sentence(std::uint64_t seed, std::size_t length) {
    hat::Rng rng(seed);
    std::vector<std::int32_t> out(length, hat::SpecialTokens::eos);
    for (std::size_t i = 0; i + 1 < length; ++i) out[i] = static_cast<std::int32_t>(3 + rng.below(30));
    return out;
}

}  // namespace

TEST_CASE("any model, compiled in or not, equals the elastic path to the bit") {
    for (std::uint64_t index = 0; index < 24; ++index) {
        CAPTURE(index);
        const TinyParts tiny(index);
        const auto bytes = tiny.file();
        hat::WeightFile file;
        REQUIRE(file.open(hat_test::span(bytes)) == hat::WeightFileError::none);
        Any any;
        REQUIRE(any.open(file, limits) == hat::WeightFileError::none);
        CHECK(any.compiled() == (index == 0 || index == 4));
        const hat::InferenceModel<float> model(tiny.super, tiny.arch);
        hat::InferenceSession<float> elastic(model);
        hat::BeamOptions options;
        options.beam = limits.beam, options.max_positions = limits.max_target;
        for (const std::size_t length : {limits.max_source, std::size_t{1}, limits.max_source / 2}) {
            const auto source = sentence(index + length, length);
            hat::Ragged batch;
            batch.push_back(source);
            const auto best = hat::beam_search(elastic, batch, options)[0][0];
            std::vector<std::int32_t> target(limits.max_target);
            const auto found = any.translate(source, target);
            REQUIRE(found.status == hat::TranslateStatus::ok);
            target.resize(found.length);
            CHECK(target == best.tokens);
            CHECK(found.score == best.score);
        }
    }
}

TEST_CASE("a generic model's logits equal the elastic path's, and its memory is planned to the byte") {
    for (const std::uint64_t index : {1U, 4U, 5U, 6U, 7U, 9U}) {
        CAPTURE(index);
        const TinyParts tiny(index);
        const hat::StoredTransformer<hat::MatrixFormat::fp32> model(tiny.stored.data(), tiny.arch, tiny.parts.config,
                                                                    limits);
        hat::AlignedBuffer<std::byte> workspace(model.workspace_bytes() + 64);
        std::fill_n(workspace.data(), workspace.size(), std::byte{0x5A});
        hat::StoredTransformer<hat::MatrixFormat::fp32>::Session session(model, workspace.data());
        const hat::InferenceModel<float> inside(tiny.super, tiny.arch);
        hat::InferenceSession<float> elastic(inside);
        hat::Ragged source;
        source.push_back(sentence(index, limits.max_source));
        auto& decoder = session.decoder();
        decoder.encode(source.tokens, source.offsets);
        decoder.start(limits.beam);
        elastic.encode(source);
        elastic.start(limits.beam);
        std::size_t different = 0;
        for (std::size_t step = 0; step < 4; ++step) {
            const std::vector<std::int32_t> tokens{7, 8, static_cast<std::int32_t>(9 + step)};
            const std::vector<std::size_t> parents =
                step ? std::vector<std::size_t>{2, 0, 1} : std::vector<std::size_t>{};
            const auto found = decoder.step(tokens, parents);
            const auto expected = elastic.step(tokens, parents);
            for (std::size_t b = 0; b < limits.beam; ++b)
                for (std::size_t v = 0; v < tiny.parts.config.target_vocab; ++v)
                    different += found(b, v) != expected(b, v);
        }
        CHECK(different == 0);
        std::vector<std::int32_t> target(limits.max_target);
        const std::vector<std::int32_t> longest = sentence(1, limits.max_source);
        const auto translation = session.translate(longest, target, {.min_length = limits.max_target - 1});
        CHECK(translation.length == limits.max_target);
        CHECK(std::all_of(workspace.data() + model.workspace_bytes(), workspace.data() + workspace.size(),
                          [](std::byte b) { return b == std::byte{0x5A}; }));
    }
}

namespace {

constexpr hat::StaticConfig with(hat::StaticConfig c, hat::MatrixFormat format, std::size_t rows,
                                 hat::CodebookMath math) {
    c.format = format, c.book_rows = rows, c.codebook_math = math;
    return c;
}
/// The generic code and the compiled network give the same tokens and scores.
template <std::uint64_t index, hat::MatrixFormat format, std::size_t rows, hat::CodebookMath math>
void check_format() {
    using Model = hat::StaticTransformer<hat_test::tiny_arch(index),
                                         with(hat_test::static_config(index), format, rows, math), limits>;
    const TinyParts tiny(index, {format, rows}, math);
    const auto bytes = tiny.file();
    hat::WeightFile file;
    REQUIRE(file.open(hat_test::span(bytes)) == hat::WeightFileError::none);
    CHECK(file.config() == Model::configuration);
    hat::AnyModel<> generic;
    hat::AnyModel<Model> compiled;
    REQUIRE(generic.open(file, limits) == hat::WeightFileError::none);
    REQUIRE(compiled.open(file) == hat::WeightFileError::none);
    CHECK(compiled.compiled());
    for (const std::size_t length : {limits.max_source, std::size_t{2}}) {
        const auto source = sentence(length, length);
        std::vector<std::int32_t> a(limits.max_target, -1), b = a;
        const auto x = generic.translate(source, a), y = compiled.translate(source, b);
        REQUIRE(x.status == hat::TranslateStatus::ok);
        CHECK(a == b);
        CHECK(x.score == y.score);
    }
}

}  // namespace

TEST_CASE("a generic model of any format equals the compiled one") {
    using F = hat::MatrixFormat;
    using M = hat::CodebookMath;
    check_format<6, F::int8, 0, M::exact>();
    check_format<3, F::codebook4, 0, M::exact>();
    check_format<4, F::codebook4, 32, M::integers>();
}

TEST_CASE("bounds that cannot be planned for, and models that are not open") {
    using E = hat::WeightFileError;
    const TinyParts tiny(1);
    const auto bytes = tiny.file();
    hat::WeightFile file;
    Any any;
    std::vector<std::int32_t> target(4);
    CHECK(any.open(file) == E::bad_section);
    CHECK(any.translate(target, target).status == hat::TranslateStatus::bad_options);
    REQUIRE(file.open(hat_test::span(bytes)) == E::none);
    for (const hat::StaticLimits bad :
         {hat::StaticLimits{0, 9, 1}, {5000, 9, 1}, {9, 1, 1}, {9, 2049, 1}, {9, 9, 0}, {9, 9, 257}})
        CHECK(any.open(file, bad) == E::too_large);
    CHECK(any.translate(target, target).status == hat::TranslateStatus::bad_options);
    CHECK(any.open(file, {4096, 2048, 2}) == E::none);
}
