#include <doctest/doctest.h>

#include <cli/program.hpp>
#include <cstdint>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <string>

using namespace hat_test;

namespace {

// A network made up for this test; its numbers are worked out below.
const std::string network =
    "arch: transformersuper_iwslt_de_en\n"
    "share-decoder-input-output-embed: True\n"
    "fp16: True\n"
    "qkv-dim: 8\n"
    "encoder-embed-dim-subtransformer: 4\n"
    "decoder-embed-dim-subtransformer: 4\n"
    "encoder-layer-num-subtransformer: 1\n"
    "decoder-layer-num-subtransformer: 1\n"
    "encoder-ffn-embed-dim-all-subtransformer: [16]\n"
    "decoder-ffn-embed-dim-all-subtransformer: [16]\n"
    "encoder-self-attention-heads-all-subtransformer: [2]\n"
    "decoder-self-attention-heads-all-subtransformer: [2]\n"
    "decoder-ende-attention-heads-all-subtransformer: [4]\n"
    "decoder-arbitrary-ende-attn-all-subtransformer: [-1]\n";

}  // namespace

TEST_CASE("cost prints parameters, FLOPs and bytes as JSON") {
    const TemporaryFolder folder;
    const std::string file = (folder / "sub.yml").string();
    hat::write_file_atomically(file, network);
    const Outcome run = run_hat({"cost", "--config", file, "--vocab", "100"});
    REQUIRE(run.status == 0);
    const hat::Json json = hat::parse_json(run.out, "stdout");
    // attention: 3 x (8 x 4 + 8) + 4 x 8 + 4, norm 8; FFN: 2 x 4 x 16 + 16 + 4, norm 8
    const int attention = 120 + 36 + 8, ffn = 148 + 8;
    CHECK(json.at("params") == 3 * attention + 2 * ffn);
    CHECK(json.at("total_params") == 3 * attention + 2 * ffn + 2 * 100 * 4);
    CHECK(json.at("bytes_fp32") == 4 * (3 * attention + 2 * ffn + 800));
    CHECK(json.at("bytes_4bit").get<int>() < json.at("bytes_fp32").get<int>() / 2);
    CHECK(json.at("length") == 23);
    CHECK(contains(json.at("arch").get<std::string>(), "decoder.cross_heads=4 decoder.cross_span=1"));
    CHECK(run.err == "hat: notice: keys without a meaning here are skipped: fp16\n");
    CHECK(run_hat({"cost", "--config", file, "--quiet"}).err.empty());

    const Outcome longer = run_hat({"cost", "--config", file, "--length", "46"});
    REQUIRE(longer.status == 0);
    CHECK(hat::parse_json(longer.out, "stdout").at("flops").get<double>() > 2 * json.at("flops").get<double>());
}

TEST_CASE("cost estimates the latency on a described device, and takes no half-described one") {
    const TemporaryFolder folder;
    const std::string file = (folder / "sub.yml").string();
    hat::write_file_atomically(file, network);
    const auto estimate = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"cost", "--config", file, "--vocab", "1000", "--quiet"});
        const Outcome run = run_hat(more);
        REQUIRE_MESSAGE(run.status == 0, run.err);
        return hat::parse_json(run.out, "stdout").at("roofline");
    };
    const hat::Json device = estimate({"--gflops", "100", "--bandwidth", "10"});
    const double total = device.at("total_ms");
    CHECK(total == doctest::Approx(device.at("encoder_ms").get<double>() + device.at("decoder_ms").get<double>()));
    // each of 23 steps reads an output matrix of 1000 x 4 floats at 10 GB/s, and a little more
    CHECK(device.at("decoder_ms").get<double>() > 23 * 16000 / 10e9 * 1e3);
    CHECK(device.at("decoder_ms").get<double>() < 2 * 23 * 16000 / 10e9 * 1e3);
    CHECK(device.at("memory_bound").get<double>() > 0.9);
    CHECK(estimate({"--gflops", "100", "--bandwidth", "10", "--bits", "8"}).at("total_ms") < total / 2);
    CHECK(estimate({"--gflops", "0.001", "--bandwidth", "10"}).at("memory_bound") == 0);
    CHECK(
        estimate({"--gflops", "100", "--bandwidth", "10", "--cache", "1", "--cache-bandwidth", "100"}).at("total_ms") <
        total / 4);  // not 10: then computing takes the time

    CHECK_FALSE(hat::parse_json(run_hat({"cost", "--config", file, "--quiet"}).out, "stdout").contains("roofline"));
    const auto refuse = [&](std::vector<std::string> more, const std::string& what) {
        more.insert(more.begin(), {"cost", "--config", file});
        const Outcome run = run_hat(more);
        CHECK(run.status != 0);
        CHECK_MESSAGE(contains(run.err, what), run.err);
    };
    refuse({"--gflops", "100"}, "--gflops requires --bandwidth");
    refuse({"--gflops", "100", "--bandwidth", "10", "--cache", "1"}, "--cache requires --cache-bandwidth");
    refuse({"--beam", "2"}, "--beam requires --gflops");
    for (const std::string number : {"-1", "0", "nan", "inf", "1e308", "fast"})
        refuse({"--gflops", number, "--bandwidth", "10"}, "'" + number + "' is not a number from 0.001 to 1000000000");
}

TEST_CASE("cost lets a later configuration win") {
    const TemporaryFolder folder;
    const std::string file = (folder / "sub.yml").string(), more = (folder / "more.yml").string();
    hat::write_file_atomically(file, network);
    hat::write_file_atomically(more, "decoder-ffn-embed-dim-all-subtransformer: [32]\n");
    const auto params = [](const std::vector<std::string>& arguments) {
        return hat::parse_json(run_hat(arguments).out, "stdout").at("params").get<int>();
    };
    CHECK(params({"cost", "--config", file, "--config", more}) == params({"cost", "--config", file}) + 9 * 16);
    CHECK(params({"cost", "--config", more, "--config", file}) == params({"cost", "--config", file}));
}

TEST_CASE("cost counts a qkv width of each layer") {
    const TemporaryFolder folder;
    const std::string file = (folder / "sub.yml").string(), more = (folder / "more.yml").string();
    hat::write_file_atomically(file, network);
    hat::write_file_atomically(more, "decoder-qkv-dim-all-subtransformer: [4]\n");
    const Outcome fixed = run_hat({"cost", "--config", file}),
                  elastic = run_hat({"cost", "--config", file, "--config", more});
    REQUIRE(elastic.status == 0);
    const hat::Json wide = hat::parse_json(fixed.out, "stdout"), narrow = hat::parse_json(elastic.out, "stdout");
    // two attentions: 3 x (4 x 4 + 4) + 4 x 4 fewer each
    CHECK(wide.at("params").get<int>() - narrow.at("params").get<int>() == 2 * 76);
    CHECK(contains(narrow.at("arch").get<std::string>(), "encoder.qkv=8"));
    CHECK(contains(narrow.at("arch").get<std::string>(), "decoder.qkv=4"));
    hat::write_file_atomically(more, "decoder-qkv-dim-all-subtransformer: [6]\n");
    const Outcome bad = run_hat({"cost", "--config", file, "--config", more, "--quiet"});
    CHECK(bad.status == 1);
    CHECK(bad.err == "hat: error: " + file +
                         ":13: key 'decoder-ende-attention-heads-all-subtransformer': found 4 heads, expected a "
                         "divisor of the qkv-dim 6 of layer 0\n");
}

TEST_CASE("cost with a length needs no 'arch'") {
    const TemporaryFolder folder;
    const std::string file = (folder / "sub.yml").string();
    hat::write_file_atomically(file, network.substr(network.find('\n') + 1));
    const Outcome run = run_hat({"cost", "--config", file, "--length", "65536", "--vocab", "16777216"});
    REQUIRE(run.status == 0);
    const hat::Json json = hat::parse_json(run.out, "stdout");
    CHECK(json.at("length") == 65536);
    CHECK(json.at("output_flops").get<std::uint64_t>() == std::uint64_t{2} * 65536 * 4 * 16777216);
}

TEST_CASE("cost refuses what it cannot use, with file, line and key") {
    const TemporaryFolder folder;
    const std::string file = (folder / "sub.yml").string();
    const auto error_of = [&](std::string text) {
        hat::write_file_atomically(file, text);
        const Outcome run = run_hat({"cost", "--config", file, "--quiet"});
        CHECK(run.status == 1);
        CHECK(run.out.empty());
        CHECK(run.err.rfind("hat: error: " + file, 0) == 0);
        CHECK(run.err.find('\n') == run.err.size() - 1);  // one line
        return run.err;
    };
    const auto without = [](const std::string& key) {
        const auto at = network.find(key);
        return network.substr(0, at) + network.substr(network.find('\n', at) + 1);
    };
    CHECK(contains(error_of(without("qkv-dim")), "key 'qkv-dim' is missing"));
    CHECK(contains(error_of(without("arch:")),
                   "key 'arch' is missing, which says how long sentences are; expected it "
                   "or --length"));
    CHECK(contains(error_of(network + "qkv-dim: 16\n"), ":15: duplicate key 'qkv-dim'"));
    CHECK(contains(error_of(network + "qkv-dum: 16\n"), ":15: unknown key 'qkv-dum', did you mean 'qkv-dim'?"));
    CHECK(contains(error_of(without("qkv-dim") + "qkv-dim: wide\n"), ":14: key 'qkv-dim' is 'wide'"));
    CHECK(contains(error_of(without("qkv-dim") + "qkv-dim: 9\n"), "expected a divisor of the qkv-dim 9"));
    CHECK(contains(error_of(network + "x: [1\n"), "not valid YAML"));

    const Outcome missing = run_hat({"cost", "--config", (folder / "none.yml").string()});
    CHECK(missing.status == 1);
    CHECK(missing.err ==
          "hat: error: " + (folder / "none.yml").string() + ": cannot be read: No such file or directory\n");
}
