// Latencies of sampled networks, and the predictor that learns them.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <hat/decode/timed.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/latency/device.hpp>
#include <hat/latency/meter.hpp>
#include <hat/space/text.hpp>
#include <optional>
#include <predictors.hpp>
#include <set>
#include <stages/measuring.hpp>
#include <support.hpp>

namespace hat::cli {

MeterOptions meter_options(const Settings& s) {
    MeterOptions o;
    o.repeats = s.latency_repeats;
    o.max_repeats = std::max(o.max_repeats, o.repeats);
    o.seed = s.seed;
    return o;
}

RunTimes Probe::run(const RunCount& count) {
    SteadyClock clock;
    return here ? time_runs(*here, count, clock) : there.run(count);
}

Target::Target(const Project& project) : settings_(project.settings) {
    const Settings& s = settings_;
    if (s.device_command.empty()) return;
    const TransformerConfig config = project.model_config();
    const RemoteModel model{.shape = to_runtime(s.space().largest()),
                            .source_vocab = config.source_vocab,
                            .target_vocab = config.target_vocab,
                            .sharing = config.sharing,
                            .encoder_pre_norm = config.encoder_pre_norm,
                            .decoder_pre_norm = config.decoder_pre_norm,
                            .decoder_final_norm = config.decoder_final_norm,
                            .source_length = s.latency_length,
                            .target_length = s.latency_length,
                            .beam = s.latency_beam,
                            .threads = s.latency_threads};
    device_ = std::make_shared<RemoteDevice>(
        model, RemoteOptions{.command = s.device_command,
                             .timeout = std::chrono::milliseconds(static_cast<long long>(1000 * s.device_timeout)),
                             .retries = s.device_retries,
                             .report = [&project](const std::string& what) { project.say("notice: " + what); }});
}

std::string Target::text() const { return device_ ? device_->device() : this_device(settings_.latency_threads).text(); }

Probe Target::probe(const Weights<float>* weights, const RuntimeArch& arch) const {
    if (device_) return {nullptr, {device_, arch}};
    return here(*weights, arch);
}

Probe Target::here(const Weights<float>& weights, const RuntimeArch& arch) const {
    return {std::make_shared<LatencyProbe<float>>(weights, arch,
                                                  ProbeOptions{.source_length = settings_.latency_length,
                                                               .target_length = settings_.latency_length,
                                                               .beam = settings_.latency_beam,
                                                               .threads = settings_.latency_threads}),
            {}};
}

Json run_measure(const Project& project) {
    const Settings& s = project.settings;
    const Target target(project);
    const std::string device = target.text();
    std::optional<Weights<float>> weights;
    if (!target.remote()) {  // what the numbers are does not change how long they take
        weights.emplace(project.model_config());
        weights->initialize(derive_seed(s.seed, 1));
    }
    const auto probe = [&](const RuntimeArch& arch) { return target.probe(weights ? &*weights : nullptr, arch); };
    const RuntimeArch largest = to_runtime(s.space().largest());
    if (target.remote()) project.say("measuring on: " + device);

    // distinct networks, uniform over genes as the reference samples them
    std::vector<RuntimeArch> archs;
    std::set<std::string> known;
    Rng rng(derive_seed(s.seed, 4));
    for (std::size_t draws = 0; archs.size() < s.latency_samples; ++draws) {
        const RuntimeArch arch = to_runtime(s.space().decode(s.space().random_gene(rng)));
        if (known.insert(to_text(arch)).second) archs.push_back(arch);
        if (draws > 1000 * s.latency_samples)
            throw bad_config("lat-dataset-size " + std::to_string(s.latency_samples) + ": only " +
                             std::to_string(archs.size()) + " different networks were drawn from the space");
    }
    LatencyDataset dataset;
    std::set<std::string> measured;
    std::optional<Milliseconds> usual;
    // rows of other settings, or of another device, would be other numbers
    const Json protocol = stage_identity(s, "measure");
    const auto protocol_file = project.protocol_file();
    if (std::filesystem::exists(project.latency_file())) {
        const std::string again = "; use another --dir, or 'hat run --from measure' measures again";
        Json before = load_json(protocol_file);
        const JsonView view(before, protocol_file.string());
        const std::string old_device = view.has("device") ? view.get<std::string>("device") : device;
        if (before.is_object()) before.erase("device");
        if (const auto difference = settings_difference(JsonView(before, protocol_file.string()), protocol);
            !difference.empty())
            throw bad_config(project.latency_file().string() + ": was measured with other settings: " + difference +
                             again);
        if (old_device != device)
            throw bad_config(project.latency_file().string() + ": was measured on another device: '" + old_device +
                             "', now it would be '" + device + "'" + again);
        dataset = LatencyDataset::load(project.latency_file());
        for (const auto& row : dataset.rows) {
            measured.insert(row.arch);
            if (row.device != device_id(device))
                throw bad_file(project.latency_file().string(), "was measured on another device or build (" +
                                                                    row.device + ", now: " + device_id(device) +
                                                                    "); remove it to start over");
        }
        usual = Milliseconds(dataset.rows.front().reference_ms / dataset.rows.front().gain);
        project.say("resumed with " + std::to_string(dataset.rows.size()) + " measurements");
    } else {
        Json with_device = protocol;
        with_device["device"] = device;
        save_json(protocol_file, with_device);
    }
    archs.erase(
        std::remove_if(archs.begin(), archs.end(), [&](const auto& a) { return measured.count(to_text(a)) != 0; }),
        archs.end());

    Meter meter(probe(largest), meter_options(s), SteadyClock{}, usual);
    using Clock = std::chrono::steady_clock;
    auto saved = Clock::now();
    Progress progress("measure", s.latency_samples, project.quiet);
    progress.resumed(dataset.rows.size());
    meter.measure_all(
        archs.size(), [&](std::size_t i) { return probe(archs[i]); },
        [&](std::size_t i, const Measurement& m) {
            LatencyRow row = m.row();
            row.features = MeanFeatures::raw(archs[i]);
            row.arch = to_text(archs[i]);
            row.seed = s.seed;
            row.device = device_id(device);
            dataset.rows.push_back(std::move(row));
            // each row of a slow device, about a second's of a fast one: that much a kill may cost
            if (const auto now = Clock::now(); now - saved > std::chrono::seconds(1) || stop_requested) {
                dataset.save(project.latency_file());
                saved = now;
            }
            progress.update(dataset.rows.size(), fixed(dataset.rows.back().total_ms(), 2) + " ms");
            stop_if_requested("measuring stopped after " + std::to_string(dataset.rows.size()) +
                              " networks; the same command goes on from there");
        });
    dataset.correct_drift();
    dataset.save(project.latency_file());
    progress.finish();

    std::vector<double> gains, totals;
    for (const auto& row : dataset.rows) {
        gains.push_back(row.gain);
        totals.push_back(row.total_ms());
    }
    // the machine's usual speed, by which all later measurements of this run are corrected, too
    const double usual_ms = dataset.rows.front().reference_ms / dataset.rows.front().gain;
    Meter corrected(probe(largest), meter_options(s), SteadyClock{}, Milliseconds(usual_ms));
    auto largest_probe = probe(largest);
    auto smallest_probe = probe(to_runtime(s.space().smallest()));
    const double largest_ms = corrected.measure(largest_probe).total().count();
    const double smallest_ms = corrected.measure(smallest_probe).total().count();
    const auto [low, high] = std::minmax_element(gains.begin(), gains.end());
    project.say("largest network " + fixed(largest_ms, 2) + " ms, smallest " + fixed(smallest_ms, 2) +
                " ms; drift divided out: " + fixed(*low, 3) + " to " + fixed(*high, 3));
    return {{"samples", dataset.rows.size()},
            {"largest_ms", largest_ms},
            {"smallest_ms", smallest_ms},
            {"usual_ms", usual_ms},
            {"gain_low", *low},
            {"gain_high", *high},
            {"device", device}};
}

Meter<Probe> run_meter(const Project& project, const Target& target, const Weights<float>& weights) {
    const Settings& s = project.settings;
    const JsonView measured = project.results("measure");
    if (const auto device = measured.get<std::string>("device"); target.remote() && device != target.text())
        throw bad_config("latencies were measured on another device: '" + device + "', now '" + s.device_command +
                         "' reaches '" + target.text() + "'; 'hat run --from measure' measures again");
    return Meter<Probe>(target.probe(&weights, to_runtime(s.space().largest())), meter_options(s), SteadyClock{},
                        Milliseconds(measured.get<double>("usual_ms")));
}

double limit_ms(const Project& project) {
    const Settings& s = project.settings;
    if (s.search.latency_limit_ms > 0) return s.search.latency_limit_ms;
    return s.latency_fraction * project.results("measure").get<double>("largest_ms");
}

Json run_predict(const Project& project) {
    const Settings& s = project.settings;
    project.require("measure");
    const auto dataset = LatencyDataset::load(project.latency_file());
    const std::size_t n = dataset.rows.size();
    const DatasetSplit split = split_rows(n, s.seed);
    std::vector<std::size_t> fitted = split.train;
    fitted.insert(fitted.end(), split.validation.begin(), split.validation.end());
    const Predictor predictor = Predictor::fit(dataset, fitted, s.predictor_options, project.pool);
    const Judgement judged = judge(predictor, dataset, split.test);
    Json metrics = judged.metrics(), pairs = Json::array();
    metrics["rows"] = judged.truth.size();
    for (std::size_t i = 0; i < judged.truth.size(); ++i) pairs.push_back({judged.truth[i], judged.predicted[i]});
    predictor.save(project.predictor_file(), {{"model", s.predictor}, {"metrics", metrics.dump()}});
    project.say("predictor (" + s.predictor + ") on " + std::to_string(judged.truth.size()) +
                " held-out networks: RMSE " + fixed(judged.report.rmse, 3) + " ms, MAPE " +
                fixed(judged.report.mape, 2) + " %, Kendall tau " + fixed(judged.report.kendall_tau, 3));
    return {{"metrics", metrics}, {"pairs", pairs}, {"fitted", fitted.size()}};
}

}  // namespace hat::cli
