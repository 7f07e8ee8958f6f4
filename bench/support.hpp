#pragma once
/// \file
/// What the benchmarks share: seeded buffers, the machine's limits as benchmarks of the same run, and a main() that
/// puts every peer on as many threads as ours.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <hat/core/arena.hpp>
#include <hat/core/rng.hpp>
#include <hat/kernel/gemm_bf16.hpp>
#include <hat/kernel/simd.hpp>
#include <limits>
#include <string>
#include <vector>

namespace bench {

/// The precisions that differ on this machine: without tiles, bf16x3 is fp32.
inline std::vector<hat::Precision> precisions() {
    if (hat::simd::tiles_usable()) return {hat::Precision::fp32, hat::Precision::bf16x3, hat::Precision::bf16};
    return {hat::Precision::fp32, hat::Precision::bf16};
}

/// n uniform numbers of [-1, 1).
inline hat::AlignedBuffer<float> random_buffer(std::size_t n, std::uint64_t seed = 1) {
    hat::AlignedBuffer<float> out(n);
    hat::Rng rng(seed);
    for (std::size_t i = 0; i < n; ++i) out.data()[i] = static_cast<float>(rng.uniform() * 2.0 - 1.0);
    return out;
}

/// Work per second of CPU time, in units of 1e9: floating-point operations or bytes of one iteration.
inline void rate(benchmark::State& state, const char* name, double per_iteration) {
    state.counters[name] = benchmark::Counter(per_iteration * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

inline double clock_seconds(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// CPU time of this thread.
inline double thread_seconds() { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

/// CPU time of all threads of this process.
inline double process_seconds() { return clock_seconds(CLOCK_PROCESS_CPUTIME_ID); }

/// The fewest seconds of this thread's CPU time that f() took.
template <class F>
double best_seconds(int times, F f) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < times; ++i) {
        const double begin = thread_seconds();
        f();
        best = std::min(best, thread_seconds() - begin);
    }
    return best;
}

/// Independent chains of FMAs in registers; how many FLOPs that were.
inline double fma_chains() {
    constexpr std::size_t chains = hat::simd::registers == 32 ? 24 : 12, steps = 1000000;
    using V = hat::simd::Vec<float>;
    V x[chains];
    for (auto& v : x) v = hat::simd::splat(0.5F);
    V a = hat::simd::splat(0.999F), b = hat::simd::splat(0.001F);
    benchmark::DoNotOptimize(a);
    benchmark::DoNotOptimize(b);
    for (std::size_t i = 0; i < steps; ++i) {
#pragma GCC unroll 24
        for (std::size_t c = 0; c < chains; ++c) x[c] = hat::simd::fma(x[c], a, b);
    }
    for (auto& v : x) benchmark::DoNotOptimize(v);
    return 2.0 * chains * hat::simd::width<float> * steps;
}

/// 256 MiB of uniform numbers of [-1, 1), made once: weights for products to take in turns, and what probes read.
inline constexpr std::size_t pool_bytes = std::size_t{256} << 20;
inline const float* pool() {
    static const auto all = random_buffer(pool_bytes / sizeof(float));
    return all.data();
}

/// Reads n numbers as `streams` (1, 2 or 4) streams side by side, prefetching `ahead` numbers further on (0: not at
/// all, which is faster from the caches and slower from memory).
template <std::size_t streams, std::size_t ahead>
void read_all(const float* data, std::size_t n) {
    using V = hat::simd::Vec<float>;
    constexpr std::size_t W = hat::simd::width<float>, step = 8 / streams * W;
    V s[8];
    for (auto& v : s) v = hat::simd::zero<float>();
    const std::size_t part = n / streams / W * W;
    for (std::size_t i = 0; i + step <= part; i += step)
#pragma GCC unroll 8
        for (std::size_t j = 0; j < 8; ++j) {
            const float* p = data + j % streams * part + i + j / streams * W;
            if constexpr (ahead > 0) __builtin_prefetch(p + ahead);
            s[j] = s[j] + hat::simd::load(p);
        }
    for (auto& v : s) benchmark::DoNotOptimize(v);
}

/// Bytes per second of CPU time that one core reads, going through n numbers again and again: the best of 1, 2 and 4
/// streams with and without prefetching, `times` each. The first pass of each brings into the caches what they can
/// keep; of few numbers, several passes are timed together.
inline double best_read(const float* data, std::size_t n, int times) {
    const double bytes = static_cast<double>(n) * sizeof(float);
    const std::size_t passes = 1 + (std::size_t{4} << 20) / (n * sizeof(float));
    double best = std::numeric_limits<double>::infinity();
    for (auto* read :
         {read_all<1, 0>, read_all<2, 0>, read_all<4, 0>, read_all<1, 256>, read_all<2, 256>, read_all<4, 256>})
        best = std::min(best, best_seconds(times, [&] {
                            for (std::size_t i = 0; i < passes; ++i) read(data, n);
                        }));
    return static_cast<double>(passes) * bytes / best;
}

/// The most memory this process ever had, in MiB (Linux; elsewhere 0).
inline double peak_rss() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
        if (double kib = 0; word == "VmHWM:" && status >> kib) return kib / 1024;
    return 0;
}

/// The FMA peak of one core.
inline void fma_peak(benchmark::State& state) {
    double flops = 0;
    for (auto _ : state) flops = fma_chains();
    rate(state, "GFLOP/s", flops);
}

/// Registers the limits: fma_peak, and read/<KiB>KiB, which reads so much of the pool again and again.
inline void register_limits(std::initializer_list<std::size_t> kib) {
    benchmark::RegisterBenchmark("limit/fma_peak", fma_peak);
    for (std::size_t k : kib)
        benchmark::RegisterBenchmark(("limit/read/" + std::to_string(k) + "KiB").c_str(), [k](benchmark::State& s) {
            double best = 0;
            for (auto _ : s) best = best_read(pool(), k * 1024 / sizeof(float), 4);
            s.counters["GB/s"] = best * 1e-9;
        })->Iterations(1);
}

/// Runs everything registered. Peers read how many threads they may have, and which kernels to take, when their
/// libraries load; unless the caller chose, that is one thread, as ours: the program starts itself again with the
/// variables set.
inline int run(int argc, char** argv) {
    if (std::getenv("HAT_BENCH_PEERS") == nullptr) {
        setenv("HAT_BENCH_PEERS", "set", 1);
        if (std::getenv("OMP_NUM_THREADS") == nullptr) {
            setenv("OMP_NUM_THREADS", "1", 1);
            setenv("OPENBLAS_NUM_THREADS", "1", 1);
        }
        setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0);  // huge pages for the peers, too
#if defined(__AVX512F__)
        // Debian's OpenBLAS, 0.3.21, does not know AMD's processors that have AVX-512, and takes its kernels for AVX2
        if (hat::simd::made_by_amd()) setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
#endif
        execv("/proc/self/exe", argv);
    }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}

}  // namespace bench
