#include <doctest/doctest.h>

#include <cli/model.hpp>
#include <cli/program.hpp>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/quant/quantized_file.hpp>
#include <string>

using namespace hat_test;

namespace {

struct QuantizeFiles {
    TemporaryFolder folder;
    std::string model = (folder / "model").string(), out = (folder / "out").string(),
                source = (folder / "source").string(), target = (folder / "target").string();
    QuantizeFiles() {
        write_model(model);
        hat::write_file_atomically(source, "one two\nthree one\n");
        hat::write_file_atomically(target, "two one\none\n");
    }
    Outcome quantize(std::vector<std::string> more = {}) const {
        std::vector<std::string> arguments{"quantize", "--model", model, "--out", out, "--threads", "1"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_hat(arguments);
    }
};

}  // namespace

TEST_CASE("quantize writes a model that translates; bits by the measured loss take no more bytes") {
    const QuantizeFiles f;
    const Outcome equal = f.quantize({"--bits", "4"});
    INFO(equal.err);
    REQUIRE(equal.status == 0);
    const auto size = std::filesystem::file_size(f.out + "/model.hatq");
    const auto how = hat::load_quantized(f.out + "/model.hatq").how;
    CHECK(how.bits == 4);
    CHECK(how.bits_each.empty());
    CHECK(run_hat({"translate", "--model", f.out, "--input", f.source}).status == 0);

    std::filesystem::remove_all(f.out);
    const Outcome measured = f.quantize({"--bits", "4", "--valid-source", f.source, "--valid-target", f.target});
    INFO(measured.err);
    REQUIRE(measured.status == 0);
    for (const char* part : {"validation nll ", " in fp32, ", " in 4 bits, "}) CHECK(contains(measured.out, part));
    const auto q = hat::load_quantized(f.out + "/model.hatq");
    CHECK(q.how.bits_each.size() == q.tensors.size());
    CHECK(q.bytes() <= hat::quantized_bytes(*q.layout, {4, 0}));
    CHECK(std::filesystem::file_size(f.out + "/model.hatq") < size + 200);  // the list of bits
    const Outcome info = run_hat({"info", f.out});
    CHECK(contains(info.out, "quantized model, " + hat::bits_text(*q.layout, q.how) + "\n"));
    CHECK(contains(measured.out, " in " + hat::bits_text(*q.layout, q.how) + "\n"));
    CHECK(run_hat({"translate", "--model", f.out, "--input", f.source}).status == 0);
}

TEST_CASE("quantize refuses half of a validation text, and lines that do not pair") {
    const QuantizeFiles f;
    const Outcome half = f.quantize({"--valid-source", f.source});
    CHECK(half.status == 2);
    CHECK(contains(half.err, "--valid-target"));
    hat::write_file_atomically(f.target, "one\n");
    const Outcome unequal = f.quantize({"--valid-source", f.source, "--valid-target", f.target});
    CHECK(unequal.status == 1);
    INFO(unequal.err);
    CHECK(contains(unequal.err, "target: has 1 lines, but "));
    CHECK(!std::filesystem::exists(f.out));
}
