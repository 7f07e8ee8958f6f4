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

TEST_CASE("a scope gives its blocks back, whatever chunks they lie in") {
    hat::Arena arena;
    {
        const hat::Arena::Scope first(arena);
        (void)arena.take<float>(100000);
        (void)arena.take<float>(1000000);
    }
    CHECK(arena.bytes_in_use() == 0);
    float* kept = arena.take<float>(1000);
    kept[999] = 7;
    std::size_t peak = 0;
    for (int i = 0; i < 50; ++i) {
        const hat::Arena::Scope scope(arena);
        float* p = arena.take<float>(static_cast<std::size_t>(i + 1) * 20000);
        CHECK((p > kept + 999 || p + (i + 1) * 20000 <= kept));
        p[i] = 1;
        {
            const hat::Arena::Scope inner(arena);
            float* q = arena.take<float>(300);
            q[299] = 2;
        }
        CHECK(arena.take<float>(1) != p);
        peak = arena.peak_bytes();
    }
    CHECK(kept[999] == 7);
    CHECK(arena.bytes_in_use() == 4032);  // 1000 numbers, rounded up to cache lines
    CHECK(peak < 4032 + 4'400'000 + 2048);
    arena.reset();
    const float* again = arena.take<float>(1000);
    CHECK(arena.take<float>(900000) == again + 1008);  // one chunk of the peak's size
}
