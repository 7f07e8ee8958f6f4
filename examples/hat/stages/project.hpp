#pragma once
// One run: its settings, its folder, and the stages that turn one into the other. A stage writes its results into the
// folder, atomically; a finished stage is recorded in state.json with the settings it depends on.

#include <filesystem>
#include <functional>
#include <hat/core/thread_pool.hpp>
#include <hat/core/tokens.hpp>
#include <hat/io/json.hpp>
#include <hat/model/model_file.hpp>
#include <hat/quant/quantized.hpp>
#include <hat/space/arch.hpp>
#include <memory>
#include <stages/lock.hpp>
#include <stages/settings.hpp>
#include <string>
#include <vector>

namespace hat::cli {

// Tokens of a batch that is only scored, so of a validation sentence at most; the data stage leaves longer ones out.
inline constexpr std::size_t validation_tokens = 4096;

struct Stage;

// Everything a stage needs of the run it belongs to.
class Project {
public:
    Project(Settings settings, std::filesystem::path folder, std::size_t threads, bool quiet);

    const Settings settings;
    const std::filesystem::path folder;
    const ThreadPool pool;
    const bool quiet;

    // Where things are.
    std::filesystem::path data(const std::string& name) const { return folder / "data" / name; }
    std::filesystem::path test_source() const { return data("test.source.txt"); }  // the test set as it was read
    std::filesystem::path test_target() const { return data("test.target.txt"); }
    std::filesystem::path latency_file() const { return folder / "latency.csv"; }
    std::filesystem::path protocol_file() const { return folder / "latency.json"; }
    std::filesystem::path predictor_file() const { return folder / "predictor.safetensors"; }
    // What a training leaves: model.safetensors and the tokenizers, all that translating needs.
    std::filesystem::path model_folder(const std::string& stage) const { return folder / stage / "model"; }
    std::filesystem::path quantized_file(const std::string& stage) const {
        return folder / stage / "quantized" / "model.hatq";
    }
    std::filesystem::path super_model() const { return model_folder("super") / "model.safetensors"; }
    // Puts the tokenizers of the data stage beside a model; returns their checksum, for the model's note "tokenizers".
    std::string copy_tokenizers(const std::filesystem::path& model) const;

    // A line for people on standard error, unless quiet.
    void say(const std::string& text) const;
    // Says what bf16, which the key asks for, is worth where there are no tiles (AMX); bf16x3 is the default
    // everywhere.
    void say_without_tiles(const std::string& key, Precision precision) const;

    // The text as ids, as the data stage left it.
    struct Corpus {
        Ragged source, target;
    };
    Corpus corpus(const std::string& part) const;
    // The configuration with the vocabulary sizes of the data stage.
    TransformerConfig model_config() const;
    // The trained SuperTransformer. Throws bad_file if it is another space's.
    Model load_super() const;
    // The winner of the search.
    RuntimeArch winner() const;

    // The record of a finished stage; null if it is not finished. Throws bad_config, naming the key, if it was made
    // with other settings, and bad_file if a file it left is gone.
    const Json* finished(const std::string& stage, const Json& identity) const;
    // The record of a stage that must be finished under these settings; throws bad_config otherwise.
    const Json& require(const std::string& stage) const;
    // What such a stage found; reading it names state.json and the key that is missing or wrong.
    JsonView results(const std::string& stage) const;
    // Records that a stage is finished; `results` is for later stages and the report.
    void finish(const std::string& stage, const Json& identity, double seconds, Json results);
    // A stage and all later ones are to be made again. What they left stays until each of them begins: a stage that
    // fails takes no trained model of a later one with it.
    void forget_from(const std::string& stage);
    // Removes what a forgotten stage left.
    void make_room_for(const Stage& stage);

private:
    std::filesystem::path state_file() const { return folder / "state.json"; }
    std::unique_ptr<FolderLock> lock_;
    Json state_;
};

// The validation set's first sentences (0: all) in batches to score.
std::vector<Batch> validation_batches(const Project& project, std::size_t sentences);
// Quantization-aware training of weights that were quantized. `name` is for messages; checkpoints go to `folder`.
QuantizedWeights tuned(const Project& project, const std::string& name, const Weights<float>& weights,
                       const QuantizedWeights& quantized, const std::filesystem::path& folder);

// The stages, in order. Each returns what later stages and the report want to know.
Json run_data(const Project& project);
Json run_super(const Project& project);
Json run_measure(const Project& project);
Json run_predict(const Project& project);
Json run_search(const Project& project);
Json run_winner(const Project& project);
Json run_baseline(const Project& project);
Json run_quantize(const Project& project);
Json run_evaluate(const Project& project);
Json run_report(const Project& project);

struct Stage {
    std::string name, what;
    Json (*run)(const Project&);
    std::vector<std::string> outputs;  // in the folder of the run; with --from they are removed when it begins
    bool saves_when_stopped = false;   // after Ctrl-C it ends its step and saves; the others end at once
};
const std::vector<Stage>& stages();
// Throws invalid_value.
const Stage& find_stage(const std::string& name);
// What a stage's result depends on, all earlier ones included: configuration keys and their values.
Json stage_identity(const Settings& settings, const std::string& stage);
// The first key whose values differ, with both; empty if none does.
std::string settings_difference(const JsonView& before, const Json& now);
// Runs one stage unless it is finished. Returns false if it was.
bool run_stage(Project& project, const Stage& stage);

// Seconds of one update of the SuperTransformer's training, or of a network's from scratch, from a second or so of it.
double time_super_update(const Project& project);
double time_update(const Project& project, const RuntimeArch& arch);

// Seconds each stage that is left will take on this machine, from short trials; needs the data stage.
std::vector<std::pair<std::string, double>> estimate(const Project& project);

}  // namespace hat::cli
