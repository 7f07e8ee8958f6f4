#pragma once
/// \file
/// Whole files in and out. A file is replaced at once or not at all: a full disk, a crash or `kill -9` at any moment
/// leaves the old content as it was. POSIX.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <hat/core/error.hpp>
#include <hat/io/file_path.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace hat {

/// The bytes of any contiguous range of plain numbers.
template <class T>
std::string_view bytes_of(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

/// CRC-32 (IEEE 802.3, as in zip and gzip) of `bytes`; pass the previous result to continue over several pieces.
inline std::uint32_t crc32(std::string_view bytes, std::uint32_t previous = 0) {
    static constexpr auto table = [] {
        std::array<std::uint32_t, 256> t{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t c = i;
            for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? 0xEDB88320U ^ (c >> 1) : c >> 1;
            t[i] = c;
        }
        return t;
    }();
    std::uint32_t c = ~previous;
    for (const char byte : bytes) c = table[(c ^ static_cast<unsigned char>(byte)) & 0xFF] ^ (c >> 8);
    return ~c;
}

/// A file that appears under its name only when commit() has returned. Until then the bytes go to a temporary file
/// in the same folder, which the destructor removes. Throws bad_file with the system's reason.
class AtomicFile {
public:
    /// Opens a temporary file beside `path`.
    explicit AtomicFile(const FilePath& path) : path_(path.string()) {
        static std::atomic<unsigned> counter{0};
        temporary_ = path_;
        temporary_ += ".tmp." + std::to_string(::getpid()) + "." + std::to_string(counter.fetch_add(1));
        descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (descriptor_ < 0) fail("cannot be written");
    }
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile() { discard(); }

    /// Appends bytes.
    void write(std::string_view bytes) {
        while (!bytes.empty()) {
            const ::ssize_t n = ::write(descriptor_, bytes.data(), bytes.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail("cannot be written");
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
    }

    /// Flushes to the disk and gives the file its name, replacing an older one.
    void commit() {
        if (::fsync(descriptor_) != 0) fail("cannot be written");
        const int descriptor = std::exchange(descriptor_, -1);
        if (::close(descriptor) != 0) fail("cannot be written");
        if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be replaced");
        temporary_.clear();
        const std::size_t slash = path_.rfind('/');
        const std::string folder = slash == path_.npos ? "." : path_.substr(0, slash + 1);
        // The rename must survive a power cut too; some file systems cannot sync a folder, which is no error.
        if (const int d = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); d >= 0) {
            ::fsync(d);
            ::close(d);
        }
    }

private:
    [[noreturn]] void fail(const std::string& what) {
        const std::string reason = std::strerror(errno);
        discard();
        throw bad_file(path_, what + ": " + reason);
    }
    void discard() noexcept {
        if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        temporary_.clear();
    }

    std::string path_, temporary_;
    int descriptor_ = -1;
};

/// Whether there is a file, folder or other thing of this name. Throws bad_file when the system cannot tell.
inline bool file_exists(const FilePath& path) {
    struct ::stat status {};
    if (::stat(path.c_str(), &status) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    throw bad_file(path.string(), std::string("cannot be looked at: ") + std::strerror(errno));
}

/// Replaces the file at `path` by `bytes`, at once or not at all. Throws bad_file.
inline void write_file_atomically(const FilePath& path, std::string_view bytes) {
    AtomicFile file(path);
    file.write(bytes);
    file.commit();
}

/// A file that is open for reading. Throws bad_file with the system's reason.
class InputFile {
public:
    /// Opens `path`, which may not be a device.
    explicit InputFile(const FilePath& path)
        : path_(path.string()), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        struct ::stat status {};
        if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) fail();
        if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
            ::close(descriptor_);
            throw bad_file(path_, "is a device, expected a file");
        }
        size_ = static_cast<std::size_t>(std::max<::off_t>(status.st_size, 0));
    }
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;
    ~InputFile() { ::close(descriptor_); }

    /// Bytes when it was opened; 0 for a pipe.
    std::size_t size() const { return size_; }
    /// Fills `out` with the bytes at `offset`. Not for pipes.
    void read_at(std::size_t offset, std::span<char> out) const {
        while (!out.empty()) {
            const ::ssize_t n = ::pread(descriptor_, out.data(), out.size(), static_cast<::off_t>(offset));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail();
            if (n == 0) throw bad_file(path_, "truncated while it was read, at byte " + std::to_string(offset));
            offset += static_cast<std::size_t>(n);
            out = out.subspan(static_cast<std::size_t>(n));
        }
    }
    /// The next bytes, as many as come at once; 0 at the end.
    std::size_t read_some(std::span<char> out) const {
        for (;;) {
            const ::ssize_t n = ::read(descriptor_, out.data(), out.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail();
            return static_cast<std::size_t>(n);
        }
    }

private:
    [[noreturn]] void fail() const {
        const int reason = errno;
        throw bad_file(path_, std::string("cannot be read: ") + std::strerror(reason));
    }
    std::string path_;
    int descriptor_;
    std::size_t size_ = 0;
};

/// The whole content of a file or pipe. Throws bad_file when it is missing, unreadable, or a device (which may never
/// end).
inline std::string read_file(const FilePath& path) {
    const InputFile file(path);
    std::string bytes;
    bytes.resize(file.size() + 1);  // one more, to see the end
    std::size_t size = 0;
    while (const std::size_t n = file.read_some({bytes.data() + size, bytes.size() - size})) {
        size += n;
        if (size == bytes.size()) bytes.resize(bytes.size() * 2);  // grew meanwhile, or has no size (a pipe)
    }
    bytes.resize(size);
    return bytes;
}

}  // namespace hat
