#include <doctest/doctest.h>

#include <cmath>
#include <hat/decode/inference.hpp>
#include <support/golden.hpp>
#include <support/numbers.hpp>

TEST_CASE("incremental logits equal the reference's wherever the prefix is no padding") {
    const hat_test::Golden golden;
    REQUIRE(!golden.manifest().at("cases").empty());
    for (const auto& c : golden.manifest().at("cases")) {
        CAPTURE(c.at("file").get<std::string>());
        const auto variant = c.at("variant").get<std::string>();
        const auto arrays = golden.npz(c.at("file").get<std::string>());
        const auto weights = golden.weights<float>(variant);
        const auto& previous = at(arrays, "prev_output_tokens");
        const auto& expected = at(arrays, "incremental_logits");
        const std::size_t rows = previous.shape.at(0), length = previous.shape.at(1), vocabulary = expected.shape.at(2);
        REQUIRE(expected.shape.at(1) == length);

        const hat::InferenceModel<float> model(weights, golden.arch(c.at("config"), variant));
        REQUIRE(model.target_vocab() == vocabulary);
        hat::InferenceSession<float> session(model);
        session.encode(hat_test::without_padding(at(arrays, "src_tokens")));
        session.start(1);
        std::vector<std::size_t> parents;
        double worst = 0;
        std::size_t compared = 0;
        for (std::size_t t = 0; t < length; ++t) {
            std::vector<std::int32_t> tokens;
            for (std::size_t r = 0; r < rows; ++r) tokens.push_back(previous.ints[r * length + t]);
            const auto logits = session.step(tokens, parents);
            if (t == 0)
                for (std::size_t r = 0; r < rows; ++r) parents.push_back(r);
            for (std::size_t r = 0; r < rows; ++r) {
                if (tokens[r] == hat::SpecialTokens::pad) continue;
                ++compared;
                for (std::size_t v = 0; v < vocabulary; ++v)
                    worst = hat_test::worse(
                        worst, std::abs(static_cast<double>(logits(r, v)) -
                                        static_cast<double>(expected.floats[(r * length + t) * vocabulary + v])));
            }
        }
        CHECK(compared > 0);
        CHECK(worst < 1e-4);
    }
}
