#pragma once
// Latency on this machine or on the device behind the run's command, as several stages need it.

#include <hat/decode/timed.hpp>
#include <hat/latency/meter.hpp>
#include <hat/latency/remote.hpp>
#include <memory>
#include <stages/project.hpp>

namespace hat::cli {

MeterOptions meter_options(const Settings& settings);

// One network, ready to be timed by the paper's protocol: one sentence of fixed length, encoder and all decoder steps.
// Copies share it.
struct Probe {
    std::shared_ptr<LatencyProbe<float>> here;  // null: it is on the device
    RemoteNetwork there;

    RunTimes run(const RunCount& count);
};
// What networks are measured on: this machine, or the device behind the run's command.
class Target {
public:
    explicit Target(const Project& project);
    bool remote() const { return device_ != nullptr; }
    // One line that tells it from others.
    std::string text() const;
    // Keeps a reference to the weights; a remote device has its own.
    Probe probe(const Weights<float>* weights, const RuntimeArch& arch) const;
    // The same on this machine in any case.
    Probe here(const Weights<float>& weights, const RuntimeArch& arch) const;

private:
    const Settings& settings_;
    std::shared_ptr<RemoteDevice> device_;
};
// A meter whose reference is the largest network, as when the dataset was measured: its results are corrected to the
// machine's speed of that time, so that they can be compared with predictions and the limit. The weights (of the
// SuperTransformer, or of the largest network) must outlive it.
Meter<Probe> run_meter(const Project& project, const Target& target, const Weights<float>& weights);
// The limit of the search in milliseconds: given, or a share of the largest network's latency.
double limit_ms(const Project& project);

}  // namespace hat::cli
