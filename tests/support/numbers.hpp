#pragma once
/// \file
/// Comparing numbers.

#include <cmath>
#include <limits>

namespace hat_test {

/// The larger of two errors, NaN once one of them is NaN or infinite: then no CHECK(worst < bound) holds. (std::max
/// would forget a NaN.)
inline double worse(double worst, double next) {
    if (!std::isfinite(worst) || !std::isfinite(next)) return std::numeric_limits<double>::quiet_NaN();
    return next > worst ? next : worst;
}

}  // namespace hat_test
