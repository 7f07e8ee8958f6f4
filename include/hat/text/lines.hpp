#pragma once
/// \file
/// Text files as lines of valid UTF-8.

#include <algorithm>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/file_path.hpp>
#include <hat/text/utf8.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace hat {

/// Whether the bytes begin as a gzip file does.
inline bool is_gzip(std::string_view bytes) { return bytes.substr(0, 2) == "\x1F\x8B"; }

/// A line of a text file as text: without the carriage return of CRLF and, on line 1, without a byte order mark. Throws
/// bad_file with `path` and `number` (from 1) when it is not UTF-8 or holds a NUL byte.
inline std::string_view check_line(const FilePath& path, std::size_t number, std::string_view line) {
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (const std::size_t bad = find_invalid_utf8(line); bad != std::string_view::npos) {
        static constexpr std::string_view digits = "0123456789ABCDEF";
        const auto value = static_cast<unsigned char>(line[bad]);
        throw bad_file(path.string(), number,
                       std::string("invalid UTF-8: byte 0x") + digits[value >> 4] + digits[value & 15U] +
                           " at column " + std::to_string(bad + 1) + "; expected UTF-8 text");
    }
    if (const std::size_t nul = line.find('\0'); nul != std::string_view::npos)
        throw bad_file(path.string(), number,
                       "NUL byte at column " + std::to_string(nul + 1) + "; expected UTF-8 text");
    return line;
}

/// Cuts the content of a text file into lines, each as check_line() gives it; empty lines stay (parallel files depend
/// on them). Throws bad_file with `path` and the line number.
inline std::vector<std::string> split_lines(const FilePath& path, std::string_view bytes) {
    std::vector<std::string> lines;
    lines.reserve(static_cast<std::size_t>(std::count(bytes.begin(), bytes.end(), '\n')) + 1);
    while (!bytes.empty()) {
        const std::size_t end = std::min(bytes.find('\n'), bytes.size());
        lines.emplace_back(check_line(path, lines.size() + 1, bytes.substr(0, end)));
        bytes.remove_prefix(std::min(end + 1, bytes.size()));
    }
    return lines;
}

/// The lines of an uncompressed text file; see split_lines. For files that may be compressed include text/gzip.hpp and
/// call read_lines. Throws bad_file when the file is missing, unreadable, a folder, compressed or not UTF-8.
inline std::vector<std::string> read_plain_lines(const FilePath& path) {
    const std::string bytes = read_file(path);
    if (is_gzip(bytes)) throw bad_file(path.string(), "is gzip-compressed; expected plain UTF-8 text");
    return split_lines(path, bytes);
}

}  // namespace hat
