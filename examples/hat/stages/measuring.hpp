#pragma once
// Latency on this machine, as several stages need it.

#include <hat/decode/timed.hpp>
#include <hat/latency/meter.hpp>
#include <memory>
#include <stages/project.hpp>

namespace hat::cli {

MeterOptions meter_options(const Settings& settings);

// One network, ready to be timed; copies share it.
struct Probe {
    std::shared_ptr<LatencyProbe<float>> shared;
    void encode() { shared->encode(); }
    void decode() { shared->decode(); }
};
// The paper's protocol: one sentence of fixed length, encoder and all decoder steps. Keeps a reference to the weights.
Probe make_probe(const Weights<float>& weights, const RuntimeArch& arch, const Settings& settings);
// A meter whose reference is the largest network, as when the dataset was measured: its results are corrected to the
// machine's speed of that time, so that they can be compared with predictions and the limit. The weights (of the
// SuperTransformer, or of the largest network) must outlive it.
Meter<Probe> run_meter(const Project& project, const Weights<float>& weights);
// The limit of the search in milliseconds: given, or a share of the largest network's latency.
double limit_ms(const Project& project);

}  // namespace hat::cli
