#pragma once
/// \file
/// What hat throws. Every message names what was wrong, where, the value found and what was expected.

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace hat {

/// Base of everything hat throws on bad input.
struct error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// An argument, option or architecture value outside what is allowed.
struct invalid_value : error {
    using error::error;
};

/// Sizes that do not fit together.
struct shape_mismatch : error {
    using error::error;
};

/// A file that is missing, unreadable, truncated, corrupt or of the wrong kind. `where` is a line, key or tensor.
struct bad_file : error {
    /// "`path`: `message`".
    bad_file(std::string_view path, std::string_view message)
        : error(std::string(path) + ": " + std::string(message)) {}
    /// "`path`:`line`: `message`"; lines count from 1.
    bad_file(std::string_view path, std::size_t line, std::string_view message)
        : error(std::string(path) + ":" + std::to_string(line) + ": " + std::string(message)) {}
};

/// A configuration key or value that cannot be used.
struct bad_config : error {
    using error::error;
};

/// No SubTransformer of the space satisfies the limit.
struct infeasible : error {
    using error::error;
};

/// A NaN or an infinity where a finite number is needed.
struct not_finite : error {
    using error::error;
};

/// The user asked to stop (Ctrl-C); what was done so far is saved.
struct interrupted : error {
    using error::error;
};

/// A value for a message: one longer than `most` bytes is cut (between characters) and its length is given.
inline std::string excerpt(std::string_view text, std::size_t most = 80) {
    if (text.size() <= most) return std::string(text);
    std::size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    return std::string(text.substr(0, end)) + "... (" + std::to_string(text.size()) + " bytes)";
}

}  // namespace hat
