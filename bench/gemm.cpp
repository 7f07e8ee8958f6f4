// Matrix products beside OpenBLAS and oneDNN: training shapes (ours in bf16, too), packed weights (hot and cold),
// attention products.
// Names: <group>/<op>/<M>x<N>x<K>/<who>. Run through bench/run.sh, which sets the peers' threads and prints ratios.
#include "support.hpp"

#include <cblas.h>
#include <dnnl.hpp>

#include <algorithm>
#include <cmath>
#include <hat/kernel/attention.hpp>
#include <hat/kernel/linear.hpp>
#include <memory>
#include <vector>

namespace {

struct Shape {
    std::size_t m, n, k;
    double flops() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k); }
    std::string text() const { return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k); }
};

template <class F>
void add(const std::string& name, Shape s, F f) {
    benchmark::RegisterBenchmark(name.c_str(), [s, f](benchmark::State& state) {
        f(state, s);
        bench::rate(state, "GFLOP/s", s.flops());
    })->Unit(benchmark::kMicrosecond);
}

hat::View<float> matrix(hat::AlignedBuffer<float>& b, std::size_t rows, std::size_t cols) {
    return {b.data(), rows, cols, cols};
}

int as_int(std::size_t n) { return static_cast<int>(n); }
dnnl_dim_t dim(std::size_t n) { return static_cast<dnnl_dim_t>(n); }

// -- training: y = x w^T, dx = dy w, dw += dy^T x
// ------------------------------------------------------------------------

enum class Op { nt, nn, tn };

/// Operands of the three products of a linear layer with M tokens, N outputs and K inputs.
struct Operands {
    hat::AlignedBuffer<float> x, w, y;
    explicit Operands(Shape s)
        : x(bench::random_buffer(s.m * s.k, 1)),
          w(bench::random_buffer(s.n * s.k, 2)),
          y(bench::random_buffer(s.m * s.n, 3)) {}
};

void train_hat(benchmark::State& state, Shape s, Op op, hat::Precision precision = hat::Precision::fp32) {
    Operands o(s);
    auto x = matrix(o.x, s.m, s.k), w = matrix(o.w, s.n, s.k), y = matrix(o.y, s.m, s.n);
    for (auto _ : state) {
        if (op == Op::nt) hat::linear<float>(hat::Serial{}, x, hat::Linear<float>{w}, y, {}, precision);
        if (op == Op::nn) hat::linear_backward_input<float>(hat::Serial{}, y, w, x, false, precision);
        if (op == Op::tn) hat::linear_backward_weight<float>(hat::Serial{}, y, x, w, nullptr, precision);
        benchmark::ClobberMemory();
    }
}

void train_openblas(benchmark::State& state, Shape s, Op op) {
    Operands o(s);
    const int m = as_int(s.m), n = as_int(s.n), k = as_int(s.k);
    float *x = o.x.data(), *w = o.w.data(), *y = o.y.data();
    for (auto _ : state) {
        if (op == Op::nt) cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, x, k, w, k, 0, y, n);
        if (op == Op::nn) cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, k, n, 1, y, n, w, k, 0, x, k);
        if (op == Op::tn) cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n, k, m, 1, y, n, x, k, 1, w, k);
        benchmark::ClobberMemory();
    }
}

void train_onednn(benchmark::State& state, Shape s, Op op) {
    Operands o(s);
    const auto m = dim(s.m), n = dim(s.n), k = dim(s.k);
    float *x = o.x.data(), *w = o.w.data(), *y = o.y.data();
    for (auto _ : state) {
        if (op == Op::nt) dnnl_sgemm('N', 'T', m, n, k, 1, x, k, w, k, 0, y, n);
        if (op == Op::nn) dnnl_sgemm('N', 'N', m, k, n, 1, y, n, w, k, 0, x, k);
        if (op == Op::tn) dnnl_sgemm('T', 'N', n, k, m, 1, y, n, x, k, 1, w, k);
        benchmark::ClobberMemory();
    }
}

void register_training() {
    const std::size_t sizes[] = {256, 512, 640, 1024, 2048, 3072};
    const std::pair<const char*, Op> ops[] = {{"NT", Op::nt}, {"NN", Op::nn}, {"TN", Op::tn}};
    for (std::size_t m : {1000, 4096})
        for (std::size_t n : sizes)
            for (std::size_t k : sizes)
                for (auto [name, op] : ops) {
                    const Shape s{m, n, k};
                    const std::string at = std::string("train/") + name + "/" + s.text() + "/";
                    add(at + "hat", s, [op = op](auto& state, Shape z) { train_hat(state, z, op); });
                    add(at + "openblas", s, [op = op](auto& state, Shape z) { train_openblas(state, z, op); });
                    add(at + "onednn", s, [op = op](auto& state, Shape z) { train_onednn(state, z, op); });
                    for (const hat::Precision p : bench::precisions())
                        if (p != hat::Precision::fp32)
                            add(std::string(hat::name_of(p)) + "/" + name + "/" + s.text() + "/hat", s,
                                [op = op, p](auto& state, Shape z) { train_hat(state, z, op, p); });
                }
}

// -- accuracy: errors of 64 x 64 sums of k products of random numbers, relative to the sum of their magnitudes --------

void register_accuracy() {
    for (const std::size_t k : {256, 512, 2048, 8000})
        for (const hat::Precision precision : bench::precisions())
            benchmark::RegisterBenchmark(
                ("accuracy/" + std::to_string(k) + "/" + std::string(hat::name_of(precision))).c_str(),
                [k, precision](benchmark::State& state) {
                    constexpr std::size_t side = 64;
                    auto x = bench::random_buffer(side * k, 1), w = bench::random_buffer(side * k, 2);
                    hat::AlignedBuffer<float> y(side * side);
                    for (auto _ : state)
                        hat::linear<float>(hat::Serial{}, matrix(x, side, k), hat::Linear<float>{matrix(w, side, k)},
                                           matrix(y, side, side), {}, precision);
                    double squares = 0, worst = 0;
                    for (std::size_t i = 0; i < side; ++i)
                        for (std::size_t j = 0; j < side; ++j) {
                            double sum = 0, size = 0;
                            for (std::size_t t = 0; t < k; ++t) {
                                const double term = static_cast<double>(x.data()[i * k + t]) * w.data()[j * k + t];
                                sum += term, size += std::abs(term);
                            }
                            const double error = std::abs(y.data()[i * side + j] - sum) / size;
                            squares += error * error;
                            worst = std::max(worst, error);
                        }
                    state.counters["rms_error"] = std::sqrt(squares / (side * side));
                    state.counters["worst_error"] = worst;
                })
                ->Iterations(1);
}

// -- inference: weights packed once -----------------------------------------------------------------------------------

/// How many matrices of so many bytes the pool holds, of which each iteration takes the next; hot: one.
std::size_t copies(bool cold, std::size_t bytes) { return cold ? bench::pool_bytes / bytes : 1; }

/// Times product(i) with each i of `count` in turn.
template <class Product>
void in_turns(benchmark::State& state, Shape s, std::size_t count, Product product) {
    std::size_t next = 0;
    for (auto _ : state) {
        product(next);
        next = next + 1 == count ? 0 : next + 1;
        benchmark::ClobberMemory();
    }
    bench::rate(state, "GB/s", static_cast<double>(s.n * s.k * sizeof(float)));
}

void packed_hat(benchmark::State& state, Shape s, bool cold, hat::Precision precision) {
    const float* const pool = bench::pool();
    auto x = bench::random_buffer(s.m * s.k);
    hat::AlignedBuffer<float> y(s.m * s.n);
    const std::size_t size = hat::Panels<float>::elements(s.n, s.k);
    in_turns(state, s, copies(cold, size * sizeof(float)), [&](std::size_t i) {
        const hat::PackedLinear<float> layer({pool + i * size, s.n, s.k}, nullptr, precision);
        hat::linear<float>(hat::Serial{}, matrix(x, s.m, s.k), layer, matrix(y, s.m, s.n));
    });
}

void packed_onednn(benchmark::State& state, Shape s, bool cold) {
    using tag = dnnl::memory::format_tag;
    auto x = bench::random_buffer(s.m * s.k);
    hat::AlignedBuffer<float> y(s.m * s.n);
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    const auto f32 = dnnl::memory::data_type::f32;
    const dnnl::memory::desc xd({dim(s.m), dim(s.k)}, f32, tag::ab), yd({dim(s.m), dim(s.n)}, f32, tag::ab),
        any({dim(s.k), dim(s.n)}, f32, tag::any);
    const dnnl::matmul::primitive_desc plan(dnnl::matmul::desc(xd, any, yd), engine);
    const dnnl::matmul product(plan);
    dnnl::memory xm(xd, engine, x.data()), ym(yd, engine, y.data());
    // in the layout it chose; what the numbers are does not matter
    const std::size_t size = (plan.weights_desc().get_size() + 63) / 64 * 64;
    std::vector<dnnl::memory> weights;
    for (std::size_t i = 0; i < copies(cold, size); ++i)
        weights.emplace_back(plan.weights_desc(), engine, const_cast<float*>(bench::pool()) + i * size / sizeof(float));
    in_turns(state, s, weights.size(), [&](std::size_t i) {
        product.execute(stream, {{DNNL_ARG_SRC, xm}, {DNNL_ARG_WEIGHTS, weights[i]}, {DNNL_ARG_DST, ym}});
        stream.wait();
    });
}

void plain_openblas(benchmark::State& state, Shape s, bool cold) {
    const float* const pool = bench::pool();
    auto x = bench::random_buffer(s.m * s.k);
    hat::AlignedBuffer<float> y(s.m * s.n);
    const int m = as_int(s.m), n = as_int(s.n), k = as_int(s.k);
    in_turns(state, s, copies(cold, s.n * s.k * sizeof(float)), [&](std::size_t i) {
        const float* at = pool + i * s.n * s.k;
        if (m == 1)
            cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1, at, k, x.data(), 1, 0, y.data(), 1);
        else
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, x.data(), k, at, k, 0, y.data(), n);
    });
}

void register_packed() {
    const std::pair<std::size_t, std::size_t> hot[] = {{256, 256},  {512, 256},  {256, 512}, {512, 512},
                                                       {1024, 512}, {512, 1024}, {640, 640}};
    const std::pair<std::size_t, std::size_t> cold[] = {{512, 512},  {1024, 512}, {512, 1024}, {2048, 512},
                                                        {512, 2048}, {640, 640},  {32768, 512}};
    const auto all = [](const char* group, Shape s, bool is_cold) {
        const std::string at = std::string(group) + "/NT/" + s.text() + "/";
        for (const hat::Precision p : bench::precisions())
            if (p != hat::Precision::bf16)
                add(at + (p == hat::Precision::fp32 ? "hat" : "hat_bf16x3"), s,
                    [is_cold, p](auto& state, Shape z) { packed_hat(state, z, is_cold, p); });
        add(at + "onednn", s, [is_cold](auto& state, Shape z) { packed_onednn(state, z, is_cold); });
        add(at + "openblas", s, [is_cold](auto& state, Shape z) { plain_openblas(state, z, is_cold); });
    };
    for (std::size_t m : {1, 5, 30}) {
        for (auto [n, k] : hot) all("hot", {m, n, k}, false);
        for (auto [n, k] : cold) all("cold", {m, n, k}, true);
    }
}

// -- what a core makes of a product's arithmetic at best: R x C sums of vectors in registers, both operands in the
// first cache, nothing prefetched, copied or stored

template <std::size_t R, std::size_t C>
[[gnu::noinline]] void register_block(std::size_t times, std::size_t steps, const float* left, const float* right,
                                      float* out) {
    constexpr std::size_t W = hat::simd::width<float>;
    hat::simd::Vec<float> sum[R][C];
#pragma GCC unroll 16
    for (std::size_t i = 0; i < R; ++i)
#pragma GCC unroll 16
        for (std::size_t j = 0; j < C; ++j) sum[i][j] = hat::simd::zero<float>();
    for (std::size_t t = 0; t < times; ++t) {
        const float *a = left, *b = right;
        for (std::size_t k = 0; k < steps; ++k, a += R, b += C * W) {
            hat::simd::Vec<float> x[C];
#pragma GCC unroll 16
            for (std::size_t j = 0; j < C; ++j) x[j] = hat::simd::load(b + j * W);
#pragma GCC unroll 16
            for (std::size_t i = 0; i < R; ++i) {
                const auto y = hat::simd::splat(a[i]);
#pragma GCC unroll 16
                for (std::size_t j = 0; j < C; ++j) sum[i][j] = hat::simd::fma(y, x[j], sum[i][j]);
            }
        }
    }
#pragma GCC unroll 16
    for (std::size_t i = 0; i < R; ++i)
#pragma GCC unroll 16
        for (std::size_t j = 0; j < C; ++j) hat::simd::store(out + (i * C + j) * W, sum[i][j]);
}

template <std::size_t R, std::size_t C>
void register_block_limit(benchmark::State& state) {
    constexpr std::size_t columns = C * hat::simd::width<float>, steps = 128, times = 1000;
    const auto left = bench::random_buffer(R * steps), right = bench::random_buffer(steps * columns, 2);
    hat::AlignedBuffer<float> out(R * columns);
    for (auto _ : state) {
        register_block<R, C>(times, steps, left.data(), right.data(), out.data());
        benchmark::ClobberMemory();
    }
    bench::rate(state, "GFLOP/s", 2.0 * R * columns * steps * times);
}

void register_blocks() {
    if constexpr (hat::simd::registers == 32) {
        benchmark::RegisterBenchmark("limit/register_block/14x2", register_block_limit<14, 2>);
        benchmark::RegisterBenchmark("limit/register_block/9x3", register_block_limit<9, 3>);
        benchmark::RegisterBenchmark("limit/register_block/8x3", register_block_limit<8, 3>);
    } else {
        benchmark::RegisterBenchmark("limit/register_block/6x2", register_block_limit<6, 2>);
        benchmark::RegisterBenchmark("limit/register_block/4x3", register_block_limit<4, 3>);
    }
}

// -- attention: q k^T and p v of one head, in rows of a 512 wide matrix
// ------------------------------------------------------

struct Heads {
    static constexpr std::size_t count = 64, width = 512, size = 64;
    hat::AlignedBuffer<float> q = bench::random_buffer(32 * width), k = bench::random_buffer(32 * width),
                              p = bench::random_buffer(count * 1024);
    std::vector<std::pair<std::size_t, std::size_t>> lengths;  // queries, keys
    double flops = 0;
    Heads() {
        hat::Rng rng(7);
        for (std::size_t i = 0; i < count; ++i) {
            lengths.emplace_back(25 + rng.below(6), 25 + rng.below(6));
            flops += 2.0 * static_cast<double>(lengths[i].first * lengths[i].second * size);
        }
    }
};

template <class Product>
void attention(benchmark::State& state, Product product) {
    Heads h;
    for (auto _ : state) {
        for (std::size_t i = 0; i < Heads::count; ++i)
            product(h, h.lengths[i].first, h.lengths[i].second, i % 8 * Heads::size, h.p.data() + i * 1024);
        benchmark::ClobberMemory();
    }
    bench::rate(state, "GFLOP/s", h.flops);
}

void register_attention() {
    constexpr std::size_t w = Heads::width, size = Heads::size;
    constexpr int wi = 512, si = 64;
    const auto reg = [](const char* name, auto product) {
        benchmark::RegisterBenchmark(name, [product](benchmark::State& s) {
            attention(s, product);
        })->Unit(benchmark::kMicrosecond);
    };
    using T = std::size_t;
    reg("attention/scores/25..30/hat", [](Heads& h, T q, T k, T at, float* p) {
        hat::detail::small_multiply<float>(hat::Serial{}, q, k, size, h.q.data() + at, w, 1, h.k.data() + at, 1, w, p,
                                           k);
    });
    reg("attention/scores/25..30/openblas", [](Heads& h, T q, T k, T at, float* p) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, as_int(q), as_int(k), si, 1, h.q.data() + at, wi,
                    h.k.data() + at, wi, 0, p, as_int(k));
    });
    reg("attention/scores/25..30/onednn", [](Heads& h, T q, T k, T at, float* p) {
        dnnl_sgemm('N', 'T', dim(q), dim(k), si, 1, h.q.data() + at, wi, h.k.data() + at, wi, 0, p, dim(k));
    });
    reg("attention/values/25..30/hat", [](Heads& h, T q, T k, T at, float* p) {
        hat::detail::small_multiply<float>(hat::Serial{}, q, size, k, p, k, 1, h.k.data() + at, w, 1, h.q.data() + at,
                                           w);
    });
    reg("attention/values/25..30/openblas", [](Heads& h, T q, T k, T at, float* p) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, as_int(q), si, as_int(k), 1, p, as_int(k),
                    h.k.data() + at, wi, 0, h.q.data() + at, wi);
    });
    reg("attention/values/25..30/onednn", [](Heads& h, T q, T k, T at, float* p) {
        dnnl_sgemm('N', 'N', dim(q), si, dim(k), 1, p, dim(k), h.k.data() + at, wi, 0, h.q.data() + at, wi);
    });
}

}  // namespace

int main(int argc, char** argv) {
    bench::register_limits({256, 512, 1024, 1600, 2048, 262144});  // of hot weights, of all cold ones
    register_training();
    register_accuracy();
    register_packed();
    register_attention();
    register_blocks();
    return bench::run(argc, argv);
}
