#include <stages/settings.hpp>

#include <hat/model/model_file.hpp>
#include <predictors.hpp>

namespace hat::cli {
namespace {

std::size_t count(const YamlConfig& config, const std::string& key, std::size_t otherwise, std::size_t least = 1) {
    const auto value = config.get_or<long>(key, static_cast<long>(otherwise));
    if (value < static_cast<long>(least)) throw config.problem(key, "a whole number, at least " + std::to_string(least));
    return static_cast<std::size_t>(value);
}

std::string one_of(const YamlConfig& config, const std::string& key, const std::string& otherwise,
                   const std::vector<std::string>& allowed) {
    const auto value = config.get_or<std::string>(key, otherwise);
    std::string names;
    for (const auto& a : allowed) {
        if (a == value) return value;
        names += (names.empty() ? "" : ", ") + a;
    }
    throw config.problem(key, "one of " + names);
}

// A path is relative to the folder of the file that names it.
std::filesystem::path path(const YamlConfig& config, const std::string& key) {
    const std::filesystem::path p = config.get<std::string>(key);
    return p.is_absolute() ? p : (std::filesystem::path(config.node(key)->file).parent_path() / p).lexically_normal();
}

TextFiles files(const YamlConfig& config, const std::string& part) {
    return {path(config, part + "-source"), path(config, part + "-target")};
}

Json recipe_json(const TrainingRecipe& r) {
    return {{"adam_beta1", r.adam_beta1},
            {"adam_beta2", r.adam_beta2},
            {"weight_decay", r.weight_decay},
            {"clip_norm", r.clip_norm},
            {"dropout", r.dropout},
            {"attention_dropout", r.attention_dropout},
            {"activation_dropout", r.activation_dropout},
            {"label_smoothing", r.label_smoothing},
            {"schedule", r.schedule == ScheduleKind::cosine ? "cosine" : "inverse_sqrt"},
            {"warmup_init_lr", r.warmup_init_lr},
            {"lr", r.lr},
            {"max_lr", r.max_lr},
            {"warmup_updates", r.warmup_updates},
            {"max_updates", r.max_updates},
            {"max_tokens", r.max_tokens},
            {"update_freq", r.update_freq}};
}

Json space_json(const RuntimeSpace& space) {
    const auto& a = space.axes();
    return {{"encoder_embed", a.encoder_embed}, {"encoder_layers", a.encoder_layers}, {"encoder_ffn", a.encoder_ffn},
            {"encoder_heads", a.encoder_heads}, {"decoder_embed", a.decoder_embed},   {"decoder_layers", a.decoder_layers},
            {"decoder_ffn", a.decoder_ffn},     {"decoder_heads", a.decoder_heads},   {"cross_heads", a.cross_heads},
            {"cross_span", a.cross_span},       {"qkv", a.qkv}};
}

}  // namespace

Settings read_settings(const std::vector<std::string>& names) {
    const YamlConfig config = YamlConfig::load(names);
    Settings s;
    s.files = names;

    s.train = files(config, "train");
    s.valid = files(config, "valid");
    s.test = files(config, "test");
    s.tokenizer = one_of(config, "tokenizer", s.tokenizer, {"bpe", "unigram", "whitespace"});
    s.vocab_size = count(config, "vocab-size", s.vocab_size, 8);
    s.max_length = count(config, "max-length", s.max_length);
    s.max_ratio = config.get_or<double>("max-ratio", s.max_ratio);
    if (s.max_ratio < 1) throw config.problem("max-ratio", "a number, at least 1");

    s.super_recipe = reference_recipe(config);
    s.seed = config.get_or<unsigned long>("seed", 1);
    s.super_recipe.seed = s.seed;
    // the SubTransformers' own training: every key of the recipe that may differ, with "sub-" before it
    s.sub_recipe = s.super_recipe;
    auto& sub = s.sub_recipe;
    const auto at_least_zero = [&](const std::string& key, auto value) {
        const auto v = config.get_or(key, value);
        if (v < 0) throw config.problem(key, "at least 0");
        return v;
    };
    sub.max_updates = at_least_zero("sub-max-update", sub.max_updates);
    sub.warmup_updates = at_least_zero("sub-warmup-updates", sub.warmup_updates);
    sub.lr = at_least_zero("sub-lr", sub.lr);
    sub.max_lr = at_least_zero("sub-max-lr", sub.max_lr);
    sub.dropout = at_least_zero("sub-dropout", sub.dropout);
    if (sub.warmup_updates > sub.max_updates)
        throw config.problem("sub-warmup-updates", "at most the SubTransformer's updates, " + std::to_string(sub.max_updates));
    s.average_checkpoints = count(config, "average-checkpoints", s.average_checkpoints);
    s.validate_every = count(config, "validate-every", 0, 0);
    s.checkpoint_every = count(config, "checkpoint-every", 0, 0);
    s.patience = count(config, "patience", 0, 0);

    auto& m = s.model;
    m.shape = reference_supertransformer(config);
    m.sharing = s.super_recipe.sharing;
    m.encoder_pre_norm = s.super_recipe.encoder_pre_norm;
    m.decoder_pre_norm = s.super_recipe.decoder_pre_norm;
    m.decoder_final_norm = s.super_recipe.decoder_final_norm;
    m.vocab_original_scaling = s.super_recipe.vocab_original_scaling;
    s.joint_vocab = config.get_or<bool>("joint-vocab", m.sharing == EmbeddingSharing::all);
    if (!s.joint_vocab && m.sharing == EmbeddingSharing::all)
        throw config.problem("joint-vocab", "true, because all embeddings are shared");
    s.space_of_run = reference_space(config);
    s.sample_over = one_of(config, "sample-over", s.sample_over, {"genes", "networks"});

    s.latency_samples = count(config, "lat-dataset-size", s.latency_samples, 20);
    s.latency_repeats = count(config, "latiter", s.latency_repeats);
    s.latency_length = count(config, "latency-length",
                             static_cast<std::size_t>(config.has("arch") ? reference_sentence_length(config) : 30));
    s.latency_beam = count(config, "latency-beam", s.latency_beam);
    s.latency_threads = count(config, "latency-threads", s.latency_threads);
    s.predictor = one_of(config, "predictor", s.predictor, predictor_names);

    if (config.has("latency-constraint")) {
        s.search = reference_search(config);
    } else {
        YamlConfig with_limit = config;  // the limit comes from latency-fraction; the rest is read as ever
        with_limit.add_text("latency-constraint: 1", names.front());
        s.search = reference_search(with_limit);
        s.search.latency_limit_ms = 0;
        for (const char* key : {"evo-iter", "population-size", "parent-size", "mutation-size", "crossover-size", "mutation-prob",
                                "valid-cnt-max", "feature-norm", "lat-norm", "ckpt-path", "restore-file", "write-config-path"})
            (void)config.has(key);
    }
    if (!config.has("lat-norm")) s.search.lat_norm = 0;  // the rows' mean
    s.latency_fraction = config.get_or<double>("latency-fraction", s.latency_fraction);
    if (!(s.latency_fraction > 0)) throw config.problem("latency-fraction", "a positive number");
    s.search_sentences = count(config, "search-sentences", 0, 0);

    s.beam = count(config, "beam", s.beam);
    s.length_penalty = config.get_or<double>("lenpen", s.length_penalty);
    s.bits = count(config, "bits", s.bits, 2);
    if (s.bits > 8) throw config.problem("bits", "2 to 8");

    s.skipped = check_reference_keys(config);

    const auto text = [](const TextFiles& f) { return Json{f.source.string(), f.target.string()}; };
    s.data_identity = {{"train", text(s.train)},       {"valid", text(s.valid)},           {"test", text(s.test)},
                       {"tokenizer", s.tokenizer},     {"vocab_size", s.vocab_size},       {"joint_vocab", s.joint_vocab},
                       {"max_length", s.max_length},   {"max_ratio", s.max_ratio}};
    s.super_identity = {{"recipe", recipe_json(s.super_recipe)}, {"space", space_json(s.space())},
                        {"sample_over", s.sample_over},          {"shape", arch_to_json(m.shape)},
                        {"seed", s.seed},                        {"average", s.average_checkpoints}};
    s.latency_identity = {{"space", space_json(s.space())},      {"samples", s.latency_samples}, {"repeats", s.latency_repeats},
                          {"length", s.latency_length},        {"beam", s.latency_beam},       {"threads", s.latency_threads},
                          {"seed", s.seed}};
    s.search_identity = {{"predictor", s.predictor},
                         {"iterations", s.search.iterations},
                         {"population", s.search.population},
                         {"parents", s.search.parents},
                         {"mutations", s.search.mutations},
                         {"crossovers", s.search.crossovers},
                         {"mutation_probability", s.search.mutation_probability},
                         {"limit_ms", s.search.latency_limit_ms},
                         {"fraction", s.latency_fraction},
                         {"sentences", s.search_sentences},
                         {"seed", s.seed}};
    if (s.predictor == "mlp-paper")
        s.search_identity["predictor"] = {{"model", s.predictor},
                                          {"feature_norm", s.search.feature_norm},
                                          {"lat_norm", s.search.lat_norm}};
    s.sub_identity = {{"recipe", recipe_json(s.sub_recipe)}, {"seed", s.seed}, {"average", s.average_checkpoints}};
    return s;
}

}  // namespace hat::cli
