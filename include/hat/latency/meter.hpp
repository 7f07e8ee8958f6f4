#pragma once
/// \file
/// A stopwatch for models that is right on a noisy machine.

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/latency/runs.hpp>
#include <hat/space/concepts.hpp>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hat {

/// Two callables as a TimedModel.
template <std::invocable Encode, std::invocable Decode>
struct Timed {
    Encode encode;  ///< runs the encoder once
    Decode decode;  ///< runs all decoder steps once
};
/// Deduces both from the callables.
template <class Encode, class Decode>
Timed(Encode, Decode) -> Timed<Encode, Decode>;

/// How to measure. The defaults follow the reference's protocol (semantics, section 14) where it is sound.
struct MeterOptions {
    std::size_t warmup = 5;             ///< runs of each part before the clock counts
    std::size_t repeats = 20;           ///< timed runs of each part at least
    Milliseconds min_time{0};           ///< timed at least this long per part ...
    std::size_t max_repeats = 1000;     ///< ... but never with more runs than this
    double trim = 0.1;                  ///< share of the sorted runs dropped on each side before mean and deviation
    std::size_t reference_every = 1;    ///< candidates between two timings of the reference model
    std::size_t reference_repeats = 5;  ///< timed runs of the reference each time (their median counts)
    double max_drift = 0.1;             ///< if the reference changed by more while candidates ran, they run again
    double max_spread = 0.1;            ///< if the runs' relative median deviation is larger, the candidate runs again
    std::size_t retries = 2;            ///< how often either may happen; then the quietest attempt counts
    std::uint64_t seed = 1;             ///< of the random order of candidates
};

/// The runs of one part. Mean, deviation, median and spread are corrected for drift; samples are as read.
struct Timing {
    Milliseconds mean{};          ///< trimmed
    Milliseconds deviation{};     ///< of what was not trimmed (population)
    Milliseconds median{};        ///< of all runs
    Milliseconds spread{};        ///< median absolute deviation from the median
    std::vector<double> samples;  ///< ms, in order
};

/// One candidate, measured.
struct Measurement {
    Timing encoder;            ///< one run of the encoder
    Timing decoder;            ///< all decoder steps
    Milliseconds reference{};  ///< what the reference model took at the same time
    double gain = 1;           ///< that, relative to its usual time: how much slower the machine was
    std::size_t attempts = 1;  ///< how often the candidate ran

    /// Means of encoder and decoder together.
    Milliseconds total() const { return encoder.mean + decoder.mean; }

    /// A dataset row of what was measured; the network's features and name, seed and device are the caller's to add.
    LatencyRow row() const {
        LatencyRow r;
        r.encoder_ms = encoder.mean.count();
        r.decoder_ms = decoder.mean.count();
        r.encoder_std_ms = encoder.deviation.count();
        r.decoder_std_ms = decoder.deviation.count();
        r.encoder_median_ms = encoder.median.count();
        r.decoder_median_ms = decoder.median.count();
        r.reference_ms = reference.count();
        r.gain = gain;
        r.encoder_samples = encoder.samples;
        r.decoder_samples = decoder.samples;
        return r;
    }
};

/// Centre and spread of runs in ms: sorted, floor(trim n) dropped on each side. Throws invalid_value without runs.
inline Timing summarize_runs(std::vector<double> samples, double trim) {
    if (samples.empty()) throw invalid_value("hat::summarize_runs: there are no runs");
    std::vector<double> sorted = samples;
    std::sort(sorted.begin(), sorted.end());
    const std::size_t n = sorted.size(), drop = static_cast<std::size_t>(trim * static_cast<double>(n) + 1e-9);
    const auto middle = [](const std::vector<double>& v) { return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2; };
    const double count = static_cast<double>(n - 2 * drop);
    double mean = 0, variance = 0;
    for (std::size_t i = drop; i < n - drop; ++i) mean += sorted[i] / count;
    for (std::size_t i = drop; i < n - drop; ++i) variance += (sorted[i] - mean) * (sorted[i] - mean) / count;
    const double median = middle(sorted);
    std::vector<double> distance;
    for (const double s : sorted) distance.push_back(std::abs(s - median));
    std::sort(distance.begin(), distance.end());
    return {Milliseconds(mean), Milliseconds(std::sqrt(variance)), Milliseconds(median), Milliseconds(middle(distance)),
            std::move(samples)};
}

/// Times candidates against a fixed reference model. A machine's speed changes slowly (temperature, frequency, other
/// tenants), by up to a half in the reference's own published data; repeats within one candidate cannot show that. So
/// the reference runs before and after each few candidates; its time at a candidate's moment, interpolated, relative
/// to its usual time, is the gain that the candidate's times are divided by.
template <MeteredModel Reference, class Clock = SteadyClock>
requires requires(Clock& clock) {
    { clock() } -> std::convertible_to<Milliseconds>;
}
class Meter {
public:
    /// Throws invalid_value for options that make no measurement. `usual` is the reference's usual time, from an
    /// earlier session; without it, the meter times the reference `calibration` times when first used.
    explicit Meter(Reference reference, MeterOptions options = {}, Clock clock = {},
                   std::optional<Milliseconds> usual = std::nullopt)
        : reference_(std::move(reference)), options_(options), clock_(std::move(clock)), usual_(usual) {
        const auto fail = [](const std::string& what) { throw invalid_value("hat::MeterOptions: " + what); };
        if (options_.repeats == 0) fail("repeats is 0, expected at least 1");
        if (options_.max_repeats < options_.repeats)
            fail("max_repeats is " + std::to_string(options_.max_repeats) + ", less than the " +
                 std::to_string(options_.repeats) + " repeats");
        if (!(options_.trim >= 0 && options_.trim < 0.5))
            fail("trim is " + std::to_string(options_.trim) + ", expected 0 to less than 0.5");
        if (options_.reference_every == 0) fail("reference_every is 0, expected at least 1");
        if (options_.reference_repeats == 0) fail("reference_repeats is 0, expected at least 1");
        if (usual_ && !(usual_->count() > 0 && std::isfinite(usual_->count())))
            fail("the reference's usual time is " + std::to_string(usual_->count()) + " ms, expected more than 0");
    }

    /// How it measures.
    const MeterOptions& options() const { return options_; }

    /// What the reference usually takes: gains are relative to it. Store it to continue in another session.
    Milliseconds usual() {
        if (!usual_) {
            (void)runs(reference_, {.warmup = options_.warmup, .repeats = 1});
            std::vector<double> times;
            for (std::size_t i = 0; i < calibration; ++i) times.push_back(time_reference().time.count());
            usual_ = summarize_runs(std::move(times), 0).median;
        }
        return *usual_;
    }

    /// One candidate.
    template <MeteredModel T>
    Measurement measure(T&& candidate) {
        Measurement result;
        measure_all(
            1, [&](std::size_t) -> T& { return candidate; },
            [&](std::size_t, Measurement m) { result = std::move(m); });
        return result;
    }

    /// Candidates 0 .. n-1 in a seeded random order, so that drift and size cannot go together: `make(i)` gives (or
    /// refers to) candidate i, `done(i, Measurement)` receives it, `reference_every` at a time. Throws not_finite if
    /// the clock stands still or goes back.
    template <class Make, class Done>
    void measure_all(std::size_t n, Make&& make, Done&& done) {
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), std::size_t{0});
        Rng rng(options_.seed);
        shuffle(order, rng);
        usual();
        std::optional<ReferenceTime> before;
        for (std::size_t first = 0; first < n; first += options_.reference_every) {
            const std::size_t count = std::min(options_.reference_every, n - first);
            std::vector<Attempt> best;
            double best_drift = std::numeric_limits<double>::infinity();
            for (std::size_t round = 0; round <= options_.retries; ++round) {
                if (!before) before = time_reference();
                std::vector<Attempt> attempts;
                for (std::size_t i = 0; i < count; ++i) {
                    auto&& candidate = make(order[first + i]);
                    attempts.push_back(run(candidate));
                }
                const ReferenceTime after = time_reference();
                const double drift = std::abs(after.time / before->time - 1);
                for (Attempt& a : attempts) {
                    const double part = (a.moment - before->moment) / (after.moment - before->moment);
                    a.result.reference = before->time + (after.time - before->time) * part;
                }
                before = after;
                if (drift < best_drift) {
                    for (std::size_t i = 0; i < best.size(); ++i)
                        attempts[i].result.attempts += best[i].result.attempts;
                    best = std::move(attempts);
                    best_drift = drift;
                } else {
                    for (std::size_t i = 0; i < best.size(); ++i)
                        best[i].result.attempts += attempts[i].result.attempts;
                }
                if (best_drift <= options_.max_drift) break;
            }
            for (std::size_t i = 0; i < count; ++i) {
                Measurement& m = best[i].result;
                m.gain = m.reference / *usual_;
                for (Timing* t : {&m.encoder, &m.decoder})
                    for (Milliseconds* v : {&t->mean, &t->deviation, &t->median, &t->spread}) *v /= m.gain;
                done(order[first + i], std::move(m));
            }
        }
    }

    /// Timings of the reference before it counts as known.
    static constexpr std::size_t calibration = 5;

private:
    struct ReferenceTime {
        Milliseconds moment, time;
    };
    struct Attempt {
        Measurement result;
        Milliseconds moment{};  // the middle of its runs
    };

    /// The runs of any model, checked: others than ours may have timed them.
    template <class T>
    RunTimes runs(T& model, const RunCount& count) {
        RunTimes times = time_runs(model, count, clock_);
        for (const auto* part : {&times.encoder, &times.decoder}) {
            if (part->size() < count.repeats)
                throw invalid_value("hat::Meter: the model timed " + std::to_string(part->size()) +
                                    " runs of a part, expected at least " + std::to_string(count.repeats));
            for (const double t : *part)
                if (!(t >= 0) || !std::isfinite(t))
                    throw not_finite("hat::Meter: a run took " + std::to_string(t) + " ms by the clock");
        }
        return times;
    }
    template <class T>
    Attempt run(T& candidate) {
        Attempt best;
        double best_spread = std::numeric_limits<double>::infinity();
        for (std::size_t round = 0; round <= options_.retries; ++round) {
            Attempt a;
            const Milliseconds begin = clock_();
            RunTimes times = runs(candidate, {.warmup = options_.warmup,
                                              .repeats = options_.repeats,
                                              .min_time = options_.min_time,
                                              .max_repeats = options_.max_repeats});
            a.result.encoder = summarize_runs(std::move(times.encoder), options_.trim);
            a.result.decoder = summarize_runs(std::move(times.decoder), options_.trim);
            a.moment = (begin + Milliseconds(clock_())) / 2;
            const Milliseconds all = a.result.encoder.median + a.result.decoder.median;
            if (!(all.count() > 0)) throw not_finite("hat::Meter: the clock stands still while a candidate runs");
            const double spread = (a.result.encoder.spread + a.result.decoder.spread) / all;
            if (spread < best_spread) {
                best_spread = spread;
                best = std::move(a);
            }
            best.result.attempts = round + 1;
            if (best_spread <= options_.max_spread) break;
        }
        return best;
    }
    ReferenceTime time_reference() {
        const Milliseconds begin = clock_();
        // the first run, which does not count: the candidate's data leave the caches
        const RunTimes each = runs(reference_, {.warmup = 1, .repeats = options_.reference_repeats});
        std::vector<double> times(options_.reference_repeats);
        for (std::size_t i = 0; i < times.size(); ++i) times[i] = each.encoder[i] + each.decoder[i];
        const Milliseconds time = summarize_runs(std::move(times), 0).median;
        if (!(time.count() > 0)) throw not_finite("hat::Meter: the clock stands still while the reference runs");
        return {(begin + Milliseconds(clock_())) / 2, time};
    }

    Reference reference_;
    MeterOptions options_;
    Clock clock_;
    std::optional<Milliseconds> usual_;
};

/// The paper's other way to get latencies in a search: measure every network when it is asked for. `make(arch)` gives
/// a TimedModel; copies share the meter. Wrap it in Cached to measure a network once.
template <class Make, class M>
struct Measured {
    Make make;                 ///< a TimedModel of an architecture
    std::shared_ptr<M> meter;  ///< a Meter; shared by copies

    /// The latency of `arch`, measured now; see Meter::measure().
    template <class A>
    requires MeteredModel<std::invoke_result_t<const Make&, const A&>> Milliseconds operator()(const A& arch) const {
        auto model = make(arch);
        return meter->measure(model).total();
    }
};
/// Deduces both from the arguments.
template <class Make, class M>
Measured(Make, std::shared_ptr<M>) -> Measured<Make, M>;

}  // namespace hat
