#pragma once
/// \file
/// Text in, text out, from a weight file: what a small program on a device needs. Throws nothing; allocates when it is
/// opened, and for results that are returned as strings.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <hat/core/tokens.hpp>
#include <hat/decode/static_transformer.hpp>
#include <hat/deploy/any_model.hpp>
#include <hat/deploy/mapped_file.hpp>
#include <hat/deploy/weight_file.hpp>
#include <hat/text/utf8.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace hat {

/// How a translation of text ended.
enum class TextStatus : std::uint8_t {
    ok,                ///< there is a translation
    not_open,          ///< no weight file is open
    invalid_utf8,      ///< a byte that is no UTF-8
    nul_byte,          ///< a byte 0
    text_too_long,     ///< more bytes than the translator has memory for
    too_many_tokens,   ///< more tokens than the model has memory for
    control_piece,     ///< the text spells a control piece of the tokenizer
    bad_options,       ///< options that fit no search of this model
    not_finite,        ///< the weights give NaN or infinity
    bad_tokenizer,     ///< the tokenizer does not fit the network: a damaged file whose checksum was not checked
    output_too_small,  ///< the caller's span does not hold the translation
};

/// One sentence without a full stop, for messages.
constexpr std::string_view message(TextStatus status) {
    switch (status) {
        case TextStatus::ok:
            return "translated";
        case TextStatus::not_open:
            return "no weight file is open";
        case TextStatus::invalid_utf8:
            return "invalid UTF-8";
        case TextStatus::nul_byte:
            return "NUL byte";
        case TextStatus::text_too_long:
            return "the sentence has more bytes than there is memory for";
        case TextStatus::too_many_tokens:
            return "the sentence has more tokens than the model has memory for";
        case TextStatus::control_piece:
            return "the sentence spells a control piece of the tokenizer";
        case TextStatus::bad_options:
            return "the options fit no search of this model";
        case TextStatus::not_finite:
            return "the weights give NaN or infinity";
        case TextStatus::bad_tokenizer:
            return "the tokenizer does not fit the network: the weight file is damaged";
        case TextStatus::output_too_small:
            return "the memory for the translation is too small";
    }
    return "unknown status";
}

/// What came of a translation of text.
struct TextTranslation {
    TextStatus status = TextStatus::ok;  ///< the rest is only good when this is ok, but `position`
    std::size_t size = 0;                ///< bytes written
    double score = 0;                    ///< as Hypothesis::score
    std::size_t position = 0;            ///< of the bad byte, from 0; for invalid_utf8 and nul_byte
    std::size_t source_tokens = 0;       ///< eos included
    std::size_t target_tokens = 0;       ///< eos included
};

/// The engine of StaticTranslator: one network that is compiled in, without virtual calls.
template <class Model>
class StaticEngine {
public:
    /// Takes the file's weights. wrong_architecture or wrong_config when they are those of another network.
    WeightFileError prepare(const WeightFile& file, const StaticLimits& = {}) {
        session_.reset();
        model_.reset();
        const WeightFileError error = file.matches<Model>();
        if (error == WeightFileError::none) model_.emplace(file.weights().data());
        return error;
    }
    /// Bytes of the memory it works in.
    static constexpr std::size_t workspace_bytes() { return Model::workspace_bytes; }
    /// What it translates at most.
    static constexpr StaticLimits limits() { return Model::bounds; }
    /// Works in this memory from now on.
    void start(std::byte* workspace) { session_.emplace(*model_, workspace); }
    /// Translates tokens.
    StaticTranslation translate(std::span<const std::int32_t> source, std::span<std::int32_t> target,
                                const StaticSearch& how) {
        return session_->translate(source, target, how);
    }

private:
    std::optional<Model> model_;
    std::optional<typename Model::Session> session_;
};

/// Translates text with the network of a weight file. One object serves one thread at a time; any number of them may
/// use one file. It may not be moved while it is open.
template <class Engine>
class TextTranslator {
public:
    TextTranslator() = default;
    TextTranslator(const TextTranslator&) = delete;
    TextTranslator& operator=(const TextTranslator&) = delete;

    /// Bytes of a sentence, once normalised, that there is memory for; each token of the longest sentence may have 16.
    static constexpr std::size_t text_bytes(const StaticLimits& limits) { return 16 * limits.max_source; }
    /// Bytes of the memory that a translator within `limits` needs besides the network's workspace.
    static constexpr std::size_t buffer_bytes(const StaticLimits& limits) {
        return up(limits.max_source * sizeof(std::int32_t)) + up(limits.max_target * sizeof(std::int32_t)) +
               up(DeployedTokenizer::scratch_bytes(text_bytes(limits)));
    }
    /// Bytes of all the memory that open() asks for or is given, for networks whose bounds are compiled in.
    static constexpr std::size_t memory_bytes() requires requires {
        { Engine::limits() } -> std::same_as<StaticLimits>;
    }
    { return up(Engine::workspace_bytes()) + buffer_bytes(Engine::limits()); }

    /// Opens a weight file's bytes (of a MappedFile, or in the program), which must outlive it. It works in `memory`,
    /// 64-byte aligned, if there is any; else it allocates now, and never again. `limits` are for networks that are not
    /// compiled in. After an error nothing is open.
    WeightFileError open(std::span<const std::byte> bytes, WeightCheck check = WeightCheck::everything,
                         std::span<std::byte> memory = {}, const StaticLimits& limits = {}) {
        open_ = false;
        WeightFileError error = file_.open(bytes, check);
        if (error == WeightFileError::none) error = engine_.prepare(file_, limits);
        if (error == WeightFileError::none && (file_.source_tokenizer().kind() == TokenizerKind::none ||
                                               file_.target_tokenizer().kind() == TokenizerKind::none))
            error = WeightFileError::no_tokenizer;
        if (error != WeightFileError::none) return error;
        const StaticLimits most = engine_.limits();
        const std::size_t work = up(engine_.workspace_bytes()), needed = work + buffer_bytes(most);
        own_ = {};
        if (memory.empty()) {
            own_ = AlignedBytes(needed);
            if (!own_.data()) return WeightFileError::no_memory;
            memory = {own_.data(), needed};
        }
        if (memory.size() < needed) return WeightFileError::no_memory;
        if (reinterpret_cast<std::uintptr_t>(memory.data()) % 64 != 0) return WeightFileError::misaligned;
        engine_.start(memory.data());
        std::byte* at = memory.data() + work;
        source_ = {reinterpret_cast<std::int32_t*>(at), most.max_source};
        at += up(source_.size_bytes());
        target_ = {reinterpret_cast<std::int32_t*>(at), most.max_target};
        at += up(target_.size_bytes());
        scratch_ = {at, DeployedTokenizer::scratch_bytes(text_bytes(most))};
        open_ = true;
        return WeightFileError::none;
    }
    /// The weight file that is open.
    const WeightFile& file() const { return file_; }
    /// What runs.
    const Engine& engine() const { return engine_; }

    /// Writes the best translation of a sentence to `out`; an empty sentence, or only white space, gives an empty one.
    /// Allocates nothing.
    TextTranslation translate(std::string_view sentence, std::span<char> out, const StaticSearch& how = {}) {
        TextTranslation result = search(sentence, how);
        if (result.status == TextStatus::ok) decode(result, out);
        return result;
    }
    /// The same in a string of its own; an empty one when there is no translation: last() says why.
    std::string translate(std::string_view sentence, const StaticSearch& how = {}) {
        std::string text;
        last_ = search(sentence, how);
        if (last_.status != TextStatus::ok || last_.target_tokens == 0) return text;
        text.resize(file_.target_tokenizer().decoded_bytes(last_.target_tokens));
        decode(last_, text);
        text.resize(last_.size);
        return text;
    }
    /// How the last translate() that returned a string ended.
    const TextTranslation& last() const { return last_; }
    /// The tokens of the last translation, without eos.
    std::span<const std::int32_t> tokens() const { return target_.first(tokens_); }

private:
    static constexpr std::size_t up(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

    /// Everything but the text: the tokens are in target_.
    TextTranslation search(std::string_view sentence, const StaticSearch& how) {
        TextTranslation result;
        tokens_ = 0;
        const auto fail = [&](TextStatus status, std::size_t position = 0) {
            result.status = status, result.position = position;
            return result;
        };
        if (!open_) return fail(TextStatus::not_open);
        if (const std::size_t bad = find_invalid_utf8(sentence); bad != std::string_view::npos)
            return fail(TextStatus::invalid_utf8, bad);
        if (const std::size_t nul = sentence.find('\0'); nul != std::string_view::npos)
            return fail(TextStatus::nul_byte, nul);
        const SubwordResult encoded =
            file_.source_tokenizer().encode(sentence, source_.first(source_.size() - 1), scratch_);
        switch (encoded.error) {
            case SubwordError::none:
                break;
            case SubwordError::ids_too_small:
                return fail(TextStatus::too_many_tokens);
            case SubwordError::scratch_too_small:
                return fail(TextStatus::text_too_long);
            case SubwordError::control_piece:
                return fail(TextStatus::control_piece);
            default:
                return fail(TextStatus::bad_tokenizer);
        }
        if (encoded.size == 0) return result;
        source_[encoded.size] = SpecialTokens::eos;
        result.source_tokens = encoded.size + 1;
        const StaticTranslation found = engine_.translate(source_.first(result.source_tokens), target_, how);
        switch (found.status) {
            case TranslateStatus::ok:
                break;
            case TranslateStatus::bad_options:
                return fail(TextStatus::bad_options);
            case TranslateStatus::not_finite:
                return fail(TextStatus::not_finite);
            default:
                return fail(TextStatus::bad_tokenizer);
        }
        result.target_tokens = found.length, result.score = found.score;
        tokens_ = found.length - 1;
        return result;
    }
    void decode(TextTranslation& result, std::span<char> out) const {
        const SubwordResult text = file_.target_tokenizer().decode(tokens(), out);
        result.size = text.size;
        if (text.error == SubwordError::text_too_small)
            result.status = TextStatus::output_too_small;
        else if (!text)
            result.status = TextStatus::bad_tokenizer;
    }

    WeightFile file_;
    Engine engine_;
    AlignedBytes own_;
    std::span<std::int32_t> source_, target_;
    std::span<std::byte> scratch_;
    std::size_t tokens_ = 0;
    TextTranslation last_{TextStatus::not_open};
    bool open_ = false;
};

/// Translates text with the StaticTransformer `Model`; a weight file of another network is refused.
template <class Model>
using StaticTranslator = TextTranslator<StaticEngine<Model>>;

/// Translates text with whatever network the weight file holds; `Models` are the StaticTransformers compiled in.
template <class... Models>
using AnyTranslator = TextTranslator<AnyModel<Models...>>;

}  // namespace hat
