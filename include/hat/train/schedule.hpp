#pragma once
/// \file
/// Learning rates as pure functions of the number of completed updates; the first update uses schedule(0). The
/// formulas of the first two are the reference's (fairseq's inverse_sqrt and cosine schedulers).

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <numbers>
#include <string>
#include <variant>

namespace hat {

/// Linear warm-up to `lr`, then lr * sqrt(warmup / updates).
struct InverseSquareRootSchedule {
    double lr = 5e-4;             ///< reached at the end of the warm-up
    std::uint64_t warmup = 4000;  ///< updates
    double warmup_init = -1;      ///< rate of the first update; negative: 0 with a warm-up, else lr

    /// The rate after so many updates.
    double operator()(std::uint64_t updates) const {
        const double w = static_cast<double>(warmup), n = static_cast<double>(updates);
        const double init = warmup_init >= 0 ? warmup_init : warmup > 0 ? 0.0 : lr;
        if (updates < warmup) return init + n * ((lr - init) / w);
        return updates == 0 ? lr : lr * std::sqrt(std::max(w, 1.0)) / std::sqrt(n);
    }
    friend bool operator==(const InverseSquareRootSchedule&,
                           const InverseSquareRootSchedule&) = default;  ///< memberwise
};

/// Linear warm-up to `max_lr`, then cosine periods from max_lr down to min_lr, each `period_factor` times as long as
/// the one before and scaled by `shrink`. It restarts at the end of a period: end training there, not after it.
struct CosineSchedule {
    double min_lr = 1e-7;           ///< the reference's --lr
    double max_lr = 1e-3;           ///< reached at the end of the warm-up
    std::uint64_t warmup = 4000;    ///< updates
    double warmup_init = -1;        ///< rate of the first update; negative: min_lr
    std::uint64_t max_updates = 0;  ///< end of the only period if `period` is 0
    std::uint64_t period = 0;       ///< updates of the first period; 0: max_updates - warmup
    double period_factor = 1;       ///< the reference's --t-mult
    double shrink = 1;              ///< the reference's --lr-shrink, factor of both rates from period to period

    /// The rate after so many updates.
    double operator()(std::uint64_t updates) const {
        const double init = warmup_init >= 0 ? warmup_init : min_lr, n = static_cast<double>(updates);
        if (updates < warmup) return init + n * ((max_lr - init) / static_cast<double>(warmup));
        const double c = n - static_cast<double>(warmup);
        const double first = static_cast<double>(period > 0 ? period : max_updates - warmup);
        double index, length, t;
        if (period_factor == 1) {
            index = std::floor(c / first);
            length = first;
            t = c - first * index;
        } else {
            index = std::floor(std::log(1 - c / first * (1 - period_factor)) / std::log(period_factor));
            length = std::pow(period_factor, index) * first;
            t = c - (1 - std::pow(period_factor, index)) / (1 - period_factor) * first;
        }
        const double scale = std::pow(shrink, index), low = min_lr * scale, high = max_lr * scale;
        return low + 0.5 * (high - low) * (1 + std::cos(std::numbers::pi * t / length));
    }
    friend bool operator==(const CosineSchedule&, const CosineSchedule&) = default;  ///< memberwise
};

/// Linear warm-up to `lr` (the first update already gets lr / warmup), then constant.
struct FixedSchedule {
    double lr = 1e-3;          ///< the rate after the warmup
    std::uint64_t warmup = 0;  ///< updates

    /// The rate after so many updates.
    double operator()(std::uint64_t updates) const {
        return updates < warmup ? lr * static_cast<double>(updates + 1) / static_cast<double>(warmup) : lr;
    }
    friend bool operator==(const FixedSchedule&, const FixedSchedule&) = default;  ///< memberwise
};

/// Any of them.
using Schedule = std::variant<InverseSquareRootSchedule, CosineSchedule, FixedSchedule>;

/// The rate after this many completed updates.
inline double learning_rate(const Schedule& schedule, std::uint64_t updates) {
    // no std::visit, which takes compilers as long as the rest of this file
    if (const auto* s = std::get_if<InverseSquareRootSchedule>(&schedule)) return (*s)(updates);
    if (const auto* s = std::get_if<CosineSchedule>(&schedule)) return (*s)(updates);
    return std::get<FixedSchedule>(schedule)(updates);
}

/// Throws invalid_value that names the option, its value and what was expected.
inline void validate(const Schedule& schedule) {
    const auto require = [](bool good, const std::string& name, auto value, const std::string& expected) {
        if (!good)
            throw invalid_value("hat::Schedule: " + name + " is " + std::to_string(value) + ", expected " + expected);
    };
    const auto rate = [&](const std::string& name, double value) {
        require(std::isfinite(value) && value > 0, name, value, "a positive number");
    };
    if (const auto* s = std::get_if<InverseSquareRootSchedule>(&schedule)) {
        rate("lr", s->lr);
        require(std::isfinite(s->warmup_init), "warmup_init", s->warmup_init, "a finite number");
    } else if (const auto* c = std::get_if<CosineSchedule>(&schedule)) {
        require(std::isfinite(c->min_lr) && c->min_lr >= 0, "min_lr", c->min_lr, "a number of at least 0");
        rate("max_lr", c->max_lr);
        require(c->max_lr > c->min_lr, "max_lr", c->max_lr, "more than min_lr, " + std::to_string(c->min_lr));
        require(std::isfinite(c->warmup_init), "warmup_init", c->warmup_init, "a finite number");
        require(c->period > 0 || c->max_updates > c->warmup, "max_updates", c->max_updates,
                "more than warmup, " + std::to_string(c->warmup) + ", or a period");
        require(std::isfinite(c->period_factor) && c->period_factor >= 1, "period_factor", c->period_factor,
                "at least 1");
        require(std::isfinite(c->shrink) && c->shrink > 0, "shrink", c->shrink, "a positive number");
    } else if (const auto* f = std::get_if<FixedSchedule>(&schedule)) {
        rate("lr", f->lr);
    }
}

}  // namespace hat
