#pragma once
/// \file
/// Trains a SuperTransformer (one sampled SubTransformer per update) or one fixed network, from any weights. Optional:
/// needs nlohmann_json (target hat::json).

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/core/tokens.hpp>
#include <hat/io/json.hpp>
#include <hat/model/elastic.hpp>
#include <hat/model/model_file.hpp>
#include <hat/model/weights.hpp>
#include <hat/space/arch.hpp>
#include <hat/train/adam.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/checkpoint.hpp>
#include <hat/train/schedule.hpp>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace hat {

/// Where training batches come from. Both must be pure functions of their arguments (and a seed): resuming asks again.
struct BatchSource {
    std::function<std::size_t(std::uint64_t epoch)> begin_epoch;  ///< shuffles; returns the number of batches
    std::function<Batch(std::size_t index)> batch;                ///< one batch of the epoch begun last
};

/// The shuffled, bucketed batches of a corpus.
inline BatchSource batch_source(std::shared_ptr<const Batches> corpus) {
    const auto plan = std::make_shared<BatchPlan>();
    return {[corpus, plan](std::uint64_t epoch) { return (*plan = corpus->epoch(epoch)).size(); },
            [corpus, plan](std::size_t index) { return corpus->batch(*plan, index); }};
}

/// All batches of a corpus in its own order: for validation.
inline std::vector<Batch> batches_in_order(const Batches& corpus) {
    const BatchPlan plan = corpus.in_order();
    std::vector<Batch> batches;
    for (std::size_t i = 0; i < plan.size(); ++i) batches.push_back(corpus.batch(plan, i));
    return batches;
}

/// A network whose validation loss is watched.
struct ValidationArch {
    std::string name;  ///< e.g. "largest"
    RuntimeArch arch;  ///< the network
};

/// What is trained, on what, and on which networks it is validated.
struct TrainingTask {
    std::function<RuntimeArch(std::uint64_t updates)>
        arch;                       ///< the network of an update: a UniformSampler, or a constant
    BatchSource batches;            ///< what it is trained on
    std::vector<Batch> validation;  ///< may be empty: then there is no best checkpoint and no early stopping
    /// The last one decides which checkpoint is best and when to stop early; the reference validates the largest, then
    /// the smallest SubTransformer. The first one is what checkpoints name as their network.
    std::vector<ValidationArch> validated;
    Json identity =
        Json::object();  ///< what else a checkpoint must agree on to be resumed: {"space": ..., "data": ...}
    /// The weights that losses are computed with, of those that are trained, say straight_through(); a pure function.
    /// Their gradient trains the others. Empty: they are the same.
    std::function<Weights<float>(const Weights<float>& trained)> stand_in{};
};

/// A task that trains one network.
inline TrainingTask fixed_task(const RuntimeArch& arch, BatchSource batches, std::vector<Batch> validation) {
    return {[arch](std::uint64_t) { return arch; },
            std::move(batches),
            std::move(validation),
            {{"network", arch}},
            {{"network", arch_to_json(arch)}},
            {}};
}

/// A task that trains a SuperTransformer with `sampler`, validating the space's largest and smallest network.
template <class Sampler>
TrainingTask super_task(Sampler sampler, const RuntimeArch& largest, const RuntimeArch& smallest, BatchSource batches,
                        std::vector<Batch> validation, Json space) {
    return {std::move(sampler),
            std::move(batches),
            std::move(validation),
            {{"largest", largest}, {"smallest", smallest}},
            {{"space", std::move(space)}},
            {}};
}

/// How to train. At least one of max_updates, max_epochs, max_seconds and patience must say when to end.
struct TrainerOptions {
    AdamOptions adam{};                               ///< the optimiser
    Schedule schedule = InverseSquareRootSchedule{};  ///< of the learning rate
    double label_smoothing = 0.1;                     ///< share of the probability spread over all words
    double dropout = 0.3;                             ///< scaled to the sampled width (semantics, section 6)
    double attention_dropout = 0;                     ///< of attention weights
    double activation_dropout = 0;                    ///< inside the FFN
    /// What operands of linear layers' products are rounded to while training. bf16x3 has the accuracy of fp32, is
    /// faster with AMX and the same, to the bit, elsewhere; fp32 makes no use of AMX; bf16 is faster still with AMX,
    /// and with AVX512-BF16 on AMD Zen 4 and 5 (docs/performance.md). Weights, sums and all else are float; so is
    /// validation.
    Precision precision = Precision::bf16x3;
    std::size_t update_freq = 1;    ///< batches per update; they share one network, their gradients are summed
    std::uint64_t seed = 1;         ///< of dropout
    std::uint64_t max_updates = 0;  ///< 0: no limit
    std::uint64_t max_epochs = 0;   ///< 0: no limit
    double max_seconds = 0;  ///< over all sessions; 0: no limit. A result that depends on time cannot be repeated
    std::uint64_t validate_every = 0;    ///< updates; 0: after each epoch. There is also one at the end
    std::uint64_t patience = 0;          ///< end after so many validations without a better loss; 0: never
    std::filesystem::path folder{};      ///< of checkpoints; empty: none are written
    std::uint64_t checkpoint_every = 0;  ///< updates; 0: only when the best loss improves, on stopping and at the end
    double checkpoint_seconds = 0;       ///< also a pause (see CheckpointKind) after so much time; 0: not by time
    std::size_t keep_last = 1;           ///< planned checkpoints kept beside the best one
    const std::atomic<bool>* stop = nullptr;  ///< set it (from a signal handler) to end after the current update
};

/// One update, for progress bars.
struct TrainingProgress {
    std::uint64_t update = 0;            ///< completed updates
    std::uint64_t max_updates = 0;       ///< their limit
    std::uint64_t epoch = 0;             ///< completed epochs
    TokenLoss loss;                      ///< of this update's batches
    double lr = 0;                       ///< of this update
    double gradient_norm = 0;            ///< before clipping
    double tokens_per_second = 0;        ///< target tokens, mean of this session's updates
    double seconds = 0;                  ///< all sessions
    std::optional<double> seconds_left;  ///< until max_updates or max_seconds, whichever comes first
    RuntimeArch arch;                    ///< the network of this update

    /// e to the nll of this update.
    double perplexity() const { return std::exp(loss.nll); }
};

/// Callbacks; each may be empty. They run on the training thread.
struct TrainingObserver {
    std::function<void(const TrainingState&)> resumed{};                 ///< a checkpoint was found
    std::function<void(const TrainingProgress&)> updated{};              ///< after every update
    std::function<void(const HistoryEntry&, bool is_best)> validated{};  ///< after every validation
    std::function<void(const std::filesystem::path&)> saved{};           ///< after every checkpoint, with its folder
};

/// Why training ended.
enum class TrainingEnd { max_updates, max_epochs, max_seconds, patience, stopped };

/// What a training came to. The weights are the caller's; the best ones are in the folder's best checkpoint.
struct TrainingResult {
    TrainingEnd end = TrainingEnd::max_updates;  ///< why
    TrainingState state;                         ///< where it ended
};

/// Trains weights in place. Given a folder with a checkpoint it goes on from there: weights are bit-identical to those
/// of a training that was never interrupted, for any number of threads (unless time decides when to end).
class Trainer {
public:
    /// Keeps a reference to `weights`. Throws invalid_value naming an impossible option.
    Trainer(Weights<float>& weights, TrainingTask task, TrainerOptions options, ThreadPool pool = ThreadPool(1))
        : weights_(weights),
          task_(std::move(task)),
          options_(std::move(options)),
          stand_in_(task_.stand_in ? std::make_unique<Weights<float>>(weights.shared_layout()) : nullptr),
          model_(stand_in_ ? *stand_in_ : weights, pool),
          adam_(weights.shared_layout(), options_.adam, pool),
          gradient_(weights.shared_layout()) {
        check();
        if (!options_.folder.empty()) folder_.emplace(options_.folder, options_.keep_last);
    }

    /// Trains until an end is reached, from the weights as they are or from the folder's checkpoint. Throws not_finite,
    /// naming update and tensor, when loss, gradient or weights are no numbers: the last checkpoint is then intact.
    /// Throws bad_file when a checkpoint cannot be read or written.
    TrainingResult run(const TrainingObserver& observer = {}) {
        const auto started = Clock::now();
        state_ = {};
        adam_ = Adam<float>(weights_.shared_layout(), options_.adam, model_.pool());
        planned_at_.reset();
        saved_at_.reset();
        if (folder_ && folder_->exists()) {
            state_ = folder_->load(weights_, adam_, identity());
            if (!folder_->paused()) planned_at_ = state_.update;
            saved_at_ = state_.update;
            if (observer.resumed) observer.resumed(state_);
        }
        const double seconds_before = state_.seconds;
        const std::uint64_t updates_before = state_.update;
        double update_seconds = 0, last_save = 0;
        std::uint64_t session_tokens = 0;
        std::optional<std::uint64_t> begun;  // the epoch whose batches are at hand
        std::size_t batches = 0;
        for (;;) {
            if (const auto end = reached()) {
                if (*end == TrainingEnd::stopped) {
                    if (saved_at_ != state_.update) save(CheckpointKind::pause, false, observer);
                    return {*end, state_};
                }
                const bool validated = !state_.history.empty() && state_.history.back().update == state_.update;
                const bool due = !validated && !task_.validation.empty();
                const bool best = due && validate(observer);
                if (due || planned_at_ != state_.update) save(CheckpointKind::planned, best, observer);
                return {*end, state_};
            }
            const auto update_started = Clock::now();
            if (begun != state_.epoch) {
                batches = task_.batches.begin_epoch(state_.epoch);
                begun = state_.epoch;
                if (batches == 0) throw invalid_value("hat::Trainer: there is no training batch");
                if (state_.batch >= batches)
                    throw invalid_value("hat::Trainer: the checkpoint is at batch " + std::to_string(state_.batch) +
                                        ", but epoch " + std::to_string(state_.epoch) + " has only " +
                                        std::to_string(batches) + ": the data changed");
            }
            TrainingProgress progress = update(batches);
            session_tokens += tokens_;
            update_seconds += seconds_since(update_started);
            state_.seconds = seconds_before + seconds_since(started);
            if (observer.updated) {
                progress.seconds = state_.seconds;
                progress.tokens_per_second = static_cast<double>(session_tokens) / std::max(1e-9, update_seconds);
                progress.seconds_left = left(seconds_since(started), state_.update - updates_before);
                observer.updated(progress);
            }
            const bool due = options_.validate_every ? state_.update % options_.validate_every == 0 : state_.batch == 0;
            const bool best = due && validate(observer);
            const double now = seconds_since(started);
            state_.seconds = seconds_before + now;
            const bool planned = best || (options_.checkpoint_every && state_.update % options_.checkpoint_every == 0);
            if (planned || (options_.checkpoint_seconds > 0 && now - last_save >= options_.checkpoint_seconds)) {
                save(planned ? CheckpointKind::planned : CheckpointKind::pause, best, observer);
                last_save = now;
            }
        }
    }

    /// The optimiser with its state.
    const Adam<float>& adam() const { return adam_; }

    /// What a checkpoint must agree on to be resumed. Ends, intervals and patience may change between sessions.
    Json identity() const {
        Json json = task_.identity;
        json["model"] = config_to_json(weights_.config());
        if (task_.stand_in) json["stand_in"] = true;
        const auto& a = options_.adam;
        json["optimizer"] = {{"beta1", a.beta1},
                             {"beta2", a.beta2},
                             {"epsilon", a.epsilon},
                             {"weight_decay", a.weight_decay},
                             {"clip_norm", a.clip_norm}};
        Json& s = json["schedule"];
        if (const auto* root = std::get_if<InverseSquareRootSchedule>(&options_.schedule))
            s = {{"kind", "inverse_sqrt"},
                 {"lr", root->lr},
                 {"warmup", root->warmup},
                 {"warmup_init", root->warmup_init}};
        else if (const auto* c = std::get_if<CosineSchedule>(&options_.schedule))
            s = {{"kind", "cosine"},
                 {"min_lr", c->min_lr},
                 {"max_lr", c->max_lr},
                 {"warmup", c->warmup},
                 {"warmup_init", c->warmup_init},
                 {"max_updates", c->max_updates},
                 {"period", c->period},
                 {"period_factor", c->period_factor},
                 {"shrink", c->shrink}};
        else if (const auto* f = std::get_if<FixedSchedule>(&options_.schedule))
            s = {{"kind", "fixed"}, {"lr", f->lr}, {"warmup", f->warmup}};
        json["recipe"] = {{"label_smoothing", options_.label_smoothing},
                          {"dropout", options_.dropout},
                          {"attention_dropout", options_.attention_dropout},
                          {"activation_dropout", options_.activation_dropout},
                          {"update_freq", options_.update_freq},
                          {"seed", options_.seed},
                          {"precision", name_of(options_.precision)}};
        return json;
    }

private:
    using Clock = std::chrono::steady_clock;
    static double seconds_since(Clock::time_point start) {
        return std::chrono::duration<double>(Clock::now() - start).count();
    }

    void check() const {
        const auto fail = [](const std::string& what) { throw invalid_value("hat::Trainer: " + what); };
        const auto rate = [&](const char* name, double value, double most) {
            if (!(value >= 0 && value < most))
                fail(std::string(name) + " is " + std::to_string(value) + ", expected 0 to less than 1");
        };
        hat::validate(options_.schedule);
        rate("label_smoothing", options_.label_smoothing, 1);
        rate("dropout", options_.dropout, 1);
        rate("attention_dropout", options_.attention_dropout, 1);
        rate("activation_dropout", options_.activation_dropout, 1);
        if (options_.update_freq < 1) fail("update_freq is 0, expected at least 1");
        if (!(options_.max_seconds >= 0))
            fail("max_seconds is " + std::to_string(options_.max_seconds) + ", expected at least 0");
        if (options_.max_updates == 0 && options_.max_epochs == 0 && options_.max_seconds == 0 &&
            options_.patience == 0)
            fail("nothing says when to end: set max_updates, max_epochs, max_seconds or patience");
        if (!task_.arch || !task_.batches.begin_epoch || !task_.batches.batch)
            fail("the task has no networks or no batches");
        if (task_.validated.empty()) fail("the task names no network to validate");
        for (const auto& v : task_.validated) require_fits(v.arch, weights_.config().shape);
        if (options_.patience > 0 && task_.validation.empty()) fail("patience needs validation batches");
    }

    std::optional<TrainingEnd> reached() const {
        const auto& o = options_;
        if (o.max_updates && state_.update >= o.max_updates) return TrainingEnd::max_updates;
        if (o.max_epochs && state_.epoch >= o.max_epochs) return TrainingEnd::max_epochs;
        if (o.patience && state_.strikes >= o.patience) return TrainingEnd::patience;
        if (o.max_seconds > 0 && state_.seconds >= o.max_seconds) return TrainingEnd::max_seconds;
        if (o.stop && o.stop->load()) return TrainingEnd::stopped;
        return {};
    }

    /// One update on the next batches; leaves the number of its target tokens in tokens_.
    TrainingProgress update(std::size_t batches) {
        TrainingProgress progress;
        progress.arch = task_.arch(state_.update);
        progress.max_updates = options_.max_updates;
        const auto active = weights_.layout().active(progress.arch);
        adam_.clear(gradient_, active);
        const std::uint64_t seed = derive_seed(options_.seed, state_.update);
        double loss = 0, nll = 0;
        tokens_ = 0;
        renew_stand_in();
        try {
            for (std::size_t micro = 0; micro < options_.update_freq && state_.batch < batches;
                 ++micro, ++state_.batch) {
                const auto sums =
                    model_.loss_and_gradient(progress.arch, task_.batches.batch(static_cast<std::size_t>(state_.batch)),
                                             {.label_smoothing = options_.label_smoothing,
                                              .dropout = options_.dropout,
                                              .attention_dropout = options_.attention_dropout,
                                              .activation_dropout = options_.activation_dropout,
                                              .seed = derive_seed(seed, micro),
                                              .precision = options_.precision},
                                             gradient_);
                loss += sums.loss;
                nll += sums.nll;
                tokens_ += sums.tokens;
            }
            if (!std::isfinite(loss) || !std::isfinite(nll)) throw not_finite("the loss is NaN or infinite");
            if (tokens_ == 0) throw invalid_value("hat::Trainer: a batch has no target token");
            progress.lr = learning_rate(options_.schedule, state_.update);
            progress.gradient_norm =
                adam_.update(weights_, gradient_, active, progress.lr, 1.0 / static_cast<double>(tokens_));
        } catch (const not_finite& e) {
            throw not_finite("hat::Trainer: update " + std::to_string(state_.update) + ": " + e.what() +
                             broken_weight() + last_good());
        }
        ++state_.update;
        state_.loss_sum += loss;
        state_.nll_sum += nll;
        state_.tokens += tokens_;
        progress.update = state_.update;
        progress.epoch = state_.epoch;
        progress.loss = {loss / static_cast<double>(tokens_), nll / static_cast<double>(tokens_)};
        if (state_.batch >= batches) {
            state_.batch = 0;
            ++state_.epoch;
        }
        return progress;
    }

    /// Names the first tensor with a number that is none: weights, then the optimiser's moments. Empty: all are finite.
    std::string first_broken() const {
        const std::pair<const char*, const Weights<float>*> all[] = {
            {"weight", &weights_}, {"first moment of", &adam_.first}, {"second moment of", &adam_.second}};
        for (const auto& [kind, values] : all)
            for (std::size_t t = 0; t < values->layout().tensors().size(); ++t)
                for (const float v : values->tensor(static_cast<int>(t)))
                    if (!std::isfinite(v))
                        return std::string("the ") + kind + " " + values->layout().tensors()[t].name +
                               " has a NaN or infinity";
        return "";
    }
    /// Says which tensor broke the loss, if one did.
    std::string broken_weight() const {
        const std::string broken = first_broken();
        return broken.empty() ? "" : " (" + broken + ")";
    }
    std::string last_good() const {
        if (!folder_ || !folder_->exists()) return "";
        return "; the checkpoint " + folder_->latest().string() + " is intact";
    }

    void renew_stand_in() {
        if (!stand_in_) return;
        try {
            *stand_in_ = task_.stand_in(weights_);
        } catch (const not_finite& e) {
            throw not_finite("hat::Trainer: update " + std::to_string(state_.update) + ": " + e.what() + last_good());
        }
    }

    /// Validates; returns whether the loss is the best so far.
    bool validate(const TrainingObserver& observer) {
        if (task_.validation.empty()) return false;
        renew_stand_in();
        HistoryEntry entry{state_.update, state_.epoch, 0, state_.seconds, {}, {}};
        if (state_.update > 0) entry.lr = learning_rate(options_.schedule, state_.update - 1);
        const double train_tokens = static_cast<double>(std::max<std::uint64_t>(1, state_.tokens));
        entry.train = {state_.loss_sum / train_tokens, state_.nll_sum / train_tokens};
        double decisive = 0;
        for (const auto& v : task_.validated) {
            double loss = 0, nll = 0, tokens = 0;
            for (const auto& batch : task_.validation) {
                const auto sums = model_.loss(v.arch, batch, options_.label_smoothing);
                loss += sums.loss;
                nll += sums.nll;
                tokens += static_cast<double>(sums.tokens);
            }
            if (!std::isfinite(loss) || !std::isfinite(nll))
                throw not_finite("hat::Trainer: update " + std::to_string(state_.update) + ": the validation loss of " +
                                 v.name + " is NaN or infinite" + broken_weight() + last_good());
            entry.valid[v.name] = {loss / tokens, nll / tokens};
            decisive = loss / tokens;
        }
        const bool best = !state_.best || decisive < *state_.best;
        if (best) {
            state_.best = decisive;
            state_.best_update = state_.update;
            state_.strikes = 0;
        } else {
            ++state_.strikes;
        }
        state_.loss_sum = state_.nll_sum = 0;
        state_.tokens = 0;
        state_.history.push_back(entry);
        if (observer.validated) observer.validated(entry, best);
        return best;
    }

    void save(CheckpointKind kind, bool best, const TrainingObserver& observer) {
        if (const std::string broken = first_broken(); !broken.empty())
            throw not_finite("hat::Trainer: update " + std::to_string(state_.update) + ": " + broken + last_good());
        saved_at_ = state_.update;
        if (kind == CheckpointKind::planned) planned_at_ = state_.update;
        if (!folder_) return;
        const auto folder =
            folder_->save(weights_, adam_, state_, task_.validated.front().arch, identity(), best, kind);
        if (observer.saved) observer.saved(folder);
    }

    std::optional<double> left(double session, std::uint64_t updates) const {
        double seconds = std::numeric_limits<double>::infinity();
        if (options_.max_updates && updates > 0)
            seconds =
                session / static_cast<double>(updates) * static_cast<double>(options_.max_updates - state_.update);
        if (options_.max_seconds > 0) seconds = std::min(seconds, std::max(0.0, options_.max_seconds - state_.seconds));
        return std::isfinite(seconds) ? std::optional(seconds) : std::nullopt;
    }

    Weights<float>& weights_;
    TrainingTask task_;
    TrainerOptions options_;
    std::unique_ptr<Weights<float>> stand_in_;  // for weights_, in losses; null: they are their own
    ElasticTransformer<float> model_;
    Adam<float> adam_;
    Weights<float> gradient_;
    std::optional<CheckpointFolder> folder_;
    TrainingState state_;
    std::optional<std::uint64_t> planned_at_, saved_at_;  // the last planned checkpoint's update; that of any kind
    std::uint64_t tokens_ = 0;
};

}  // namespace hat
