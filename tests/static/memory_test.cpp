#include <algorithm>
#include <limits>
#include <static/archs.hpp>
#include <string>
#include <support/allocations.hpp>

std::size_t translate_without_exceptions();

namespace {

constexpr hat::StaticLimits memory_limits{9, 40, 3};

template <std::uint64_t index>
struct Tiny {
    using Model = hat::StaticTransformer<hat_test::tiny_arch(index), hat_test::static_config(index), memory_limits>;
    hat::Weights<float> super =
        hat_test::super_weights(hat::to_runtime(hat_test::tiny_shape()), hat_test::static_config(index), index);
    hat::AlignedBuffer<std::byte> stored = hat::store_weights(super, hat::to_runtime(hat_test::tiny_arch(index)));
    Model model{stored.data()};
};

const std::vector<std::int32_t> longest{5, 9, 17, 4, 30, 8, 8, 21, 2};

/// Translates into as many tokens as there is room for.
template <class Session>
hat::StaticTranslation translate_long(Session& session, std::span<std::int32_t> target) {
    return session.translate(longest, target, {.min_length = memory_limits.max_target - 1});
}

template <std::uint64_t index>
void check_plan() {
    using Model = typename Tiny<index>::Model;
    const Tiny<index> tiny;
    hat::AlignedBuffer<std::byte> workspace(Model::workspace_bytes + 64);
    std::fill_n(workspace.data(), workspace.size(), std::byte{0x5A});
    typename Model::Session session(tiny.model, workspace.data());
    std::vector<std::int32_t> target(memory_limits.max_target);
    const auto result = translate_long(session, target);
    REQUIRE(result.status == hat::TranslateStatus::ok);
    CHECK(result.length == memory_limits.max_target);
    CHECK(std::all_of(workspace.data() + Model::workspace_bytes, workspace.data() + workspace.size(),
                      [](std::byte b) { return b == std::byte{0x5A}; }));
    // the plan is what the longest translation uses, not a guess above it
    const auto& plan = Model::workspace_plan();
    const auto& m = session.decoder().memories();
    CHECK(m.outputs.peak_bytes() == plan.outputs);
    CHECK(m.caches.peak_bytes() == plan.caches);
    CHECK(m.temporaries.peak_bytes() == plan.temporaries);
    CHECK(session.search_peak() == plan.search);
}

}  // namespace

TEST_CASE("a static model's workspace is planned to the byte") {
    check_plan<1>();
    check_plan<4>();  // pre-norm
    check_plan<6>();
}

TEST_CASE("translating tokens allocates nothing") {
    using Model = Tiny<2>::Model;
    const Tiny<2> tiny;
    alignas(64) static std::byte workspace[Model::workspace_bytes];
    Model::Session session(tiny.model, workspace);
    std::vector<std::int32_t> target(memory_limits.max_target);
    const std::size_t before = hat_test::allocations;
    const auto first = translate_long(session, target);
    const std::vector<std::int32_t> same = target;  // one allocation
    const auto second = translate_long(session, target);
    const std::size_t counted = hat_test::allocations - before;
    CHECK(counted == 1);
    REQUIRE(first.status == hat::TranslateStatus::ok);
    CHECK(second.score == first.score);
    CHECK(target == same);
}

TEST_CASE("a model compiled without exceptions and run-time type information runs") {
    CHECK(translate_without_exceptions() > 0);  // all weights are 0: every token is as good as another
}

TEST_CASE("what cannot be translated has a status, and the next sentence works") {
    using S = hat::TranslateStatus;
    using Model = Tiny<0>::Model;
    Tiny<0> tiny;
    hat::AlignedBuffer<std::byte> workspace(Model::workspace_bytes);
    Model::Session session(tiny.model, workspace.data());
    std::vector<std::int32_t> target(memory_limits.max_target), small(2);
    const auto status = [&](std::vector<std::int32_t> source, const hat::StaticSearch& how = {}) {
        return session.translate(source, target, how).status;
    };
    CHECK(status({}) == S::empty_source);
    CHECK(status(std::vector<std::int32_t>(memory_limits.max_source + 1, 5)) == S::source_too_long);
    CHECK(status({5, hat_test::words, 2}) == S::unknown_token);
    CHECK(status({-1, 2}) == S::unknown_token);
    CHECK(status(longest, {.length_penalty = std::numeric_limits<double>::quiet_NaN()}) == S::bad_options);
    CHECK(status(longest, {.unknown_penalty = std::numeric_limits<double>::infinity()}) == S::bad_options);
    CHECK(status(longest, {.min_length = memory_limits.max_target}) == S::bad_options);
    CHECK(status(longest, {.max_length_a = -1}) == S::bad_options);
    CHECK(status(longest, {.max_length_b = 0}) == S::bad_options);
    CHECK(session.translate(longest, small, {.min_length = 10}).status == S::target_too_small);
    CHECK(status(longest) == S::ok);
    reinterpret_cast<float*>(tiny.stored.data())[0] = std::numeric_limits<float>::quiet_NaN();
    CHECK(status(longest) == S::not_finite);
    for (const S s : {S::ok, S::empty_source, S::source_too_long, S::unknown_token, S::bad_options, S::target_too_small,
                      S::not_finite})
        CHECK(std::string(hat::message(s)).size() > 5);
}
