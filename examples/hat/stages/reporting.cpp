// The report of a run: report.json, report.html, and the same as text.

#include <hat/io/atomic_file.hpp>
#include <hat/io/report.hpp>
#include <hat/version.hpp>
#include <iostream>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

ReportModel model_row(const std::string& name, const Json& m) {
    const auto number = [&](const char* key) { return m.at(key).get<double>(); };
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
    row.file_bytes_4bit = m.at("quantized").at("file_bytes").get<double>();
    row.bleu_4bit = m.at("quantized").at("bleu").get<double>();
    return row;
}

void add_curves(ReportData& report, const std::string& name, const Json& history) {
    std::vector<std::string> networks;
    for (const auto& entry : history)
        if (entry.contains("valid_nll"))
            for (const auto& item : entry.at("valid_nll").items())
                if (std::find(networks.begin(), networks.end(), item.key()) == networks.end()) networks.push_back(item.key());
    if (networks.empty()) networks.emplace_back();
    for (const auto& network : networks) {
        ReportCurve curve{networks.size() > 1 ? name + ", " + network : name, {}};
        for (const auto& entry : history) {
            ReportCurve::Point p;
            p.update = entry.at("update").get<double>();
            p.train = entry.at("train_nll").get<double>();
            if (entry.contains("valid_nll") && entry.at("valid_nll").contains(network))
                p.valid = entry.at("valid_nll").at(network).get<double>();
            curve.points.push_back(p);
        }
        report.curves.push_back(std::move(curve));
    }
}

}  // namespace

Json run_report(const Project& project) {
    const Settings& s = project.settings;
    const auto results = [&](const std::string& stage) -> const Json& { return project.require(stage).at("results"); };
    const Json &data = results("data"), &measure = results("measure"), &predict = results("predict"), &search = results("search"),
               &evaluate = results("evaluate");
    const Json &winner = evaluate.at("models").at("winner"), &baseline = evaluate.at("models").at("baseline");
    const auto number = [](const Json& j, const char* key) { return j.at(key).get<double>(); };

    ReportData r;
    r.title = "hat: a translation model for this machine";
    r.models = {model_row("baseline (largest network)", baseline), model_row("SubTransformer found", winner)};
    r.networks = {{"SubTransformer found", project.winner()}, {"baseline", to_runtime(s.space().largest())}};
    r.summary = "Of " + search.at("networks").get<std::string>() + " networks, the one found is " +
                fixed(number(baseline, "latency_ms") / number(winner, "latency_ms"), 2) + " times as fast as the largest, at " +
                fixed(number(winner, "bleu"), 2) + " BLEU against " + fixed(number(baseline, "bleu"), 2) + ".";
    std::string configs;
    for (const auto& file : s.files) configs += " --config " + file;
    r.provenance = {{"command", "hat run" + configs},
                    {"device", measure.at("device").get<std::string>()},
                    {"threads", std::to_string(project.pool.threads()) + " for training and search, " +
                                    std::to_string(s.latency_threads) + " for latency"},
                    {"latency of", "one sentence of " + std::to_string(s.latency_length) + " tokens into " +
                                       std::to_string(s.latency_length) + ", beam " + std::to_string(s.latency_beam)},
                    {"BLEU of", std::to_string(data.at("test").at("pairs").get<std::size_t>()) + " test pairs, beam " +
                                    std::to_string(s.beam) + ", length penalty " + fixed(s.length_penalty, 2)},
                    {"score", winner.at("bleu_text").get<std::string>()},
                    {"inherited weights", "the winner scores " + fixed(number(evaluate.at("inherited"), "bleu"), 2) +
                                              " BLEU before it is trained from scratch"},
                    {"seed", std::to_string(s.seed)},
                    {"version", version}};
    for (const char* part : {"train", "valid", "test"})
        r.data.push_back({part, std::to_string(data.at(part).at("pairs").get<std::size_t>()) + " pairs, " +
                                    std::to_string(data.at(part).at("source_tokens").get<std::size_t>()) + " + " +
                                    std::to_string(data.at(part).at("target_tokens").get<std::size_t>()) + " tokens"});
    r.data.push_back({"filter", data.at("filter").get<std::string>()});
    r.data.push_back({"vocabulary", std::to_string(data.at("source_vocab").get<std::size_t>()) + " " + s.tokenizer + " pieces"});
    for (const auto& pair : predict.at("pairs"))
        r.predictions.push_back({pair.at(0).get<double>(), pair.at(1).get<double>(), true});
    const Json& metrics = predict.at("metrics");
    r.prediction_facts = {{"held-out networks", std::to_string(metrics.at("rows").get<std::size_t>())},
                          {"RMSE", fixed(number(metrics, "rmse_ms"), 3) + " ms"},
                          {"MAE", fixed(number(metrics, "mae_ms"), 3) + " ms"},
                          {"MAPE", fixed(number(metrics, "mape"), 2) + " %"},
                          {"R2", fixed(number(metrics, "r2"), 4)},
                          {"Kendall tau", fixed(number(metrics, "kendall_tau"), 3)}};
    for (const auto& p : search.at("history"))
        r.search.iterations.push_back({number(p, "best_loss"), number(p, "mean_loss"), number(p, "best_latency_ms")});
    r.search.limit_ms = number(search, "limit_ms");
    r.search.predicted_ms = number(search, "predicted_ms");
    r.search.measured_ms = number(search, "measured_ms");
    add_curves(r, "SuperTransformer", results("super").at("history"));
    add_curves(r, "SubTransformer found", results("winner").at("history"));
    add_curves(r, "baseline", results("baseline").at("history"));
    for (const auto& e : evaluate.at("examples"))
        r.examples.push_back({e.at("source").get<std::string>(),
                              e.at("reference").get<std::string>(),
                              {{"SubTransformer found", e.at("hypothesis").get<std::string>()}}});
    for (const Stage& stage : stages())
        if (stage.name != "report") r.stages.push_back({stage.name, project.require(stage.name).at("seconds").get<double>()});

    save_report(project.folder / "report.json", r);
    write_file_atomically(project.folder / "report.html", html_report(r));
    std::cout << text_report(r) << std::flush;
    project.say("report: " + (project.folder / "report.html").string());
    project.say("translate with it: hat translate --model " + project.model_folder("winner").string());
    return Json::object();
}

}  // namespace hat::cli
