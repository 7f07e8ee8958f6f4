/// \file
/// hat run: the whole pipeline from one configuration. hat data, train, measure and search: its stages, one at a time.

#include <commands/commands.hpp>
#include <iostream>
#include <memory>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

struct RunArguments : CommonOptions {
    std::string dir, from, what = "super", device;  // device: YAML of --command and its companions
    bool estimate_only = false;
};

void add_common(CLI::App& command, RunArguments& o) {
    add_config(command, o, "What to do: the reference's keys and ours (docs/configuration.md)")->required();
    command.add_option("--dir", o.dir, "Folder of this run; a stopped run goes on from what it finds there")
        ->required()
        ->type_name("DIR");
    add_threads(command, o);
    add_quiet(command, o);
}

// Options for keys of the configuration that belong to a device rather than to a task.
void add_device(CLI::App& command, const std::shared_ptr<RunArguments>& o) {
    const auto add = [&](const std::string& name, const std::string& key, bool quoted, const std::string& help) {
        return command.add_option_function<std::string>(
            name,
            [o, key, quoted](const std::string& value) {
                o->device += key + ": " + (quoted ? Json(value).dump() : value) + "\n";
            },
            help);
    };
    add("--command", "device-command", true,
        "Measure on the device whose hat-agent this shell command reaches, e.g. 'ssh pi ./hat-agent' "
        "(docs/remote_devices.md); key 'device-command'")
        ->type_name("COMMAND");
    add("--timeout", "device-timeout", false,
        "The longest silence of that device, 120 by default; key 'device-timeout'")
        ->check(number_from(0.001, 1e6))
        ->type_name("SECONDS");
    add("--retries", "device-retries", false,
        "How often the command is started again for one network, 3 by default; key 'device-retries'")
        ->check(whole_number(0, 1000))
        ->type_name("N");
}

void run_one(const RunArguments& o, const std::vector<std::string>& names) {
    end_on_signals();
    Project project(read_settings(o.configs, o.device), o.dir, o.threads, o.quiet);
    for (const auto& name : names)
        if (!run_stage(project, find_stage(name))) project.say(name + " is finished already");
}

void add_stage(CLI::App& app, const std::string& name, const std::string& help, const std::string& footer,
               const std::vector<std::string>& stage_names, bool on_device = false) {
    const auto o = std::make_shared<RunArguments>();
    CLI::App* command = app.add_subcommand(name, help);
    add_common(*command, *o);
    if (on_device) add_device(*command, o);
    command->footer(footer + "\nExample: hat " + name + " --config mine.yml --dir run/mine");
    command->callback([o, stage_names] { run_one(*o, stage_names); });
}

void run_all(const RunArguments& o) {
    end_on_signals();
    Project project(read_settings(o.configs, o.device), o.dir, o.threads, o.quiet);
    if (!o.from.empty()) project.forget_from(o.from);
    run_stage(project, find_stage("data"));
    const auto seconds = estimate(project);
    if (!seconds.empty()) project.say("what is left, estimated from short trials on this machine:");
    double total = 0;
    for (const auto& [name, s] : seconds) {
        project.say("  " + name + std::string(12 - std::min<std::size_t>(11, name.size()), ' ') + duration_text(s));
        total += s;
    }
    project.say(seconds.empty() ? "everything is finished already" : "  all         " + duration_text(total));
    if (o.estimate_only) return;
    for (const Stage& stage : stages()) run_stage(project, stage);
}

}  // namespace

void add_run(CLI::App& app) {
    const auto o = std::make_shared<RunArguments>();
    CLI::App* command =
        app.add_subcommand("run", "The whole pipeline: text and a device to a model made for the device");
    add_common(*command, *o);
    add_device(*command, o);
    std::string names;
    for (const Stage& s : stages()) names += "  " + s.name + std::string(12 - s.name.size(), ' ') + s.what + "\n";
    command->add_option("--from", o->from, "Make this stage and all later ones again")->type_name("STAGE");
    command->add_flag("--estimate", o->estimate_only,
                      "Prepare the text, say what each other stage will cost in time, and stop");
    command->footer(
        "Stages:\n" + names +
        "Stop it at any moment (Ctrl-C, kill -9): the same command goes on, with the same result.\n"
        "With AMX, training in the configuration's 'precision: bf16' is faster, less exact; 'precision: fp32'\n"
        "makes no use of AMX.\n"
        "Example: hat run --config examples/quickstart/quickstart.yml --dir run/quickstart");
    command->callback([o] { run_all(*o); });
}

void add_data(CLI::App& app) {
    add_stage(app, "data", "Read, filter and encode parallel text; train the tokenizer",
              "Writes DIR/data: the tokenizers and the encoded sentences.", {"data"});
}

void add_measure(CLI::App& app) {
    add_stage(app, "measure", "Measure the latencies of sampled networks on this machine or another device",
              "Writes DIR/latency.csv. Needs the stage data. Stop it at any moment: the same command goes on.",
              {"measure"}, true);
}

void add_search(CLI::App& app) {
    add_stage(app, "search", "Fit the predictor and search the best network under the limit",
              "Prints what it found; 'hat train --what winner' trains it. Needs the stages train and measure.",
              {"predict", "search"});
}

void add_train(CLI::App& app) {
    const auto o = std::make_shared<RunArguments>();
    CLI::App* command =
        app.add_subcommand("train", "Train the SuperTransformer, the search's winner, or the largest network");
    add_common(*command, *o);
    command->add_option("--what", o->what, "super, winner or baseline")
        ->check(CLI::IsMember({"super", "winner", "baseline"}))
        ->capture_default_str();
    command->footer(
        "Writes DIR/super, DIR/winner or DIR/baseline, each with a folder model. Needs the stage data; the winner "
        "also\n"
        "the search. With AMX, the configuration's 'precision: bf16' is faster, less exact; 'precision: fp32' makes "
        "no\n"
        "use of AMX.\n"
        "Example: hat train --what winner --config mine.yml --dir run/mine");
    command->callback([o] { run_one(*o, {o->what}); });
}

}  // namespace hat::cli
