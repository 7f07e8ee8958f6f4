// The data stage: text files to checked, filtered, encoded sentences.

#include <hat/io/safetensors.hpp>
#include <hat/text/corpus.hpp>
#include <hat/text/gzip.hpp>
#include <hat/text/sentencepiece.hpp>
#include <hat/text/tokenizer.hpp>
#include <stages/project.hpp>
#include <support.hpp>

namespace hat::cli {
namespace {

void save_corpus(const std::filesystem::path& path, const Ragged& source, const Ragged& target) {
    SafetensorsWriter writer;
    const std::vector<std::uint64_t> s(source.offsets.begin(), source.offsets.end()), t(target.offsets.begin(), target.offsets.end());
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

}  // namespace

Json run_data(const Project& project) {
    const Settings& s = project.settings;
    Json results;
    Filtered train = filter(read_parallel(s.train.source, s.train.target), {.max_length = s.max_length, .max_ratio = s.max_ratio});
    if (train.text.size() == 0)
        throw bad_file(s.train.source.string(), "no sentence pair is left after filtering:\n" + train.report.text());
    project.say(train.report.text());
    const ParallelText valid = read_parallel(s.valid.source, s.valid.target);
    const ParallelText test = read_parallel(s.test.source, s.test.target);
    results["filter"] = train.report.text();
    for (const auto& [name, text] : {std::pair("valid", &valid), std::pair("test", &test)}) {
        const Overlap overlap = count_overlap(train.text, *text);
        if (overlap.pairs != 0)
            project.say("notice: " + std::to_string(overlap.pairs) + " of " + std::to_string(text->size()) + " " + name +
                        " pairs stand in the training text: scores on them say little");
        results["overlap"][name] = overlap.pairs;
    }

    const auto save = [&](auto&& source, auto&& target) {
        const auto part = [&](const std::string& name, const ParallelText& text) {
            const Ragged a = encode_lines(source, text.source), b = encode_lines(target, text.target);
            save_corpus(project.data(name + ".safetensors"), a, b);
            results[name] = {{"pairs", text.size()}, {"source_tokens", a.tokens.size()}, {"target_tokens", b.tokens.size()}};
            project.say(name + ": " + std::to_string(text.size()) + " pairs, " + std::to_string(a.tokens.size()) + " + " +
                        std::to_string(b.tokens.size()) + " tokens, unknown " + fixed(100 * unknown_share(a), 3) + " % + " +
                        fixed(100 * unknown_share(b), 3) + " %");
        };
        part("train", train.text);
        part("valid", valid);
        part("test", test);
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
    SentencePieceOptions options{.model = s.tokenizer == "bpe" ? SentencePieceOptions::Model::bpe : SentencePieceOptions::Model::unigram,
                                 .vocab_size = s.vocab_size};
    if (s.joint_vocab) {
        const std::array<Lines, 2> both{Lines(train.text.source), Lines(train.text.target)};
        const auto joint = train_sentencepiece(both, options);
        joint.save(project.data("joint.spm"));
        save(joint, joint);
    } else {
        const auto source = train_sentencepiece(Lines(train.text.source), options);
        const auto target = train_sentencepiece(Lines(train.text.target), options);
        source.save(project.data("source.spm"));
        target.save(project.data("target.spm"));
        save(source, target);
    }
    return results;
}

}  // namespace hat::cli
