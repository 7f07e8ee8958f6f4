// The three trainings: the SuperTransformer, the winner and the baseline.

#include <atomic>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/model/extract.hpp>
#include <hat/quant/requantize.hpp>
#include <hat/train/average.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/recipe.hpp>
#include <hat/train/sampler.hpp>
#include <hat/train/trainer.hpp>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

// Weights before the first update, and what to train them on.
struct Training {
    Weights<float> weights;
    TrainingTask task;
    TrainingRecipe recipe;
    std::size_t dropped = 0;  // sentence pairs that are too long for a batch
};

Training training(const Project& project, Weights<float> weights, const TrainingRecipe& recipe,
                  const std::function<TrainingTask(BatchSource, std::vector<Batch>)>& make_task) {
    auto train = project.corpus("train"), valid = project.corpus("valid");
    const auto tokens = static_cast<std::size_t>(recipe.max_tokens);
    bool some = false;
    for (std::size_t i = 0; i < train.source.size() && !some; ++i)
        some = std::max(train.source[i].size(), train.target[i].size()) <= tokens;
    if (!some)
        throw bad_config("max-tokens is " + std::to_string(tokens) + ", and every training pair of " +
                         project.settings.train.source.string() +
                         " has more tokens on a side, so no batch can be made");
    const auto batches = std::make_shared<const Batches>(
        std::move(train.source), std::move(train.target),
        BatchOptions{.max_tokens = tokens, .too_long = BatchOptions::TooLong::drop, .seed = project.settings.seed});
    const Batches validation(
        std::move(valid.source), std::move(valid.target),
        {.max_tokens = std::max(tokens, validation_tokens), .too_long = BatchOptions::TooLong::drop});
    return {std::move(weights), make_task(batch_source(batches), batches_in_order(validation)), recipe,
            batches->dropped().size()};
}

Training super_training(const Project& project) {
    const Settings& s = project.settings;
    Weights<float> weights(project.model_config());
    weights.initialize(derive_seed(s.seed, 1));
    return training(
        project, std::move(weights), s.super_recipe, [&](BatchSource batches, std::vector<Batch> validation) {
            return super_task(
                UniformSampler<RuntimeSpace>(s.space(), derive_seed(s.seed, 3),
                                             s.sample_over == "genes" ? SampleOver::genes : SampleOver::networks),
                to_runtime(s.space().largest()), to_runtime(s.space().smallest()), std::move(batches),
                std::move(validation), {{"sample-over", s.sample_over}, {"choices", space_json(s.space())}});
        });
}

Training training_from_scratch(const Project& project, const RuntimeArch& arch) {
    // its own memory, as if cut out of the SuperTransformer
    TransformerConfig config = project.model_config();
    config.encoder_super_embed = config.super_encoder_embed();
    config.decoder_super_embed = config.super_decoder_embed();
    config.shape = canonical(arch);
    Weights<float> weights(config);
    weights.initialize(derive_seed(project.settings.seed, 2));
    return training(project, std::move(weights), project.settings.sub_recipe,
                    [&](BatchSource batches, std::vector<Batch> validation) {
                        return fixed_task(arch, std::move(batches), std::move(validation));
                    });
}

// What the batches are: checkpoints of a training on others are not resumed.
Json data_identity(const Project& project, const TrainingRecipe& recipe) {
    const auto hash = [&](const std::string& part) {
        return "crc32 " + std::to_string(crc32(read_file(project.data(part + ".safetensors"))));
    };
    return {{"train", hash("train")}, {"valid", hash("valid")}, {"max_tokens", recipe.max_tokens}};
}

Json history_json(const TrainingState& state) {
    Json curve = Json::array();
    for (const auto& h : state.history) {
        Json entry = {{"update", h.update}, {"seconds", h.seconds}, {"train_nll", h.train.nll}};
        for (const auto& [name, loss] : h.valid) entry["valid_nll"][name] = loss.nll;
        curve.push_back(entry);
    }
    return curve;
}

TrainerOptions options_of(const Project& project, const TrainingRecipe& recipe, const std::filesystem::path& folder) {
    const Settings& s = project.settings;
    TrainerOptions options = trainer_options(recipe);
    options.precision = s.precision;
    options.folder = folder;
    options.validate_every = s.validate_every;
    options.checkpoint_every = s.checkpoint_every;
    options.checkpoint_seconds = 60;
    options.keep_last = s.average_checkpoints;
    options.patience = s.patience;
    options.stop = &stop_requested;
    return options;
}

// Trains until its end, with checkpoints in the folder of the options; resumes what it finds there.
TrainingResult train_to_the_end(const Project& project, const std::string& name, Training& what,
                                const TrainerOptions& options) {
    const TrainingRecipe& recipe = what.recipe;
    if (what.dropped != 0)
        project.say("notice: " + std::to_string(what.dropped) + " training pairs are longer than max-tokens, " +
                    std::to_string(recipe.max_tokens) + ", and are left out");
    project.say_without_tiles("precision", project.settings.precision);
    Progress progress(name, static_cast<std::size_t>(recipe.max_updates), project.quiet);
    TrainingObserver observer;
    observer.resumed = [&](const TrainingState& state) {
        progress.resumed(static_cast<std::size_t>(state.update));
        project.say("resumed after update " + std::to_string(state.update));
    };
    observer.updated = [&](const TrainingProgress& p) {
        progress.update(static_cast<std::size_t>(p.update), training_text(p.loss.nll, p.tokens_per_second));
    };
    observer.validated = [&](const HistoryEntry& h, bool best) {
        std::string text = name + " update " + std::to_string(h.update) + ", train nll " + fixed(h.train.nll, 3);
        for (const auto& [network, loss] : h.valid) text += ", valid " + network + " nll " + fixed(loss.nll, 3);
        project.say(text + (best ? " (best)" : ""));
    };
    what.task.identity["data"] = data_identity(project, recipe);
    Trainer trainer(what.weights, std::move(what.task), options, project.pool);
    const TrainingResult result = trainer.run(observer);
    if (result.end == TrainingEnd::stopped)
        throw interrupted(name + " stopped after update " + std::to_string(result.state.update) +
                          "; the same command goes on from there");
    progress.finish();
    return result;
}

// Trains and writes a model folder, tokenizers included.
Json train(const Project& project, const std::string& name, const RuntimeArch& arch, Training what) {
    const Settings& s = project.settings;
    const TrainerOptions options = options_of(project, what.recipe, project.folder / name);
    const TrainingResult result = train_to_the_end(project, name, what, options);
    const CheckpointFolder checkpoints(options.folder, options.keep_last);
    const auto chosen = s.average_checkpoints > 1
                            ? checkpoints.recent_weights(s.average_checkpoints)
                            : std::vector{CheckpointFolder::weights_file(
                                  checkpoints.has_best() ? checkpoints.best() : checkpoints.latest())};
    const Model averaged = average_models(chosen);
    const auto model = project.model_folder(name);
    const std::string tokenizers = project.copy_tokenizers(model);
    save_model(model / "model.safetensors", averaged.weights, arch,
               {{"stage", name},
                {"updates", std::to_string(result.state.update)},
                {"seed", std::to_string(s.seed)},
                {"tokenizers", tokenizers}});
    return {{"updates", result.state.update},
            {"seconds", result.state.seconds},
            {"best_update", result.state.best_update},
            {"averaged", chosen.size()},
            {"history", history_json(result.state)}};
}

// Seconds of an update, from a second or so of training.
double time_updates(const Project& project, Training what) {
    TrainerOptions options = trainer_options(what.recipe);
    options.precision = project.settings.precision;
    std::atomic<bool> enough{false};
    options.stop = &enough;
    what.task.validation.clear();
    Trainer trainer(what.weights, std::move(what.task), options, project.pool);
    std::uint64_t updates = 0;
    double first = 0, last = 0;  // the first update also allocates
    TrainingObserver observer;
    observer.updated = [&](const TrainingProgress& p) {
        if (updates++ == 0) first = p.seconds;
        last = p.seconds;
        enough = last - first >= 1 || stop_requested;
    };
    trainer.run(observer);
    return updates > 1 ? (last - first) / static_cast<double>(updates - 1) : last;
}

}  // namespace

std::vector<Batch> validation_batches(const Project& project, std::size_t sentences) {
    auto valid = project.corpus("valid");
    const std::size_t n = sentences ? std::min(sentences, valid.source.size()) : valid.source.size();
    Ragged source, target;
    for (std::size_t i = 0; i < n; ++i) {
        source.push_back(valid.source[i]);
        target.push_back(valid.target[i]);
    }
    return batches_in_order(Batches(std::move(source), std::move(target), {.max_tokens = validation_tokens}));
}

QuantizedWeights tuned(const Project& project, const std::string& name, const Weights<float>& weights,
                       const QuantizedWeights& quantized, const std::filesystem::path& folder) {
    const Settings& s = project.settings;
    TrainingRecipe recipe = s.sub_recipe;
    recipe.max_updates = static_cast<int>(s.tune_updates);
    Training what = training(project, weights, recipe, [&](BatchSource batches, std::vector<Batch> valid) {
        return fixed_task(quantized.arch, std::move(batches), std::move(valid));
    });
    what.task.stand_in = straight_through(quantized);
    std::uint32_t codes = 0;
    for (const auto& t : quantized.tensors) codes = crc32(bytes_of(std::span<const std::uint8_t>(t.codes)), codes);
    what.task.identity["quantization"] = {{"bits", bits_text(*quantized.layout, quantized.how)},
                                          {"codes", "crc32 " + std::to_string(codes)}};
    TrainerOptions options = options_of(project, recipe, folder);
    options.schedule = CosineSchedule{
        .min_lr = 0, .max_lr = s.tune_lr, .warmup = 0, .max_updates = static_cast<std::uint64_t>(s.tune_updates)};
    options.validate_every = std::max<std::uint64_t>(1, s.tune_updates / 4);
    options.keep_last = 1;
    options.patience = 0;
    train_to_the_end(project, name, what, options);
    const auto best = CheckpointFolder(options.folder, options.keep_last).best();
    return requantize(quantized, load_model(CheckpointFolder::weights_file(best)).weights);
}

double time_super_update(const Project& project) { return time_updates(project, super_training(project)); }
double time_update(const Project& project, const RuntimeArch& arch) {
    return time_updates(project, training_from_scratch(project, arch));
}

Json run_super(const Project& project) {
    return train(project, "super", to_runtime(project.settings.space().largest()), super_training(project));
}

Json run_winner(const Project& project) {
    return train(project, "winner", project.winner(), training_from_scratch(project, project.winner()));
}

Json run_baseline(const Project& project) {
    const RuntimeArch largest = to_runtime(project.settings.space().largest());
    return train(project, "baseline", largest, training_from_scratch(project, largest));
}

}  // namespace hat::cli
