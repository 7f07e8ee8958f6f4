#pragma once
/// \file
/// Reads the YAML files of the reference (mit-han-lab/hardware-aware-transformers, configs/) as they are. Optional
/// component hat::yaml. The only place that translates its attention spans: -1, 1, 2 there are 1, 2, 3 here.
///
/// Load one or several files into a YamlConfig, call check_reference_keys() once, then read what is needed.

#include <algorithm>
#include <array>
#include <cstddef>
#include <hat/io/yaml.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/features.hpp>
#include <hat/space/presets.hpp>
#include <hat/space/space.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hat {

/// Keys that mean something here: the reference's, and three of ours. Each is read by one of the functions below.
inline constexpr std::array reference_keys = std::to_array<std::string_view>({
    // model
    "arch",
    "share-all-embeddings",
    "share-decoder-input-output-embed",
    "encoder-normalize-before",
    "decoder-normalize-before",
    "no-decoder-final-norm",
    "vocab-original-scaling",
    "encoder-embed-dim",
    "decoder-embed-dim",
    "encoder-ffn-embed-dim",
    "decoder-ffn-embed-dim",
    "encoder-layers",
    "decoder-layers",
    "encoder-attention-heads",
    "decoder-attention-heads",
    "qkv-dim",
    // ours, in the style of the others: the reference's qkv width is the same everywhere
    "qkv-choice",
    "encoder-qkv-dim-all-subtransformer",
    "decoder-qkv-dim-all-subtransformer",
    // design space
    "encoder-embed-choice",
    "decoder-embed-choice",
    "encoder-ffn-embed-dim-choice",
    "decoder-ffn-embed-dim-choice",
    "encoder-layer-num-choice",
    "decoder-layer-num-choice",
    "encoder-self-attention-heads-choice",
    "decoder-self-attention-heads-choice",
    "decoder-ende-attention-heads-choice",
    "decoder-arbitrary-ende-attn-choice",
    // SubTransformer
    "encoder-embed-dim-subtransformer",
    "decoder-embed-dim-subtransformer",
    "encoder-ffn-embed-dim-all-subtransformer",
    "decoder-ffn-embed-dim-all-subtransformer",
    "encoder-layer-num-subtransformer",
    "decoder-layer-num-subtransformer",
    "encoder-self-attention-heads-all-subtransformer",
    "decoder-self-attention-heads-all-subtransformer",
    "decoder-ende-attention-heads-all-subtransformer",
    "decoder-arbitrary-ende-attn-all-subtransformer",
    // training
    "optimizer",
    "adam-betas",
    "adam-eps",
    "clip-norm",
    "weight-decay",
    "dropout",
    "attention-dropout",
    "activation-dropout",
    "criterion",
    "label-smoothing",
    "update-freq",
    "max-update",
    "warmup-updates",
    "lr-scheduler",
    "warmup-init-lr",
    "max-lr",
    "lr",
    "lr-shrink",
    "t-mult",
    "lr-period-updates",
    "max-tokens",
    "seed",
    // latency dataset, predictor, search
    "lat-dataset-path",
    "lat-dataset-size",
    "latiter",
    "feature-norm",
    "lat-norm",
    "feature-dim",
    "hidden-dim",
    "hidden-layer-num",
    "ckpt-path",
    "train-steps",
    "bsz",
    "evo-iter",
    "population-size",
    "parent-size",
    "mutation-size",
    "crossover-size",
    "mutation-prob",
    "latency-constraint",
    "valid-cnt-max",
    "restore-file",
    "write-config-path",
});

/// Keys of the reference that have no meaning here and are skipped: half precision, several GPUs, fairseq's data
/// folders, its logging and how often it saves and validates, and the choice of device.
inline constexpr std::array reference_skipped_keys = std::to_array<std::string_view>({
    "fp16",
    "memory-efficient-fp16",
    "fp16-init-scale",
    "fp16-scale-window",
    "ddp-backend",
    "bucket-cap-mb",
    "distributed-world-size",
    "distributed-port",
    "distributed-init-method",
    "device-id",
    "fix-batches-to-gpus",
    "find-unused-parameters",
    "data",
    "source-lang",
    "target-lang",
    "task",
    "user-dir",
    "num-workers",
    "save-dir",
    "keep-last-epochs",
    "keep-interval-updates",
    "save-interval",
    "save-interval-updates",
    "validate-interval",
    "no-epoch-checkpoints",
    "no-last-checkpoints",
    "no-save",
    "log-interval",
    "log-format",
    "no-progress-bar",
    "tensorboard-logdir",
    "train-subtransformer",
    "cpu",
    "latcpu",
    "latgpu",
    "latsilent",
});

/// Throws bad_config for a key that is neither the reference's nor was asked for, naming the closest one, or what
/// was `expected`. Returns the keys that are skipped, in file order, for the one notice a program prints.
inline std::vector<std::string> check_reference_keys(
    const YamlConfig& config, std::string_view expected = "a key of the reference (docs/configuration.md lists them)") {
    std::vector<std::string_view> known(reference_keys.begin(), reference_keys.end());
    known.insert(known.end(), reference_skipped_keys.begin(), reference_skipped_keys.end());
    config.reject_unknown(known, expected);
    std::vector<std::string> skipped;
    for (const auto& key : config.keys())
        if (std::find(reference_skipped_keys.begin(), reference_skipped_keys.end(), key) !=
            reference_skipped_keys.end())
            skipped.push_back(key);
    return skipped;
}

namespace reference_detail {

/// A required or optional number with bounds.
template <class T>
T at_least(const YamlConfig& config, const std::string& key, T least, std::optional<T> otherwise = std::nullopt) {
    const T value = otherwise ? config.get_or<T>(key, *otherwise) : config.get<T>(key);
    if (value < least && config.has(key)) {
        std::string text = std::to_string(least);
        if constexpr (std::is_floating_point_v<T>) text = text.substr(0, text.find('.'));
        throw config.problem(key, "at least " + text);
    }
    return value;
}

/// Throws unless a width is at most most_width.
inline void require_width(const YamlConfig& config, const std::string& key, int value) {
    if (value > most_width)
        throw config.about(key, "found " + std::to_string(value) + ", expected at most " + std::to_string(most_width));
}

/// A width that must be given, 1 to most_width.
inline int width(const YamlConfig& config, const std::string& key) {
    const int value = at_least(config, key, 1);
    require_width(config, key, value);
    return value;
}

/// A rate in [0, 1).
inline double rate(const YamlConfig& config, const std::string& key, double otherwise) {
    const double value = config.get_or<double>(key, otherwise);
    if (value < 0 || value >= 1) throw config.problem(key, "a number from 0 to less than 1");
    return value;
}

/// The reference's -1, 1, 2 as a span of 1, 2, 3 encoder layers.
inline int reference_span(const YamlConfig& config, const std::string& key, int value) {
    if (value != -1 && value != 1 && value != 2)
        throw config.about(key, "found " + std::to_string(value) + ", expected -1, 1 or 2");
    return value == -1 ? 1 : value + 1;
}

/// Throws unless a SubTransformer's value is at most the SuperTransformer's.
inline void require_within(const YamlConfig& config, const std::string& key, int value, const std::string& super) {
    const int most = config.get_or<int>(super, value);
    if (value > most)
        throw config.about(key, "found " + std::to_string(value) + ", more than the SuperTransformer's " +
                                    std::to_string(most) + " ('" + super + "')");
}

}  // namespace reference_detail

/// Tokens of the sentences the reference measures and counts operations with: 30 for WMT, 23 for IWSLT, from `arch`.
inline int reference_sentence_length(const YamlConfig& config) {
    const auto arch = config.get_or<std::string>("arch", "");
    if (arch == "transformersuper_wmt_en_de" || arch == "transformersuper_wmt_en_fr") return wmt_sentence_length;
    if (arch == "transformersuper_iwslt_de_en") return iwslt_sentence_length;
    throw config.problem("arch",
                         "transformersuper_wmt_en_de, transformersuper_wmt_en_fr or transformersuper_iwslt_de_en, "
                         "which say how long sentences are (or give a length)");
}

/// Which vocabulary matrices are one.
inline EmbeddingSharing reference_sharing(const YamlConfig& config) {
    if (config.get_or<bool>("share-all-embeddings", false)) return EmbeddingSharing::all;
    return config.get_or<bool>("share-decoder-input-output-embed", false) ? EmbeddingSharing::decoder_input_output
                                                                          : EmbeddingSharing::none;
}

/// The shape of the SuperTransformer: the largest of everything, spans of 3 encoder layers.
inline RuntimeArch reference_supertransformer(const YamlConfig& config) {
    RuntimeArch a;
    const int qkv = reference_detail::width(config, "qkv-dim");
    const auto side = [&](auto& stack, const std::string& name) {
        stack.embed = reference_detail::width(config, name + "-embed-dim");
        stack.layers = reference_detail::at_least(config, name + "-layers", 1);
        if (stack.layers > static_cast<int>(runtime_max_layers))
            throw config.problem(name + "-layers", "at most " + std::to_string(runtime_max_layers));
        const int ffn = reference_detail::width(config, name + "-ffn-embed-dim");
        const int heads = reference_detail::at_least(config, name + "-attention-heads", 1);
        if (qkv % heads != 0)
            throw config.problem(name + "-attention-heads", "a divisor of the qkv-dim " + std::to_string(qkv));
        stack.ffn.fill(ffn);
        stack.qkv.fill(qkv);
        stack.self_heads.fill(heads);
        stack.cross_heads.fill(heads);
        stack.cross_span.fill(3);
    };
    side(a.encoder, "encoder");
    side(a.decoder, "decoder");
    return canonical(a);
}

/// The design space. `qkv-choice` makes the width of q, k and v elastic, layer by layer; without it, it is `qkv-dim`.
inline RuntimeSpace reference_space(const YamlConfig& config) {
    struct Entry {
        std::vector<int> RuntimeAxes::*axis;
        std::string_view name;
        const char* key;
        const char* super;  // the SuperTransformer's size that bounds it
    };
    static constexpr Entry entries[] = {
        {&RuntimeAxes::encoder_embed, "encoder_embed", "encoder-embed-choice", "encoder-embed-dim"},
        {&RuntimeAxes::encoder_layers, "encoder_layers", "encoder-layer-num-choice", "encoder-layers"},
        {&RuntimeAxes::encoder_ffn, "encoder_ffn", "encoder-ffn-embed-dim-choice", "encoder-ffn-embed-dim"},
        {&RuntimeAxes::encoder_heads, "encoder_heads", "encoder-self-attention-heads-choice", nullptr},
        {&RuntimeAxes::decoder_embed, "decoder_embed", "decoder-embed-choice", "decoder-embed-dim"},
        {&RuntimeAxes::decoder_layers, "decoder_layers", "decoder-layer-num-choice", "decoder-layers"},
        {&RuntimeAxes::decoder_ffn, "decoder_ffn", "decoder-ffn-embed-dim-choice", "decoder-ffn-embed-dim"},
        {&RuntimeAxes::decoder_heads, "decoder_heads", "decoder-self-attention-heads-choice", nullptr},
        {&RuntimeAxes::cross_heads, "cross_heads", "decoder-ende-attention-heads-choice", nullptr},
        {&RuntimeAxes::cross_span, "cross_span", "decoder-arbitrary-ende-attn-choice", nullptr},
        {&RuntimeAxes::qkv, "qkv", "qkv-choice", "qkv-dim"},
    };
    RuntimeAxes axes;
    axes.qkv = {reference_detail::width(config, "qkv-dim")};
    for (const Entry& e : entries) {
        auto& axis = axes.*e.axis;
        if (e.axis == &RuntimeAxes::qkv && !config.has(e.key)) continue;
        axis = config.get<std::vector<int>>(e.key);
        for (int& value : axis) {
            if (e.super) reference_detail::require_within(config, e.key, value, e.super);
            reference_detail::require_width(config, e.key, value);
            if (e.axis == &RuntimeAxes::cross_span) value = reference_detail::reference_span(config, e.key, value);
        }
    }
    try {
        return RuntimeSpace(axes);
    } catch (const invalid_value& bad) {
        std::string key;
        for (const Entry& e : entries)
            if (e.name == detail::find_fault(axes).axis) key = e.key;
        if (!config.has(key)) key = "qkv-dim";
        throw config.about(key, bad.what());
    }
}

/// The SubTransformer. Per-layer lists have an entry for each of its layers, or for each of the SuperTransformer's
/// (`encoder-layers`, `decoder-layers`; 6 if not given), of which the first ones count. The lists of qkv widths may be
/// left out: then they are `qkv-dim`.
inline RuntimeArch reference_subtransformer(const YamlConfig& config) {
    RuntimeArch a;
    const auto side = [&](auto& stack, const std::string& name) {
        const auto number = [&](const std::string& key, const std::string& super) {
            const int value = reference_detail::width(config, key);
            reference_detail::require_within(config, key, value, super);
            return value;
        };
        stack.embed = number(name + "-embed-dim-subtransformer", name + "-embed-dim");
        stack.layers = number(name + "-layer-num-subtransformer", name + "-layers");
        if (stack.layers > static_cast<int>(runtime_max_layers))
            throw config.problem(name + "-layer-num-subtransformer", "at most " + std::to_string(runtime_max_layers));
        const auto layers = static_cast<std::size_t>(stack.layers);
        const auto super_layers =
            static_cast<std::size_t>(reference_detail::at_least(config, name + "-layers", 1, std::optional(6)));
        const auto row = [&](auto& values, const std::string& key, auto&& check) {
            const auto list = config.get<std::vector<int>>(key);
            if (list.size() != layers && (list.size() != super_layers || super_layers < layers))
                throw config.problem(
                    key, "a list of " + std::to_string(layers) + " (the layers of the SubTransformer)" +
                             (super_layers > layers
                                  ? " or of " + std::to_string(super_layers) + " (those of the SuperTransformer)"
                                  : ""));
            for (std::size_t i = 0; i < layers; ++i) values[i] = check(key, list[i], i);
        };
        const auto width = [&](const std::string& super) {
            return [&config, super](const std::string& key, int value, std::size_t) {
                if (value < 1) throw config.about(key, "found " + std::to_string(value) + ", expected at least 1");
                reference_detail::require_within(config, key, value, super);
                reference_detail::require_width(config, key, value);
                return value;
            };
        };
        const std::string qkv = name + "-qkv-dim-all-subtransformer";
        if (config.has(qkv))
            row(stack.qkv, qkv, width("qkv-dim"));
        else
            stack.qkv.fill(reference_detail::width(config, "qkv-dim"));
        const auto heads = [&](const std::string& key, int value, std::size_t layer) {
            if (value < 1 || stack.qkv[layer] % value != 0)
                throw config.about(key, "found " + std::to_string(value) +
                                            " heads, expected a divisor of the qkv-dim " +
                                            std::to_string(stack.qkv[layer]) +
                                            (config.has(qkv) ? " of layer " + std::to_string(layer) : ""));
            return value;
        };
        row(stack.ffn, name + "-ffn-embed-dim-all-subtransformer", width(name + "-ffn-embed-dim"));
        row(stack.self_heads, name + "-self-attention-heads-all-subtransformer", heads);
        if (name == "decoder") {
            row(stack.cross_heads, "decoder-ende-attention-heads-all-subtransformer", heads);
            row(stack.cross_span, "decoder-arbitrary-ende-attn-all-subtransformer",
                [&](const std::string& key, int value, std::size_t) {
                    return reference_detail::reference_span(config, key, value);
                });
        }
    };
    side(a.encoder, "encoder");
    side(a.decoder, "decoder");
    return canonical(a);
}

/// How to train, with the reference's defaults for what is left out (clipping at 25, no attention dropout, Adam's
/// 1e-8). `lr-scheduler`, `lr`, `warmup-updates` and `max-update` must be given, and `max-lr` for cosine.
inline TrainingRecipe reference_recipe(const YamlConfig& config) {
    const auto only = [&](const std::string& key, const char* value) {
        if (config.get_or<std::string>(key, value) != value) throw config.problem(key, value);
    };
    only("optimizer", "adam");
    only("criterion", "label_smoothed_cross_entropy");
    TrainingRecipe r;
    const auto betas = config.get_or<std::vector<double>>("adam-betas", {r.adam_beta1, r.adam_beta2});
    if (betas.size() != 2 || betas[0] < 0 || betas[0] >= 1 || betas[1] < 0 || betas[1] >= 1)
        throw config.problem("adam-betas", "two numbers from 0 to less than 1");
    r.adam_beta1 = betas[0];
    r.adam_beta2 = betas[1];
    const auto number = [&](const std::string& key, double least, double otherwise) {
        return reference_detail::at_least<double>(config, key, least, otherwise);
    };
    r.adam_eps = config.get_or<double>("adam-eps", r.adam_eps);
    if (r.adam_eps <= 0) throw config.problem("adam-eps", "a positive number");
    r.weight_decay = number("weight-decay", 0, r.weight_decay);
    r.clip_norm = number("clip-norm", 0, r.clip_norm);
    r.dropout = reference_detail::rate(config, "dropout", r.dropout);
    r.attention_dropout = reference_detail::rate(config, "attention-dropout", r.attention_dropout);
    r.activation_dropout = reference_detail::rate(config, "activation-dropout", r.activation_dropout);
    r.label_smoothing = reference_detail::rate(config, "label-smoothing", r.label_smoothing);
    const auto schedule = config.get<std::string>("lr-scheduler");
    if (schedule != "inverse_sqrt" && schedule != "cosine")
        throw config.problem("lr-scheduler", "inverse_sqrt or cosine");
    r.schedule = schedule == "cosine" ? ScheduleKind::cosine : ScheduleKind::inverse_sqrt;
    r.warmup_init_lr = config.get_or<double>("warmup-init-lr", r.warmup_init_lr);
    r.lr = reference_detail::at_least<double>(config, "lr", 0);
    if (r.schedule == ScheduleKind::cosine) {
        r.max_lr = reference_detail::at_least<double>(config, "max-lr", 0);
        if (r.max_lr <= r.lr)
            throw config.problem("max-lr", "more than 'lr', which is the minimum of a cosine schedule");
        r.lr_shrink = number("lr-shrink", 0, r.lr_shrink);
        r.t_mult = number("t-mult", 1, r.t_mult);
        r.lr_period_updates = config.get_or<long>("lr-period-updates", r.lr_period_updates);
    }
    r.max_updates = reference_detail::at_least<long>(config, "max-update", 1);
    r.warmup_updates = reference_detail::at_least<long>(config, "warmup-updates", 0);
    if (r.warmup_updates > r.max_updates)
        throw config.problem("warmup-updates", "at most 'max-update', " + std::to_string(r.max_updates));
    r.max_tokens = reference_detail::at_least<int>(config, "max-tokens", 1, r.max_tokens);
    r.update_freq = reference_detail::at_least<int>(config, "update-freq", 1, r.update_freq);
    r.seed = config.get_or<unsigned long>("seed", r.seed);
    r.sharing = reference_sharing(config);
    r.encoder_pre_norm = config.get_or<bool>("encoder-normalize-before", false);
    r.decoder_pre_norm = config.get_or<bool>("decoder-normalize-before", false);
    r.decoder_final_norm = !config.get_or<bool>("no-decoder-final-norm", false);
    r.vocab_original_scaling = config.get_or<bool>("vocab-original-scaling", false);
    return r;
}

/// What `cost()` needs besides the architecture and the vocabulary; `length` replaces the one that `arch` implies.
inline CostOptions reference_cost_options(const YamlConfig& config, std::optional<int> length = std::nullopt) {
    CostOptions o;
    o.source_length = o.target_length = length ? *length : reference_sentence_length(config);
    o.sharing = reference_sharing(config);
    o.encoder_pre_norm = config.get_or<bool>("encoder-normalize-before", false);
    o.decoder_pre_norm = config.get_or<bool>("decoder-normalize-before", false);
    o.decoder_final_norm = !config.get_or<bool>("no-decoder-final-norm", false);
    return o;
}

/// The evolutionary search (configs/*/evo_search); defaults: the paper's.
struct SearchRecipe {
    int iterations = 30;                ///< generations after the first
    int population = 125;               ///< networks of the first generation
    int parents = 25;                   ///< survivors of each generation
    int mutations = 50;                 ///< children by mutation, per generation
    int crossovers = 50;                ///< children by crossover, per generation
    double mutation_probability = 0.3;  ///< of each entry of a gene
    double latency_limit_ms = 0;        ///< milliseconds
    long validation_batches = -1;       ///< score on so many batches only; below 0: all
    std::array<float, MeanFeatures::size> feature_norm = MeanFeatures{}.norm;  ///< what each feature is divided by
    double lat_norm = 1;                                                       ///< milliseconds of a predicted 1
    std::string predictor_file;  ///< the latency predictor; empty: not given
    std::string weights_file;    ///< the SuperTransformer; empty: not given
    std::string output_file;     ///< where the winner goes; empty: not given
};

/// The latency dataset to measure (configs/*/latency_dataset).
struct LatencyDatasetRecipe {
    std::string file;      ///< where the samples go
    int samples = 0;       ///< networks to measure
    int iterations = 300;  ///< timed runs per sample
};

/// The latency predictor to fit (configs/*/latency_predictor).
struct PredictorRecipe {
    std::string dataset_file;                                                  ///< samples to learn from
    std::string predictor_file;                                                ///< where the predictor goes
    std::array<float, MeanFeatures::size> feature_norm = MeanFeatures{}.norm;  ///< what each feature is divided by
    double lat_norm = 1;                                                       ///< milliseconds of a predicted 1
    int hidden_width = 400;                                                    ///< neurons of each hidden layer
    int hidden_layers = 3;  ///< layers from hidden to hidden: one less than the network has
    int steps = 5000;       ///< updates
    int batch = 128;        ///< samples of each update
    double lr = 1e-5;       ///< Adam's learning rate
};

namespace reference_detail {

/// What each feature is divided by (`feature-norm`).
inline std::array<float, MeanFeatures::size> feature_norm(const YamlConfig& config) {
    auto norm = MeanFeatures{}.norm;
    if (!config.has("feature-norm")) return norm;
    const auto list = config.get<std::vector<float>>("feature-norm");
    if (list.size() != norm.size() || *std::min_element(list.begin(), list.end()) <= 0)
        throw config.problem("feature-norm", std::to_string(norm.size()) + " positive numbers");
    std::copy(list.begin(), list.end(), norm.begin());
    return norm;
}

/// A number above 0.
inline double positive(const YamlConfig& config, const std::string& key,
                       std::optional<double> otherwise = std::nullopt) {
    const double value = otherwise ? config.get_or<double>(key, *otherwise) : config.get<double>(key);
    if (value <= 0) throw config.problem(key, "a positive number");
    return value;
}

}  // namespace reference_detail

/// Reads an evo_search file; `latency-constraint` must be given.
inline SearchRecipe reference_search(const YamlConfig& config) {
    SearchRecipe r;
    const auto count = [&](const std::string& key, int least, int otherwise) {
        return reference_detail::at_least<int>(config, key, least, otherwise);
    };
    r.iterations = count("evo-iter", 1, r.iterations);
    r.population = count("population-size", 1, r.population);
    r.parents = count("parent-size", 1, r.parents);
    r.mutations = count("mutation-size", 0, r.mutations);
    r.crossovers = count("crossover-size", 0, r.crossovers);
    r.mutation_probability = config.get_or<double>("mutation-prob", r.mutation_probability);
    if (r.mutation_probability < 0 || r.mutation_probability > 1)
        throw config.problem("mutation-prob", "a probability from 0 to 1");
    r.latency_limit_ms = reference_detail::positive(config, "latency-constraint");
    r.validation_batches = config.get_or<long>("valid-cnt-max", r.validation_batches);
    r.feature_norm = reference_detail::feature_norm(config);
    r.lat_norm = reference_detail::positive(config, "lat-norm", r.lat_norm);
    r.predictor_file = config.get_or<std::string>("ckpt-path", "");
    r.weights_file = config.get_or<std::string>("restore-file", "");
    r.output_file = config.get_or<std::string>("write-config-path", "");
    return r;
}

/// Reads a latency_dataset file; its space and model: reference_space(), reference_supertransformer().
inline LatencyDatasetRecipe reference_latency_dataset(const YamlConfig& config) {
    LatencyDatasetRecipe r;
    r.file = config.get<std::string>("lat-dataset-path");
    r.samples = reference_detail::at_least(config, "lat-dataset-size", 1);
    r.iterations = reference_detail::at_least<int>(config, "latiter", 1, r.iterations);
    return r;
}

/// Reads a latency_predictor file.
inline PredictorRecipe reference_predictor(const YamlConfig& config) {
    PredictorRecipe r;
    r.dataset_file = config.get<std::string>("lat-dataset-path");
    r.predictor_file = config.get_or<std::string>("ckpt-path", "");
    if (config.get_or<std::size_t>("feature-dim", MeanFeatures::size) != MeanFeatures::size)
        throw config.problem("feature-dim", std::to_string(MeanFeatures::size));
    r.feature_norm = reference_detail::feature_norm(config);
    r.lat_norm = reference_detail::positive(config, "lat-norm");
    r.hidden_width = reference_detail::at_least<int>(config, "hidden-dim", 1, r.hidden_width);
    r.hidden_layers = reference_detail::at_least<int>(config, "hidden-layer-num", 0, r.hidden_layers);
    r.steps = reference_detail::at_least<int>(config, "train-steps", 1, r.steps);
    r.batch = reference_detail::at_least<int>(config, "bsz", 1, r.batch);
    r.lr = reference_detail::positive(config, "lr", r.lr);
    return r;
}

}  // namespace hat
