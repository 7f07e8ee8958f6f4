// What each stage will cost, from short trials on this machine.

#include <algorithm>
#include <chrono>
#include <functional>
#include <hat/latency/mlp.hpp>
#include <hat/model/elastic.hpp>
#include <hat/quant/kmeans.hpp>
#include <hat/space/features.hpp>
#include <hat/train/batching.hpp>
#include <span>
#include <stages/measuring.hpp>

namespace hat::cli {
namespace {

// Seconds of a call: the median of some, after a first one that fills caches and allocates.
template <class F>
double seconds_of(F&& f) {
    std::vector<double> times;
    const auto start = std::chrono::steady_clock::now();
    const auto now = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
    f();
    const double warm = now();
    for (double before = warm; times.empty() || before - warm < 0.2;) {
        f();
        const double after = now();
        times.push_back(after - before);
        before = after;
    }
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::nth_element(times.begin(), middle, times.end());
    return *middle;
}

// The predictor's fit, from a few steps on rows of the right size.
double fit_seconds(const Settings& s, const ThreadPool& pool) {
    if (s.predictor == "linear") return 0;
    MlpOptions options = s.predictor == "mlp-paper" ? s.predictor_options.paper : s.predictor_options.mlp;
    // without progress on rows it has not seen the mlp's training ends: usually after a third of its steps
    const double steps = static_cast<double>(options.steps) / (options.validation > 0 ? 3 : 1);
    options.steps = 5;
    options.validation = 0;
    const std::size_t rows = s.latency_samples * 4 / 5;
    std::vector<float> x(rows * OperationFeatures::size), y(rows);
    Rng rng(1);
    for (auto* values : {&x, &y})
        for (float& v : *values) v = static_cast<float>(rng.uniform());
    return seconds_of([&] { Mlp(options).fit(x, y, pool); }) / 5 * steps;
}

}  // namespace

std::vector<std::pair<std::string, double>> estimate(const Project& project) {
    const Settings& s = project.settings;
    std::vector<std::string> left;
    for (const Stage& stage : stages())
        if (!project.finished(stage.name, stage_identity(s, stage.name))) left.push_back(stage.name);
    if (left.empty()) return {};
    const auto is_left = [&](const std::string& name) {
        return std::find(left.begin(), left.end(), name) != left.end();
    };
    const RuntimeArch largest = to_runtime(s.space().largest()), smallest = to_runtime(s.space().smallest());
    Weights<float> weights(project.model_config());
    weights.initialize(1);
    const auto valid = project.corpus("valid"), test = project.corpus("test");
    const double threads = static_cast<double>(project.pool.threads());

    // Latencies. The search is drawn to its limit: that is what its networks cost of the largest one.
    const Target target(project);
    const auto seconds_of_runs = [](Probe probe) {
        const RunTimes times = probe.run({.warmup = 1, .repeats = 1, .min_time = Milliseconds(100)});
        return (summarize_runs(times.encoder, 0).median + summarize_runs(times.decoder, 0).median).count() / 1000;
    };
    const auto latency = [&](const RuntimeArch& arch) { return seconds_of_runs(target.probe(&weights, arch)); };
    const double slow = latency(largest), fast = latency(smallest);
    const double limit = s.search.latency_limit_ms > 0 ? s.search.latency_limit_ms / 1000 / slow : s.latency_fraction;
    const double share = std::min(1.0, std::max(limit, fast / slow));
    const double runs = static_cast<double>(s.latency_repeats + meter_options(s).warmup);
    const double reference = static_cast<double>(meter_options(s).reference_repeats + 1) * slow;

    // losses of the validation set
    const Batches batches(valid.source, valid.target,
                          {.max_tokens = validation_tokens, .too_long = BatchOptions::TooLong::drop});
    const Batch batch = batches.batch(batches.in_order(), 0);
    const double part = static_cast<double>(valid.target.tokens.size()) / static_cast<double>(batch.target_tokens());
    const auto validation = [&](const RuntimeArch& arch, Precision precision = Precision::fp32) {  // by one thread
        ElasticTransformer<float> model(weights);
        return part * seconds_of([&] { (void)model.loss(arch, batch, 0.1, precision); });
    };
    const double slow_loss = validation(largest), fast_loss = validation(smallest);
    const auto validations = [&](const TrainingRecipe& r) {
        if (s.validate_every > 0) return static_cast<double>(r.max_updates) / static_cast<double>(s.validate_every);
        const JsonView train = project.results("data")["train"];
        const double tokens = std::max(train.get<double>("source_tokens"), train.get<double>("target_tokens"));
        return static_cast<double>(r.max_updates) * r.update_freq * r.max_tokens / tokens;
    };
    const auto training = [&](const TrainingRecipe& r, double update, double loss) {
        return static_cast<double>(r.max_updates) * update + validations(r) * loss / threads;
    };

    const double sentences = static_cast<double>(valid.source.size());
    const double scored = s.search_sentences ? std::min(1.0, static_cast<double>(s.search_sentences) / sentences) : 1;
    // many networks come back in later generations, about two fifths in the quickstart's 30
    const double networks =
        s.search.population + 0.6 * s.search.iterations * (s.search.mutations + s.search.crossovers);
    const double candidate = runs * 0.5 * (slow + fast) + reference;
    const double here = target.remote() ? seconds_of_runs(target.here(weights, largest)) : slow;
    const double translation = static_cast<double>(test.target.tokens.size()) / static_cast<double>(s.latency_length) *
                               here * static_cast<double>(s.beam) / static_cast<double>(s.latency_beam);
    const auto some = weights.values().first(std::min<std::size_t>(weights.values().size(), 100000));
    const auto parts = static_cast<double>(weights.values().size()) / static_cast<double>(some.size());
    const double baseline =
        is_left("winner") || is_left("baseline") ? training(s.sub_recipe, time_update(project, largest), slow_loss) : 0;

    const std::pair<std::string, std::function<double()>> all[] = {
        {"data", [] { return 0.0; }},
        {"super", [&] { return training(s.super_recipe, time_super_update(project), slow_loss + fast_loss); }},
        {"measure", [&] { return static_cast<double>(s.latency_samples) * candidate; }},
        {"predict", [&] { return fit_seconds(s, project.pool); }},
        {"search", [&] { return networks * scored * share * validation(largest, s.search_precision) / threads; }},
        {"winner", [&] { return share * baseline; }},
        {"baseline", [&] { return baseline; }},
        {"quantize",
         [&] {
             double once = parts * seconds_of([&] { (void)kmeans(some, std::size_t{1} << s.bits); }) / threads;
             double losses = 4;
             if (s.bit_allocation == "measured") {
                 once *= static_cast<double>(7 + s.bits);
                 losses += static_cast<double>(s.bits);
                 for (const auto& tensor : weights.layout().tensors()) losses += is_quantized(tensor);
             }
             const double update = s.tune_updates > 0 ? time_update(project, largest) : 0;
             return (1 + share) * (once + losses * slow_loss / threads + static_cast<double>(s.tune_updates) * update);
         }},
        {"evaluate", [&] { return (2 + 3 * share) * translation + 10 * candidate; }},
        {"report", [] { return 0.0; }}};
    std::vector<std::pair<std::string, double>> out;
    for (const auto& [name, seconds] : all)
        if (is_left(name)) out.emplace_back(name, seconds());
    return out;
}

}  // namespace hat::cli
