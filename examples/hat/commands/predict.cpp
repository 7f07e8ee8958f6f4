/// \file
/// hat predict: fits a latency predictor and says how good it is on rows it has not seen, or asks a saved one.

#include <algorithm>
#include <commands/commands.hpp>
#include <configs.hpp>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/io/json.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/space/text.hpp>
#include <iostream>
#include <memory>
#include <numeric>
#include <predictors.hpp>
#include <span>
#include <string>
#include <support.hpp>
#include <vector>

namespace hat::cli {
namespace {

struct PredictArguments : CommonOptions {
    std::string fit, load, save;
    std::size_t train_rows = 0, test_rows = 200;
    PredictorOptions predictor;
};

void fit(const PredictArguments& o) {
    const LatencyDataset data = LatencyDataset::load(o.fit);
    const std::size_t rows = data.rows.size();
    if (o.train_rows > rows || o.test_rows > rows - o.train_rows || rows == o.test_rows)
        throw invalid_value(o.fit + ": has " + std::to_string(rows) + " rows, but --train-rows " +
                            std::to_string(o.train_rows) + " and " + std::to_string(o.test_rows) +
                            " held-out rows need " +
                            std::to_string(std::max<std::size_t>(o.train_rows, 1) + o.test_rows));
    // The held-out rows come first in the shuffle: with one seed they are the same for every number of training rows.
    std::vector<std::size_t> order(rows);
    std::iota(order.begin(), order.end(), std::size_t{0});
    Rng rng(o.seed);
    shuffle(std::span<std::size_t>(order), rng);
    const std::span<const std::size_t> all(order);
    const auto test = all.first(o.test_rows),
               train = all.subspan(o.test_rows, o.train_rows == 0 ? rows - o.test_rows : o.train_rows);

    PredictorOptions options = o.predictor;
    options.seed = o.seed;
    const Predictor predictor = Predictor::fit(data, train, options, ThreadPool(o.threads));
    nlohmann::ordered_json out = judge(predictor, data, test).metrics();
    out["model"] = options.model;
    out["train_rows"] = train.size();
    out["test_rows"] = test.size();
    out["seed"] = o.seed;
    if (!o.save.empty()) {
        predictor.save(o.save, {{"dataset", o.fit}, {"evaluation", out.dump()}});
        out["saved"] = o.save;
    }
    std::cout << out.dump(2) << "\n";
}

void ask(const PredictArguments& o) {
    const Predictor predictor = Predictor::load(o.load);
    const RuntimeArch arch = reference_subtransformer(load_config(o));
    std::cout << nlohmann::ordered_json{{"latency_ms", predictor(arch).count()}, {"arch", to_text(arch)}}.dump(2)
              << "\n";
}

}  // namespace

void add_predict(CLI::App& app) {
    const auto o = std::make_shared<PredictArguments>();
    CLI::App* command = app.add_subcommand("predict", "Fit, judge and ask latency predictors");
    CLI::Option* data = command->add_option("--fit", o->fit, "Latency dataset (CSV) to learn from")->type_name("FILE");
    CLI::Option* load = command->add_option("--load", o->load, "Saved predictor to ask")->type_name("FILE");
    CLI::Option* config = add_config(*command, *o, "With --load: the SubTransformer, in the reference's YAML keys");
    CLI::Option* train =
        command
            ->add_option("--train-rows", o->train_rows, "Learn from so many rows; default: all that are not held out")
            ->check(whole_number(1, 1 << 30))
            ->type_name("N");
    command->add_option("--test-rows", o->test_rows, "Judge on so many held-out rows")
        ->check(whole_number(1, 1 << 30))
        ->type_name("N")
        ->capture_default_str();
    command
        ->add_option("--model", o->predictor.model,
                     "mlp: a network of the paper's size; mlp-paper: the paper's features and training; linear: ridge "
                     "regression on operation counts, best with less than 200 rows")
        ->check(CLI::IsMember(predictor_names))
        ->capture_default_str();
    command->add_option("--steps", o->predictor.mlp.steps, "Updates of the mlp at most")
        ->check(whole_number(1, 1 << 30))
        ->type_name("N")
        ->capture_default_str();
    command->add_option("--qkv", o->predictor.qkv, "Width of q, k and v of networks whose row does not say it")
        ->check(whole_number(1, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
    CLI::Option* save = command->add_option("--save", o->save, "Write the predictor to this file")->type_name("FILE");
    add_seed(*command, *o);
    add_threads(*command, *o);
    add_quiet(*command, *o);
    data->excludes(load);
    data->excludes(config);
    load->needs(config);
    for (CLI::Option* other : {train, save}) load->excludes(other);
    command->footer(
        "--fit prints JSON: rmse_ms, mape (per cent), r2, kendall_tau on the held-out rows.\n"
        "Examples:\n"
        "  hat predict --fit latency.csv --train-rows 1600 --seed 1 --save predictor.safetensors\n"
        "  hat predict --load predictor.safetensors --config sub.yml --config common.yml");
    command->callback([o] {
        if (o->fit.empty() && o->load.empty()) throw CLI::RequiredError("--fit or --load");
        o->fit.empty() ? ask(*o) : fit(*o);
    });
}

}  // namespace hat::cli
