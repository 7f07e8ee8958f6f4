#pragma once
/// \file
/// Who runs independent pieces of work. Results never depend on the executor: pieces are cut by problem size
/// (or, where their number changes no sum, by the threads there are), written by index, and every sum has one order.

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

/// How many threads the executor says that it has: at least 1, and 1 if it does not say. Only for cutting work whose
/// pieces change no result.
template <class E>
std::size_t threads_of(const E& executor) {
    if constexpr (requires { executor.threads(); })
        return std::max<std::size_t>(1, executor.threads());
    else
        return 1;
}

/// Where piece i of `count` pieces of n things begins; pieces differ by one thing at most.
constexpr std::size_t piece_begin(std::size_t i, std::size_t count, std::size_t n) {
    return n / count * i + static_cast<std::size_t>(std::uint64_t{n % count} * i / count);
}

/// At least `pieces` pieces (`most` if that is fewer), as many for each of `threads` threads where `most` allows it.
constexpr std::size_t even_pieces(std::size_t pieces, std::size_t threads, std::size_t most) {
    threads = std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(1, most));
    return std::min(most, (pieces + threads - 1) / threads * threads);
}

}  // namespace hat
