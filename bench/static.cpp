// Static models beside elastic ones, same weights, same layer code: one decoder step of 1 and of 5 rows, and the
// encoder on 30 tokens, one layer each, widths 64 to 640.
#include <hat/core/thread_pool.hpp>
#include <hat/decode/inference.hpp>
#include <hat/decode/static_transformer.hpp>
#include <hat/quant/store.hpp>
#include <memory>
#include <numeric>
#include <support.hpp>
#include <vector>

namespace {

constexpr std::size_t words = 64;  // a small output projection: layers are what is compared

template <int width>
constexpr hat::Arch<1, 1> arch() {
    hat::Arch<1, 1> a{};
    a.encoder = {.embed = width, .layers = 1, .ffn = {2 * width}, .qkv = {width}, .self_heads = {width / 32}};
    a.decoder = {.embed = width,
                 .layers = 1,
                 .ffn = {2 * width},
                 .qkv = {width},
                 .self_heads = {width / 32},
                 .cross_heads = {width / 32},
                 .cross_span = {1}};
    return a;
}

/// One network both ways.
template <int width, std::size_t beam>
struct Pair {
    using Model = hat::StaticTransformer<
        arch<width>(),
        hat::StaticConfig{
            .source_vocab = words, .target_vocab = words, .encoder_super_embed = width, .decoder_super_embed = width},
        hat::StaticLimits{30, 32, beam}>;
    static hat::TransformerConfig config() {
        hat::TransformerConfig c;
        c.shape = hat::to_runtime(arch<width>());
        c.source_vocab = c.target_vocab = words;
        return c;
    }
    hat::Weights<float> weights = [] {
        hat::Weights<float> w(config());
        w.initialize(1);
        return w;
    }();
    hat::AlignedBuffer<std::byte> stored = hat::store_weights(weights, config().shape);
    Model model{stored.data()};
    hat::AlignedBuffer<std::byte> workspace{Model::workspace_bytes};
    typename Model::Session fixed{model, workspace.data()};
    hat::InferenceModel<float> packed{weights, config().shape};
    hat::InferenceSession<float> elastic{packed};
    std::vector<std::int32_t> source = std::vector<std::int32_t>(30, 7);
    std::vector<std::size_t> offsets{0, 30};
};

/// 30 steps of `beam` rows after an encoded sentence; time per step.
template <class Decoder>
void steps(benchmark::State& state, Decoder& decoder, const auto& pair, std::size_t beam) {
    decoder.encode(pair.source, pair.offsets);
    const std::vector<std::int32_t> tokens(beam, 9);
    std::vector<std::size_t> parents(beam);
    std::iota(parents.begin(), parents.end(), std::size_t{0});
    for (auto _ : state) {
        if constexpr (requires { decoder.start(beam); })
            decoder.start(beam);
        else
            decoder.start({});
        for (std::size_t i = 0; i < 30; ++i)
            benchmark::DoNotOptimize(
                decoder.step(tokens, i == 0 ? std::span<const std::size_t>{} : std::span<const std::size_t>(parents))
                    .row(0)[0]);
    }
    state.counters["us/step"] =
        benchmark::Counter(30e-6, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

template <int width, std::size_t beam>
void add_steps() {
    auto pair = std::make_shared<Pair<width, beam>>();
    const std::string name = "width:" + std::to_string(width) + "/rows:" + std::to_string(beam);
    benchmark::RegisterBenchmark(("static/" + name).c_str(),
                                 [pair](benchmark::State& s) { steps(s, pair->fixed.decoder(), *pair, beam); });
    benchmark::RegisterBenchmark(("elastic/" + name).c_str(),
                                 [pair](benchmark::State& s) { steps(s, pair->elastic.decoder(), *pair, beam); });
    if (beam != 1) return;
    const auto encode = [pair](benchmark::State& s, auto& decoder) {
        for (auto _ : s) decoder.encode(pair->source, pair->offsets);
    };
    const std::string encoder = "width:" + std::to_string(width) + "/encoder:30";
    benchmark::RegisterBenchmark(("static/" + encoder).c_str(),
                                 [=](benchmark::State& s) { encode(s, pair->fixed.decoder()); });
    benchmark::RegisterBenchmark(("elastic/" + encoder).c_str(),
                                 [=](benchmark::State& s) { encode(s, pair->elastic.decoder()); });
}
template <int... width>
void add_widths() {
    (add_steps<width, 1>(), ...);
    (add_steps<width, 5>(), ...);
}

}  // namespace

int main(int argc, char** argv) {
    add_widths<64, 128, 256, 512, 640>();
    return bench::run(argc, argv);
}
