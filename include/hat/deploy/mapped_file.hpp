#pragma once
/// \file
/// Files as memory. Throws nothing.

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <new>
#include <span>
#include <utility>
#if __has_include(<sys/mman.h>)
#define HAT_HAS_MMAP 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace hat {

/// 64-byte aligned memory, or none when the system has no more.
class AlignedBytes {
public:
    AlignedBytes() = default;
    /// `bytes` bytes; data() is null when there are not so many.
    explicit AlignedBytes(std::size_t bytes)
        : data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}, std::nothrow))) {}
    /// The first byte; null when there is none.
    std::byte* data() const { return data_.get(); }

private:
    struct Free {
        void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
    };
    std::unique_ptr<std::byte, Free> data_;
};

/// A whole file for reading, 64-byte aligned. With POSIX it is mapped: processes that open the same file share one copy
/// of it, and only what is used is ever read. Elsewhere it is read into memory. The file must not be cut short while it
/// is mapped; hat's own writers replace files instead of changing them.
class MappedFile {
public:
    MappedFile() = default;
    /// Takes the file over; `o` holds none afterwards.
    MappedFile(MappedFile&& o) noexcept { swap(o); }
    /// Takes the file over; what this one held is closed.
    MappedFile& operator=(MappedFile&& o) noexcept {
        MappedFile taken(std::move(o));
        swap(taken);
        return *this;
    }
    ~MappedFile() { close(); }

    /// Opens a file; what was open before is closed. False when it cannot be read: errno says why.
    bool open(const char* path) {
        close();
#if HAT_HAS_MMAP
        const int file = ::open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) return false;
        struct ::stat status {};
        bool good = ::fstat(file, &status) == 0;
        if (good && !S_ISREG(status.st_mode)) {
            errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
            good = false;
        }
        const auto bytes = static_cast<std::size_t>(status.st_size);
        if (good && bytes > 0) {
            void* const p = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
            good = p != MAP_FAILED;
            if (good) data_ = static_cast<const std::byte*>(p), size_ = bytes;
        }
        const int reason = errno;
        ::close(file);  // the mapping stays
        errno = reason;
        return good;
#else
        std::FILE* const file = std::fopen(path, "rb");
        if (!file) return false;
        bool good = std::fseek(file, 0, SEEK_END) == 0;
        const long bytes = good ? std::ftell(file) : -1;
        good = bytes >= 0 && std::fseek(file, 0, SEEK_SET) == 0;
        if (good) {
            copy_ = AlignedBytes(static_cast<std::size_t>(bytes));
            good = copy_.data() && std::fread(copy_.data(), 1, static_cast<std::size_t>(bytes), file) ==
                                       static_cast<std::size_t>(bytes);
        }
        if (good) data_ = copy_.data(), size_ = static_cast<std::size_t>(bytes);
        std::fclose(file);
        return good;
#endif
    }
    /// The file's bytes; empty when no file, or an empty one, is open.
    std::span<const std::byte> bytes() const { return {data_, size_}; }

private:
    void close() {
#if HAT_HAS_MMAP
        if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
#else
        copy_ = {};
#endif
        data_ = nullptr, size_ = 0;
    }
    void swap(MappedFile& o) {
        std::swap(data_, o.data_);
        std::swap(size_, o.size_);
#if !HAT_HAS_MMAP
        std::swap(copy_, o.copy_);
#endif
    }

    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
#if !HAT_HAS_MMAP
    AlignedBytes copy_;
#endif
};

}  // namespace hat
