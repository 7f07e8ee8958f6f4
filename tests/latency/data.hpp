#pragma once
/// \file
/// Rows to fit on.

#include <vector>

namespace hat_test {

/// Features, row after row, and one value for each row.
struct Data {
    std::vector<float> x, y;
};

}  // namespace hat_test
