// Measuring instead of predicting: a timed model of one's own, a meter, and the policy that asks it.
#include <hat/latency/meter.hpp>
#include <hat/search/cached.hpp>
#include <hat/space/presets.hpp>
#include <iostream>
#include <memory>

using Space = hat::Space<hat::Iwslt14DeEn>;

struct Engine {  // whatever runs a network on the device: another library, another process, a board on a cable
    int encoder_layers, decoder_layers;
    double state = 1;

    void encode() { work(encoder_layers); }
    void decode() { work(20 * decoder_layers); }  // all steps of a translation of 20 tokens
    void work(int layers) {
        for (int i = 0; i < 500 * layers; ++i) state = std::sqrt(state + i);  // not optimised away: `state` is kept
    }
};
static_assert(hat::TimedModel<Engine>);

struct MakeEngine {
    Engine operator()(const Space::Arch& a) const { return {a.encoder.layers, a.decoder.layers}; }
};

int main() {
    const auto with_decoder = [](int layers) {
        auto a = Space{}.largest();
        a.decoder.layers = layers;
        return hat::canonical(a);
    };

    // The reference runs between candidates: when it gets slower, the machine did, and that is divided out.
    const Engine reference = MakeEngine{}(with_decoder(3));
    const auto meter = std::make_shared<hat::Meter<Engine>>(reference, hat::MeterOptions{.repeats = 10, .trim = 0.25});
    const hat::Cached latency{hat::Measured{MakeEngine{}, meter}};  // measures each network once

    const hat::Milliseconds shallow = latency(with_decoder(1)), deep = latency(with_decoder(6));
    const hat::Milliseconds again = latency(with_decoder(6));
    std::cout << "1 decoder layer: " << shallow.count() << " ms, 6: " << deep.count() << " ms\n";
    return deep > shallow && again == deep && latency.hits() == 1 ? 0 : 1;
}
