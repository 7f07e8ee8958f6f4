// HAT's own policies on a SuperTransformer: fitness is the validation loss with inherited weights, latency is measured
// on this machine. The weights here are random; real ones come from training (hat train).
#include <hat/decode/timed.hpp>
#include <hat/latency/meter.hpp>
#include <hat/search/searcher.hpp>
#include <hat/space/presets.hpp>
#include <hat/space/text.hpp>
#include <hat/train/inherited_loss.hpp>
#include <iostream>

struct Tiny : hat::Iwslt14DeEn {  // the paper's axes with small numbers
    static constexpr auto encoder_embed = hat::choices(32, 16);
    static constexpr auto encoder_layers = hat::choices(2);
    static constexpr auto encoder_ffn = hat::choices(64, 32);
    static constexpr auto decoder_embed = hat::choices(32, 16);
    static constexpr auto decoder_layers = hat::choices(3, 2, 1);
    static constexpr auto decoder_ffn = hat::choices(64, 32);
    static constexpr auto qkv = hat::choices(32);
};
using Space = hat::Space<Tiny>;

struct Probe {  // a network ready to be timed; shared, because a LatencyProbe cannot be moved
    std::shared_ptr<hat::LatencyProbe<float>> shared;

    void encode() { shared->encode(); }
    void decode() { shared->decode(); }
};
struct MakeProbe {
    const hat::Weights<float>* weights;

    Probe operator()(const Space::Arch& a) const {
        const hat::ProbeOptions size{.source_length = 10, .target_length = 10, .beam = 2};
        return {std::make_shared<hat::LatencyProbe<float>>(*weights, hat::to_runtime(a), size)};
    }
};

struct Policy : hat::SearchDefaults {
    Space space;
    hat::Cached<hat::Measured<MakeProbe, hat::Meter<Probe>>> latency;
    hat::InheritedLoss fitness;
};

int main() {
    const auto largest = Space{}.largest();
    hat::Weights<float> weights(
        hat::TransformerConfig{.shape = hat::to_runtime(largest), .source_vocab = 64, .target_vocab = 64});
    weights.initialize(/*seed=*/1);

    const MakeProbe make{&weights};  // the largest network is the meter's reference
    const auto meter = std::make_shared<hat::Meter<Probe>>(make(largest), hat::MeterOptions{.repeats = 5});
    const hat::Cached latency{hat::Measured{make, meter}};

    hat::Batch batch;  // validation text; sentences end in eos, which is 2
    batch.push_back(std::vector<std::int32_t>{10, 11, 12, 2}, std::vector<std::int32_t>{20, 21, 2});
    const hat::InheritedLoss fitness(weights, {batch});

    const hat::Searcher searcher{Policy{{}, {}, latency, fitness}};
    const hat::Milliseconds limit = 0.8 * latency(largest);
    const auto found = searcher.run(
        {.latency = limit, .population = 8, .parents = 4, .mutations = 4, .crossovers = 4, .iterations = 2}, 1);
    std::cout << "limit " << limit.count() << " ms, found " << found.latency.count() << " ms, loss " << found.loss
              << "\n"
              << hat::describe(found.arch);
    return found.latency <= limit && found.loss == fitness(found.arch) ? 0 : 1;
}
