#pragma once
/// \file
/// Text files that may be compressed (component hat::gzip, zlib).

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/text/corpus.hpp>
#include <hat/text/lines.hpp>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hat {

/// Unpacks the content of a .gz file, of one or several members. Throws bad_file with `path` when it is truncated,
/// corrupt, or followed by other bytes.
inline std::string gunzip(const std::filesystem::path& path, std::string_view bytes) {
    ::z_stream stream{};
    if (::inflateInit2(&stream, 15 + 16) != Z_OK) throw bad_file(path.string(), "gzip: zlib cannot be started");
    const std::unique_ptr<::z_stream, int (*)(::z_stream*)> end(&stream, ::inflateEnd);
    std::string out;
    bool finished = false;
    while (!finished || !bytes.empty()) {
        if (finished && ::inflateReset(&stream) != Z_OK) throw bad_file(path.string(), "gzip: zlib cannot be reset");
        finished = false;
        const std::size_t piece = std::min<std::size_t>(bytes.size(), std::numeric_limits<::uInt>::max());
        stream.next_in = reinterpret_cast<::Bytef*>(const_cast<char*>(bytes.data()));
        stream.avail_in = static_cast<::uInt>(piece);
        const std::size_t room = std::clamp<std::size_t>(out.size(), std::size_t{1} << 16, std::size_t{1} << 26);
        const std::size_t size = out.size();
        out.resize(size + room);
        stream.next_out = reinterpret_cast<::Bytef*>(out.data() + size);
        stream.avail_out = static_cast<::uInt>(room);
        const int status = ::inflate(&stream, Z_NO_FLUSH);
        out.resize(size + room - stream.avail_out);
        bytes.remove_prefix(piece - stream.avail_in);
        if (status == Z_STREAM_END)
            finished = true;
        else if (status == Z_BUF_ERROR || (status == Z_OK && bytes.empty() && stream.avail_out != 0))
            throw bad_file(path.string(), "truncated gzip file: ends after " + std::to_string(out.size()) +
                                              " unpacked bytes, inside compressed data");
        else if (status != Z_OK)
            throw bad_file(path.string(), std::string("corrupt gzip file: ") +
                                              (stream.msg != nullptr ? stream.msg : "unknown zlib error"));
    }
    return out;
}

/// The lines of a plain or gzip-compressed text file (told apart by its first bytes, not its name); see split_lines.
/// Throws bad_file when it is missing, unreadable, a folder, truncated, corrupt or not UTF-8.
inline std::vector<std::string> read_lines(const std::filesystem::path& path) {
    const std::string bytes = read_file(path);
    return split_lines(path, is_gzip(bytes) ? gunzip(path, bytes) : bytes);
}

/// Two files, plain or compressed, whose lines translate each other. Throws bad_file, also for unequal line counts.
inline ParallelText read_parallel(const std::filesystem::path& source, const std::filesystem::path& target) {
    return pair_lines(read_lines(source), read_lines(target), source, target);
}

}  // namespace hat
