#pragma once
/// \file
/// What a measurement was made on.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/file_path.hpp>
#include <hat/version.hpp>
#include <initializer_list>
#include <string>
#include <string_view>
#include <thread>

namespace hat {

/// A short name for a line that describes a device, for every row of a dataset.
inline std::string device_id(std::string_view text) {
    std::uint64_t h = 0;
    for (const char c : text) h = mix64(h * 0x9E3779B97F4A7C15ULL + static_cast<unsigned char>(c) + 1);
    char buffer[20];
    std::snprintf(buffer, sizeof buffer, "%016llx", static_cast<unsigned long long>(h));
    return buffer;
}

/// Fingerprint of a machine and a build: latencies of two devices must not be mixed. Unreadable parts are "unknown".
struct Device {
    std::string cpu;           ///< model name
    std::string isa;           ///< instruction sets that matter here, as the system names them
    std::string governor;      ///< who sets the clock frequency
    std::string compiler;      ///< that built this program, and the vector instructions it was allowed
    std::size_t processors{};  ///< hardware threads of the machine
    std::size_t threads{};     ///< used by the measured model
    std::string hat_version;   ///< of the library that measured

    /// One line "key=value; ...", as stored with measurements.
    std::string text() const {
        return "cpu=" + cpu + "; isa=" + isa + "; governor=" + governor + "; compiler=" + compiler +
               "; processors=" + std::to_string(processors) + "; threads=" + std::to_string(threads) +
               "; hat=" + hat_version;
    }
    /// device_id() of the line above.
    std::string id() const { return device_id(text()); }
    friend bool operator==(const Device&, const Device&) = default;  ///< memberwise
};

namespace detail {
/// What a file of the system holds; nothing if it cannot be read.
inline std::string system_file(const FilePath& file) {
    try {
        return read_file(file);
    } catch (const bad_file&) {
        return {};
    }
}

/// The value of the first "key : value" line of /proc/cpuinfo with one of these keys.
inline std::string cpuinfo_value(const FilePath& file, std::initializer_list<std::string_view> keys) {
    const std::string text = system_file(file);
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t stop = std::min(text.find('\n', at), text.size());
        const std::string line = text.substr(at, stop - at);
        at = stop + 1;
        const auto colon = line.find(':');
        if (colon == std::string::npos) continue;
        const auto end = line.find_last_not_of(" \t", colon == 0 ? 0 : colon - 1);
        const std::string_view key = std::string_view(line).substr(0, end == std::string::npos ? 0 : end + 1);
        const auto begin = line.find_first_not_of(" \t", colon + 1);
        for (const auto& wanted : keys)
            if (key == wanted && begin != std::string::npos) return line.substr(begin);
    }
    return "unknown";
}

inline std::string compiler_text() {
#if defined(__clang__)
    std::string text = "clang " __clang_version__;
#elif defined(__GNUC__)
    std::string text = "gcc " __VERSION__;
#else
    std::string text = "unknown";
#endif
    while (!text.empty() && text.back() == ' ') text.pop_back();
#if defined(HAT_SCALAR)
    text += " scalar";
#elif defined(__AVX512F__)
    text += " avx512f";
#elif defined(__AVX2__)
    text += " avx2";
#elif defined(__AVX__)
    text += " avx";
#elif defined(__SSE2__)
    text += " sse2";
#elif defined(__ARM_NEON)
    text += " neon";
#endif
    return text;
}
}  // namespace detail

/// The machine this runs on. `threads`: what the measured model uses. `root` is where /proc and /sys are (for tests).
inline Device this_device(std::size_t threads, const FilePath& root = "") {
    Device d;
    const std::string cpuinfo = root.string() + "/proc/cpuinfo";
    d.cpu = detail::cpuinfo_value(cpuinfo, {"model name", "Model", "Hardware", "Processor"});
    const std::string flags = " " + detail::cpuinfo_value(cpuinfo, {"flags", "Features"}) + " ";
    for (const char* name : {"sse4_2",   "avx",         "avx2",        "fma",      "avx_vnni", "avx512f",  "avx512bw",
                             "avx512vl", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8", "neon",
                             "asimd",    "asimddp",     "asimdhp",     "sve",      "sve2",     "i8mm",     "bf16"})
        if (flags.find(" " + std::string(name) + " ") != std::string::npos)
            d.isa.append(d.isa.empty() ? "" : " ").append(name);
    if (d.isa.empty()) d.isa = "unknown";
    d.governor = detail::system_file(root.string() + "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    d.governor.resize(std::min(d.governor.find('\n'), d.governor.size()));
    if (d.governor.empty()) d.governor = "unknown";
    d.compiler = detail::compiler_text();
    d.processors = std::thread::hardware_concurrency();
    d.threads = threads;
    d.hat_version = version;
    return d;
}

}  // namespace hat
