#include <doctest/doctest.h>

#include <deploy/parts.hpp>
#include <hat/deploy/static_translator.hpp>
#include <string_view>
#include <support/allocations.hpp>
#include <vector>

using E = hat::WeightFileError;
using hat_test::TinyParts;

namespace {

constexpr hat::StaticLimits memory_limits{9, 40, 3};
using MemoryModel = hat::StaticTransformer<hat_test::tiny_arch(2), hat_test::static_config(2), memory_limits>;
constexpr hat::StaticSearch longest{.min_length = memory_limits.max_target - 1};

/// Translates a sentence of text as long as it may be, and counts the allocations.
template <class Translator>
std::size_t allocations_of(Translator& translator) {
    std::vector<char> out(1024);
    const std::size_t before = hat_test::allocations;
    const auto result = translator.translate("w4 w5 w6 none w8 w9 w9 w30", out, longest);
    const std::size_t counted = hat_test::allocations - before;
    CHECK(result.status == hat::TextStatus::ok);
    CHECK(result.source_tokens == memory_limits.max_source);
    CHECK(result.target_tokens == memory_limits.max_target);
    return counted;
}

}  // namespace

TEST_CASE("translating text allocates nothing, whatever runs") {
    const auto bytes = TinyParts(2).file();
    hat::AnyTranslator<> generic;
    hat::AnyTranslator<MemoryModel> any;
    hat::StaticTranslator<MemoryModel> compiled;
    REQUIRE(generic.open(hat_test::span(bytes), hat::WeightCheck::everything, {}, memory_limits) == E::none);
    REQUIRE(any.open(hat_test::span(bytes)) == E::none);
    REQUIRE(compiled.open(hat_test::span(bytes)) == E::none);
    CHECK(allocations_of(generic) == 0);
    CHECK(allocations_of(any) == 0);
    CHECK(allocations_of(compiled) == 0);
}

TEST_CASE("in memory of the caller's, opening a file allocates nothing either") {
    using Translator = hat::StaticTranslator<MemoryModel>;
    const auto bytes = TinyParts(2).file();
    hat::AlignedBuffer<std::byte> memory(Translator::memory_bytes());
    static Translator translator;
    const std::size_t before = hat_test::allocations;
    const E error = translator.open(hat_test::span(bytes), hat::WeightCheck::everything,
                                    {memory.data(), Translator::memory_bytes()});
    CHECK(hat_test::allocations == before);
    REQUIRE(error == E::none);
    CHECK(allocations_of(translator) == 0);
}
