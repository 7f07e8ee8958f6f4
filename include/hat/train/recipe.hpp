#pragma once
/// \file
/// From a published recipe to a trainer's options. Optional: needs nlohmann_json (target hat::json).

#include <cstdint>
#include <hat/space/presets.hpp>
#include <hat/train/schedule.hpp>
#include <hat/train/trainer.hpp>

namespace hat {

/// Optimiser, schedule, dropout and length of a recipe; folders, intervals and the like keep their defaults.
inline TrainerOptions trainer_options(const TrainingRecipe& r) {
    TrainerOptions o;
    o.adam = {.beta1 = r.adam_beta1,
              .beta2 = r.adam_beta2,
              .epsilon = r.adam_eps,
              .weight_decay = r.weight_decay,
              .clip_norm = r.clip_norm};
    const auto warmup = static_cast<std::uint64_t>(r.warmup_updates);
    if (r.schedule == ScheduleKind::cosine)
        o.schedule =
            CosineSchedule{.min_lr = r.lr,
                           .max_lr = r.max_lr,
                           .warmup = warmup,
                           .warmup_init = r.warmup_init_lr,
                           .max_updates = static_cast<std::uint64_t>(r.max_updates),
                           .period = r.lr_period_updates > 0 ? static_cast<std::uint64_t>(r.lr_period_updates) : 0,
                           .period_factor = r.t_mult,
                           .shrink = r.lr_shrink};
    else
        o.schedule = InverseSquareRootSchedule{.lr = r.lr, .warmup = warmup, .warmup_init = r.warmup_init_lr};
    o.label_smoothing = r.label_smoothing;
    o.dropout = r.dropout;
    o.attention_dropout = r.attention_dropout;
    o.activation_dropout = r.activation_dropout;
    o.update_freq = static_cast<std::size_t>(r.update_freq);
    o.seed = r.seed;
    o.max_updates = static_cast<std::uint64_t>(r.max_updates);
    return o;
}

}  // namespace hat
