#include <chrono>
#include <hat/io/atomic_file.hpp>
#include <hat/io/safetensors.hpp>
#include <hat/train/checkpoint.hpp>
#include <iostream>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {

Project::Project(Settings s, std::filesystem::path f, std::size_t threads, bool q)
    : settings(std::move(s)), folder(std::move(f)), pool(threads), quiet(q) {
    std::error_code failed;
    std::filesystem::create_directories(folder / "data", failed);
    if (failed) throw bad_file(folder.string(), "cannot be created: " + failed.message());
    state_ = Json::object();
    if (std::filesystem::exists(state_file())) {
        state_ = load_json(state_file());
        if (!state_.is_object() || !state_.contains("format") || state_["format"] != "hat run 1")
            throw bad_file(state_file().string(), "is not the state of a run (format \"hat run 1\")");
    } else {
        state_["format"] = "hat run 1";
        state_["stages"] = Json::object();
    }
    notice_skipped_keys(settings.skipped, quiet);
}

void Project::say(const std::string& text) const {
    if (!quiet) std::cerr << text << std::endl;
}

Project::Corpus Project::corpus(const std::string& part) const {
    require("data");
    const SafetensorsFile file(data(part + ".safetensors"));
    const auto side = [&](const std::string& name) {
        Ragged out;
        out.tokens = file.read<std::int32_t>(name + ".tokens");
        const auto offsets = file.read<std::uint64_t>(name + ".offsets");
        out.offsets.assign(offsets.begin(), offsets.end());
        if (out.offsets.empty() || out.offsets.front() != 0 || out.offsets.back() != out.tokens.size() ||
            !std::is_sorted(out.offsets.begin(), out.offsets.end()))
            throw bad_file(file.path(), "tensor " + name + ".offsets does not cut the tokens into sentences");
        return out;
    };
    return {side("source"), side("target")};
}

void Project::copy_tokenizers(const std::filesystem::path& model) const {
    std::filesystem::create_directories(model);
    for (const auto& entry : std::filesystem::directory_iterator(folder / "data"))
        if (const auto name = entry.path().filename().string(); name.ends_with(".spm") || name.ends_with(".dict.txt"))
            write_file_atomically(model / name, read_file(entry.path()));
}

TransformerConfig Project::model_config() const {
    const Json& data = require("data").at("results");
    TransformerConfig c = settings.model;
    c.source_vocab = data.at("source_vocab").get<std::size_t>();
    c.target_vocab = data.at("target_vocab").get<std::size_t>();
    return c;
}

RuntimeArch Project::winner() const {
    const Json& record = require("search");
    return arch_from_json(JsonView(record.at("results").at("arch"), state_file().string(), "stages.search.results.arch"));
}

const Json* Project::finished(const std::string& stage, const Json& identity) const {
    const Json& all = state_.at("stages");
    if (!all.contains(stage)) return nullptr;
    const Json& record = all.at(stage);
    if (record.at("settings") != identity)
        throw bad_config(state_file().string() + ": stage '" + stage + "' was made with other settings (" +
                         detail::first_difference(record.at("settings"), identity, "settings") +
                         "); use another --dir, or --from " + stage + " to make it again");
    return &record;
}

const Json& Project::require(const std::string& stage) const {
    const Json& all = state_.at("stages");
    if (!all.contains(stage))
        throw bad_config(folder.string() + ": stage '" + stage + "' has not been run yet; run it first (or 'hat run')");
    return all.at(stage);
}

void Project::finish(const std::string& stage, const Json& identity, double seconds, Json results) {
    state_["stages"][stage] = {{"settings", identity}, {"seconds", seconds}, {"results", std::move(results)}};
    save_json(state_file(), state_);
}

void Project::forget_from(const std::string& name) {
    bool later = false;
    for (const auto& stage : stages()) {
        later = later || stage.name == name;
        if (!later) continue;
        state_["stages"].erase(stage.name);
        save_json(state_file(), state_);
        for (const char* kind : {"", ".json", ".csv"}) std::filesystem::remove_all(folder / (stage.name + kind));
        if (stage.name == "measure") std::filesystem::remove(latency_file());
        if (stage.name == "predict") std::filesystem::remove(predictor_file());
    }
    if (!later) throw invalid_value("there is no stage '" + name + "'");
}

const std::vector<Stage>& stages() {
    static const std::vector<Stage> all{
        {"data", "read, filter and encode the text", run_data},
        {"super", "train the SuperTransformer", run_super},
        {"measure", "measure latencies on this machine", run_measure},
        {"predict", "fit the latency predictor", run_predict},
        {"search", "search the best SubTransformer under the limit", run_search},
        {"winner", "train the winner from scratch", run_winner},
        {"baseline", "train the largest network for comparison", run_baseline},
        {"quantize", "quantize the winner and the baseline", run_quantize},
        {"evaluate", "translate the test set, measure again", run_evaluate},
        {"report", "write the report", run_report}};
    return all;
}

Json stage_identity(const Settings& s, const std::string& stage) {
    Json id = {{"data", s.data_identity}};
    if (stage == "data") return id;
    id["super"] = s.super_identity;
    if (stage == "super") return id;
    if (stage == "measure") return {{"latency", s.latency_identity}, {"data", s.data_identity}};
    id["latency"] = s.latency_identity;
    id["search"] = s.search_identity;
    if (stage == "predict") return {{"latency", s.latency_identity}, {"data", s.data_identity}, {"predictor", s.search_identity.at("predictor")}};
    if (stage == "search") return id;
    id["sub"] = s.sub_identity;
    if (stage == "winner") return id;
    if (stage == "baseline") return {{"data", s.data_identity}, {"sub", s.sub_identity}, {"super", s.super_identity}};
    id["bits"] = s.bits;
    if (stage == "quantize") return id;
    id["decode"] = {{"beam", s.beam}, {"lenpen", s.length_penalty}};
    return id;
}

bool run_stage(Project& project, const Stage& stage) {
    const Json identity = stage_identity(project.settings, stage.name);
    if (project.finished(stage.name, identity)) return false;
    project.say("== " + stage.name + ": " + stage.what);
    const auto start = std::chrono::steady_clock::now();
    Json results = stage.run(project);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    project.finish(stage.name, identity, seconds, std::move(results));
    project.say("== " + stage.name + ": done in " + duration_text(seconds));
    return true;
}

}  // namespace hat::cli
