#include <doctest/doctest.h>

#include <algorithm>
#include <hat/train/batching.hpp>
#include <set>
#include <support/files.hpp>
#include <vector>

using hat_test::message_of;
using Ids = std::vector<std::int32_t>;

namespace {
/// Sentence i has lengths[i] tokens, the last one eos, the others i + 10: so that each can be recognised.
hat::Ragged make(const std::vector<std::size_t>& lengths) {
    hat::Ragged out;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        Ids ids(lengths[i], static_cast<std::int32_t>(i + 10));
        ids.back() = hat::SpecialTokens::eos;
        out.push_back(ids);
    }
    return out;
}

hat::Batches random_corpus(const hat::BatchOptions& options, std::size_t n = 1000) {
    hat::Rng rng(7);
    std::vector<std::size_t> s, t;
    for (std::size_t i = 0; i < n; ++i) {
        s.push_back(1 + rng.below(30));
        t.push_back(1 + rng.below(30));
    }
    return {make(s), make(t), options};
}
}  // namespace

TEST_CASE("Every sentence is in exactly one batch of an epoch and no batch is too large or wastefully small") {
    for (const std::size_t max_sentences : {std::size_t{0}, std::size_t{5}}) {
        const auto data = random_corpus({.max_tokens = 200, .max_sentences = max_sentences});
        for (const hat::BatchPlan& plan : {data.epoch(0), data.epoch(1), data.in_order()}) {
            std::multiset<std::size_t> seen;
            std::size_t tokens = 0;
            for (std::size_t i = 0; i < plan.size(); ++i) {
                REQUIRE(plan[i].size() > 0);
                if (max_sentences != 0) REQUIRE(plan[i].size() <= max_sentences);
                seen.insert(plan[i].begin(), plan[i].end());
                const auto batch = data.batch(plan, i);
                REQUIRE(batch.source.tokens.size() <= 200);
                REQUIRE(batch.target.tokens.size() <= 200);
                tokens += std::max(batch.source.tokens.size(), batch.target.tokens.size());
            }
            CHECK(seen.size() == 1000);
            CHECK(std::set<std::size_t>(seen.begin(), seen.end()).size() == 1000);
            if (max_sentences == 0) CHECK(tokens > plan.size() * 160);
        }
    }
}

TEST_CASE("A batch holds its sentences, and previous is the target with eos in front") {
    const hat::Batches data(make({3, 2}), make({2, 4}), {.max_tokens = 10});
    const auto plan = data.in_order();
    REQUIRE(plan.size() == 1);
    const hat::Batch batch = data.batch(plan, 0);
    CHECK(batch.source.tokens == Ids{10, 10, 2, 11, 2});
    CHECK(batch.target.tokens == Ids{10, 2, 11, 11, 11, 2});
    CHECK(batch.previous.tokens == Ids{2, 10, 2, 11, 11, 11});
    CHECK(batch.previous.offsets == batch.target.offsets);
    CHECK(batch.target_tokens() == 6);
}

TEST_CASE("The larger side counts, and a batch may be exactly full") {
    const auto sizes = [](std::size_t max_tokens) {
        const hat::Batches data(make({2, 2, 2}), make({3, 4, 3}), {.max_tokens = max_tokens});
        const auto plan = data.in_order();
        std::vector<std::size_t> out;
        for (std::size_t i = 0; i < plan.size(); ++i) out.push_back(plan[i].size());
        return out;
    };
    CHECK(sizes(10) == std::vector<std::size_t>{3});
    CHECK(sizes(9) == std::vector<std::size_t>{2, 1});
    CHECK(sizes(7) == std::vector<std::size_t>{2, 1});
    CHECK(sizes(6) == std::vector<std::size_t>{1, 1, 1});
}

TEST_CASE("Batches hold sentences of similar length") {
    const auto data = random_corpus({.max_tokens = 200});
    const auto plan = data.epoch(3);
    std::size_t wide = 0;
    for (std::size_t i = 0; i < plan.size(); ++i) {
        std::size_t least = 1000, most = 0;
        for (const std::size_t s : plan[i]) {
            least = std::min(least, data.source()[s].size());
            most = std::max(most, data.source()[s].size());
        }
        wide += most - least > 2;
    }
    CHECK(wide == 0);
}

TEST_CASE("An epoch depends on its number and the seed, and on nothing else") {
    const auto a = random_corpus({.max_tokens = 200, .seed = 5}), b = random_corpus({.max_tokens = 200, .seed = 5});
    const auto c = random_corpus({.max_tokens = 200, .seed = 6});
    b.epoch(0);
    const auto plan = a.epoch(4);
    CHECK(plan.sentences == b.epoch(4).sentences);
    CHECK(plan.offsets == b.epoch(4).offsets);
    CHECK(plan.sentences != a.epoch(5).sentences);
    CHECK(plan.sentences != c.epoch(4).sentences);
    // the order of batches is shuffled: the lengths do not rise
    std::vector<std::size_t> first;
    for (std::size_t i = 0; i < plan.size(); ++i) first.push_back(a.source()[plan[i][0]].size());
    CHECK_FALSE(std::is_sorted(first.begin(), first.end()));
    // and so are sentences of equal length: other batches, not only another order of them
    const auto partners = [&](const hat::BatchPlan& p) {
        std::set<std::set<std::size_t>> out;
        for (std::size_t i = 0; i < p.size(); ++i) out.insert({p[i].begin(), p[i].end()});
        return out;
    };
    CHECK(partners(plan) != partners(a.epoch(5)));
}

TEST_CASE("Sentences that are too long are an error or dropped and listed") {
    using TooLong = hat::BatchOptions::TooLong;
    CHECK(
        message_of<hat::invalid_value>([] {
            hat::Batches(make({3, 4, 3}), make({3, 9, 3}), {.max_tokens = 8});
        }) ==
        "batches: sentence 2 has 9 tokens; expected at most 8 (raise the limit or let too long sentences be dropped)");
    const hat::Batches data(make({3, 4, 6}), make({3, 9, 3}),
                            {.max_tokens = 8, .max_length = 5, .too_long = TooLong::drop});
    CHECK(data.dropped() == std::vector<std::size_t>{1, 2});
    CHECK(data.sentences() == 1);
    CHECK(data.epoch(0).sentences == std::vector<std::size_t>{0});
    CHECK(message_of<hat::invalid_value>([] {
              hat::Batches(make({9}), make({9}), {.max_tokens = 8, .too_long = TooLong::drop});
          }) == "batches: none of 1 sentences is left");
}

TEST_CASE("Bad corpora and options are named") {
    CHECK(message_of<hat::shape_mismatch>([] {
              hat::Batches(make({1, 1}), make({1}), {});
          }) == "batches: 2 source sentences, 1 target sentences; expected equal counts");
    CHECK(message_of<hat::invalid_value>([] { hat::Batches({}, {}, {}); }) == "batches: none of 0 sentences is left");
    hat::Ragged no_eos = make({2});
    no_eos.push_back(Ids{7, 8});
    CHECK(message_of<hat::invalid_value>([&] {
              hat::Batches(make({2, 2}), no_eos, {});
          }) == "batches: target sentence 2 does not end in eos (id 2)");
    hat::Ragged empty;
    empty.push_back({});
    CHECK(message_of<hat::invalid_value>([&] { hat::Batches(empty, make({1}), {}); }) ==
          "batches: source sentence 1 does not end in eos (id 2)");
    CHECK(message_of<hat::invalid_value>([] { hat::Batches(make({1}), make({1}), {.max_tokens = 0}); }) ==
          "batches: max_tokens = 0: expected 1 or more");
    CHECK(message_of<hat::invalid_value>([] {
              hat::Batches(make({1}), make({1}), {.max_tokens = 8, .max_length = 9});
          }) == "batches: max_length = 9 is more than max_tokens = 8: such a sentence fits in no batch");
}
