// The winner and the baseline in a few bits per weight: k-means, bits where the measured loss asks for them, and some
// training with that in view.

#include <filesystem>
#include <hat/quant/bit_allocation.hpp>
#include <hat/quant/quantized_file.hpp>
#include <losses.hpp>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {

Json run_quantize(const Project& project) {
    const Settings& s = project.settings;
    const auto sentences = validation_batches(project, 0);
    const auto tuning = [&](const std::string& name) { return project.quantized_file(name).parent_path() / "tuning"; };
    Json results;
    for (const std::string name : {"winner", "baseline"}) {
        const auto original = project.model_folder(name) / "model.safetensors";
        const Model model = load_model(original);
        const auto nll_of = [&](const Weights<float>& weights) {
            return validation_nll(weights, model.arch, sentences, project.pool);
        };
        Json steps = Json::array();
        const auto note = [&](const std::string& step, const Weights<float>& weights) {
            const double nll = nll_of(weights);
            steps.push_back({{"step", step}, {"valid_nll", nll}, {"kept", true}});
            project.say(name + ", " + step + ": validation nll " + fixed(nll, 4));
            return nll;
        };
        note("fp32", model.weights);

        // each step stands if the loss says that it helped
        const std::string bits = std::to_string(s.bits) + " bits";
        Quantization how{.bits = static_cast<unsigned>(s.bits)};
        QuantizedWeights best = quantize(project.pool, model.weights, model.arch, how);
        double least = note("k-means, " + bits, dequantize(best));
        const auto keep_if_better = [&](const std::string& step, QuantizedWeights next) {
            const double nll = note(step, dequantize(next));
            if (nll < least) {
                best = std::move(next), least = nll;
                return;
            }
            steps.back()["kept"] = false;
            project.say("notice: that is no better and is left out");
        };
        if (s.bit_allocation == "measured") {
            how = allocate_bits(project.pool, model.weights, quantized_bytes(model.weights.layout(), how), nll_of).how;
            keep_if_better("bits by measured loss, " + bits_text(model.weights.layout(), how),
                           quantize(project.pool, model.weights, model.arch, how));
        }
        if (s.tune_updates > 0)
            keep_if_better("quantization-aware training",
                           tuned(project, name + " quantized", model.weights, best, tuning(name)));
        const auto file = project.quantized_file(name);
        project.copy_tokenizers(file.parent_path());
        save_quantized(file, best, model.notes);
        const auto before = std::filesystem::file_size(original), after = std::filesystem::file_size(file);
        project.say(name + ": " + bytes_text(before) + " to " + bytes_text(after) + ", " +
                    fixed(static_cast<double>(before) / static_cast<double>(after), 2) + " times smaller");
        results[name] = {{"bytes_before", before}, {"bytes_after", after}, {"steps", steps}};
    }
    // checkpoints are larger than what was made; until here a stopped stage goes on from them
    for (const std::string name : {"winner", "baseline"}) std::filesystem::remove_all(tuning(name));
    return results;
}

}  // namespace hat::cli
