#pragma once
// What a run is made of: the reference's configuration keys plus ours, read strictly from one or more YAML files.

#include <cstdint>
#include <filesystem>
#include <hat/io/json.hpp>
#include <hat/io/reference_config.hpp>
#include <hat/kernel/gemm_bf16.hpp>
#include <hat/model/config.hpp>
#include <hat/space/presets.hpp>
#include <hat/space/space.hpp>
#include <optional>
#include <predictors.hpp>
#include <string>
#include <vector>

namespace hat::cli {

struct TextFiles {
    std::filesystem::path source, target;
};

struct Settings {
    // text
    TextFiles train, valid, test;
    std::string tokenizer = "bpe";  // bpe, unigram, whitespace
    std::size_t vocab_size = 8000;
    bool joint_vocab = true;
    std::size_t max_length = 250;  // words a side
    double max_ratio = 3;

    // networks
    TransformerConfig model;  // vocabulary sizes are filled in by the data stage
    std::optional<RuntimeSpace> space_of_run;
    const RuntimeSpace& space() const { return *space_of_run; }
    std::string sample_over = "genes";

    // training
    TrainingRecipe super_recipe, sub_recipe;
    Precision precision = Precision::bf16x3;
    std::size_t average_checkpoints = 1;
    std::uint64_t validate_every = 0, checkpoint_every = 0, patience = 0;

    // latency
    std::size_t latency_samples = 2000, latency_repeats = 20, latency_length = 30, latency_beam = 5,
                latency_threads = 1;
    std::string device_command;   // reaches the agent on the device to measure; empty: this machine
    double device_timeout = 120;  // seconds
    std::size_t device_retries = 3;
    std::string predictor = "mlp";  // mlp, mlp-paper, linear
    PredictorOptions predictor_options;

    // search
    SearchRecipe search;  // latency_limit_ms 0: latency_fraction of the largest network's
    double latency_fraction = 0.5;
    std::size_t search_sentences = 0;       // of the validation set; 0: all
    Precision search_precision = Precision::bf16x3;  // of scoring

    // decoding
    std::size_t beam = 5;
    double length_penalty = 1.0;
    std::size_t bits = 4;
    std::string bit_allocation = "uniform";  // uniform, measured
    std::size_t tune_updates = 0;            // of quantization-aware training
    double tune_lr = 3e-4;

    std::uint64_t seed = 1;
    std::vector<std::string> skipped;  // keys that mean nothing in this run
    std::vector<std::string> files;

    // What the stages' results depend on, by configuration key; see stage_identity(). Text counts by what it says, not
    // by where it is.
    Json data_identity, model_identity, training_identity, latency_identity, predictor_identity, search_identity,
        sub_identity;
};

// Everything is checked here, before any stage runs. Throws bad_config naming file, line and key, and bad_file.
// `on_top` is YAML text from the command line, which wins over the files.
Settings read_settings(const std::vector<std::string>& files, const std::string& on_top = "");
// The choices of a space, by configuration key.
Json space_json(const RuntimeSpace& space);

}  // namespace hat::cli
