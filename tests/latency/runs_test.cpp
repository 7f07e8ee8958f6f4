#include <doctest/doctest.h>

#include <hat/latency/runs.hpp>
#include <string>

namespace {

/// Time passes only when it runs.
struct Model {
    double now = 0;
    std::string log;
    void encode() { now += 1, log += 'e'; }
    void decode() { now += 10, log += 'd'; }
};
struct Clock {
    const Model* model;
    hat::Milliseconds operator()() const { return hat::Milliseconds(model->now); }
};

}  // namespace

TEST_CASE("runs are timed one by one: warm-up, encoder, decoder, with a word in between") {
    Model m;
    Clock clock{&m};
    const auto times = hat::time_runs(m, {.warmup = 2, .repeats = 3}, clock, [&] { m.log += ' '; });
    CHECK(m.log == " ed ed e e e d d d");
    CHECK(times.encoder == std::vector<double>{1, 1, 1});
    CHECK(times.decoder == std::vector<double>{10, 10, 10});
}

TEST_CASE("short runs repeat until enough time has passed, up to a limit") {
    Model m;
    Clock clock{&m};
    const auto times =
        hat::time_runs(m, {.warmup = 0, .repeats = 3, .min_time = hat::Milliseconds(100), .max_repeats = 60}, clock);
    CHECK(times.encoder.size() == 60);
    CHECK(times.decoder.size() == 10);
}

TEST_CASE("a clock that goes back is an error") {
    struct Back {
        double now = 10;
        hat::Milliseconds operator()() { return hat::Milliseconds(now -= 1); }
    } clock;
    Model m;
    CHECK_THROWS_WITH_AS(hat::time_runs(m, {}, clock), "hat::time_runs: a run took -1.000000 ms by the clock",
                         hat::not_finite);
}
