#include <doctest/doctest.h>

#include <cli/program.hpp>
#include <cstddef>
#include <filesystem>
#include <hat/core/rng.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/space/presets.hpp>
#include <hat/space/space.hpp>
#include <hat/space/text.hpp>
#include <string>

using namespace hat_test;

namespace {

/// Networks of the paper's space whose latency is a sum over layers of a constant and a multiple of width times FFN
/// width, with 1 % noise.
void write_dataset(const std::string& path, std::size_t rows) {
    const hat::Space<hat::Wmt14EnDe> space;
    hat::Rng rng(5);
    hat::LatencyDataset data;
    for (std::size_t i = 0; i < rows; ++i) {
        const auto arch = space.decode(space.random_gene(rng));
        hat::LatencyRow row;
        row.features = hat::MeanFeatures::raw(arch);
        row.arch = hat::to_text(arch);
        row.encoder_ms = 5 + arch.encoder.embed / 100.0;
        for (const int f : arch.encoder.ffn) row.encoder_ms += f * arch.encoder.embed / 1e6;
        for (const int f : arch.decoder.ffn) row.decoder_ms += f > 0 ? 10 + f * arch.decoder.embed / 2e5 : 0.0;
        row.decoder_ms *= 1 + 0.01 * rng.normal();
        data.rows.push_back(row);
    }
    data.save(path);
}

const std::string predicted_network =
    "qkv-dim: 512\n"
    "encoder-embed-dim-subtransformer: 512\n"
    "decoder-embed-dim-subtransformer: 640\n"
    "encoder-layer-num-subtransformer: 6\n"
    "decoder-layer-num-subtransformer: 2\n"
    "encoder-ffn-embed-dim-all-subtransformer: [1024, 1024, 1024, 1024, 1024, 1024]\n"
    "decoder-ffn-embed-dim-all-subtransformer: [3072, 3072]\n"
    "encoder-self-attention-heads-all-subtransformer: [4, 4, 4, 4, 4, 4]\n"
    "decoder-self-attention-heads-all-subtransformer: [4, 8]\n"
    "decoder-ende-attention-heads-all-subtransformer: [8, 4]\n"
    "decoder-arbitrary-ende-attn-all-subtransformer: [1, -1]\n";
constexpr double network_ms = 5 + 5.12 + 6 * 1024 * 512 / 1e6 + 2 * (10 + 3072 * 640 / 2e5);

}  // namespace

TEST_CASE("predict fits, judges on 200 held-out rows, saves, and the file predicts") {
    const TemporaryFolder folder;
    const std::string data = (folder / "latency.csv").string(), config = (folder / "sub.yml").string();
    write_dataset(data, 300);
    hat::write_file_atomically(config, predicted_network);
    for (const std::string model : {"linear", "mlp"}) {
        const std::string file = (folder / (model + ".safetensors")).string();
        const Outcome run = run_hat({"predict", "--fit", data, "--train-rows", "90", "--seed", "3", "--model", model,
                                     "--steps", "100", "--save", file});
        CHECK(run.err.empty());
        REQUIRE(run.status == 0);
        const hat::Json json = hat::parse_json(run.out, "stdout");
        CHECK(json.at("mape").get<double>() < (model == "linear" ? 1.5 : 6.0));
        CHECK(json.at("rmse_ms").get<double>() > 0);
        CHECK(json.at("r2").get<double>() > 0.98);
        CHECK(json.at("kendall_tau").get<double>() > 0.85);
        CHECK(json.at("train_rows") == 90);
        CHECK(json.at("test_rows") == 200);

        const Outcome ask = run_hat({"predict", "--load", file, "--config", config});
        REQUIRE(ask.status == 0);
        CHECK(hat::parse_json(ask.out, "stdout").at("latency_ms").get<double>() ==
              doctest::Approx(network_ms).epsilon(0.1));
        const Outcome info = run_hat({"info", file});
        CHECK(contains(info.out, "latency predictor"));
        CHECK(contains(info.out, "decoder_projection"));
    }
    // rows that do not name their networks, as the reference's: the mlp learns from the paper's means
    hat::LatencyDataset means = hat::LatencyDataset::load(data);
    for (auto& row : means.rows) row.arch.clear();
    means.save(folder / "means.csv");
    const std::string file = (folder / "means.safetensors").string();
    REQUIRE(run_hat({"predict", "--fit", (folder / "means.csv").string(), "--steps", "100", "--save", file}).status ==
            0);
    CHECK(contains(run_hat({"info", file}).out, "decoder_arbitrary_ende_attn_avg"));
    const Outcome ask = run_hat({"predict", "--load", file, "--config", config});
    CHECK(hat::parse_json(ask.out, "stdout").at("latency_ms").get<double>() ==
          doctest::Approx(network_ms).epsilon(0.1));
    const auto output = [&](const std::string& seed) {
        return run_hat({"predict", "--fit", data, "--train-rows", "50", "--model", "linear", "--seed", seed}).out;
    };
    CHECK(output("1") == output("1"));
    CHECK(output("1") != output("2"));
}

TEST_CASE("predict refuses too many rows, broken tables and broken predictors, and saves nothing then") {
    const TemporaryFolder folder;
    const std::string data = (folder / "latency.csv").string(), file = (folder / "p.safetensors").string();
    write_dataset(data, 210);
    const auto error_of = [](const std::vector<std::string>& arguments, int status = 1) {
        const Outcome run = run_hat(arguments);
        CHECK(run.status == status);
        CHECK(run.out.empty());
        return run.err;
    };
    CHECK(error_of({"predict", "--fit", data, "--train-rows", "11", "--save", file}) ==
          "hat: error: " + data + ": has 210 rows, but --train-rows 11 and 200 held-out rows need 211\n");
    CHECK_FALSE(std::filesystem::exists(file));
    CHECK(contains(error_of({"predict", "--fit", data, "--test-rows", "210"}), "need 211"));
    CHECK(contains(error_of({"predict", "--fit", (folder / "none.csv").string()}), "cannot be read"));
    std::string text = hat::read_file(data);
    const auto at = text.find('\n') + 1;
    hat::write_file_atomically(data, text.substr(0, at) + "wide" + text.substr(text.find(',', at)));
    CHECK(contains(error_of({"predict", "--fit", data}), data + ":2: column 1 \"encoder_embed_dim\" is \"wide\""));
    hat::write_file_atomically(data, "a,b\n1,2\n");
    CHECK(contains(error_of({"predict", "--fit", data}), data + ":1: column \"a\" is unknown"));

    const std::string config = (folder / "sub.yml").string();
    hat::write_file_atomically(config, predicted_network);
    hat::write_file_atomically(file, "short");
    CHECK(contains(error_of({"predict", "--load", file, "--config", config}), "truncated"));
    CHECK(contains(error_of({"predict"}, 2), "--fit or --load is required"));
    CHECK(contains(error_of({"predict", "--fit", data, "--load", file, "--config", config}, 2), "--fit"));
    CHECK(contains(error_of({"predict", "--load", file}, 2), "--config"));
    CHECK(contains(error_of({"predict", "--fit", data, "--train-rows", "many"}, 2), "--train-rows"));
    CHECK(contains(error_of({"predict", "--fit", data, "--model", "guess"}, 2), "guess"));
}
