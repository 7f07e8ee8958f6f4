#pragma once
/// \file
/// Checkpoint averaging: the mean of the last checkpoints' weights is usually better than the last. Optional: needs
/// nlohmann_json (target hat::json).

#include <cstddef>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/model/model_file.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hat {

/// The mean of the weights of several model files (CheckpointFolder::recent_weights()); architecture and notes are
/// those of the last one. Throws invalid_value without files, bad_file when they are not of one model.
inline Model average_models(std::span<const std::filesystem::path> files) {
    if (files.empty()) throw invalid_value("hat::average_models: there is no file to average");
    Model last = load_model(files.back());
    const auto values = last.weights.values();
    std::vector<double> sums(values.size());
    const auto add = [&](const Model& model) {
        const auto more = model.weights.values();
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += static_cast<double>(more[i]);
    };
    for (const auto& file : files.first(files.size() - 1)) {
        const Model model = load_model(file);
        if (model.weights.config() != last.weights.config())
            throw bad_file(file.string(),
                           "has another configuration than " + files.back().string() + ": they cannot be averaged");
        add(model);
    }
    add(last);
    for (std::size_t i = 0; i < sums.size(); ++i)
        values[i] = static_cast<float>(sums[i] / static_cast<double>(files.size()));
    last.notes["averaged"] = std::to_string(files.size());
    return last;
}

}  // namespace hat
