#include <doctest/doctest.h>

#include <cli/program.hpp>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <string>

using namespace hat_test;

namespace {

struct Files {
    TemporaryFolder folder;
    std::string hyp = (folder / "hyp").string(), ref = (folder / "ref").string(), other = (folder / "other").string();
    Files() {
        hat::write_file_atomically(hyp, "the cat sat on the mat .\na small house by the sea\n");
        hat::write_file_atomically(ref, "the cat sat on the mat .\na little house by the sea\n");
        hat::write_file_atomically(other, "cat mat\nhouse\n");
    }
};

}  // namespace

TEST_CASE("score prints BLEU and chrF2 with their signatures") {
    const Files f;
    const Outcome run = run_hat({"score", "--hyp", f.hyp, "--ref", f.ref});
    CHECK(run.status == 0);
    CHECK(run.err.empty());
    CHECK(contains(run.out, "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:hat-"));
    // 12 of 13 words, 9 of 11 pairs, 7 of 9, 5 of 7
    CHECK(contains(run.out, " 92.3/81.8/77.8/71.4 (BP = 1.000 ratio = 1.000 hyp_len = 13 ref_len = 13)\n"));
    CHECK(contains(run.out, "\nchrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:hat-"));

    const Outcome same = run_hat({"score", "--hyp", f.ref, "--ref", f.ref, "--json"});
    REQUIRE(same.status == 0);
    const hat::Json json = hat::parse_json(same.out, "stdout");
    CHECK(json.at("BLEU").at("score").get<double>() == doctest::Approx(100));
    CHECK(json.at("chrF2").at("score").get<double>() == doctest::Approx(100));
    CHECK(json.at("sentences") == 2);
}

TEST_CASE("score adds intervals and a comparison with another system") {
    const Files f;
    const Outcome run = run_hat({"score", "--hyp", f.hyp, "--ref", f.ref, "--json", "--confidence", "--paired", f.other,
                                 "--samples", "100", "--seed", "3", "--tokenize", "none", "--lowercase"});
    REQUIRE(run.status == 0);
    const hat::Json bleu = hat::parse_json(run.out, "stdout").at("BLEU");
    CHECK(bleu.at("signature").get<std::string>().find("case:lc|eff:no|tok:none") != std::string::npos);
    CHECK(bleu.at("confidence").at("low").get<double>() <= bleu.at("score").get<double>());
    CHECK(bleu.at("confidence").at("high").get<double>() >= bleu.at("score").get<double>());
    CHECK(bleu.at("paired").at("score").get<double>() < bleu.at("score").get<double>());
    CHECK(bleu.at("paired").at("p_value").get<double>() <= 1);
    const Outcome text = run_hat({"score", "--hyp", f.hyp, "--ref", f.ref, "--confidence", "--paired", f.other});
    CHECK(contains(text.out, "95 % interval of 1000 resampled corpora"));
    CHECK(contains(text.out, f.other + ": "));
}

TEST_CASE("score refuses files that do not pair, are missing, empty or not UTF-8") {
    const Files f;
    const auto error_of = [&](const std::string& hyp) {
        const Outcome run = run_hat({"score", "--hyp", hyp, "--ref", f.ref});
        CHECK(run.status == 1);
        CHECK(run.out.empty());
        return run.err;
    };
    hat::write_file_atomically(f.hyp, "one line\n");
    CHECK(error_of(f.hyp) == "hat: error: " + f.ref + ": has 2 lines, but " + f.hyp +
                                 " has 1; expected equal counts, line i translating line i\n");
    hat::write_file_atomically(f.hyp, "fine\nnot \xFF fine\n");
    CHECK(contains(error_of(f.hyp), f.hyp + ":2: invalid UTF-8: byte 0xFF at column 5"));
    CHECK(contains(error_of((f.folder / "none").string()), "none: cannot be read: No such file or directory"));
    CHECK(contains(error_of(f.folder.path.string()), "cannot be read"));
    CHECK(contains(error_of("/dev/zero"), "/dev/zero: is a device, expected a file"));
    hat::write_file_atomically(f.hyp, "");
    hat::write_file_atomically(f.ref, "");
    CHECK(contains(error_of(f.hyp), "is empty"));
}
