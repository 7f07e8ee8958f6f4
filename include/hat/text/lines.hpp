#pragma once
/// \file
/// Text files as lines of valid UTF-8.

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/text/utf8.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace hat {

/// Whether the bytes begin as a gzip file does.
inline bool is_gzip(std::string_view bytes) { return bytes.substr(0, 2) == "\x1F\x8B"; }

/// Cuts the content of a text file into lines: a leading byte order mark and the carriage returns of CRLF are taken
/// off, empty lines stay (parallel files depend on them). Throws bad_file with `path` and the line number when a
/// line is not UTF-8 or holds a NUL byte.
inline std::vector<std::string> split_lines(const std::filesystem::path& path, std::string_view bytes) {
    if (bytes.substr(0, 3) == "\xEF\xBB\xBF") bytes.remove_prefix(3);
    std::vector<std::string> lines;
    lines.reserve(static_cast<std::size_t>(std::count(bytes.begin(), bytes.end(), '\n')) + 1);
    while (!bytes.empty()) {
        const std::size_t end = std::min(bytes.find('\n'), bytes.size());
        std::string_view line = bytes.substr(0, end);
        bytes.remove_prefix(std::min(end + 1, bytes.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (const std::size_t bad = find_invalid_utf8(line); bad != std::string_view::npos) {
            static constexpr std::string_view digits = "0123456789ABCDEF";
            const auto value = static_cast<unsigned char>(line[bad]);
            throw bad_file(path.string(), lines.size() + 1,
                           std::string("invalid UTF-8: byte 0x") + digits[value >> 4] + digits[value & 15U] +
                               " at column " + std::to_string(bad + 1) + "; expected UTF-8 text");
        }
        if (const std::size_t nul = line.find('\0'); nul != std::string_view::npos)
            throw bad_file(path.string(), lines.size() + 1,
                           "NUL byte at column " + std::to_string(nul + 1) + "; expected UTF-8 text");
        lines.emplace_back(line);
    }
    return lines;
}

/// The lines of an uncompressed text file; see split_lines. For files that may be compressed include text/gzip.hpp and
/// call read_lines. Throws bad_file when the file is missing, unreadable, a folder, compressed or not UTF-8.
inline std::vector<std::string> read_plain_lines(const std::filesystem::path& path) {
    const std::string bytes = read_file(path);
    if (is_gzip(bytes)) throw bad_file(path.string(), "is gzip-compressed; expected plain UTF-8 text");
    return split_lines(path, bytes);
}

}  // namespace hat
