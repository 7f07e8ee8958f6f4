#include <doctest/doctest.h>

#include <decode/models.hpp>
#include <hat/decode/inference.hpp>
#include <support/allocations.hpp>
#include <support/files.hpp>

namespace {

using hat_test::allocations;
using hat_test::contains;
using hat_test::message_of;
using hat_test::random_sentences;

/// The logits of the last of `prefix`'s positions by a full forward pass.
template <class T>
std::vector<T> full_logits(hat::ElasticTransformer<T>& model, const hat::RuntimeArch& arch,
                           std::span<const std::int32_t> source, std::span<const std::int32_t> prefix,
                           hat::Precision precision) {
    hat::Batch batch;
    batch.source.push_back(source);
    batch.previous.push_back(prefix);
    batch.target = batch.previous;
    const auto logits = model.logits(arch, batch, precision);
    const std::size_t v = logits.shape()[1];
    return {logits.data() + (prefix.size() - 1) * v, logits.data() + prefix.size() * v};
}

/// Decodes `steps` random tokens with random reordering and sentences that finish early; every row's logits must equal
/// those of the full forward pass over its own prefix.
template <class T>
void check_incremental(const hat::TransformerConfig& config, const hat::RuntimeArch& arch, std::size_t beam,
                       std::size_t steps, std::size_t threads, hat::Precision precision = hat::Precision::fp32) {
    CAPTURE(beam);
    CAPTURE(threads);
    const auto weights = hat_test::random_weights<T>(config, 5);
    const hat::Ragged sources = random_sentences({7, 1, 40, 3}, config.source_vocab, 9);
    hat::ElasticTransformer<T> reference(weights);
    const hat::InferenceModel<T> model(weights, arch, precision);
    hat::InferenceSession<T> session(model, hat::ThreadPool(threads));
    session.encode(sources);
    REQUIRE(session.sentences() == sources.size());
    session.start(beam);

    hat::Rng rng(3);
    std::vector<std::size_t> sentence(sources.size() * beam);
    for (std::size_t r = 0; r < sentence.size(); ++r) sentence[r] = r / beam;
    std::vector<std::vector<std::int32_t>> prefixes(sentence.size());
    std::vector<std::size_t> parents;
    for (std::size_t step = 0; step < steps; ++step) {
        CAPTURE(step);
        if (step > 0) {
            const std::size_t groups = sentence.size() / beam;
            const std::size_t leaves = groups > 1 && step % 5 == 0 ? rng.below(groups) : groups;
            std::vector<std::size_t> kept;
            std::vector<std::vector<std::int32_t>> next;
            parents.clear();
            for (std::size_t g = 0; g < groups; ++g)
                for (std::size_t b = 0; b < beam && g != leaves; ++b) {
                    parents.push_back(g * beam + rng.below(beam));
                    kept.push_back(sentence[g * beam]);
                    next.push_back(prefixes[parents.back()]);
                }
            sentence = kept;
            prefixes = next;
        }
        std::vector<std::int32_t> tokens;
        for (auto& p : prefixes) {
            p.push_back(step == 0 ? hat::SpecialTokens::eos
                                  : static_cast<std::int32_t>(rng.below(config.target_vocab)));
            tokens.push_back(p.back());
        }
        const auto logits = session.step(tokens, parents);
        CHECK(session.length() == step + 1);
        REQUIRE(logits.rows == prefixes.size());
        REQUIRE(logits.cols == config.target_vocab);
        for (std::size_t r = 0; r < prefixes.size(); ++r) {
            const auto expected = full_logits<T>(reference, arch, sources[sentence[r]], prefixes[r], precision);
            REQUIRE(std::equal(expected.begin(), expected.end(), logits.row(r)));  // to the bit
        }
    }
}

}  // namespace

TEST_CASE("incremental logits equal the full forward pass to the bit, with reordered beams and finished sentences") {
    for (const bool pre_norm : {false, true}) {
        CAPTURE(pre_norm);
        const auto config = hat_test::small_config(pre_norm);
        check_incremental<float>(config, hat_test::small_sub(), 3, 37, 1);
        check_incremental<float>(config, config.shape, 1, 35, 2);
        check_incremental<double>(config, hat_test::small_sub(), 5, 12, 2);
    }
    check_incremental<float>(hat_test::small_config(true, hat::EmbeddingSharing::none), hat_test::small_sub(), 4, 12,
                             1);
    check_incremental<float>(hat_test::small_config(false, hat::EmbeddingSharing::decoder_input_output),
                             hat_test::small_sub(), 2, 12, 1);
}

TEST_CASE("incremental logits of products in bfloat16, of one or three parts, equal the full forward pass to the bit") {
    for (const auto precision : {hat::Precision::bf16, hat::Precision::bf16x3}) {
        const auto config = hat_test::small_config(precision == hat::Precision::bf16);
        check_incremental<float>(config, hat_test::small_sub(), 3, 12, 1, precision);
        check_incremental<float>(config, config.shape, 1, 5, 2, precision);
        // they are not fp32's where they need not be
        const auto weights = hat_test::random_weights<float>(config, 5);
        const hat::Ragged sources = random_sentences({7}, config.source_vocab, 9);
        hat::ElasticTransformer<float> model(weights);
        const std::vector<std::int32_t> prefix{hat::SpecialTokens::eos};
        const auto plain = full_logits<float>(model, config.shape, sources[0], prefix, hat::Precision::fp32);
        const auto rounded = full_logits<float>(model, config.shape, sources[0], prefix, precision);
        double apart = 0, size = 0;
        for (std::size_t i = 0; i < plain.size(); ++i)
            apart = std::max(apart, static_cast<double>(std::abs(plain[i] - rounded[i]))),
            size = std::max(size, static_cast<double>(std::abs(plain[i])));
        CAPTURE(apart / size);
        CHECK((apart > 0) == (precision == hat::Precision::bf16 || hat::simd::tiles_usable()));
        CHECK(apart < size * (precision == hat::Precision::bf16 ? 0.05 : 2e-6));
    }
    const auto weights = hat_test::random_weights<double>(hat_test::small_config(), 5);
    CHECK(contains(message_of<hat::invalid_value>(
                       [&] { hat::InferenceModel<double>(weights, weights.config().shape, hat::Precision::bf16x3); }),
                   "hat::InferenceModel: precision is bf16x3, which needs a model of floats"));
}

TEST_CASE("every attention span decodes as the full forward pass, clamped to the active depth") {
    const auto config = hat_test::small_config(true);
    for (int span = 1; span <= 3; ++span)
        for (const int depth : {1, 2, 4}) {
            CAPTURE(span);
            CAPTURE(depth);
            auto arch = config.shape;
            arch.encoder.layers = depth;
            std::fill_n(arch.decoder.cross_span.begin(), 4, span);
            check_incremental<float>(config, arch, 2, 4, 1);
        }
}

TEST_CASE("wide heads decode as the full forward pass") {
    auto config = hat_test::small_config();
    config.shape = hat_test::small_arch(64, 64, 300, 2);
    for (std::size_t i = 0; i < 2; ++i)
        config.shape.decoder.self_heads[i] = config.shape.decoder.cross_heads[i] = i ? 1 : 2;
    check_incremental<float>(config, config.shape, 2, 6, 1);
}

TEST_CASE("encoding in groups does not change a sentence, whatever the batch") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<float>(config, 8);
    const hat::InferenceModel<float> model(weights, hat_test::small_sub());
    hat::InferenceSession<float> all(model), one(model);
    const auto sources = random_sentences({300, 290, 20, 700, 5}, config.source_vocab, 1);
    all.encode(sources);
    all.start(2);
    const std::vector<std::int32_t> tokens(10, 2);
    const auto batch = all.step(tokens);
    for (std::size_t i = 0; i < sources.size(); ++i) {
        hat::Ragged single;
        single.push_back(sources[i]);
        one.encode(single);
        one.start(2);
        const auto logits = one.step(std::span(tokens).first(2));
        CHECK(std::equal(logits.row(0), logits.row(0) + logits.cols, batch.row(2 * i)));
    }
}

TEST_CASE("steps allocate nothing once a batch of that size was decoded") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<float>(config, 2);
    const hat::InferenceModel<float> model(weights, hat_test::small_sub());
    hat::InferenceSession<float> session(model);
    const auto sources = random_sentences({9, 14}, config.source_vocab, 4);
    const std::vector<std::int32_t> tokens(8, 7);
    const std::vector<std::size_t> parents{1, 0, 2, 2, 4, 4, 7, 5};
    std::size_t counted = 1;
    for (int pass = 0; pass < 2; ++pass) {
        session.encode(sources);
        session.start(4);
        const std::size_t before = allocations;
        session.step(tokens);
        for (int i = 1; i < 70; ++i) session.step(tokens, parents);
        counted = allocations - before;
    }
    CHECK(counted == 0);
}

TEST_CASE("a model may share its weights") {
    auto weights =
        std::make_shared<const hat::Weights<float>>(hat_test::random_weights<float>(hat_test::small_config(), 2));
    const hat::InferenceModel<float> refers(*weights, hat_test::small_sub());
    const auto sources = random_sentences({9}, 61, 4);
    const std::vector<std::int32_t> tokens(1, 2);
    hat::InferenceSession<float> a(refers);
    a.encode(sources);
    a.start(1);
    const auto x = a.step(tokens);
    const hat::InferenceModel<float> shares(weights, hat_test::small_sub());
    CHECK(weights.use_count() == 2);
    hat::InferenceSession<float> b(shares);
    b.encode(sources);
    b.start(1);
    const auto y = b.step(tokens);
    CHECK(std::equal(x.row(0), x.row(0) + x.cols, y.row(0)));
}

TEST_CASE("a model that takes its weights over packs them in place and gives the same numbers") {
    using Sharing = hat::EmbeddingSharing;
    // a SubTransformer, one that is all of its weights, and one of full panels only
    const auto odd = hat_test::small_config().shape, full = hat_test::small_arch(32, 32, 64, 2);
    for (const auto& [shape, arch] : {std::pair(odd, hat_test::small_sub()), {odd, odd}, {full, full}})
        for (const auto sharing : {Sharing::all, Sharing::decoder_input_output, Sharing::none})
            for (const bool pre_norm : {false, true}) {
                auto config = hat_test::small_config(pre_norm, sharing);
                config.shape = shape;
                const auto weights = hat_test::random_weights<float>(config, 5);
                const hat::InferenceModel<float> copies(weights, arch);
                const hat::InferenceModel<float> owns(hat::Weights<float>(weights), arch);
                hat::InferenceSession<float> a(copies), b(owns);
                for (auto* session : {&a, &b}) {
                    session->encode(random_sentences({9, 4}, 61, 4));
                    session->start(2);
                }
                std::vector<std::int32_t> tokens(4, 2);
                const std::vector<std::size_t> parents{1, 0, 3, 2};
                for (std::size_t step = 0; step < 3; ++step) {
                    const auto x = step ? a.step(tokens, parents) : a.step(tokens);
                    const auto y = step ? b.step(tokens, parents) : b.step(tokens);
                    for (std::size_t r = 0; r < 4; ++r) {
                        CHECK(std::equal(x.row(r), x.row(r) + x.cols, y.row(r)));
                        tokens[r] = static_cast<std::int32_t>(4 + 17 * r + step);
                    }
                }
            }
}

TEST_CASE("wrong use of a session is refused with the value and what was expected") {
    const auto config = hat_test::small_config();
    const auto weights = hat_test::random_weights<float>(config, 2);
    CHECK(contains(message_of<hat::shape_mismatch>(
                       [&] { hat::InferenceModel<float>(weights, hat_test::small_arch(64, 24, 40, 3)); }),
                   "encoder embedding width is 64, but the weights hold at most 48"));
    const hat::InferenceModel<float> model(weights, hat_test::small_sub());
    hat::InferenceSession<float> session(model);
    const auto error = [&](auto&& f) { return message_of<hat::error>(f); };
    const std::vector<std::int32_t> tokens{2, 2, 2, 2};

    CHECK(contains(error([&] { session.start(1); }), "start() without encoded sentences"));
    CHECK(contains(error([&] { session.step(tokens); }), "step() before start()"));
    hat::Ragged bad;
    bad.push_back(std::vector<std::int32_t>{5, 61, 2});
    CHECK(contains(error([&] { session.encode(bad); }), "source token 61 is outside the vocabulary of 61"));
    bad.clear();
    bad.push_back({});
    CHECK(contains(error([&] { session.encode(bad); }), "source sentence 0 is empty"));
    CHECK(contains(error([&] { session.start(1); }), "start() without encoded sentences"));

    session.encode(random_sentences({3, 4}, 61, 1));
    CHECK(contains(error([&] { session.start(0); }), "beam is 0, expected at least 1"));
    session.start(2);
    CHECK(contains(error([&] { session.step(std::span(tokens).first(3)); }),
                   "3 tokens are no positive multiple of the beam 2"));
    CHECK(contains(error([&] { session.step({}); }), "0 tokens are no positive multiple of the beam 2"));
    CHECK(contains(error([&] { session.step(std::span(tokens).first(2)); }),
                   "2 tokens and 0 parents, expected 4 and none"));
    CHECK(contains(error([&] {
                       session.step(std::vector<std::int32_t>{2, 2, 2, 61});
                   }),
                   "step 0: token 61 is outside the vocabulary of 61"));
    CHECK(contains(error([&] { session.step(std::vector<std::int32_t>{2, -1, 2, 2}); }), "token -1"));
    session.step(tokens);
    const auto step = [&](std::vector<std::size_t> parents) { return error([&] { session.step(tokens, parents); }); };
    CHECK(contains(step({}), "step 1: 4 tokens and 0 parents, expected as many of both"));
    CHECK(contains(step({0, 1, 2, 4}), "row 3 has parent 4, expected a row below 4"));
    CHECK(contains(step({0, 2, 2, 3}), "row 1 has parent 2"));
    CHECK(contains(step({2, 3, 0, 1}), "sentences must keep their order"));
    CHECK(contains(step({2, 3, 2, 3}), "sentences must keep their order"));
    CHECK(step({1, 1, 2, 3}).empty());
}
