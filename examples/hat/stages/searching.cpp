// The evolutionary search under the latency limit.

#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/search/searcher.hpp>
#include <hat/search/state_file.hpp>
#include <hat/space/text.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/inherited_loss.hpp>
#include <hat/train/trainer.hpp>
#include <numeric>
#include <predictors.hpp>
#include <stages/measuring.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

struct RunPolicy : SearchDefaults {
    RuntimeSpace space;
    Predictor latency;
    InheritedLoss fitness;
    ThreadPool executor;
    std::function<void(const hat::Progress&)> observer;
};

}  // namespace

Json run_search(const Project& project) {
    const Settings& s = project.settings;
    const Model super = project.load_super();
    auto scored_on = validation_batches(project, s.search_sentences);
    std::size_t sentences = 0;
    for (const auto& batch : scored_on) sentences += batch.source.size();
    if (const long most = s.search.validation_batches; most > 0 && static_cast<std::size_t>(most) < scored_on.size())
        scored_on.resize(static_cast<std::size_t>(most));

    const double limit = limit_ms(project);
    Budget budget;
    budget.latency = Milliseconds(limit);
    budget.population = static_cast<std::size_t>(s.search.population);
    budget.parents = static_cast<std::size_t>(s.search.parents);
    budget.mutations = static_cast<std::size_t>(s.search.mutations);
    budget.crossovers = static_cast<std::size_t>(s.search.crossovers);
    budget.iterations = static_cast<std::size_t>(s.search.iterations);

    project.say_without_tiles("search-precision", s.search_precision);
    Progress progress("search", budget.iterations + 1, project.quiet);
    RunPolicy policy{{},
                     s.space(),
                     Predictor::load(project.predictor_file()),
                     InheritedLoss(super.weights, scored_on,
                                   {.label_smoothing = s.super_recipe.label_smoothing,
                                    .precision = s.search_precision,
                                    .encoder_cache_bytes = std::size_t{256} << 20}),
                     project.pool,
                     nullptr};
    policy.mutation.probability = s.search.mutation_probability;
    policy.observer = [&](const hat::Progress& p) {
        progress.update(p.iteration + 1, "best loss " + fixed(p.best_loss, 4) + " at " +
                                             fixed(p.best_latency.count(), 2) + " ms, mean " + fixed(p.mean_loss, 4) +
                                             ", " + std::to_string(p.evaluations) + " networks scored");
    };
    const Searcher<RunPolicy> searcher(policy);
    const auto file = project.folder / "search.json";
    const std::string scores =
        "weights " + std::to_string(crc32(read_file(project.super_model()))) + ", predictor " +
        std::to_string(crc32(read_file(project.predictor_file()))) + ", sentences " + std::to_string(sentences) +
        ", batches " + std::to_string(scored_on.size()) +
        (s.search_precision == Precision::fp32 ? "" : ", precision " + std::string(name_of(s.search_precision)));
    auto state = std::filesystem::exists(file) ? load_search(file, searcher, budget, s.seed, scores)
                                               : searcher.start(budget, s.seed);
    progress.resumed(state.history.size());
    while (!searcher.finished(state)) {
        try {
            searcher.step(state);
        } catch (const infeasible& e) {
            const bool given = s.search.latency_limit_ms > 0;
            throw infeasible(std::string(e.what()) + "; raise '" + (given ? "latency-constraint" : "latency-fraction") +
                             "', now " +
                             (given ? significant(s.search.latency_limit_ms, 4) + " ms"
                                    : fixed(s.latency_fraction, 3) + " of the largest network's " +
                                          significant(limit / s.latency_fraction, 4) + " ms"));
        }
        save_search(file, searcher, state, scores);
        stop_if_requested("the search stopped after generation " + std::to_string(state.history.size() - 1) +
                          "; the same command goes on from there");
    }
    progress.finish();
    // Measured again before it is believed: the best network that also measures within the limit wins. Predictions err
    // by a few per cent, and a search under a limit finds networks just below it.
    const RuntimeArch largest = to_runtime(s.space().largest());
    const Target device(project);
    Meter<Probe> meter = run_meter(project, device, super.weights);
    const auto measure = [&](const RuntimeArch& arch) {
        auto probe = device.probe(&super.weights, arch);
        return meter.measure(probe).total();
    };
    std::vector<std::size_t> order(state.networks.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return state.networks[a].loss < state.networks[b].loss; });
    auto found = searcher.result(state);
    Milliseconds measured = measure(found.arch);
    std::size_t tried = 1;
    for (std::size_t i = 0; measured.count() > limit && i < order.size() && tried < 20; ++i) {
        const auto& candidate = state.networks[order[i]];
        const RuntimeArch arch = s.space().decode(candidate.gene);
        if (arch == found.arch) continue;
        ++tried;
        if (const Milliseconds t = measure(arch); t.count() <= limit) {
            found = {arch, candidate.loss, candidate.latency};
            measured = t;
        }
    }
    const Milliseconds baseline = measure(largest);
    project.say("found, under a limit of " + fixed(limit, 2) + " ms (predicted " + fixed(found.latency.count(), 2) +
                ", measured " + fixed(measured.count(), 2) + "; the largest network: " + fixed(baseline.count(), 2) +
                "):\n" + describe(found.arch));
    if (tried > 1)
        project.say("measured " + std::to_string(tried) + " of the best networks: the better ones were over the limit");
    if (measured.count() > limit)
        project.say("notice: all of them measure over the limit; the winner by " +
                    fixed(100 * (measured.count() / limit - 1), 1) + " %");
    Json history = Json::array();
    for (const auto& p : state.history)
        history.push_back({{"iteration", p.iteration},
                           {"best_loss", p.best_loss},
                           {"best_latency_ms", p.best_latency.count()},
                           {"mean_loss", p.mean_loss},
                           {"evaluations", p.evaluations},
                           {"cache_hits", p.cache_hits}});
    return {{"arch", arch_to_json(found.arch)},
            {"loss", found.loss},
            {"limit_ms", limit},
            {"predicted_ms", found.latency.count()},
            {"measured_ms", measured.count()},
            {"largest_ms", baseline.count()},
            {"measured_networks", tried},
            {"history", history},
            {"evaluations", state.history.back().evaluations},
            {"networks", s.space().network_count().text()}};
}

}  // namespace hat::cli
