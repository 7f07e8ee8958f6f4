#pragma once
/// \file
/// What the commands share: common options, signals, progress, numbers as text.

#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/io/units.hpp>
#include <hat/kernel/gemm_bf16.hpp>
#include <hat/latency/device.hpp>
#include <hat/version.hpp>
#include <iostream>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace hat::cli {

inline constexpr int exit_error = 1, exit_usage = 2, exit_interrupted = 130;

/// The version and what this build is for: "0.1.0 (x86-64-v3, gcc 12.2.0 avx2)", without the level if there is one
/// build.
inline std::string version_text() {
#ifdef HAT_LEVEL
    const std::string level = HAT_LEVEL ", ";
#else
    const std::string level;
#endif
    return version + (" (" + level) + detail::compiler_text() + ")";
}

/// Set by Ctrl-C or SIGTERM: finish the current step, save, and leave.
inline std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

/// To standard error, by what a signal's handler may call.
inline void write_in_handler(std::string_view text) {
    const int before = errno;
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
    errno = before;
}

/// SIGINT and SIGTERM end the program at once, but not before it has said how to go on.
inline void end_on_signals() {
    const auto handler = [](int signal) {
        write_in_handler("\nhat: interrupted: the same command goes on after the last finished stage\n");
        std::signal(signal, SIG_DFL);
        std::raise(signal);
    };
    std::signal(SIGINT, handler);
    std::signal(SIGTERM, handler);
}

/// The first SIGINT or SIGTERM sets stop_requested, a second one ends the program at once.
inline void save_on_signals() {
    const auto handler = [](int signal) {
        stop_requested.store(true);
        write_in_handler("\nhat: stopping after this step, which is saved; a second Ctrl-C ends at once\n");
        std::signal(signal, SIG_DFL);
    };
    std::signal(SIGINT, handler);
    std::signal(SIGTERM, handler);
}

/// Throws interrupted if the user asked to stop; `saved` says how to go on.
inline void stop_if_requested(const std::string& saved) {
    if (stop_requested.load()) throw interrupted(saved);
}

/// The check of an option that is a whole number from `low` to `high`.
inline CLI::Validator whole_number(std::uint64_t low, std::uint64_t high) {
    const std::string range = std::to_string(low) + " to " + std::to_string(high);
    const auto check = [=](const std::string& text) {
        std::uint64_t value = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
        // written out again, because what follows would take 010 for 8 and -1 for the largest number
        const bool good = failure == std::errc{} && std::to_string(value) == text && low <= value && value <= high;
        return good ? "" : "'" + text + "' is not a whole number from " + range;
    };
    return {check, high == std::numeric_limits<std::uint64_t>::max() ? "" : range};
}

/// The check of an option that is a number from `low` to `high`.
inline CLI::Validator number_from(double low, double high) {
    const auto text_of = [](double value) { return fixed_text(value, value == std::floor(value) ? 0 : 3); };
    const std::string range = text_of(low) + " to " + text_of(high);
    const auto check = [=](const std::string& text) {
        double value = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool good =
            failure == std::errc{} && end == text.data() + text.size() && low <= value && value <= high;  // nan is not
        return good ? "" : "'" + text + "' is not a number from " + range;
    };
    return {check, range};
}

/// Options that several commands have.
struct CommonOptions {
    std::vector<std::string> configs;  ///< --config, in order; later ones win
    std::size_t threads = 0;           ///< 0: all of the machine
    std::uint64_t seed = 1;
    bool quiet = false;
};

inline CLI::Option* add_config(CLI::App& command, CommonOptions& o, const std::string& help) {
    return command.add_option("--config", o.configs, help + "; may be repeated, later files win")
        ->type_name("FILE")
        ->take_all();
}
inline void add_threads(CLI::App& command, CommonOptions& o) {
    command.add_option("--threads", o.threads, "Threads; 0: all of this machine")
        ->check(whole_number(0, 1024))
        ->type_name("N")
        ->capture_default_str();
}
inline void add_seed(CLI::App& command, CommonOptions& o) {
    command.add_option("--seed", o.seed, "Seed of everything random")
        ->check(whole_number(0, std::numeric_limits<std::uint64_t>::max()))
        ->type_name("S")
        ->capture_default_str();
}
inline void add_quiet(CLI::App& command, CommonOptions& o) {
    command.add_flag("-q,--quiet", o.quiet, "No progress and no notices");
}

/// The one notice about keys of the reference that mean nothing here.
inline void notice_skipped_keys(const std::vector<std::string>& skipped, bool quiet) {
    if (skipped.empty() || quiet) return;
    std::string text;
    for (const auto& key : skipped) text += (text.empty() ? "" : ", ") + key;
    std::cerr << "hat: notice: keys without a meaning here are skipped: " << text << "\n";
}

/// The names of all precisions.
inline std::vector<std::string> precision_names() {
    std::vector<std::string> names;
    for (const Precision p : all_precisions) names.emplace_back(name_of(p));
    return names;
}
/// The precision of a name, which is one of precision_names().
inline Precision precision_of(const std::string& name) {
    return *std::find_if(all_precisions.begin(), all_precisions.end(), [&](Precision p) { return name_of(p) == name; });
}
/// What a precision is worth where there are no tiles (AMX); nothing where there is nothing to say. `option` names it.
inline std::string without_tiles(const std::string& option, Precision precision) {
    if (precision == Precision::fp32 || simd::tiles_usable()) return {};
    return "notice: '" + option + std::string(name_of(precision)) + "' is " +
           (precision == Precision::bf16x3 ? "the same as fp32" : "perhaps slower than fp32") +
           " without AMX, which this build or this machine lacks";
}

/// A number with so many decimals.
inline std::string fixed(double value, int decimals) { return fixed_text(value, decimals); }

/// A number with so many significant digits, or all of its whole part.
inline std::string significant(double value, int digits) {
    const double size = std::abs(value);
    const int whole = size > 0 ? static_cast<int>(std::floor(std::log10(size))) : 0;
    return fixed(value, std::clamp(digits - 1 - whole, 0, 12));
}

/// "loss 4.321, ppl 75.26, 12345 tokens/s"; the loss in nats per token.
inline std::string training_text(double loss, double tokens_per_second) {
    return "loss " + fixed(loss, 3) + ", ppl " + fixed(std::exp(std::min(loss, 99.0)), 2) + ", " +
           fixed(tokens_per_second, 0) + " tokens/s";
}

/// How far a long job is, on standard error: one bar that is redrawn on a terminal, a plain line every few seconds in
/// a log. Says the time that is left; silent if quiet.
class Progress {
public:
    Progress(std::string name, std::size_t total, bool quiet)
        : name_(std::move(name)),
          total_(total),
          quiet_(quiet),
          terminal_(::isatty(STDERR_FILENO) == 1),
          interval_(terminal_ ? 0.1 : 10) {}
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress() { leave_bar(); }

    /// The job goes on: so much was done before, in a time that is not known.
    void resumed(std::size_t first) { first_ = first; }
    /// Takes a bar away for a line of text; the next update draws it again.
    static void make_room() {
        if (drawn_) std::cerr << "\r\x1b[K";
        drawn_ = false;
    }
    /// `done` of `total` are done; `details` as training_text().
    void update(std::size_t done, const std::string& details = "") {
        if (quiet_) return;
        const double now = seconds();
        if (printed_ && now - last_ < interval_) return;
        print(done, details, now);
    }
    /// The last line: everything is done, in so much time.
    void finish(const std::string& details = "") {
        if (quiet_) return;
        print(total_, details, seconds(), true);
        leave_bar();
    }

private:
    using Clock = std::chrono::steady_clock;

    static void leave_bar() {
        if (drawn_) std::cerr << "\n";
        drawn_ = false;
    }
    /// Seconds since the job began, or went on.
    double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

    std::string line(std::size_t done, const std::string& details, double elapsed, bool last) const {
        std::string out = name_ + " ";
        const double share = total_ == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total_);
        if (terminal_) {
            const std::size_t width = 24, full = std::min(width, static_cast<std::size_t>(share * 24.0));
            out += "[" + std::string(full, '#') + std::string(width - full, '.') + "] ";
        }
        out += std::to_string(done) + "/" + std::to_string(total_) + " (" + fixed(100 * share, 0) + " %)";
        if (!details.empty()) out += ", " + details;
        if (last)
            out += ", took " + duration_text(elapsed);
        else if (done > first_)
            out += ", " +
                   duration_text(elapsed * static_cast<double>(total_ - std::min(done, total_)) /
                                 static_cast<double>(done - first_)) +
                   " left";
        return out;
    }

    void print(std::size_t done, const std::string& details, double now, bool last = false) {
        std::string text = line(done, details, now, last);
        if (terminal_) {
            ::winsize size{};  // what is wider would wrap, and could not be redrawn
            if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
                text = text.substr(0, size.ws_col - 1U);
            std::cerr << "\r\x1b[K" << text << std::flush;
            drawn_ = true;
        } else {
            std::cerr << text << "\n" << std::flush;
        }
        printed_ = true;
        last_ = now;
    }

    std::string name_;
    std::size_t total_, first_ = 0;
    bool quiet_, terminal_;
    double interval_, last_ = 0;
    bool printed_ = false;
    static inline bool drawn_ = false;  // a bar stands in the terminal's last line
    Clock::time_point start_ = Clock::now();
};

}  // namespace hat::cli
