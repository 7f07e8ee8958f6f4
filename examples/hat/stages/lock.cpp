#include <filesystem>
#include <stages/lock.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <string>

namespace hat::cli {

FolderLock::FolderLock(const std::filesystem::path& folder) {
    const std::filesystem::path file = folder / ".lock";
    descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw bad_file(file.string(), std::string("cannot be written: ") + std::strerror(errno));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
        const int reason = errno;
        ::close(descriptor_);
        if (reason == EWOULDBLOCK)
            throw bad_file(folder.string(), "another hat (pid " + read_file(file) + ") works here");
        throw bad_file(file.string(), std::string("cannot be locked: ") + std::strerror(reason));
    }
    const std::string pid = std::to_string(::getpid());
    if (::ftruncate(descriptor_, 0) != 0 || ::write(descriptor_, pid.data(), pid.size()) < 0)
        throw bad_file(file.string(), std::string("cannot be written: ") + std::strerror(errno));
}

FolderLock::~FolderLock() { ::close(descriptor_); }

}  // namespace hat::cli
