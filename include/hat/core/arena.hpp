#pragma once
/// \file
/// Aligned memory handed out front to back; freed all at once. After the first step of a kind it allocates nothing.

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <hat/core/extent.hpp>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace hat {

/// 64-byte aligned, uninitialised memory of a trivially copyable type. From 4 MiB on it asks for huge pages where the
/// system has them on request: weights streamed from memory arrive a third faster without a page walk every 4 KiB.
template <class T>
class AlignedBuffer {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    static constexpr std::size_t alignment = 64;  ///< bytes: a cache line

    AlignedBuffer() = default;
    /// A buffer of `n` numbers.
    explicit AlignedBuffer(std::size_t n) { reset(n); }
    /// Takes the memory over; `o` is empty afterwards.
    AlignedBuffer(AlignedBuffer&& o) noexcept
        : data_(std::exchange(o.data_, nullptr)),
          size_(std::exchange(o.size_, 0)),
          capacity_(std::exchange(o.capacity_, 0)) {}
    /// Takes the memory over; `o` is empty afterwards.
    AlignedBuffer& operator=(AlignedBuffer&& o) noexcept {
        AlignedBuffer taken(std::move(o));
        std::swap(data_, taken.data_);
        std::swap(size_, taken.size_);
        std::swap(capacity_, taken.capacity_);
        return *this;
    }
    ~AlignedBuffer() { free(); }

    /// Room for n elements; the old content is lost when it has to grow.
    void reset(std::size_t n) {
        if (n > capacity_) {
            const std::size_t bytes = n * sizeof(T);
            void* const memory = ::operator new(bytes, alignment_of(n));
#if defined(__linux__)
            // only advice: whatever it answers, the memory is good
            if (bytes >= huge_from) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
            free();
            data_ = memory;
            capacity_ = n;
        }
        size_ = n;
    }
    /// The first number; null when empty.
    T* data() const { return static_cast<T*>(data_); }
    /// Numbers it holds.
    std::size_t size() const { return size_; }

private:
    static constexpr std::size_t huge_page = std::size_t{2} << 20, huge_from = 2 * huge_page;
    static constexpr std::align_val_t alignment_of(std::size_t n) {
        return std::align_val_t{n * sizeof(T) < huge_from ? alignment : huge_page};
    }
    void free() { ::operator delete(data_, alignment_of(capacity_)); }

    // no unique_ptr, of which every T would be one more class to compile
    void* data_ = nullptr;
    std::size_t size_ = 0, capacity_ = 0;
};

/// Elements from one row to the next of an activation matrix: its columns, and a cache line more where rows would lie
/// a multiple of a page apart and fight for the same cache sets.
template <class T, Extent C>
constexpr auto row_stride(C cols) {
    constexpr std::size_t page = 4096 / sizeof(T), line = 64 / sizeof(T);
    if constexpr (FixedExtent<C>)
        return Fixed < C::value % page == 0 ? C::value + line : C::value > {};
    else
        return cols % page == 0 ? cols + line : cols;
}

namespace detail {
template <class T, class Memory, Extent R, Extent C>
auto take_rows(Memory& memory, R rows, C cols) {
    const auto stride = row_stride<T>(cols);
    return MatrixView<T, R, C, std::remove_const_t<decltype(stride)>>(memory.template take<T>(rows * stride), rows,
                                                                      cols, stride);
}
}  // namespace detail

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
    /// A rows x cols matrix of uninitialised elements whose rows are row_stride() apart.
    template <class T, Extent R, Extent C>
    auto rows(R rows, C cols) {
        return detail::take_rows<T>(*this, rows, cols);
    }
    /// While it lives, blocks are temporary: its end gives back all that were taken since its beginning. Scopes nest.
    class Scope {
    public:
        /// Begins a scope of `arena`, which must not be reset while it lives.
        explicit Scope(Arena& arena)
            : arena_(arena), chunks_(arena.chunks_.size()), used_(arena.used_), total_(arena.total_) {}
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;
        ~Scope() {
            if (chunks_ > 0) {  // else the arena was empty: it keeps what the first blocks made it allocate
                arena_.chunks_.resize(chunks_);
                arena_.used_ = used_;
            } else {
                arena_.chunks_.resize(std::min<std::size_t>(1, arena_.chunks_.size()));
                arena_.used_ = 0;
            }
            arena_.total_ = total_;
        }

    private:
        Arena& arena_;
        std::size_t chunks_, used_, total_;
    };
    /// Forgets all blocks; pointers handed out before are dead.
    void reset() {
        if (chunks_.size() > 1 || (!chunks_.empty() && chunks_.back().size() < peak_)) {
            chunks_.clear();
            chunks_.emplace_back(peak_);
        }
        used_ = total_ = 0;
    }
    /// Bytes handed out since the last reset().
    std::size_t bytes_in_use() const { return total_; }
    /// The most bytes ever in use.
    std::size_t peak_bytes() const { return peak_; }

private:
    std::vector<AlignedBuffer<std::byte>> chunks_;
    std::size_t used_ = 0, total_ = 0, peak_ = 0;
};

/// Hands out aligned blocks of memory that the caller owns and has planned; has the interface of Arena, but allocates
/// nothing. The plan must hold: more than there is may not be taken.
class FixedArena {
public:
    FixedArena() = default;
    /// `bytes` bytes from `memory`, which must be 64-byte aligned.
    FixedArena(std::byte* memory, std::size_t bytes) : data_(memory), size_(bytes) {}

    /// n uninitialised elements, 64-byte aligned.
    template <class T>
    T* take(std::size_t n) {
        static_assert(std::is_trivially_copyable_v<T>);
        T* const p = reinterpret_cast<T*>(data_ + used_);
        used_ += block_bytes<T>(n);
        peak_ = std::max(peak_, used_);
        assert(used_ <= size_);
        return p;
    }
    /// What take<T>(n) uses up.
    template <class T>
    static constexpr std::size_t block_bytes(std::size_t n) {
        return (n * sizeof(T) + 63) / 64 * 64;
    }
    /// A rows x cols matrix of uninitialised elements whose rows are row_stride() apart.
    template <class T, Extent R, Extent C>
    auto rows(R rows, C cols) {
        return detail::take_rows<T>(*this, rows, cols);
    }
    /// While it lives, blocks are temporary: its end gives back all that were taken since its beginning. Scopes nest.
    class Scope {
    public:
        /// Begins a scope of `arena`.
        explicit Scope(FixedArena& arena) : arena_(arena), used_(arena.used_) {}
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;
        ~Scope() { arena_.used_ = used_; }

    private:
        FixedArena& arena_;
        std::size_t used_;
    };
    /// Forgets all blocks; pointers handed out before are dead.
    void reset() { used_ = 0; }
    /// Bytes it has to hand out.
    std::size_t bytes() const { return size_; }
    /// The most bytes ever in use.
    std::size_t peak_bytes() const { return peak_; }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0, used_ = 0, peak_ = 0;
};

/// A block of an arena that grows: its numbers move to a larger one, the old one is lost until the arena is reset.
template <class T>
struct GrowingBlock {
    T* data = nullptr;         ///< the numbers
    std::size_t capacity = 0;  ///< how many fit

    /// Room for n numbers, of which the first `kept` are carried over; for twice as many as before if it must grow.
    template <class Memory>
    void reserve(Memory& memory, std::size_t n, std::size_t kept = 0) {
        if (n <= capacity) return;
        const std::size_t more = capacity ? std::max(n, 2 * capacity) : n;
        T* const to = memory.template take<T>(more);
        std::copy_n(data, kept, to);
        data = to, capacity = more;
    }
};

}  // namespace hat
