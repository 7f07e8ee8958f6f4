#include <doctest/doctest.h>

#include <set>
#include <support/golden.hpp>

TEST_CASE("every variant of the fixtures has exactly our parameters, by name and shape") {
    const hat_test::Golden golden;
    for (const auto& variant : golden.manifest().at("variants").items()) {
        CAPTURE(variant.key());
        const auto config = golden.config(variant.key());
        const hat::WeightLayout layout(config);
        std::set<std::string> ours, theirs;
        for (const auto& t : layout.tensors()) ours.insert(t.name);
        for (const auto& p : variant.value().at("parameters")) theirs.insert(p.at(0).get<std::string>());
        CHECK(ours == theirs);
        const auto weights = golden.weights<float>(variant.key());
        for (const auto& p : variant.value().at("parameters"))
            CHECK(layout.tensors()[static_cast<std::size_t>(layout.find(p.at(0)))].shape ==
                  p.at(1).get<std::vector<std::size_t>>());
        CHECK(weights.tensor(0)[3] != 0.0F);
    }
}

TEST_CASE("every case's architecture fits its variant, and the tensors it does not use are those without gradient") {
    const hat_test::Golden golden;
    for (const auto& item : golden.manifest().at("cases")) {
        CAPTURE(item.at("file").get<std::string>());
        const std::string variant = item.at("variant");
        const auto arch = golden.arch(item.at("config"), variant);
        const auto config = golden.config(variant);
        CHECK_NOTHROW(hat::require_fits(arch, config.shape));
        const auto arrays = golden.npz(item.at("file"));
        const auto batch = hat_test::batch_of(arrays);
        CHECK(batch.target_tokens() == item.at("ntokens").get<std::size_t>());
        CHECK(batch.previous.offsets == batch.target.offsets);
        const hat::WeightLayout layout(config);
        const auto active = layout.active(arch);
        const std::vector<std::string> listed = item.at("params_with_no_gradient");
        const std::set<std::string> without(listed.begin(), listed.end());
        for (std::size_t i = 0; i < active.size(); ++i)
            CHECK(active[i] != (without.count(layout.tensors()[i].name) == 1));
        std::vector<std::string> missing;
        hat_test::Golden::weights_from<double>(arrays, "grad/", config, &missing);
        CHECK(std::set<std::string>(missing.begin(), missing.end()) == without);
    }
}
