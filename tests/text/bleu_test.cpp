#include <doctest/doctest.h>

#include <hat/text/bleu.hpp>
#include <hat/text/lines.hpp>
#include <support/files.hpp>
#include <text/sample.hpp>

// Expected numbers: computed once by a separate Python script written from the definition (mteval-v13a's four
// substitutions with Python's re, n-gram counts with collections.Counter, the formulas of sacreBLEU 2). On 30,000
// lines of random punctuation and on whole corpora in all option combinations it agreed with this code to 1e-10.

using Lines = std::vector<std::string>;
using Counts = std::array<std::int64_t, 4>;
using Smoothing = hat::BleuOptions::Smoothing;
using hat_test::message_of;
using two_sentences::hypotheses, two_sentences::references;

namespace {
Lines upper(Lines lines) {
    for (auto& line : lines)
        for (char& c : line)
            if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    return lines;
}
}  // namespace

TEST_CASE("13a separates punctuation as mteval-v13a does") {
    CHECK(hat::tokenize_13a("Hello, world!") == "Hello , world !");
    CHECK(hat::tokenize_13a("costs 1,000.50 or .5 or 5.") == "costs 1,000.50 or . 5 or 5 .");
    CHECK(hat::tokenize_13a("pages 3-5, well-known -x") == "pages 3 - 5 , well-known -x");
    CHECK(hat::tokenize_13a("don't (really) a/b [c] {d} ~e_f") == "don't ( really ) a / b [ c ] { d } ~ e _ f");
    CHECK(hat::tokenize_13a("&quot;A &amp; B&quot; &lt;x&gt; &amp;lt;") == "\" A & B \" < x > <");
    CHECK(hat::tokenize_13a("a <skipped> b") == "a b");
    CHECK(hat::tokenize_13a("exam-\nple of\nlines") == "example of lines");
    CHECK(hat::tokenize_13a("...") == ". . .");
    CHECK(hat::tokenize_13a("Gr\u00FC\u00DFe, \u201EWelt\u201C\u2026 \u00A0 \u65E5\u672C.") ==
          "Gr\u00FC\u00DFe , \u201EWelt\u201C\u2026 \u65E5\u672C .");
    CHECK(hat::tokenize_13a("  ") == "");
}

TEST_CASE("BLEU of two sentences: score, precisions, counts, lengths and text") {
    const auto b = hat::corpus_bleu(hypotheses, references);
    CHECK(b.score == doctest::Approx(28.33760916).epsilon(1e-9));
    CHECK(b.counts == Counts{13, 8, 3, 1});
    CHECK(b.totals == Counts{18, 16, 14, 12});
    CHECK(b.precisions[3] == doctest::Approx(100.0 / 12));
    CHECK(b.sys_length == 18);
    CHECK(b.ref_length == 18);
    CHECK(b.text() == "BLEU = 28.34 72.2/50.0/21.4/8.3 (BP = 1.000 ratio = 1.000 hyp_len = 18 ref_len = 18)");
}

TEST_CASE("BLEU of the sample corpus' test set with every fifth word left out") {
    const auto [reference, hypothesis] = sample_without_every_fifth_word();
    const auto b = hat::corpus_bleu(hypothesis, reference);
    CHECK(b.score == doctest::Approx(49.98667746).epsilon(1e-9));
    CHECK(b.brevity_penalty == doctest::Approx(0.77424762).epsilon(1e-7));
    CHECK(b.counts == Counts{4690, 3387, 2173, 1165});
    CHECK(b.totals == Counts{4690, 4190, 3690, 3192});
    CHECK(b.text("sig", 1) ==
          "BLEU|sig = 50.0 100.0/80.8/58.9/36.5 (BP = 0.774 ratio = 0.796 hyp_len = 4690 ref_len = 5890)");
    const auto none = hat::corpus_bleu(hypothesis, reference, {.tokenizer = hat::BleuOptions::Tokenizer::none});
    CHECK(none.score == doctest::Approx(45.61811466).epsilon(1e-9));
    CHECK(none.totals == Counts{4048, 3548, 3048, 2556});
    CHECK(hat::corpus_bleu(reference, reference).score == doctest::Approx(100.0).epsilon(1e-12));
}

TEST_CASE("Case counts unless it is told not to") {
    CHECK(hat::corpus_bleu(upper(hypotheses), references).score == doctest::Approx(5.66979111).epsilon(1e-8));
    CHECK(hat::corpus_bleu(upper(hypotheses), references, {.lowercase = true}).score ==
          doctest::Approx(28.33760916).epsilon(1e-9));
    CHECK(
        hat::corpus_bleu(Lines{"\u00C4PFEL UND BIRNEN HIER"}, Lines{"\u00E4pfel und birnen hier"}, {.lowercase = true})
            .score == doctest::Approx(100.0));
}

TEST_CASE("Every smoothing has its numbers") {
    const Lines h{"a b c d"}, r{"a c b d e"};
    const auto score = [&](Smoothing s, std::optional<double> value = {}) {
        return hat::corpus_bleu(h, r, {.smoothing = s, .smooth_value = value}).score;
    };
    CHECK(score(Smoothing::exp) == doctest::Approx(17.59314870).epsilon(1e-9));
    CHECK(score(Smoothing::none) == 0.0);
    CHECK(score(Smoothing::floor) == doctest::Approx(8.84888532).epsilon(1e-8));
    CHECK(score(Smoothing::floor, 0.01) == doctest::Approx(1.57357906).epsilon(1e-8));
    CHECK(score(Smoothing::add_k) == doctest::Approx(35.18629740).epsilon(1e-9));
    CHECK(score(Smoothing::add_k, 2.0) == doctest::Approx(47.06099051).epsilon(1e-9));
}

TEST_CASE("Short, empty and unmatched texts") {
    CHECK(hat::corpus_bleu(Lines{"a b"}, Lines{"a b"}).score == 0.0);  // no 3-grams
    CHECK(hat::corpus_bleu(Lines{"a b"}, Lines{"a b"}, {.effective_order = true}).score == doctest::Approx(100.0));
    const auto empty = hat::corpus_bleu(Lines{"", ""}, Lines{"a b", "c"});
    CHECK(empty.score == 0.0);
    CHECK(empty.text() == "BLEU = 0.00 0.0/0.0/0.0/0.0 (BP = 0.000 ratio = 0.000 hyp_len = 0 ref_len = 3)");
    CHECK(hat::corpus_bleu(Lines{"x y z w"}, Lines{"a b c d"}).score == 0.0);
    CHECK(hat::corpus_bleu(Lines{"a"}, Lines{""}).text() ==
          "BLEU = 0.00 0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 0.000 hyp_len = 1 ref_len = 0)");
}

TEST_CASE("An empty line counts as a sentence") {
    const auto with = hat::corpus_bleu(Lines{"a b c d e", ""}, Lines{"a b c d e", "f g h i j"});
    CHECK(with.brevity_penalty == doctest::Approx(std::exp(-1.0)));
    CHECK(with.score == doctest::Approx(100.0 * std::exp(-1.0)));
}

TEST_CASE("Counts of hypotheses and references must agree") {
    CHECK(message_of<hat::invalid_value>([] {
              hat::corpus_bleu(Lines{"a"}, Lines{"a", "b"});
          }) == "score: 1 hypotheses for 2 references; expected equal counts");
    CHECK(message_of<hat::invalid_value>([] { hat::corpus_bleu(Lines{}, Lines{}); }) ==
          "score: there are no sentences");
}

TEST_CASE("The signature tells every option") {
    const std::string end = std::string("|version:hat-") + hat::version;
    CHECK(hat::Bleu{}.signature() == "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp" + end);
    CHECK(hat::Bleu{{.tokenizer = hat::BleuOptions::Tokenizer::none,
                     .smoothing = Smoothing::floor,
                     .lowercase = true,
                     .effective_order = true}}
              .signature() == "nrefs:1|case:lc|eff:yes|tok:none|smooth:floor[0.10]" + end);
    CHECK(hat::Bleu{{.smoothing = Smoothing::add_k, .smooth_value = 2.0}}.signature() ==
          "nrefs:1|case:mixed|eff:no|tok:13a|smooth:add-k[2.00]" + end);
    CHECK(hat::Bleu{{.smoothing = Smoothing::none}}.signature() ==
          "nrefs:1|case:mixed|eff:no|tok:13a|smooth:none" + end);
}
