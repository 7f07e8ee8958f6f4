#pragma once
/// \file
/// Numbers, times and sizes as people read them.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

namespace hat {

/// A number with so many decimals; "-" if it is not finite.
inline std::string fixed_text(double value, int decimals) {
    if (!std::isfinite(value)) return "-";
    char buffer[400];
    std::snprintf(buffer, sizeof buffer, "%.*f", decimals, value);
    return buffer;
}

/// "12.3 s", "4 min 05 s", "2 h 07 min"; "-" if it is negative or not finite.
inline std::string duration_text(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0) return "-";
    if (seconds < 59.95) return fixed_text(seconds, 1) + " s";
    const auto whole = static_cast<long long>(std::llround(seconds));
    const auto two = [](long long n) { return (n < 10 ? "0" : "") + std::to_string(n); };
    if (whole < 3600) return std::to_string(whole / 60) + " min " + two(whole % 60) + " s";
    return std::to_string(whole / 3600) + " h " + two(whole % 3600 / 60) + " min";
}

namespace detail {
inline std::string scaled_text(double value, const char* const (&units)[5]) {
    std::size_t unit = 0;
    for (; value >= (unit == 0 ? 1000.0 : 999.5) && unit < 4; ++unit) value /= 1000;
    const std::string number = fixed_text(value, unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
    return units[unit][0] == '\0' ? number : number + " " + units[unit];
}
}  // namespace detail

/// "812 B", "1.20 kB", "34.5 MB": decimal units.
inline std::string bytes_text(std::uint64_t bytes) {
    return detail::scaled_text(static_cast<double>(bytes), {"B", "kB", "MB", "GB", "TB"});
}

/// "812", "1.20 k", "34.5 M", "1.53 G".
inline std::string count_text(double count) {
    if (!std::isfinite(count)) return "-";
    return detail::scaled_text(count, {"", "k", "M", "G", "T"});
}

}  // namespace hat
