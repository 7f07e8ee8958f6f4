#include <doctest/doctest.h>

#include <cmath>
#include <decode/models.hpp>
#include <filesystem>
#include <fstream>
#include <hat/decode/translate.hpp>
#include <support/files.hpp>

namespace {

using hat_test::contains;
using hat_test::message_of;
using hat_test::TemporaryFolder;

std::vector<std::string> text() {
    std::vector<std::string> lines;
    for (const char* line : {"the cat sees the small dog", "a dog and a cat", "der Hund sieht die kleine Katze",
                             "eine Katze und ein Hund", "the house is green", "das Haus ist gr\xC3\xBCn",
                             "cats see dogs", "Hunde sehen Katzen", "we go home now", "wir gehen jetzt nach Hause"})
        lines.push_back(line);
    return lines;
}

hat::SentencePieceTokenizer pieces(std::size_t size) {
    const auto lines = text();
    return hat::train_sentencepiece(std::span<const std::string>(lines), {.vocab_size = size});
}

hat::WhitespaceTokenizer words() {
    hat::TokenCounts counts;
    const auto lines = text();
    hat::count_words(counts, lines);
    return {hat::Vocabulary::build(counts)};
}

hat::TransformerConfig config_for(const hat::TokenizerPair& tokenizers, hat::EmbeddingSharing sharing) {
    auto config = hat_test::small_config(false, sharing);
    config.source_vocab = tokenizers.source.vocabulary_size();
    config.target_vocab = tokenizers.target.vocabulary_size();
    return config;
}

/// A folder with a random model and these tokenizers.
void save(const std::filesystem::path& folder, const hat::TokenizerPair& tokenizers,
          hat::EmbeddingSharing sharing = hat::EmbeddingSharing::none) {
    const auto weights = hat_test::random_weights<float>(config_for(tokenizers, sharing), 4);
    hat::save_model(folder / "model.safetensors", weights, hat_test::small_sub());
    hat::save_tokenizers(folder, tokenizers);
}

const hat::TranslateOptions quick{.search = {.beam = 3, .max_length_b = 8, .n_best = 3}};

}  // namespace

TEST_CASE("text is translated from a folder alone, with every kind of tokenizer") {
    const hat::TokenizerPair kinds[] = {
        {pieces(50), pieces(50)}, {pieces(50), pieces(60)}, {words(), words()}, {pieces(50), words()}};
    const std::size_t files[] = {2, 3, 2, 3};  // equal tokenizers share a file
    TemporaryFolder folder;                    // the same one: what an earlier model left there must not matter
    for (std::size_t i = 0; i < 4; ++i) {
        CAPTURE(i);
        save(folder.path, kinds[i], i == 0 ? hat::EmbeddingSharing::all : hat::EmbeddingSharing::none);
        CHECK(hat_test::count_files(folder.path) == files[i]);
        hat::Translator translator(folder.path, quick);
        const std::string sentence = "the dog sees a cat";
        const std::string found = translator.translate(sentence);
        CHECK(!found.empty());

        // the same by hand
        hat::InferenceSession<float> session(translator.model());
        const auto sources = hat::encode_lines(kinds[i].source, std::vector<std::string>{sentence});
        const auto hypotheses = hat::beam_search(session, sources, quick.search)[0];
        const auto n_best = translator.n_best(std::vector<std::string>{sentence})[0];
        REQUIRE(hypotheses.size() == 3);
        REQUIRE(n_best.size() == 3);
        for (std::size_t k = 0; k < 3; ++k) {
            CHECK(n_best[k].hypothesis.tokens == hypotheses[k].tokens);
            CHECK(n_best[k].hypothesis.score == hypotheses[k].score);
            CHECK(n_best[k].text == kinds[i].target.decode(hypotheses[k].tokens));
        }
        CHECK(found == n_best[0].text);
    }
}

TEST_CASE("one dictionary of words can be both sides") {
    TemporaryFolder folder;
    save(folder.path, {pieces(50), pieces(50)}, hat::EmbeddingSharing::all);
    std::filesystem::remove(folder / "joint.spm");
    words().vocabulary.save(folder / "joint.dict.txt");
    const auto loaded = hat::load_tokenizers(folder.path);
    REQUIRE(loaded.source.whitespace());
    REQUIRE(loaded.target.whitespace());
    CHECK(loaded.source.whitespace()->vocabulary == words().vocabulary);
    words().vocabulary.save(folder / "source.dict.txt");
    CHECK(contains(message_of<hat::bad_file>([&] { hat::load_tokenizers(folder.path); }),
                   "has both joint.dict.txt and source.dict.txt, expected one of"));
    hat::save_tokenizers(folder.path, {words(), words()});
    CHECK(!std::filesystem::exists(folder / "source.dict.txt"));
    CHECK(hat::load_tokenizers(folder.path).target.whitespace()->vocabulary == words().vocabulary);
}

TEST_CASE("many sentences keep their order and do not depend on batches or threads") {
    TemporaryFolder folder;
    save(folder.path, {pieces(50), pieces(60)});
    std::vector<std::string> sentences = text();
    sentences.insert(sentences.begin() + 3, {"", "   ", "cat cat cat cat cat cat cat cat cat cat", "a"});
    hat::Translator one(folder.path, quick);
    auto options = quick;
    options.threads = 2;
    options.batch_tokens = 30;
    options.batch_sentences = 3;
    hat::Translator small(folder.path, options);
    const auto together = one.translate(sentences);
    REQUIRE(together.size() == sentences.size());
    CHECK(together == small.translate(sentences));
    for (std::size_t i = 0; i < sentences.size(); ++i) {
        CAPTURE(sentences[i]);
        CHECK(one.translate(sentences[i]) == together[i]);
    }
    CHECK(together[3].empty());
    CHECK(together[4].empty());
    CHECK(!together[5].empty());
    CHECK(one.translate(std::vector<std::string>{}).empty());
    for (const auto precision : {hat::Precision::bf16, hat::Precision::bf16x3}) {
        options.precision = precision;
        auto alone = quick;
        alone.precision = precision;
        hat::Translator in_batches(folder.path, options), all(folder.path, alone);
        CHECK(in_batches.model().precision() == precision);
        CHECK(in_batches.translate(sentences) == all.translate(sentences));
    }

    const auto empty = one.n_best(std::vector<std::string>{""})[0];
    REQUIRE(empty.size() == 1);
    CHECK(empty[0].hypothesis.tokens == std::vector<std::int32_t>{2});
    CHECK(empty[0].hypothesis.score == 0);
}

TEST_CASE("sentences that cannot be translated are named") {
    TemporaryFolder folder;
    save(folder.path, {words(), words()});
    auto options = quick;
    options.search.max_positions = 6;
    options.search.max_length_b = 3;
    hat::Translator translator(folder.path, options);
    const auto refused = [&](std::vector<std::string> sentences) {
        return message_of<hat::invalid_value>([&] { translator.translate(sentences); });
    };
    CHECK(refused({"a", "one two three four five"}).empty());
    CHECK(contains(refused({"a", "one two three four five six"}),
                   "sentence 2: has 7 tokens with its eos, expected at most 6"));
    CHECK(contains(refused({"a", "b", "abc\xFF"}), "sentence 3: invalid UTF-8 at byte 4"));
    CHECK(contains(message_of<hat::invalid_value>([&] { translator.translate("\xC3"); }),
                   "sentence 1: invalid UTF-8 at byte 1"));
    try {
        translator.translate(std::vector<std::string>{"a", std::string("b\0c", 3)});
        FAIL("a NUL byte was translated");
    } catch (const hat::bad_sentence& e) {
        CHECK(e.index == 1);
        CHECK(e.reason == "NUL byte at byte 2");
        CHECK(std::string(e.what()) == "sentence 2: NUL byte at byte 2");
    }
    CHECK(!translator.translate("words nobody has ever seen").empty());  // unknown words are no error
}

TEST_CASE("a model with NaN weights names the sentence as the caller counts") {
    const hat::TokenizerPair tokenizers{words(), words()};
    auto weights = hat_test::random_weights<float>(config_for(tokenizers, hat::EmbeddingSharing::none), 4);
    // only the embedding of one word is broken, and the longest sentence comes first in a batch
    const int table = weights.layout().find("encoder.embed_tokens.weight");
    const auto broken = static_cast<std::size_t>(tokenizers.source.encode("house")[0]);
    weights.tensor(table)[broken * weights.layout().tensors()[static_cast<std::size_t>(table)].shape[1]] =
        std::nanf("");
    hat::Translator translator(std::make_shared<const hat::Weights<float>>(weights), hat_test::small_sub(), tokenizers,
                               quick);
    const std::vector<std::string> sentences{"", "a dog", "the house", "we go home now", "a cat"};
    CHECK(message_of<hat::bad_sentence>([&] {
              translator.translate(sentences);
          }).starts_with("sentence 3: the logits of step 0 are not finite"));
}

TEST_CASE("tokenizers that are not the model's are noticed by their checksum") {
    TemporaryFolder folder;
    const hat::TokenizerPair right{words(), words()}, wrong{words(), pieces(55)};
    save(folder.path, right);
    auto model = hat::load_model(folder / "model.safetensors");
    hat::save_model(folder / "model.safetensors", model.weights, model.arch,
                    {{"tokenizers", hat::tokenizers_checksum(right)}});
    const hat::Translator accepted(folder.path, quick);
    std::string text = words().vocabulary.text();
    std::swap(text[0], text[text.find('\n') + 1]);  // two words change places
    std::ofstream(folder / "joint.dict.txt") << text;
    CHECK(contains(message_of<hat::bad_file>([&] { hat::Translator(folder.path, quick); }),
                   folder.path.string() + ": these tokenizers are not those of the model, or damaged: their checksum"));
    CHECK(hat::tokenizers_checksum(right) != hat::tokenizers_checksum(wrong));
}

TEST_CASE("a folder that is no model is refused, naming what is wrong") {
    TemporaryFolder folder;
    const auto refused = [&](const hat::TranslateOptions& options = quick) {
        return message_of<hat::error>([&] { hat::Translator(folder.path, options); });
    };
    CHECK(contains(refused(), "model.safetensors"));
    const hat::TokenizerPair tokenizers{pieces(50), pieces(60)};
    save(folder.path, tokenizers);
    CHECK(refused().empty());
    hat::write_file_atomically(folder / "model.hatq", "whatever");
    CHECK(refused() == folder.path.string() + ": has both model.safetensors and model.hatq, expected one of them");
    std::filesystem::remove(folder / "model.hatq");

    CHECK(contains(refused({.search = {.beam = 0}}), "beam is 0, expected 1 to 1024"));
    CHECK(contains(refused({.search = {.beam = static_cast<std::size_t>(-1)}}), "beam is -1, expected 1 to 1024"));
    CHECK(contains(refused({.search = {.beam = 2000}}), "beam is 2000, expected 1 to 1024"));
    CHECK(contains(refused({.search = {.n_best = static_cast<std::size_t>(-1)}}),
                   "n_best is -1, expected 1 to the beam, 5"));
    CHECK(contains(refused({.batch_tokens = 0}), "batch_tokens is 0, expected at least 1"));
    CHECK(contains(refused({.batch_sentences = 0}), "batch_sentences is 0"));

    words().vocabulary.save(folder / "target.dict.txt");
    CHECK(contains(refused(),
                   "has both target.spm and target.dict.txt, expected one of joint.spm, joint.dict.txt, target.spm and "
                   "target.dict.txt"));
    std::filesystem::remove(folder / "target.dict.txt");
    std::filesystem::remove(folder / "source.spm");
    CHECK(contains(refused(),
                   "has no source tokenizer, expected one of joint.spm, joint.dict.txt, source.spm and "
                   "source.dict.txt"));
    pieces(55).save(folder / "source.spm");
    CHECK(contains(refused(), folder.path.string() + ": the source tokenizer has 55 ids, but the model 50"));
    std::ofstream(folder / "source.spm") << "nonsense";
    CHECK(contains(refused(), "source.spm: is no SentencePiece model"));
    hat::save_tokenizers(folder.path, tokenizers);
    CHECK(refused().empty());
    std::filesystem::resize_file(folder / "model.safetensors",
                                 std::filesystem::file_size(folder / "model.safetensors") - 5);
    CHECK(contains(refused(), "model.safetensors"));

    TemporaryFolder other;
    CHECK(contains(message_of<hat::bad_file>([&] { hat::save_tokenizers(other / "not there", tokenizers); }),
                   "not there"));
}
