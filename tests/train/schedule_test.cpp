#include <doctest/doctest.h>

#include <hat/train/schedule.hpp>
#include <limits>
#include <support/files.hpp>

using hat_test::message_of;

TEST_CASE("schedules pass through their corners") {
    const hat::InverseSquareRootSchedule root{.lr = 0.5, .warmup = 4, .warmup_init = 0.1};
    CHECK(root(0) == 0.1);
    CHECK(root(2) == doctest::Approx(0.3));
    CHECK(root(4) == doctest::Approx(0.5));
    CHECK(root(16) == doctest::Approx(0.25));
    const hat::InverseSquareRootSchedule cold{.lr = 0.5, .warmup = 0, .warmup_init = -1};
    CHECK(cold(0) == 0.5);
    CHECK(cold(4) == doctest::Approx(0.25));

    const hat::CosineSchedule cosine{.min_lr = 0.1, .max_lr = 1, .warmup = 10, .warmup_init = -1, .max_updates = 110};
    CHECK(cosine(0) == doctest::Approx(0.1));
    CHECK(cosine(10) == doctest::Approx(1));
    CHECK(cosine(60) == doctest::Approx(0.55));
    CHECK(cosine(110) == doctest::Approx(1));  // restarted
    CHECK(cosine(109) < 0.11);

    const hat::FixedSchedule fixed{.lr = 1, .warmup = 4};
    CHECK(fixed(0) == 0.25);
    CHECK(fixed(3) == 1);
    CHECK(fixed(1000) == 1);
    CHECK(hat::learning_rate(fixed, 0) == 0.25);
}

TEST_CASE("options that make no schedule are named with value and expectation") {
    const auto message = [](const hat::Schedule& s) {
        return message_of<hat::invalid_value>([&] { hat::validate(s); });
    };
    CHECK(message(hat::FixedSchedule{.lr = 0}) == "hat::Schedule: lr is 0.000000, expected a positive number");
    CHECK(message(hat::InverseSquareRootSchedule{.lr = -1}) ==
          "hat::Schedule: lr is -1.000000, expected a positive number");
    CHECK(message(hat::InverseSquareRootSchedule{.warmup_init = std::numeric_limits<double>::quiet_NaN()}) != "");
    CHECK(message(hat::CosineSchedule{.warmup = 10, .max_updates = 10}) ==
          "hat::Schedule: max_updates is 10, expected more than warmup, 10, or a period");
    CHECK(message(hat::CosineSchedule{.warmup = 10, .period = 5}) == "");
    CHECK(message(hat::CosineSchedule{.min_lr = 2, .max_lr = 1, .period = 5}) ==
          "hat::Schedule: max_lr is 1.000000, expected more than min_lr, 2.000000");
    CHECK(message(hat::CosineSchedule{.period = 5, .period_factor = 0.5}) ==
          "hat::Schedule: period_factor is 0.500000, expected at least 1");
    CHECK(message(hat::CosineSchedule{.period = 5, .shrink = 0}) ==
          "hat::Schedule: shrink is 0.000000, expected a positive number");
}
