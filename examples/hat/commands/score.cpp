/// \file
/// hat score: BLEU and chrF2 of a translated file.

#include <commands/commands.hpp>
#include <hat/core/error.hpp>
#include <hat/io/json.hpp>
#include <hat/text/bleu.hpp>
#include <hat/text/chrf.hpp>
#include <hat/text/gzip.hpp>
#include <hat/text/significance.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <support.hpp>
#include <vector>

namespace hat::cli {
namespace {

struct ScoreArguments : CommonOptions {
    std::string hyp, ref, paired, tokenize = "13a";
    bool lowercase = false, confidence = false, json = false;
    std::size_t samples = 1000;
};

/// Both metrics are shown alike: score, interval, comparison with another system.
struct Shown {
    std::string name, signature, text;
    ScoreInterval interval;
    PairedResult paired;
};

template <class Metric>
Shown evaluate(const ScoreArguments& o, const Metric& metric, const ParallelText& text,
               const std::vector<std::string>& other) {
    Shown out;
    const auto segments = segment_statistics(metric, text.source, text.target);
    out.signature = metric.signature();
    out.interval.score = metric.score(sum_statistics(segments));
    if (o.confidence) out.interval = bootstrap(metric, segments, o.samples, o.seed);
    if (!o.paired.empty())
        out.paired = paired_randomization(metric, segment_statistics(metric, other, text.target), segments,
                                          10 * o.samples, o.seed);
    return out;
}

void run(const ScoreArguments& o) {
    // The hypothesis plays the source here: what matters is that lines pair up.
    const ParallelText text = read_parallel(o.hyp, o.ref);
    std::vector<std::string> other;
    if (!o.paired.empty()) other = read_parallel(o.paired, o.ref).source;

    const Bleu bleu{{.tokenizer = o.tokenize == "none" ? BleuOptions::Tokenizer::none : BleuOptions::Tokenizer::v13a,
                     .lowercase = o.lowercase}};
    const Chrf chrf{.lowercase = o.lowercase};
    Shown shown[2] = {evaluate(o, bleu, text, other), evaluate(o, chrf, text, other)};
    const BleuScore detail = bleu.result(sum_statistics(segment_statistics(bleu, text.source, text.target)));
    shown[0].name = "BLEU";
    shown[0].text = detail.text(bleu.signature());
    shown[1].name = chrf.name();
    shown[1].text = chrf.text(shown[1].interval.score, true);

    if (o.json) {
        nlohmann::ordered_json out;
        out["sentences"] = text.size();
        for (const Shown& s : shown) {
            nlohmann::ordered_json one{{"score", s.interval.score}, {"signature", s.signature}};
            if (&s == shown) {
                one["precisions"] = detail.precisions;
                one["brevity_penalty"] = detail.brevity_penalty;
                one["hyp_length"] = detail.sys_length;
                one["ref_length"] = detail.ref_length;
            }
            if (o.confidence) one["confidence"] = {{"level", 0.95}, {"low", s.interval.low}, {"high", s.interval.high}};
            if (!o.paired.empty())
                one["paired"] = {{"file", o.paired}, {"score", s.paired.baseline}, {"p_value", s.paired.p_value}};
            out[s.name] = one;
        }
        std::cout << out.dump(2) << "\n";
        return;
    }
    for (const Shown& s : shown) {
        std::cout << s.text << "\n";
        if (o.confidence)
            std::cout << "  95 % interval of " << o.samples << " resampled corpora: " << fixed(s.interval.low, 2)
                      << " to " << fixed(s.interval.high, 2) << "\n";
        if (!o.paired.empty())
            std::cout << "  " << o.paired << ": " << fixed(s.paired.baseline, 2) << "; difference "
                      << fixed(s.interval.score - s.paired.baseline, 2) << ", p = " << fixed(s.paired.p_value, 4)
                      << " (approximate randomisation, " << 10 * o.samples << " trials)\n";
    }
}

}  // namespace

void add_score(CLI::App& app) {
    const auto o = std::make_shared<ScoreArguments>();
    CLI::App* command = app.add_subcommand("score", "BLEU and chrF2 of a translation, as sacreBLEU counts them");
    command->add_option("--hyp", o->hyp, "The translation, one sentence a line (or .gz)")
        ->required()
        ->type_name("FILE");
    command->add_option("--ref", o->ref, "The reference translation, line by line")->required()->type_name("FILE");
    command->add_option("--tokenize", o->tokenize, "Tokens of BLEU")
        ->check(CLI::IsMember({"13a", "none"}))
        ->capture_default_str();
    command->add_flag("--lowercase", o->lowercase, "Ignore case");
    command->add_flag("--confidence", o->confidence, "Add 95 % intervals (bootstrap)");
    command->add_option("--paired", o->paired, "Another system's translation: is the difference significant?")
        ->type_name("FILE");
    command->add_option("--samples", o->samples, "Resampled corpora of the bootstrap; ten times as many paired trials")
        ->check(whole_number(1, 1000000))
        ->type_name("N")
        ->capture_default_str();
    add_seed(*command, *o);
    command->add_flag("--json", o->json, "Print JSON");
    command->footer("Example: hat score --hyp out.de --ref test.de --confidence --paired baseline.de");
    command->callback([o] { run(*o); });
}

}  // namespace hat::cli
