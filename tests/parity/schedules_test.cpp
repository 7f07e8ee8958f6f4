#include <doctest/doctest.h>

#include <cmath>
#include <hat/train/schedule.hpp>
#include <support/golden.hpp>
#include <support/schedule.hpp>

TEST_CASE("learning rates equal the reference's at every recorded update") {
    const hat_test::Golden golden;
    for (const auto& item : golden.manifest().at("lr_schedules")) {
        const hat::Schedule schedule = hat_test::schedule_of(item.at("kind"), item.at("args"));
        CHECK_NOTHROW(hat::validate(schedule));
        for (const auto& value : item.at("values")) {
            const double expected = value.at(1), ours = hat::learning_rate(schedule, value.at(0).get<std::uint64_t>());
            CAPTURE(item.dump());
            CAPTURE(value.dump());
            CHECK(std::abs(ours - expected) <= 1e-12 * std::abs(expected));
        }
    }
}
