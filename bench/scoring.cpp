// Scoring SubTransformers with inherited weights, and a whole evolutionary search.
// Names: scoring/<space>/<network>[/bf16]: 2,000 validation sentences (CPU time), products in fp32 or bfloat16;
// search/quickstart: 30 generations of 125 on the quickstart's space and text, 200 validation sentences, 2 threads
// (wall time). Weights are random: time does not depend on them, except that a search that learns nothing meets fewer
// networks twice.
#include "support.hpp"

#include <array>
#include <hat/core/thread_pool.hpp>
#include <hat/io/reference_config.hpp>
#include <hat/search/cached.hpp>
#include <hat/search/searcher.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <hat/text/corpus.hpp>
#include <hat/text/lines.hpp>
#include <hat/text/sentencepiece.hpp>
#include <hat/text/tokenizer.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/inherited_loss.hpp>
#include <hat/train/trainer.hpp>
#include <memory>
#include <string>
#include <vector>

namespace {

/// Half to all of the small network: 256 wide, FFN 512, 3 + 3 layers.
struct Small {
    static constexpr auto encoder_embed = hat::choices(256, 128);
    static constexpr auto encoder_layers = hat::choices(3);
    static constexpr auto encoder_ffn = hat::choices(512, 256);
    static constexpr auto encoder_heads = hat::choices(4, 2);
    static constexpr auto decoder_embed = hat::choices(256, 128);
    static constexpr auto decoder_layers = hat::choices(3, 2, 1);
    static constexpr auto decoder_ffn = hat::choices(512, 256);
    static constexpr auto decoder_heads = hat::choices(4, 2);
    static constexpr auto cross_heads = hat::choices(4, 2);
    static constexpr auto cross_span = hat::choices(1, 2, 3);
    static constexpr auto qkv = hat::choices(256);
};

hat::Weights<float> random_weights(const hat::RuntimeArch& largest, std::size_t vocabulary) {
    hat::TransformerConfig config;
    config.shape = largest;
    config.source_vocab = config.target_vocab = vocabulary;
    hat::Weights<float> weights(config);
    weights.initialize(1);
    return weights;
}

/// 2,000 pairs of 10 to 40 random tokens a side, 25 on average.
std::vector<hat::Batch> random_text(std::size_t vocabulary) {
    hat::Rng rng(1);
    const auto side = [&] {
        hat::Ragged text;
        for (std::size_t i = 0; i < 2000; ++i) {
            std::vector<std::int32_t> sentence(10 + rng.below(31), hat::SpecialTokens::eos);
            for (std::size_t t = 0; t + 1 < sentence.size(); ++t)
                sentence[t] = hat::SpecialTokens::count +
                              static_cast<std::int32_t>(rng.below(vocabulary - hat::SpecialTokens::count));
            text.push_back(sentence);
        }
        return text;
    };
    auto source = side(), target = side();
    return hat::batches_in_order(hat::Batches(std::move(source), std::move(target), {}));
}

double target_tokens(const std::vector<hat::Batch>& text) {
    std::size_t sum = 0;
    for (const hat::Batch& batch : text) sum += batch.target_tokens();
    return static_cast<double>(sum);
}

/// FLOPs of the products; causal attention counts only the pairs that see each other.
double flops(const hat::RuntimeArch& arch, const std::vector<hat::Batch>& text, std::size_t vocabulary) {
    double sum = 0, qkv = 0;
    for (const int width : arch.decoder.qkv) qkv += width;
    for (const hat::Batch& batch : text)
        for (std::size_t i = 0; i < batch.sentences(); ++i) {
            const auto target = static_cast<double>(batch.target[i].size());
            const hat::Cost cost = hat::cost(arch, {.source_length = static_cast<int>(batch.source[i].size()),
                                                    .target_length = static_cast<int>(batch.target[i].size()),
                                                    .source_vocab = vocabulary,
                                                    .target_vocab = vocabulary});
            sum += static_cast<double>(cost.flops + cost.output_flops) - 2 * target * (target - 1) * qkv;
        }
    return sum;
}

void score(benchmark::State& state, const hat::RuntimeArch& largest, const hat::RuntimeArch& arch,
           hat::Precision precision) {
    constexpr std::size_t vocabulary = 8000;
    const hat::Weights<float> weights = random_weights(largest, vocabulary);
    const auto text = random_text(vocabulary);
    const hat::InheritedLoss loss(weights, text, {.precision = precision});
    double value = loss(arch);  // grows the working memory
    for (auto _ : state) benchmark::DoNotOptimize(value = loss(arch));
    state.counters["target_tokens/s"] =
        benchmark::Counter(target_tokens(text), benchmark::Counter::kIsIterationInvariantRate);
    bench::rate(state, "GFLOP/s", flops(arch, text, vocabulary));
}

template <class Space>
void register_scores(const std::string& name, const Space& space) {
    const auto largest = hat::to_runtime(space.largest()), smallest = hat::to_runtime(space.smallest());
    for (const auto& [network, arch] : {std::pair("largest", largest), std::pair("smallest", smallest)})
        for (const hat::Precision precision : bench::precisions())
            benchmark::RegisterBenchmark(
                ("scoring/" + name + "/" + network +
                 (precision == hat::Precision::fp32 ? "" : "/" + std::string(hat::name_of(precision))))
                    .c_str(),
                [largest, sub = arch, precision](benchmark::State& s) { score(s, largest, sub, precision); })
                ->Unit(benchmark::kMillisecond);
}

/// A latency that costs nothing: one nanosecond for each thousand operations.
struct Operations {
    std::size_t vocabulary;
    hat::Milliseconds operator()(const hat::RuntimeArch& arch) const {
        const auto cost = hat::cost(arch, {.source_vocab = vocabulary, .target_vocab = vocabulary});
        return hat::Milliseconds(static_cast<double>(cost.flops) * 1e-9);
    }
};

struct Policy : hat::SearchDefaults {
    hat::RuntimeSpace space;
    Operations latency;
    hat::Cached<hat::InheritedLoss> fitness;
    hat::ThreadPool executor;
};

void search(benchmark::State& state) {
    constexpr std::size_t vocabulary = 3000, sentences = 200;
    const std::string folder = HAT_SOURCE_DIR "/examples/";
    const auto config = hat::YamlConfig::load({folder + "quickstart/quickstart.yml"});
    const hat::RuntimeSpace space = hat::reference_space(config);
    const auto read = [&](const char* part) {
        const std::string source = folder + "data/en-de/" + part + ".en",
                          target = folder + "data/en-de/" + part + ".de";
        return hat::pair_lines(hat::read_plain_lines(source), hat::read_plain_lines(target), source, target);
    };
    const auto train = read("train");
    auto valid = read("dev");
    const std::array<std::span<const std::string>, 2> both{train.source, train.target};
    const auto tokenizer = hat::train_sentencepiece(both, {.vocab_size = vocabulary});
    valid.source.resize(sentences);
    valid.target.resize(sentences);
    const auto text = hat::batches_in_order(
        hat::Batches(hat::encode_lines(tokenizer, valid.source), hat::encode_lines(tokenizer, valid.target), {}));
    const auto largest = space.largest();
    const hat::Weights<float> weights = random_weights(largest, vocabulary);
    hat::Budget budget;
    const Operations latency{vocabulary};
    budget.latency = 0.5 * latency(largest);
    for (auto _ : state) {
        const hat::InheritedLoss loss(weights, text, {.encoder_cache_bytes = std::size_t{256} << 20});
        const hat::Cached<hat::InheritedLoss> fitness(loss);
        const hat::Searcher<Policy> searcher(Policy{{}, space, latency, fitness, hat::ThreadPool(2)});
        auto progress = searcher.start(budget, 1);
        while (!searcher.finished(progress)) searcher.step(progress);
        state.counters["networks"] = static_cast<double>(progress.history.back().evaluations);
        state.counters["repeats"] = static_cast<double>(progress.history.back().cache_hits);
        state.counters["encoders_reused"] = static_cast<double>(loss.encoders_reused());
    }
    state.counters["target_tokens"] = target_tokens(text);
}

}  // namespace

int main(int argc, char** argv) {
    bench::register_limits({});
    register_scores("small", hat::Space<Small>{});
    register_scores("iwslt", hat::Space<hat::Iwslt14DeEn>{});
    benchmark::RegisterBenchmark("search/quickstart", search)
        ->Unit(benchmark::kSecond)
        ->Iterations(1)
        ->MeasureProcessCPUTime()
        ->UseRealTime();
    return bench::run(argc, argv);
}
