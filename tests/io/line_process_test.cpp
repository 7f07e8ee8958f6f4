#include <doctest/doctest.h>

#include <signal.h>

#include <chrono>
#include <hat/io/line_process.hpp>
#include <string>
#include <support/files.hpp>
#include <thread>

using namespace std::chrono_literals;
using hat_test::contains;
using hat_test::message_of;

TEST_CASE("lines go in and come out, also those of a terminal and empty ones") {
    hat::LineProcess cat("while read -r line; do printf '%s\\r\\n\\n' \"$line\"; done");
    cat.write("one two", 5s);
    CHECK(cat.read(5s) == "one two");
    CHECK(cat.read(5s) == "");
    cat.write(std::string(200000, 'x'), 5s);  // more than a pipe holds
    CHECK(cat.read(20s).size() == 200000);
}

TEST_CASE("silence, an end and a line without end are errors that name the command") {
    const auto failure = [](const std::string& command, std::chrono::milliseconds timeout) {
        return message_of<hat::process_failure>([&] { (void)hat::LineProcess(command).read(timeout); });
    };
    CHECK(failure("exec sleep 20", 150ms) == "'exec sleep 20' did not answer for 0.1 s");
    CHECK(failure("exit 3", 5s) == "'exit 3' has ended, with exit status 3");
    CHECK(failure("kill -9 $$", 5s) == "'kill -9 $$' has ended, by signal 9");
    CHECK(contains(failure("/no/such/program 2>/dev/null", 5s), "has ended, with exit status 127"));
    CHECK(contains(failure("printf half; sleep 20", 200ms), "did not answer"));
    CHECK(contains(failure("yes | tr -d '\\n'", 20s), "sent a line of more than 16777216 bytes"));
}

TEST_CASE("a command that has ended, or does not read, cannot hurt the writer") {
    hat::LineProcess gone("exit 0");
    const std::string message = message_of<hat::process_failure>([&] {
        for (int i = 0; i < 1000; ++i) {
            gone.write("anybody?", 1s);
            std::this_thread::sleep_for(5ms);
        }
    });
    CHECK(contains(message, "'exit 0' has ended, with exit status 0"));
    hat::LineProcess deaf("exec sleep 20");
    CHECK(contains(message_of<hat::process_failure>([&] { deaf.write(std::string(1 << 20, 'x'), 150ms); }),
                   "did not read for 0.1 s"));
}

TEST_CASE("its end is the end of all it started") {
    int grandchild = 0;
    {
        hat::LineProcess family("(trap '' TERM; echo started; while :; do sleep 1; done) & echo $!; wait");
        std::string first = family.read(5s), second = family.read(5s);
        grandchild = std::stoi(first == "started" ? second : first);
        CHECK(::kill(grandchild, 0) == 0);
    }
    bool alive = true;
    for (int i = 0; i < 500 && alive; ++i) {  // until whoever adopted it has noticed
        const std::string status = "/proc/" + std::to_string(grandchild) + "/stat";
        std::FILE* file = std::fopen(status.c_str(), "r");
        char state = 'X';
        if (file) {
            if (std::fscanf(file, "%*d %*s %c", &state) != 1) state = 'X';
            std::fclose(file);
        }
        alive = state != 'X' && state != 'Z';
        if (alive) std::this_thread::sleep_for(10ms);
    }
    CHECK(!alive);
    hat::LineProcess polite("read -r line; echo bye > /dev/null");
    polite.end(5s);
    polite.end(5s);  // once more is no harm
}
