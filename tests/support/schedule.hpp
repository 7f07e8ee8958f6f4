#pragma once
/// \file
/// The schedules of the fixtures' manifest as hat's own.

#include <algorithm>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/io/json.hpp>
#include <hat/train/schedule.hpp>
#include <string>

namespace hat_test {

/// A schedule from the reference's class name and options.
inline hat::Schedule schedule_of(const std::string& kind, const hat::Json& args) {
    const auto count = [&](const char* key) {
        return static_cast<std::uint64_t>(std::max<std::int64_t>(0, args.at(key).get<std::int64_t>()));
    };
    if (kind == "InverseSquareRootSchedule") {
        hat::InverseSquareRootSchedule s;
        s.lr = args.at("lr").at(0);
        s.warmup = count("warmup_updates");
        s.warmup_init = args.at("warmup_init_lr");
        return s;
    }
    if (kind == "CosineSchedule") {
        hat::CosineSchedule s;
        s.min_lr = args.at("lr").at(0);
        s.max_lr = args.at("max_lr");
        s.warmup = count("warmup_updates");
        s.warmup_init = args.at("warmup_init_lr");
        s.max_updates = count("max_update");
        s.period = count("lr_period_updates");
        s.period_factor = args.at("t_mult");
        s.shrink = args.at("lr_shrink");
        return s;
    }
    throw hat::error("golden: unknown schedule " + kind);
}

}  // namespace hat_test
