#include <doctest/doctest.h>

#include <signal.h>

#include <algorithm>
#include <array>
#include <cli/model.hpp>
#include <cli/program.hpp>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <string>
#include <vector>

using namespace hat_test;

namespace {

struct Model {
    TemporaryFolder folder;
    std::string model = (folder / "model").string(), text = (folder / "text").string();
    Model() { write_model(model); }
    /// What translating `input` from standard input, or from a file, says on standard error.
    Outcome translate(const std::string& input, bool from_file, std::vector<std::string> more = {}) const {
        hat::write_file_atomically(text, input);
        std::vector<std::string> arguments{"translate", "--model", model, "--threads", "1"};
        if (from_file) arguments.insert(arguments.end(), {"--input", text});
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_hat(arguments, "", from_file ? "/dev/null" : text);
    }
};

}  // namespace

TEST_CASE("translate gives the same lines from standard input and from a file") {
    const Model m;
    const std::string text = "\xEF\xBB\xBFone two\r\n\nthree one";
    const Outcome in = m.translate(text, false), file = m.translate(text, true);
    INFO(in.err);
    CHECK(in.status == 0);
    CHECK(in.out == file.out);
    CHECK(std::count(in.out.begin(), in.out.end(), '\n') == 3);
    const Outcome best = m.translate(text, false, {"--n-best", "2", "--beam", "2"});
    CHECK(best.out == m.translate(text, true, {"--n-best", "2", "--beam", "2"}).out);
    CHECK(contains(best.out, "\n3\t"));  // the line it belongs to
}

TEST_CASE("translate names the line that cannot be translated") {
    const Model m;
    std::string longer;
    for (int i = 0; i < 1024; ++i) longer += "one ";
    for (const bool from_file : {false, true}) {
        const std::string where = "hat: error: " + (from_file ? m.text : "standard input") + ":2: ";
        const auto error_of = [&](const std::string& line) {
            const Outcome run = m.translate("one\n" + line + "\ntwo\n", from_file);
            CHECK(run.status == 1);
            return run.err;
        };
        CHECK(error_of("a\xFF") == where + "invalid UTF-8: byte 0xFF at column 2; expected UTF-8 text\n");
        CHECK(error_of(std::string("a\0b", 3)) == where + "NUL byte at column 2; expected UTF-8 text\n");
        CHECK(error_of(longer) == where + "has 1025 tokens with its eos, expected at most 1024\n");
    }
}

TEST_CASE("translate refuses a folder with two models") {
    const Model m;
    hat::write_file_atomically(m.model + "/model.hatq", "x");
    const Outcome run = m.translate("one\n", true);
    CHECK(run.status == 1);
    CHECK(contains(run.err, "has both model.safetensors and model.hatq, expected one of them"));
}

TEST_CASE("translate ends at once on Ctrl-C while it waits for input") {
    const Model m;
    std::array<int, 2> to{}, from{};
    REQUIRE(::pipe(to.data()) == 0);
    REQUIRE(::pipe(from.data()) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    for (const int end : {to[0], to[1], from[0], from[1]}) posix_spawn_file_actions_addclose(&actions, end);
    std::string program = HAT_PROGRAM, command = "translate", option = "--model", model = m.model;
    std::array<char*, 5> argv{program.data(), command.data(), option.data(), model.data(), nullptr};
    ::pid_t child = 0;
    REQUIRE(::posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(to[0]);
    ::close(from[1]);
    char c = 0;
    REQUIRE(::write(to[1], "one\n", 4) == 4);
    while (::read(from[0], &c, 1) == 1 && c != '\n') {
    }
    REQUIRE(c == '\n');  // it has answered and waits for the next line
    ::kill(child, SIGINT);
    int status = 0;
    ::pid_t ended = 0;
    for (int i = 0; i < 500 && ended == 0; ++i) {
        ended = ::waitpid(child, &status, WNOHANG);
        ::usleep(10000);
    }
    CHECK(ended == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGINT);
    if (ended == 0) {
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
    }
    ::close(to[1]);
    ::close(from[0]);
}
