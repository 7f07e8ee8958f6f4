#pragma once
/// \file
/// Sizes whose type says when they are known, and windows on matrices owned by someone else.

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace hat {

/// A size known at compile time.
template <std::size_t N>
using Fixed = std::integral_constant<std::size_t, N>;

/// A size whose type says when it is known: std::size_t at run time, Fixed<N> at compile time.
template <class E>
concept Extent = std::convertible_to<E, std::size_t> && std::is_trivially_copyable_v<E>;

/// A size that is known to the compiler.
template <class E>
concept FixedExtent = Extent<E> && requires {
    { E::value } -> std::convertible_to<std::size_t>;
};

/// a * b, known to the compiler when both are.
template <Extent A, Extent B>
constexpr auto times(A a, B b) {
    if constexpr (FixedExtent<A> && FixedExtent<B>)
        return Fixed<A::value * B::value>{};
    else
        return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}
/// a / b, known to the compiler when both are.
template <Extent A, Extent B>
constexpr auto over(A a, B b) {
    if constexpr (FixedExtent<A> && FixedExtent<B>)
        return Fixed<A::value / B::value>{};
    else
        return static_cast<std::size_t>(a) / static_cast<std::size_t>(b);
}

/// A rows x cols window on numbers owned by someone else. `stride` is the owner's row length in elements.
template <class T, Extent Rows = std::size_t, Extent Cols = std::size_t, Extent Stride = std::size_t>
struct MatrixView {
    using value_type = std::remove_const_t<T>;  ///< the number's type

    T* data{};                              ///< element (0, 0)
    [[no_unique_address]] Rows rows{};      ///< number of rows
    [[no_unique_address]] Cols cols{};      ///< number of columns
    [[no_unique_address]] Stride stride{};  ///< elements from one row to the next

    constexpr MatrixView() = default;
    /// A view of memory that is owned elsewhere.
    constexpr MatrixView(T* p, Rows r, Cols c, Stride s) : data(p), rows(r), cols(c), stride(s) {}
    /// A dense matrix: the stride is the number of columns.
    constexpr MatrixView(T* p, Rows r, Cols c) requires std::convertible_to<Cols, Stride>
        : data(p), rows(r), cols(c), stride(c) {}
    /// A view of mutable numbers is also a view of constant ones.
    template <class U>
    requires(std::same_as<const U, T> &&
             !std::same_as<U, T>) constexpr MatrixView(const MatrixView<U, Rows, Cols, Stride>& o)
        : data(o.data), rows(o.rows), cols(o.cols), stride(o.stride) {}

    /// Row `i`, cols elements.
    constexpr T* row(std::size_t i) const { return data + i * static_cast<std::size_t>(stride); }
    /// Element of row `i` and column `j`.
    constexpr T& operator()(std::size_t i, std::size_t j) const { return row(i)[j]; }

    /// HAT's weight sharing: a SubTransformer uses the leading block of the SuperTransformer (paper, section 3.1).
    template <Extent R, Extent C>
    constexpr MatrixView<T, R, C, Stride> prefix(R r, C c) const {
        return {data, r, c, stride};
    }
    /// Rows [first, first + count), all columns.
    template <Extent R>
    constexpr MatrixView<T, R, Cols, Stride> rows_at(std::size_t first, R count) const {
        return {row(first), count, cols, stride};
    }
    /// Columns [first, first + count), all rows.
    template <Extent C>
    constexpr MatrixView<T, Rows, C, Stride> cols_at(std::size_t first, C count) const {
        return {data + first, rows, count, stride};
    }
};

/// A view of numbers of type T, to write or only to read, whatever its extents.
template <class V, class T>
concept ViewOf = requires(const V& v) {
    { v.rows } -> std::convertible_to<std::size_t>;
    { v.cols } -> std::convertible_to<std::size_t>;
    { v.row(std::size_t{}) } -> std::convertible_to<const T*>;
};

/// Views whose sizes are all known at run time: what the elastic path passes around.
template <class T>
using View = MatrixView<T, std::size_t, std::size_t, std::size_t>;

}  // namespace hat
