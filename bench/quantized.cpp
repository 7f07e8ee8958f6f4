// Linear layers of decoding with quantized weights: 8-bit integers, 4-bit codes exactly and in integers, beside fp32
// packed weights and oneDNN's prepacked int8 matmul. Hot, and cold with weights that rotate over 256 MiB. Quantizing
// the activations is part of our times; oneDNN gets bytes. Names: <group>/<M>x<N>x<K>/<who>. Run through bench/run.sh,
// which prints ratios.
#include "support.hpp"

#include <dnnl.hpp>

#include <cstring>
#include <hat/kernel/codebook.hpp>
#include <hat/kernel/int8.hpp>
#include <hat/kernel/linear.hpp>
#include <vector>

namespace {

struct Shape {
    std::size_t m, n, k;
    double operations() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
    std::string text() const { return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k); }
};

/// n seeded bytes of low .. 255.
hat::AlignedBuffer<std::uint8_t> random_bytes(std::size_t n, unsigned low) {
    hat::AlignedBuffer<std::uint8_t> out(n);
    hat::Rng rng(1);
    for (std::size_t i = 0; i < n; ++i) out.data()[i] = static_cast<std::uint8_t>(low + rng.below(256 - low));
    return out;
}

/// 256 MiB of bytes, made once: quantized weights of all benchmarks.
const std::uint8_t* byte_pool() {
    static const auto all = random_bytes(bench::pool_bytes, 1);
    return all.data();
}

/// Runs linear() over copies of the weights, `size` bytes each, that fill `bytes`; layer(i) is the i-th.
template <class Layer>
void run(benchmark::State& state, Shape s, std::size_t copies, std::size_t size, Layer&& layer) {
    using L = decltype(layer(std::size_t{}));
    const auto x = bench::random_buffer(s.m * s.k);
    hat::AlignedBuffer<float> y(s.m * s.n);
    std::vector<L> layers;
    for (std::size_t i = 0; i < copies; ++i) layers.push_back(layer(i));
    std::size_t next = 0;
    for (auto _ : state) {
        hat::linear<float>(hat::Serial{}, hat::View<const float>(x.data(), s.m, s.k), layers[next],
                           hat::View<float>(y.data(), s.m, s.n));
        next = next + 1 == copies ? 0 : next + 1;
        benchmark::ClobberMemory();
    }
    bench::rate(state, "GOP/s", s.operations());
    state.counters["GB/s"] =
        benchmark::Counter(static_cast<double>(size) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

std::size_t copies(std::size_t bytes, std::size_t size) { return std::max<std::size_t>(1, bytes / size); }

void fp32(benchmark::State& state, Shape s, std::size_t bytes) {
    const std::size_t elements = hat::Panels<float>::elements(s.n, s.k), count = copies(bytes, 4 * elements);
    run(state, s, count, 4 * elements, [&](std::size_t i) {
        return hat::PackedLinear<float>(hat::Panels<float>{bench::pool() + i * elements, s.n, s.k}, nullptr);
    });
}

void int8(benchmark::State& state, Shape s, std::size_t bytes) {
    const std::size_t size = hat::Int8Panels::bytes(s.n, s.k), count = copies(bytes, size);
    const auto scales = bench::random_buffer(s.n);
    run(state, s, count, size, [&](std::size_t i) {
        return hat::Int8Linear(hat::Int8Panels{byte_pool() + i * size, scales.data(), s.n, s.k}, nullptr);
    });
}

void codes(benchmark::State& state, Shape s, std::size_t bytes, hat::CodebookMath math) {
    const std::size_t words = hat::CodebookPanels::words(s.n, s.k), count = copies(bytes, 4 * words);
    const auto book = bench::random_buffer(16);
    run(state, s, count, 4 * words, [&](std::size_t i) {
        const hat::CodebookPanels panels{
            reinterpret_cast<const std::uint32_t*>(byte_pool()) + i * words, book.data(), nullptr, s.n, s.k, 0};
        return hat::CodebookLinear(hat::CodebookMatrix(panels, math), nullptr);
    });
}

void onednn(benchmark::State& state, Shape s, std::size_t bytes) {
    using tag = dnnl::memory::format_tag;
    using type = dnnl::memory::data_type;
    const auto dim = [](std::size_t n) { return static_cast<dnnl_dim_t>(n); };
    auto x = random_bytes(s.m * s.k, 1);
    hat::AlignedBuffer<std::int32_t> y(s.m * s.n);
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    const dnnl::memory::desc xd({dim(s.m), dim(s.k)}, type::u8, tag::ab), yd({dim(s.m), dim(s.n)}, type::s32, tag::ab),
        any({dim(s.k), dim(s.n)}, type::s8, tag::any);
    const dnnl::matmul::primitive_desc plan(dnnl::matmul::desc(xd, any, yd), engine);
    const dnnl::matmul product(plan);
    dnnl::memory xm(xd, engine, x.data()), ym(yd, engine, y.data());
    // in the layout it chose; what the numbers are does not matter
    const std::size_t size = (plan.weights_desc().get_size() + 63) / 64 * 64;
    std::vector<dnnl::memory> packed;
    for (std::size_t i = 0; i < copies(bytes, size); ++i)
        packed.emplace_back(plan.weights_desc(), engine, const_cast<std::uint8_t*>(byte_pool()) + i * size);
    std::size_t next = 0;
    for (auto _ : state) {
        product.execute(stream, {{DNNL_ARG_SRC, xm}, {DNNL_ARG_WEIGHTS, packed[next]}, {DNNL_ARG_DST, ym}});
        stream.wait();
        next = next + 1 == packed.size() ? 0 : next + 1;
        benchmark::ClobberMemory();
    }
    bench::rate(state, "GOP/s", s.operations());
    state.counters["GB/s"] =
        benchmark::Counter(static_cast<double>(size) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

constexpr std::size_t dot_chains = 10, dot_steps = 1000000;

/// Independent chains of dot products of bytes: each with weights and a start of its own, inputs that change from step
/// to step, so that no product is made once for several.
[[gnu::noinline]] hat::simd::Sums run_dot_chains(const std::uint8_t* weights, const std::int8_t* inputs) {
    namespace simd = hat::simd;
    simd::Bytes w[dot_chains];
    simd::Sums sums[dot_chains];
#pragma GCC unroll 10
    for (std::size_t c = 0; c < dot_chains; ++c) {
        w[c] = simd::dot_operand(simd::load_bytes(weights + c * sizeof(simd::Bytes)));
        sums[c] = simd::splat_sum(static_cast<std::int32_t>(c));
    }
    for (std::size_t i = 0; i < dot_steps; ++i) {
        const simd::Bytes x = simd::splat_four(inputs + i % 16 * 4);
#pragma GCC unroll 10
        for (std::size_t c = 0; c < dot_chains; ++c) sums[c] = simd::dot4(sums[c], w[c], x);
    }
#pragma GCC unroll 10
    for (std::size_t c = 1; c < dot_chains; ++c) sums[0] = simd::add_sums(sums[0], sums[c]);
    return sums[0];
}

/// The integer peak of one core.
void dot_peak(benchmark::State& state) {
    const auto weights = random_bytes(dot_chains * sizeof(hat::simd::Bytes), 1), inputs = random_bytes(64, 1);
    const std::uint8_t* from = weights.data();
    for (auto _ : state) {
        benchmark::DoNotOptimize(from);
        hat::simd::Sums total = run_dot_chains(from, reinterpret_cast<const std::int8_t*>(inputs.data()));
        benchmark::DoNotOptimize(total);
    }
    bench::rate(state, "GOP/s", 2.0 * dot_chains * sizeof(hat::simd::Bytes) * dot_steps);
}

void add(const std::string& group, Shape s, std::size_t bytes) {
    const auto one = [&](const char* who, auto f) {
        benchmark::RegisterBenchmark((group + "/" + s.text() + "/" + who).c_str(), [s, bytes,
                                                                                    f](benchmark::State& state) {
            f(state, s, bytes);
        })->Unit(benchmark::kMicrosecond);
    };
    one("fp32", fp32);
    one("int8", int8);
    one("codes_exact", [](auto& state, Shape z, std::size_t b) { codes(state, z, b, hat::CodebookMath::exact); });
    one("codes_integers", [](auto& state, Shape z, std::size_t b) { codes(state, z, b, hat::CodebookMath::integers); });
    one("onednn", onednn);
}

}  // namespace

int main(int argc, char** argv) {
    // as many bytes as hot weights in 4 and 8 bits have, and all cold ones
    bench::register_limits({128, 200, 256, 400, 512, 1024, 8192, 16384, 262144});
    benchmark::RegisterBenchmark("limit/dot_peak", dot_peak);
    const std::pair<std::size_t, std::size_t> sizes[] = {
        {512, 512}, {2048, 512}, {512, 2048}, {640, 640}, {32768, 512}};
    for (std::size_t m : {1, 5, 30})
        for (auto [n, k] : sizes) {
            add("hot", {m, n, k}, 0);
            add("cold", {m, n, k}, bench::pool_bytes);
        }
    return bench::run(argc, argv);
}
