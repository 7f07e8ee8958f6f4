#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <hat/io/reference_config.hpp>
#include <io/parse.hpp>
#include <span>
#include <sstream>
#include <string_view>
#include <support/shared.hpp>

using hat_test::parse;

namespace {

namespace fs = std::filesystem;

// text with the line that starts with "key:" replaced; an empty line removes it
std::string with(std::string text, const std::string& key, const std::string& line) {
    const auto at = ("\n" + text).find("\n" + key + ":");
    REQUIRE(at != std::string::npos);
    const auto end = text.find('\n', at);
    return text.replace(at, end + 1 - at, line.empty() ? "" : line + "\n");
}

const std::string space_text =
    "arch: transformersuper_iwslt_de_en\n"
    "encoder-embed-dim: 48\n"
    "decoder-embed-dim: 32\n"
    "encoder-ffn-embed-dim: 96\n"
    "decoder-ffn-embed-dim: 64\n"
    "encoder-layers: 3\n"
    "decoder-layers: 2\n"
    "encoder-attention-heads: 4\n"
    "decoder-attention-heads: 2\n"
    "qkv-dim: 16\n"
    "encoder-embed-choice: [48, 24]\n"
    "decoder-embed-choice: [32]\n"
    "encoder-ffn-embed-dim-choice: [96, 48]\n"
    "decoder-ffn-embed-dim-choice: [64, 32]\n"
    "encoder-layer-num-choice: [3, 1]\n"
    "decoder-layer-num-choice: [2, 1]\n"
    "encoder-self-attention-heads-choice: [4, 2]\n"
    "decoder-self-attention-heads-choice: [2]\n"
    "decoder-ende-attention-heads-choice: [2, 1]\n"
    "decoder-arbitrary-ende-attn-choice: [-1, 1, 2]\n";

const std::string sub_text =
    "encoder-layers: 4\n"
    "decoder-layers: 3\n"
    "qkv-dim: 16\n"
    "encoder-embed-dim-subtransformer: 24\n"
    "decoder-embed-dim-subtransformer: 32\n"
    "encoder-ffn-embed-dim-all-subtransformer: [48, 96, 48]\n"
    "decoder-ffn-embed-dim-all-subtransformer: [64, 32, 48]\n"
    "encoder-layer-num-subtransformer: 3\n"
    "decoder-layer-num-subtransformer: 2\n"
    "encoder-self-attention-heads-all-subtransformer: [4, 2, 4, 8]\n"
    "decoder-self-attention-heads-all-subtransformer: [2, 1]\n"
    "decoder-ende-attention-heads-all-subtransformer: [1, 2]\n"
    "decoder-arbitrary-ende-attn-all-subtransformer: [-1, 2, 1]\n";

const std::string training_text =
    "optimizer: adam\n"
    "adam-betas: (0.8, 0.95)\n"
    "clip-norm: 1.5\n"
    "weight-decay: 0.01\n"
    "dropout: 0.25\n"
    "attention-dropout: 0.125\n"
    "criterion: label_smoothed_cross_entropy\n"
    "label-smoothing: 0.2\n"
    "update-freq: 3\n"
    "max-update: 500\n"
    "warmup-updates: 20\n"
    "lr-scheduler: cosine\n"
    "warmup-init-lr: 1e-6\n"
    "max-lr: 0.002\n"
    "lr: 1e-5\n"
    "lr-shrink: 0.5\n"
    "max-tokens: 1000\n"
    "share-all-embeddings: True\n";

template <class F>
void fails(F&& f, const std::string& message) {
    CHECK_THROWS_WITH_AS((void)f(), message.c_str(), hat::bad_config);
}

std::vector<fs::path> files_of(const fs::path& configs, const std::string& kind) {
    std::vector<fs::path> out;
    for (const auto& entry : fs::recursive_directory_iterator(configs))
        if (entry.path().extension() == ".yml" && entry.path().parent_path().filename() == kind)
            out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
}

}  // namespace

TEST_CASE("a design space is read, with spans translated and the fixed qkv width") {
    const auto c = parse(space_text);
    CHECK(hat::check_reference_keys(c).empty());
    const auto space = hat::reference_space(c);
    CHECK(space.axes().cross_span == std::vector<int>{1, 2, 3});
    CHECK(space.axes().qkv == std::vector<int>{16});
    CHECK(space.axes().encoder_layers == std::vector<int>{3, 1});
    CHECK(space.gene_count() == 4 + 2 * 3 + 4 * 2);
    const auto super = hat::reference_supertransformer(c);
    CHECK(super.encoder.ffn[2] == 96);
    CHECK(super.encoder.self_heads[0] == 4);
    CHECK(super.decoder.cross_heads[1] == 2);
    CHECK(super.decoder.cross_span[1] == 3);
    CHECK(super.decoder.ffn[2] == 0);
    CHECK(hat::reference_sentence_length(c) == 23);
    CHECK(hat::reference_sentence_length(parse("arch: transformersuper_wmt_en_fr\n")) == 30);
}

TEST_CASE("a design space may have elastic qkv widths") {
    const auto c = parse(space_text + "qkv-choice: [16, 8, 12]\n");
    CHECK(hat::check_reference_keys(c).empty());
    const auto space = hat::reference_space(c);
    CHECK(space.axes().qkv == std::vector<int>{16, 8, 12});
    CHECK(space.gene_count() == 4 + 2 * 3 + 4 * 2 + 3 + 2);  // one more entry for each layer
    CHECK(space.smallest().encoder.qkv[0] == 8);
    CHECK(hat::reference_supertransformer(c).encoder.qkv[0] == 16);
    const auto refused = [](const std::string& line, const std::string& message) {
        fails([&] { return hat::reference_space(parse(space_text + line + "\n")); }, message);
    };
    refused("qkv-choice: [32, 16]",
            "a.yml:21: key 'qkv-choice': found 32, more than the SuperTransformer's 16 ('qkv-dim')");
    refused("qkv-choice: [16, 10]",
            "a.yml:17: key 'encoder-self-attention-heads-choice': hat::Space: encoder_heads has the choice 4, which "
            "does not divide the qkv width 10");
    refused("qkv-choice: [16, 8, 16]", "a.yml:21: key 'qkv-choice': hat::Space: qkv has the choice 16 twice");
    refused("qkv-choice: [16, 0]",
            "a.yml:21: key 'qkv-choice': hat::Space: qkv has the choice 0, expected positive numbers");
    refused("qkv-choice: []", "a.yml:21: key 'qkv-choice': hat::Space: qkv has no choice, so the space has no network");
    refused("qkv-choice: 16", "a.yml:21: key 'qkv-choice' is '16', expected a list, each a whole number");
}

TEST_CASE("a design space that cannot be is refused, naming file, line and key") {
    const auto space = [](const std::string& key, const std::string& line) {
        return hat::reference_space(parse(with(space_text, key, line)));
    };
    fails([&] { return space("qkv-dim", ""); }, "a.yml: key 'qkv-dim' is missing, expected a whole number");
    fails([&] { return space("decoder-embed-choice", ""); },
          "a.yml: key 'decoder-embed-choice' is missing, expected a list, each a whole number");
    fails([&] { return space("encoder-embed-choice", "encoder-embed-choice: [64, 24]"); },
          "a.yml:11: key 'encoder-embed-choice': found 64, more than the SuperTransformer's 48 ('encoder-embed-dim')");
    fails([&] { return space("decoder-layer-num-choice", "decoder-layer-num-choice: [3]"); },
          "a.yml:16: key 'decoder-layer-num-choice': found 3, more than the SuperTransformer's 2 ('decoder-layers')");
    fails([&] { return space("decoder-arbitrary-ende-attn-choice", "decoder-arbitrary-ende-attn-choice: [3]"); },
          "a.yml:20: key 'decoder-arbitrary-ende-attn-choice': found 3, expected -1, 1 or 2");
    fails([&] { return space("encoder-self-attention-heads-choice", "encoder-self-attention-heads-choice: [4, 3]"); },
          "a.yml:17: key 'encoder-self-attention-heads-choice': hat::Space: encoder_heads has the choice 3, which does "
          "not divide the qkv width 16");
    fails([&] { return space("decoder-ffn-embed-dim-choice", "decoder-ffn-embed-dim-choice: []"); },
          "a.yml:14: key 'decoder-ffn-embed-dim-choice': hat::Space: decoder_ffn has no choice, so the space has no "
          "network");
    fails([&] { return space("decoder-ffn-embed-dim-choice", "decoder-ffn-embed-dim-choice: 64"); },
          "a.yml:14: key 'decoder-ffn-embed-dim-choice' is '64', expected a list, each a whole number");
    fails([&] { return space("qkv-dim", "qkv-dim: 0"); }, "a.yml:10: key 'qkv-dim' is '0', expected at least 1");
    fails([&] { return space("qkv-dim", "qkv-dim: 2000000000"); },
          "a.yml:10: key 'qkv-dim': found 2000000000, expected at most 262144");
    fails(
        [] {
            return hat::reference_supertransformer(
                parse(with(space_text, "decoder-ffn-embed-dim", "decoder-ffn-embed-dim: 300000")));
        },
        "a.yml:5: key 'decoder-ffn-embed-dim': found 300000, expected at most 262144");
    fails(
        [] {
            return hat::reference_subtransformer(
                parse(with(sub_text, "encoder-embed-dim-subtransformer", "encoder-embed-dim-subtransformer: 300000")));
        },
        "a.yml:4: key 'encoder-embed-dim-subtransformer': found 300000, expected at most 262144");
    fails([] { return hat::reference_supertransformer(parse(with(space_text, "qkv-dim", "qkv-dim: 18"))); },
          "a.yml:8: key 'encoder-attention-heads' is '4', expected a divisor of the qkv-dim 18");
    fails(
        [] { return hat::reference_supertransformer(parse(with(space_text, "decoder-layers", "decoder-layers: 17"))); },
        "a.yml:7: key 'decoder-layers' is '17', expected at most 16");
    fails([] { return hat::reference_sentence_length(parse("arch: transformer\n")); },
          "a.yml:1: key 'arch' is 'transformer', expected transformersuper_wmt_en_de, transformersuper_wmt_en_fr or "
          "transformersuper_iwslt_de_en, which say how long sentences are (or give a length)");
    fails([] { return hat::reference_sentence_length(parse("qkv-dim: 1\n")); },
          "a.yml: key 'arch' is missing, expected transformersuper_wmt_en_de, transformersuper_wmt_en_fr or "
          "transformersuper_iwslt_de_en, which say how long sentences are (or give a length)");
}

TEST_CASE("a SubTransformer is read, its lists of the active or of all layers") {
    const auto arch = hat::reference_subtransformer(parse(sub_text));
    CHECK(arch.encoder.embed == 24);
    CHECK(arch.encoder.layers == 3);
    CHECK(arch.encoder.ffn[1] == 96);
    CHECK(arch.encoder.self_heads[2] == 4);
    CHECK(arch.encoder.self_heads[3] == 0);  // the fourth entry belongs to no active layer
    CHECK(arch.decoder.layers == 2);
    CHECK(arch.decoder.ffn[1] == 32);
    CHECK(arch.decoder.qkv[1] == 16);
    CHECK(arch.decoder.cross_heads[0] == 1);
    CHECK(arch.decoder.cross_span[0] == 1);
    CHECK(arch.decoder.cross_span[1] == 3);
    CHECK(arch == hat::canonical(arch));
}

TEST_CASE("a SubTransformer may have a qkv width for each layer") {
    const std::string enc = "encoder-qkv-dim-all-subtransformer", dec = "decoder-qkv-dim-all-subtransformer";
    const auto one = hat::reference_subtransformer(parse(sub_text + enc + ": [8, 16, 12, 16]\n"));
    CHECK(one.encoder.qkv[0] == 8);
    CHECK(one.encoder.qkv[2] == 12);
    CHECK(one.encoder.qkv[3] == 0);
    CHECK(one.decoder.qkv[1] == 16);
    const auto both =
        hat::reference_subtransformer(parse(with(sub_text, "qkv-dim", enc + ": [8, 16, 12]") + dec + ": [4, 6]\n"));
    CHECK(both.encoder == one.encoder);
    CHECK(both.decoder.qkv[1] == 6);  // no qkv-dim is needed
    const auto refused = [](const std::string& line, const std::string& message) {
        fails([&] { return hat::reference_subtransformer(parse(sub_text + line + "\n")); }, message);
    };
    refused(enc + ": [32, 16, 8]",
            "a.yml:14: key '" + enc + "': found 32, more than the SuperTransformer's 16 ('qkv-dim')");
    refused(dec + ": [16, 0]", "a.yml:14: key '" + dec + "': found 0, expected at least 1");
    refused(dec + ": [16]", "a.yml:14: key '" + dec +
                                "' is a list of 1, expected a list of 2 (the layers of the SubTransformer) or of 3 "
                                "(those of the SuperTransformer)");
    refused(enc + ": [16, 9, 16]",
            "a.yml:10: key 'encoder-self-attention-heads-all-subtransformer': found 2 heads, expected a divisor of the "
            "qkv-dim 9 of layer 1");
    fails([&] { return hat::reference_subtransformer(parse(with(sub_text, "qkv-dim", enc + ": [8, 16, 12]"))); },
          "a.yml: key 'qkv-dim' is missing, expected a whole number");
}

TEST_CASE("a SubTransformer that cannot be is refused, naming file, line and key") {
    const auto sub = [](const std::string& key, const std::string& line) {
        return hat::reference_subtransformer(parse(with(sub_text, key, line)));
    };
    const std::string enc = "encoder-embed-dim-subtransformer",
                      heads = "decoder-self-attention-heads-all-subtransformer",
                      ffn = "encoder-ffn-embed-dim-all-subtransformer", depth = "encoder-layer-num-subtransformer",
                      span = "decoder-arbitrary-ende-attn-all-subtransformer";
    fails([&] { return sub("qkv-dim", ""); }, "a.yml: key 'qkv-dim' is missing, expected a whole number");
    fails([&] { return sub(enc, ""); }, "a.yml: key '" + enc + "' is missing, expected a whole number");
    fails([&] { return sub(enc, enc + ": 0"); }, "a.yml:4: key '" + enc + "' is '0', expected at least 1");
    fails([&] { return sub(enc, enc + ": 24\nencoder-embed-dim: 16"); },
          "a.yml:4: key '" + enc + "': found 24, more than the SuperTransformer's 16 ('encoder-embed-dim')");
    fails([&] { return sub(depth, depth + ": 5"); },
          "a.yml:8: key '" + depth + "': found 5, more than the SuperTransformer's 4 ('encoder-layers')");
    fails([&] { return sub(ffn, ffn + ": [48, 96]"); },
          "a.yml:6: key '" + ffn +
              "' is a list of 2, expected a list of 3 (the layers of the SubTransformer) or of 4 "
              "(those of the SuperTransformer)");
    fails([&] { return sub(ffn, ffn + ": [48, 0, 48]"); }, "a.yml:6: key '" + ffn + "': found 0, expected at least 1");
    fails([&] { return sub(heads, heads + ": [2, 3]"); },
          "a.yml:11: key '" + heads + "': found 3 heads, expected a divisor of the qkv-dim 16");
    fails([&] { return sub(span, span + ": [0, 1]"); }, "a.yml:13: key '" + span + "': found 0, expected -1, 1 or 2");
    fails([&] { return sub("encoder-layers", "encoder-ffn-embed-dim: 64"); },
          "a.yml:6: key '" + ffn + "': found 96, more than the SuperTransformer's 64 ('encoder-ffn-embed-dim')");
}

TEST_CASE("a training recipe is read, with the reference's defaults") {
    const auto r = hat::reference_recipe(parse(training_text));
    hat::TrainingRecipe e;
    e.adam_beta1 = 0.8;
    e.adam_beta2 = 0.95;
    e.clip_norm = 1.5;
    e.weight_decay = 0.01;
    e.dropout = 0.25;
    e.attention_dropout = 0.125;
    e.label_smoothing = 0.2;
    e.update_freq = 3;
    e.max_updates = 500;
    e.warmup_updates = 20;
    e.schedule = hat::ScheduleKind::cosine;
    e.warmup_init_lr = 1e-6;
    e.max_lr = 0.002;
    e.lr = 1e-5;
    e.lr_shrink = 0.5;
    e.max_tokens = 1000;
    e.sharing = hat::EmbeddingSharing::all;
    CHECK(r == e);
    const auto least =
        hat::reference_recipe(parse("lr: 0.1\nlr-scheduler: inverse_sqrt\nmax-update: 9\nwarmup-updates: 2\n"
                                    "decoder-normalize-before: True\nno-decoder-final-norm: True\n"
                                    "share-decoder-input-output-embed: True\n"));
    CHECK(least.clip_norm == 25);
    CHECK(least.dropout == 0.1);
    CHECK(least.adam_eps == 1e-8);
    CHECK(least.decoder_pre_norm);
    CHECK(!least.decoder_final_norm);
    CHECK(!least.encoder_pre_norm);
    CHECK(least.sharing == hat::EmbeddingSharing::decoder_input_output);
}

TEST_CASE("training values that cannot be are refused") {
    fails([] { return hat::reference_recipe(parse("lr-scheduler: cosine\nadam-eps: 0\n")); },
          "a.yml:2: key 'adam-eps' is '0', expected a positive number");
    const auto train = [](const std::string& key, const std::string& line) {
        return hat::reference_recipe(parse(with(training_text, key, line)));
    };
    fails([&] { return train("optimizer", "optimizer: sgd"); }, "a.yml:1: key 'optimizer' is 'sgd', expected adam");
    fails([&] { return train("criterion", "criterion: mse"); },
          "a.yml:7: key 'criterion' is 'mse', expected label_smoothed_cross_entropy");
    fails([&] { return train("adam-betas", "adam-betas: (0.9, 1)"); },
          "a.yml:2: key 'adam-betas' is '(0.9, 1)', expected two numbers from 0 to less than 1");
    fails([&] { return train("dropout", "dropout: 1.0"); },
          "a.yml:5: key 'dropout' is '1.0', expected a number from 0 to less than 1");
    fails([&] { return train("clip-norm", "clip-norm: -1"); }, "a.yml:3: key 'clip-norm' is '-1', expected at least 0");
    fails([&] { return train("lr-scheduler", "lr-scheduler: fixed"); },
          "a.yml:12: key 'lr-scheduler' is 'fixed', expected inverse_sqrt or cosine");
    fails([&] { return train("lr-scheduler", ""); }, "a.yml: key 'lr-scheduler' is missing, expected text");
    fails([&] { return train("max-lr", ""); }, "a.yml: key 'max-lr' is missing, expected a number");
    fails([&] { return train("max-lr", "max-lr: 1e-6"); },
          "a.yml:14: key 'max-lr' is '1e-6', expected more than 'lr', which is the minimum of a cosine schedule");
    fails([&] { return train("lr", ""); }, "a.yml: key 'lr' is missing, expected a number");
    fails([&] { return train("max-update", "max-update: 10"); },
          "a.yml:11: key 'warmup-updates' is '20', expected at most 'max-update', 10");
    fails([&] { return train("update-freq", "update-freq: 0"); },
          "a.yml:9: key 'update-freq' is '0', expected at least 1");
}

TEST_CASE("search, latency dataset and predictor settings are read") {
    const auto s = hat::reference_search(parse(
        "evo-iter: 7\npopulation-size: 20\nparent-size: 4\nmutation-size: 8\ncrossover-size: 8\nmutation-prob: 0.5\n"
        "feature-norm: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\nlat-norm: 200\nlatency-constraint: 12.5\nckpt-path: p.pt\n"
        "restore-file: w.pt\nwrite-config-path: out.yml\n"));
    CHECK(s.iterations == 7);
    CHECK(s.population == 20);
    CHECK(s.mutation_probability == 0.5);
    CHECK(s.feature_norm[9] == 10.0F);
    CHECK(s.lat_norm == 200);
    CHECK(s.latency_limit_ms == 12.5);
    CHECK(s.output_file == "out.yml");
    fails([] { return hat::reference_search(parse("evo-iter: 3\n")); },
          "a.yml: key 'latency-constraint' is missing, expected a number");
    fails([] { return hat::reference_search(parse("latency-constraint: 0\n")); },
          "a.yml:1: key 'latency-constraint' is '0', expected a positive number");
    fails([] { return hat::reference_search(parse("latency-constraint: 1\nmutation-prob: 1.5\n")); },
          "a.yml:2: key 'mutation-prob' is '1.5', expected a probability from 0 to 1");
    fails([] { return hat::reference_search(parse("latency-constraint: 1\nfeature-norm: [1, 2]\n")); },
          "a.yml:2: key 'feature-norm' is a list of 2, expected 10 positive numbers");
    const auto d = hat::reference_latency_dataset(parse("lat-dataset-path: x.csv\nlat-dataset-size: 50\n"));
    CHECK(d.samples == 50);
    CHECK(d.iterations == 300);
    const auto p =
        hat::reference_predictor(parse("lat-dataset-path: x.csv\nlat-norm: 5\nfeature-dim: 10\nhidden-dim: 8\n"
                                       "hidden-layer-num: 1\ntrain-steps: 9\nbsz: 4\nlr: 0.5\n"));
    CHECK(p.hidden_width == 8);
    CHECK(p.lr == 0.5);
    CHECK(p.feature_norm == hat::MeanFeatures{}.norm);
    fails([] { return hat::reference_predictor(parse("lat-dataset-path: x\nfeature-dim: 9\nlat-norm: 5\n")); },
          "a.yml:2: key 'feature-dim' is '9', expected 10");
}

TEST_CASE("keys without a meaning here are listed, others are errors") {
    const auto c = parse("fp16: True\nqkv-dim: 8\nddp-backend: no_c10d\n");
    CHECK(hat::check_reference_keys(c) == std::vector<std::string>{"fp16", "ddp-backend"});
    fails([] { return hat::check_reference_keys(parse("qkv-dim: 8\nencoder-embed-choices: [1]\n")); },
          "a.yml:2: unknown key 'encoder-embed-choices', did you mean 'encoder-embed-choice'?");
    fails(
        [] { return hat::check_reference_keys(parse("colour-of-the-sky: blue\n")); },
        "a.yml:1: unknown key 'colour-of-the-sky', expected a key of the reference (docs/configuration.md lists them)");
}

TEST_CASE("the documentation lists every key of the reference") {
    const std::string page = hat::read_file(fs::path(HAT_SOURCE_DIR) / "docs/configuration.md");
    for (const auto& keys : {std::span<const std::string_view>(hat::reference_keys),
                             std::span<const std::string_view>(hat::reference_skipped_keys)})
        for (const auto key : keys) {
            CAPTURE(key);
            CHECK(page.find("`" + std::string(key) + "`") != std::string::npos);
        }
}

TEST_CASE("cost options follow the task, or a given length") {
    const auto c = parse("arch: transformersuper_iwslt_de_en\ndecoder-normalize-before: True\n");
    const auto o = hat::reference_cost_options(c);
    CHECK(o.source_length == 23);
    CHECK(o.sharing == hat::EmbeddingSharing::none);
    CHECK(o.decoder_pre_norm);
    CHECK(hat::reference_cost_options(parse("qkv-dim: 1\n"), 12).target_length == 12);
    CHECK_THROWS_AS(hat::reference_cost_options(parse("qkv-dim: 1\n")), hat::bad_config);
}

TEST_CASE("every published file is read, and the presets are what they say") {
    const auto configs = hat_test::shared_reference("configs");
    if (!configs) return;
    std::size_t spaces = 0;
    for (const auto& path : files_of(*configs, "supertransformer")) {
        CAPTURE(path.string());
        const auto c = hat::YamlConfig::load({path.string()});
        CHECK(!hat::check_reference_keys(c).empty());
        const bool iwslt = path.string().find("iwslt") != std::string::npos;
        const auto space = hat::reference_space(c);
        CHECK(space == (iwslt ? hat::to_runtime(hat::Space<hat::Iwslt14DeEn>{})
                              : hat::to_runtime(hat::Space<hat::Wmt14EnDe>{})));
        CHECK(hat::reference_recipe(c) == (iwslt ? hat::iwslt_super_recipe() : hat::wmt_super_recipe()));
        CHECK(hat::reference_supertransformer(c) == space.largest());
        ++spaces;
    }
    CHECK(spaces == 4);
    for (const auto& path : files_of(*configs, "subtransformer")) {
        CAPTURE(path.string());
        const bool iwslt = path.string().find("iwslt") != std::string::npos;
        const std::string common = (path.parent_path() / "common.yml").string();
        const auto c = hat::YamlConfig::load({common, path.string()});
        CHECK_NOTHROW(hat::check_reference_keys(c));
        CHECK(hat::reference_recipe(c) == (iwslt ? hat::iwslt_sub_recipe() : hat::wmt_sub_recipe()));
        if (path.filename() == "common.yml") continue;
        const auto arch = hat::reference_subtransformer(c);
        CHECK((iwslt ? hat::to_runtime(hat::Space<hat::Iwslt14DeEn>{}) : hat::to_runtime(hat::Space<hat::Wmt14EnDe>{}))
                  .contains(arch));
        CHECK_THROWS_AS(hat::reference_subtransformer(hat::YamlConfig::load({path.string()})), hat::bad_config);
    }
    for (const auto& path : files_of(*configs, "latency_dataset")) {
        CAPTURE(path.string());
        const auto c = hat::YamlConfig::load({path.string()});
        CHECK_NOTHROW(hat::check_reference_keys(c));
        CHECK(hat::reference_space(c) == hat::to_runtime(hat::Space<hat::LatencySampling>{}));
        CHECK(hat::reference_latency_dataset(c).samples == 2000);
    }
    for (const auto& path : files_of(*configs, "latency_predictor")) {
        CAPTURE(path.string());
        const auto c = hat::YamlConfig::load({path.string()});
        CHECK(hat::check_reference_keys(c).empty());
        const auto p = hat::reference_predictor(c);
        CHECK(p.lr == 1e-5);
        CHECK(p.lat_norm >= 200);
        CHECK(p.feature_norm == hat::MeanFeatures{}.norm);
    }
    for (const auto& path : files_of(*configs, "evo_search")) {
        CAPTURE(path.string());
        const auto c = hat::YamlConfig::load({path.string()});
        CHECK(hat::check_reference_keys(c).empty());
        const auto s = hat::reference_search(c);
        CHECK((s.iterations == 30 && s.population == 125 && s.parents == 25));
        CHECK(s.latency_limit_ms >= 200);
    }
}

TEST_CASE("parameters and FLOPs of the published models are exact") {
    const auto table = hat_test::shared_reference("published_models.csv");
    if (!table) return;
    std::ifstream in(*table);
    std::string line;
    std::getline(in, line);
    std::size_t rows = 0;
    while (std::getline(in, line)) {
        std::vector<std::string> cells;
        std::istringstream cut(line);
        for (std::string cell; std::getline(cut, cell, ',');) cells.push_back(cell);
        REQUIRE(cells.size() == 11);
        CAPTURE(cells[8]);
        const fs::path file = table->parent_path() / cells[8];
        const auto c = hat::YamlConfig::load({file.string(), (file.parent_path() / "common.yml").string()});
        const auto cost = hat::cost(hat::reference_subtransformer(c), hat::reference_cost_options(c));
        CHECK(cost.params == std::stoull(cells[9]));
        CHECK(cost.flops == std::stoull(cells[10]));
        ++rows;
    }
    CHECK(rows == 16);
}
