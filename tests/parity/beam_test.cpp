#include <doctest/doctest.h>

#include <hat/decode/beam_search.hpp>
#include <support/golden.hpp>

TEST_CASE("beam search finds the reference's hypotheses with their scores") {
    const hat_test::Golden golden;
    REQUIRE(!golden.manifest().at("beam").empty());
    std::size_t index = 0;
    for (const auto& c : golden.manifest().at("beam")) {
        CAPTURE(index++);
        const auto variant = c.at("variant").get<std::string>();
        CAPTURE(variant);
        const auto weights = golden.weights<float>(variant);
        const hat::InferenceModel<float> model(weights, golden.arch(c.at("config"), variant));
        hat::InferenceSession<float> session(model, hat::ThreadPool(2));

        hat::Ragged sources;
        for (const auto& row : c.at("src_tokens")) {
            std::vector<std::int32_t> sentence;
            for (const auto& token : row)
                if (token.get<std::int32_t>() != hat::SpecialTokens::pad) sentence.push_back(token.get<std::int32_t>());
            sources.push_back(sentence);
        }
        const auto& s = c.at("settings");
        hat::BeamOptions options;
        options.beam = options.n_best = s.at("beam_size").get<std::size_t>();
        options.max_length_a = s.at("max_len_a").get<double>();
        options.max_length_b = s.at("max_len_b").get<std::size_t>();
        options.min_length = s.at("min_len").get<std::size_t>();
        options.normalize = s.at("normalize_scores").get<bool>();
        options.length_penalty = s.at("len_penalty").get<double>();
        options.unknown_penalty = s.at("unk_penalty").get<double>();
        options.max_length_by_batch = true;

        const auto found = hat::beam_search(session, sources, options);
        const auto& expected = c.at("hypotheses");
        REQUIRE(found.size() == expected.size());
        for (std::size_t i = 0; i < found.size(); ++i) {
            CAPTURE(i);
            REQUIRE(found[i].size() == expected[i].size());
            for (std::size_t k = 0; k < found[i].size(); ++k) {
                CAPTURE(k);
                CHECK(found[i][k].tokens == expected[i][k].at("tokens").get<std::vector<std::int32_t>>());
                CHECK(std::abs(found[i][k].score - expected[i][k].at("score").get<double>()) < 1e-4);
                const auto positional = expected[i][k].at("positional_scores").get<std::vector<double>>();
                REQUIRE(found[i][k].positional_scores.size() == positional.size());
                for (std::size_t t = 0; t < positional.size(); ++t)
                    CHECK(std::abs(found[i][k].positional_scores[t] - positional[t]) < 1e-4);
            }
        }
    }
}
