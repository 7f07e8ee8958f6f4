#pragma once
/// \file
/// A list of bounded length that never allocates.

#include <array>
#include <cassert>
#include <cstddef>

namespace hat {

/// At most N values; the part of std::vector's interface that hat's static models need.
template <class T, std::size_t N>
class FixedVector {
public:
    /// Values in it.
    std::size_t size() const { return size_; }
    /// Value i < size().
    const T& operator[](std::size_t i) const { return values_[i]; }
    /// Appends a value; there must be fewer than N.
    void push_back(const T& value) {
        assert(size_ < N);
        values_[size_++] = value;
    }
    /// Forgets all.
    void clear() { size_ = 0; }

private:
    std::array<T, N> values_{};
    std::size_t size_ = 0;
};

}  // namespace hat
