// The three trainings: the SuperTransformer, the winner and the baseline.

#include <hat/io/atomic_file.hpp>
#include <hat/model/extract.hpp>
#include <hat/train/average.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/recipe.hpp>
#include <hat/train/sampler.hpp>
#include <hat/train/trainer.hpp>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

struct TrainingData {
    BatchSource train;
    std::vector<Batch> validation;
};

TrainingData training_data(const Project& project, const TrainingRecipe& recipe) {
    auto train = project.corpus("train"), valid = project.corpus("valid");
    const auto tokens = static_cast<std::size_t>(recipe.max_tokens);
    Batches batches(std::move(train.source), std::move(train.target),
                    {.max_tokens = tokens, .too_long = BatchOptions::TooLong::drop, .seed = project.settings.seed});
    if (!batches.dropped().empty())
        project.say("notice: " + std::to_string(batches.dropped().size()) + " training pairs are longer than max-tokens, " +
                    std::to_string(tokens) + ", and are left out");
    const Batches validation(std::move(valid.source), std::move(valid.target),
                             {.max_tokens = std::max<std::size_t>(tokens, 4096), .too_long = BatchOptions::TooLong::drop});
    return {batch_source(std::make_shared<const Batches>(std::move(batches))), batches_in_order(validation)};
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

// Trains until its end and writes a model folder, tokenizers included; resumes what it finds there.
Json train(const Project& project, const std::string& name, Weights<float>& weights, const RuntimeArch& arch,
           const TrainingRecipe& recipe, const std::function<TrainingTask(BatchSource, std::vector<Batch>)>& make_task) {
    const Settings& s = project.settings;
    TrainingData data = training_data(project, recipe);
    TrainerOptions options = trainer_options(recipe);
    options.folder = project.folder / name;
    options.validate_every = s.validate_every;
    options.checkpoint_every = s.checkpoint_every;
    options.checkpoint_seconds = 60;
    options.keep_last = s.average_checkpoints;
    options.patience = s.patience;
    options.stop = &stop_requested;

    Progress progress(name, static_cast<std::size_t>(recipe.max_updates), project.quiet);
    TrainingObserver observer;
    observer.resumed = [&](const TrainingState& state) { project.say("resumed after update " + std::to_string(state.update)); };
    observer.updated = [&](const TrainingProgress& p) {
        progress.update(static_cast<std::size_t>(p.update), training_text(p.loss.nll, p.tokens_per_second));
    };
    observer.validated = [&](const HistoryEntry& h, bool best) {
        std::string text = name + " update " + std::to_string(h.update) + ", train nll " + fixed(h.train.nll, 3);
        for (const auto& [network, loss] : h.valid) text += ", valid " + network + " nll " + fixed(loss.nll, 3);
        project.say(text + (best ? " (best)" : ""));
    };
    TrainingTask task = make_task(std::move(data.train), std::move(data.validation));
    task.identity["data"] = data_identity(project, recipe);
    Trainer trainer(weights, std::move(task), options, project.pool);
    const TrainingResult result = trainer.run(observer);
    if (result.end == TrainingEnd::stopped)
        throw interrupted(name + " stopped after update " + std::to_string(result.state.update) +
                          "; the same command goes on from there");
    progress.finish();

    const CheckpointFolder checkpoints(options.folder, options.keep_last);
    const auto chosen = s.average_checkpoints > 1
                            ? checkpoints.recent_weights(s.average_checkpoints)
                            : std::vector{CheckpointFolder::weights_file(checkpoints.has_best() ? checkpoints.best() : checkpoints.latest())};
    const Model averaged = average_models(chosen);
    const auto model = project.model_folder(name);
    project.copy_tokenizers(model);
    save_model(model / "model.safetensors", averaged.weights, arch,
               {{"stage", name}, {"updates", std::to_string(result.state.update)}, {"seed", std::to_string(s.seed)}});
    return {{"updates", result.state.update},
            {"seconds", result.state.seconds},
            {"best_update", result.state.best_update},
            {"averaged", chosen.size()},
            {"history", history_json(result.state)}};
}

Json train_from_scratch(const Project& project, const std::string& name, const RuntimeArch& arch) {
    // its own memory, as if cut out of the SuperTransformer
    TransformerConfig config = project.model_config();
    config.encoder_super_embed = config.super_encoder_embed();
    config.decoder_super_embed = config.super_decoder_embed();
    config.shape = canonical(arch);
    Weights<float> weights(config);
    weights.initialize(derive_seed(project.settings.seed, 2));
    return train(project, name, weights, arch, project.settings.sub_recipe, [&](BatchSource batches, std::vector<Batch> validation) {
        return fixed_task(arch, std::move(batches), std::move(validation));
    });
}

}  // namespace

Json run_super(const Project& project) {
    const Settings& s = project.settings;
    Weights<float> weights(project.model_config());
    weights.initialize(derive_seed(s.seed, 1));
    const RuntimeArch largest = to_runtime(s.space().largest());
    return train(project, "super", weights, largest, s.super_recipe, [&](BatchSource batches, std::vector<Batch> validation) {
        return super_task(UniformSampler<RuntimeSpace>(s.space(), derive_seed(s.seed, 3),
                                                       s.sample_over == "genes" ? SampleOver::genes : SampleOver::networks),
                          largest, to_runtime(s.space().smallest()), std::move(batches), std::move(validation),
                          {{"sample-over", s.sample_over}, {"choices", space_json(s.space())}});
    });
}

Json run_winner(const Project& project) { return train_from_scratch(project, "winner", project.winner()); }

Json run_baseline(const Project& project) {
    return train_from_scratch(project, "baseline", to_runtime(project.settings.space().largest()));
}

}  // namespace hat::cli
