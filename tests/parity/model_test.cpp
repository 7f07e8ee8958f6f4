#include <doctest/doctest.h>

#include <cmath>
#include <hat/model/elastic.hpp>
#include <set>
#include <support/golden.hpp>
#include <support/numbers.hpp>

namespace {

/// A time x batch x channel array at the positions that are no padding, in the order of a ragged batch.
std::vector<float> unpadded_tbc(const hat_test::NpzArray& a, const hat_test::NpzArray& tokens) {
    const std::size_t batch = a.shape.at(1), channels = a.shape.at(2), length = tokens.shape.at(1);
    std::vector<float> out;
    for (const std::size_t at : hat_test::kept_positions(tokens)) {
        const std::size_t b = at / length, t = at % length;
        const float* from = a.floats.data() + (t * batch + b) * channels;
        out.insert(out.end(), from, from + channels);
    }
    return out;
}

std::vector<float> unpadded_btc(const hat_test::NpzArray& a, const hat_test::NpzArray& tokens) {
    const std::size_t channels = a.shape.at(2);
    std::vector<float> out;
    for (const std::size_t at : hat_test::kept_positions(tokens)) {
        const float* from = a.floats.data() + at * channels;
        out.insert(out.end(), from, from + channels);
    }
    return out;
}

template <class T>
double largest_difference(const std::vector<float>& expected, const hat::Matrix<T>& found) {
    REQUIRE(expected.size() == found.size());
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
        worst =
            hat_test::worse(worst, std::abs(static_cast<double>(found.data()[i]) - static_cast<double>(expected[i])));
    return worst;
}

template <class T>
void check_case(const hat_test::Golden& golden, const hat::Json& c) {
    const auto variant = c.at("variant").get<std::string>();
    CAPTURE(c.at("file").get<std::string>());
    CAPTURE(variant);
    const auto arrays = golden.npz(c.at("file").get<std::string>());
    const auto weights = golden.weights<T>(variant);
    const auto arch = golden.arch(c.at("config"), variant);
    const hat::Batch batch = hat_test::batch_of(arrays);
    const double smoothing = golden.manifest().at("label_smoothing").get<double>();
    const auto& source = at(arrays, "src_tokens");
    const auto& previous = at(arrays, "prev_output_tokens");

    hat::ElasticTransformer<T> model(weights, hat::ThreadPool(2));
    const auto logits = model.logits(arch, batch);
    CHECK(largest_difference(unpadded_btc(at(arrays, "logits"), previous), logits) < 1e-4);

    // log-probabilities of the targets
    const auto& target = at(arrays, "target");
    const auto& expected_lprobs = at(arrays, "target_lprobs");
    REQUIRE(expected_lprobs.floats.size() == target.ints.size());
    double worst_lprob = 0;
    const auto kept = hat_test::kept_positions(target);
    REQUIRE(logits.shape(0) == kept.size());
    for (std::size_t row = 0; row < kept.size(); ++row) {
        double sum = 0;
        for (std::size_t v = 0; v < logits.shape(1); ++v) sum += std::exp(static_cast<double>(logits(row, v)));
        const auto token = static_cast<std::size_t>(target.ints[kept[row]]);
        worst_lprob = hat_test::worse(worst_lprob, std::abs(static_cast<double>(logits(row, token)) - std::log(sum) -
                                                            static_cast<double>(expected_lprobs.floats[kept[row]])));
    }
    CHECK(worst_lprob < 1e-4);

    const auto outputs = model.encoder_outputs(arch, batch);
    for (std::size_t i = 0; i + 1 < outputs.size(); ++i) {
        CAPTURE(i);
        CHECK(largest_difference(unpadded_tbc(at(arrays, "encoder_layer" + std::to_string(i) + "_out_TBC"), source),
                                 outputs[i]) < 1e-4);
    }
    CHECK(largest_difference(unpadded_tbc(at(arrays, "encoder_out_TBC"), source), outputs.back()) < 1e-4);
    // the reference's inactive layers hand on what the last active one gave
    const auto& last_active = outputs.at(outputs.size() - 2);
    for (std::size_t i = outputs.size() - 1; i < static_cast<std::size_t>(weights.config().shape.encoder.layers); ++i) {
        CAPTURE(i);
        if (const auto recorded = arrays.find("encoder_layer" + std::to_string(i) + "_out_TBC");
            recorded != arrays.end())
            CHECK(largest_difference(unpadded_tbc(recorded->second, source), last_active) < 1e-4);
    }

    hat::Weights<T> gradient(weights.shared_layout());
    const auto sums = model.loss_and_gradient(arch, batch, {.label_smoothing = smoothing}, gradient);
    CHECK(sums.loss == doctest::Approx(c.at("loss_sum").get<double>()).epsilon(1e-5));
    CHECK(sums.nll == doctest::Approx(c.at("nll_sum").get<double>()).epsilon(1e-5));
    CHECK(sums.tokens == c.at("ntokens").get<std::size_t>());
    CHECK(sums.tokens == c.at("sample_size").get<std::size_t>());
    CHECK(sums.loss / static_cast<double>(sums.tokens) / std::log(2.0) ==
          doctest::Approx(c.at("logged_loss_base2").get<double>()).epsilon(1e-5));
    CHECK(sums.nll / static_cast<double>(sums.tokens) / std::log(2.0) ==
          doctest::Approx(c.at("logged_nll_base2").get<double>()).epsilon(1e-5));
    CHECK(model.loss(arch, batch, smoothing).loss == sums.loss);

    std::set<std::string> none;
    for (const auto& name : c.at("params_with_no_gradient")) none.insert(name.get<std::string>());
    const auto active = weights.layout().active(arch);
    for (std::size_t i = 0; i < active.size(); ++i) {
        const auto& info = weights.layout().tensors()[i];
        CAPTURE(info.name);
        CHECK(active[i] == (none.count(info.name) == 0));
        const auto found = gradient.tensor(static_cast<int>(i));
        if (!active[i]) {
            for (T g : found) CHECK(g == T(0));
            continue;
        }
        const auto& expected = at(arrays, "grad/" + info.name);
        REQUIRE(expected.shape == info.shape);
        double worst = 0;
        for (std::size_t k = 0; k < found.size(); ++k)
            worst = hat_test::worse(worst,
                                    std::abs(static_cast<double>(found[k]) - static_cast<double>(expected.floats[k])) -
                                        1e-4 * std::abs(static_cast<double>(expected.floats[k])));
        CHECK(worst < 1e-4);
    }
}

}  // namespace

TEST_CASE("logits, encoder outputs, losses and every gradient equal the reference") {
    const hat_test::Golden golden;
    REQUIRE(!golden.manifest().at("cases").empty());
    for (const auto& c : golden.manifest().at("cases")) {
        check_case<float>(golden, c);
        check_case<double>(golden, c);
    }
}
