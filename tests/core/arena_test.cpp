#include <doctest/doctest.h>

#include <cstdint>
#include <hat/core/arena.hpp>

TEST_CASE("blocks are aligned, disjoint, and a second pass of the same size reuses one chunk") {
    hat::Arena arena;
    for (int pass = 0; pass < 3; ++pass) {
        arena.reset();
        float* last = nullptr;
        for (int i = 1; i < 200; ++i) {
            float* p = arena.take<float>(static_cast<std::size_t>(i) * 37);
            CHECK(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
            p[0] = static_cast<float>(i);
            p[i * 37 - 1] = 0;
            if (last && pass > 0) CHECK(p > last);
            last = p;
        }
        CHECK(arena.bytes_in_use() == arena.peak_bytes());
    }
}
