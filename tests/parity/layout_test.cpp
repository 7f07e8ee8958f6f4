#include <doctest/doctest.h>

#include <set>
#include <support/golden.hpp>

TEST_CASE("parameters have the reference's names and shapes") {
    const hat_test::Golden golden;
    for (const auto& item : golden.manifest().at("variants").items()) {
        CAPTURE(item.key());
        const hat::WeightLayout layout(golden.config(item.key()));
        std::set<std::string> expected;
        for (const auto& p : item.value().at("parameters")) {
            const auto name = p.at(0).get<std::string>();
            CAPTURE(name);
            CHECK(expected.insert(name).second);
            const int at = layout.find(name);
            REQUIRE(at >= 0);
            CHECK(layout.tensors()[static_cast<std::size_t>(at)].shape == p.at(1).get<std::vector<std::size_t>>());
        }
        CHECK(expected.size() == layout.tensors().size());
    }
}
