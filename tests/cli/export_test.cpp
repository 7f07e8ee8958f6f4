#include <doctest/doctest.h>

#include <algorithm>
#include <cli/model.hpp>
#include <cli/program.hpp>
#include <cstdlib>
#include <filesystem>
#include <hat/core/rng.hpp>
#include <hat/decode/tokenizers.hpp>
#include <hat/deploy/static_translator.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/model/model_file.hpp>
#include <hat/text/lines.hpp>
#include <hat/text/sentencepiece.hpp>
#include <string>
#include <support/weights.hpp>
#include <vector>

using namespace hat_test;

namespace {

const std::string corpus = std::string(HAT_SOURCE_DIR) + "/examples/data/en-de/";

/// A model's folder with a random network and subwords of the sample text.
void write_subword_model(const std::filesystem::path& folder) {
    const auto english = hat::read_plain_lines(corpus + "dev.en"), german = hat::read_plain_lines(corpus + "dev.de");
    std::vector<std::string> lines(english.begin(), english.begin() + 300);
    lines.insert(lines.end(), german.begin(), german.begin() + 300);
    const auto tokenizer = hat::train_sentencepiece(lines, {.vocab_size = 400});
    hat::TransformerConfig c;
    c.shape.encoder.embed = 24, c.shape.decoder.embed = 16;
    c.shape.encoder.layers = c.shape.decoder.layers = 2;
    for (std::size_t i = 0; i < 2; ++i) {
        c.shape.encoder.ffn[i] = 40, c.shape.decoder.ffn[i] = 48;
        c.shape.encoder.qkv[i] = c.shape.decoder.qkv[i] = 32;
        c.shape.encoder.self_heads[i] = 4, c.shape.decoder.self_heads[i] = c.shape.decoder.cross_heads[i] = 2;
        c.shape.decoder.cross_span[i] = static_cast<int>(1 + i);
    }
    c.source_vocab = c.target_vocab = tokenizer.vocabulary_size();
    std::filesystem::create_directories(folder);
    const hat::TokenizerPair pair{tokenizer, tokenizer};
    hat::save_tokenizers(folder, pair);
    hat::save_model(folder / "model.safetensors", random_weights<float>(c, 3), c.shape,
                    {{"seed", "3"}, {"stage", "winner"}, {"tokenizers", hat::tokenizers_checksum(pair)}});
}

/// Runs a shell command; its exit status.
int shell(const std::string& command) { return std::system(command.c_str()); }

std::string joined(const std::vector<std::string>& lines) {
    std::string out;
    for (const auto& l : lines) out += l + "\n";
    return out;
}

}  // namespace

TEST_CASE("an exported project builds by itself and translates what hat translate does") {
    const TemporaryFolder folder;
    const std::string model = (folder / "model").string(), project = (folder / "project").string(),
                      build = (folder / "build").string(), text = (folder / "text").string();
    write_subword_model(model);
    const Outcome exported = run_hat({"export", "--model", model, "--project", project, "--name", "tiny", "--embed",
                                      "--max-source", "200", "--max-target", "256", "--note", "limit: 20 ms"});
    INFO(exported.err);
    REQUIRE(exported.status == 0);
    CHECK(contains(exported.out, "tiny.hatw: "));
    const std::string header = hat::read_file(project + "/tiny.hpp");
    CHECK(contains(header, "// seed: 3\n"));
    CHECK(contains(header, "// limit: 20 ms\n"));
    CHECK(contains(header, "inline constexpr hat::Arch<2, 2> tiny{"));

    const std::string log = (folder / "log").string();
    const int configured = shell(std::string(HAT_CMAKE) + " -G '" + HAT_GENERATOR + "' -S " + project + " -B " + build +
                                 " -DHAT_INCLUDE_DIR=" + HAT_SOURCE_DIR + "/include -DCMAKE_CXX_COMPILER=" + HAT_CXX +
                                 " > " + log + " 2>&1");
    INFO(hat::read_file(log));
    REQUIRE(configured == 0);
    REQUIRE(shell(std::string(HAT_CMAKE) + " --build " + build + " >> " + log + " 2>&1") == 0);

    auto lines = hat::read_plain_lines(corpus + "test.en");
    std::erase_if(lines, [](const std::string& l) { return l.size() > 150; });
    lines.resize(40);
    lines.insert(lines.begin() + 3, "");
    lines.push_back("\xC3\xBC  \xE6\x97\xA5 x\r");
    hat::write_file_atomically(text, joined(lines));
    const Outcome expected = run_hat({"translate", "--model", model, "--threads", "1", "--input", text});
    REQUIRE(expected.status == 0);
    const std::string out = (folder / "out").string(), err = (folder / "err").string();
    // the weights are in the program: it needs no file
    std::filesystem::rename(project, folder / "moved");
    const std::string program = build + "/translate";
    REQUIRE(shell(program + " --time < " + text + " > " + out + " 2> " + err) == 0);
    CHECK(hat::read_file(out) == expected.out);
    CHECK(contains(hat::read_file(err), "ready after "));
    REQUIRE(shell(program + " --weights " + (folder / "moved/tiny.hatw").string() + " < " + text + " > " + out) == 0);
    CHECK(hat::read_file(out) == expected.out);

    const Outcome smaller = run_hat({"export", "--model", model, "--out", (folder / "packed").string(), "--name",
                                     "tiny", "--packed", "--max-source", "200", "--max-target", "256"});
    REQUIRE(smaller.status == 0);
    CHECK(contains(smaller.out, ", unpacked "));
    const std::filesystem::path packed = folder / "packed/tiny.hatz";
    CHECK(contains(hat::read_file(folder / "packed/tiny.hpp"), "tiny.hatz"));
    CHECK(std::filesystem::file_size(packed) < std::filesystem::file_size(folder / "moved/tiny.hatw"));
    REQUIRE(shell(program + " --weights " + packed.string() + " < " + text + " > " + out) == 0);
    CHECK(hat::read_file(out) == expected.out);
    const std::string whole = hat::read_file(packed);
    hat::write_file_atomically(packed, whole.substr(0, whole.size() / 2));
    CHECK(shell(program + " --weights " + packed.string() + " < " + text + " > " + out + " 2> " + err) != 0);
    CHECK(hat::read_file(err) == "translate: error: " + packed.string() + ": the weight file is truncated\n");

    const auto error_of = [&](const std::string& input, const std::string& options = "") {
        hat::write_file_atomically(text, input);
        CHECK(shell(program + options + " < " + text + " > " + out + " 2> " + err) != 0);
        return hat::read_file(err);
    };
    CHECK(error_of("one\na\xFF\n") ==
          "translate: error: standard input:2: invalid UTF-8 at column 2; expected UTF-8 text\n");
    CHECK(contains(hat::read_file(out), "\n"));  // what came before
    std::string longer;
    for (int i = 0; i < 300; ++i) longer += "x y ";
    CHECK(contains(error_of(longer + "\n"), "standard input:1: the sentence has more tokens than the model"));
    CHECK(contains(error_of("", " --weights " + text), ": not a weight file"));
    CHECK(contains(error_of("", " --weights /nonexistent"), "/nonexistent: cannot be read: No such file"));
    CHECK(contains(error_of("", " --wrong"), "Usage: translate"));
}

TEST_CASE("an exported weight file of words translates what hat translate does") {
    const TemporaryFolder folder;
    const std::string model = (folder / "model").string(), out = (folder / "out").string();
    write_model(model);
    const Outcome exported = run_hat({"export", "--model", model, "--out", out, "--max-target", "256"});
    INFO(exported.err);
    REQUIRE(exported.status == 0);
    hat::write_file_atomically(folder / "text", "one two\n\nthree other one\n");
    const Outcome expected =
        run_hat({"translate", "--model", model, "--threads", "1", "--input", (folder / "text").string()});
    REQUIRE(expected.status == 0);
    hat::MappedFile file;
    REQUIRE(file.open((out + "/model.hatw").c_str()));
    hat::AnyTranslator<> translator;
    REQUIRE(translator.open(file.bytes(), hat::WeightCheck::everything, {}, {128, 256, 5}) ==
            hat::WeightFileError::none);
    std::string found;
    for (const char* line : {"one two", "", "three other one"}) found += translator.translate(line) + "\n";
    CHECK(found == expected.out);
    CHECK(contains(std::string(translator.file().notes()), "stage: test\n"));
}

TEST_CASE("export refuses what it cannot do") {
    const TemporaryFolder folder;
    const std::string model = (folder / "model").string(), out = (folder / "out").string();
    write_model(model);
    const auto error_of = [&](std::vector<std::string> arguments, int status) {
        arguments.insert(arguments.begin(), {"export", "--model", model});
        const Outcome run = run_hat(arguments);
        CHECK(run.status == status);
        return run.err;
    };
    CHECK(contains(error_of({}, 2), "--out or --project is required"));
    CHECK(contains(error_of({"--out", out, "--project", out}, 2), "--project"));
    CHECK(contains(error_of({"--out", out, "--embed"}, 2), "--embed requires --project"));
    CHECK(contains(error_of({"--out", out, "--name", "2x"}, 2), "is no name of C++"));
    CHECK(contains(error_of({"--out", out, "--format", "fp7"}, 2), "fp7"));
    CHECK(contains(error_of({"--out", out, "--beam", "0"}, 2), "is not a whole number"));
    CHECK(run_hat({"export", "--model", model, "--out", out, "-q"}).out.empty());
    CHECK(contains(error_of({"--out", out}, 1), "model.hpp: exists already (--force replaces it)"));
    CHECK(run_hat({"export", "--model", model, "--out", out, "--force"}).status == 0);
    hat::write_file_atomically(model + "/target.dict.txt", "one 3\n");
    CHECK(contains(error_of({"--out", out, "--force"}, 1), "target tokenizer has 5 ids, but the network 7"));
}
