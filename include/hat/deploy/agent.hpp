#pragma once
/// \file
/// The measuring agent: reads architectures, one a line, runs them on this device and writes their times. A host with
/// RemoteDevice talks to it (docs/remote_devices.md has the protocol). It needs the core headers only, so that it can
/// be compiled for a small device. POSIX.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <hat/decode/timed.hpp>
#include <hat/latency/device.hpp>
#include <hat/latency/remote_protocol.hpp>
#include <hat/latency/runs.hpp>
#include <hat/model/config.hpp>
#include <hat/model/weights.hpp>
#include <hat/space/cost.hpp>
#include <istream>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace hat {

/// Answers the lines of a host. Whatever a line holds, the answer is a line; nothing is thrown. The networks compute in
/// numbers of type T.
template <class T = float>
class Agent {
public:
    /// Writes answers to `out`, which must outlive it.
    explicit Agent(std::ostream& out) : out_(out) {}
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;

    /// The first line: the protocol's version and what this device is.
    void hello() {
        const std::size_t threads = std::max<std::size_t>(1, std::thread::hardware_concurrency());
        RemoteMessage m{"hello", {}};
        m.with("protocol", remote_protocol_version).with("hat", version).with("threads", threads);
        write(m.with("device", this_device(threads).text()));
    }

    /// Answers one line; returns false if it was `quit`. Empty lines have no answer.
    bool answer(std::string_view line) {
        if (line.find_first_not_of(" \t\r") == line.npos) return true;
        std::uint64_t id = 0;  // of the request, once it is known
        try {
            const RemoteMessage request = RemoteMessage::parse(line);
            if (request.find("id")) id = request.number("id", 1, std::numeric_limits<std::uint64_t>::max());
            if (request.verb == "quit") return false;
            if (request.verb == "ping") {
                request.only({"id"});
                write(RemoteMessage{"pong", {}}.with("id", id));
            } else if (request.verb == "model") {
                set_up(request);
            } else if (request.verb == "time") {
                (void)request.get("id");
                time(request, id);
            } else {
                throw invalid_value("verb '" + excerpt(request.verb) +
                                    "' is unknown, expected model, time, ping or quit");
            }
        } catch (const std::bad_alloc&) {
            fail(id, "not enough memory");
        } catch (const std::exception& e) {
            fail(id, e.what());
        }
        return true;
    }
    /// Answers a line that is not given, because it is too long.
    void refuse_length(std::size_t most) { fail(0, "the line is longer than " + std::to_string(most) + " bytes"); }

private:
    using Probe = LatencyProbe<T>;

    void write(const RemoteMessage& message) {
        out_ << message.text() << '\n' << std::flush;
        written_ = std::chrono::steady_clock::now();
    }
    void fail(std::uint64_t id, const std::string& what) {
        write(RemoteMessage{"error", {}}.with("id", id).with("message", what));
    }

    void set_up(const RemoteMessage& request) {
        request.only({"source_vocab", "target_vocab", "sharing", "encoder_pre_norm", "decoder_pre_norm",
                      "decoder_final_norm", "source_length", "target_length", "beam", "batch", "threads"});
        const RemoteModel wanted = RemoteModel::parse(request);
        if (wanted.beam * wanted.batch > most_rows)
            throw invalid_value("beam times batch is " + std::to_string(wanted.beam * wanted.batch) +
                                ", expected at most " + std::to_string(most_rows));
        probes_.clear();
        weights_.reset();
        TransformerConfig config;
        config.shape = wanted.shape;
        config.source_vocab = wanted.source_vocab;
        config.target_vocab = wanted.target_vocab;
        config.sharing = wanted.sharing;
        config.encoder_pre_norm = wanted.encoder_pre_norm;
        config.decoder_pre_norm = wanted.decoder_pre_norm;
        config.decoder_final_norm = wanted.decoder_final_norm;
        validate(config.shape);
        require_memory(config);
        // what the numbers are does not change how long they take
        weights_ = std::make_unique<Weights<T>>(config);
        weights_->initialize(1);
        options_ = {
            .source_length = wanted.source_length,
            .target_length = wanted.target_length,
            .beam = wanted.beam,
            .batch = wanted.batch,
            .threads = wanted.threads ? wanted.threads : std::max<std::size_t>(1, std::thread::hardware_concurrency())};
        write(RemoteMessage{"ready", {}}.with("device", this_device(options_.threads).text()));
    }

    /// Systems promise memory that they do not have, and end the program that uses it.
    static void require_memory(const TransformerConfig& config) {
        const std::uint64_t needed = cost(config.shape, cost_options(config)).bytes_fp32;
        std::uint64_t most = std::numeric_limits<std::size_t>::max() / 2;
        const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
        if (pages > 0 && page > 0)
            most = std::min(most, static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page));
        if (needed > most)
            throw invalid_value("the largest network has " + std::to_string(needed >> 20) +
                                " MiB of weights, but this device has " + std::to_string(most >> 20) +
                                " MiB of memory");
    }

    void time(const RemoteMessage& request, std::uint64_t id) {
        request.only({"id", "warmup", "repeats", "min_ns", "max_repeats"});
        if (!weights_) throw invalid_value("there is no model yet: send 'model' first");
        const RunCount count = parse_run_count(request);
        Probe& probe = probe_of(request.arch());
        SteadyClock clock;
        const auto between = [&] {
            if (std::chrono::steady_clock::now() - written_ < busy_every) return;
            write(RemoteMessage{"busy", {}}.with("id", id));
        };
        written_ = std::chrono::steady_clock::now();
        write(samples_answer(id, time_runs(probe, count, clock, between)));
    }

    /// The network, ready to run. The two last ones are kept: the drift reference comes back after each candidate.
    Probe& probe_of(const RuntimeArch& arch) {
        const auto known =
            std::find_if(probes_.begin(), probes_.end(), [&](const auto& kept) { return kept.first == arch; });
        if (known != probes_.end()) {
            std::rotate(probes_.begin(), known, known + 1);
        } else {
            if (probes_.size() == 2) probes_.pop_back();
            std::unique_ptr<Probe> made;
            try {
                made = std::make_unique<Probe>(*weights_, arch, options_);
            } catch (const std::bad_alloc&) {
                probes_.clear();  // room for one at least
                made = std::make_unique<Probe>(*weights_, arch, options_);
            }
            probes_.emplace(probes_.begin(), arch, std::move(made));
        }
        return *probes_.front().second;
    }

    static constexpr std::size_t most_rows = 4096;
    static constexpr std::chrono::seconds busy_every{2};

    std::ostream& out_;
    std::chrono::steady_clock::time_point written_{};
    std::unique_ptr<Weights<T>> weights_;
    ProbeOptions options_;
    std::vector<std::pair<RuntimeArch, std::unique_ptr<Probe>>> probes_;
};

/// Serves one host: greets, and answers each line of `in` until `quit`, the end of the input, or an output that cannot
/// be written. Lines of more than `longest` bytes are answered with an error.
template <class T = float>
void run_agent(std::istream& in, std::ostream& out, std::size_t longest = std::size_t{1} << 16) {
    Agent<T> agent(out);
    agent.hello();
    std::string line;
    bool too_long = false;
    for (int c = in.get(); out && c != std::istream::traits_type::eof(); c = in.get()) {
        if (c != '\n') {
            too_long = too_long || line.size() == longest;
            if (!too_long) line += static_cast<char>(c);
            continue;
        }
        if (too_long)
            agent.refuse_length(longest);
        else if (!agent.answer(line))
            return;
        line.clear();
        too_long = false;
    }
}

}  // namespace hat
