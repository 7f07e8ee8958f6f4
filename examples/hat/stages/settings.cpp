#include <filesystem>
#include <stages/settings.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <hat/core/executor.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/train/recipe.hpp>

namespace hat::cli {
namespace {

// Generous limits: what is beyond them is a slip of the pen, and would end in "not enough memory" hours later.
constexpr std::size_t most_positions = 1024, most_threads = 1024, most_beams = 1000, most_width = 1 << 16;

std::size_t count(const YamlConfig& config, const std::string& key, std::size_t otherwise, std::size_t least = 1,
                  std::size_t most = 1'000'000'000) {
    const auto value = config.get_or<long>(key, static_cast<long>(otherwise));
    if (value < static_cast<long>(least) || value > static_cast<long>(most))
        throw config.problem(key, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
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

Precision precision(const YamlConfig& config, const std::string& key, Precision otherwise) {
    return precision_of(one_of(config, key, std::string(name_of(otherwise)), precision_names()));
}

// A path is relative to the folder of the file that names it.
std::filesystem::path path(const YamlConfig& config, const std::string& key) {
    const std::filesystem::path p = config.get<std::string>(key);
    return p.is_absolute() ? p : (std::filesystem::path(config.node(key)->file).parent_path() / p).lexically_normal();
}

TextFiles files(const YamlConfig& config, const std::string& part) {
    return {path(config, part + "-source"), path(config, part + "-target")};
}

// The CRC of a file's bytes.
std::string text_identity(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw bad_file(path.string(), std::string("cannot be read: ") + std::strerror(errno));
    std::vector<char> piece(1 << 20);
    std::uint32_t crc = 0;
    while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0)
        crc = crc32({piece.data(), static_cast<std::size_t>(file.gcount())}, crc);
    return "crc32 " + std::to_string(crc);
}

Json recipe_json(const TrainingRecipe& r) {
    return {{"adam-betas", {r.adam_beta1, r.adam_beta2}},
            {"adam-eps", r.adam_eps},
            {"weight-decay", r.weight_decay},
            {"clip-norm", r.clip_norm},
            {"dropout", r.dropout},
            {"attention-dropout", r.attention_dropout},
            {"activation-dropout", r.activation_dropout},
            {"label-smoothing", r.label_smoothing},
            {"lr-scheduler", r.schedule == ScheduleKind::cosine ? "cosine" : "inverse_sqrt"},
            {"warmup-init-lr", r.warmup_init_lr},
            {"lr", r.lr},
            {"max-lr", r.max_lr},
            {"lr-shrink", r.lr_shrink},
            {"t-mult", r.t_mult},
            {"lr-period-updates", r.lr_period_updates},
            {"warmup-updates", r.warmup_updates},
            {"max-update", r.max_updates},
            {"max-tokens", r.max_tokens},
            {"update-freq", r.update_freq}};
}

Json model_json(const TransformerConfig& m) {
    Json out = {{"qkv-dim", m.shape.encoder.qkv[0]},
                {"share-all-embeddings", m.sharing == EmbeddingSharing::all},
                {"share-decoder-input-output-embed", m.sharing == EmbeddingSharing::decoder_input_output},
                {"encoder-normalize-before", m.encoder_pre_norm},
                {"decoder-normalize-before", m.decoder_pre_norm},
                {"no-decoder-final-norm", !m.decoder_final_norm},
                {"vocab-original-scaling", m.vocab_original_scaling}};
    const auto side = [&](const std::string& name, const auto& stack) {
        out[name + "-embed-dim"] = stack.embed;
        out[name + "-layers"] = stack.layers;
        out[name + "-ffn-embed-dim"] = stack.ffn[0];
        out[name + "-attention-heads"] = stack.self_heads[0];
    };
    side("encoder", m.shape.encoder);
    side("decoder", m.shape.decoder);
    return out;
}

// A schedule that makes no training; the library's message names what is wrong, but does not know the file.
void check_schedule(const YamlConfig& config, const std::string& prefix, const TrainingRecipe& recipe) {
    // the key as it was given: without its own, the SubTransformers' training takes the other's
    const auto key = [&](const std::string& name) { return config.has(prefix + name) ? prefix + name : name; };
    if (recipe.schedule == ScheduleKind::inverse_sqrt) {
        if (!(recipe.lr > 0)) throw config.problem(key("lr"), "a positive number");
    } else {
        if (!(recipe.max_lr > recipe.lr))
            throw config.problem(key("max-lr"),
                                 "more than '" + key("lr") + "', which is the minimum of a cosine schedule");
        if (!(recipe.lr_shrink > 0)) throw config.problem("lr-shrink", "a positive number");
        if (recipe.lr_period_updates <= 0 && recipe.max_updates <= recipe.warmup_updates)
            throw config.problem(key("max-update"), "more than '" + key("warmup-updates") + "', " +
                                                        std::to_string(recipe.warmup_updates) +
                                                        ", for a cosine schedule");
    }
    if (recipe.max_updates < 1) throw config.problem(key("max-update"), "at least 1");
    if (recipe.warmup_updates > recipe.max_updates)
        throw config.problem(key("warmup-updates"),
                             "at most '" + key("max-update") + "', " + std::to_string(recipe.max_updates));
    if (!(recipe.dropout < 1)) throw config.problem(key("dropout"), "a number from 0 to less than 1");
    try {
        validate(trainer_options(recipe).schedule);
    } catch (const invalid_value& e) {
        throw config.about("lr-scheduler", e.what());
    }
}

void check_search(const YamlConfig& config, const SearchRecipe& search) {
    if (search.parents > search.population)
        throw config.about("parent-size", "there are " + std::to_string(search.parents) +
                                              " parents ('parent-size') in a population of " +
                                              std::to_string(search.population) +
                                              " ('population-size'), expected at most as many");
    if (search.crossovers > 0 && search.parents < 2)
        throw config.problem("parent-size",
                             "at least 2, because 'crossover-size' is " + std::to_string(search.crossovers));
    if (search.mutations + search.crossovers == 0)
        throw config.problem("mutation-size", "at least 1, because 'crossover-size' is 0, too");
}

// Keys that are known, but do nothing beside the others: they are named in a notice.
std::vector<std::string> keys_without_effect(const YamlConfig& config, const Settings& s) {
    std::vector<std::string> names{"lat-dataset-path", "ckpt-path", "restore-file", "write-config-path"};
    const auto add = [&](bool unused, std::initializer_list<const char*> more) {
        if (unused) names.insert(names.end(), more.begin(), more.end());
    };
    add(s.predictor != "mlp-paper", {"feature-norm", "lat-norm", "feature-dim"});
    add(s.predictor == "linear", {"hidden-dim", "hidden-layer-num", "train-steps", "bsz"});
    add(s.super_recipe.schedule != ScheduleKind::cosine,
        {"max-lr", "sub-max-lr", "lr-shrink", "t-mult", "lr-period-updates"});
    add(config.has("latency-constraint"), {"latency-fraction"});
    add(s.device_command.empty(), {"device-timeout", "device-retries"});
    std::vector<std::string> out;
    for (const auto& key : config.keys())
        if (key.ends_with("-subtransformer") || std::find(names.begin(), names.end(), key) != names.end())
            out.push_back(key);
    return out;
}

}  // namespace

Json space_json(const RuntimeSpace& space) {
    const auto& a = space.axes();
    std::vector<int> spans = a.cross_span;
    for (int& span : spans) span = span == 1 ? -1 : span - 1;  // as the reference writes them
    return {{"encoder-embed-choice", a.encoder_embed},
            {"encoder-layer-num-choice", a.encoder_layers},
            {"encoder-ffn-embed-dim-choice", a.encoder_ffn},
            {"encoder-self-attention-heads-choice", a.encoder_heads},
            {"decoder-embed-choice", a.decoder_embed},
            {"decoder-layer-num-choice", a.decoder_layers},
            {"decoder-ffn-embed-dim-choice", a.decoder_ffn},
            {"decoder-self-attention-heads-choice", a.decoder_heads},
            {"decoder-ende-attention-heads-choice", a.cross_heads},
            {"decoder-arbitrary-ende-attn-choice", spans},
            {"qkv-choice", a.qkv}};
}

Settings read_settings(const std::vector<std::string>& names, const std::string& on_top) {
    YamlConfig with_options = YamlConfig::load(names);
    if (!on_top.empty()) with_options.add_text(on_top, "the command line");
    const YamlConfig config = with_options;
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
    check_schedule(config, "", s.super_recipe);
    check_schedule(config, "sub-", sub);
    s.precision = precision(config, "precision", s.precision);
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
    if (s.space().network_count() < BigCount(s.latency_samples))
        throw config.about("lat-dataset-size", std::to_string(s.latency_samples) +
                                                   " networks are to be measured, but the space has only " +
                                                   s.space().network_count().text());
    s.latency_repeats = count(config, "latiter", s.latency_repeats, 1, 1'000'000);
    s.latency_length =
        count(config, "latency-length",
              static_cast<std::size_t>(config.has("arch") ? reference_sentence_length(config) : 30), 1, most_positions);
    s.latency_beam = count(config, "latency-beam", s.latency_beam, 1, most_beams);
    s.latency_threads = count(config, "latency-threads", s.latency_threads, 1, most_threads);
    s.device_command = config.get_or<std::string>("device-command", "");
    if (config.has("device-command") && s.device_command.find_first_not_of(" \t\n") == std::string::npos)
        throw config.problem("device-command", "a shell command; leave the key out to measure on this machine");
    s.device_timeout = config.get_or<double>("device-timeout", s.device_timeout);
    if (!(s.device_timeout >= 0.001 && s.device_timeout <= 1e6))
        throw config.problem("device-timeout", "seconds, from 0.001 to 1000000");
    s.device_retries = count(config, "device-retries", s.device_retries, 0, 1000);

    s.predictor = one_of(config, "predictor", s.predictor, predictor_names);
    s.predictor_options.model = s.predictor;
    s.predictor_options.seed = s.seed;
    if (config.get_or<std::size_t>("feature-dim", MeanFeatures::size) != MeanFeatures::size)
        throw config.problem("feature-dim", std::to_string(MeanFeatures::size));
    for (MlpOptions* mlp : {&s.predictor_options.mlp, &s.predictor_options.paper}) {
        mlp->hidden.assign(count(config, "hidden-layer-num", mlp->hidden.size() - 1, 0, 100) + 1,
                           count(config, "hidden-dim", mlp->hidden[0], 1, most_width));
        mlp->steps = count(config, "train-steps", mlp->steps);
        mlp->batch = count(config, "bsz", mlp->batch);
    }

    const bool given = config.has("latency-constraint");
    YamlConfig with_limit = config;  // without one, the limit comes from latency-fraction; the rest is read as ever
    if (!given) with_limit.add_text("latency-constraint: 1", names.front());
    s.search = reference_search(with_limit);
    if (!given) s.search.latency_limit_ms = 0;
    check_search(config, s.search);
    s.predictor_options.mean_features = {s.search.feature_norm};
    s.predictor_options.unit = Milliseconds(config.has("lat-norm") ? s.search.lat_norm : 0);
    s.latency_fraction = config.get_or<double>("latency-fraction", s.latency_fraction);
    if (!(s.latency_fraction > 0)) throw config.problem("latency-fraction", "a positive number");
    s.search_sentences = count(config, "search-sentences", 0, 0);
    s.search_precision = precision(config, "search-precision", s.search_precision);

    s.beam = count(config, "beam", s.beam, 1, most_beams);
    s.length_penalty = config.get_or<double>("lenpen", s.length_penalty);
    if (s.length_penalty < 0 || s.length_penalty > 10) throw config.problem("lenpen", "a number from 0 to 10");
    s.bits = count(config, "bits", s.bits, 2, 8);
    s.bit_allocation = one_of(config, "bit-allocation", s.bit_allocation, {"uniform", "measured"});
    s.tune_updates = count(config, "tune-updates", s.tune_updates, 0);
    s.tune_lr = config.get_or<double>("tune-lr", s.tune_lr);
    if (!(s.tune_lr > 0 && s.tune_lr < 1)) throw config.problem("tune-lr", "a number between 0 and 1");

    s.skipped = check_reference_keys(config, "one of the keys that docs/configuration.md lists");
    const auto more = keys_without_effect(config, s);
    s.skipped.insert(s.skipped.end(), more.begin(), more.end());

    s.data_identity = {{"tokenizer", s.tokenizer},
                       {"vocab-size", s.vocab_size},
                       {"joint-vocab", s.joint_vocab},
                       {"max-length", s.max_length},
                       {"max-ratio", s.max_ratio}};
    for (const auto& [part, text] :
         {std::pair("train", &s.train), std::pair("valid", &s.valid), std::pair("test", &s.test)}) {
        s.data_identity[std::string(part) + "-source"] = text_identity(text->source);
        s.data_identity[std::string(part) + "-target"] = text_identity(text->target);
    }
    s.model_identity = model_json(m);
    s.model_identity.update(space_json(s.space()));
    s.model_identity["seed"] = s.seed;
    s.training_identity = recipe_json(s.super_recipe);
    s.training_identity["precision"] = name_of(s.precision);
    s.training_identity["average-checkpoints"] = s.average_checkpoints;
    s.training_identity["validate-every"] = s.validate_every;
    s.training_identity["patience"] = s.patience;
    // only a mean over the last checkpoints depends on when they are written
    s.training_identity["checkpoint-every"] = s.average_checkpoints > 1 ? s.checkpoint_every : 0;
    s.sub_identity = {{"sub-max-update", s.sub_recipe.max_updates},
                      {"sub-warmup-updates", s.sub_recipe.warmup_updates},
                      {"sub-lr", s.sub_recipe.lr},
                      {"sub-max-lr", s.sub_recipe.max_lr},
                      {"sub-dropout", s.sub_recipe.dropout}};
    s.latency_identity = {{"lat-dataset-size", s.latency_samples},
                          {"latiter", s.latency_repeats},
                          {"latency-length", s.latency_length},
                          {"latency-beam", s.latency_beam},
                          {"latency-threads", s.latency_threads}};
    // how the device is reached may change; what it says of itself is checked when it is measured
    if (!s.device_command.empty()) s.latency_identity["device-command"] = "given";
    s.predictor_identity = {{"predictor", s.predictor}};
    if (s.predictor != "linear") {
        const MlpOptions& mlp = s.predictor == "mlp-paper" ? s.predictor_options.paper : s.predictor_options.mlp;
        s.predictor_identity["hidden-dim"] = mlp.hidden[0];
        s.predictor_identity["hidden-layer-num"] = mlp.hidden.size() - 1;
        s.predictor_identity["train-steps"] = mlp.steps;
        s.predictor_identity["bsz"] = mlp.batch;
    }
    if (s.predictor == "mlp-paper") {
        s.predictor_identity["feature-norm"] = s.search.feature_norm;
        s.predictor_identity["lat-norm"] = s.predictor_options.unit.count();
    }
    s.search_identity = {{"evo-iter", s.search.iterations},
                         {"population-size", s.search.population},
                         {"parent-size", s.search.parents},
                         {"mutation-size", s.search.mutations},
                         {"crossover-size", s.search.crossovers},
                         {"mutation-prob", s.search.mutation_probability},
                         {"latency-constraint", s.search.latency_limit_ms},
                         {"latency-fraction", given ? 0 : s.latency_fraction},
                         {"search-sentences", s.search_sentences},
                         {"valid-cnt-max", s.search.validation_batches},
                         {"search-precision", name_of(s.search_precision)}};
    return s;
}

}  // namespace hat::cli
