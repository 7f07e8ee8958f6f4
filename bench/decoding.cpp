// Translating one sentence of 30 tokens into 30 tokens on one thread, in fp32 and from quantized weights, beside the
// roofline model's estimates for the limits measured in the same process: mostly the time of reading the weights, at
// the bandwidth of a buffer of their size, and at memory's. Names: decoding/<network>/beam:<n>. Networks: the shapes A
// to D of the peers' table, and the published SubTransformers from $HAT_SHARED/reference/configs. Times are CPU time.
// Where CTranslate2 was found, A to D are also translated with it and with hat in turns, and the ratio is printed:
// decoding/<network>[/<format>]/beside_ctranslate2/beam:<n>. One sentence and 16 at once, with products in fp32 and in
// bf16x3 (with tiles): precision/<network>/<precision>/sentences:<n>/beam:<n>.
// `--rss <network>` translates once in this process and prints as JSON the most memory it ever had; `--list` prints the
// names.
#include "support.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <hat/decode/beam_search.hpp>
#include <hat/deploy/stored_transformer.hpp>
#include <hat/io/reference_config.hpp>
#include <hat/latency/roofline.hpp>
#include <hat/quant/store.hpp>
#include <hat/space/cost.hpp>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>
#ifdef HAT_CTRANSLATE2
#include "peers/ctranslate2.hpp"
#endif

namespace {

constexpr std::size_t length = 30;

struct Network {
    std::string name;
    hat::RuntimeArch arch;
    std::size_t vocabulary = 32768;
};

// -- networks ---------------------------------------------------------------------------------------------------------

template <class Stack>
void fill(Stack& s, int embed, std::initializer_list<int> ffn, int heads) {
    s.embed = embed;
    s.layers = static_cast<int>(ffn.size());
    std::copy(ffn.begin(), ffn.end(), s.ffn.begin());
    std::fill_n(s.qkv.begin(), ffn.size(), embed);
    std::fill_n(s.self_heads.begin(), ffn.size(), heads);
}

Network shape(const char* name, int embed, std::initializer_list<int> encoder, int encoder_heads,
              std::initializer_list<int> decoder, int decoder_heads, std::size_t vocabulary = 32768) {
    Network n{name, {}, vocabulary};
    fill(n.arch.encoder, embed, encoder, encoder_heads);
    fill(n.arch.decoder, embed, decoder, decoder_heads);
    std::fill_n(n.arch.decoder.cross_heads.begin(), decoder.size(), decoder_heads);
    std::fill_n(n.arch.decoder.cross_span.begin(), decoder.size(), 1);
    return n;
}

std::vector<Network> networks() {
    std::vector<Network> all{
        shape("A", 512, {2048, 2048, 2048, 2048, 2048, 2048}, 8, {2048, 2048, 2048, 2048, 2048, 2048}, 8),
        shape("B", 512, {2048, 1024, 2048, 1024, 2048, 1024}, 8, {2048}, 4),
        shape("C", 512, {2048, 1024, 2048, 1024, 2048, 1024}, 8, {2048, 1024, 2048}, 4),
        shape("D", 256, {512, 512, 512}, 4, {512, 512, 512}, 4, 8000)};
    const char* shared = std::getenv("HAT_SHARED");
    const std::filesystem::path configs =
        std::filesystem::path(shared ? shared : HAT_SOURCE_DIR "/../shared") / "reference/configs";
    if (!std::filesystem::is_directory(configs)) {
        std::fprintf(stderr, "%s does not exist: the published SubTransformers are left out\n", configs.c_str());
        return all;
    }
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(configs))
        if (entry.path().parent_path().filename() == "subtransformer" && entry.path().filename() != "common.yml")
            files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
        const auto common = file.parent_path() / "common.yml";
        all.push_back({file.stem().string(),
                       hat::reference_subtransformer(hat::YamlConfig::load({common.string(), file.string()}))});
    }
    return all;
}

// -- what cannot be saved ---------------------------------------------------------------------------------------------

hat::CostOptions cost_options(std::size_t vocabulary) {
    return {.source_length = length, .target_length = length, .source_vocab = vocabulary, .target_vocab = vocabulary};
}

/// The machine's limits at this moment (neighbours take a part of the memory's bandwidth), per second. `bandwidth` is
/// that of reading as many bytes again and again as a step reads: of the caches, as far as they hold a model. `memory`
/// is that of reading 256 MiB.
class Limits {
public:
    double bandwidth = 0, memory = 0, flops = 0;
    explicit Limits(double bytes) : data_(bench::random_buffer(static_cast<std::size_t>(bytes) / sizeof(float))) {}
    void measure() {
        memory = std::max(memory, bench::best_read(bench::pool(), bench::pool_bytes / sizeof(float), 1));
        bandwidth = std::max(bandwidth, bench::best_read(data_.data(), data_.size(), 4));
        double work = 0;
        const double fma = bench::best_seconds(8, [&] { work = bench::fma_chains(); });
        flops = std::max(flops, work / fma);
    }

private:
    hat::AlignedBuffer<float> data_;
};

// -- runs -------------------------------------------------------------------------------------------------------------

hat::Weights<float> random_weights(const Network& n) {
    hat::TransformerConfig config;
    config.shape = n.arch;
    config.source_vocab = config.target_vocab = n.vocabulary;
    hat::Weights<float> weights(config);
    weights.initialize(1);
    return weights;
}

hat::Ragged sentence(std::size_t vocabulary) {
    hat::Rng rng(1);
    std::vector<std::int32_t> tokens(length, hat::SpecialTokens::eos);
    for (std::size_t i = 0; i + 1 < length; ++i)
        tokens[i] =
            hat::SpecialTokens::count + static_cast<std::int32_t>(rng.below(vocabulary - hat::SpecialTokens::count));
    hat::Ragged text;
    text.push_back(tokens);
    return text;
}

/// 30 tokens, the last one eos.
hat::BeamOptions beam_options(std::size_t beam) {
    hat::BeamOptions o;
    o.beam = beam;
    o.min_length = o.max_length_b = length - 1;
    return o;
}

/// Times translate(), which returns the number of tokens, beside the floor for weights of so many bytes each and for
/// vectors that do `operations` times those of fp32.
template <class Translate>
void run(benchmark::State& state, const Network& n, std::size_t beam, double bytes_per_weight, double operations,
         Translate&& translate) {
    const hat::RooflineWork work{.source_length = length,
                                 .target_length = length,
                                 .beam = beam,
                                 .vocab = n.vocabulary,
                                 .bytes_per_weight = bytes_per_weight};
    // a floor: keys and values of earlier steps, which fit a second-level cache, cost nothing; weights are read
    const auto estimate = [&](double flops, double bandwidth) {
        return hat::Roofline({.flops = flops, .bandwidth = bandwidth, .cache_bytes = 1 << 20, .cache_bandwidth = 1e18},
                             work)
            .estimate(n.arch);
    };
    const double bytes = estimate(1, 1).decoder.bytes;
    Limits limits(bytes / length);
    limits.measure();
    translate();  // grows the working memory
    for (auto _ : state)
        if (translate() != length) return state.SkipWithError("the translation does not have 30 tokens");
    limits.measure();
    state.counters["MB/step"] = bytes / length * 1e-6;
    const auto floor = [&](const std::string& prefix, double bandwidth) {
        const double seconds = estimate(limits.flops * operations, bandwidth).total().count() * 1e-3;
        state.counters[prefix + "limit_GB/s"] = bandwidth * 1e-9;
        state.counters[prefix + "floor_ms"] = seconds * 1e3;
        state.counters["of_" + prefix + "floor"] =
            benchmark::Counter(seconds, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    };
    floor("", limits.bandwidth);
    // the floor that decoding in fp32 is held to (at most 1.35 times): a step's weights from memory, and the encoder's
    // operations at the FMA peak
    floor("memory_", limits.memory);
    bench::rate(state, "read_GB/s", bytes);
}

/// T(n), kept until another network is asked for: repetitions and both beams take the same.
template <class T>
const T& kept(const Network& n) {
    static std::string name;
    static std::unique_ptr<const T> last;
    if (name != n.name) {
        last.reset();
        last = std::make_unique<const T>(n);
        name = n.name;
    }
    return *last;
}

template <hat::Precision operands>
struct Packed : hat::InferenceModel<float> {
    explicit Packed(const Network& n) : hat::InferenceModel<float>(random_weights(n), n.arch, operands) {}
};

/// Calls use(translate), where translate() returns the number of tokens, with the weights in fp32.
template <class Use>
void in_fp32(const Network& n, std::size_t beam, Use&& use) {
    hat::InferenceSession<float> session(kept<Packed<hat::Precision::fp32>>(n));
    const auto source = sentence(n.vocabulary);
    use([&] { return hat::beam_search(session, source, beam_options(beam))[0][0].tokens.size(); });
}

/// Many sentences at once, or one, with products in a precision.
template <hat::Precision precision>
void decode_many(benchmark::State& state, const Network& n) {
    hat::InferenceSession<float> session(kept<Packed<precision>>(n));
    const auto count = static_cast<std::size_t>(state.range(0)), beam = static_cast<std::size_t>(state.range(1));
    hat::Ragged sources;
    const auto source = sentence(n.vocabulary);
    for (std::size_t i = 0; i < count; ++i) sources.push_back(source[0]);
    for (auto _ : state)
        if (hat::beam_search(session, sources, beam_options(beam)).back()[0].tokens.size() != length)
            return state.SkipWithError("a translation does not have 30 tokens");
    state.counters["sentences/s"] =
        benchmark::Counter(static_cast<double>(count), benchmark::Counter::kIsIterationInvariantRate);
}

/// A network as hat export stores it, with its weights in `format`.
template <hat::MatrixFormat format>
struct Stored {
    hat::StaticConfig config;
    hat::AlignedBuffer<std::byte> bytes;
    hat::RuntimeArch arch;
    explicit Stored(const Network& n) : arch(hat::canonical(n.arch)) {
        const hat::Weights<float> weights = random_weights(n);
        bytes = hat::store_weights(weights, n.arch, {.format = format});
        config = hat::static_config(weights.config());
        config.format = format;
    }
};

/// The same with the weights as a Stored has them.
template <hat::MatrixFormat format, class Use>
void in_stored(const Network& n, hat::CodebookMath math, std::size_t beam, Use&& use) {
    const auto& stored = kept<Stored<format>>(n);
    auto config = stored.config;
    config.codebook_math = math;
    const hat::StoredTransformer<format> model(
        stored.bytes.data(), stored.arch, config,
        hat::StaticLimits{.max_source = length, .max_target = length, .beam = beam});
    hat::AlignedBuffer<std::byte> workspace(model.workspace_bytes());
    typename hat::StoredTransformer<format>::Session session(model, workspace.data());
    const auto source = sentence(n.vocabulary);
    std::vector<std::int32_t> target(length);
    use([&] {
        return session.translate(source[0], target, {.min_length = length - 1, .max_length_b = length - 1}).length;
    });
}

std::size_t beam_of(const benchmark::State& state) { return static_cast<std::size_t>(state.range(0)); }

void decode(benchmark::State& state, const Network& n) {
    in_fp32(n, beam_of(state), [&](auto translate) { run(state, n, beam_of(state), 4, 1, translate); });
}

template <hat::MatrixFormat format>
void decode_stored(benchmark::State& state, const Network& n, hat::CodebookMath math) {
    const bool int8 = format == hat::MatrixFormat::int8;
    // dot products of bytes: four times as many operations in a vector as in fp32
    const double operations = int8 || math == hat::CodebookMath::integers ? 4 : 1;
    in_stored<format>(n, math, beam_of(state),
                      [&](auto translate) { run(state, n, beam_of(state), int8 ? 1 : 0.5, operations, translate); });
}

#ifdef HAT_CTRANSLATE2
/// hat's translate() and CTranslate2 in turns, 3 times to warm up and 20 times measured, CPU time of the process (of
/// both threads of CTranslate2). The time is CTranslate2's best; of both the best and the median, and their ratios.
template <class Translate>
void beside_ctranslate2(benchmark::State& state, const Network& n, bool int8, Translate&& translate) {
    bench::CTranslate2 peer(n.arch, n.vocabulary, int8, length, beam_of(state));
    std::vector<double> ours, theirs;
    const auto time = [&](std::vector<double>& all, auto&& f) {
        const double begin = bench::process_seconds();
        if (f() != length) state.SkipWithError("a translation does not have 30 tokens");
        all.push_back(bench::process_seconds() - begin);
    };
    for (int i = 0; i < 23; ++i) {
        if (i == 3) ours.clear(), theirs.clear();
        time(ours, translate);
        time(theirs, peer);
    }
    std::sort(ours.begin(), ours.end());
    std::sort(theirs.begin(), theirs.end());
    for (auto _ : state) state.SetIterationTime(theirs[0]);
    const std::size_t middle = ours.size() / 2;
    state.counters["hat_ms"] = ours[0] * 1e3;
    state.counters["hat_median"] = ours[middle] * 1e3;
    state.counters["median"] = theirs[middle] * 1e3;
    state.counters["ratio"] = theirs[0] / ours[0];
    state.counters["ratio_median"] = theirs[middle] / ours[middle];
}

/// Registers the comparisons: the same format in both, and hat's 4 bits beside CTranslate2's 8, its fewest
/// on a CPU.
void add_beside_ctranslate2(const Network& n) {
    using hat::CodebookMath, hat::MatrixFormat;
    const auto add = [&](const std::string& format, auto f) {
        benchmark::RegisterBenchmark(("decoding/" + n.name + format + "/beside_ctranslate2").c_str(), f)
            ->ArgName("beam")
            ->Arg(5)
            ->Arg(1)
            ->Unit(benchmark::kMillisecond)
            ->UseManualTime()
            ->Iterations(1);
    };
    add("", [n](benchmark::State& s) {
        in_fp32(n, beam_of(s), [&](auto translate) { beside_ctranslate2(s, n, false, translate); });
    });
    add("/int8", [n](benchmark::State& s) {
        in_stored<MatrixFormat::int8>(n, CodebookMath::exact, beam_of(s),
                                      [&](auto translate) { beside_ctranslate2(s, n, true, translate); });
    });
    add("/codes_integers", [n](benchmark::State& s) {
        in_stored<MatrixFormat::codebook4>(n, CodebookMath::integers, beam_of(s),
                                           [&](auto translate) { beside_ctranslate2(s, n, true, translate); });
    });
}
#endif

/// Peak memory of one translation with the network's own weights.
int peak_memory(const std::string& name) {
    for (const Network& n : networks()) {
        if (n.name != name) continue;
        {
            const hat::InferenceModel<float> model(random_weights(n), n.arch);
            hat::InferenceSession<float> session(model);
            hat::beam_search(session, sentence(n.vocabulary), beam_options(5));
        }
        const double weights = static_cast<double>(hat::cost(n.arch, cost_options(n.vocabulary)).bytes_fp32) * 1e-6;
        std::printf("{\"network\": \"%s\", \"peak_MB\": %.1f, \"weights_MB\": %.1f}\n", n.name.c_str(),
                    bench::peak_rss() * 1.048576, weights);
        return 0;
    }
    std::fprintf(stderr, "no network is called '%s'; --list prints the names\n", name.c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string option = argc > 1 ? argv[1] : "";
    if (option == "--rss" && argc == 3) return peak_memory(argv[2]);
    if (option == "--list") {
        for (const Network& n : networks()) std::puts(n.name.c_str());
        return 0;
    }
    bench::register_limits({262144});
    using hat::CodebookMath, hat::MatrixFormat;
    const auto add = [](const std::string& name, auto f) {
        benchmark::RegisterBenchmark(name.c_str(), f)->ArgName("beam")->Arg(5)->Arg(1)->Unit(benchmark::kMillisecond);
    };
    for (const Network& n : networks()) {
        add("decoding/" + n.name, [n](benchmark::State& s) { decode(s, n); });
        if (n.name.size() > 1) continue;  // finding codebooks takes its time
        const auto many = [&](const char* precision, auto f) {
            benchmark::RegisterBenchmark(("precision/" + n.name + "/" + precision).c_str(), f)
                ->ArgNames({"sentences", "beam"})
                ->Args({16, 5})
                ->Args({1, 5})
                ->Unit(benchmark::kMillisecond);
        };
        if (hat::simd::tiles_usable()) {
            many("fp32", [n](benchmark::State& s) { decode_many<hat::Precision::fp32>(s, n); });
            many("bf16x3", [n](benchmark::State& s) { decode_many<hat::Precision::bf16x3>(s, n); });
        }
        add("decoding/" + n.name + "/int8",
            [n](benchmark::State& s) { decode_stored<MatrixFormat::int8>(s, n, CodebookMath::exact); });
        add("decoding/" + n.name + "/codes_integers",
            [n](benchmark::State& s) { decode_stored<MatrixFormat::codebook4>(s, n, CodebookMath::integers); });
        add("decoding/" + n.name + "/codes_exact",
            [n](benchmark::State& s) { decode_stored<MatrixFormat::codebook4>(s, n, CodebookMath::exact); });
#ifdef HAT_CTRANSLATE2
        add_beside_ctranslate2(n);
#endif
    }
    return bench::run(argc, argv);
}
