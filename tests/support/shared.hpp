#pragma once
/// \file
/// Published data that some tests also run on where it is there: environment variable HAT_SHARED, default a folder
/// `shared` beside the repository. No test needs it.

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace hat_test {

/// A folder or file of the published data; says that a test is skipped where there is none.
inline std::optional<std::filesystem::path> shared_reference(const std::string& name) {
    const char* named = std::getenv("HAT_SHARED");
    const auto path =
        (named != nullptr ? std::filesystem::path(named) : std::filesystem::path(HAT_SOURCE_DIR) / ".." / "shared") /
        "reference" / name;
    if (std::filesystem::exists(path)) return path;
    MESSAGE("skipped: no " << path.string() << " (HAT_SHARED names another place)");
    return std::nullopt;
}

}  // namespace hat_test
