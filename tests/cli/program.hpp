#pragma once
/// \file
/// Runs the built program (HAT_PROGRAM) as a user would.

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <string>
#include <support/files.hpp>
#include <vector>

namespace hat_test {

/// What a run of the program left.
struct Outcome {
    int status = -1;  ///< exit status; -signal when it was killed
    std::string out, err;
};

/// Runs the program with these arguments, waits for it, and returns what it printed. Standard output goes to
/// `out_file` if one is given, standard input comes from `in_file`.
inline Outcome run_hat(const std::vector<std::string>& arguments, const std::string& out_file = "",
                       const std::string& in_file = "/dev/null") {
    const TemporaryFolder folder;
    const std::string out = out_file.empty() ? (folder / "out").string() : out_file, err = (folder / "err").string();
    std::string program = HAT_PROGRAM;
    std::vector<char*> argv{program.data()};
    std::vector<std::string> copies = arguments;
    for (auto& a : copies) argv.push_back(a.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, in_file.c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT, 0600);
    ::pid_t child = 0;
    const int failed = ::posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) return {};
    int status = 0;
    if (::waitpid(child, &status, 0) != child) return {};
    Outcome outcome;
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    if (out_file.empty()) outcome.out = hat::read_file(out);
    outcome.err = hat::read_file(err);
    return outcome;
}

}  // namespace hat_test
