#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <hat/latency/meter.hpp>
#include <hat/space/arch.hpp>
#include <memory>
#include <support/numbers.hpp>
#include <thread>
#include <vector>

namespace {

/// A machine whose speed changes: time passes only when a model runs, `slow(t)` times slower than it should.
struct Machine {
    double now = 0;
    std::function<double(double)> slow = [](double) { return 1.0; };
    std::function<double()> noise = [] { return 1.0; };
    std::vector<int> log;

    void spend(double ms) { now += ms * slow(now) * noise(); }
};
struct FakeClock {
    Machine* machine;
    hat::Milliseconds operator()() const { return hat::Milliseconds(machine->now); }
};
struct FakeModel {
    Machine* machine;
    double encoder, decoder;
    int id = 0;
    void encode() const {
        machine->log.push_back(id);
        machine->spend(encoder);
    }
    void decode() const { machine->spend(decoder); }
};

auto make_meter(Machine& m, hat::MeterOptions o = {}) {
    return hat::Meter<FakeModel, FakeClock>(FakeModel{&m, 2, 8, -1}, o, FakeClock{&m});
}

}  // namespace

TEST_CASE("a quiet machine is measured exactly") {
    Machine m;
    auto meter = make_meter(m);
    const auto r = meter.measure(FakeModel{&m, 3, 40});
    CHECK(r.encoder.mean.count() == doctest::Approx(3));
    CHECK(r.decoder.mean.count() == doctest::Approx(40));
    CHECK(r.total().count() == doctest::Approx(43));
    CHECK(r.encoder.deviation.count() == doctest::Approx(0));
    CHECK(r.decoder.median.count() == doctest::Approx(40));
    CHECK(r.gain == doctest::Approx(1));
    CHECK(r.reference.count() == doctest::Approx(10));
    CHECK(r.encoder.samples.size() == 20);
    CHECK(r.attempts == 1);
    CHECK(meter.usual().count() == doctest::Approx(10));
    const auto row = r.row();
    CHECK(row.total_ms() == doctest::Approx(43));
    CHECK(row.gain == r.gain);
    CHECK(row.decoder_samples == r.decoder.samples);
    CHECK(row.reference_ms == doctest::Approx(10));
}

TEST_CASE("slow drift is divided out") {
    for (const std::size_t every : {1u, 4u}) {
        Machine m;
        m.slow = [](double t) { return 1.3 + 0.3 * std::sin(t / 15000.0); };  // up to 1.6 times slower, in waves
        auto meter = make_meter(m, {.reference_every = every});
        std::vector<hat::Measurement> results(60);
        double truth_times_usual = 0;
        meter.measure_all(
            60,
            [&](std::size_t i) {
                return FakeModel{&m, 1.0 + 0.1 * static_cast<double>(i), 20.0 + static_cast<double>(i)};
            },
            [&](std::size_t i, hat::Measurement r) { results[i] = std::move(r); });
        truth_times_usual = meter.usual().count() / 10;
        double worst = 0, worst_raw = 0, low = 9, high = 0;
        for (std::size_t i = 0; i < 60; ++i) {
            const double truth = (21.0 + 1.1 * static_cast<double>(i)) * truth_times_usual;
            worst = hat_test::worse(worst, std::abs(results[i].total().count() / truth - 1));
            worst_raw = hat_test::worse(worst_raw, std::abs(results[i].total().count() * results[i].gain / truth - 1));
            low = std::min(low, results[i].gain);
            high = std::max(high, results[i].gain);
        }
        CAPTURE(every);
        CHECK(high / low > 1.3);  // the drift was there
        CHECK(worst_raw > 0.15);  // and would have hurt
        CHECK(worst < 0.02);
    }
}

TEST_CASE("bursts of noise hardly move the trimmed mean, and quiet attempts win") {
    Machine m;
    hat::Rng rng(5);
    m.noise = [&] { return rng.uniform() < 0.05 ? 3.0 : 1.0; };
    auto meter = make_meter(m, {.repeats = 100});
    const auto r = meter.measure(FakeModel{&m, 3, 40});
    CHECK(r.total().count() == doctest::Approx(43).epsilon(0.02));
    CHECK(*std::max_element(r.decoder.samples.begin(), r.decoder.samples.end()) > 100);  // raw samples are kept

    // a disturbance while the candidate first runs: it runs again
    int runs = 0;
    m.noise = [] { return 1.0; };
    auto second = make_meter(m, {.max_drift = 10});
    (void)second.usual();
    m.noise = [&] {
        return ++runs > 22 && runs <= 62 ? 1 + 2 * rng.uniform() : 1.0;
    };  // 12 of the reference, 10 to warm up
    const auto again = second.measure(FakeModel{&m, 3, 40});
    CHECK(again.attempts == 2);
    CHECK(again.total().count() == doctest::Approx(43));
}

TEST_CASE("a candidate during which the machine changed its speed runs again") {
    Machine m;
    auto meter = make_meter(m);
    const double usual = meter.usual().count();
    const double jump = m.now + 400;  // in the middle of the candidate's first attempt
    m.slow = [=](double t) { return t > jump ? 1.5 : 1.0; };
    const auto r = meter.measure(FakeModel{&m, 3, 40});
    CHECK(r.attempts >= 2);
    CHECK(r.gain == doctest::Approx(1.5));
    CHECK(r.total().count() == doctest::Approx(43 * usual / 10));
}

TEST_CASE("the order is random but seeded, every candidate runs, the reference in between") {
    Machine m;
    const auto order = [&](std::uint64_t seed) {
        auto meter =
            make_meter(m, {.warmup = 0, .repeats = 1, .reference_every = 2, .reference_repeats = 1, .seed = seed});
        std::vector<std::size_t> done;
        (void)meter.usual();
        m.log.clear();
        meter.measure_all(
            6,
            [&](std::size_t i) {
                return FakeModel{&m, 1, 1, static_cast<int>(i)};
            },
            [&](std::size_t i, const hat::Measurement&) { done.push_back(i); });
        std::vector<int> kinds;
        for (const int id : m.log) kinds.push_back(id < 0 ? -1 : 0);
        CHECK(kinds == std::vector<int>{-1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1});
        return done;
    };
    auto a = order(1);
    CHECK(a == order(1));
    CHECK(a != order(2));
    std::sort(a.begin(), a.end());
    CHECK(a == std::vector<std::size_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("short runs repeat until enough time has passed") {
    Machine m;
    auto meter = make_meter(m, {.repeats = 3, .min_time = hat::Milliseconds(100), .max_repeats = 60});
    const auto r = meter.measure(FakeModel{&m, 1, 10});
    CHECK(r.encoder.samples.size() == 60);
    CHECK(r.decoder.samples.size() == 10);
}

TEST_CASE("runs are summarised as the reference does: sort, drop a tenth on each side") {
    std::vector<double> runs;
    for (int i = 20; i >= 1; --i) runs.push_back(i);
    runs[0] = 1000;
    const auto t = hat::summarize_runs(runs, 0.1);
    CHECK(t.mean.count() == doctest::Approx(10.5));  // 3 .. 18
    CHECK(t.deviation.count() == doctest::Approx(std::sqrt((16.0 * 16 - 1) / 12)));
    CHECK(t.median.count() == doctest::Approx(10.5));
    CHECK(t.spread.count() == doctest::Approx(5));
    CHECK(t.samples.front() == 1000);
    CHECK(hat::summarize_runs({5}, 0.1).mean.count() == 5);
    CHECK_THROWS_AS(hat::summarize_runs({}, 0.1), hat::invalid_value);
}

TEST_CASE("an earlier session's usual time continues its scale") {
    Machine m;
    m.slow = [](double) { return 2.0; };
    hat::Meter<FakeModel, FakeClock> meter(FakeModel{&m, 2, 8}, {}, FakeClock{&m}, hat::Milliseconds(10));
    const auto r = meter.measure(FakeModel{&m, 3, 40});
    CHECK(r.gain == doctest::Approx(2));
    CHECK(r.total().count() == doctest::Approx(43));
}

TEST_CASE("a model that times itself is taken at its word, and a bad word is refused") {
    struct Board {  // as if it were elsewhere: no time passes here
        Machine* machine;
        double encoder, decoder;
        std::size_t fewer = 0;
        hat::RunTimes run(const hat::RunCount& n) const {
            machine->now += 5;
            return {std::vector<double>(n.repeats, encoder), std::vector<double>(n.repeats - fewer, decoder)};
        }
    };
    static_assert(hat::SelfTimedModel<Board> && !hat::TimedModel<Board>);
    Machine m;
    hat::Meter<Board, FakeClock> meter(Board{&m, 2, 8}, {}, FakeClock{&m});
    const auto r = meter.measure(Board{&m, 3, 40});
    CHECK(r.total().count() == doctest::Approx(43));
    CHECK(r.reference.count() == doctest::Approx(10));
    CHECK(r.gain == doctest::Approx(1));
    CHECK(r.decoder.samples.size() == 20);
    CHECK_THROWS_WITH_AS(meter.measure(Board{&m, 3, 40, 1}),
                         "hat::Meter: the model timed 19 runs of a part, expected at least 20", hat::invalid_value);
    CHECK_THROWS_WITH_AS(meter.measure(Board{&m, 3, -1}), doctest::Contains("a run took -1"), hat::not_finite);
    CHECK_THROWS_WITH_AS(meter.measure(Board{&m, 3, NAN}), doctest::Contains("a run took nan"), hat::not_finite);
}

TEST_CASE("measured latency is a latency policy") {
    Machine m;
    const auto meter =
        std::make_shared<hat::Meter<FakeModel, FakeClock>>(FakeModel{&m, 2, 8}, hat::MeterOptions{}, FakeClock{&m});
    const hat::Measured measured{[&m](const hat::RuntimeArch& a) {
                                     return FakeModel{&m, 1, 5.0 * a.decoder.layers};
                                 },
                                 meter};
    static_assert(hat::LatencyPolicy<decltype(measured), hat::RuntimeArch>);
    hat::RuntimeArch a{};
    a.decoder.layers = 3;
    CHECK(measured(a).count() == doctest::Approx(16));
}

TEST_CASE("impossible options and a broken clock are refused by name") {
    Machine m;
    const auto refuse = [&](hat::MeterOptions o, const char* what) {
        CHECK_THROWS_WITH_AS(make_meter(m, o), what, hat::invalid_value);
    };
    refuse({.repeats = 0}, "hat::MeterOptions: repeats is 0, expected at least 1");
    refuse({.max_repeats = 10}, "hat::MeterOptions: max_repeats is 10, less than the 20 repeats");
    refuse({.trim = 0.5}, "hat::MeterOptions: trim is 0.500000, expected 0 to less than 0.5");
    refuse({.reference_every = 0}, "hat::MeterOptions: reference_every is 0, expected at least 1");
    refuse({.reference_repeats = 0}, "hat::MeterOptions: reference_repeats is 0, expected at least 1");
    using Fake = hat::Meter<FakeModel, FakeClock>;
    CHECK_THROWS_AS((Fake(FakeModel{&m, 1, 1}, {}, FakeClock{&m}, hat::Milliseconds(0))), hat::invalid_value);
    auto meter = make_meter(m);
    (void)meter.usual();
    CHECK_THROWS_WITH_AS(meter.measure(FakeModel{&m, 0, 0}),
                         doctest::Contains("the clock stands still while a candidate"), hat::not_finite);
    CHECK_THROWS_WITH_AS(meter.measure(FakeModel{&m, -1, 1}), doctest::Contains("a run took -1"), hat::not_finite);
    auto dead = hat::Meter<FakeModel, FakeClock>(FakeModel{&m, 0, 0}, {}, FakeClock{&m});
    CHECK_THROWS_WITH_AS(dead.usual(), doctest::Contains("the clock stands still while the reference"),
                         hat::not_finite);
}

TEST_CASE("the real clock: no run is shorter than the work in it, and all runs fit into the time that passed") {
    using namespace std::chrono;
    constexpr microseconds short_work(200), long_work(600);  // lower bounds: a busy machine takes longer
    const auto wait = [](microseconds time) { return [time] { std::this_thread::sleep_for(time); }; };
    const auto begin = steady_clock::now();
    hat::Meter meter(hat::Timed{wait(short_work), wait(short_work)}, {.warmup = 1, .repeats = 15});
    const auto one = meter.measure(hat::Timed{wait(short_work), wait(long_work)});
    const double passed = duration<double, std::milli>(steady_clock::now() - begin).count();
    REQUIRE(one.encoder.samples.size() >= 15);
    double sum = 0;
    for (const double run : one.encoder.samples) {
        CHECK(run >= duration<double, std::milli>(short_work).count());
        sum += run;
    }
    for (const double run : one.decoder.samples) {
        CHECK(run >= duration<double, std::milli>(long_work).count());
        sum += run;
    }
    CHECK(sum <= passed);
}
