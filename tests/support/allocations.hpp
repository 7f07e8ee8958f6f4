#pragma once
/// \file
/// Counts every allocation of the program it is included in: by one file of an executable only. Under clang's thread
/// sanitizer none is counted.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace hat_test {

/// Allocations so far.
inline std::atomic<std::size_t> allocations{0};

/// Counts and allocates.
inline void* allocate(std::size_t n, std::size_t alignment) {
    ++allocations;
    void* p = std::aligned_alloc(alignment, (std::max<std::size_t>(n, 1) + alignment - 1) / alignment * alignment);
    if (p == nullptr) throw std::bad_alloc();
    return p;
}

}  // namespace hat_test

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAT_TEST_KEEP_ALLOCATOR  // clang's thread sanitizer brings operators of its own, which cannot be replaced
#endif
#endif
#ifndef HAT_TEST_KEEP_ALLOCATOR
// every allocation of this program is counted; g++ does not always see that what free() gets is from aligned_alloc()
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void* operator new(std::size_t n) { return hat_test::allocate(n, alignof(std::max_align_t)); }
void* operator new[](std::size_t n) { return hat_test::allocate(n, alignof(std::max_align_t)); }
void* operator new(std::size_t n, std::align_val_t a) { return hat_test::allocate(n, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return hat_test::allocate(n, static_cast<std::size_t>(a)); }
// (std::stable_sort uses these)
void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
    return hat_test::allocate(n, alignof(std::max_align_t));
}
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
    return hat_test::allocate(n, alignof(std::max_align_t));
}
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
    return hat_test::allocate(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
    return hat_test::allocate(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
#endif
