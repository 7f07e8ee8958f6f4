// Latency of a device that is always there, say a Raspberry Pi: measured through a command while the search runs.
#include <hat/search/cached.hpp>

#include "remote.hpp"

// A Raspberry Pi is there all the time: every network is measured when the search asks for it, once.
struct PiLatency {
    hat::Cached<hat::Measured<hat::OnRemoteDevice, hat::Meter<hat::RemoteNetwork>>> measured;

    hat::Milliseconds operator()(const Space::Arch& a) const { return measured(a); }
};

static_assert(hat::LatencyPolicy<PiLatency, Space::Arch>);

int main(int argc, char** argv) {
    const auto device = connect(argc > 1 ? argv[1] : stand_in);
    std::cout << device->device() << ", answers in " << device->ping().count() << " ms\n";
    const hat::MeterOptions options{.repeats = 5, .max_drift = 1};
    const PiLatency latency{hat::Cached{hat::measured_remotely(device, options)}};
    const hat::Milliseconds shallow = latency(with_decoder(1)), deep = latency(with_decoder(3));
    std::cout << "1 decoder layer: " << shallow.count() << " ms, 3: " << deep.count() << " ms\n";
    return shallow < deep && latency(with_decoder(3)) == deep && latency.measured.hits() == 1 ? 0 : 1;
}
