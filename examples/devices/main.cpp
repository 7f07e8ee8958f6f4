// The reference's space for WMT'14 En-De, read from its configuration, searched for three devices whose published
// latencies it comes with: each device gets another network. Argument: the folder with configs/ and latency/.
#include <cmath>
#include <filesystem>
#include <hat/hat.hpp>
#include <hat/io/reference_config.hpp>
#include <hat/latency/dataset.hpp>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

using Latency = hat::PredictedLatency<hat::Ridge, hat::OperationFeatures>;

// A stand-in for the validation loss of a trained SuperTransformer: larger networks score better, depth counts more
// than width, both with falling returns. It says nothing about real translation quality.
struct StandInLoss {
    double operator()(const hat::RuntimeArch& a) const {
        double capacity = 0;
        for (const int f : a.encoder.ffn) capacity += std::sqrt(f * a.encoder.embed);
        for (const int f : a.decoder.ffn) capacity += 2 * std::sqrt(f * a.decoder.embed);
        return 3.0 + 2000.0 / capacity;
    }
};

struct Policy : hat::SearchDefaults {
    hat::RuntimeSpace space;
    Latency latency;
    StandInLoss fitness;
};

// Learns a device from its table of measured networks.
Latency learn(const std::filesystem::path& table, int qkv) {
    const hat::LatencyDataset data = hat::LatencyDataset::load(table);
    Latency latency;
    std::vector<std::size_t> all(data.rows.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    latency.regressor.fit(data.inputs(latency.features, all, qkv), data.targets(all));
    return latency;
}

int main(int argc, char** argv) {
    const std::filesystem::path folder = argc > 1 ? argv[1] : ".";
    if (!std::filesystem::exists(folder / "latency")) {
        std::cout << "skipped: " << folder.string() << " has no published latencies\n";
        return 77;
    }
    const auto config = hat::YamlConfig::load({(folder / "configs/wmt14.en-de/supertransformer/space0.yml").string()});
    const hat::RuntimeSpace space = hat::reference_space(config);
    const std::vector<std::string> devices{"cpu_raspberrypi", "cpu_xeon", "gpu_titanxp"};
    std::vector<Latency> latencies;
    std::vector<hat::RuntimeArch> found;
    for (const std::string& device : devices) {
        latencies.push_back(learn(folder / "latency" / ("wmt14ende_" + device + "_all.csv"), 512));
        const hat::Milliseconds limit = 0.4 * latencies.back()(space.largest());
        const auto best = hat::Searcher{Policy{{}, space, latencies.back(), {}}}.run({.latency = limit}, /*seed=*/1);
        std::cout << device << ": limit " << limit.count() << " ms, predicted " << best.latency.count() << " ms\n"
                  << hat::describe(best.arch) << "\n";
        if (best.latency > limit) return 1;
        found.push_back(best.arch);
    }
    bool differ = true;
    for (std::size_t i = 0; i < devices.size(); ++i) {
        std::cout << "the network for " << devices[i] << ", predicted there and elsewhere, in ms:";
        for (const Latency& latency : latencies) std::cout << " " << std::lround(latency(found[i]).count());
        std::cout << "\n";
        for (std::size_t j = 0; j < i; ++j) differ = differ && found[i] != found[j];
    }
    return differ ? 0 : 1;  // three devices, three networks
}
