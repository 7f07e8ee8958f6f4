#include <doctest/doctest.h>

#include <hat/text/chrf.hpp>
#include <hat/text/lines.hpp>
#include <support/files.hpp>
#include <text/sample.hpp>

// Expected numbers: from the same separate Python script as those of bleu_test.cpp.

using Lines = std::vector<std::string>;
using hat_test::message_of;
using two_sentences::hypotheses, two_sentences::references;

TEST_CASE("chrF2, chrF2+ and chrF2++ of two sentences") {
    CHECK(hat::corpus_chrf(hypotheses, references) == doctest::Approx(61.36541033).epsilon(1e-9));
    CHECK(hat::corpus_chrf(hypotheses, references, {.word_order = 1}) == doctest::Approx(62.42035171).epsilon(1e-9));
    CHECK(hat::corpus_chrf(hypotheses, references, {.word_order = 2}) == doctest::Approx(59.97495061).epsilon(1e-9));
}

TEST_CASE("chrF of the sample corpus' test set with every fifth word left out") {
    const auto [reference, hypothesis] = sample_without_every_fifth_word();
    CHECK(hat::corpus_chrf(hypothesis, reference) == doctest::Approx(76.13233185).epsilon(1e-9));
    CHECK(hat::corpus_chrf(hypothesis, reference, {.word_order = 2}) == doctest::Approx(75.66893386).epsilon(1e-9));
    CHECK(hat::corpus_chrf(reference, reference) == doctest::Approx(100.0));
}

TEST_CASE("Characters are code points, white space does not count, missing orders are left out") {
    // Grüße against Gruße, by hand: matches 4, 2, 0, 0, 0 of 5, 4, 3, 2, 1, so P = R = (4/5 + 2/4) / 5 = 0.26
    const auto stats = hat::Chrf{}.segment("Gr\u00FC\u00DFe", "Gru\u00DFe");
    CHECK(stats[0] == 5);
    CHECK(stats[2] == 4);
    CHECK(stats[5] == 2);
    CHECK(hat::Chrf{}.score(stats) == doctest::Approx(26.0));
    // a reference too short for an order counts there on neither side: P = (10/15 + 8/13 + 6/11 + 1 + 1 + 1) / 6, R = 1
    CHECK(hat::Chrf{}.segment("abcdefgh", "abc")[9] == 0);
    CHECK(hat::corpus_chrf(Lines{"abcdefgh", "abcdefg"}, Lines{"abc", "abcdefg"}) == doctest::Approx(95.367471));
    CHECK(hat::corpus_chrf(Lines{"a b c"}, Lines{"abc"}) == doctest::Approx(100.0));
    CHECK(hat::corpus_chrf(Lines{"ab"}, Lines{"ab"}) == doctest::Approx(100.0));
    CHECK(hat::corpus_chrf(Lines{"AB"}, Lines{"ab"}) == 0.0);
    CHECK(hat::corpus_chrf(Lines{"\u00C4B"}, Lines{"\u00E4b"}, {.lowercase = true}) == doctest::Approx(100.0));
}

TEST_CASE("Empty sides score zero, bad calls are named") {
    CHECK(hat::corpus_chrf(Lines{""}, Lines{"x"}) == 0.0);
    CHECK(hat::corpus_chrf(Lines{"x"}, Lines{""}) == 0.0);
    CHECK(hat::corpus_chrf(Lines{""}, Lines{""}) == 0.0);
    CHECK(message_of<hat::invalid_value>([] {
              hat::corpus_chrf(Lines{"a", "b"}, Lines{"a"});
          }) == "score: 2 hypotheses for 1 references; expected equal counts");
    CHECK(message_of<hat::invalid_value>([] { hat::corpus_chrf(Lines{"a"}, Lines{"a"}, {.word_order = 3}); }) ==
          "chrF: word_order = 3: expected 0, 1 or 2");
}

TEST_CASE("Name, signature and text") {
    CHECK(hat::Chrf{}.text(61.3654) == "chrF2 = 61.37");
    CHECK(hat::Chrf{.word_order = 2, .lowercase = true}.text(60.0, true, 1) ==
          std::string("chrF2++|nrefs:1|case:lc|eff:yes|nc:6|nw:2|space:no|version:hat-") + hat::version + " = 60.0");
}
