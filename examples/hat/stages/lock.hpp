#pragma once
// One program at a time in a folder.

#include <filesystem>

namespace hat::cli {

// Holds `folder`/.lock while it lives; the system lets go of it even after kill -9. Throws bad_file, naming the process
// that has it.
class FolderLock {
public:
    explicit FolderLock(const std::filesystem::path& folder);
    ~FolderLock();
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

private:
    int descriptor_ = -1;
};

}  // namespace hat::cli
