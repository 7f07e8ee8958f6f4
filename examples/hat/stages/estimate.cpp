// What each stage will cost, from short trials on this machine.

#include <chrono>
#include <hat/model/elastic.hpp>
#include <hat/train/batching.hpp>
#include <stages/measuring.hpp>

namespace hat::cli {

std::vector<std::pair<std::string, double>> estimate(const Project& project) {
    using Clock = std::chrono::steady_clock;
    const auto seconds_of = [](auto&& f) {
        const auto start = Clock::now();
        f();
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    const Settings& s = project.settings;
    Weights<float> weights(project.model_config()), gradient(weights.shared_layout());
    weights.initialize(1);
    auto corpus = project.corpus("train"), valid = project.corpus("valid"), test = project.corpus("test");
    const Batches batches(std::move(corpus.source), std::move(corpus.target),
                          {.max_tokens = static_cast<std::size_t>(s.super_recipe.max_tokens), .too_long = BatchOptions::TooLong::drop});
    const BatchPlan plan = batches.epoch(0);
    const RuntimeArch largest = to_runtime(s.space().largest()), smallest = to_runtime(s.space().smallest());
    ElasticTransformer<float> model(weights, project.pool), alone(weights);
    const auto update = [&](const RuntimeArch& arch) {  // the second batch: the first one also allocates
        const auto once = [&](std::size_t i) {
            (void)model.loss_and_gradient(arch, batches.batch(plan, i % plan.size()), {.dropout = s.super_recipe.dropout}, gradient);
        };
        once(0);
        return seconds_of([&] { once(1); });
    };
    const double big = update(largest), small = update(smallest), optimizer = 0.05 * big;
    auto big_probe = make_probe(weights, largest, s), small_probe = make_probe(weights, smallest, s);
    const auto latency = [&](Probe& p) {
        return seconds_of([&] {
            p.encode();
            p.decode();
        });
    };
    const double slow = latency(big_probe), fast = latency(small_probe);
    const auto score = [&](const RuntimeArch& arch) {
        const Batch batch = batches.batch(plan, 0);
        (void)alone.loss(arch, batch, 0.1);
        const double t = seconds_of([&] { (void)alone.loss(arch, batch, 0.1); });
        return t / static_cast<double>(batch.target_tokens());
    };
    const double sentences = static_cast<double>(s.search_sentences ? std::min(s.search_sentences, valid.source.size()) : valid.source.size());
    const double tokens = static_cast<double>(valid.target.tokens.size()) * sentences / static_cast<double>(valid.target.size());
    const double networks = static_cast<double>(s.search.population) +
                            static_cast<double>(s.search.iterations) * static_cast<double>(s.search.mutations + s.search.crossovers);
    const double threads = static_cast<double>(project.pool.threads());
    const auto freq = [](const TrainingRecipe& r) { return static_cast<double>(r.update_freq) * static_cast<double>(r.max_updates); };
    const double runs = static_cast<double>(s.latency_repeats) + 5;
    const double translate = static_cast<double>(test.source.size()) * slow;

    std::vector<std::pair<std::string, double>> all{
        {"super", freq(s.super_recipe) * (0.5 * (big + small) + optimizer)},
        {"measure", static_cast<double>(s.latency_samples) * (runs * 0.5 * (slow + fast) + 6 * slow)},
        {"predict", s.predictor == "linear" ? 0.1 : 15.0},
        {"search", networks * tokens * 0.5 * (score(largest) + score(smallest)) / threads},
        {"winner", freq(s.sub_recipe) * (0.5 * (big + small) + optimizer)},
        {"baseline", freq(s.sub_recipe) * (big + optimizer)},
        {"quantize", 5.0},
        {"evaluate", 4 * translate},
        {"report", 0.5}};
    std::vector<std::pair<std::string, double>> left;
    for (auto& [name, seconds] : all)
        if (!project.finished(name, stage_identity(s, name))) left.emplace_back(name, seconds);
    return left;
}

}  // namespace hat::cli
