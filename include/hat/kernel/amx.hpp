#pragma once
/// \file
/// Blocks of dot products of bfloat16 in tiles (Intel AMX, the instruction TDPBF16PS), and their portable twin. A tile
/// has 16 rows of 16 pairs (left operand), 16 steps of width<float> pairs (right operand) or 16 rows of width<float>
/// sums. What that gains: docs/performance.md, "Products in bfloat16".

#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <hat/kernel/simd.hpp>
#include <utility>
#if ((defined(__AMX_TILE__) && defined(__AMX_BF16__)) || (defined(__AMXTILE__) && defined(__AMXBF16__))) && \
    defined(__AVX512BF16__) && defined(__linux__) && !defined(HAT_SCALAR)
#define HAT_AMX  // up to the end of this file. The second names are those of older versions of clang, 14 for one
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace hat::simd {

/// Steps of pairs that a tile takes at once, and its rows.
inline constexpr std::size_t tile_side = 16;

/// Whether dot_tiles() is compiled for AMX; elsewhere it is its portable twin.
#if defined(HAT_AMX)
inline constexpr bool tiles_compiled = true;
#else
inline constexpr bool tiles_compiled = false;
#endif

/// Whether dot_tiles() may be called: the code is compiled for AMX, and processor and system let this process use it.
/// Asked once; threads share the answer.
inline bool tiles_usable() {
#if defined(HAT_AMX)
    // CPUID leaf 7, EDX: bit 22 AMX-BF16, bit 24 AMX-TILE. ARCH_REQ_XCOMP_PERM for XFEATURE_XTILEDATA (Linux,
    // Documentation/arch/x86/xstate.rst): the 8 KiB of tiles are saved only for processes that ask
    static const bool granted = [] {
        unsigned a = 0, b = 0, c = 0, d = 0;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22U & 1U) != 0 && (d >> 24U & 1U) != 0 &&
               syscall(SYS_arch_prctl, 0x1023L, 18L) == 0;
    }();
    return granted;
#else
    return false;
#endif
}

#if defined(HAT_AMX)
/// The operand of LDTILECFG (Intel's manual, volume 1, "Tile configuration"): eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileShape {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShape) == 64);
inline constexpr TileShape tile_shape{};
#endif

/// While it lives, the calling thread's tiles are as dot_tiles() needs them; its end gives them back, so that switching
/// threads need not save them.
class TileScope {
public:
    /// Nothing happens where tiles are not usable.
    TileScope() {
#if defined(HAT_AMX)
        if (tiles_usable()) _tile_loadconfig(&tile_shape);
#endif
    }
    TileScope(const TileScope&) = delete;
    TileScope& operator=(const TileScope&) = delete;
    ~TileScope() {
#if defined(HAT_AMX)
        if (tiles_usable()) _tile_release();
#endif
    }
};

/// One of the products of parts that make a product of floats.
struct PartProduct {
    std::size_t left;   ///< which part of the left operand; 0: the leading one
    std::size_t right;  ///< which part of the right operand
};
/// Which products of parts are added, in this order. Without parts: the only one.
template <class P>
inline constexpr std::array<PartProduct, std::same_as<P, Bf16Part> ? 6 : 1> part_products{};
/// With three parts: those that are left out are less than 2^-22 of the product, and have either sign (Henry, Tang and
/// Heinecke, arXiv 1904.06376, "bfloat16x3"; see take_part()). Small ones come first; each has an operand in common
/// with the one before.
template <>
inline constexpr std::array<PartProduct, 6> part_products<Bf16Part>{{{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 2}, {0, 0}}};
/// How many parts a number has in an operand made of P.
template <class P>
inline constexpr std::size_t parts = std::same_as<P, Bf16Part> ? 3 : 1;

/// The portable twin of dot_tiles(): the operation as Intel's manual has it (volume 2, TDPBF16PS). The pairs of 16
/// steps make two chains, one of their first and one of their second numbers; the sum of both is added to c. Every
/// operation rounds to nearest even, and takes numbers smaller than the smallest normal one as zero, also as its
/// result.
template <std::size_t R, std::size_t C, class P>
void dot_tiles_portable(std::size_t steps, const P* a, std::size_t a_row, const P* b, std::size_t b_step, float* c,
                        std::size_t c_row, bool load) {
    const auto normal = [](float x) {
        const auto bits = std::bit_cast<std::uint32_t>(x);
        return (bits & 0x7f800000U) == 0 ? std::bit_cast<float>(bits & 0x80000000U) : x;
    };
    for (std::size_t i = 0; i < R * tile_side; ++i)
        for (std::size_t j = 0; j < C * width<float>; ++j) {
            float sum = load ? c[i * c_row + j] : 0.0F;
            for (std::size_t s = 0; s < steps; s += parts<P> * tile_side)
                for (const PartProduct of : part_products<P>) {
                    float first = 0, second = 0;
                    for (std::size_t t = 0; t < tile_side; ++t) {
                        const Bf16Pair left = a[i * a_row + s + of.left * tile_side + t];
                        const Bf16Pair right = b[(s + of.right * tile_side + t) * b_step + j];
                        first = normal(std::fma(normal(first_of(left)), normal(first_of(right)), first));
                        second = normal(std::fma(normal(second_of(left)), normal(second_of(right)), second));
                    }
                    sum = normal(normal(sum) + normal(first + second));
                }
            c[i * c_row + j] = sum;
        }
}

/// Steps that dot_tiles() takes at once: a tile of each part.
template <class P>
inline constexpr std::size_t steps_at_once = parts<P>* tile_side;

/// A right operand of dot_tiles() that is in memory: steps are `step` pairs apart.
template <class P>
struct StepsInMemory {
    const P* first;    ///< of the first step
    std::size_t step;  ///< pairs from a step to the next

    /// Steps [s, s + steps_at_once<P>).
    const P* at(std::size_t s) const { return first + s * step; }
    /// Called while tiles multiply, prepare_calls times for each at().
    void prepare() const {}
};
/// How often dot_tiles() lets its right operand prepare what comes next.
inline constexpr std::size_t prepare_calls = 4;

/// dot_tiles() by the portable twin.
template <std::size_t R, std::size_t C, class P, class Right>
void dot_tiles_by_twin(std::size_t steps, const P* a, std::size_t a_row, const Right& b, float* c, std::size_t c_row,
                       bool load) {
    if (steps == 0) dot_tiles_portable<R, C>(0, a, a_row, b.at(0), b.step, c, c_row, load);
    for (std::size_t s = 0; s < steps; s += steps_at_once<P>) {
        dot_tiles_portable<R, C>(steps_at_once<P>, a + s, a_row, b.at(s), b.step, c, c_row, load || s > 0);
        for (std::size_t i = 0; i < prepare_calls; ++i) b.prepare();
    }
}

/// c[16 R x width<float> C] (+)= a b: R, C = 1 or 2, `steps` a multiple of steps_at_once<P>. Rows of `a` are a_row
/// pairs apart, rows of `c` c_row numbers; `b` is what StepsInMemory is. With `load`, sums continue from c. Where the
/// code is compiled for AMX, it needs tiles_usable() and a TileScope; elsewhere it is the twin.
template <std::size_t R, std::size_t C, class P, class Right>
inline void dot_tiles(std::size_t steps, const P* a, std::size_t a_row, const Right& b, float* c, std::size_t c_row,
                      bool load) {
#if defined(HAT_AMX)
    static_assert(1 <= R && R <= 2 && 1 <= C && C <= 2 && width<float> == 16);
    const std::size_t a_bytes = a_row * sizeof(Bf16Pair), b_bytes = b.step * sizeof(Bf16Pair),
                      c_bytes = c_row * sizeof(float);
    float* const below = c + 16 * c_row;
    asm volatile("" ::: "memory");  // g++'s intrinsics do not tell that they read memory
    if (load) {
        _tile_loadd(0, c, c_bytes);
        if constexpr (C == 2) _tile_loadd(1, c + 16, c_bytes);
        if constexpr (R == 2) _tile_loadd(2, below, c_bytes);
        if constexpr (R == 2 && C == 2) _tile_loadd(3, below + 16, c_bytes);
    } else {
        _tile_zero(0);
        if constexpr (C == 2) _tile_zero(1);
        if constexpr (R == 2) _tile_zero(2);
        if constexpr (R == 2 && C == 2) _tile_zero(3);
    }
    const auto product = [&]<std::size_t I>(std::size_t s, const P* steps_of_b) {
        constexpr PartProduct of = part_products<P>[I], before = part_products<P>[I ? I - 1 : 0];
        const P* const right = steps_of_b + of.right * tile_side * b.step;
        const P* const left = a + s + of.left * tile_side;
        if constexpr (I == 0 || of.right != before.right) {
            _tile_loadd(6, right, b_bytes);
            if constexpr (C == 2) _tile_loadd(7, right + 16, b_bytes);
        }
        if constexpr (I == 0 || of.left != before.left) {
            _tile_loadd(4, left, a_bytes);
            if constexpr (R == 2) _tile_loadd(5, left + 16 * a_row, a_bytes);
        }
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (C == 2) _tile_dpbf16ps(1, 4, 7);
        if constexpr (R == 2) _tile_dpbf16ps(2, 5, 6);
        if constexpr (R == 2 && C == 2) _tile_dpbf16ps(3, 5, 7);
        // a few instructions at a time: they run beside the products
        for (std::size_t i = I; i < prepare_calls; i += part_products<P>.size()) b.prepare();
    };
    for (std::size_t s = 0; s < steps; s += steps_at_once<P>) {
        asm volatile("" ::: "memory");  // what was prepared is in memory
        const P* const now = b.at(s);
        [&]<std::size_t... I>(std::index_sequence<I...>) { (product.template operator()<I>(s, now), ...); }
        (std::make_index_sequence<part_products<P>.size()>{});
    }
    _tile_stored(0, c, c_bytes);
    if constexpr (C == 2) _tile_stored(1, c + 16, c_bytes);
    if constexpr (R == 2) _tile_stored(2, below, c_bytes);
    if constexpr (R == 2 && C == 2) _tile_stored(3, below + 16, c_bytes);
    asm volatile("" ::: "memory");
#else
    dot_tiles_by_twin<R, C>(steps, a, a_row, b, c, c_row, load);
#endif
}
#undef HAT_AMX

}  // namespace hat::simd
