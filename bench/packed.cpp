// Weight files of two networks that the paper found for WMT'14 En-De, at 4 bits, plain and packed: their sizes beside
// that of the fp32 Transformer Big, and unpacking beside zlib (Huffman codes only) and a copy. The weights are random:
// normal, or Laplace distributed as those of trained matrices nearly are.
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <hat/deploy/pack_weights.hpp>
#include <hat/deploy/write_weight_file.hpp>
#include <hat/quant/store.hpp>
#include <hat/space/cost.hpp>
#include <map>
#include <support.hpp>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t words = 32768;

hat::TransformerConfig config(int width, std::vector<int> encoder_ffn, std::vector<int> decoder_ffn, int heads) {
    hat::TransformerConfig c;
    const auto fill = [&](auto& stack, const std::vector<int>& ffn) {
        stack.embed = width, stack.layers = static_cast<int>(ffn.size());
        for (std::size_t i = 0; i < ffn.size(); ++i)
            stack.ffn[i] = ffn[i], stack.qkv[i] = 64 * heads, stack.self_heads[i] = heads;
    };
    fill(c.shape.encoder, encoder_ffn), fill(c.shape.decoder, decoder_ffn);
    for (std::size_t i = 0; i < decoder_ffn.size(); ++i)
        c.shape.decoder.cross_heads[i] = heads, c.shape.decoder.cross_span[i] = 1;
    c.source_vocab = c.target_vocab = words;
    c.sharing = hat::EmbeddingSharing::all;
    return c;
}
/// Heads and spans do not change the size of a file.
hat::TransformerConfig raspberry_pi(int seconds10) {
    const std::vector<int> six(6, 3072);
    return seconds10 == 60 ? config(512, six, {2048, 2048, 3072, 3072}, 8)
                           : config(512, six, {2048, 2048, 3072, 3072, 2048}, 8);
}
/// Bytes of the fp32 Transformer Big (Vaswani et al., 2017), embeddings included.
double transformer_big_bytes() {
    const std::vector<int> six(6, 4096);
    return 4.0 * static_cast<double>(hat::cost(config(1024, six, six, 16).shape, {}).total_params);
}

/// A weight file without tokenizers, plain and packed.
struct Files {
    std::string plain, packed;

    Files(const hat::TransformerConfig& c, bool laplace) {
        hat::Weights<float> weights(c);
        hat::Rng rng(1);
        for (float& w : weights.values()) {
            const double u = laplace ? 2 * rng.uniform() - 1 : 0;
            w = static_cast<float>(0.05 * (laplace ? std::copysign(std::log(1 - std::abs(u)), u) : rng.normal()));
        }
        const auto stored = hat::store_weights(weights, c.shape, {hat::MatrixFormat::codebook4, 0});
        hat::WeightFileParts parts;
        parts.arch = hat::canonical(c.shape), parts.config = hat::static_config(c);
        parts.config.format = hat::MatrixFormat::codebook4;
        parts.weights = {stored.data(), stored.size()};
        plain = hat::weight_file_bytes(std::move(parts));
        packed = hat::pack_weights(bytes(plain));
    }
    static std::span<const std::byte> bytes(const std::string& s) { return std::as_bytes(std::span(s)); }
    /// Made once.
    static const Files& of(int seconds10, bool laplace) {
        static std::map<std::pair<int, bool>, Files> all;
        return all.try_emplace({seconds10, laplace}, raspberry_pi(seconds10), laplace).first->second;
    }
};

/// Sizes in bytes, and how many times smaller than Transformer Big.
void sizes(benchmark::State& state, const Files& files, std::size_t packed) {
    const double big = transformer_big_bytes();
    state.counters["plain"] = static_cast<double>(files.plain.size());
    state.counters["packed"] = static_cast<double>(packed);
    state.counters["big/plain"] = big / static_cast<double>(files.plain.size());
    state.counters["big/packed"] = big / static_cast<double>(packed);
    bench::rate(state, "GB/s", static_cast<double>(files.plain.size()));
}

void unpack(benchmark::State& state, int seconds10, bool laplace) {
    const Files& files = Files::of(seconds10, laplace);
    std::vector<std::byte> out(files.plain.size());
    for (auto _ : state)
        if (hat::unpack_weights(Files::bytes(files.packed), out) != hat::WeightFileError::none)
            state.SkipWithError("cannot be unpacked");
    sizes(state, files, files.packed.size());
}

void zlib(benchmark::State& state) {
    const Files& files = Files::of(60, false);
    std::vector<Bytef> code(compressBound(files.plain.size()) + files.plain.size() / 8);
    z_stream z{};
    deflateInit2(&z, 9, Z_DEFLATED, 15, 9, Z_HUFFMAN_ONLY);
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(files.plain.data()));
    z.avail_in = static_cast<uInt>(files.plain.size());
    z.next_out = code.data(), z.avail_out = static_cast<uInt>(code.size());
    deflate(&z, Z_FINISH);
    code.resize(z.total_out);
    deflateEnd(&z);
    std::vector<Bytef> out(files.plain.size());
    for (auto _ : state) {
        uLongf size = out.size();
        if (uncompress(out.data(), &size, code.data(), code.size()) != Z_OK) state.SkipWithError("cannot be inflated");
    }
    sizes(state, files, code.size());
}

void copy(benchmark::State& state) {
    const Files& files = Files::of(60, false);
    std::vector<char> out(files.plain.size());
    for (auto _ : state) {
        std::memcpy(out.data(), files.plain.data(), out.size());
        benchmark::ClobberMemory();
    }
    sizes(state, files, files.plain.size());
}

}  // namespace

int main(int argc, char** argv) {
    for (const int seconds10 : {60, 69})
        for (const bool laplace : {false, true})
            benchmark::RegisterBenchmark(("packed/unpack/raspberry_pi_" + std::to_string(seconds10 / 10) + "." +
                                          std::to_string(seconds10 % 10) + "s/" + (laplace ? "laplace" : "normal"))
                                             .c_str(),
                                         unpack, seconds10, laplace)
                ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark("packed/zlib", zlib)->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark("packed/copy", copy)->Unit(benchmark::kMillisecond);
    return bench::run(argc, argv);
}
