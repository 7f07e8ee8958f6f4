#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <hat/text/lines.hpp>
#include <hat/text/sentencepiece.hpp>
#include <text/files.hpp>

namespace {
using Options = hat::SentencePieceOptions;

std::vector<std::string> sample(const std::string& name, std::size_t n) {
    auto lines = hat::read_plain_lines(std::filesystem::path(HAT_SOURCE_DIR) / "examples/data/en-de" / name);
    lines.resize(n);
    return lines;
}

/// What f() writes to the process's standard error, from C++ or C.
template <class F>
std::string stderr_of(const TempFolder& dir, F&& f) {
    const std::string path = dir / "stderr";
    const int saved = ::dup(2), file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    ::dup2(file, 2);
    f();
    ::dup2(saved, 2);
    ::close(saved);
    ::close(file);
    return hat::read_file(path);
}
}  // namespace

// This case stands first: training sets the library's log level for the rest of the process.
TEST_CASE("Files that are no model are refused without a word on standard error") {
    const TempFolder dir;
    const std::string log = stderr_of(dir, [&] {
        const std::string path = dir.write("m", "certainly no model");
        CHECK(message_of<hat::bad_file>([&] { hat::SentencePieceTokenizer::load(path); }) ==
              path + ": is no SentencePiece model (18 bytes, truncated or corrupt)");
        CHECK(message_of<hat::bad_file>([&] { hat::SentencePieceTokenizer::load(dir.write("e", "")); }) ==
              (dir / "e") + ": is no SentencePiece model (0 bytes, truncated or corrupt)");
        CHECK(message_of<hat::bad_file>([&] { hat::SentencePieceTokenizer::load(dir / "none"); }) ==
              (dir / "none") + ": cannot be read: No such file or directory");
    });
    CHECK(log == "");
}

TEST_CASE("A joint model of either kind uses hat's ids and restores its text") {
    const auto en = sample("train.en", 3000), de = sample("train.de", 3000);
    for (const auto kind : {Options::Model::bpe, Options::Model::unigram}) {
        const std::array<std::span<const std::string>, 2> blocks{en, de};
        const auto model = hat::train_sentencepiece(blocks, {.model = kind, .vocab_size = 1000});
        CHECK(model.vocabulary_size() == 1000);
        CHECK(model.piece(hat::SpecialTokens::bos) == "<s>");
        CHECK(model.piece(hat::SpecialTokens::pad) == "<pad>");
        CHECK(model.piece(hat::SpecialTokens::eos) == "</s>");
        CHECK(model.piece(hat::SpecialTokens::unk) == "<unk>");
        for (const auto& lines : blocks)
            for (std::size_t i = 0; i < 200; ++i) {
                const auto ids = model.encode(lines[i]);
                for (const auto id : ids) REQUIRE(id > hat::SpecialTokens::unk);
                CHECK(model.decode(ids) == lines[i]);
            }
    }
}

TEST_CASE("Training is repeatable, silent and leaves no file behind") {
    const TempFolder dir;
    const auto lines = sample("train.en", 2000);
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(dir.path);
    for (const auto kind : {Options::Model::bpe, Options::Model::unigram}) {
        std::string a, b;
        const std::string log = stderr_of(dir, [&] {
            a = hat::train_sentencepiece(lines, {.model = kind, .vocab_size = 500}).bytes();
            b = hat::train_sentencepiece(lines, {.model = kind, .vocab_size = 500}).bytes();
        });
        CHECK(log == "");
        CHECK(a == b);
    }
    CHECK(hat_test::count_files(dir.path) == 1);  // the log itself
    std::filesystem::current_path(before);
}

TEST_CASE("Models survive saving and loading") {
    const TempFolder dir;
    const auto lines = sample("train.de", 1000);
    const auto model = hat::train_sentencepiece(lines, {.vocab_size = 300});
    model.save(dir / "spm.model");
    CHECK(hat_test::count_files(dir.path) == 1);
    const auto again = hat::SentencePieceTokenizer::load(dir / "spm.model");
    CHECK(again.bytes() == model.bytes());
    CHECK(again.encode(lines[7]) == model.encode(lines[7]));
    CHECK(hat::SentencePieceTokenizer::from_bytes(model.bytes()).vocabulary_size() == 300);
    const std::string bytes = model.bytes();
    for (std::size_t n = 1; n < bytes.size(); n += n < 500 ? 1 : bytes.size() / 97) {
        const std::string what = message_of<hat::bad_file>(
            [&] { hat::SentencePieceTokenizer::from_bytes(std::string_view(bytes).substr(0, n), "cut.model"); });
        REQUIRE(what == "cut.model: is no SentencePiece model (" + std::to_string(n) + " bytes, truncated or corrupt)");
    }
    CHECK_THROWS_AS(model.save(dir / "no/such/folder"), hat::bad_file);
}

TEST_CASE("A model with other special ids is refused") {
    const auto lines = sample("train.en", 500);
    const std::span<const std::string> block = lines;
    hat::detail::LineIterator it(std::span<const std::span<const std::string>>(&block, 1));
    std::string bytes;
    REQUIRE(sentencepiece::SentencePieceTrainer::Train(
                std::unordered_map<std::string, std::string>{{"vocab_size", "300"}, {"minloglevel", "4"}}, &it, &bytes)
                .ok());
    CHECK(message_of<hat::bad_file>([&] { hat::SentencePieceTokenizer::from_bytes(bytes, "foreign.model"); }) ==
          "foreign.model: bos_id is 1; expected 0 (train with bos_id 0, pad_id 1, eos_id 2, unk_id 3)");
}

TEST_CASE("Unknown characters are unk, or bytes on request; special tokens vanish") {
    const auto lines = sample("train.en", 1000);
    const auto model = hat::train_sentencepiece(lines, {.vocab_size = 300});
    const auto ids = model.encode("the \u65E5");
    CHECK(ids.back() == hat::SpecialTokens::unk);
    CHECK(model.encode("").empty());
    CHECK(model.decode(std::vector<std::int32_t>{}) == "");
    auto framed = model.encode("the help");
    framed.insert(framed.begin(), hat::SpecialTokens::bos);
    framed.push_back(hat::SpecialTokens::eos);
    framed.push_back(hat::SpecialTokens::pad);
    CHECK(model.decode(framed) == "the help");
    const auto with_bytes = hat::train_sentencepiece(lines, {.vocab_size = 600, .byte_fallback = true});
    CHECK(with_bytes.decode(with_bytes.encode("the \u65E5")) == "the \u65E5");
    CHECK(model.encode("a </s> b").size() > 3);  // text cannot spell a special token
    for (const auto id : model.encode("a </s> b")) CHECK(id != hat::SpecialTokens::eos);
}

TEST_CASE("Bad values are named") {
    const auto lines = sample("test.en", 50);
    const auto model = hat::train_sentencepiece(lines, {.vocab_size = 200});
    CHECK(message_of<hat::invalid_value>([&] { model.decode(std::vector<std::int32_t>{200}); }) ==
          "token id 200: the SentencePiece model has ids 0 to 199");
    CHECK_THROWS_AS(model.piece(-1), hat::invalid_value);
    CHECK(message_of<hat::invalid_value>([&] { model.encode("a\xFF"); }) ==
          "invalid UTF-8 at byte 2 of a sentence to encode");
    CHECK(message_of<hat::invalid_value>([] {
              hat::train_sentencepiece(std::vector<std::string>{"", " "});
          }) == "SentencePiece: there is no text to train on");
    CHECK(message_of<hat::invalid_value>([] { hat::train_sentencepiece(std::vector<std::string>{}); }) ==
          "SentencePiece: there is no text to train on");
    CHECK(message_of<hat::invalid_value>([&] {
              hat::train_sentencepiece(lines, {.normalization = "wrong"});
          }).starts_with("SentencePiece: training failed: "));
    CHECK_THROWS_AS(hat::train_sentencepiece(lines, {.vocab_size = 200, .character_coverage = 2.0}),
                    hat::invalid_value);
}

TEST_CASE("A vocabulary that does not fit the text is refused with the size that does") {
    const auto lines = sample("test.en", 50);
    const auto size_in = [](const std::string& message, const std::string& after) {
        const auto at = message.find(after);
        REQUIRE_MESSAGE(at != std::string::npos, message);
        return std::stoul(message.substr(at + after.size()));
    };
    for (const auto kind : {Options::Model::bpe, Options::Model::unigram}) {
        const auto train = [&](std::size_t n) {
            return hat::train_sentencepiece(lines, {.model = kind, .vocab_size = n});
        };
        const std::string large = message_of<hat::invalid_value>([&] { train(9000); });
        CHECK(large.starts_with("SentencePiece: vocab_size = 9000 is too large for this text: expected at most "));
        CHECK(train(size_in(large, "at most ")).vocabulary_size() == size_in(large, "at most "));
        const std::string small = message_of<hat::invalid_value>([&] { train(20); });
        CHECK(small.starts_with("SentencePiece: vocab_size = 20 is too small: "));
        CHECK(size_in(small, "need ") > 20);
        CHECK_THROWS_AS(train(size_in(small, "need ") - 1), hat::invalid_value);
    }
    CHECK(hat::train_sentencepiece(lines,
                                   {.model = Options::Model::unigram, .vocab_size = 9000, .hard_vocab_limit = false})
              .vocabulary_size() < 9000);
}

TEST_CASE("Impossible vocabulary sizes and tiny texts get sentences, not the library's internals") {
    const std::vector<std::string> two{"a b", "b a"};
    const auto message = [&](std::size_t size) {
        return message_of<hat::invalid_value>([&] { hat::train_sentencepiece(two, {.vocab_size = size}); });
    };
    CHECK(message(99999999999) == "SentencePiece: vocab_size = 99999999999: expected 5 to 16777216");
    CHECK(message(static_cast<std::size_t>(-1)) == "SentencePiece: vocab_size = -1: expected 5 to 16777216");
    CHECK(message(0) == "SentencePiece: vocab_size = 0: expected 5 to 16777216");
    CHECK(message(100).starts_with("SentencePiece: vocab_size = 100 is too large for this text: expected at most "));
    CHECK(hat::train_sentencepiece(two, {.vocab_size = 7}).vocabulary_size() == 7);
}
