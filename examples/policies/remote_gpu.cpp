// Latency of a device of which much is known, say a GPU: a policy of one's own that asks it as little as possible.
#include <map>
#include <utility>

#include "remote.hpp"

// On a GPU small networks take as long as their layers are many, whatever their widths: one measurement for each depth.
struct GpuLatency {
    std::shared_ptr<hat::Meter<hat::RemoteNetwork>> meter;
    std::shared_ptr<hat::RemoteDevice> device;
    std::shared_ptr<std::map<std::pair<int, int>, hat::Milliseconds>> known;

    hat::Milliseconds operator()(const Space::Arch& a) const {
        const std::pair depth(a.encoder.layers, a.decoder.layers);
        if (const auto found = known->find(depth); found != known->end()) return found->second;
        const auto m = meter->measure(hat::RemoteNetwork{device, hat::to_runtime(a)});
        return known->emplace(depth, m.total()).first->second;
    }
};
static_assert(hat::LatencyPolicy<GpuLatency, Space::Arch>);

int main(int argc, char** argv) {
    const auto device = connect(argc > 1 ? argv[1] : stand_in);
    const auto meter = hat::measured_remotely(device, {.repeats = 5}).meter;
    const GpuLatency latency{meter, device, std::make_shared<std::map<std::pair<int, int>, hat::Milliseconds>>()};
    auto narrow = with_decoder(3);
    narrow.decoder.embed = 32;
    const hat::Milliseconds wide = latency(with_decoder(3));
    const bool once = latency(narrow) == wide && latency.known->size() == 1;
    std::cout << "3 decoder layers of any width: " << wide.count() << " ms\n";
    return once && latency(with_decoder(1)) < wide ? 0 : 1;
}
