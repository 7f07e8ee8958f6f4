#include <doctest/doctest.h>

#include <cli/model.hpp>
#include <cli/program.hpp>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/io/report.hpp>
#include <hat/version.hpp>
#include <string>
#include <vector>

using namespace hat_test;

TEST_CASE("the program tells its version, helps, and refuses bad command lines with status 2") {
    const std::string told = run_hat({"--version"}).out, info = run_hat({"info"}).out, key = "compiled by:        ";
    CHECK(told.starts_with(std::string("hat ") + hat::version + " ("));
    REQUIRE(contains(info, key));
    const std::size_t begin = info.find(key) + key.size();
    CHECK(told.ends_with(info.substr(begin, info.find('\n', begin) - begin) + ")\n"));
    const Outcome help = run_hat({"--help"});
    CHECK(help.status == 0);
    for (const std::string command :
         {"run", "data", "train", "measure", "search", "translate", "predict", "score", "quantize", "cost", "info"}) {
        CAPTURE(command);
        CHECK(contains(help.out, "\n  " + command + " "));
        const Outcome one = run_hat({command, "--help"});
        CHECK(one.status == 0);
        CHECK(contains(one.out, "Example"));
        CHECK(!contains(one.out, "tells more"));  // not the program's examples but its own
    }
    CHECK(run_hat({}).status == 2);
    const Outcome unknown = run_hat({"guess", "--config", "x"});
    CHECK(unknown.status == 2);
    CHECK(unknown.err == "hat: error: there is no command or option 'guess'\nRun 'hat --help' for what is expected.\n");
    CHECK(contains(run_hat({"--gues", "info"}).err, "--gues"));
    const Outcome missing = run_hat({"score", "--hyp"});
    CHECK(missing.status == 2);
    CHECK(contains(missing.err, "Run 'hat score --help'"));
}

TEST_CASE("info takes configurations on top of a path only") {
    const Outcome run = run_hat({"info", "--config", "mine.yml"});
    CHECK(run.status == 2);
    CHECK(contains(run.err, "'hat info mine.yml' shows it"));
}

TEST_CASE("output that cannot be written is an error") {
    if (!std::filesystem::exists("/dev/full")) return;
    using Arguments = std::vector<std::string>;
    for (const auto& arguments : {Arguments{"info"}, Arguments{"--help"}, Arguments{"info", "--help"}}) {
        const Outcome run = run_hat(arguments, "/dev/full");
        CHECK(run.status == 1);
        CHECK(contains(run.err, "standard output cannot be written"));
    }
}

TEST_CASE("numbers out of range are refused with the option, the number and the range") {
    const std::vector<std::string> translate{"translate", "--model", "none"}, predict{"predict", "--fit", "none"},
        quantize{"quantize", "--model", "none", "--out", "none2"}, score{"score", "--hyp", "none", "--ref", "none"},
        cost{"cost", "--config", "none"};
    const auto refused = [](std::vector<std::string> arguments, const std::string& option, const std::string& value,
                            const std::string& range) {
        arguments.insert(arguments.end(), {option, value});
        const Outcome run = run_hat(arguments);
        CHECK(run.status == 2);
        CHECK(contains(run.err, option + ": '" + value + "' is not a whole number from " + range + "\n"));
    };
    for (const std::string value : {"-1", "1025", "100000000", "99999999999999999999", "x", "010", "1.5", ""})
        refused(translate, "--threads", value, "0 to 1024");
    refused(translate, "--beam", "0", "1 to 1024");
    refused(translate, "--beam", "-1", "1 to 1024");
    refused(translate, "--n-best", "0", "1 to 1024");
    for (const std::string value : {"-1", "11", "nan", "inf", "1x", ""})
        CHECK(contains(run_hat({"translate", "--model", "none", "--lenpen", value}).err,
                       "--lenpen: '" + value + "' is not a number from 0 to 10\n"));
    CHECK(contains(run_hat({"translate", "--model", "none", "--precision", "fp16"}).err,
                   "--precision: fp16 not in {fp32,bf16,bf16x3}"));
    const Outcome more = run_hat({"translate", "--model", "none", "--n-best", "6"});
    CHECK(more.status == 2);
    CHECK(contains(more.err, "--n-best: '6' is more than --beam, 5\n"));
    refused(predict, "--threads", "-1", "0 to 1024");
    refused(predict, "--seed", "-1", "0 to 18446744073709551615");
    refused(predict, "--train-rows", "0", "1 to 1073741824");
    refused(predict, "--test-rows", "-5", "1 to 1073741824");
    refused(predict, "--steps", "0", "1 to 1073741824");
    refused(predict, "--qkv", "-8", "1 to 1048576");
    refused(quantize, "--bits", "9", "2 to 8");
    refused(quantize, "--group-rows", "-1", "0 to 1073741824");
    refused(score, "--samples", "0", "1 to 1000000");
    refused(score, "--seed", "18446744073709551616", "0 to 18446744073709551615");
    refused(cost, "--length", "65537", "1 to 65536");
    refused(cost, "--vocab", "-1", "1 to 16777216");
}

TEST_CASE("damaged JSON is refused with the file and the key") {
    const TemporaryFolder folder;
    const std::string file = (folder / "x.json").string();
    const auto error_of = [&](const std::string& text) {
        hat::write_file_atomically(file, text);
        const Outcome run = run_hat({"info", file});
        CHECK(run.status == 1);
        return run.err;
    };
    const std::string start = "hat: error: " + file + ": ";
    CHECK(error_of(R"({"format": "hat run 2"})") == start + "key \"stages\" is missing\n");
    CHECK(error_of(R"({"format": "hat run 2", "stages": 3})") == start + "key \"stages\" is 3, expected an object\n");
    CHECK(error_of(R"({"format": "hat run 2", "stages": {"data": {}}})") ==
          start + "key \"stages.data.seconds\" is missing\n");
    CHECK(error_of(R"({"format": 7})") == start + "key \"format\" is 7, expected a string\n");
    CHECK(error_of(R"({"format": "hat training 1", "state": []})") ==
          start + "key \"state\" is an array, expected an object\n");
    CHECK(contains(error_of(R"({"format": "hat-report-1"})"), start + "key \""));
    CHECK(contains(error_of("{"), file + ":1: column 2: not valid JSON"));
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
    CHECK(std::filesystem::exists(folder / "small" / "joint.dict.txt"));
    CHECK(contains(run_hat({"info", to}).out, "quantized model, 3 bits"));
    CHECK(run_hat({"quantize", "--model", from, "--out", to, "--bits", "9"}).status == 2);
    const Outcome missing = run_hat({"quantize", "--model", to, "--out", from});
    CHECK(missing.status == 1);
    CHECK(contains(missing.err, "model.safetensors: cannot be read"));
    const Outcome twice = run_hat({"quantize", "--model", from, "--out", from});
    CHECK(twice.status == 1);
    CHECK(twice.err ==
          "hat: error: " + from + ": holds model.safetensors already, expected a folder without a model (--out)\n");
    CHECK(!std::filesystem::exists(folder / "model" / "model.hatq"));

    const std::vector<std::string> fine{"quantize", "--model", from, "--out", to, "--bits", "8", "--group-rows", "1"};
    const Outcome larger = run_hat(fine);
    CHECK(larger.status == 0);
    CHECK(contains(larger.out, " times larger"));
    CHECK(contains(larger.err, "notice: the result is larger than the model: each group of rows stores a codebook"));
    const Outcome neither = run_hat({"quantize", "--model", from, "--out", to, "--bits", "3"});
    CHECK(contains(neither.out, " times smaller"));
}
