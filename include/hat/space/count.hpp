#pragma once
/// \file
/// Exact numbers of networks. Large spaces have more than 2^64 of them.

#include <algorithm>
#include <bit>
#include <cmath>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <hat/core/rng.hpp>
#include <string>
#include <vector>

namespace hat {

/// A natural number of any size, with the few operations that counting networks needs.
class BigCount {
public:
    /// Any 64-bit number.
    BigCount(std::uint64_t value = 0) {
        for (; value != 0; value >>= 32) limbs_.push_back(static_cast<std::uint32_t>(value));
    }
    /// Adds exactly.
    BigCount& operator+=(const BigCount& o) {
        limbs_.resize(std::max(limbs_.size(), o.limbs_.size()) + 1);
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < limbs_.size(); ++i) {
            carry += limbs_[i] + std::uint64_t{i < o.limbs_.size() ? o.limbs_[i] : 0};
            limbs_[i] = static_cast<std::uint32_t>(carry);
            carry >>= 32;
        }
        trim();
        return *this;
    }
    /// `o` must not be larger.
    BigCount& operator-=(const BigCount& o) {
        std::uint64_t borrow = 0;
        for (std::size_t i = 0; i < limbs_.size(); ++i) {
            const std::uint64_t take = borrow + (i < o.limbs_.size() ? o.limbs_[i] : 0);
            borrow = take > limbs_[i] ? 1 : 0;
            limbs_[i] = static_cast<std::uint32_t>((borrow << 32) + limbs_[i] - take);
        }
        trim();
        return *this;
    }
    /// Multiplies exactly.
    BigCount& operator*=(std::uint32_t factor) {
        std::uint64_t carry = 0;
        for (auto& limb : limbs_) {
            carry += std::uint64_t{limb} * factor;
            limb = static_cast<std::uint32_t>(carry);
            carry >>= 32;
        }
        if (carry != 0) limbs_.push_back(static_cast<std::uint32_t>(carry));
        trim();
        return *this;
    }
    friend bool operator==(const BigCount&, const BigCount&) = default;  ///< memberwise
    /// Which is the larger number.
    friend std::strong_ordering operator<=>(const BigCount& a, const BigCount& b) {
        if (a.limbs_.size() != b.limbs_.size()) return a.limbs_.size() <=> b.limbs_.size();
        for (std::size_t i = a.limbs_.size(); i-- > 0;)
            if (a.limbs_[i] != b.limbs_[i]) return a.limbs_[i] <=> b.limbs_[i];
        return std::strong_ordering::equal;
    }

    /// All decimal digits.
    std::string text() const {
        std::string digits;
        for (auto rest = limbs_; !rest.empty();) {
            std::uint64_t remainder = 0;
            for (std::size_t i = rest.size(); i-- > 0;) {
                remainder = (remainder << 32) + rest[i];
                rest[i] = static_cast<std::uint32_t>(remainder / 10);
                remainder %= 10;
            }
            digits += static_cast<char>('0' + remainder);
            while (!rest.empty() && rest.back() == 0) rest.pop_back();
        }
        std::reverse(digits.begin(), digits.end());
        return digits.empty() ? "0" : digits;
    }
    /// The nearest floating-point number, within a few units in the last place.
    double value() const {
        double sum = 0;
        for (std::size_t i = limbs_.size(); i-- > 0;) sum = sum * 0x1.0p32 + limbs_[i];
        return sum;
    }
    /// Uniform in [0, n); n must be positive.
    static BigCount random_below(const BigCount& n, Rng& rng) {
        const int spare = std::countl_zero(n.limbs_.back());
        for (;;) {
            BigCount x;
            for (std::size_t i = 0; i < n.limbs_.size(); ++i)
                x.limbs_.push_back(static_cast<std::uint32_t>(rng.next() >> 32));
            x.limbs_.back() >>= spare;
            x.trim();
            if (x < n) return x;
        }
    }

private:
    void trim() {
        while (!limbs_.empty() && limbs_.back() == 0) limbs_.pop_back();
    }
    std::vector<std::uint32_t> limbs_;  // least significant first, no zero at the end
};

}  // namespace hat
