#include <chrono>
#include <filesystem>
#include <hat/decode/tokenizers.hpp>
#include <hat/io/safetensors.hpp>
#include <hat/train/checkpoint.hpp>
#include <iostream>
#include <optional>
#include <set>
#include <span>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

constexpr const char* state_format = "hat run 2";

// While this lives, Ctrl-C ends the current step and saves; after it, the program.
struct CaughtSignals {
    CaughtSignals() { save_on_signals(); }
    ~CaughtSignals() { end_on_signals(); }
};

// A value of a record for messages. Of a limit in two ways, the way that was not chosen is 0 there; so is a unit that
// comes from the data.
std::string value_text(const std::string& key, const Json& value) {
    const bool never_zero = key == "latency-constraint" || key == "latency-fraction" || key == "lat-norm";
    return never_zero && value == 0 ? "not set" : value.dump();
}

}  // namespace

Project::Project(Settings s, std::filesystem::path f, std::size_t threads, bool q)
    : settings(std::move(s)), folder(std::move(f)), pool(threads), quiet(q) {
    std::error_code failed;
    std::filesystem::create_directories(folder, failed);
    if (failed) throw bad_file(folder.string(), "cannot be created: " + failed.message());
    lock_ = std::make_unique<FolderLock>(folder);
    state_ = {{"format", state_format}, {"stages", Json::object()}};
    if (std::filesystem::exists(state_file())) {
        state_ = load_json(state_file());
        const JsonView state(state_, state_file().string());
        if (state.get<std::string>("format") != state_format)
            state["format"].fail("is " + state_["format"].dump() + ", expected \"" + state_format +
                                 "\": another version of hat wrote it");
        for (const auto& stage : stages())
            if (state["stages"].has(stage.name)) {
                const JsonView record = state["stages"][stage.name];
                (void)record["settings"];
                (void)record.get<double>("seconds");
                (void)record["results"];
            }
        if (state.has("again"))
            for (std::size_t i = 0; i < state["again"].size(); ++i)
                (void)find_stage(state["again"][i].as<std::string>());
    }
    notice_skipped_keys(settings.skipped, quiet);
}

void Project::say(const std::string& text) const {
    if (quiet) return;
    Progress::make_room();
    std::cerr << text << std::endl;
}

void Project::say_without_tiles(const std::string& key, Precision precision) const {
    if (precision == Precision::bf16x3) return;
    const std::string notice = without_tiles(key + ": ", precision);
    if (!notice.empty()) say(notice);
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

std::string Project::copy_tokenizers(const std::filesystem::path& model) const {
    const TokenizerPair tokenizers = load_tokenizers(folder / "data");
    std::filesystem::create_directories(model);
    save_tokenizers(model, tokenizers);
    return tokenizers_checksum(tokenizers);
}

TransformerConfig Project::model_config() const {
    const JsonView data = results("data");
    TransformerConfig c = settings.model;
    c.source_vocab = data.get<std::size_t>("source_vocab");
    c.target_vocab = data.get<std::size_t>("target_vocab");
    return c;
}

Model Project::load_super() const {
    Model super = load_model(super_model());
    const auto comparable = [](const TransformerConfig& c) {
        return Json{{"network", to_text(canonical(c.shape))},
                    {"source ids", c.source_vocab},
                    {"target ids", c.target_vocab},
                    {"shared embeddings", config_to_json(c).at("sharing")}};
    };
    const Json found = comparable(super.weights.config());
    if (const auto difference =
            settings_difference(JsonView(found, super_model().string()), comparable(model_config()));
        !difference.empty())
        throw bad_file(super_model().string(), "is the SuperTransformer of another run: " + difference +
                                                   "; 'hat run --from super' trains this one's");
    return super;
}

RuntimeArch Project::winner() const { return arch_from_json(results("search")["arch"]); }

const Json* Project::finished(const std::string& stage, const Json& identity) const {
    const JsonView all = JsonView(state_, state_file().string())["stages"];
    if (!all.has(stage)) return nullptr;
    const std::string again = "'hat run --from " + stage + "' makes it again";
    if (const auto difference = settings_difference(all[stage]["settings"], identity); !difference.empty()) {
        for (const Stage& earlier : stages()) {  // if one of them differs, too, it is the one to name
            if (earlier.name == stage) break;
            (void)finished(earlier.name, stage_identity(settings, earlier.name));
        }
        throw bad_config(state_file().string() + ": stage '" + stage + "' was made with other settings: " + difference +
                         "; set it back, use another --dir, or " + again);
    }
    for (const auto& output : find_stage(stage).outputs)
        if (!std::filesystem::exists(folder / output))
            throw bad_file((folder / output).string(),
                           "is missing, though stage '" + stage + "' is finished; " + again);
    return &all[stage].json();
}

const Json& Project::require(const std::string& stage) const {
    const Json* record = finished(stage, stage_identity(settings, stage));
    if (!record)
        throw bad_config(folder.string() + ": stage '" + stage + "' has not been run yet; run it first (or 'hat run')");
    return *record;
}

JsonView Project::results(const std::string& stage) const {
    return JsonView(require(stage), state_file().string(), "stages." + stage)["results"];
}

void Project::finish(const std::string& stage, const Json& identity, double seconds, Json results) {
    state_["stages"][stage] = {{"settings", identity}, {"seconds", seconds}, {"results", std::move(results)}};
    save_json(state_file(), state_);
}

void Project::forget_from(const std::string& name) {
    const auto first = &find_stage(name) - stages().data();
    const std::span<const Stage> forgotten = std::span(stages()).subspan(static_cast<std::size_t>(first));
    std::set<std::string> again = state_.value("again", std::set<std::string>{});
    for (const auto& stage : forgotten) {
        state_["stages"].erase(stage.name);
        again.insert(stage.name);
    }
    state_["again"] = again;
    save_json(state_file(), state_);
}

void Project::make_room_for(const Stage& stage) {
    std::set<std::string> again = state_.value("again", std::set<std::string>{});
    if (again.erase(stage.name) == 0) return;
    for (const auto& output : stage.outputs) {
        std::error_code failed;
        std::filesystem::remove_all(folder / output, failed);
        if (failed) throw bad_file((folder / output).string(), "cannot be removed: " + failed.message());
    }
    state_["again"] = again;
    save_json(state_file(), state_);
}

const std::vector<Stage>& stages() {
    const std::string model = "/model/model.safetensors", quantized = "/quantized";
    static const std::vector<Stage> all{
        {"data", "read, filter and encode the text", run_data, {"data"}},
        {"super", "train the SuperTransformer", run_super, {"super" + model, "super"}, true},
        {"measure", "measure the latencies of sampled networks", run_measure, {"latency.csv", "latency.json"}, true},
        {"predict", "fit the latency predictor", run_predict, {"predictor.safetensors"}},
        {"search", "search the best SubTransformer under the limit", run_search, {"search.json"}, true},
        {"winner", "train the winner from scratch", run_winner, {"winner" + model, "winner"}, true},
        {"baseline", "train the largest network for comparison", run_baseline, {"baseline" + model, "baseline"}, true},
        {"quantize",
         "quantize the winner and the baseline",
         run_quantize,
         {"winner" + quantized, "baseline" + quantized},
         true},
        {"evaluate", "translate the test set, measure again", run_evaluate, {"winner.test.txt"}},
        {"report", "write the report", run_report, {"report.json", "report.html"}}};
    return all;
}

const Stage& find_stage(const std::string& name) {
    for (const Stage& stage : stages())
        if (stage.name == name) return stage;
    std::string names;
    for (const Stage& stage : stages()) names += (names.empty() ? "" : ", ") + stage.name;
    throw invalid_value("there is no stage '" + name + "', expected one of " + names);
}

Json stage_identity(const Settings& s, const std::string& stage) {
    Json id = s.data_identity;
    if (stage == "data") return id;
    id.update(s.model_identity);
    if (stage == "measure" || stage == "predict") {
        id.update(s.latency_identity);
        if (stage == "predict") id.update(s.predictor_identity);
        return id;
    }
    id.update(s.training_identity);
    if (stage == "baseline") {
        id.update(s.sub_identity);
        return id;
    }
    id["sample-over"] = s.sample_over;
    if (stage == "super") return id;
    for (const Json* more : {&s.latency_identity, &s.predictor_identity, &s.search_identity}) id.update(*more);
    if (stage == "search") return id;
    id.update(s.sub_identity);
    if (stage == "winner") return id;
    id["bits"] = s.bits;
    id["bit-allocation"] = s.bit_allocation;
    id["tune-updates"] = s.tune_updates;
    id["tune-lr"] = s.tune_updates > 0 ? s.tune_lr : 0;
    if (stage == "quantize") return id;
    id["beam"] = s.beam;
    id["lenpen"] = s.length_penalty;
    return id;
}

std::string settings_difference(const JsonView& before, const Json& now) {
    std::string added;
    for (const auto& item : now.items()) {
        if (!before.has(item.key())) {
            // searches had floats only before there was the key
            if (item.key() == "search-precision" && item.value() == name_of(Precision::fp32)) continue;
            added = "'" + item.key() + "' was not set, now is " + item.value().dump();
            continue;
        }
        const Json& old = before[item.key()].json();
        if (old != item.value())
            return "'" + item.key() + "' was " + value_text(item.key(), old) + ", now is " +
                   value_text(item.key(), item.value());
    }
    for (const auto& item : before.json().items())
        if (!now.contains(item.key())) return "'" + item.key() + "' was " + item.value().dump() + ", now is not set";
    return added;
}

bool run_stage(Project& project, const Stage& stage) {
    const Json identity = stage_identity(project.settings, stage.name);
    if (project.finished(stage.name, identity)) return false;
    stop_if_requested("before stage '" + stage.name + "'; the same command goes on from there");
    std::optional<CaughtSignals> caught;
    if (stage.saves_when_stopped) caught.emplace();
    project.say("== " + stage.name + ": " + stage.what);
    const auto start = std::chrono::steady_clock::now();
    project.make_room_for(stage);
    Json results = stage.run(project);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    project.finish(stage.name, identity, seconds, std::move(results));
    project.say("== " + stage.name + ": done in " + duration_text(seconds));
    return true;
}

}  // namespace hat::cli
