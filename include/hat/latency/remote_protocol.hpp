#pragma once
/// \file
/// What a host and a measuring agent say to each other, one line at a time (docs/remote_devices.md has the whole
/// protocol).

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/latency/runs.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/text.hpp>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace hat {

/// The version of the protocol. An agent with another one is refused.
inline constexpr std::uint64_t remote_protocol_version = 1;

/// One line: a verb and words `key=value`, each key once. The values of `device` and `message` are the rest of the
/// line, so they come last and may hold spaces.
struct RemoteMessage {
    std::string verb;                                         ///< what the line is: hello, model, time ...
    std::vector<std::pair<std::string, std::string>> values;  ///< in the order of the line

    /// Adds a word; for chains. Line breaks in the value become spaces.
    RemoteMessage& with(std::string key, std::string value) {
        for (char& c : value)
            if (c == '\n' || c == '\r') c = ' ';
        values.emplace_back(std::move(key), std::move(value));
        return *this;
    }
    /// Adds a number.
    RemoteMessage& with(std::string key, std::uint64_t value) { return with(std::move(key), std::to_string(value)); }

    /// The line, without its break.
    std::string text() const {
        std::string out = verb;
        for (const auto& [key, value] : values) out.append(" ").append(key).append("=").append(value);
        return out;
    }

    /// Reads a line. Throws invalid_value for an empty one, and for words that are not key=value or come twice.
    static RemoteMessage parse(std::string_view line) {
        constexpr std::string_view blank = " \t\r";
        RemoteMessage message;
        for (std::size_t at = 0; (at = line.find_first_not_of(blank, at)) != line.npos;) {
            std::string_view word = line.substr(at, line.find_first_of(blank, at) - at);
            if (message.verb.empty()) {
                message.verb = word;
                at += word.size();
                continue;
            }
            const auto equals = word.find('=');
            if (equals == word.npos || equals == 0)
                throw invalid_value("found '" + excerpt(word) + "', expected key=value");
            const std::string_view key = word.substr(0, equals);
            if (key == "device" || key == "message") {
                word = line.substr(at);
                while (!word.empty() && blank.find(word.back()) != blank.npos) word.remove_suffix(1);
            }
            at += word.size();
            if (message.find(key)) throw invalid_value("key '" + excerpt(key) + "' is given twice");
            message.values.emplace_back(key, word.substr(equals + 1));
        }
        if (message.verb.empty()) throw invalid_value("the line is empty");
        return message;
    }

    /// The value of a key, or null.
    const std::string* find(std::string_view key) const {
        for (const auto& [name, value] : values)
            if (name == key) return &value;
        return nullptr;
    }
    /// The value of a key. Throws invalid_value, naming it, if it is missing.
    const std::string& get(std::string_view key) const {
        if (const std::string* value = find(key)) return *value;
        throw invalid_value("key '" + std::string(key) + "' is missing");
    }
    /// The value of a key as a number. Throws invalid_value, naming key and value.
    std::uint64_t number(std::string_view key, std::uint64_t least, std::uint64_t most) const {
        const std::string& value = get(key);
        std::uint64_t n = 0;
        const auto [end, failure] = std::from_chars(value.data(), value.data() + value.size(), n);
        if (failure != std::errc() || end != value.data() + value.size() || n < least || n > most)
            throw invalid_value("key '" + std::string(key) + "' is '" + excerpt(value) +
                                "', expected a whole number from " + std::to_string(least) + " to " +
                                std::to_string(most));
        return n;
    }
    /// Throws invalid_value if a key is neither one of these nor part of an architecture.
    void only(std::initializer_list<std::string_view> keys) const {
        for (const auto& [key, value] : values)
            if (std::find(keys.begin(), keys.end(), key) == keys.end() && !of_arch(key))
                throw invalid_value("key '" + excerpt(key) + "' is unknown");
    }
    /// The architecture: all words whose keys begin with "encoder." or "decoder.". Throws invalid_value.
    RuntimeArch arch() const {
        std::string text;
        for (const auto& [key, value] : values)
            if (of_arch(key)) text += key + "=" + value + " ";
        return arch_from_text(text);
    }
    /// Adds an architecture.
    RemoteMessage& with(const RuntimeArch& arch) {
        const RemoteMessage words = parse("arch " + to_text(arch));
        for (const auto& [key, value] : words.values) values.emplace_back(key, value);
        return *this;
    }

private:
    static bool of_arch(std::string_view key) { return key.starts_with("encoder.") || key.starts_with("decoder."); }
};

/// What an agent is to time: the largest network and the size of a translation, as in ProbeOptions.
struct RemoteModel {
    RuntimeArch shape{};                               ///< no network will be larger in any part
    std::size_t source_vocab = 32768;                  ///< ids of the source language
    std::size_t target_vocab = 32768;                  ///< ids of the target language
    EmbeddingSharing sharing = EmbeddingSharing::all;  ///< which vocabulary matrices are one
    bool encoder_pre_norm = false;                     ///< layer norm before each block
    bool decoder_pre_norm = false;                     ///< the same for the decoder
    bool decoder_final_norm = true;                    ///< pre-norm only: normalise the decoder's output
    std::size_t source_length = 30;                    ///< tokens of each source sentence, eos included
    std::size_t target_length = 30;                    ///< decoder steps
    std::size_t beam = 5;                              ///< decoder rows per sentence
    std::size_t batch = 1;                             ///< sentences at once
    std::size_t threads = 1;                           ///< 0: one per hardware thread of the device

    /// The request that sets an agent up.
    RemoteMessage message() const {
        RemoteMessage m{"model", {}};
        m.with("source_vocab", source_vocab).with("target_vocab", target_vocab);
        m.with("sharing", sharing_names[static_cast<std::size_t>(sharing)]);
        m.with("encoder_pre_norm", encoder_pre_norm).with("decoder_pre_norm", decoder_pre_norm);
        m.with("decoder_final_norm", decoder_final_norm);
        m.with("source_length", source_length).with("target_length", target_length);
        m.with("beam", beam).with("batch", batch).with("threads", threads);
        return m.with(shape);
    }
    /// Reads such a request. Throws invalid_value for a key that is missing or out of range.
    static RemoteModel parse(const RemoteMessage& m) {
        RemoteModel out;
        const auto size = [&](const char* key, std::uint64_t low, std::uint64_t high) {
            return static_cast<std::size_t>(m.number(key, low, high));
        };
        out.shape = m.arch();
        out.source_vocab = size("source_vocab", 4, 1 << 24);
        out.target_vocab = size("target_vocab", 4, 1 << 24);
        const std::string& name = m.get("sharing");
        std::size_t kind = 0;
        while (kind < 3 && name != sharing_names[kind]) ++kind;
        if (kind == 3)
            throw invalid_value("key 'sharing' is '" + excerpt(name) + "', expected none, decoder_input_output or all");
        out.sharing = static_cast<EmbeddingSharing>(kind);
        out.encoder_pre_norm = m.number("encoder_pre_norm", 0, 1) != 0;
        out.decoder_pre_norm = m.number("decoder_pre_norm", 0, 1) != 0;
        out.decoder_final_norm = m.number("decoder_final_norm", 0, 1) != 0;
        out.source_length = size("source_length", 1, 1 << 12);
        out.target_length = size("target_length", 1, 1 << 12);
        out.beam = size("beam", 1, 1000);
        out.batch = size("batch", 1, 1000);
        out.threads = size("threads", 0, 1024);
        return out;
    }

    /// The values of the key `sharing`.
    static constexpr const char* sharing_names[] = {"none", "decoder_input_output", "all"};
};

/// The request to time a network, with a number that its answer repeats.
inline RemoteMessage time_request(std::uint64_t id, const RunCount& count, const RuntimeArch& arch) {
    RemoteMessage m{"time", {}};
    m.with("id", id).with("warmup", count.warmup).with("repeats", count.repeats);
    m.with("min_ns", static_cast<std::uint64_t>(count.min_time.count() * 1e6)).with("max_repeats", count.max_repeats);
    return m.with(arch);
}
/// Reads the counts of such a request. Throws invalid_value.
inline RunCount parse_run_count(const RemoteMessage& m) {
    const auto size = [&](const char* key, std::uint64_t low, std::uint64_t high) {
        return static_cast<std::size_t>(m.number(key, low, high));
    };
    RunCount count;
    count.warmup = size("warmup", 0, 1'000'000);
    count.repeats = size("repeats", 1, 1'000'000);
    count.min_time = Milliseconds(static_cast<double>(m.number("min_ns", 0, 3'600'000'000'000)) / 1e6);
    count.max_repeats = size("max_repeats", 1, 1'000'000);
    return count;
}

/// The answer to a request to time a network: whole nanoseconds, separated by commas.
inline RemoteMessage samples_answer(std::uint64_t id, const RunTimes& times) {
    RemoteMessage m{"samples", {}};
    m.with("id", id);
    const auto list = [](const std::vector<double>& part) {
        std::string text;
        for (const double ms : part)
            text.append(text.empty() ? "" : ",").append(std::to_string(std::llround(ms * 1e6)));
        return text;
    };
    return m.with("encoder", list(times.encoder)).with("decoder", list(times.decoder));
}
/// Reads such an answer. Throws invalid_value for what is no list of at least `least` numbers.
inline RunTimes parse_samples(const RemoteMessage& m, std::size_t least) {
    const auto part = [&](const std::string& key) {
        const std::string& list = m.get(key);
        std::vector<double> out;
        const char* p = list.data();
        const char* const end = p + list.size();
        for (bool good = true; good && p != end;) {
            std::uint64_t ns = 0;
            const auto [next, failure] = std::from_chars(p, end, ns);
            good = failure == std::errc() && (next == end || (*next == ',' && next + 1 != end));
            if (!good)
                throw invalid_value("key '" + key + "' is '" + excerpt(list) +
                                    "', expected whole nanoseconds between commas");
            out.push_back(static_cast<double>(ns) / 1e6);
            p = next == end ? end : next + 1;
        }
        if (out.size() < least)
            throw invalid_value("key '" + key + "' has " + std::to_string(out.size()) + " times, expected at least " +
                                std::to_string(least));
        return out;
    };
    RunTimes times;
    times.encoder = part("encoder");
    times.decoder = part("decoder");
    return times;
}

}  // namespace hat
