#pragma once
/// \file
/// Names of files in interfaces.

#include <concepts>
#include <string>
#include <string_view>
#include <utility>

namespace hat {

/// The name of a file or folder. It is made of whatever names one: strings, and std::filesystem::path, whose header is
/// not included here because it takes compilers longer than all kernels together.
class FilePath {
public:
    /// A name that ends in a zero byte.
    FilePath(const char* name) : name_(name) {}
    /// A name as it is.
    FilePath(std::string name) : name_(std::move(name)) {}
    /// A copy of a name.
    FilePath(std::string_view name) : name_(name) {}
    /// A path of the standard library.
    template <class Path>
    requires requires(const Path& path) {
        { path.native() } -> std::convertible_to<std::string>;
    }
    FilePath(const Path& path) : name_(path.native()) {}

    /// The name.
    const std::string& string() const { return name_; }
    /// The name for calls of the system.
    const char* c_str() const { return name_.c_str(); }

private:
    std::string name_;
};

}  // namespace hat
