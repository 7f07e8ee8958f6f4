#pragma once
/// \file
/// Measuring on another device: a command (ssh, adb, a script) starts an agent there that times networks for us.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <hat/core/error.hpp>
#include <hat/io/line_process.hpp>
#include <hat/latency/device.hpp>
#include <hat/latency/meter.hpp>
#include <hat/latency/remote_protocol.hpp>
#include <memory>
#include <string>
#include <thread>
#include <utility>

namespace hat {

/// How to reach an agent, and how patient to be with it.
struct RemoteOptions {
    std::string command;                         ///< a shell command that talks to the agent: "ssh pi ./hat-agent"
    std::chrono::milliseconds timeout{120'000};  ///< the longest silence; a working agent says so every 2 s
    std::size_t retries = 3;                     ///< how often the command is started again for one request
    std::chrono::milliseconds pause{1000};       ///< before it is started again; doubled each time, up to 30 s
    std::function<void(const std::string&)> report{};  ///< called with what went wrong, each time it is started again
};

/// A device at the other end of a command. It is started by the first request, and again when it hangs, dies or sends
/// what is not the protocol; it is ended by the destructor. One thread at a time.
class RemoteDevice {
public:
    /// Only remembers; throws invalid_value for an empty command or no time to wait.
    RemoteDevice(RemoteModel model, RemoteOptions options) : model_(std::move(model)), options_(std::move(options)) {
        if (options_.command.find_first_not_of(" \t\r\n") == std::string::npos)
            throw invalid_value("hat::RemoteOptions: the command is empty");
        if (options_.timeout.count() <= 0)
            throw invalid_value("hat::RemoteOptions: the time-out is " + std::to_string(options_.timeout.count()) +
                                " ms, expected more than 0");
    }
    RemoteDevice(const RemoteDevice&) = delete;
    RemoteDevice& operator=(const RemoteDevice&) = delete;
    ~RemoteDevice() {
        if (!process_) return;
        try {
            process_->write("quit", std::chrono::milliseconds(200));
            process_->end(std::chrono::milliseconds(500));
        } catch (const error&) {  // it has gone already
        }
    }

    /// What it times.
    const RemoteModel& model() const { return model_; }
    /// How it is reached.
    const RemoteOptions& options() const { return options_; }

    /// What the device says it is; all its samples are of this device. Throws as run().
    const std::string& device() {
        if (device_.empty()) retry([&] { connect(); });
        return device_;
    }
    /// A short name for it, as Device::id(). Throws as run().
    std::string id() { return device_id(device()); }

    /// Asks whether the agent is there; returns the time its answer took. Throws as run().
    Milliseconds ping() {
        Milliseconds took{};
        retry([&] {
            connect();
            RemoteMessage request{"ping", {}};
            request.with("id", ++requests_);
            const auto begin = std::chrono::steady_clock::now();
            (void)ask(request, "pong", requests_);
            took = std::chrono::steady_clock::now() - begin;
        });
        return took;
    }

    /// Times a network there. Throws invalid_value if the agent refuses it (with its reason), speaks another version of
    /// the protocol, or is another device than before; process_failure if it failed once more than `retries` times.
    RunTimes run(const RuntimeArch& arch, const RunCount& count) {
        RunTimes times;
        retry([&] {
            connect();
            const std::uint64_t id = ++requests_;
            times = parse(ask(time_request(id, count, arch), "samples", id), count.repeats);
        });
        return times;
    }

private:
    /// What another attempt may help against.
    struct garbage : error {
        using error::error;
    };

    [[noreturn]] void stop(const std::string& what) const { throw invalid_value("'" + options_.command + "' " + what); }

    template <class Attempt>
    void retry(Attempt&& attempt) {
        auto pause = options_.pause;
        for (std::size_t failures = 0;;) {
            std::string reason;
            try {
                attempt();
                return;
            } catch (const process_failure& e) {
                reason = e.what();
            } catch (const garbage& e) {
                reason = e.what();
            } catch (...) {
                process_.reset();  // whatever it still has to say belongs to no later question
                throw;
            }
            process_.reset();
            if (failures++ == options_.retries)
                throw process_failure(reason + "; given up after " + std::to_string(failures) +
                                      (failures == 1 ? " attempt" : " attempts"));
            if (options_.report)
                options_.report(reason + "; starting it again (" + std::to_string(failures) + " of " +
                                std::to_string(options_.retries) + ")");
            std::this_thread::sleep_for(pause);
            pause = std::min(2 * pause, std::chrono::milliseconds(30'000));
        }
    }

    RemoteMessage read() {
        const std::string line = process_->read(options_.timeout);
        try {
            return RemoteMessage::parse(line);
        } catch (const invalid_value&) {
            throw garbage("'" + options_.command + "' sent '" + excerpt(line) + "', which is not the protocol");
        }
    }
    RunTimes parse(const RemoteMessage& answer, std::size_t least) const {
        try {
            return parse_samples(answer, least);
        } catch (const invalid_value& e) {
            throw garbage("'" + options_.command + "' sent samples whose " + e.what());
        }
    }

    /// Sends a request and waits for its answer.
    RemoteMessage ask(const RemoteMessage& request, const std::string& verb, std::uint64_t id) {
        process_->write(request.text(), options_.timeout);
        const std::string number = std::to_string(id);
        for (;;) {
            const RemoteMessage answer = read();
            const std::string* answered = answer.find("id");
            const bool ours = id == 0 ? !answered || *answered == "0" : answered && *answered == number;
            if (answer.verb == "busy" && ours) continue;
            if (answer.verb == "error" && (ours || !answered || *answered == "0")) {
                const std::string* message = answer.find("message");
                stop("refused '" + excerpt(request.text(), 400) + "': " + (message ? *message : "(no reason)"));
            }
            if (answer.verb != verb || !ours)
                throw garbage("'" + options_.command + "' sent '" + excerpt(answer.text()) + "', expected '" + verb +
                              (id == 0 ? "" : " id=" + number) + "'");
            return answer;
        }
    }

    void connect() {
        if (process_) return;
        process_ = std::make_unique<LineProcess>(options_.command);
        // Shells and ssh may greet first.
        std::string line = process_->read(options_.timeout);
        for (int greetings = 0; !line.starts_with("hello "); ++greetings) {
            if (greetings == most_greetings)
                throw garbage("'" + options_.command + "' sent '" + excerpt(line) +
                              "', expected 'hello protocol=" + std::to_string(remote_protocol_version) + "'");
            line = process_->read(options_.timeout);
        }
        const std::string spoken = [&] {
            try {
                return RemoteMessage::parse(line).get("protocol");
            } catch (const invalid_value& e) {
                throw garbage("'" + options_.command + "' sent '" + excerpt(line) + "': " + e.what());
            }
        }();
        if (spoken != std::to_string(remote_protocol_version))
            stop("speaks version '" + excerpt(spoken) + "' of the agent's protocol, expected " +
                 std::to_string(remote_protocol_version) + ": build the agent and this program from the same hat");
        const RemoteMessage ready = ask(model_.message(), "ready", 0);
        const std::string* device = ready.find("device");
        if (!device || device->empty())
            throw garbage("'" + options_.command + "' sent '" + excerpt(ready.text()) + "', which names no device");
        if (!device_.empty() && device_ != *device)
            stop("is another device now: '" + *device + "', before: '" + device_ + "'");
        device_ = *device;
    }

    static constexpr int most_greetings = 200;

    RemoteModel model_;
    RemoteOptions options_;
    std::unique_ptr<LineProcess> process_;
    std::string device_;
    std::uint64_t requests_ = 0;
};

/// One network on a remote device: what a Meter measures.
struct RemoteNetwork {
    std::shared_ptr<RemoteDevice> device;  ///< where
    RuntimeArch arch{};                    ///< which

    /// Times it there; see RemoteDevice::run().
    RunTimes run(const RunCount& count) const { return device->run(arch, count); }
};

/// Makes the network of an architecture on a remote device; for Measured.
struct OnRemoteDevice {
    std::shared_ptr<RemoteDevice> device;  ///< where

    /// The network of `arch` there.
    template <std::size_t E, std::size_t D>
    RemoteNetwork operator()(const Arch<E, D>& arch) const {
        return {device, to_runtime(arch)};
    }
};

/// A latency policy that measures each network on the device when it is asked for; copies share device and meter. The
/// drift reference is the largest network unless another is given. Wrap it in Cached to measure a network once.
template <class Clock = SteadyClock>
Measured<OnRemoteDevice, Meter<RemoteNetwork, Clock>> measured_remotely(std::shared_ptr<RemoteDevice> device,
                                                                        const MeterOptions& options = {},
                                                                        const RuntimeArch* reference = nullptr,
                                                                        Clock clock = {}) {
    const RuntimeArch& arch = reference ? *reference : device->model().shape;
    auto meter = std::make_shared<Meter<RemoteNetwork, Clock>>(RemoteNetwork{device, arch}, options, std::move(clock));
    return {{std::move(device)}, std::move(meter)};
}

}  // namespace hat
