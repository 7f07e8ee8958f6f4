#pragma once
/// \file
/// Cutting rows into pieces, as many for each thread, so that none waits for another's last one.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <hat/core/executor.hpp>

namespace hat {

/// Calls body(first, last) for ranges that cover [0, rows). `cost` is the work of one row in elementary operations:
/// a piece is worth 16k to 32k of them, so small problems stay on the calling thread. No result may depend on the
/// ranges.
template <ExecutorPolicy E, class Body>
void parallel_rows(const E& executor, std::size_t rows, std::size_t cost, Body&& body) {
    if constexpr (single_threaded<E>) {  // pieces change no result
        if (rows) body(std::size_t{0}, rows);
        return;
    }
    const std::size_t piece = std::max<std::size_t>(1, 32768 / std::max<std::size_t>(1, cost));
    if (rows <= piece) {
        if (rows) body(std::size_t{0}, rows);
        return;
    }
    const std::size_t least = (rows + piece - 1) / piece;
    const std::size_t pieces = even_pieces(least, std::min(threads_of(executor), least), rows);
    executor(pieces, [&](std::size_t i) { body(piece_begin(i, pieces, rows), piece_begin(i + 1, pieces, rows)); });
}

}  // namespace hat
