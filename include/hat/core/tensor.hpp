#pragma once
/// \file
/// The only file that includes xtensor. It absorbs the move of its headers into sub-folders in 0.26.

#include <cstdint>
#include <hat/core/extent.hpp>

#if __has_include(<xtensor/containers/xtensor.hpp>)
#include <xtensor/containers/xtensor.hpp>
#else
#include <xtensor/xtensor.hpp>
#endif

namespace hat {

/// A dense matrix that users index, slice, print and save as any xtensor; rows x cols, row-major.
template <class T>
using Matrix = xt::xtensor<T, 2>;

/// Token ids, sentences x length, padded.
using TokenBatch = xt::xtensor<std::int32_t, 2>;

/// A kernel's window on a whole xtensor matrix.
template <class T>
View<T> view(Matrix<T>& m) {
    return {m.data(), m.shape()[0], m.shape()[1]};
}
/// The same, read-only.
template <class T>
View<const T> view(const Matrix<T>& m) {
    return {m.data(), m.shape()[0], m.shape()[1]};
}

/// A zero-filled matrix.
template <class T>
Matrix<T> make_matrix(std::size_t rows, std::size_t cols) {
    Matrix<T> m(typename Matrix<T>::shape_type{rows, cols});
    m.fill(T{});
    return m;
}

}  // namespace hat
