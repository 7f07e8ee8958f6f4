#pragma once
/// \file
/// A command to talk to, line by line, with time-outs. POSIX.

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <hat/core/error.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

/// The environment of the process, which not every system's headers declare.
extern char** environ;

namespace hat {

/// A command that did not answer, or ended.
struct process_failure : error {
    using error::error;
};

/// A shell command whose standard input and output are ours; its standard error is that of this program. It is a
/// session of its own, without a terminal: Ctrl-C does not reach it, and it cannot ask for a password. The destructor
/// ends it and everything it started.
class LineProcess {
public:
    using Clock = std::chrono::steady_clock;  ///< of the time-outs

    static constexpr std::size_t longest_line = std::size_t{1} << 24;  ///< bytes; more is an error

    /// Starts `/bin/sh -c command`. Throws process_failure with the system's reason if that is not possible.
    explicit LineProcess(std::string command) : command_(std::move(command)) {
        int in[2] = {-1, -1}, out[2] = {-1, -1};
        if (!make_pipe(in) || !make_pipe(out)) {
            const int reason = errno;
            for (const int d : {in[0], in[1]})
                if (d >= 0) ::close(d);
            fail(std::string("no pipe: ") + std::strerror(reason));
        }
        input_ = in[1];
        output_ = out[0];
        ::fcntl(input_, F_SETFL, O_NONBLOCK);
        ::fcntl(output_, F_SETFL, O_NONBLOCK);

        ::posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
        ::posix_spawnattr_t attributes;
        ::posix_spawnattr_init(&attributes);
        short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
#if defined(POSIX_SPAWN_SETSID)
        flags = static_cast<short>(flags | POSIX_SPAWN_SETSID);
#else
        flags = static_cast<short>(flags | POSIX_SPAWN_SETPGROUP);  // a group of its own is the next best
#endif
        ::sigset_t none, ours;
        ::sigemptyset(&none);
        ::sigemptyset(&ours);
        for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&ours, signal);
        ::posix_spawnattr_setsigmask(&attributes, &none);
        ::posix_spawnattr_setsigdefault(&attributes, &ours);
        ::posix_spawnattr_setflags(&attributes, flags);
        std::string shell = "sh", option = "-c", text = command_;
        const std::array<char*, 4> arguments{shell.data(), option.data(), text.data(), nullptr};
        const int failed = ::posix_spawn(&child_, "/bin/sh", &actions, &attributes, arguments.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        ::posix_spawnattr_destroy(&attributes);
        ::close(in[0]);
        ::close(out[1]);
        if (failed != 0) {
            child_ = -1;
            close_pipes();
            fail(std::string("cannot be started: ") + std::strerror(failed));
        }
    }
    LineProcess(const LineProcess&) = delete;
    LineProcess& operator=(const LineProcess&) = delete;
    ~LineProcess() { end(std::chrono::milliseconds(0)); }

    /// What was started.
    const std::string& command() const { return command_; }

    /// Sends a line; the line break is added. Throws process_failure if the command has ended, or does not read it
    /// within the time.
    void write(std::string_view line, std::chrono::milliseconds timeout) {
        const auto until = Clock::now() + timeout;
        const std::string text = std::string(line) + "\n";
        for (std::string_view rest = text; !rest.empty();) {
            wait_for(input_, POLLOUT, until, timeout);
            const ::ssize_t n = write_quietly(rest);
            if (n < 0 && errno == EPIPE) fail("has ended" + exit_text());
            if (n < 0 && errno != EINTR && errno != EAGAIN)
                fail(std::string("cannot be written to: ") + std::strerror(errno));
            if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
        }
    }

    /// The next line of its output, without the line break (also of a terminal's kind). Throws process_failure if it
    /// ends before, says nothing for so long, or sends a line without end.
    std::string read(std::chrono::milliseconds timeout) {
        const auto until = Clock::now() + timeout;
        for (;;) {
            if (const auto end = buffer_.find('\n', searched_); end != buffer_.npos) {
                std::string line = buffer_.substr(0, end);
                buffer_.erase(0, end + 1);
                searched_ = 0;
                if (line.ends_with('\r')) line.pop_back();
                return line;
            }
            searched_ = buffer_.size();
            if (buffer_.size() > longest_line)
                fail("sent a line of more than " + std::to_string(longest_line) + " bytes");
            wait_for(output_, POLLIN, until, timeout);
            std::array<char, 4096> piece;
            const ::ssize_t n = ::read(output_, piece.data(), piece.size());
            if (n == 0) fail("has ended" + exit_text());
            if (n < 0 && errno != EINTR && errno != EAGAIN)
                fail(std::string("cannot be read from: ") + std::strerror(errno));
            if (n > 0) buffer_.append(piece.data(), static_cast<std::size_t>(n));
        }
    }

    /// Closes its input, gives it so long to end by itself, and then ends it and all it started.
    void end(std::chrono::milliseconds grace) {
        if (child_ < 0) return;
        if (input_ >= 0) ::close(std::exchange(input_, -1));
        if (!wait_for_exit(grace)) {
            ::kill(-child_, SIGTERM);
            wait_for_exit(std::chrono::milliseconds(200));
        }
        // The child is not reaped yet, so its group's number belongs to nobody else.
        ::kill(-child_, SIGKILL);
        while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
        }
        child_ = -1;
        close_pipes();
    }

private:
    [[noreturn]] void fail(const std::string& what) const { throw process_failure("'" + command_ + "' " + what); }

    static bool make_pipe(int (&ends)[2]) {
#if defined(__linux__)
        if (::pipe2(ends, O_CLOEXEC) != 0) return false;  // at once: another thread may start a process just now
#else
        if (::pipe(ends) != 0) return false;
        for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
#endif
        for (int& end : ends) {
            if (end > STDERR_FILENO) continue;  // else a program that closed its own would see it closed again
            const int higher = ::fcntl(end, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
            ::close(std::exchange(end, higher));
        }
        return ends[0] >= 0 && ends[1] >= 0;
    }
    void close_pipes() {
        for (int* d : {&input_, &output_})
            if (*d >= 0) ::close(std::exchange(*d, -1));
    }

    void wait_for(int descriptor, short event, Clock::time_point until, std::chrono::milliseconds timeout) const {
        for (;;) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
            if (left <= 0) {
                const double seconds = std::chrono::duration<double>(timeout).count();
                const std::string text = std::to_string(seconds);
                fail("did not " + std::string(event == POLLIN ? "answer" : "read") + " for " +
                     text.substr(0, text.find('.') + 2) + " s");
            }
            ::pollfd wanted{descriptor, event, 0};
            const int ready = ::poll(&wanted, 1, static_cast<int>(std::min<long long>(left, 1 << 30)));
            if (ready > 0) return;  // an error, too: reading or writing tells which
            if (ready < 0 && errno != EINTR) fail(std::string("cannot be waited for: ") + std::strerror(errno));
        }
    }

    /// write() that never raises SIGPIPE in this program, whatever its handlers are.
    ::ssize_t write_quietly(std::string_view bytes) const {
        ::sigset_t pipe, before, pending;
        ::sigemptyset(&pipe);
        ::sigaddset(&pipe, SIGPIPE);
        ::sigpending(&pending);
        const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
        ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
        const ::ssize_t n = ::write(input_, bytes.data(), bytes.size());
        const int reason = errno;
        if (n < 0 && reason == EPIPE && !was_pending) {
            ::sigpending(&pending);
            int taken = 0;
            if (::sigismember(&pending, SIGPIPE) == 1) ::sigwait(&pipe, &taken);
        }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        errno = reason;
        return n;
    }

    /// Waits for the child's end without reaping it.
    bool wait_for_exit(std::chrono::milliseconds time) const {
        const auto until = Clock::now() + time;
        for (;;) {
            ::siginfo_t info{};
            if (::waitid(P_PID, static_cast<::id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                info.si_pid == child_)
                return true;
            if (Clock::now() >= until) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    }
    /// ", with exit status 3" of a child that has ended; "" if it only closed its output.
    std::string exit_text() const {
        if (!wait_for_exit(std::chrono::milliseconds(200))) return "";
        ::siginfo_t info{};
        if (::waitid(P_PID, static_cast<::id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) != 0) return "";
        return (info.si_code == CLD_EXITED ? ", with exit status " : ", by signal ") + std::to_string(info.si_status);
    }

    std::string command_, buffer_;
    std::size_t searched_ = 0;
    int input_ = -1, output_ = -1;
    ::pid_t child_ = -1;
};

}  // namespace hat
