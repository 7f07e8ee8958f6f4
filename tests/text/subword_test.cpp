#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <hat/core/rng.hpp>
#include <hat/text/lines.hpp>
#include <hat/text/sentencepiece.hpp>
#include <hat/text/subword.hpp>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

namespace {
std::atomic<std::size_t> allocations{0};
}  // namespace

// every plain allocation of this program is counted
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
void* operator new(std::size_t n) {
    ++allocations;
    void* p = std::malloc(n == 0 ? 1 : n);
    if (p == nullptr) throw std::bad_alloc();
    return p;
}
void* operator new[](std::size_t n) { return ::operator new(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

namespace {
using hat::SubwordError;
using hat::SubwordModel;
using Ids = std::vector<std::int32_t>;
using Options = hat::SentencePieceOptions;
using Arguments = std::unordered_map<std::string, std::string>;

const std::vector<std::string>& corpus(const std::string& name) {
    static std::unordered_map<std::string, std::vector<std::string>> read;
    auto& lines = read[name];
    if (lines.empty())
        lines = hat::read_plain_lines(std::filesystem::path(HAT_SOURCE_DIR) / "examples/data/en-de" / name);
    return lines;
}

std::vector<std::string> joint(std::size_t n) {
    std::vector<std::string> lines;
    for (const char* name : {"train.en", "train.de"})
        lines.insert(lines.end(), corpus(name).begin(), corpus(name).begin() + static_cast<std::ptrdiff_t>(n));
    return lines;
}

/// A model with settings that hat::SentencePieceOptions does not have.
std::string train_with(const std::vector<std::string>& lines, Arguments arguments) {
    arguments.merge(Arguments{{"bos_id", "0"},
                              {"pad_id", "1"},
                              {"eos_id", "2"},
                              {"unk_id", "3"},
                              {"minloglevel", "4"},
                              {"character_coverage", "1.0"},
                              {"num_threads", "4"},
                              {"hard_vocab_limit", "false"}});
    const std::span<const std::string> block = lines;
    hat::detail::LineIterator it(std::span<const std::span<const std::string>>(&block, 1));
    std::string bytes;
    const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &it, &bytes);
    REQUIRE_MESSAGE(status.ok(), status.error_message());
    return bytes;
}

/// One model in the library and in ours.
struct Pair {
    std::string bytes;
    sentencepiece::SentencePieceProcessor library;
    SubwordModel ours;

    explicit Pair(std::string model) : bytes(std::move(model)) {
        REQUIRE(library.LoadFromSerializedProto(bytes).ok());
        REQUIRE(hat::describe(ours.load(bytes)) == "no error");
    }
    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;

    std::optional<Ids> expected(std::string_view text) const {
        std::vector<int> ids;
        if (!library.Encode(text, &ids).ok()) return {};
        return Ids(ids.begin(), ids.end());
    }
    std::string expected_text(const Ids& ids) const {
        std::string text;
        return library.Decode(std::vector<int>(ids.begin(), ids.end()), &text).ok() ? text : "(refused)";
    }
    /// The number of texts that come out different, in ids or when they are decoded.
    template <class Texts>
    std::size_t differences(const Texts& texts) const {
        std::size_t n = 0;
        for (const std::string& text : texts) {
            const std::optional<Ids> want = expected(text), got = ours.encode(text);
            const bool same = got == want && (!want || ours.decode(*got) == expected_text(*want));
            if (!same && n++ == 0)
                MESSAGE("first difference: \"" << text << "\" " << (got == want ? "decoded" : "encoded"));
        }
        return n;
    }
    std::size_t differences_on_corpus() const {
        std::size_t n = 0;
        for (const char* name : {
#ifndef HAT_SANITIZED
                 "train.en", "train.de",
#endif
                 "dev.en", "dev.de", "test.en", "test.de"})
            n += differences(corpus(name));
        return n;
    }
    /// The number of random id sequences that are decoded differently.
    std::size_t decoding_differences(std::size_t count) const {
        std::mt19937 random(7);
        std::size_t n = 0;
        const auto size = ours.vocabulary_size();
        for (std::size_t i = 0; i < count; ++i) {
            Ids ids(random() % 12);
            for (auto& id : ids)
                id =
                    static_cast<std::int32_t>(random() % (random() % 2 == 0 ? std::min(size, std::size_t{260}) : size));
            n += ours.decode(ids) == expected_text(ids) ? 0 : 1;
        }
        return n;
    }
};

/// Random texts a model is compared on; fewer where each takes ten times as long.
#ifdef HAT_SANITIZED
constexpr std::size_t random_count = 100;
#else
constexpr std::size_t random_count = 1000;
#endif

/// Strings of everything that normalisation and segmentation treat specially, cut into and mixed with real text.
std::vector<std::string> random_texts(std::size_t count, bool valid) {
    static const std::vector<std::string> special{" ",
                                                  "  ",
                                                  "\t",
                                                  "\n",
                                                  "\r",
                                                  "\u00A0",
                                                  "\u2009",
                                                  "\u200B",
                                                  "\u3000",
                                                  "\u2581",
                                                  "\u2581\u2581",
                                                  "\u0001",
                                                  "\u001F",
                                                  "\u007F",
                                                  "\u0085",
                                                  "\u00AD",
                                                  "\uFEFF",
                                                  "\uFFFD",
                                                  "\u2028",
                                                  "a\u0301",
                                                  "o\u0308",
                                                  "\u0308",
                                                  "\u0301\u0323",
                                                  "\u212B",
                                                  "\uFB01",
                                                  "\uFDFA",
                                                  "\u2126",
                                                  "\u00BD",
                                                  "\u2460",
                                                  "\uFF21\uFF42",
                                                  "\u30AB\u3099",
                                                  "\uFF76\uFF9E",
                                                  "\u65E5\u672C\u8A9E",
                                                  "\uAC00\u1100\u1161\u11A8",
                                                  "\u0E01\u0E33",
                                                  "\U0001F600",
                                                  "\U0001F468\u200D\U0001F469",
                                                  "\U0001F1E9\U0001F1EA",
                                                  "\U0010FFFF",
                                                  "\u00DF",
                                                  "\u1E9E",
                                                  "\u0130",
                                                  "\u2047",
                                                  "<s>",
                                                  "</s>",
                                                  "<unk>",
                                                  "<0x41>",
                                                  "...",
                                                  "\u2026",
                                                  "'",
                                                  "\u201E",
                                                  "x",
                                                  "e",
                                                  "\u00E4",
                                                  "Server",
                                                  "1,234"};
    static const std::vector<std::string> invalid{"\xFF",
                                                  "\xC3",
                                                  "\xE2\x96",
                                                  "\xF0\x9F\x98",
                                                  "\xC0\x80",
                                                  "\xED\xA0\x80",
                                                  "\xF4\x90\x80\x80",
                                                  "\x80",
                                                  "\xF8\x88\x80\x80\x80",
                                                  "\xE2\x96\xE2\x96\x81"};
    std::mt19937 random(11);
    std::vector<std::string> texts{"", " ", "   ", "\t \n", "\u2581", "\u3000\u00A0"};
    if (!valid) texts.insert(texts.end(), {std::string("a\0b", 3), std::string(1, '\0')});
    while (texts.size() < count) {
        std::string text;
        for (std::size_t parts = random() % 12; parts > 0; --parts) {
            switch (random() % 4) {
                case 0: {
                    const auto& lines = corpus(random() % 2 == 0 ? "dev.en" : "dev.de");
                    const std::string& line = lines[random() % lines.size()];
                    std::size_t begin = random() % (line.size() + 1), size = random() % 20;
                    while (begin < line.size() && (line[begin] & 0xC0) == 0x80) ++begin;
                    while (begin + size < line.size() && (line[begin + size] & 0xC0) == 0x80) ++size;
                    text += line.substr(begin, size);
                    break;
                }
                case 1: {
                    char32_t c = 0;
                    do c = static_cast<char32_t>(random() % (random() % 2 == 0 ? 0x3000 : 0x110000));
                    while ((c >= 0xD800 && c < 0xE000) || c == 0);
                    hat::utf8_append(text, c);
                    break;
                }
                case 2:
                    text += special[random() % special.size()];
                    break;
                default:
                    text += valid ? " " : invalid[random() % invalid.size()];
            }
        }
        texts.push_back(text);
    }
    return texts;
}
}  // namespace

TEST_CASE("Every sentence of the sample corpus has the library's ids and text") {
    using M = Options::Model;
    for (const auto& options : {
#ifndef HAT_SANITIZED
             Options{.model = M::bpe, .vocab_size = 8000}, Options{.model = M::unigram, .vocab_size = 4000},
             Options{.model = M::bpe, .vocab_size = 5000, .character_coverage = 0.995, .normalization = "nfkc"},
             Options{.model = M::unigram, .vocab_size = 5000, .character_coverage = 0.995, .normalization = "identity"},
#endif
             Options{.model = M::bpe, .vocab_size = 4000, .byte_fallback = true, .normalization = "nmt_nfkc_cf"},
             Options{.model = M::unigram, .vocab_size = 5000, .byte_fallback = true, .normalization = "nfkc"}}) {
        CAPTURE(options.normalization);
        CAPTURE(static_cast<int>(options.model));
        const Pair pair(hat::train_sentencepiece(joint(2000), options).bytes());
        CHECK(pair.differences_on_corpus() == 0);
        CHECK(pair.differences(random_texts(3 * random_count, true)) == 0);
        CHECK(pair.differences(random_texts(3 * random_count, false)) == 0);
        CHECK(pair.decoding_differences(2000) == 0);
    }
}

TEST_CASE("Pieces, ids and decoding are those of hat's tokenizer") {
    const auto tokenizer = hat::train_sentencepiece(joint(1000), {.vocab_size = 1000});
    const std::string bytes = tokenizer.bytes();
    SubwordModel model;
    REQUIRE(model.load(bytes) == SubwordError::none);
    CHECK(model.vocabulary_size() == 1000);
    for (std::int32_t id = 0; id < 1000; ++id) REQUIRE(model.piece(id) == tokenizer.piece(id));
    CHECK(model.piece(-1) == "");
    CHECK(model.piece(1000) == "");
    const std::string line = corpus("test.de")[3];
    CHECK(*model.encode(line) == tokenizer.encode(line));
    Ids framed = tokenizer.encode("the help");
    framed.insert(framed.begin(), hat::SpecialTokens::bos);
    framed.push_back(hat::SpecialTokens::eos);
    CHECK(*model.decode(framed) == "the help");
}

TEST_CASE("Settings that other SentencePiece models have") {
    const auto lines = joint(400);
    for (const char* type : {"bpe", "unigram"})
        for (const Arguments& more : std::vector<Arguments>{
                 {{"add_dummy_prefix", "false"}},
                 {{"remove_extra_whitespaces", "false"}},
                 {{"remove_extra_whitespaces", "false"}, {"add_dummy_prefix", "false"}, {"byte_fallback", "true"}},
                 {{"treat_whitespace_as_suffix", "true"}},
                 {{"treat_whitespace_as_suffix", "true"}, {"remove_extra_whitespaces", "false"}},
                 {{"user_defined_symbols", "Server,Serv,1,er, ,\u2026"}},
                 {{"user_defined_symbols", "\u00E4,e\u0301"}, {"normalization_rule_name", "identity"}},
                 {{"split_by_whitespace", "false"}, {"max_sentencepiece_length", "40"}},
                 {{"unk_surface", "?"}, {"character_coverage", "0.98"}},
                 {{"control_symbols", "<2de>,<2en>"}, {"allow_whitespace_only_pieces", "true"}},
                 {{"control_symbols", "\u2026"}}}) {
            Arguments arguments = more;
            arguments.merge(Arguments{{"model_type", type}, {"vocab_size", "900"}});
            CAPTURE(type);
            CAPTURE(more.begin()->first);
            CAPTURE(more.begin()->second);
            const Pair pair(train_with(lines, arguments));
            CHECK(pair.differences(corpus("test.de")) == 0);
            CHECK(pair.differences(random_texts(random_count, true)) == 0);
            CHECK(pair.differences(random_texts(random_count, false)) == 0);
            CHECK(pair.decoding_differences(random_count) == 0);
        }
}

TEST_CASE("A prebuilt index gives the same, without an allocation") {
    for (const auto kind : {Options::Model::bpe, Options::Model::unigram}) {
        const std::string bytes = hat::train_sentencepiece(joint(500), {.model = kind, .vocab_size = 1000}).bytes();
        SubwordModel built, mapped;
        REQUIRE(built.load(bytes) == SubwordError::none);
        const std::vector<std::uint32_t> index(built.index().begin(), built.index().end());
        const auto& lines = corpus("dev.en");
        std::size_t longest = 0, normalized = 0;
        for (const std::string& line : lines) {
            longest = std::max(longest, line.size());
            normalized = std::max(normalized, built.normalized_bytes(line));
        }
        Ids ids(normalized);
        std::vector<std::byte> scratch(SubwordModel::scratch_bytes(normalized));
        std::string text(built.decoded_bytes(normalized), '\0');
        std::vector<std::optional<Ids>> expected;
        std::vector<std::string> texts;
        for (const std::string& line : lines) {
            expected.push_back(built.encode(line));
            texts.push_back(*built.decode(*expected.back()));
        }
        std::size_t wrong = 0;
        const std::size_t before = allocations;
        const SubwordError error = mapped.load(bytes, index);
        for (std::size_t i = 0; i < lines.size(); ++i) {
            const auto encoded = mapped.encode(lines[i], ids, scratch);
            const std::span<const std::int32_t> got(ids.data(), encoded.size);
            const auto decoded = mapped.decode(got, text);
            wrong += encoded && std::equal(got.begin(), got.end(), expected[i]->begin(), expected[i]->end()) &&
                             decoded && std::string_view(text.data(), decoded.size) == texts[i]
                         ? 0
                         : 1;
        }
        CHECK(allocations == before);
        CHECK(error == SubwordError::none);
        CHECK(wrong == 0);
        SubwordModel copy = built;
        built = {};
        CHECK(copy.encode(lines[0]) == expected[0]);
        CHECK(!built.encode(lines[0]));
    }
}

TEST_CASE("Too little memory is an error that names it, and never written past") {
    for (const auto kind : {Options::Model::bpe, Options::Model::unigram}) {
        const std::string bytes =
            hat::train_sentencepiece(joint(300), {.model = kind, .vocab_size = 400, .byte_fallback = true}).bytes();
        SubwordModel model;
        REQUIRE(model.load(bytes) == SubwordError::none);
        const std::string text = "Save the  file \u65E5 now";
        const Ids all = *model.encode(text);
        const std::size_t needed = SubwordModel::scratch_bytes(model.normalized_bytes(text));
        std::size_t enough = 0;
        for (std::size_t n = 0; n <= needed; ++n) {
            std::vector<std::byte> scratch(n);
            Ids ids(all.size());
            const auto result = model.encode(text, ids, scratch);
            if (result) {
                ++enough;
                REQUIRE(ids == all);
            } else {
                REQUIRE(result.error == SubwordError::scratch_too_small);
                REQUIRE(enough == 0);
            }
        }
        CHECK(enough > 0);
        std::vector<std::byte> scratch(needed + 3);
        for (std::size_t n = 0; n < all.size(); ++n) {
            Ids ids(n);
            const auto result = model.encode(text, ids, std::span(scratch).subspan(3));  // not aligned
            REQUIRE(result.error == SubwordError::ids_too_small);
            REQUIRE(result.size == 0);
        }
        const std::string back = *model.decode(all);
        for (std::size_t n = 0; n < back.size(); ++n) {
            std::vector<char> out(n);
            REQUIRE(model.decode(all, out).error == SubwordError::text_too_small);
        }
        CHECK(model.decode(Ids{4, 400}, std::span<char>()).error == SubwordError::text_too_small);
        CHECK(model.decode(Ids{400}, std::span<char>()).error == SubwordError::foreign_id);
        CHECK(model.decode(Ids{-1}, std::span<char>()).error == SubwordError::foreign_id);
        CHECK(!model.decode(Ids{4, 400}));
    }
    CHECK(SubwordModel{}.encode("a", {}, {}).error == SubwordError::not_loaded);
    CHECK(SubwordModel{}.decode(Ids{1}, {}).error == SubwordError::not_loaded);
    CHECK(SubwordModel{}.index().empty());
}

namespace {
/// Loads bytes from memory of exactly their size and, if they pass, uses the model.
SubwordError try_model(std::string_view bytes, std::span<const std::uint32_t> index = {}) {
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const std::vector<std::uint32_t> exact_index(index.begin(), index.end());
    const std::string_view view(exact.data(), exact.size());
    SubwordModel model;
    const SubwordError error = index.empty() ? model.load(view) : model.load(view, exact_index);
    if (error != SubwordError::none) {
        CHECK(model.vocabulary_size() == 0);
        return error;
    }
    std::vector<std::byte> scratch(20000);
    Ids ids(500);
    std::vector<char> text(5000);
    for (const char* line : {"Save the \u00FCbrige file.", "\u30AB\u3099 \uFB01\xFF  x", "\u2581\u2581"}) {
        const auto result = model.encode(line, ids, scratch);
        model.decode(std::span(ids).first(result.size), text);
    }
    const Ids some{0, 4, 5, 300, 3, 7};
    model.decode(some, text);
    return error;
}
}  // namespace

TEST_CASE("A model cut off anywhere is an error") {
    for (const auto kind : {Options::Model::bpe, Options::Model::unigram})
        for (const char* rule : {"identity", "nfkc"}) {
            const auto bytes =
                hat::train_sentencepiece(joint(100), {.model = kind, .vocab_size = 300, .normalization = rule}).bytes();
            REQUIRE(try_model(bytes) == SubwordError::none);
            for (std::size_t n = 0; n < bytes.size(); n += n < 8000 || n + 50 > bytes.size() ? 1 : 499)
                REQUIRE(try_model(std::string_view(bytes).substr(0, n)) != SubwordError::none);
        }
}

TEST_CASE("Damaged models and indices are errors or give something, but never fault") {
    std::mt19937 random(3);
    for (const auto kind : {Options::Model::bpe, Options::Model::unigram})
        for (const char* rule : {"identity", "nmt_nfkc"}) {
            const auto bytes =
                hat::train_sentencepiece(
                    joint(100), {.model = kind, .vocab_size = 600, .byte_fallback = true, .normalization = rule})
                    .bytes();
            SubwordModel model;
            REQUIRE(model.load(bytes) == SubwordError::none);
            const std::vector<std::uint32_t> index(model.index().begin(), model.index().end());
            std::size_t refused = 0;
            for (int i = 0; i < 400; ++i) {
                std::string broken = bytes;
                for (std::size_t k = 1 + random() % 3; k > 0; --k)
                    broken[random() % broken.size()] = static_cast<char>(random());
                refused += try_model(broken) == SubwordError::none ? 0 : 1;
                try_model(broken, index);
                std::vector<std::uint32_t> bad = index;
                for (std::size_t k = 1 + random() % 3; k > 0; --k)
                    bad[random() % (random() % 2 == 0 ? 20 : bad.size())] =
                        static_cast<std::uint32_t>(random() >> random() % 32);
                refused += try_model(bytes, bad) == SubwordError::none ? 0 : 1;
            }
            CHECK(refused > 100);
            for (std::size_t n = 1; n < index.size(); n += 1 + n / 7)
                REQUIRE(try_model(bytes, std::span(index).first(n)) == SubwordError::bad_index);
            REQUIRE(try_model(bytes.substr(1), index) == SubwordError::bad_index);
        }
}

TEST_CASE("Each kind of wrong model has its own message") {
    CHECK(try_model("certainly no model") == SubwordError::malformed);
    CHECK(try_model("") == SubwordError::malformed);
    const auto lines = joint(100);
    CHECK(try_model(train_with(lines, {{"vocab_size", "300"}, {"model_type", "char"}})) == SubwordError::unsupported);
    CHECK(try_model(train_with(lines, {{"vocab_size", "300"}, {"bos_piece", "[s]"}})) == SubwordError::none);
    CHECK(try_model(train_with(lines, {{"vocab_size", "300"}, {"unk_id", "0"}, {"bos_id", "3"}})) ==
          SubwordError::foreign_ids);
    const auto bytes = train_with(lines, {{"vocab_size", "300"}, {"normalization_rule_name", "identity"}});
    const std::string again(
        "\x0A\x03\x0A\x01"
        "a",
        5);  // a piece "a", which there is already
    CHECK(try_model(again + bytes) != SubwordError::none);
    CHECK(try_model(bytes + again) == SubwordError::bad_piece);
    CHECK(try_model(bytes + std::string("\x0A\x02\x0A\x00", 4)) == SubwordError::bad_piece);
    CHECK(try_model(bytes + std::string("\x0A\x07\x0A\x05<z0>>", 9)) == SubwordError::none);
    CHECK(try_model(bytes + std::string("\x0A\x07\x0A\x03<z>\x18\x06", 9)) == SubwordError::bad_piece);  // a byte
    CHECK(try_model(bytes + std::string("\x0A\x07\x0A\x03<z>\x18\x02", 9)) == SubwordError::bad_piece);  // a second unk
    CHECK(try_model(bytes + std::string("\x2A\x03\x12\x01z", 5)) == SubwordError::unsupported);  // a denormaliser
    std::vector<std::string_view> texts;
    for (int e = 0; e <= static_cast<int>(SubwordError::control_piece); ++e)
        texts.push_back(hat::describe(static_cast<SubwordError>(e)));
    std::sort(texts.begin(), texts.end());
    CHECK(std::unique(texts.begin(), texts.end()) == texts.end());
}
