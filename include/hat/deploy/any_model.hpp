#pragma once
/// \file
/// A network that the weight file chooses: one of a few that are compiled in, or any other by the generic code. One
/// virtual call per sentence. Throws nothing; allocates when it is opened only.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <hat/decode/static_transformer.hpp>
#include <hat/deploy/mapped_file.hpp>
#include <hat/deploy/stored_transformer.hpp>
#include <hat/deploy/weight_file.hpp>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <utility>

namespace hat {

namespace detail {

/// A network that is ready but for its workspace.
class AnyRunner {
public:
    virtual ~AnyRunner() = default;
    virtual std::size_t workspace_bytes() const = 0;
    virtual void start(std::byte* workspace) = 0;
    virtual StaticTranslation translate(std::span<const std::int32_t> source, std::span<std::int32_t> target,
                                        const StaticSearch& how) = 0;
};

/// Of a StaticTransformer, or of StoredTransformer.
template <class Model>
class Runner final : public AnyRunner {
public:
    template <class... A>
    explicit Runner(const A&... a) : model_(a...) {}
    std::size_t workspace_bytes() const override {
        if constexpr (requires { model_.workspace_bytes(); })
            return model_.workspace_bytes();
        else
            return Model::workspace_bytes;
    }
    void start(std::byte* workspace) override { session_.emplace(model_, workspace); }
    StaticTranslation translate(std::span<const std::int32_t> source, std::span<std::int32_t> target,
                                const StaticSearch& how) override {
        return session_->translate(source, target, how);
    }

private:
    Model model_;
    std::optional<typename Model::Session> session_;
};

/// Whether plan_workspace() of a network within the bounds of plausible() cannot overflow.
inline bool plannable(const RuntimeArch& arch, const StaticConfig& config, const StaticLimits& limits) {
    constexpr std::size_t most = 4096;
    if (limits.max_source == 0 || limits.max_source > most || limits.max_target < 2 ||
        limits.max_target > StoredNetwork<MatrixFormat::fp32>::most_target || limits.beam == 0 || limits.beam > 256)
        return false;
    double widest = static_cast<double>(std::max(arch.encoder.embed, arch.decoder.embed));
    for (const auto& s : {arch.encoder, arch.decoder})
        for (std::size_t i = 0; i < s.ffn.size(); ++i)
            widest = std::max({widest, static_cast<double>(s.ffn[i]), static_cast<double>(s.qkv[i])});
    const double source = static_cast<double>(limits.max_source), beam = static_cast<double>(limits.beam),
                 steps = static_cast<double>(limits.max_target) + 64, rows = 3 * source + steps * beam + 256 * beam;
    // generous: every layer's caches, a few matrices of activations, square tables, the logits
    const double bytes = 4 * (rows * widest * (4.0 * arch.decoder.layers + 16) + 32 * (source + 64) * (source + 64) +
                              16 * steps * beam * (beam + 16) + 4 * beam * static_cast<double>(config.target_vocab));
    return bytes < static_cast<double>(std::numeric_limits<std::size_t>::max() / 4);
}

}  // namespace detail

/// A network of a weight file: one of the StaticTransformers `Models` if it is one of them, else any other, with
/// bounds that are given when it is opened.
template <class... Models>
class AnyModel {
public:
    /// Makes everything but the workspace. `file` and its bytes must outlive the model. `limits` hold for networks that
    /// are not compiled in; those that are have their own. After an error nothing is open.
    WeightFileError prepare(const WeightFile& file, const StaticLimits& limits = {}) {
        runner_ = nullptr, memory_ = {}, compiled_ = started_ = false;
        if (file.weights().empty()) return WeightFileError::bad_section;
        const bool one_of_them = (try_model<Models>(file) || ...);
        if (one_of_them) return runner_ ? WeightFileError::none : WeightFileError::no_memory;
        if (!detail::plannable(file.arch(), file.config(), limits)) return WeightFileError::too_large;
        switch (file.config().format) {
            case MatrixFormat::fp32:
                generic<MatrixFormat::fp32>(file, limits);
                break;
            case MatrixFormat::int8:
                generic<MatrixFormat::int8>(file, limits);
                break;
            case MatrixFormat::codebook4:
                generic<MatrixFormat::codebook4>(file, limits);
                break;
        }
        limits_ = limits;
        return runner_ ? WeightFileError::none : WeightFileError::no_memory;
    }
    /// Bytes of the memory it works in.
    std::size_t workspace_bytes() const { return runner_ ? runner_->workspace_bytes() : 0; }
    /// Works in memory of the caller's from now on: workspace_bytes() bytes, 64-byte aligned, that outlive the model.
    void start(std::byte* workspace) {
        if (runner_) runner_->start(workspace), started_ = true;
    }
    /// prepare(), and memory of its own.
    WeightFileError open(const WeightFile& file, const StaticLimits& limits = {}) {
        if (const WeightFileError error = prepare(file, limits); error != WeightFileError::none) return error;
        AlignedBytes memory(workspace_bytes());
        if (!memory.data()) {
            runner_ = nullptr;
            return WeightFileError::no_memory;
        }
        memory_ = std::move(memory);
        start(memory_.data());
        return WeightFileError::none;
    }
    /// Whether the network is one of those that are compiled in.
    bool compiled() const { return compiled_; }
    /// What it translates at most.
    const StaticLimits& limits() const { return limits_; }
    /// Translates `source` (ids, eos last) into `target`; bad_options when nothing is open. Allocates nothing.
    StaticTranslation translate(std::span<const std::int32_t> source, std::span<std::int32_t> target,
                                const StaticSearch& how = {}) {
        if (!started_) return {TranslateStatus::bad_options};
        return runner_->translate(source, target, how);
    }

private:
    template <MatrixFormat format>
    void generic(const WeightFile& file, const StaticLimits& limits) {
        runner_.reset(new (std::nothrow) detail::Runner<StoredTransformer<format>>(file.weights().data(), file.arch(),
                                                                                   file.config(), limits));
    }
    template <class Model>
    bool try_model(const WeightFile& file) {
        if (file.template matches<Model>() != WeightFileError::none) return false;
        runner_.reset(new (std::nothrow) detail::Runner<Model>(file.weights().data()));
        compiled_ = true, limits_ = Model::bounds;
        return true;
    }

    std::unique_ptr<detail::AnyRunner> runner_;
    AlignedBytes memory_;
    StaticLimits limits_{};
    bool compiled_ = false, started_ = false;
};

}  // namespace hat
