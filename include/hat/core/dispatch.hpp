#pragma once
/// \file
/// The bridge from run-time to compile-time sizes.

#include <hat/core/extent.hpp>
#include <utility>

namespace hat {

/// Calls f(Fixed<c>{}) for the choice c that equals `value`, else f(value): the generic path.
template <auto choices, class F>
constexpr void with_fixed(int value, F&& f) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        const bool known = ((value == choices[I] && (f(Fixed<static_cast<std::size_t>(choices[I])>{}), true)) || ...);
        if (!known) f(static_cast<std::size_t>(value));
    }
    (std::make_index_sequence<choices.size()>{});
}

}  // namespace hat
