#include <doctest/doctest.h>

#include <algorithm>
#include <cli/program.hpp>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <hat/io/reference_config.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/model/model_file.hpp>
#include <hat/space/text.hpp>
#include <set>
#include <string>

using namespace hat_test;

namespace {

/// A run in seconds: the first sentences of the sample corpus, a tiny space.
struct TinyRun {
    TemporaryFolder folder;
    std::string config = (folder / "tiny.yml").string(), dir = (folder / "run").string();

    TinyRun() {
        const std::string data = std::string(HAT_SOURCE_DIR) + "/examples/data/en-de/";
        for (const std::string part : {"train", "dev", "test"})
            for (const std::string side : {".en", ".de"}) {
                const std::string text = hat::read_file(data + part + side);
                std::size_t end = 0;
                for (int line = 0; line < (part == "train" ? 300 : 20); ++line) end = text.find('\n', end) + 1;
                hat::write_file_atomically(folder / (part + side), text.substr(0, end));
            }
        hat::write_file_atomically(config, R"(
train-source: train.en
train-target: train.de
valid-source: dev.en
valid-target: dev.de
test-source: test.en
test-target: test.de
vocab-size: 300
share-all-embeddings: True
encoder-embed-dim: 32
decoder-embed-dim: 32
encoder-ffn-embed-dim: 64
decoder-ffn-embed-dim: 64
encoder-layers: 2
decoder-layers: 2
encoder-attention-heads: 4
decoder-attention-heads: 4
qkv-dim: 32
encoder-embed-choice: [32, 16]
decoder-embed-choice: [32, 16]
encoder-ffn-embed-dim-choice: [64, 32]
decoder-ffn-embed-dim-choice: [64, 32]
encoder-layer-num-choice: [2, 1]
decoder-layer-num-choice: [2, 1]
encoder-self-attention-heads-choice: [4, 2]
decoder-self-attention-heads-choice: [4, 2]
decoder-ende-attention-heads-choice: [4, 2]
decoder-arbitrary-ende-attn-choice: [-1, 1, 2]
max-tokens: 500
label-smoothing: 0.1
lr-scheduler: inverse_sqrt
lr: 0.001
warmup-updates: 10
max-update: 30
validate-every: 10
lat-dataset-size: 20
latiter: 2
latency-length: 5
latency-beam: 2
predictor: linear
evo-iter: 2
population-size: 8
parent-size: 3
mutation-size: 3
crossover-size: 3
latency-fraction: 0.8
beam: 2
)");
    }
    Outcome hat(const std::string& command, std::vector<std::string> more = {}) const {
        std::vector<std::string> arguments{command, "--config", config, "--dir", dir, "--threads", "1"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_hat(arguments);
    }
};

}  // namespace

TEST_CASE("run goes from text to a report and usable models, and does nothing twice") {
    const TinyRun tiny;
    const Outcome run = tiny.hat("run");
    INFO(run.err);
    REQUIRE(run.status == 0);
    CHECK(contains(run.err, "what is left, estimated"));
    CHECK(contains(run.err, "found, under a limit of"));
    CHECK(contains(run.out, "SubTransformer found"));
    CHECK(contains(hat::read_file(tiny.dir + "/report.html"), "<svg"));
    const hat::Json state = hat::load_json(tiny.dir + "/state.json");
    const hat::Json& search = state.at("stages").at("search").at("results");
    CHECK(search.at("predicted_ms").get<double>() <= search.at("limit_ms").get<double>());
    CHECK(state.at("stages").at("evaluate").at("results").at("models").at("winner").contains("quantized"));

    const Outcome again = tiny.hat("run");
    CHECK(again.status == 0);
    CHECK(!contains(again.err, "== "));  // no stage was made again
    CHECK(hat::load_json(tiny.dir + "/state.json") == state);

    for (const char* model : {"/winner/model", "/baseline/model", "/winner/quantized"}) {
        const Outcome translation = run_hat({"translate", "--model", tiny.dir + model, "--input", (tiny.folder / "test.en").string()});
        INFO(translation.err);
        CHECK(translation.status == 0);
        CHECK(std::count(translation.out.begin(), translation.out.end(), '\n') == 20);
    }

    // other settings are refused, with the stage and the difference
    hat::write_file_atomically(tiny.folder / "other.yml", "vocab-size: 280\n");
    const Outcome other = run_hat({"run", "--config", tiny.config, "--config", (tiny.folder / "other.yml").string(), "--dir", tiny.dir});
    CHECK(other.status == 1);
    CHECK(contains(other.err, "stage 'data' was made with other settings (settings.data.vocab_size is 300, expected 280)"));
    CHECK(hat::load_json(tiny.dir + "/state.json") == state);
}

TEST_CASE("the qkv width may be elastic, from the measurements to the model, and norms may come first") {
    const TinyRun tiny;
    const std::string extra = (tiny.folder / "elastic.yml").string();
    hat::write_file_atomically(
        extra, "qkv-choice: [32, 16, 8]\nencoder-normalize-before: True\ndecoder-normalize-before: True\n");
    const auto hat = [&](const std::string& command) { return tiny.hat(command, {"--config", extra}); };
    for (const char* command : {"data", "train", "measure", "search"}) {
        const Outcome run = hat(command);
        INFO(run.err);
        REQUIRE(run.status == 0);
    }
    const hat::RuntimeSpace space = hat::reference_space(hat::YamlConfig::load({tiny.config, extra}));
    std::set<int> widths;
    for (const auto& row : hat::LatencyDataset::load(tiny.dir + "/latency.csv").rows) {
        const hat::RuntimeArch arch = hat::arch_from_text(row.arch);
        CHECK(space.contains(arch));
        widths.insert(arch.encoder.qkv[0]);
    }
    CHECK(widths == std::set<int>{8, 16, 32});
    REQUIRE(hat("run").status == 0);
    const hat::Model winner = hat::load_model(tiny.dir + "/winner/model/model.safetensors");
    CHECK(space.contains(winner.arch));
    // the final norms of the two sides count, too
    std::size_t params = 0;
    for (const auto& tensor : winner.weights.layout().tensors()) params += tensor.size;
    const hat::Json evaluated = hat::load_json(tiny.dir + "/state.json").at("stages").at("evaluate").at("results");
    CHECK(evaluated.at("models").at("winner").at("total_params") == params);
    const Outcome translation =
        run_hat({"translate", "--model", tiny.dir + "/winner/quantized", "--input", (tiny.folder / "test.en").string()});
    CHECK(translation.status == 0);
    const Outcome other = tiny.hat("run");
    CHECK(other.status == 1);
    CHECK(contains(other.err, "settings.super.space.qkv is [32,16,8], expected [32]"));
}

TEST_CASE("the same seed trains the same SuperTransformer, for any number of threads") {
    const TinyRun a, b;
    for (const auto* run : {&a, &b}) REQUIRE(run->hat("data").status == 0);
    REQUIRE(a.hat("train").status == 0);
    REQUIRE(run_hat({"train", "--config", b.config, "--dir", b.dir, "--threads", "3"}).status == 0);
    const std::string model = "/super/model/model.safetensors";
    CHECK(hat::read_file(a.dir + model) == hat::read_file(b.dir + model));
}

TEST_CASE("a checkpoint of a training on other text is refused") {
    const TinyRun tiny;
    for (const char* command : {"data", "train"}) REQUIRE(tiny.hat(command).status == 0);
    for (const char* side : {"train.en", "train.de"}) {  // one sentence pair fewer
        const std::string text = hat::read_file(tiny.folder / side);
        hat::write_file_atomically(tiny.folder / side, text.substr(text.find('\n') + 1));
    }
    std::filesystem::remove(tiny.dir + "/state.json");
    REQUIRE(tiny.hat("data").status == 0);
    const Outcome run = tiny.hat("train");
    CHECK(run.status == 1);
    CHECK(contains(run.err, "/run/super/update_00000030/state.json: this is a checkpoint of another data: data.train is \"crc32 "));
    REQUIRE(tiny.hat("run", {"--from", "super", "--estimate"}).status == 0);  // forgets it
    CHECK(tiny.hat("train").status == 0);
}

TEST_CASE("stages say what they need, and bad settings name file, line and key") {
    const TinyRun tiny;
    const Outcome early = tiny.hat("search");
    CHECK(early.status == 1);
    CHECK(contains(early.err, "stage 'measure' has not been run yet"));

    const auto refused = [&](const std::string& line, const std::string& message) {
        const std::string extra = (tiny.folder / "extra.yml").string();
        hat::write_file_atomically(extra, line + "\n");
        const Outcome run = run_hat({"data", "--config", tiny.config, "--config", extra, "--dir", tiny.dir + "2"});
        CAPTURE(line);
        INFO(run.err);
        CHECK(run.status == 1);
        CHECK(contains(run.err, message));
    };
    refused("evo-itr: 3", "extra.yml:1: unknown key 'evo-itr', did you mean 'evo-iter'?");
    refused("bits: 9", "extra.yml:1: key 'bits' is '9', expected 2 to 8");
    refused("tokenizer: words", "expected one of bpe, unigram, whitespace");
    refused("train-source: nowhere.en", "nowhere.en: cannot be read");
    refused("train-target: dev.de", "expected equal counts");
    refused("vocab-size: 100000", "vocab_size = 100000 is too large for this text");
    refused("qkv-dim: 30", "expected a divisor of the qkv-dim 30");
    refused("qkv-choice: [64, 32]", "extra.yml:1: key 'qkv-choice': found 64, more than the SuperTransformer's 32 ('qkv-dim')");
    refused("qkv-choice: [32, 18]", "encoder_heads has the choice 4, which does not divide the qkv width 18");
    refused("latency-fraction: 0", "key 'latency-fraction' is '0', expected a positive number");
    refused("joint-vocab: False", "true, because all embeddings are shared");
}
