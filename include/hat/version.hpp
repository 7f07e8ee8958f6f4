#pragma once
/// \file
/// The version of hat; CMake reads it from here.

#define HAT_VERSION_MAJOR 0  ///< changes when user code must change
#define HAT_VERSION_MINOR 1  ///< changes with new features
#define HAT_VERSION_PATCH 0  ///< changes with repairs

namespace hat {
/// The version as text, as stored in files for provenance.
inline constexpr const char* version = "0.1.0";
}  // namespace hat
