#pragma once
/// \file
/// Aligned memory handed out front to back; freed all at once. After the first step of a kind it allocates nothing.

#include <algorithm>
#include <cstddef>
#include <hat/core/extent.hpp>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace hat {

/// 64-byte aligned, uninitialised memory of a trivially copyable type.
template <class T>
class AlignedBuffer {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    static constexpr std::size_t alignment = 64;

    AlignedBuffer() = default;
    explicit AlignedBuffer(std::size_t n) { reset(n); }
    AlignedBuffer(AlignedBuffer&& o) noexcept
        : data_(std::move(o.data_)), size_(std::exchange(o.size_, 0)), capacity_(std::exchange(o.capacity_, 0)) {}
    AlignedBuffer& operator=(AlignedBuffer&& o) noexcept {
        data_ = std::move(o.data_);
        size_ = std::exchange(o.size_, 0);
        capacity_ = std::exchange(o.capacity_, 0);
        return *this;
    }

    /// Room for n elements; the old content is lost when it has to grow.
    void reset(std::size_t n) {
        if (n > capacity_) {
            data_.reset(static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{alignment})));
            capacity_ = n;
        }
        size_ = n;
    }
    T* data() const { return data_.get(); }
    std::size_t size() const { return size_; }

private:
    struct Free {
        void operator()(T* p) const { ::operator delete(p, std::align_val_t{alignment}); }
    };
    std::unique_ptr<T, Free> data_;
    std::size_t size_ = 0, capacity_ = 0;
};

/// Hands out aligned blocks from chunks it keeps. `reset()` starts over and merges the chunks into one, so that a
/// second pass of the same size costs no allocation.
class Arena {
public:
    /// n uninitialised elements, 64-byte aligned.
    template <class T>
    T* take(std::size_t n) {
        static_assert(std::is_trivially_copyable_v<T>);
        const std::size_t bytes = (n * sizeof(T) + 63) / 64 * 64;
        if (chunks_.empty() || used_ + bytes > chunks_.back().size()) {
            const std::size_t last = chunks_.empty() ? 0 : chunks_.back().size();
            chunks_.emplace_back(std::max({bytes, 2 * last, std::size_t{1} << 16}));
            used_ = 0;
        }
        T* p = reinterpret_cast<T*>(chunks_.back().data() + used_);
        used_ += bytes;
        total_ += bytes;
        peak_ = std::max(peak_, total_);
        return p;
    }
    /// A dense rows x cols matrix of uninitialised elements.
    template <class T>
    View<T> matrix(std::size_t rows, std::size_t cols) {
        return {take<T>(rows * cols), rows, cols};
    }
    /// Forgets all blocks; pointers handed out before are dead.
    void reset() {
        if (chunks_.size() > 1) {
            chunks_.clear();
            chunks_.emplace_back(peak_);
        }
        used_ = total_ = 0;
    }
    std::size_t bytes_in_use() const { return total_; }
    std::size_t peak_bytes() const { return peak_; }

private:
    std::vector<AlignedBuffer<std::byte>> chunks_;
    std::size_t used_ = 0, total_ = 0, peak_ = 0;
};

}  // namespace hat
