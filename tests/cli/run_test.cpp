#include <doctest/doctest.h>

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cli/program.hpp>
#include <cli/tiny_run.hpp>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <hat/io/reference_config.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/latency/device.hpp>
#include <hat/model/model_file.hpp>
#include <hat/space/text.hpp>
#include <set>
#include <string>

using namespace hat_test;

namespace {

std::string words(std::size_t n) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) out += "a ";
    return out;
}

/// Runs the whole pipeline with more configuration lines and sends it a signal as soon as it has printed `text`.
Outcome signalled_run(const TinyRun& tiny, const std::string& lines, const std::string& text, int signal) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const std::string extra = (tiny.folder / "extra.yml").string();
    hat::write_file_atomically(extra, lines + "\n");
    const ::pid_t child = ::fork();
    if (child == 0) {
        ::dup2(ends[1], STDERR_FILENO);
        for (const int end : ends) ::close(end);
        ::execl(HAT_PROGRAM, HAT_PROGRAM, "run", "--config", tiny.config.c_str(), "--config", extra.c_str(), "--dir",
                tiny.dir.c_str(), "--threads", "1", nullptr);
        ::_exit(99);
    }
    REQUIRE(child > 0);
    ::close(ends[1]);
    Outcome outcome;
    char bytes[4096];
    bool sent = false;
    for (::ssize_t n = 0; (n = ::read(ends[0], bytes, sizeof bytes)) > 0;) {
        outcome.err.append(bytes, static_cast<std::size_t>(n));
        if (!sent && contains(outcome.err, text)) sent = ::kill(child, signal) == 0;
    }
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return outcome;
}

}  // namespace

TEST_CASE("run goes from text to a report and usable models, and does nothing twice") {
    const TinyRun tiny;
    const Outcome run = tiny.hat("run");
    INFO(run.err);
    REQUIRE(run.status == 0);
    CHECK(contains(run.err, "what is left, estimated"));
    CHECK(contains(run.err, "found, under a limit of"));
    CHECK(contains(run.err, "super 1/30 (3 %), loss "));  // plain lines: no terminal
    for (const char* part : {", ppl ", " tokens/s, ", " s left\n"}) CHECK(contains(run.err, part));
    CHECK(contains(run.out, "SubTransformer found"));
    CHECK(contains(run.out, " In the table's session it takes "));
    CHECK(contains(run.out, " than the limit of "));
    CHECK(contains(hat::read_file(tiny.dir + "/report.html"), "<svg"));
    const hat::Json state = hat::load_json(tiny.dir + "/state.json");
    const hat::Json& search = state.at("stages").at("search").at("results");
    CHECK(search.at("predicted_ms").get<double>() <= search.at("limit_ms").get<double>());
    CHECK(state.at("stages").at("evaluate").at("results").at("models").at("winner").contains("quantized"));

    // what the latencies are of stands beside them
    const auto device = hat::load_json(tiny.dir + "/latency.json").at("device").get<std::string>();
    for (const char* part : {"cpu=", "isa=", "governor=", "compiler=", "threads=1"}) CHECK(contains(device, part));
    const auto latencies = hat::LatencyDataset::load(tiny.dir + "/latency.csv");
    REQUIRE(latencies.rows.size() == 20);
    for (const auto& row : latencies.rows) {
        CHECK(row.device == hat::device_id(device));
        CHECK(row.seed == 1);
        CHECK((row.encoder_samples.size() >= 2 && row.decoder_samples.size() >= 2));
        CHECK(row.reference_ms > 0);
    }

    const Outcome again = tiny.hat("run");
    CHECK(again.status == 0);
    CHECK(!contains(again.err, "== "));  // no stage was made again
    CHECK(hat::load_json(tiny.dir + "/state.json") == state);

    for (const char* model : {"/winner/model", "/baseline/model", "/winner/quantized"}) {
        const Outcome translation =
            run_hat({"translate", "--model", tiny.dir + model, "--input", (tiny.folder / "test.en").string()});
        INFO(translation.err);
        CHECK(translation.status == 0);
        CHECK(std::count(translation.out.begin(), translation.out.end(), '\n') == 20);
    }

    // other settings are refused, with the stage and the difference
    hat::write_file_atomically(tiny.folder / "other.yml", "vocab-size: 280\n");
    const Outcome other =
        run_hat({"run", "--config", tiny.config, "--config", (tiny.folder / "other.yml").string(), "--dir", tiny.dir});
    CHECK(other.status == 1);
    CHECK(contains(
        other.err,
        "stage 'data' was made with other settings: 'vocab-size' was 300, now is 280; set it back, use another --dir, "
        "or 'hat run --from data' makes it again"));
    CHECK(hat::load_json(tiny.dir + "/state.json") == state);

    CHECK(contains(tiny.with("latency-constraint: 5", "run").err,
                   "stage 'search' was made with other settings: 'latency-constraint' was not set, now is 5.0"));

    // a model of another space in the SuperTransformer's place is noticed
    const std::filesystem::path super = tiny.dir + "/super/model/model.safetensors";
    std::filesystem::rename(super, tiny.folder / "super");
    std::filesystem::copy_file(tiny.dir + "/winner/model/model.safetensors", super);
    const Outcome exchanged = tiny.hat("run", {"--from", "search"});
    CHECK(exchanged.status == 1);
    CHECK(contains(exchanged.err,
                   "/super/model/model.safetensors: is the SuperTransformer of another run: 'network' was"));
    std::filesystem::rename(tiny.folder / "super", super);
    REQUIRE(tiny.hat("run").status == 0);

    // a file that is gone is noticed, and any stage can be made again
    std::filesystem::remove(tiny.dir + "/winner/model/model.safetensors");
    const Outcome gone = tiny.hat("run");
    CHECK(gone.status == 1);
    CHECK(contains(
        gone.err,
        "/winner/model/model.safetensors: is missing, though stage 'winner' is finished; 'hat run --from winner'"));
    const Outcome remade = tiny.hat("run", {"--from", "data"});
    INFO(remade.err);
    CHECK(remade.status == 0);
    CHECK(contains(remade.err, "== data:"));
    CHECK(contains(remade.err, "== report:"));
    const Outcome unknown = tiny.hat("run", {"--from", "everything"});
    CHECK(unknown.status == 1);
    CHECK(contains(unknown.err, "there is no stage 'everything', expected one of data, super, measure, "));

    // a damaged state names file and key
    hat::Json damaged = hat::load_json(tiny.dir + "/state.json");
    damaged["stages"]["data"]["results"].erase("test");
    damaged["stages"].erase("report");
    hat::save_json(tiny.dir + "/state.json", damaged);
    const Outcome broken = tiny.hat("run");
    CHECK(broken.status == 1);
    CHECK(contains(broken.err, "/state.json: key \"stages.data.results.test\" is missing"));
    damaged["stages"]["data"]["seconds"] = "long";
    hat::save_json(tiny.dir + "/state.json", damaged);
    CHECK(contains(tiny.hat("run").err, "/state.json: key \"stages.data.seconds\" is \"long\", expected a number"));
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
    const Outcome translation = run_hat(
        {"translate", "--model", tiny.dir + "/winner/quantized", "--input", (tiny.folder / "test.en").string()});
    CHECK(translation.status == 0);
    const Outcome other = tiny.hat("run");
    CHECK(other.status == 1);
    CHECK(contains(other.err,
                   "stage 'super' was made with other settings: 'decoder-normalize-before' was true, now is false"));
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
    CHECK(contains(
        run.err,
        "/run/super/update_00000030/state.json: this is a checkpoint of another data: data.train is \"crc32 "));
    REQUIRE(tiny.hat("run", {"--from", "super", "--estimate"}).status == 0);  // forgets it
    CHECK(tiny.hat("train").status == 0);
}

TEST_CASE("what a stage finished under other settings, or on other text, is not used") {
    const TinyRun tiny;
    for (const char* command : {"data", "train", "measure"}) REQUIRE(tiny.hat(command).status == 0);
    const auto refused = [&](const std::string& command, const std::string& line, const std::string& message) {
        const Outcome run = tiny.with(line, command);
        CAPTURE(line);
        INFO(run.err);
        CHECK(run.status == 1);
        CHECK(contains(run.err, message));
    };
    refused("search", "latency-length: 6",
            "stage 'measure' was made with other settings: 'latency-length' was 5, now is 6");
    refused("search", "max-ratio: 2", "stage 'data' was made with other settings: 'max-ratio' was 3.0, now is 2.0");
    refused("train", "max-length: 100", "stage 'data' was made with other settings: 'max-length' was 250, now is 100");
    refused("train", "share-all-embeddings: False\nshare-decoder-input-output-embed: True\njoint-vocab: True",
            "'share-all-embeddings' was true, now is false");
    for (const char* line : {"encoder-normalize-before: True", "decoder-normalize-before: True",
                             "no-decoder-final-norm: True", "vocab-original-scaling: True", "adam-eps: 1e-6",
                             "adam-betas: [0.9, 0.9]", "patience: 3", "validate-every: 15", "average-checkpoints: 2",
                             "sample-over: networks", "max-tokens: 400", "precision: fp32"}) {
        const std::string text = line;
        refused("train", text,
                "stage 'super' was made with other settings: '" + text.substr(0, text.find(':')) + "' was ");
    }

    // as if the measurements had been stopped
    const auto state = std::filesystem::path(tiny.dir) / "state.json";
    hat::Json unfinished = hat::load_json(state);
    unfinished["stages"].erase("measure");
    hat::save_json(state, unfinished);
    for (const char* line : {"latency-length: 6", "latency-beam: 3", "latency-threads: 2", "latiter: 3"}) {
        const std::string text = line;
        refused("measure", text,
                "/latency.csv: was measured with other settings: '" + text.substr(0, text.find(':')) + "' was ");
    }
    CHECK(contains(tiny.hat("measure").err, "resumed with 20 measurements"));

    // where the text is does not matter, what it says does
    const TemporaryFolder elsewhere;
    std::filesystem::create_directory_symlink(tiny.folder / "", elsewhere / "link");
    const Outcome moved = run_hat({"train", "--config", (elsewhere / "link/tiny.yml").string(), "--dir", tiny.dir});
    CHECK(moved.status == 0);
    CHECK(contains(moved.err, "super is finished already"));
    tiny.append("train.en", "One more sentence.\n");
    tiny.append("train.de", "Noch ein Satz.\n");
    refused("train", "", "stage 'data' was made with other settings: 'train-source' was \"crc32 ");
}

TEST_CASE("odd validation and test text is reported before anything is trained") {
    const auto prepared = [](const char* en, const char* de, const std::string& source, const std::string& target) {
        TinyRun tiny;
        tiny.append(en, source);
        tiny.append(de, target);
        const Outcome run = tiny.with("tokenizer: whitespace", "data");
        INFO(run.err);
        CHECK(run.status == (std::string(en) == "test.en" ? 1 : 0));
        return run.err;
    };
    CHECK(contains(prepared("test.en", "test.de", words(1100) + "\n", "kurz\n"),
                   "/test.en:21: has 1101 tokens with its end, expected at most 1024 in a test sentence"));
    CHECK(contains(prepared("dev.en", "dev.de", "short\n", words(5000) + "\n"),
                   "notice: left out, validation pairs of more than 4096 tokens: 1 of "));
    const std::string blank = prepared("dev.en", "dev.de", "\nWord.\n\n", "Wort.\n \n\n");
    CHECK(contains(blank, "/dev.en (lines 21 23)"));
    CHECK(contains(blank, "/dev.de (lines 22 23)"));

    const TinyRun tiny;
    hat::write_file_atomically(tiny.folder / "test.en", "\n\n");
    hat::write_file_atomically(tiny.folder / "test.de", "Ein\nWort\n");
    const Outcome run = tiny.hat("data");
    CHECK(run.status == 1);
    CHECK(contains(run.err, "/test.en: has only blank lines, expected one sentence a line"));
}

TEST_CASE("two programs do not work in one folder") {
    const TinyRun tiny;
    std::filesystem::create_directories(tiny.dir);
    const int file = ::open((tiny.dir + "/.lock").c_str(), O_RDWR | O_CREAT, 0600);
    REQUIRE(::flock(file, LOCK_EX) == 0);
    REQUIRE(::write(file, "4711", 4) == 4);
    const Outcome second = tiny.hat("data");
    CHECK(second.status == 1);
    CHECK(contains(second.err, tiny.dir + ": another hat (pid 4711) works here"));
    ::close(file);
    CHECK(tiny.hat("data").status == 0);
}

TEST_CASE("Ctrl-C ends a stage at once when it has nothing to save") {
    const TinyRun tiny;
    const std::string fifo = (tiny.folder / "train.en").string();
    std::filesystem::remove(fifo);
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    const std::string said = (tiny.folder / "said").string();
    const ::pid_t child = ::fork();
    if (child == 0) {
        ::dup2(::open(said.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
        ::execl(HAT_PROGRAM, HAT_PROGRAM, "data", "--config", tiny.config.c_str(), "--dir", tiny.dir.c_str(), nullptr);
        ::_exit(99);
    }
    const int writer = ::open(fifo.c_str(), O_WRONLY);  // waits until the program reads, which never ends
    REQUIRE(writer >= 0);
    REQUIRE(::kill(child, SIGINT) == 0);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGINT);
    CHECK(
        contains(hat::read_file(said), "\nhat: interrupted: the same command goes on after the last finished stage\n"));
    ::close(writer);
}

TEST_CASE("on a terminal there is one bar, and Ctrl-C stops a training that goes on to the same weights") {
    int pair[2];
    if (::openpty(&pair[0], &pair[1], nullptr, nullptr, nullptr) != 0) {
        MESSAGE("skipped: this system has no pseudo-terminals (is /dev/pts mounted?)");
        return;
    }
    for (const int end : pair) ::close(end);
    const TinyRun tiny, whole;
    const std::string lines = "max-update: 300\nvalidate-every: 50";
    REQUIRE(tiny.with(lines, "data").status == 0);
    constexpr unsigned short columns = 60;
    const auto on_terminal = [&](bool press) {
        ::winsize size{};
        size.ws_col = columns;
        int terminal = -1;
        const ::pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
        REQUIRE(child >= 0);
        if (child == 0) {
            ::execl(HAT_PROGRAM, HAT_PROGRAM, "train", "--config", tiny.config.c_str(), "--config",
                    (tiny.folder / "extra.yml").c_str(), "--dir", tiny.dir.c_str(), nullptr);
            ::_exit(99);
        }
        Outcome outcome;
        char bytes[4096];
        for (::ssize_t n = 0; (n = ::read(terminal, bytes, sizeof bytes)) > 0;) {
            outcome.out.append(bytes, static_cast<std::size_t>(n));
            if (press && contains(outcome.out, "super [")) press = ::write(terminal, "\x03", 1) != 1;
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        ::close(terminal);
        return outcome;
    };
    const Outcome stopped = on_terminal(true), resumed = on_terminal(false);
    INFO(stopped.out << resumed.out);
    CHECK(stopped.status == 130);
    CHECK(contains(stopped.out, "\nhat: stopping after this step, which is saved; a second Ctrl-C ends at once\r\n"));
    CHECK(contains(stopped.out, "hat: interrupted: super stopped after update "));
    CHECK(contains(stopped.out, "; the same command goes on from there\r\n"));
    CHECK(resumed.status == 0);
    CHECK(contains(resumed.out, "resumed after update "));
    CHECK(contains(resumed.out, "\r\x1b[Ksuper update 300, "));  // in the place of the bar, not behind it
    std::size_t bars = 0;
    for (std::size_t at = 0; (at = resumed.out.find("\r\x1b[Ksuper [", at)) != std::string::npos; ++bars) {
        at += 4;
        CHECK(resumed.out.find('\r', at) - at < columns);
    }
    CHECK(bars > 1);
    REQUIRE(whole.with(lines, "data").status == 0);
    REQUIRE(whole.with(lines, "train").status == 0);
    CHECK(hat::read_file(tiny.dir + "/super/model/model.safetensors") ==
          hat::read_file(whole.dir + "/super/model/model.safetensors"));
}

TEST_CASE("a search says in its file which precision it has, and goes on in no other") {
    const TinyRun tiny;
    const Outcome run = tiny.with("search-precision: bf16", "run");
    INFO(run.err);
    REQUIRE(run.status == 0);
    CHECK(contains(hat::load_json(tiny.dir + "/search.json").at("scores").get<std::string>(), ", precision bf16"));
    const Outcome other = tiny.with("", "run");
    CHECK(other.status == 1);
    CHECK(contains(other.err,
                   "stage 'search' was made with other settings: 'search-precision' was \"bf16\", now is \"bf16x3\""));
    const TinyRun floats;
    REQUIRE(floats.with("search-precision: fp32\nprecision: fp32", "run").status == 0);
    CHECK(!contains(hat::load_json(floats.dir + "/search.json").at("scores").get<std::string>(), "precision"));
    // as it was before there was the key: the same project
    const auto state = std::filesystem::path(floats.dir) / "state.json";
    hat::Json before = hat::load_json(state);
    for (auto& stage : before["stages"]) stage["settings"].erase("search-precision");
    hat::save_json(state, before);
    const Outcome again = floats.with("search-precision: fp32\nprecision: fp32", "run");
    CHECK(again.status == 0);
    CHECK(!contains(again.err, "== search"));
    const Outcome wrong = tiny.with("search-precision: int8", "run");
    CHECK(wrong.status == 1);
    CHECK(contains(wrong.err, "search-precision"));
    CHECK(contains(wrong.err, "one of fp32, bf16, bf16x3"));
}

TEST_CASE("a quantization that was stopped and killed in quantization-aware training ends with the same files") {
    const TinyRun tiny;
    const std::string lines = "bit-allocation: measured\ntune-updates: 400\ntune-lr: 0.001";
    const Outcome whole = tiny.with(lines, "run");
    INFO(whole.err);
    REQUIRE(whole.status == 0);
    const auto left = [&] {
        std::vector<std::string> files;
        for (const char* model : {"/winner", "/baseline"}) {
            files.push_back(hat::read_file(tiny.dir + model + "/quantized/model.hatq"));
            CHECK(!std::filesystem::exists(tiny.dir + model + "/quantized/tuning"));
        }
        const hat::Json state = hat::load_json(tiny.dir + "/state.json");
        files.push_back(state.at("stages").at("quantize").at("results").dump());
        return files;
    };
    const auto expected = left();
    const hat::Json results = hat::parse_json(expected.back(), "results");
    for (const char* model : {"winner", "baseline"}) {
        const hat::Json& steps = results.at(model).at("steps");
        REQUIRE(steps.size() == 4);
        CHECK(contains(steps[2].at("step").get<std::string>(), "bits by measured loss, "));
        CHECK(steps[3].at("step") == "quantization-aware training");
    }
    const std::string report = hat::read_file(tiny.dir + "/report.html");
    for (const char* text : {"Quantization", "quantization-aware training", "validation nll "})
        CHECK(contains(report, text));

    REQUIRE(tiny.with(lines, "run", {"--from", "quantize", "--estimate"}).status == 0);  // forgets the stage
    const Outcome stopped = signalled_run(tiny, lines, "winner quantized 1/400", SIGINT);
    INFO(stopped.err);
    CHECK(stopped.status == 130);
    CHECK(contains(stopped.err, "hat: interrupted: winner quantized stopped after update "));
    // other bits would have other codes
    const Outcome other = tiny.with(lines + "\nbits: 3", "run");
    CHECK(other.status == 1);
    CHECK(contains(other.err, "this is a checkpoint of another quantization: quantization.bits is "));
    const Outcome killed = signalled_run(tiny, lines, "baseline quantized update 100", SIGKILL);
    INFO(killed.err);
    CHECK(killed.status == -SIGKILL);
    CHECK(contains(killed.err, "resumed after update "));
    const Outcome resumed = tiny.with(lines, "run");
    INFO(resumed.err);
    CHECK(resumed.status == 0);
    CHECK(left() == expected);
}

TEST_CASE("text that is tokenised already: words are the vocabulary, from the text to the model") {
    const TinyRun tiny;
    const Outcome run = tiny.with(
        "tokenizer: whitespace\npredictor: mlp\nhidden-dim: 8\nhidden-layer-num: 1\ntrain-steps: 5\n"
        "bsz: 4\nfeature-dim: 10\nvalid-cnt-max: 1\nencoder-layer-num-subtransformer: 1\nlat-norm: 200",
        "run");
    INFO(run.err);
    REQUIRE(run.status == 0);
    CHECK(contains(run.err,
                   "keys without a meaning here are skipped: feature-dim, encoder-layer-num-subtransformer, lat-norm"));
    CHECK(std::filesystem::file_size(tiny.dir + "/predictor.safetensors") < 20000);  // 8 wide, not 400
    CHECK(std::filesystem::exists(tiny.dir + "/winner/model/joint.dict.txt"));
    for (const char* model : {"/winner/model", "/winner/quantized"}) {
        const Outcome translation =
            run_hat({"translate", "--model", tiny.dir + model, "--input", (tiny.folder / "test.en").string()});
        INFO(translation.err);
        CHECK(translation.status == 0);
        CHECK(std::count(translation.out.begin(), translation.out.end(), '\n') == 20);
    }
    const Outcome hidden = tiny.with(
        "tokenizer: whitespace\npredictor: mlp\nhidden-dim: 16\nhidden-layer-num: 1\ntrain-steps: 5\nbsz: 4", "search");
    CHECK(contains(hidden.err, "stage 'predict' was made with other settings: 'hidden-dim' was 8, now is 16"));
    const Outcome infeasible = tiny.with(
        "tokenizer: whitespace\npredictor: mlp\nhidden-dim: 8\nhidden-layer-num: 1\ntrain-steps: 5\n"
        "bsz: 4\nvalid-cnt-max: 1\nlatency-constraint: 0.00001",
        "run", {"--from", "search"});
    CHECK(infeasible.status == 1);
    CHECK(contains(infeasible.err, "raise 'latency-constraint', now 0.00001000 ms"));
    // the search failed, but the models of the earlier one are still there, until they are made again
    for (const char* model : {"/winner/model/model.safetensors", "/baseline/model/model.safetensors"})
        CHECK(std::filesystem::exists(tiny.dir + model));
}

TEST_CASE("each language may have a vocabulary of its own") {
    for (const std::string kind : {"bpe", "whitespace"}) {
        CAPTURE(kind);
        const TinyRun tiny;
        const std::string lines =
            "tokenizer: " + kind + "\nvocab-size: 290\nshare-all-embeddings: False\njoint-vocab: False\nmax-update: 10";
        REQUIRE(tiny.with(lines, "data").status == 0);
        REQUIRE(tiny.with(lines, "train").status == 0);
        const std::string model = tiny.dir + "/super/model", end = kind == "bpe" ? ".spm" : ".dict.txt";
        CHECK(hat::read_file(model + "/source" + end) != hat::read_file(model + "/target" + end));
        const Outcome translation =
            run_hat({"translate", "--model", model, "--input", (tiny.folder / "test.en").string(), "--beam", "1"});
        INFO(translation.err);
        CHECK(translation.status == 0);
        CHECK(std::count(translation.out.begin(), translation.out.end(), '\n') == 20);
    }
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
    refused("colour: 3",
            "extra.yml:1: unknown key 'colour', expected one of the keys that docs/configuration.md lists");
    refused("lenpen: -1", "extra.yml:1: key 'lenpen' is '-1', expected a number from 0 to 10");
    refused("lenpen: nan", "extra.yml:1: key 'lenpen' is 'nan', expected a finite number");
    refused("evo-itr: 3", "extra.yml:1: unknown key 'evo-itr', did you mean 'evo-iter'?");
    refused("bits: 9", "extra.yml:1: key 'bits' is '9', expected a whole number from 2 to 8");
    refused("lr: 0", "extra.yml:1: key 'lr' is '0', expected a positive number");
    refused("sub-lr: 0", "extra.yml:1: key 'sub-lr' is '0', expected a positive number");
    refused("sub-dropout: 5", "extra.yml:1: key 'sub-dropout' is '5', expected a number from 0 to less than 1");
    refused("sub-max-update: 5", "key 'warmup-updates' is '10', expected at most 'sub-max-update', 5");
    refused("sub-max-update: 0", "key 'sub-max-update' is '0', expected at least 1");
    refused("lr-scheduler: cosine\nmax-lr: 0.01\nsub-max-lr: 0.0001",
            "extra.yml:3: key 'sub-max-lr' is '0.0001', expected more than 'lr'");
    refused("lr-scheduler: cosine\nmax-lr: 0.01\nlr-shrink: 0",
            "extra.yml:3: key 'lr-shrink' is '0', expected a positive number");
    refused("lr-scheduler: cosine\nmax-lr: 0.01\nwarmup-updates: 30",
            "key 'max-update' is '30', expected more than 'warmup-updates', 30");
    refused("parent-size: 9", "extra.yml:1: key 'parent-size': there are 9 parents");
    refused("parent-size: 1", "extra.yml:1: key 'parent-size' is '1', expected at least 2");
    refused("mutation-size: 0\ncrossover-size: 0", "extra.yml:1: key 'mutation-size' is '0', expected at least 1");
    refused("beam: 100000", "extra.yml:1: key 'beam' is '100000', expected a whole number from 1 to 1000");
    refused("latency-length: 2000", "key 'latency-length' is '2000', expected a whole number from 1 to 1024");
    refused("lat-dataset-size: 100000000",
            "key 'lat-dataset-size': 100000000 networks are to be measured, but the space has only ");
    refused("feature-dim: 9", "key 'feature-dim' is '9', expected 10");
    refused("tokenizer: words", "expected one of bpe, unigram, whitespace");
    refused("train-source: nowhere.en", "nowhere.en: cannot be read");
    refused("train-target: dev.de", "expected equal counts");
    refused(
        "vocab-size: 100000",
        "/train.en: key 'vocab-size', tokenizer 'bpe': SentencePiece: vocab_size = 100000 is too large for this text");
    refused("qkv-dim: 30", "expected a divisor of the qkv-dim 30");
    refused("qkv-choice: [64, 32]",
            "extra.yml:1: key 'qkv-choice': found 64, more than the SuperTransformer's 32 ('qkv-dim')");
    refused("qkv-choice: [32, 18]", "encoder_heads has the choice 4, which does not divide the qkv width 18");
    refused("latency-fraction: 0", "key 'latency-fraction' is '0', expected a positive number");
    refused("joint-vocab: False", "true, because all embeddings are shared");
}
