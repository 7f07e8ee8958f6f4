// Translations of the test set, their scores, and latencies measured side by side.

#include <filesystem>
#include <hat/decode/translate.hpp>
#include <hat/model/extract.hpp>
#include <hat/quant/quantized_file.hpp>
#include <hat/space/cost.hpp>
#include <hat/text/bleu.hpp>
#include <hat/text/chrf.hpp>
#include <hat/text/gzip.hpp>
#include <hat/text/significance.hpp>
#include <iostream>
#include <stages/measuring.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

struct Scored {
    std::vector<std::string> translations;
    Json json;
};

Scored score(const Project& project, const std::string& name, const Model& model, const ParallelText& test) {
    const Settings& s = project.settings;
    TranslateOptions options;
    options.search.beam = s.beam;
    options.search.length_penalty = s.length_penalty;
    options.threads = project.pool.threads();
    Translator translator(std::make_shared<const Weights<float>>(model.weights), model.arch,
                          load_tokenizers(project.folder / "data"), options);
    Scored out{translator.translate(test.source), {}};
    const Bleu bleu;
    const auto segments = segment_statistics(bleu, out.translations, test.target);
    const ScoreInterval interval = bootstrap(bleu, segments, 1000, s.seed);
    const BleuScore detail = bleu.result(sum_statistics(segments));
    const Chrf chrf;
    const double chrf_score = chrf.score(sum_statistics(segment_statistics(chrf, out.translations, test.target)));
    out.json = {{"bleu", interval.score},
                {"bleu_low", interval.low},
                {"bleu_high", interval.high},
                {"chrf", chrf_score},
                {"bleu_text", detail.text(bleu.signature())}};
    project.say(name + ": " + detail.text(bleu.signature()) + ", chrF2 " + fixed(chrf_score, 2));
    return out;
}

}  // namespace

Json run_evaluate(const Project& project) {
    const Settings& s = project.settings;
    project.require("data");
    const ParallelText test = read_parallel(project.test_source(), project.test_target());
    const RuntimeArch winner = project.winner(), largest = to_runtime(s.space().largest());
    const Model super = project.load_super();
    Json results;
    std::vector<std::string> best;
    const auto add = [&](const std::string& name, const Model& model, const std::filesystem::path& file) {
        Scored scored = score(project, name, model, test);
        Json& row = results["models"][name] = scored.json;
        CostOptions options = cost_options(model.weights.config());
        options.source_length = options.target_length = static_cast<int>(s.latency_length);
        const Cost c = cost(model.arch, options);
        row["params"] = c.params;
        row["total_params"] = c.total_params;
        row["flops"] = c.flops;
        row["file_bytes"] = std::filesystem::file_size(file);
        return scored.translations;
    };
    const auto file_of = [&](const std::string& stage) { return project.model_folder(stage) / "model.safetensors"; };
    const Model found = load_model(file_of("winner")), baseline = load_model(file_of("baseline"));
    best = add("winner", found, file_of("winner"));
    add("baseline", baseline, file_of("baseline"));
    const Model inherited{extract(super.weights, winner), winner, {}};
    results["inherited"] = score(project, "winner, weights inherited", inherited, test).json;
    for (const std::string name : {"winner", "baseline"}) {
        const auto file = project.quantized_file(name);
        const Model quantized = load_quantized_model(file);
        results["models"][name]["quantized"] =
            score(project, name + ", " + std::to_string(s.bits) + " bits", quantized, test).json;
        results["models"][name]["quantized"]["file_bytes"] = std::filesystem::file_size(file);
    }

    // both networks in one interleaved session, so that their ratio does not depend on the machine's moods
    const Target target(project);
    Meter<Probe> meter = run_meter(project, target, baseline.weights);
    double seconds[2] = {};
    constexpr std::size_t rounds = 5;
    for (std::size_t round = 0; round < rounds; ++round) {
        auto a = target.probe(&found.weights, winner), b = target.probe(&baseline.weights, largest);
        seconds[0] += meter.measure(a).total().count() / rounds;
        seconds[1] += meter.measure(b).total().count() / rounds;
    }
    results["models"]["winner"]["latency_ms"] = seconds[0];
    results["models"]["baseline"]["latency_ms"] = seconds[1];
    results["limit_ms"] = limit_ms(project);

    Json examples = Json::array();
    for (std::size_t i = 0; i < 5; ++i) {
        const std::size_t at = i * test.size() / 5;
        examples.push_back({{"source", test.source[at]}, {"reference", test.target[at]}, {"hypothesis", best[at]}});
        project.say("\nsource     " + test.source[at] + "\nreference  " + test.target[at] + "\nhat        " + best[at]);
    }
    results["examples"] = examples;
    std::string text;
    for (const auto& line : best) text += line + "\n";
    write_file_atomically(project.folder / "winner.test.txt", text);
    return results;
}

}  // namespace hat::cli
