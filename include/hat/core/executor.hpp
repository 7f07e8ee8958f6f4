#pragma once
/// \file
/// Who runs independent pieces of work. Results never depend on the executor: pieces are cut by problem size
/// (or, where their number changes no sum, by the threads there are), written by index, and every sum has one order.

#include <cstddef>
#include <type_traits>

namespace hat {

/// body(0) .. body(n-1), any order, any thread; returns when all are done.
template <class E>
concept ExecutorPolicy = requires(const E& ex, void (*body)(std::size_t)) {
    ex(std::size_t{}, body);
};

/// Runs everything on the calling thread.
struct Serial {
    /// Runs body(0) .. body(n-1) in this order.
    template <class Body>
    void operator()(std::size_t n, Body&& body) const {
        for (std::size_t i = 0; i < n; ++i) body(i);
    }
    /// Only the caller.
    static constexpr std::size_t threads() { return 1; }
};

static_assert(ExecutorPolicy<Serial>);

/// Whether the type says that only the caller works.
template <class E>
inline constexpr bool single_threaded = requires {
    requires std::bool_constant<E::threads() == 1>::value;
};
static_assert(single_threaded<Serial>);

}  // namespace hat
