#include <doctest/doctest.h>

#include <cmath>
#include <hat/model/elastic.hpp>
#include <hat/train/adam.hpp>
#include <hat/train/schedule.hpp>
#include <set>
#include <support/golden.hpp>
#include <support/numbers.hpp>
#include <support/schedule.hpp>

TEST_CASE("training traces equal the reference's: losses, learning rates, gradient norms, step counts, weights") {
    const hat_test::Golden golden;
    for (const auto& trace : golden.manifest().at("adam")) {
        const std::string variant = trace.at("variant"), file = trace.at("file");
        CAPTURE(file);
        const auto arrays = golden.npz(file);
        auto weights =
            hat_test::Golden::weights_from<float>(golden.npz(trace.at("starts_from")), "", golden.config(variant));
        const auto& optimizer = trace.at("optimizer");
        hat::Adam<float> adam(weights.shared_layout(), {.beta1 = optimizer.at("betas").at(0),
                                                        .beta2 = optimizer.at("betas").at(1),
                                                        .epsilon = optimizer.at("eps"),
                                                        .weight_decay = optimizer.at("weight_decay"),
                                                        .clip_norm = optimizer.at("clip_norm")});
        const auto schedule = hat_test::schedule_of(trace.at("schedule").at("kind"), trace.at("schedule"));
        hat::ElasticTransformer<float> model(weights);
        std::uint64_t update = 0;
        for (const auto& step : trace.at("steps")) {
            CAPTURE(update);
            const auto arch = golden.arch(step.at("config"), variant);
            hat::Weights<float> gradient(weights.shared_layout());
            std::size_t tokens = 0;
            const std::vector<double> losses = step.at("losses_sum");
            for (std::size_t micro = 0; micro < losses.size(); ++micro) {
                const auto batch =
                    hat_test::batch_of(arrays, "step" + std::to_string(update) + "_" + std::to_string(micro) + "_");
                const auto sums = model.loss_and_gradient(
                    arch, batch, {.label_smoothing = optimizer.at("label_smoothing").get<double>()}, gradient);
                CHECK(std::abs(sums.loss - losses[micro]) <= 1e-5 * std::abs(losses[micro]));
                tokens += sums.tokens;
            }
            CHECK(tokens == step.at("ntokens").get<std::size_t>());
            const double lr = hat::learning_rate(schedule, update);
            CHECK(lr == doctest::Approx(step.at("lr_used").get<double>()).epsilon(1e-9));
            const auto active = weights.layout().active(arch);
            const std::vector<std::string> listed = step.at("params_with_no_gradient");
            const std::set<std::string> unused(listed.begin(), listed.end());
            for (std::size_t t = 0; t < active.size(); ++t)
                CHECK(active[t] != (unused.count(weights.layout().tensors()[t].name) == 1));
            const double norm = adam.update(weights, gradient, active, lr, 1.0 / static_cast<double>(tokens));
            CHECK(norm == doctest::Approx(step.at("grad_norm_before_clip").get<double>()).epsilon(1e-4));
            ++update;
        }
        const int qkv = golden.config(variant).shape.encoder.qkv[0];
        for (std::size_t t = 0; t < weights.layout().tensors().size(); ++t) {
            const auto& info = weights.layout().tensors()[t];
            CAPTURE(info.name);
            CHECK(adam.steps[t] == trace.at("adam_step_count_per_parameter").value(info.name, std::uint64_t{0}));
            // the keys' bias has a true gradient of zero: Adam turns its rounding errors into whole steps
            const bool joint_bias = info.name.ends_with("in_proj_bias");
            const auto compare = [&](const std::string& kind, const hat::Weights<float>& ours, double tolerance) {
                const auto it = arrays.find(kind + info.name);
                if (it == arrays.end()) return false;
                const auto values = ours.tensor(static_cast<int>(t));
                REQUIRE(it->second.floats.size() == values.size());
                double worst = 0;
                for (std::size_t i = 0; i < values.size(); ++i)
                    if (const int row = static_cast<int>(i); !joint_bias || row < qkv || row >= 2 * qkv)
                        worst = hat_test::worse(worst, std::abs(double(values[i]) - double(it->second.floats[i])));
                CAPTURE(kind);
                CHECK(worst <= tolerance);
                return true;
            };
            CHECK(compare("final/", weights, 1e-3));
            compare("exp_avg/", adam.first, 1e-3);
            compare("exp_avg_sq/", adam.second, 1e-3);
        }
    }
}
