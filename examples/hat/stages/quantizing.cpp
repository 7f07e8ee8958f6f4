// The winner and the baseline in a few bits per weight.

#include <hat/quant/quantized_file.hpp>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {

Json run_quantize(const Project& project) {
    Json results;
    for (const std::string name : {"winner", "baseline"}) {
        const auto original = project.model_folder(name) / "model.safetensors";
        const Model model = load_model(original);
        const Quantization how{.bits = static_cast<unsigned>(project.settings.bits)};
        const QuantizedWeights quantized = quantize(project.pool, model.weights, model.arch, how);
        double worst = 0;
        for (const auto& e : quantization_report(model.weights, quantized)) worst = std::max(worst, e.relative);
        const auto file = project.quantized_file(name);
        project.copy_tokenizers(file.parent_path());
        save_quantized(file, quantized, model.notes);
        const auto before = std::filesystem::file_size(original), after = std::filesystem::file_size(file);
        project.say(name + ": " + bytes_text(before) + " to " + bytes_text(after) + ", " +
                    fixed(static_cast<double>(before) / static_cast<double>(after), 2) +
                    " times smaller; largest relative error of a matrix " + fixed(worst, 3));
        results[name] = {{"bytes_before", before}, {"bytes_after", after}, {"largest_relative_error", worst}};
    }
    return results;
}

}  // namespace hat::cli
