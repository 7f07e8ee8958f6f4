/// \file
/// hat info: this machine and build, or what a file or folder holds.

#include <algorithm>
#include <commands/commands.hpp>
#include <cstdio>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/csv.hpp>
#include <hat/io/json.hpp>
#include <hat/io/reference_config.hpp>
#include <hat/io/report.hpp>
#include <hat/io/safetensors.hpp>
#include <hat/io/units.hpp>
#include <hat/io/yaml.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/latency/device.hpp>
#include <hat/model/model_file.hpp>
#include <hat/quant/quantized_file.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/text.hpp>
#include <hat/text/gzip.hpp>
#include <hat/text/utf8.hpp>
#include <hat/train/checkpoint.hpp>
#include <hat/version.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <support.hpp>
#include <thread>
#include <vector>

namespace hat::cli {
namespace {

namespace fs = std::filesystem;

void line(const std::string& name, const std::string& value) {
    std::cout << name << ":" << std::string(name.size() < 18 ? 19 - name.size() : 1, ' ') << value << "\n";
}

/// "4.2e14".
std::string count_in_powers(double value) {
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, "%.2e", value);
    return buffer;
}

void print_machine() {
    const Device d = this_device(std::max(1U, std::thread::hardware_concurrency()));
    line("hat", version);
    line("cpu", d.cpu);
    line("processors", std::to_string(d.processors));
    line("instruction sets", d.isa);
    line("governor", d.governor);
    line("compiled by", d.compiler);
    line("device id", d.id());
}

void print_arch(const RuntimeArch& arch, const CostOptions& options = {}) {
    const Cost c = cost(arch, options);
    std::cout << describe(arch);
    line("params", count_text(static_cast<double>(c.params)) + " without embeddings and output layer");
    line("FLOPs", count_text(static_cast<double>(c.flops)) + " for 30 + 30 tokens, without the output layer");
}

void print_weights(const WeightLayout& layout, std::uint64_t bytes, const std::map<std::string, std::string>& notes) {
    const TransformerConfig& config = layout.config();
    std::size_t params = 0;
    for (const auto& t : layout.tensors()) params += t.size;
    const char* const sharing[] = {"separate", "decoder input and output are one", "all are one"};
    line("vocabulary",
         std::to_string(config.source_vocab) + " source, " + std::to_string(config.target_vocab) + " target");
    line("embeddings", sharing[static_cast<int>(config.sharing)]);
    line("parameters", count_text(static_cast<double>(params)) + ", embeddings included");
    line("file", bytes_text(bytes));
    for (const auto& [key, value] : notes) line(key, value);
}

void print_model(const fs::path& path) {
    const Model model = load_model(path);
    line("kind", "model");
    print_weights(model.weights.layout(), fs::file_size(path), model.notes);
    print_arch(model.arch, cost_options(model.weights.config()));
}

void print_quantized(const fs::path& path) {
    std::map<std::string, std::string> notes;
    const QuantizedWeights model = load_quantized(path, &notes);
    line("kind",
         "quantized model, " + bits_text(*model.layout, model.how) +
             (model.how.group_rows ? ", a codebook for " + std::to_string(model.how.group_rows) + " rows" : ""));
    print_weights(*model.layout, fs::file_size(path), notes);
    print_arch(model.arch, cost_options(model.layout->config()));
}

void print_safetensors(const fs::path& path) {
    const SafetensorsFile file(path);
    const auto format = file.metadata().find("format");
    if (format != file.metadata().end() && format->second == "hat model 1") return print_model(path);
    line("kind", format != file.metadata().end() && format->second == "hat-predictor" ? "latency predictor"
                                                                                      : "safetensors file");
    for (const auto& [key, value] : file.metadata()) line(key, value);
    for (const auto& [name, t] : file.tensors()) line("tensor " + name, t.dtype + " " + detail::shape_text(t.shape));
}

void print_dataset(const fs::path& path) {
    const LatencyDataset data = LatencyDataset::load(path);
    std::vector<double> ms;
    std::set<std::string> devices;
    double low_gain = 0, high_gain = 0;
    for (const auto& row : data.rows) {
        ms.push_back(row.total_ms());
        if (!row.device.empty()) devices.insert(row.device);
        if (!(row.gain > 0)) continue;
        low_gain = low_gain > 0 ? std::min(low_gain, row.gain) : row.gain;
        high_gain = std::max(high_gain, row.gain);
    }
    std::sort(ms.begin(), ms.end());
    line("kind", "latency dataset");
    line("networks", std::to_string(ms.size()));
    line("latency",
         fixed(ms.front(), 2) + " ms to " + fixed(ms.back(), 2) + " ms, median " + fixed(ms[ms.size() / 2], 2) + " ms");
    if (low_gain > 0) line("drift divided out", fixed(low_gain, 3) + " to " + fixed(high_gain, 3));
    for (const auto& device : devices) line("device id", device);
}

void print_config(const fs::path& path, const std::vector<std::string>& more) {
    std::vector<std::string> files{path.string()};
    files.insert(files.end(), more.begin(), more.end());
    const YamlConfig config = YamlConfig::load(files);
    line("kind", "configuration of " + std::to_string(config.keys().size()) + " keys");
    bool known = false;
    if (config.has("encoder-embed-choice")) {
        known = true;
        const RuntimeSpace space = reference_space(config);
        std::cout << "design space:\n";
        for_each_axis(space.axes(), [](std::string_view name, const auto& axis) {
            line("  " + std::string(name), detail::choices_text(axis));
        });
        const BigCount networks = space.network_count();
        line("  genes", std::to_string(space.gene_count()));
        line("  networks", networks.text() + " (" + count_in_powers(networks.value()) + ")");
    }
    if (config.has("encoder-layer-num-subtransformer")) {
        known = true;
        std::cout << "SubTransformer:\n";
        print_arch(reference_subtransformer(config));
    }
    if (config.has("lr-scheduler")) {
        known = true;
        const TrainingRecipe r = reference_recipe(config);
        line("training", std::to_string(r.max_updates) + " updates of " + std::to_string(r.update_freq) + " x " +
                             std::to_string(r.max_tokens) + " tokens, dropout " + number_text(r.dropout) +
                             ", label smoothing " + number_text(r.label_smoothing));
    }
    if (config.has("latency-constraint")) {
        known = true;
        const SearchRecipe r = reference_search(config);
        line("search", std::to_string(r.iterations) + " iterations of " + std::to_string(r.population) +
                           " networks under " + number_text(r.latency_limit_ms) + " ms");
    }
    if (!known)
        for (const auto& key : config.keys()) line("key", key);
}

void print_text(const fs::path& path) {
    const auto lines = read_lines(path);
    std::size_t words = 0, longest = 0, empty = 0;
    for (const auto& text : lines) {
        const std::size_t n = split_words(text).size();
        words += n;
        longest = std::max(longest, n);
        empty += n == 0;
    }
    line("kind", "text");
    line("lines", std::to_string(lines.size()) + ", " + std::to_string(empty) + " empty");
    line("words", std::to_string(words) + ", at most " + std::to_string(longest) + " in a line");
}

void print_json(const fs::path& path) {
    const Json json = load_json(path);
    const JsonView view(json, path.string());
    const std::string format = view.has("format") ? view.get<std::string>("format") : "";
    if (format == "hat-report-1") {
        std::cout << text_report(report_from_json(view));
    } else if (format.starts_with("hat run ")) {
        line("kind", "state of a run");
        const JsonView finished = view["stages"];
        for (const auto& item : finished.json().items())
            line(item.key(), "finished in " + duration_text(finished[item.key()].get<double>("seconds")));
    } else if (format == "hat training 1") {
        const TrainingState state = detail::state_from_json(view["state"]);
        line("kind", "checkpoint of a training");
        line("updates", std::to_string(state.update) + " in " + duration_text(state.seconds));
        if (state.best) line("best loss", fixed(*state.best, 4) + " at update " + std::to_string(state.best_update));
    } else {
        line("kind", "JSON");
        for (const auto& item : json.items()) line("key", item.key());
    }
}

void print_folder(const fs::path& path) {
    bool known = false;
    const auto each = [&](const char* name, auto&& print) {
        if (!fs::exists(path / name)) return;
        known = true;
        std::cout << name << "\n";
        print(path / name);
    };
    each("state.json", print_json);
    each("model.safetensors", print_model);
    each("model.hatq", print_quantized);
    if (const CheckpointFolder checkpoints(path); checkpoints.exists()) {
        known = true;
        std::cout << checkpoints.latest().filename().string() << "\n";
        print_json(checkpoints.latest() / "state.json");
        print_model(CheckpointFolder::weights_file(checkpoints.latest()));
    }
    if (!known && fs::exists(path / "latest.json"))
        line("kind", "training without a checkpoint yet");
    else if (!known)
        throw bad_file(path.string(),
                       "holds none of model.safetensors, model.hatq, state.json (a run) and latest.json (checkpoints)");
}

void print(const fs::path& path, const std::vector<std::string>& configs) {
    const std::string extension = path.extension().string();
    if (fs::is_directory(path)) return print_folder(path);
    if (extension == ".yml" || extension == ".yaml") return print_config(path, configs);
    if (extension == ".csv") return print_dataset(path);
    if (extension == ".json") return print_json(path);
    if (extension == ".safetensors") return print_safetensors(path);
    if (is_quantized_file(path)) return print_quantized(path);
    print_text(path);
}

}  // namespace

void add_info(CLI::App& app) {
    struct InfoArguments : CommonOptions {
        std::string path;
    };
    const auto o = std::make_shared<InfoArguments>();
    CLI::App* command = app.add_subcommand("info", "This machine and build, or what a file or folder holds");
    command->add_option("path", o->path,
                        "Configuration, model, quantized model, predictor, checkpoint, latency dataset, report, text, "
                        "or the folder of a model, a training or a run");
    add_config(*command, *o, "Configurations on top of a .yml path");
    command->footer(
        "Examples:\n"
        "  hat info\n"
        "  hat info space0.yml              the axes and the exact number of networks\n"
        "  hat info run/winner/model        a model, layer by layer");
    command->callback([o] {
        if (o->path.empty() && !o->configs.empty())
            throw CLI::ValidationError("--config",
                                       "is put on top of a path; 'hat info " + o->configs.front() + "' shows it");
        o->path.empty() ? print_machine() : print(o->path, o->configs);
    });
}

}  // namespace hat::cli
