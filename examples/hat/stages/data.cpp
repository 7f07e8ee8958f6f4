// The data stage: text files to checked, filtered, encoded sentences.

#include <algorithm>
#include <filesystem>
#include <hat/decode/beam_search.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/safetensors.hpp>
#include <hat/text/corpus.hpp>
#include <hat/text/gzip.hpp>
#include <hat/text/sentencepiece.hpp>
#include <hat/text/tokenizer.hpp>
#include <hat/text/utf8.hpp>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

void save_corpus(const std::filesystem::path& path, const Ragged& source, const Ragged& target) {
    SafetensorsWriter writer;
    const std::vector<std::uint64_t> s(source.offsets.begin(), source.offsets.end()),
        t(target.offsets.begin(), target.offsets.end());
    writer.add<std::int32_t>("source.tokens", {source.tokens.size()}, source.tokens);
    writer.add<std::uint64_t>("source.offsets", {s.size()}, s);
    writer.add<std::int32_t>("target.tokens", {target.tokens.size()}, target.tokens);
    writer.add<std::uint64_t>("target.offsets", {t.size()}, t);
    writer.save(path);
}

double unknown_share(const Ragged& sentences) {
    std::size_t n = 0;
    for (const auto token : sentences.tokens) n += token == SpecialTokens::unk;
    return static_cast<double>(n) / static_cast<double>(std::max<std::size_t>(1, sentences.tokens.size()));
}

// "3 of dev.en (lines 4 17 20)", with the first line numbers, from 1; the lines count from 0 here.
std::string lines_text(const std::vector<std::size_t>& lines, const std::filesystem::path& file) {
    std::string out =
        std::to_string(lines.size()) + " of " + file.string() + (lines.size() == 1 ? " (line" : " (lines");
    for (std::size_t i = 0; i < std::min<std::size_t>(lines.size(), FilterReport::examples); ++i)
        out += " " + std::to_string(lines[i] + 1);
    return out + (lines.size() > FilterReport::examples ? " ...)" : ")");
}

// Validation and test text is not filtered, but what is odd about it is said before anything is trained.
void report_blank_lines(const Project& project, const std::vector<std::string>& lines,
                        const std::filesystem::path& file) {
    std::vector<std::size_t> blank;
    for (std::size_t i = 0; i < lines.size(); ++i)
        if (split_words(lines[i]).empty()) blank.push_back(i);
    if (blank.size() == lines.size())
        throw bad_file(file.string(), "has only blank lines, expected one sentence a line");
    if (!blank.empty()) project.say("notice: blank lines: " + lines_text(blank, file));
}

// A sentence that is too long to be translated would end the run at its last stage.
void check_test_lengths(const Ragged& source, const std::filesystem::path& file) {
    const std::size_t most = BeamOptions{}.max_positions;
    for (std::size_t i = 0; i < source.size(); ++i)
        if (source[i].size() > most)
            throw bad_file(file.string(), i + 1,
                           "has " + std::to_string(source[i].size()) + " tokens with its end, expected at most " +
                               std::to_string(most) + " in a test sentence: shorten it, or remove the pair");
}

// Leaves out validation pairs that fit in no batch, and says so.
void drop_long_pairs(const Project& project, Ragged& source, Ragged& target, const std::filesystem::path& file) {
    std::vector<std::size_t> dropped;
    Ragged kept_source, kept_target;
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (std::max(source[i].size(), target[i].size()) > validation_tokens) {
            dropped.push_back(i);
            continue;
        }
        kept_source.push_back(source[i]);
        kept_target.push_back(target[i]);
    }
    if (dropped.empty()) return;
    const std::string why = "validation pairs of more than " + std::to_string(validation_tokens) + " tokens";
    if (kept_source.size() == 0) throw bad_file(file.string(), "has only " + why);
    project.say("notice: left out, " + why + ": " + lines_text(dropped, file));
    source = std::move(kept_source);
    target = std::move(kept_target);
}

void save_text(const std::filesystem::path& path, const std::vector<std::string>& lines) {
    std::string text;
    for (const auto& line : lines) text += line + "\n";
    write_file_atomically(path, text);
}

}  // namespace

Json run_data(const Project& project) {
    const Settings& s = project.settings;
    std::filesystem::remove_all(project.folder / "data");  // another tokenizer's files would stay
    std::filesystem::create_directories(project.folder / "data");
    Json results;
    Filtered train =
        filter(read_parallel(s.train.source, s.train.target), {.max_length = s.max_length, .max_ratio = s.max_ratio});
    if (train.text.size() == 0)
        throw bad_file(s.train.source.string(), "no sentence pair is left after filtering:\n" + train.report.text());
    project.say(train.report.text());
    const ParallelText valid = read_parallel(s.valid.source, s.valid.target);
    const ParallelText test = read_parallel(s.test.source, s.test.target);
    report_blank_lines(project, valid.source, s.valid.source);
    report_blank_lines(project, valid.target, s.valid.target);
    report_blank_lines(project, test.source, s.test.source);
    report_blank_lines(project, test.target, s.test.target);
    // what the evaluation translates, whatever becomes of the files meanwhile
    save_text(project.test_source(), test.source);
    save_text(project.test_target(), test.target);
    results["filter"] = train.report.text();
    for (const auto& [name, text] : {std::pair("valid", &valid), std::pair("test", &test)}) {
        const Overlap overlap = count_overlap(train.text, *text);
        if (overlap.pairs != 0)
            project.say("notice: " + std::to_string(overlap.pairs) + " of " + std::to_string(text->size()) + " " +
                        name + " pairs stand in the training text: scores on them say little");
        results["overlap"][name] = overlap.pairs;
    }

    const auto save = [&](auto&& source, auto&& target) {
        const auto part = [&](const std::string& name, const ParallelText& text) {
            Ragged a = encode_lines(source, text.source), b = encode_lines(target, text.target);
            if (name == "test") check_test_lengths(a, s.test.source);
            if (name == "valid") drop_long_pairs(project, a, b, s.valid.source);
            save_corpus(project.data(name + ".safetensors"), a, b);
            results[name] = {
                {"pairs", a.size()}, {"source_tokens", a.tokens.size()}, {"target_tokens", b.tokens.size()}};
            project.say(name + ": " + std::to_string(a.size()) + " pairs, " + std::to_string(a.tokens.size()) + " + " +
                        std::to_string(b.tokens.size()) + " tokens, unknown " + fixed(100 * unknown_share(a), 3) +
                        " % + " + fixed(100 * unknown_share(b), 3) + " %");
        };
        part("test", test);
        part("valid", valid);
        part("train", train.text);
        results["source_vocab"] = source.vocabulary_size();
        results["target_vocab"] = target.vocabulary_size();
    };
    using Lines = std::span<const std::string>;
    if (s.tokenizer == "whitespace") {
        const auto build = [&](std::initializer_list<const std::vector<std::string>*> sides) {
            TokenCounts counts;
            for (const auto* side : sides) count_words(counts, *side);
            return WhitespaceTokenizer{Vocabulary::build(counts, {.max_size = s.vocab_size})};
        };
        if (s.joint_vocab) {
            const auto joint = build({&train.text.source, &train.text.target});
            joint.vocabulary.save(project.data("joint.dict.txt"));
            save(joint, joint);
        } else {
            const auto source = build({&train.text.source});
            const auto target = build({&train.text.target});
            source.vocabulary.save(project.data("source.dict.txt"));
            target.vocabulary.save(project.data("target.dict.txt"));
            save(source, target);
        }
        return results;
    }
    SentencePieceOptions options{
        .model = s.tokenizer == "bpe" ? SentencePieceOptions::Model::bpe : SentencePieceOptions::Model::unigram,
        .vocab_size = s.vocab_size};
    const auto learn = [&](std::span<const Lines> text, const std::filesystem::path& file) {
        try {
            return train_sentencepiece(text, options);
        } catch (const invalid_value& e) {
            throw bad_config(file.string() + ": key 'vocab-size', tokenizer '" + s.tokenizer + "': " + e.what());
        }
    };
    if (s.joint_vocab) {
        const std::array<Lines, 2> both{Lines(train.text.source), Lines(train.text.target)};
        const auto joint = learn(both, s.train.source);
        joint.save(project.data("joint.spm"));
        save(joint, joint);
    } else {
        const Lines sides[] = {train.text.source, train.text.target};
        const auto source = learn({sides, 1}, s.train.source);
        const auto target = learn({sides + 1, 1}, s.train.target);
        source.save(project.data("source.spm"));
        target.save(project.data("target.spm"));
        save(source, target);
    }
    return results;
}

}  // namespace hat::cli
