#pragma once
/// \file
/// A found architecture as a C++ type: a network whose sizes, memory plan and kernels the compiler knows. Translates
/// tokens in memory of the caller's; allocates nothing, throws nothing, and gives the numbers of the elastic path to
/// the bit.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <hat/core/arena.hpp>
#include <hat/core/executor.hpp>
#include <hat/core/tokens.hpp>
#include <hat/decode/beam.hpp>
#include <hat/decode/incremental.hpp>
#include <hat/model/static.hpp>
#include <span>
#include <string_view>

namespace hat {

/// How a translation of tokens ended.
enum class TranslateStatus : std::uint8_t {
    ok,                ///< there is a translation
    empty_source,      ///< the source has no token
    source_too_long,   ///< more source tokens than the model has memory for
    unknown_token,     ///< a source token is outside the vocabulary
    bad_options,       ///< options that no search can have, or more target tokens than the model has memory for
    target_too_small,  ///< the caller's span does not hold the translation
    not_finite,        ///< the weights give NaN or infinity
};

/// A sentence about a status.
constexpr std::string_view message(TranslateStatus status) {
    switch (status) {
        case TranslateStatus::ok:
            return "translated";
        case TranslateStatus::empty_source:
            return "the source sentence has no token";
        case TranslateStatus::source_too_long:
            return "the source sentence has more tokens than max_source";
        case TranslateStatus::unknown_token:
            return "a source token is outside the vocabulary";
        case TranslateStatus::bad_options:
            return "the options fit no search of this model";
        case TranslateStatus::target_too_small:
            return "the memory for the translation is too small";
        case TranslateStatus::not_finite:
            return "the weights give NaN or infinity";
    }
    return "unknown status";
}

/// How to search with a beam that the type has; see BeamOptions for the rules.
struct StaticSearch {
    double length_penalty = 1;       ///< scores are divided by length ^ this
    bool normalize = true;           ///< false: scores are plain sums of log-probabilities
    double unknown_penalty = 0;      ///< subtracted from the log-probability of the unknown token
    std::size_t min_length = 1;      ///< tokens before eos
    double max_length_a = 0;         ///< at most a * source length + b tokens before eos,
    std::size_t max_length_b = 200;  ///< and never more than the model has memory for
};

/// What came of a translation.
struct StaticTranslation {
    TranslateStatus status = TranslateStatus::ok;  ///< the rest is only good when this is ok
    std::size_t length = 0;                        ///< tokens written, eos included
    double score = 0;                              ///< as Hypothesis::score
};

namespace detail {
/// The executor of static models: the calling thread, and scratch memory that was planned.
class PlannedSerial {
public:
    PlannedSerial() = default;
    /// Slot i of the kernels' scratch is at memory + offsets[i].
    PlannedSerial(std::byte* memory, const std::size_t* offsets) : memory_(memory), offsets_(offsets) {}
    /// Runs body(0) .. body(n-1) in this order.
    template <class Body>
    void operator()(std::size_t n, Body&& body) const {
        for (std::size_t i = 0; i < n; ++i) body(i);
    }
    /// Only the caller.
    static constexpr std::size_t threads() { return 1; }
    /// Memory of a slot.
    template <class T>
    T* scratch(std::size_t slot, std::size_t) const {
        return reinterpret_cast<T*>(memory_ + offsets_[slot]);
    }

private:
    std::byte* memory_ = nullptr;
    const std::size_t* offsets_ = nullptr;
};

/// Bytes of every part of a static model's workspace.
struct WorkspacePlan {
    static constexpr std::size_t slots = 7;
    std::array<std::size_t, slots + 1> scratch{};  // where each slot begins
    std::size_t outputs = 0, caches = 0, temporaries = 0, search = 0, encoder_positions = 0, decoder_positions = 0;

    constexpr std::size_t bytes() const {
        return scratch[slots] + outputs + caches + temporaries + search + encoder_positions + decoder_positions;
    }
};

template <std::size_t E, std::size_t D>
constexpr WorkspacePlan plan_workspace(const Arch<E, D>& arch, const StaticConfig& config, const StaticLimits& limits) {
    constexpr auto block = [](std::size_t bytes) { return (bytes + 63) / 64 * 64; };
    constexpr auto u = [](int v) { return static_cast<std::size_t>(v); };
    const std::size_t s = limits.max_source, steps = limits.max_target, beam = limits.beam, e = u(arch.encoder.embed),
                      d = u(arch.decoder.embed);
    const auto rows = [&](std::size_t n, std::size_t cols) { return block(4 * n * row_stride<float>(cols)); };
    constexpr std::size_t pointer = sizeof(std::size_t);
    WorkspacePlan plan;

    // the encoder, and what the decoder attends to
    std::size_t packed = 0, deepest = 1;
    for (std::size_t i = 0; i < u(arch.decoder.layers); ++i) deepest = std::max(deepest, u(arch.decoder.cross_span[i]));
    plan.outputs = rows(deepest * s, e) + deepest * block(2 * pointer);
    const auto feed_forward = [&](std::size_t n, std::size_t width, std::size_t ffn) {
        return rows(n, ffn) + rows(n, width);
    };
    std::size_t encoder = 0;
    for (std::size_t i = 0; i < u(arch.encoder.layers); ++i) {
        const std::size_t q = u(arch.encoder.qkv[i]), head = q / u(arch.encoder.self_heads[i]);
        const std::size_t attention = rows(s, q) + std::max(3 * rows(s, q), rows(s, e));
        encoder = std::max({encoder, attention, feed_forward(s, e, u(arch.encoder.ffn[i]))});
        packed = std::max({packed, Panels<float>::elements(s, head), Panels<float>::elements(head, s)});
    }
    if (config.encoder_pre_norm) encoder += rows(s, e);
    encoder += block(2 * pointer) + rows(s, e);

    // the decoder
    constexpr std::size_t segment_steps = SelfAttentionCache<float>::segment_steps;
    const std::size_t segments = (steps + segment_steps - 1) / segment_steps, slots = segments * segment_steps * beam;
    plan.caches = 2 * block(pointer) + 2 * block(4 * beam * ((steps - 1) / 32 + 1) * 32);
    std::size_t start = 0, step = 0, longest = 0;
    for (std::size_t i = 0; i < u(arch.decoder.layers); ++i) {
        const std::size_t q = u(arch.decoder.qkv[i]), span = u(arch.decoder.cross_span[i]) * s;
        const std::size_t heads = u(arch.decoder.cross_heads[i]), head = q / heads;
        longest = std::max(longest, span);
        start = std::max(start, 2 * rows(span, q));
        step = std::max({step, 4 * rows(beam, q) + rows(beam, d), feed_forward(beam, d, u(arch.decoder.ffn[i]))});
        plan.caches += block(2 * pointer) +
                       block(4 * heads * (Panels<float>::elements(span, head) + Panels<float>::elements(head, span))) +
                       segments * block(4 * 2 * q * segment_steps * beam);
    }
    if (config.decoder_pre_norm) step += rows(beam, d);
    step = rows(beam, d) + std::max(step, rows(beam, config.target_vocab));
    plan.temporaries = std::max({encoder, start, step});

    // scratch of the kernels, by slot
    std::size_t integers = 0;  // rows in 8 bits
    if (config.format == MatrixFormat::int8 ||
        (config.format == MatrixFormat::codebook4 && config.codebook_math == CodebookMath::integers)) {
        const auto product = [&](std::size_t m, std::size_t k) {
            integers = std::max(integers, block(QuantizedRows::bytes(m, k)));
        };
        for (std::size_t i = 0; i < u(arch.encoder.layers); ++i)
            product(s, e), product(s, u(arch.encoder.qkv[i])), product(s, u(arch.encoder.ffn[i]));
        for (std::size_t i = 0; i < u(arch.decoder.layers); ++i) {
            product(u(arch.decoder.cross_span[i]) * s, e), product(beam, d);
            product(beam, u(arch.decoder.qkv[i])), product(beam, u(arch.decoder.ffn[i]));
        }
    }
    const std::size_t scratch[WorkspacePlan::slots] = {
        integers,         0, block(4 * packed), rows(s, s), 0, std::max(block(4 * beam * slots), rows(beam, longest)),
        block(4 * slots),
    };
    for (std::size_t i = 0; i < WorkspacePlan::slots; ++i) plan.scratch[i + 1] = plan.scratch[i] + scratch[i];

    plan.encoder_positions = block(4 * s * e);
    plan.decoder_positions = block(4 * steps * d);

    // beam search
    plan.search = 2 * block(pointer) + block(beam * sizeof(FinishedBeam<float>)) + block(pointer) +
                  block(2 * beam * beam * sizeof(Continuation<float>)) + block(beam * pointer) +
                  block(2 * beam * beam * sizeof(Continuation<float>)) +
                  block(4 * 2 * beam * maxima_blocks(config.target_vocab)) + block(beam) +
                  block((steps + 1) * sizeof(BeamStep<float>)) +
                  (steps + 1) * (block(4 * beam) + block(pointer * beam) + block(4 * beam));
    return plan;
}

/// Where the numbers of a decoder with this plan live in its workspace.
template <class Decoder, class Network>
typename Decoder::Memories planned_memories(const Network& net, const WorkspacePlan& plan, const StaticLimits& limits,
                                            std::byte* workspace) {
    std::byte* at = workspace + plan.scratch[WorkspacePlan::slots];
    const auto take = [&](std::size_t bytes) { return std::exchange(at, at + bytes); };
    typename Decoder::Memories m;
    m.outputs = FixedArena(take(plan.outputs), plan.outputs);
    m.caches = FixedArena(take(plan.caches), plan.caches);
    m.temporaries = FixedArena(take(plan.temporaries), plan.temporaries);
    m.encoder_positions = {net.super_encoder_embed(), net.encoder_width(),
                           reinterpret_cast<float*>(take(plan.encoder_positions)), limits.max_source};
    m.decoder_positions = {net.super_decoder_embed(), net.decoder_width(),
                           reinterpret_cast<float*>(take(plan.decoder_positions)), limits.max_target};
    return m;
}

/// Translates `source` (ids, eos last) into `target` with a decoder whose memory is planned for `limits`. `memory` is
/// the search's.
template <class Decoder, Extent Beam>
StaticTranslation translate_tokens(Decoder& decoder, FixedArena& memory, Beam beam, const StaticConfig& config,
                                   const StaticLimits& limits, std::span<const std::int32_t> source,
                                   std::span<std::int32_t> target, const StaticSearch& how) {
    if (source.empty()) return {TranslateStatus::empty_source};
    if (source.size() > limits.max_source) return {TranslateStatus::source_too_long};
    for (const std::int32_t token : source)
        if (token < 0 || static_cast<std::size_t>(token) >= config.source_vocab)
            return {TranslateStatus::unknown_token};
    const BeamOptions options{.beam = limits.beam,
                              .length_penalty = how.length_penalty,
                              .normalize = how.normalize,
                              .unknown_penalty = how.unknown_penalty,
                              .min_length = how.min_length,
                              .max_length_a = how.max_length_a,
                              .max_length_b = how.max_length_b,
                              .max_positions = limits.max_target};
    if (!std::isfinite(how.length_penalty) || !std::isfinite(how.unknown_penalty) || !std::isfinite(how.max_length_a) ||
        how.max_length_a < 0 ||
        (how.max_length_a == 0 && (how.max_length_b == 0 || how.min_length > how.max_length_b)) ||
        how.min_length >= limits.max_target)
        return {TranslateStatus::bad_options};
    const std::array<std::size_t, 2> offsets{0, source.size()};
    decoder.encode(source, offsets);
    decoder.start(beam);
    decoder.reserve(limits.max_target);
    memory.reset();
    BeamSearch search(decoder, memory, options, offsets, config.target_vocab);
    search.reserve(limits.max_target);
    if (search.run().failed) return {TranslateStatus::not_finite};
    const auto& best = search.finished(0)[0];
    if (best.step + 1 > target.size()) return {TranslateStatus::target_too_small};
    search.trace(best, target.data(), nullptr);
    return {TranslateStatus::ok, best.step + 1, best.score};
}
}  // namespace detail

/// The network `arch`, with everything else about it in `config`, for sentences and beams within `limits`.
template <auto arch, StaticConfig config, StaticLimits limits = StaticLimits{}>
class StaticTransformer {
    static_assert(detail::Bounds<limits.max_source, limits.max_target, limits.beam>::good);
    static constexpr detail::WorkspacePlan plan = detail::plan_workspace(arch, config, limits);

public:
    /// The layers.
    using Network = StaticNetwork<arch, config, (limits.max_target + 31) / 32>;
    static constexpr std::size_t weight_bytes = Network::plan.bytes;  ///< of the stored weights, see plan_model()
    static constexpr std::size_t workspace_bytes = plan.bytes();      ///< of the memory that a session needs
    static constexpr std::size_t alignment = 64;                      ///< of both, in bytes
    static constexpr auto architecture = arch;                        ///< the network
    static constexpr StaticConfig configuration = config;             ///< what it is besides
    static constexpr StaticLimits bounds = limits;                    ///< what it translates at most

    /// `weights`: weight_bytes bytes, 64-byte aligned, that outlive the model. Any number of sessions may share it.
    explicit StaticTransformer(const std::byte* weights) : network_(weights) {}

    /// The layers.
    const Network& network() const { return network_; }

    /// Translates one sentence at a time in memory of the caller's.
    class Session {
    public:
        /// What does the work.
        using Decoder = IncrementalDecoder<Network, detail::PlannedSerial, FixedArena, Fixed<limits.beam>, Fixed<1>>;

        /// `workspace`: workspace_bytes bytes, 64-byte aligned, that outlive the session, as must the model.
        Session(const StaticTransformer& model, std::byte* workspace)
            : decoder_(model.network_, detail::PlannedSerial(workspace, plan.scratch.data()),
                       detail::planned_memories<Decoder>(model.network_, plan, limits, workspace)),
              search_(workspace + workspace_bytes - plan.search, plan.search) {}

        /// Translates `source` (ids, eos last) into `target`. Allocates and throws nothing.
        StaticTranslation translate(std::span<const std::int32_t> source, std::span<std::int32_t> target,
                                    const StaticSearch& how = {}) {
            return detail::translate_tokens(decoder_, search_, Fixed<limits.beam>{}, config, limits, source, target,
                                            how);
        }
        /// The decoder, for those who check their input themselves.
        Decoder& decoder() { return decoder_; }
        /// The most bytes of the search's memory that were ever used (of plan().search).
        std::size_t search_peak() const { return search_.peak_bytes(); }

    private:
        Decoder decoder_;
        FixedArena search_;
    };
    /// How a session's workspace is divided.
    static constexpr const detail::WorkspacePlan& workspace_plan() { return plan; }

private:
    Network network_;
};

}  // namespace hat
