#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <hat/text/bleu.hpp>
#include <hat/text/chrf.hpp>
#include <hat/text/significance.hpp>
#include <support/files.hpp>

using hat_test::message_of;

namespace {
/// The mean of some numbers: a metric whose spread is known in closed form.
struct Mean {
    using Stats = std::array<std::int64_t, 2>;  // sum, count
    Stats segment(std::string_view, std::string_view) const { return {0, 1}; }
    double score(const Stats& s) const { return static_cast<double>(s[0]) / static_cast<double>(s[1]); }
};
static_assert(hat::CorpusMetric<Mean>);

std::vector<Mean::Stats> numbers(std::uint64_t seed, std::int64_t shift, std::size_t n = 400) {
    hat::Rng rng(seed);
    std::vector<Mean::Stats> out;
    for (std::size_t i = 0; i < n; ++i) out.push_back({static_cast<std::int64_t>(rng.below(101)) + shift, 1});
    return out;
}
}  // namespace

TEST_CASE("The bootstrap interval of a mean is the one theory gives") {
    const auto data = numbers(3, 0);
    double mean = 0, square = 0;
    for (const auto& s : data) mean += static_cast<double>(s[0]) / 400;
    for (const auto& s : data) square += std::pow(static_cast<double>(s[0]) - mean, 2) / 400;
    const double expected = 1.96 * std::sqrt(square / 400);
    const auto interval = hat::bootstrap(Mean{}, data, 4000);
    CHECK(interval.score == doctest::Approx(mean));
    CHECK(std::abs(interval.mean - mean) < expected / 10);
    CHECK(interval.half_width() == doctest::Approx(expected).epsilon(0.1));
    CHECK(interval.low < mean);
    CHECK(interval.high > mean);
}

TEST_CASE("Equal systems get p = 1") {
    const auto data = numbers(3, 0);
    CHECK(hat::paired_bootstrap(Mean{}, data, data, 200).p_value == 1.0);
    CHECK(hat::paired_randomization(Mean{}, data, data, 200).p_value == 1.0);
}

TEST_CASE("A clear difference is significant, a chance one is not") {
    const auto a = numbers(3, 0), better = numbers(4, 20);
    for (const auto& result :
         {hat::paired_bootstrap(Mean{}, a, better), hat::paired_randomization(Mean{}, a, better)}) {
        CHECK(result.system > result.baseline + 10);
        CHECK(result.p_value < 0.01);
    }
    CHECK(hat::paired_randomization(Mean{}, a, better, 1000).p_value == doctest::Approx(1.0 / 1001));
    // systems drawn alike: p is spread over [0, 1], so few of 40 pairs are below 0.05
    int low = 0, high = 0;
    for (std::uint64_t i = 0; i < 40; ++i) {
        const double p =
            hat::paired_randomization(Mean{}, numbers(100 + i, 0, 100), numbers(200 + i, 0, 100), 300).p_value;
        low += p < 0.05;
        high += p > 0.5;
    }
    CHECK(low <= 6);
    CHECK(high >= 10);
}

TEST_CASE("The randomization test is exact for a case one can count") {
    // four sentences, the system better by 1 in each: of the 16 swaps only none and all are as far apart
    const std::vector<Mean::Stats> a(4, {0, 1}), b(4, {1, 1});
    CHECK(hat::paired_randomization(Mean{}, a, b, 20000).p_value == doctest::Approx(2.0 / 16).epsilon(0.05));
}

TEST_CASE("The tests are symmetric in sign and repeatable by seed") {
    const auto a = numbers(3, 0), b = numbers(9, 3);
    const auto ab = hat::paired_bootstrap(Mean{}, a, b, 500, 7), ba = hat::paired_bootstrap(Mean{}, b, a, 500, 7);
    CHECK(ab.p_value == ba.p_value);
    CHECK(ab.p_value == hat::paired_bootstrap(Mean{}, a, b, 500, 7).p_value);
    CHECK(hat::bootstrap(Mean{}, a, 100, 1).low == hat::bootstrap(Mean{}, a, 100, 1).low);
    CHECK(hat::bootstrap(Mean{}, a, 100, 1).mean != hat::bootstrap(Mean{}, a, 100, 2).mean);
}

TEST_CASE("BLEU and chrF can be tested") {
    std::vector<std::string> reference, good, bad;
    for (int i = 0; i < 60; ++i) {
        const std::string n = std::to_string(i);
        reference.push_back("this is sentence number " + n + " of a short text");
        good.push_back(i % 5 != 0 ? reference.back() : "this is number " + n + " of a text");
        bad.push_back(i % 2 != 0 ? reference.back() : "number " + n + " is of this short text");
    }
    const auto test = [&](const auto& metric) {
        const auto a = hat::segment_statistics(metric, bad, reference);
        const auto b = hat::segment_statistics(metric, good, reference);
        const auto result = hat::paired_bootstrap(metric, a, b);
        CHECK(result.system == doctest::Approx(metric.score(hat::sum_statistics(b))));
        CHECK(result.p_value < 0.05);
        CHECK(hat::paired_randomization(metric, a, b, 1000).p_value < 0.05);
        const auto interval = hat::bootstrap(metric, b);
        CHECK(interval.low < interval.score);
        CHECK(interval.high > interval.score);
    };
    test(hat::Bleu{});
    test(hat::Chrf{});
}

TEST_CASE("Calls that make no sense are named") {
    const auto a = numbers(1, 0, 3), b = numbers(1, 0, 4);
    CHECK(message_of<hat::invalid_value>([&] { hat::paired_bootstrap(Mean{}, a, b); }) ==
          "significance: one system has 3 sentences, the other 4; expected the same sentences");
    CHECK_THROWS_AS(hat::paired_randomization(Mean{}, a, b), hat::invalid_value);
    CHECK(message_of<hat::invalid_value>([] { hat::bootstrap(Mean{}, {}); }) == "significance: there are no sentences");
    CHECK(message_of<hat::invalid_value>([&] { hat::bootstrap(Mean{}, a, 0); }) ==
          "significance: 0 resamples; expected 1 or more (1000 is usual)");
}
