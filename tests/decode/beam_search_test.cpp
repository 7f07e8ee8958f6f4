#include <doctest/doctest.h>

#include <cmath>
#include <decode/models.hpp>
#include <hat/decode/beam_search.hpp>
#include <limits>
#include <support/files.hpp>

namespace {

using hat_test::contains;
using hat_test::message_of;
using hat_test::random_sentences;

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The rules of semantics.md, section 12, written down as plainly as possible: no caches, no batches, sorts everything.
std::vector<hat::Hypothesis> plain_search(hat::ElasticTransformer<double>& model, const hat::RuntimeArch& arch,
                                          std::span<const std::int32_t> source, const hat::BeamOptions& o,
                                          std::size_t max_length) {
    struct Prefix {
        std::vector<std::int32_t> tokens;
        std::vector<double> sums;
    };
    std::vector<Prefix> beams(1);
    std::vector<hat::Hypothesis> finished;
    for (std::size_t step = 0; step <= max_length && finished.size() < o.beam; ++step) {
        std::vector<Prefix> all;
        for (const Prefix& p : beams) {
            hat::Batch batch;
            std::vector<std::int32_t> previous{hat::SpecialTokens::eos};
            previous.insert(previous.end(), p.tokens.begin(), p.tokens.end());
            batch.source.push_back(source);
            batch.previous.push_back(previous);
            batch.target = batch.previous;
            const auto logits = model.logits(arch, batch);
            const std::size_t v = logits.shape()[1], row = previous.size() - 1;
            double sum = 0;
            for (std::size_t i = 0; i < v; ++i) sum += std::exp(logits(row, i));
            for (std::size_t i = 0; i < v; ++i) {
                double lp = logits(row, i) - std::log(sum);
                const auto token = static_cast<std::int32_t>(i);
                if (token == hat::SpecialTokens::unk) lp -= o.unknown_penalty;
                if (token == hat::SpecialTokens::pad || (token == hat::SpecialTokens::eos && step < o.min_length) ||
                    (token != hat::SpecialTokens::eos && step == max_length))
                    continue;
                Prefix next = p;
                next.tokens.push_back(token);
                next.sums.push_back((p.sums.empty() ? 0 : p.sums.back()) + lp);
                all.push_back(next);
            }
        }
        std::stable_sort(all.begin(), all.end(),
                         [](const Prefix& a, const Prefix& b) { return a.sums.back() > b.sums.back(); });
        all.resize(std::min(all.size(), 2 * o.beam));
        beams.clear();
        for (std::size_t i = 0; i < all.size(); ++i) {
            const Prefix& p = all[i];
            if (p.tokens.back() != hat::SpecialTokens::eos) {
                if (beams.size() < o.beam) beams.push_back(p);
            } else if (i < o.beam && finished.size() < o.beam) {
                hat::Hypothesis h{p.tokens, p.sums.back(), {}};
                if (o.normalize) h.score /= std::pow(static_cast<double>(p.tokens.size()), o.length_penalty);
                for (std::size_t t = 0; t < p.sums.size(); ++t)
                    h.positional_scores.push_back(p.sums[t] - (t ? p.sums[t - 1] : 0));
                finished.push_back(h);
            }
        }
    }
    std::stable_sort(finished.begin(), finished.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    finished.resize(std::min(finished.size(), o.n_best));
    return finished;
}

/// Weights whose softmax is peaked enough that hypotheses end and differ.
template <class T>
hat::Weights<T> peaked_weights(const hat::TransformerConfig& config, std::uint64_t seed) {
    auto w = hat_test::random_weights<T>(config, seed);
    for (T& v : w.tensor(w.layout().output_embedding())) v *= T(1.5);
    return w;
}

bool equal(const std::vector<hat::Hypothesis>& a, const std::vector<hat::Hypothesis>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return x.tokens == y.tokens && x.score == y.score && x.positional_scores == y.positional_scores;
    });
}

hat::TransformerConfig tiny_vocabulary(std::size_t vocabulary) {
    auto config = hat_test::small_config();
    config.source_vocab = config.target_vocab = vocabulary;
    return config;
}

}  // namespace

TEST_CASE("beam search equals the same rules written without caches and batches") {
    std::size_t early = 0, cut = 0;
    for (const std::size_t vocabulary : {6u, 61u})
        for (std::uint64_t seed = 1; seed <= 4; ++seed) {
            CAPTURE(vocabulary);
            CAPTURE(seed);
            const auto config = tiny_vocabulary(vocabulary);
            const auto weights = peaked_weights<double>(config, seed);
            const auto arch = hat_test::small_sub();
            hat::ElasticTransformer<double> plain(weights);
            const hat::InferenceModel<double> model(weights, arch);
            hat::InferenceSession<double> session(model);
            const auto sources = random_sentences({6, 1, 11}, vocabulary, seed + 70);
            for (hat::BeamOptions o :
                 {hat::BeamOptions{.beam = 1, .max_length_b = 12}, hat::BeamOptions{.beam = 4, .max_length_b = 9},
                  hat::BeamOptions{.beam = 5, .length_penalty = 0.6, .max_length_a = 0.5, .max_length_b = 3},
                  hat::BeamOptions{.beam = 3, .normalize = false, .min_length = 0, .max_length_b = 8},
                  hat::BeamOptions{.beam = 3, .unknown_penalty = 2.5, .min_length = 4, .max_length_b = 8}}) {
                CAPTURE(o.beam);
                o.n_best = o.beam;
                const auto found = hat::beam_search(session, sources, o);
                REQUIRE(found.size() == sources.size());
                for (std::size_t i = 0; i < sources.size(); ++i) {
                    CAPTURE(i);
                    const auto limit =
                        static_cast<std::size_t>(o.max_length_a * static_cast<double>(sources[i].size())) +
                        o.max_length_b;
                    const auto expected = plain_search(plain, arch, sources[i], o, limit);
                    REQUIRE(found[i].size() == expected.size());
                    for (std::size_t k = 0; k < expected.size(); ++k) {
                        CHECK(found[i][k].tokens == expected[k].tokens);
                        CHECK(found[i][k].score == doctest::Approx(expected[k].score).epsilon(1e-9));
                        REQUIRE(found[i][k].positional_scores.size() == expected[k].tokens.size());
                        for (std::size_t t = 0; t < expected[k].tokens.size(); ++t)
                            CHECK(found[i][k].positional_scores[t] ==
                                  doctest::Approx(expected[k].positional_scores[t]).epsilon(1e-9));
                        CHECK(expected[k].tokens.size() > o.min_length);
                        ++(expected[k].tokens.size() <= limit ? early : cut);
                    }
                }
            }
        }
    CHECK(early > 20);  // the test sees both ways a hypothesis can end
    CHECK(cut > 20);
}

TEST_CASE("a translation depends neither on its batch nor on the threads") {
    const auto config = hat_test::small_config(true);
    const auto weights = peaked_weights<float>(config, 3);
    const hat::InferenceModel<float> model(weights, hat_test::small_sub());
    const auto sources = random_sentences({9, 3, 30, 1, 17, 3}, config.source_vocab, 5);
    const hat::BeamOptions options{.beam = 4, .max_length_a = 1, .max_length_b = 5, .n_best = 4};
    hat::InferenceSession<float> one(model), two(model, hat::ThreadPool(3));
    const auto together = hat::beam_search(one, sources, options);
    const auto threads = hat::beam_search(two, sources, options);
    for (std::size_t i = 0; i < sources.size(); ++i) {
        CAPTURE(i);
        hat::Ragged single;
        single.push_back(sources[i]);
        CHECK(equal(together[i], hat::beam_search(one, single, options)[0]));
        CHECK(equal(together[i], threads[i]));
    }
    // parity: the longest source gives every sentence its limit
    auto by_batch = options;
    by_batch.max_length_by_batch = true;
    std::size_t longest = 0;
    const auto unlimited = hat::beam_search(one, sources, by_batch);
    for (const auto& h : unlimited[3]) longest = std::max(longest, h.tokens.size());
    CHECK(together[3][0].tokens.size() <= 7);
    CHECK(longest > 7);
    CHECK(longest <= 36);
}

TEST_CASE("n_best cuts the sorted list; greedy search takes the largest logit") {
    const auto config = hat_test::small_config();
    const auto weights = peaked_weights<float>(config, 3);
    const hat::InferenceModel<float> model(weights, hat_test::small_sub());
    hat::InferenceSession<float> session(model);
    const auto sources = random_sentences({9, 4}, config.source_vocab, 5);
    const auto all = hat::beam_search(session, sources, {.beam = 5, .max_length_b = 20, .n_best = 5});
    const auto two = hat::beam_search(session, sources, {.beam = 5, .max_length_b = 20, .n_best = 2});
    for (std::size_t i = 0; i < 2; ++i) {
        REQUIRE(all[i].size() == 5);
        REQUIRE(two[i].size() == 2);
        for (std::size_t k = 0; k < 5; ++k) {
            CHECK(all[i][k].tokens.back() == hat::SpecialTokens::eos);
            if (k > 0) CHECK(all[i][k - 1].score >= all[i][k].score);
            if (k < 2) CHECK(two[i][k].tokens == all[i][k].tokens);
        }
    }

    const auto greedy = hat::beam_search(session, sources, {.beam = 1, .min_length = 0, .max_length_b = 15});
    for (std::size_t i = 0; i < 2; ++i) {
        hat::Ragged single;
        single.push_back(sources[i]);
        session.encode(single);
        session.start(1);
        std::vector<std::int32_t> tokens;
        std::vector<std::size_t> parents;
        for (std::int32_t last = 2; tokens.empty() || (last != 2 && tokens.size() < 15); parents = {0}) {
            const auto logits = session.step(std::span(&last, 1), parents);
            logits(0, 1) = -1000;
            last =
                static_cast<std::int32_t>(std::max_element(logits.row(0), logits.row(0) + logits.cols) - logits.row(0));
            tokens.push_back(last);
        }
        if (tokens.back() != 2) tokens.push_back(2);
        CHECK(greedy[i][0].tokens == tokens);
    }
}

TEST_CASE("fewer words than beams: every hypothesis there is, and no other") {
    const auto config = tiny_vocabulary(5);  // one word beside the special tokens
    const auto weights = peaked_weights<float>(config, 3);
    const hat::InferenceModel<float> model(weights, hat_test::small_sub());
    hat::InferenceSession<float> session(model);
    const auto found =
        hat::beam_search(session, random_sentences({4}, 5, 5), {.beam = 16, .max_length_b = 2, .n_best = 16});
    // bos, unk or the word, once or twice, then eos
    CHECK(found[0].size() == 12);
    for (std::size_t i = 0; i < found[0].size(); ++i)
        for (std::size_t k = 0; k < i; ++k) CHECK(found[0][i].tokens != found[0][k].tokens);
}

TEST_CASE("the best of a row are those of a full sort, also among equal numbers") {
    hat::Rng rng(4);
    for (const std::size_t n : {1u, 5u, 256u, 257u, 5000u, 40000u})
        for (const std::size_t k : {1u, 2u, 10u, 64u})
            for (int kind = 0; kind < 4; ++kind) {
                std::vector<float> x(n);
                for (float& v : x)
                    v = kind == 0   ? static_cast<float>(rng.normal())
                        : kind == 1 ? static_cast<float>(rng.below(7))
                        : kind == 2 ? -1.0f
                                    : (rng.below(3) ? -std::numeric_limits<float>::infinity()
                                                    : static_cast<float>(rng.normal()));
                std::vector<std::int32_t> order;
                for (std::size_t i = 0; i < n; ++i)
                    if (x[i] > -std::numeric_limits<float>::infinity()) order.push_back(static_cast<std::int32_t>(i));
                std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
                    return x[static_cast<std::size_t>(a)] > x[static_cast<std::size_t>(b)];
                });
                order.resize(std::min(order.size(), k));
                const std::size_t blocks = hat::detail::maxima_blocks(n);
                std::vector<float> maxima(blocks), sorted(blocks);
                std::vector<hat::detail::Continuation<float>> found(k);
                hat::detail::block_maxima(x.data(), n, maxima.data());
                REQUIRE(hat::detail::best_of_row(x.data(), n, k, maxima.data(), sorted.data(), found.data()) ==
                        order.size());
                for (std::size_t i = 0; i < order.size(); ++i) {
                    REQUIRE(found[i].token == order[i]);
                    CHECK(found[i].logit == x[static_cast<std::size_t>(order[i])]);
                }
            }
}

TEST_CASE("options no search can have are refused") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<float>(config, 3);
    const hat::InferenceModel<float> model(weights, hat_test::small_sub());
    hat::InferenceSession<float> session(model);
    const auto sources = random_sentences({3}, 61, 1);
    const auto refused = [&](const hat::BeamOptions& o) {
        return message_of<hat::invalid_value>([&] { hat::beam_search(session, sources, o); });
    };
    CHECK(contains(refused({.beam = 0}), "beam is 0, expected 1 to 1024"));
    CHECK(contains(refused({.beam = 4, .n_best = 5}), "n_best is 5, expected 1 to the beam, 4"));
    CHECK(contains(refused({.n_best = 0}), "n_best is 0"));
    CHECK(contains(refused({.length_penalty = infinity}), "length_penalty is not finite"));
    CHECK(contains(refused({.unknown_penalty = std::nan("")}), "unknown_penalty is not finite"));
    CHECK(contains(refused({.max_length_a = -0.5}), "max_length_a is -0.5"));
    CHECK(contains(refused({.max_length_b = 0}), "max_length_a and max_length_b are both 0"));
    CHECK(contains(refused({.min_length = 9, .max_length_b = 8}), "min_length is 9, which max_length_b 8"));
    CHECK(contains(refused({.min_length = 20, .max_positions = 20}), "max_positions 20 does not allow"));
    CHECK(contains(refused({.max_positions = 1}), "max_positions is 1, expected at least 2"));

    CHECK(hat::beam_search(session, {}).empty());
    hat::Ragged bad;
    bad.push_back(std::vector<std::int32_t>{3, 99, 2});
    CHECK(contains(message_of<hat::invalid_value>([&] { hat::beam_search(session, bad); }),
                   "source token 99 is outside the vocabulary"));
    CHECK(hat::beam_search(session, sources, {.max_positions = 4})[0][0].tokens.size() <= 4);
}

TEST_CASE("a model that gives NaN is an error, not a translation") {
    const auto config = hat_test::small_config();
    auto weights = hat_test::random_weights<float>(config, 3);
    weights.tensor(weights.layout().decoder()[0].fc1_bias)[0] = std::numeric_limits<float>::quiet_NaN();
    const hat::InferenceModel<float> model(weights, hat_test::small_sub());
    hat::InferenceSession<float> session(model, hat::ThreadPool(2));
    CHECK(contains(message_of<hat::not_finite>([&] { hat::beam_search(session, random_sentences({3}, 61, 1)); }),
                   "logits of step 0 of sentence 0 are not finite"));
}
