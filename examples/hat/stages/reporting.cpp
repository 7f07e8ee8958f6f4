// The report of a run: report.json, report.html, and the same as text.

#include <cmath>
#include <hat/io/atomic_file.hpp>
#include <hat/io/report.hpp>
#include <hat/version.hpp>
#include <iostream>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

ReportModel model_row(const std::string& name, const JsonView& m) {
    const auto number = [&](const char* key) { return m.get<double>(key); };
    ReportModel row;
    row.name = name;
    row.bleu = number("bleu");
    row.bleu_low = number("bleu_low");
    row.bleu_high = number("bleu_high");
    row.chrf = number("chrf");
    row.latency_ms = number("latency_ms");
    row.params = number("params");
    row.flops = number("flops");
    row.file_bytes = number("file_bytes");
    row.file_bytes_4bit = m["quantized"].get<double>("file_bytes");
    row.bleu_4bit = m["quantized"].get<double>("bleu");
    return row;
}

void add_curves(ReportData& report, const std::string& name, const JsonView& history) {
    std::vector<std::string> networks;
    for (std::size_t i = 0; i < history.size(); ++i)
        if (history[i].has("valid_nll"))
            for (const auto& item : history[i]["valid_nll"].json().items())
                if (std::find(networks.begin(), networks.end(), item.key()) == networks.end())
                    networks.push_back(item.key());
    if (networks.empty()) networks.emplace_back();
    for (const auto& network : networks) {
        ReportCurve curve{networks.size() > 1 ? name + ", " + network : name, {}};
        for (std::size_t i = 0; i < history.size(); ++i) {
            const JsonView entry = history[i];
            ReportCurve::Point p;
            p.update = entry.get<double>("update");
            p.train = entry.get<double>("train_nll");
            if (entry.has("valid_nll") && entry["valid_nll"].has(network))
                p.valid = entry["valid_nll"].get<double>(network);
            curve.points.push_back(p);
        }
        report.curves.push_back(std::move(curve));
    }
}

}  // namespace

Json run_report(const Project& project) {
    const Settings& s = project.settings;
    const JsonView data = project.results("data"), measure = project.results("measure"),
                   predict = project.results("predict"), search = project.results("search"),
                   evaluate = project.results("evaluate");
    const JsonView winner = evaluate["models"]["winner"], baseline = evaluate["models"]["baseline"];

    ReportData r;
    r.title = "hat: a translation model for this machine";
    r.models = {model_row("baseline (largest network)", baseline), model_row("SubTransformer found", winner)};
    r.networks = {{"SubTransformer found", project.winner()}, {"baseline", to_runtime(s.space().largest())}};
    r.summary = "Of " + search.get<std::string>("networks") + " networks, the one found is " +
                fixed(baseline.get<double>("latency_ms") / winner.get<double>("latency_ms"), 2) +
                " times as fast as the largest, at " + fixed(winner.get<double>("bleu"), 2) + " BLEU against " +
                fixed(baseline.get<double>("bleu"), 2) + ".";
    // The table's latencies are of a session of their own; what it says about the limit is said, whatever it is.
    const double limit = evaluate.get<double>("limit_ms"), final_ms = winner.get<double>("latency_ms");
    const double excess = 100 * (final_ms / limit - 1);
    r.summary += " In the table's session it takes " + fixed(final_ms, 2) + " ms, " + fixed(std::abs(excess), 1) +
                 " % " + (excess > 0 ? "more" : "less") + " than the limit of " + fixed(limit, 2) + " ms.";
    std::string configs;
    for (const auto& file : s.files) configs += " --config " + file;
    r.provenance = {{"command", "hat run" + configs},
                    {"device", measure.get<std::string>("device")},
                    {"threads", std::to_string(project.pool.threads()) + " for training and search, " +
                                    std::to_string(s.latency_threads) + " for latency"},
                    {"latency of", "one sentence of " + std::to_string(s.latency_length) + " tokens into " +
                                       std::to_string(s.latency_length) + ", beam " + std::to_string(s.latency_beam)},
                    {"BLEU of", std::to_string(data["test"].get<std::size_t>("pairs")) + " test pairs, beam " +
                                    std::to_string(s.beam) + ", length penalty " + fixed(s.length_penalty, 2)},
                    {"score", winner.get<std::string>("bleu_text")},
                    {"inherited weights", "the winner scores " + fixed(evaluate["inherited"].get<double>("bleu"), 2) +
                                              " BLEU before it is trained from scratch"},
                    {"seed", std::to_string(s.seed)},
                    {"version", version}};
    for (const char* part : {"train", "valid", "test"})
        r.data.push_back({part, std::to_string(data[part].get<std::size_t>("pairs")) + " pairs, " +
                                    std::to_string(data[part].get<std::size_t>("source_tokens")) + " + " +
                                    std::to_string(data[part].get<std::size_t>("target_tokens")) + " tokens"});
    r.data.push_back({"filter", data.get<std::string>("filter")});
    r.data.push_back(
        {"vocabulary", std::to_string(data.get<std::size_t>("source_vocab")) + " " + s.tokenizer + " pieces"});
    const JsonView pairs = predict["pairs"], metrics = predict["metrics"], history = search["history"],
                   examples = evaluate["examples"];
    for (std::size_t i = 0; i < pairs.size(); ++i)
        r.predictions.push_back({pairs[i][0].as<double>(), pairs[i][1].as<double>(), true});
    r.prediction_facts = {{"held-out networks", std::to_string(metrics.get<std::size_t>("rows"))},
                          {"RMSE", fixed(metrics.get<double>("rmse_ms"), 3) + " ms"},
                          {"MAE", fixed(metrics.get<double>("mae_ms"), 3) + " ms"},
                          {"MAPE", fixed(metrics.get<double>("mape"), 2) + " %"},
                          {"R2", fixed(metrics.get<double>("r2"), 4)},
                          {"Kendall tau", fixed(metrics.get<double>("kendall_tau"), 3)}};
    for (const auto& [stage, name] : {std::pair("winner", "SubTransformer found"), std::pair("baseline", "baseline")}) {
        const JsonView steps = project.results("quantize")[stage]["steps"], m = evaluate["models"][stage];
        for (std::size_t i = 0; i < steps.size(); ++i) {
            const auto step = steps[i].get<std::string>("step");
            r.quantization.push_back({std::string(i == 0 ? name : "") + (i == 0 ? ", " : "  ") + step,
                                      "validation nll " + fixed(steps[i].get<double>("valid_nll"), 4) +
                                          (steps[i].get<bool>("kept") ? "" : ", no better: left out")});
        }
        r.quantization.push_back({"  BLEU", fixed(m.get<double>("bleu"), 2) + " before, " +
                                                fixed(m["quantized"].get<double>("bleu"), 2) + " after"});
    }
    for (std::size_t i = 0; i < history.size(); ++i)
        r.search.iterations.push_back({history[i].get<double>("best_loss"), history[i].get<double>("mean_loss"),
                                       history[i].get<double>("best_latency_ms")});
    r.search.limit_ms = search.get<double>("limit_ms");
    r.search.predicted_ms = search.get<double>("predicted_ms");
    r.search.measured_ms = search.get<double>("measured_ms");
    add_curves(r, "SuperTransformer", project.results("super")["history"]);
    add_curves(r, "SubTransformer found", project.results("winner")["history"]);
    add_curves(r, "baseline", project.results("baseline")["history"]);
    for (std::size_t i = 0; i < examples.size(); ++i)
        r.examples.push_back({examples[i].get<std::string>("source"),
                              examples[i].get<std::string>("reference"),
                              {{"SubTransformer found", examples[i].get<std::string>("hypothesis")}}});
    for (const Stage& stage : stages())
        if (stage.name != "report")
            r.stages.push_back({stage.name, project.require(stage.name).at("seconds").get<double>()});

    save_report(project.folder / "report.json", r);
    write_file_atomically(project.folder / "report.html", html_report(r));
    std::cout << text_report(r) << std::flush;
    project.say("report: " + (project.folder / "report.html").string());
    project.say("translate with it: hat translate --model " + project.model_folder("winner").string());
    return Json::object();
}

}  // namespace hat::cli
