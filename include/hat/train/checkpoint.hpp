#pragma once
/// \file
/// Training that can be stopped at any moment. A folder holds one sub-folder per checkpoint,
///
///     update_00000120/weights.safetensors    a model file, loadable on its own
///     update_00000120/optimizer.safetensors  moments and step counts
///     update_00000120/state.json             where training is, and what it is a training of
///     pause_00000137/...                     the same, written by a stop or by the clock: only to go on from
///     latest.json, best.json                 name the sub-folder that counts
///
/// and `latest.json` is replaced, atomically, only when a checkpoint is complete: after a crash or `kill -9` it names
/// the one before, or null if there is none. Optional: needs nlohmann_json (target hat::json).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <hat/io/safetensors.hpp>
#include <hat/model/model_file.hpp>
#include <hat/model/weights.hpp>
#include <hat/space/arch.hpp>
#include <hat/train/adam.hpp>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace hat {

/// Losses per target token, natural logarithms.
struct TokenLoss {
    double loss = 0;                                                       ///< label-smoothed
    double nll = 0;                                                        ///< not smoothed: perplexity is exp(nll)
    friend bool operator==(const TokenLoss&, const TokenLoss&) = default;  ///< memberwise
};

/// One validation, for curves.
struct HistoryEntry {
    std::uint64_t update = 0;                  ///< completed updates
    std::uint64_t epoch = 0;                   ///< completed epochs
    double lr = 0;                             ///< the rate of the last update
    double seconds = 0;                        ///< training time so far
    TokenLoss train{};                         ///< mean since the validation before
    std::map<std::string, TokenLoss> valid{};  ///< by name of the validated architecture
};

/// Where a training is. With the weights and the optimiser's state, all that is needed to go on: everything random is
/// a function of seed, epoch and update number.
struct TrainingState {
    std::uint64_t update = 0;             ///< completed updates
    std::uint64_t epoch = 0;              ///< completed epochs
    std::uint64_t batch = 0;              ///< batches of this epoch that are done
    std::optional<double> best{};         ///< best validation loss so far
    std::uint64_t best_update = 0;        ///< and its update
    std::uint64_t strikes = 0;            ///< validations since then
    double seconds = 0;                   ///< training time, all sessions
    double loss_sum = 0;                  ///< label-smoothed loss since the last validation
    double nll_sum = 0;                   ///< negative log-likelihood since then
    std::uint64_t tokens = 0;             ///< target tokens since the last validation
    std::vector<HistoryEntry> history{};  ///< all validations, oldest first
};

namespace detail {

inline Json to_json(const TokenLoss& l) { return {{"loss", l.loss}, {"nll", l.nll}}; }
inline TokenLoss token_loss_from_json(const JsonView& j) { return {j.get<double>("loss"), j.get<double>("nll")}; }

inline Json to_json(const TrainingState& s) {
    Json history = Json::array();
    for (const auto& h : s.history) {
        Json valid = Json::object();
        for (const auto& [name, loss] : h.valid) valid[name] = to_json(loss);
        history.push_back({{"update", h.update},
                           {"epoch", h.epoch},
                           {"lr", h.lr},
                           {"seconds", h.seconds},
                           {"train", to_json(h.train)},
                           {"valid", valid}});
    }
    return {{"update", s.update},
            {"epoch", s.epoch},
            {"batch", s.batch},
            {"best", s.best ? Json(*s.best) : Json()},
            {"best_update", s.best_update},
            {"strikes", s.strikes},
            {"seconds", s.seconds},
            {"loss_sum", s.loss_sum},
            {"nll_sum", s.nll_sum},
            {"tokens", s.tokens},
            {"history", history}};
}

inline TrainingState state_from_json(const JsonView& j) {
    TrainingState s;
    s.update = j.get<std::uint64_t>("update");
    s.epoch = j.get<std::uint64_t>("epoch");
    s.batch = j.get<std::uint64_t>("batch");
    if (!j["best"].json().is_null()) s.best = j.get<double>("best");
    s.best_update = j.get<std::uint64_t>("best_update");
    s.strikes = j.get<std::uint64_t>("strikes");
    s.seconds = j.get<double>("seconds");
    s.loss_sum = j.get<double>("loss_sum");
    s.nll_sum = j.get<double>("nll_sum");
    s.tokens = j.get<std::uint64_t>("tokens");
    const JsonView history = j["history"];
    for (std::size_t i = 0; i < history.size(); ++i) {
        const JsonView h = history[i];
        HistoryEntry e{h.get<std::uint64_t>("update"), h.get<std::uint64_t>("epoch"),    h.get<double>("lr"),
                       h.get<double>("seconds"),       token_loss_from_json(h["train"]), {}};
        const JsonView valid = h["valid"];
        for (const auto& item : valid.json().items()) e.valid[item.key()] = token_loss_from_json(valid[item.key()]);
        s.history.push_back(std::move(e));
    }
    return s;
}

/// The first difference of two JSON values: "a.b is 1, expected 2"; empty if there is none.
inline std::string first_difference(const Json& found, const Json& expected, const std::string& path) {
    if (found == expected) return "";
    if (found.is_object() && expected.is_object()) {
        for (const auto& item : expected.items()) {
            const std::string key = path + "." + item.key();
            if (!found.contains(item.key())) return key + " is missing, expected " + item.value().dump();
            if (auto text = first_difference(found[item.key()], item.value(), key); !text.empty()) return text;
        }
        for (const auto& item : found.items())
            if (!expected.contains(item.key()))
                return path + "." + item.key() + " is " + item.value().dump() + ", expected nothing";
    }
    return path + " is " + found.dump() + ", expected " + expected.dump();
}

}  // namespace detail

/// Why a checkpoint is written.
enum class CheckpointKind {
    planned,  ///< at an interval, with a new best loss, at the end: an uninterrupted training writes it too
    pause     ///< when someone stops, or time has passed: no result may depend on it
};

/// The checkpoints of one training.
class CheckpointFolder {
public:
    /// Keeps the last `keep_last` (at least 1) planned checkpoints, the best one, and the newest of any kind.
    explicit CheckpointFolder(std::filesystem::path path, std::size_t keep_last = 1)
        : path_(std::move(path)), keep_last_(keep_last) {
        if (keep_last_ < 1) throw invalid_value("hat::CheckpointFolder: keep_last is 0, expected at least 1");
    }

    /// The folder of all checkpoints.
    const std::filesystem::path& path() const { return path_; }
    /// Whether there is a checkpoint to resume from. Throws bad_file when there are checkpoints, but no `latest.json`.
    bool exists() const {
        const auto all = names();  // before the look for latest.json, which is written first
        if (std::filesystem::exists(path_ / "latest.json")) return pointed("latest.json").has_value();
        if (all.empty()) return false;
        std::string newest = all.back();
        for (const auto& name : all)
            if (std::filesystem::exists(path_ / name / "state.json")) newest = name;
        throw bad_file((path_ / "latest.json").string(),
                       "is missing, but there are checkpoints: put it back (it is {\"folder\": \"" + newest +
                           "\"} for the newest), or remove " + path_.string() + " to start over");
    }
    /// The newest checkpoint's sub-folder. Throws bad_file when there is none.
    std::filesystem::path latest() const { return required("latest.json"); }
    /// The sub-folder of the checkpoint with the best validation loss. Throws bad_file when there is none.
    std::filesystem::path best() const { return required("best.json"); }
    /// Whether there is a best checkpoint: training without validation has none.
    bool has_best() const { return std::filesystem::exists(path_ / "best.json"); }
    /// The model file of a checkpoint.
    static std::filesystem::path weights_file(const std::filesystem::path& checkpoint) {
        return checkpoint / "weights.safetensors";
    }
    /// Whether the newest checkpoint is a pause. Throws bad_file when there is none.
    bool paused() const { return latest().filename().string().starts_with(pause); }
    /// The model files of the last `count` planned checkpoints (fewer, if there are fewer), oldest first: the same
    /// however often training was interrupted.
    std::vector<std::filesystem::path> recent_weights(std::size_t count) const {
        const std::string newest = latest().filename().string();
        std::vector<std::filesystem::path> files;
        for (const auto& name : names())
            if (is_planned(name, newest)) files.push_back(weights_file(path_ / name));
        if (files.size() > count) files.erase(files.begin(), files.end() - static_cast<std::ptrdiff_t>(count));
        return files;
    }

    /// Writes a checkpoint and then forgets old ones. `identity` says what is being trained (model, space, data,
    /// options): load() refuses a checkpoint with another one. `arch` is the network the model file names.
    /// Returns the sub-folder. Throws bad_file; the checkpoints before are then still there.
    std::filesystem::path save(const Weights<float>& weights, const Adam<float>& adam, const TrainingState& state,
                               const RuntimeArch& arch, const Json& identity, bool is_best,
                               CheckpointKind kind = CheckpointKind::planned) const {
        const auto folder = path_ / name_of(state.update, kind);
        try {
            std::filesystem::create_directories(path_);
            if (!std::filesystem::exists(path_ / "latest.json"))
                save_json(path_ / "latest.json", {{"folder", nullptr}});  // who finds none later knows that it was lost
            if (!is_pointed("latest.json", folder) && !is_pointed("best.json", folder))
                std::filesystem::remove_all(folder);  // what a killed process left
            std::filesystem::create_directories(folder);
        } catch (const std::filesystem::filesystem_error& e) {
            throw bad_file(folder.string(), "cannot be created: " + e.code().message());
        }
        save_model(weights_file(folder), weights, arch, {{"update", std::to_string(state.update)}});
        SafetensorsWriter optimizer;
        optimizer.metadata["update"] = std::to_string(state.update);
        add_tensors(optimizer, adam.first, "first/");
        add_tensors(optimizer, adam.second, "second/");
        optimizer.add<std::uint64_t>("steps", {adam.steps.size()}, adam.steps);
        optimizer.save(folder / "optimizer.safetensors");
        save_json(folder / "state.json",
                  {{"format", "hat training 1"}, {"identity", identity}, {"state", detail::to_json(state)}});
        const Json pointer = {{"folder", folder.filename().string()}};
        if (is_best) save_json(path_ / "best.json", pointer);
        save_json(path_ / "latest.json", pointer);
        prune();
        return folder;
    }

    /// Reads the newest checkpoint. Throws bad_file when a file (`best.json`, too) is missing, truncated, corrupt or of
    /// another update, or when the checkpoint has another identity (e.g. another space); weights and optimiser are then
    /// unchanged.
    TrainingState load(Weights<float>& weights, Adam<float>& adam, const Json& identity) const {
        const auto folder = latest();
        const Json json = load_json(folder / "state.json");
        const JsonView view(json, (folder / "state.json").string());
        if (view.get<std::string>("format") != "hat training 1")
            view["format"].fail("is " + view["format"].json().dump() + ", expected \"hat training 1\"");
        const JsonView found = view["identity"];
        for (const auto& item : identity.items()) {
            const Json absent;
            const Json& value = found.has(item.key()) ? found[item.key()].json() : absent;
            if (const auto text = detail::first_difference(value, item.value(), item.key()); !text.empty())
                throw bad_file(found.file(), "this is a checkpoint of another " + item.key() + ": " + text);
        }
        TrainingState state = detail::state_from_json(view["state"]);
        if (state.best && !has_best())
            throw bad_file((path_ / "best.json").string(), "is missing: put it back (it is {\"folder\": \"" +
                                                               name_of(state.best_update, CheckpointKind::planned) +
                                                               "\"}), or remove " + path_.string() + " to start over");
        Model model = load_model(weights_file(folder));
        if (model.weights.config() != weights.config())
            throw bad_file(weights_file(folder).string(),
                           "this is a checkpoint of another model: " +
                               detail::first_difference(config_to_json(model.weights.config()),
                                                        config_to_json(weights.config()), "config"));
        const SafetensorsFile optimizer(folder / "optimizer.safetensors", SafetensorsFile::Checksum::later);
        Adam<float> restored = adam;
        read_tensors(optimizer, restored.first, "first/");
        read_tensors(optimizer, restored.second, "second/");
        optimizer.read<std::uint64_t>("steps", {restored.steps.size()}, std::span<std::uint64_t>(restored.steps));
        optimizer.require_intact();
        const std::string update = std::to_string(state.update);
        if (model.notes["update"] != update || optimizer.metadata("update") != update)
            throw bad_file(folder.string(), "weights are of update " + model.notes["update"] +
                                                " and the optimizer of " + optimizer.metadata("update") +
                                                ", expected " + update);
        adam = std::move(restored);
        std::copy_n(model.weights.values().data(), weights.values().size(), weights.values().data());
        return state;
    }

private:
    static constexpr std::string_view planned = "update_", pause = "pause_";

    static std::string name_of(std::uint64_t update, CheckpointKind kind) {
        char digits[24];
        std::snprintf(digits, sizeof digits, "%08llu", static_cast<unsigned long long>(update));
        return std::string(kind == CheckpointKind::planned ? planned : pause) + digits;
    }
    /// The digits of a sub-folder's name.
    static std::string update_of(const std::string& name) { return name.substr(name.find('_') + 1); }
    /// Names of all checkpoint sub-folders, oldest first.
    std::vector<std::string> names() const {
        std::vector<std::string> found;
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator(path_, ignored))
            if (const auto name = entry.path().filename().string();
                name.starts_with(planned) || name.starts_with(pause))
                found.push_back(name);
        std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return update_of(a) < update_of(b); });
        return found;
    }
    /// Whether this is a complete planned checkpoint, not of a future that was given up.
    bool is_planned(const std::string& name, const std::string& newest) const {
        return name.starts_with(planned) && update_of(name) <= update_of(newest) &&
               std::filesystem::exists(path_ / name / "state.json");
    }
    /// What a file points to; nothing if that is null.
    std::optional<std::filesystem::path> pointed(const char* pointer) const {
        const Json json = load_json(path_ / pointer);
        const JsonView folder = JsonView(json, (path_ / pointer).string())["folder"];
        if (folder.json().is_null()) return std::nullopt;
        return path_ / folder.as<std::string>();
    }
    std::filesystem::path required(const char* pointer) const {
        if (auto folder = pointed(pointer)) return *std::move(folder);
        throw bad_file((path_ / pointer).string(), "names no checkpoint: none was finished");
    }
    bool is_pointed(const char* pointer, const std::filesystem::path& folder) const {
        return std::filesystem::exists(path_ / pointer) && pointed(pointer) == folder;
    }
    /// Removes old checkpoints and what killed processes left. A folder that cannot be removed is no reason to stop.
    void prune() const {
        const auto newest = latest().filename().string();
        std::size_t kept = 0;
        const auto all = names();
        std::error_code ignored;
        for (auto name = all.rbegin(); name != all.rend(); ++name) {
            const auto folder = path_ / *name;
            const bool recent = *name == newest || (is_planned(*name, newest) && kept < keep_last_);
            kept += recent && name->starts_with(planned);
            if (!recent && !is_pointed("best.json", folder)) std::filesystem::remove_all(folder, ignored);
        }
        std::vector<std::filesystem::path> temporary;
        for (const auto& entry : std::filesystem::directory_iterator(path_, ignored))
            if (entry.path().filename().string().find(".json.tmp.") != std::string::npos)
                temporary.push_back(entry.path());
        for (const auto& file : temporary) std::filesystem::remove(file, ignored);
    }

    std::filesystem::path path_;
    std::size_t keep_last_;
};

}  // namespace hat
