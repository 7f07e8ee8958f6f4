#include <doctest/doctest.h>

#include <cli/program.hpp>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/io/report.hpp>
#include <hat/model/model_file.hpp>
#include <hat/text/vocabulary.hpp>
#include <hat/version.hpp>
#include <string>

using namespace hat_test;

namespace {

/// A model's folder with a tiny network and a vocabulary of three words.
void write_model(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    hat::TransformerConfig config;
    for (auto* embed : {&config.shape.encoder.embed, &config.shape.decoder.embed}) *embed = 8;
    config.shape.encoder.layers = config.shape.decoder.layers = 1;
    config.shape.encoder.ffn[0] = config.shape.decoder.ffn[0] = 16;
    config.shape.encoder.qkv[0] = config.shape.decoder.qkv[0] = 8;
    config.shape.encoder.self_heads[0] = config.shape.decoder.self_heads[0] = 2;
    config.shape.decoder.cross_heads[0] = 2;
    config.shape.decoder.cross_span[0] = 1;
    config.source_vocab = config.target_vocab = 7;
    hat::Weights<float> weights(config);
    float next = 0;
    for (float& w : weights.values()) w = 0.01F * (next += 1);
    hat::save_model(folder / "model.safetensors", weights, config.shape, {{"stage", "test"}});
    for (const char* name : {"source.dict.txt", "target.dict.txt"})
        hat::write_file_atomically(folder / name, "one 3\ntwo 2\nthree 1\n");
}

}  // namespace

TEST_CASE("the program tells its version, helps, and refuses bad command lines with status 2") {
    CHECK(run_hat({"--version"}).out == std::string("hat ") + hat::version + "\n");
    const Outcome help = run_hat({"--help"});
    CHECK(help.status == 0);
    for (const std::string command : {"predict", "score", "quantize", "cost", "info"}) {
        CHECK(contains(help.out, "\n  " + command + " "));
        const Outcome one = run_hat({command, "--help"});
        CHECK(one.status == 0);
        CHECK(contains(one.out, "Example"));
    }
    CHECK(run_hat({}).status == 2);
    CHECK(run_hat({"guess"}).status == 2);
    const Outcome missing = run_hat({"score", "--hyp"});
    CHECK(missing.status == 2);
    CHECK(contains(missing.err, "Run 'hat score --help'"));
}

TEST_CASE("output that cannot be written is an error") {
    if (!std::filesystem::exists("/dev/full")) return;
    const Outcome run = run_hat({"info"}, "/dev/full");
    CHECK(run.status == 1);
    CHECK(contains(run.err, "standard output cannot be written"));
}

TEST_CASE("info describes the machine, texts, models, reports and folders") {
    const TemporaryFolder folder;
    CHECK(contains(run_hat({"info"}).out, "processors:"));
    hat::write_file_atomically(folder / "text", "one two\n\nthree\n");
    CHECK(contains(run_hat({"info", (folder / "text").string()}).out, "3, 1 empty"));
    hat::ReportData report;
    report.title = "A run";
    hat::save_report(folder / "report.json", report);
    CHECK(contains(run_hat({"info", (folder / "report.json").string()}).out, "A run\n====="));

    write_model(folder / "model");
    const Outcome model = run_hat({"info", (folder / "model").string()});
    CHECK(model.status == 0);
    CHECK(contains(model.out, "decoder: width 8, 1 layer"));
    CHECK(contains(model.out, "7 source, 7 target"));
    // embedding 7 x 8; 3 attentions of 4 x 8 x 8 + 4 x 8, 2 FFNs of 2 x 8 x 16 + 16 + 8, a norm of 16 each
    CHECK(contains(model.out, "parameters:         1.56 k, embeddings included\n"));

    const Outcome nothing = run_hat({"info", folder.path.string()});
    CHECK(nothing.status == 1);
    CHECK(contains(nothing.err, "holds none of model.safetensors"));
    CHECK(run_hat({"info", (folder / "none").string()}).status == 1);
    hat::write_file_atomically(folder / "model" / "model.safetensors", "broken");
    CHECK(contains(run_hat({"info", (folder / "model").string()}).err, "truncated: 6 bytes"));
}

TEST_CASE("info counts the networks of a space") {
    const TemporaryFolder folder;
    const std::string file = (folder / "space.yml").string();
    hat::write_file_atomically(
        file,
        "qkv-dim: 8\nencoder-embed-choice: [8, 4]\ndecoder-embed-choice: [8]\n"
        "encoder-ffn-embed-dim-choice: [16, 8]\ndecoder-ffn-embed-dim-choice: [16]\n"
        "encoder-layer-num-choice: [2]\ndecoder-layer-num-choice: [1]\n"
        "encoder-self-attention-heads-choice: [2]\ndecoder-self-attention-heads-choice: [2, 1]\n"
        "decoder-ende-attention-heads-choice: [2]\ndecoder-arbitrary-ende-attn-choice: [-1, 1]\n");
    const Outcome run = run_hat({"info", file});
    CHECK(run.err.empty());
    CHECK(contains(run.out, "networks:         32 ("));  // 2 x (2 x 2) x 2 x 2
    hat::write_file_atomically(folder / "elastic.yml", "qkv-choice: [8, 4]\n");
    const Outcome elastic = run_hat({"info", file, "--config", (folder / "elastic.yml").string()});
    CHECK(contains(elastic.out, "qkv:              8, 4\n"));
    CHECK(contains(elastic.out, "networks:         256 ("));  // twice as many for each of 3 layers
}

TEST_CASE("quantize writes a smaller folder that info can read") {
    const TemporaryFolder folder;
    write_model(folder / "model");
    const std::string from = (folder / "model").string(), to = (folder / "small").string();
    const Outcome run = run_hat({"quantize", "--model", from, "--out", to, "--bits", "3"});
    CHECK(run.err.empty());
    REQUIRE(run.status == 0);
    CHECK(contains(run.out, "times smaller"));
    CHECK(contains(run.out, "relative error"));
    CHECK(std::filesystem::exists(folder / "small" / "source.dict.txt"));
    CHECK(contains(run_hat({"info", to}).out, "quantized model, 3 bits"));
    CHECK(run_hat({"quantize", "--model", from, "--out", to, "--bits", "9"}).status == 2);
    const Outcome missing = run_hat({"quantize", "--model", to, "--out", from});
    CHECK(missing.status == 1);
    CHECK(contains(missing.err, "model.safetensors: cannot be read"));
}
