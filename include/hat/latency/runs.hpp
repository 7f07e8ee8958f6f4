#pragma once
/// \file
/// Timing single runs of a model, back to back; on this machine, or by a model that times itself.

#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/space/concepts.hpp>
#include <string>
#include <vector>

namespace hat {

/// How often a model runs when it is timed.
struct RunCount {
    std::size_t warmup = 5;          ///< runs of each part before the clock counts
    std::size_t repeats = 20;        ///< timed runs of each part at least
    Milliseconds min_time{0};        ///< timed at least this long per part ...
    std::size_t max_repeats = 1000;  ///< ... but never with more runs than this, or than `repeats`
};

/// The time of every run in ms, in order.
struct RunTimes {
    std::vector<double> encoder;  ///< runs of the encoder
    std::vector<double> decoder;  ///< runs of all decoder steps
};

/// What is timed: one run of the encoder, and all steps of the decoder for one translation of the stated length.
template <class T>
concept TimedModel = requires(T& model) {
    model.encode();
    model.decode();
};

/// A model that times its runs itself: it is on another device, or has a better clock.
template <class T>
concept SelfTimedModel = requires(T& model, const RunCount& count) {
    { model.run(count) } -> std::convertible_to<RunTimes>;
};

/// What a meter can measure: it runs and is timed here, or times itself.
template <class T>
concept MeteredModel = TimedModel<T> || SelfTimedModel<T>;

/// A clock that never goes back.
struct SteadyClock {
    /// The time since some fixed moment.
    Milliseconds operator()() const { return std::chrono::steady_clock::now().time_since_epoch(); }
};

/// Runs a model: first `warmup` times both parts, then the encoder until it ran often and long enough, then the
/// decoder. `between()` is called before each timed run. Throws not_finite if the clock goes back.
template <TimedModel T, class Clock, std::invocable Between>
RunTimes time_runs(T& model, const RunCount& count, Clock& clock, Between&& between) {
    for (std::size_t i = 0; i < count.warmup; ++i) {
        between();
        model.encode();
        model.decode();
    }
    const auto part = [&](auto&& run) {
        std::vector<double> samples;
        double total = 0;
        while (samples.size() < count.repeats ||
               (total < count.min_time.count() && samples.size() < count.max_repeats)) {
            between();
            const Milliseconds begin = clock();
            run();
            const double t = Milliseconds(clock() - begin).count();
            if (!(t >= 0) || !std::isfinite(t))
                throw not_finite("hat::time_runs: a run took " + std::to_string(t) + " ms by the clock");
            samples.push_back(t);
            total += t;
        }
        return samples;
    };
    RunTimes times;
    times.encoder = part([&] { model.encode(); });
    times.decoder = part([&] { model.decode(); });
    return times;
}
/// Runs a model with nothing in between, or lets it time itself if it can.
template <MeteredModel T, class Clock>
RunTimes time_runs(T& model, const RunCount& count, Clock& clock) {
    if constexpr (SelfTimedModel<T>)
        return model.run(count);
    else
        return time_runs(model, count, clock, [] {});
}

}  // namespace hat
