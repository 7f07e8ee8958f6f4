#pragma once
/// \file
/// The commands of the program. Each adds itself to the command line, in the file commands/<name>.cpp.

#include <CLI/CLI.hpp>

namespace hat::cli {

void add_predict(CLI::App& app);
void add_score(CLI::App& app);
void add_cost(CLI::App& app);
void add_quantize(CLI::App& app);
void add_info(CLI::App& app);
void add_run(CLI::App& app);
void add_data(CLI::App& app);
void add_train(CLI::App& app);
void add_measure(CLI::App& app);
void add_search(CLI::App& app);
void add_translate(CLI::App& app);
void add_export(CLI::App& app);

}  // namespace hat::cli
