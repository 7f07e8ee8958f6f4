#include <doctest/doctest.h>

#include <hat/space/text.hpp>

namespace {

hat::RuntimeArch described() {
    hat::RuntimeArch a;
    a.encoder.embed = 640;
    a.encoder.layers = 2;
    a.encoder.ffn = {3072, 1024};
    a.encoder.qkv = {512, 256};
    a.encoder.self_heads = {8, 4};
    a.decoder.embed = 512;
    a.decoder.layers = 1;
    a.decoder.ffn = {2048};
    a.decoder.qkv = {512};
    a.decoder.self_heads = {4};
    a.decoder.cross_heads = {1};
    a.decoder.cross_span = {2};
    return a;
}

const std::string line =
    "encoder.embed=640 encoder.layers=2 encoder.ffn=3072,1024 encoder.qkv=512,256 encoder.self_heads=8,4 "
    "decoder.embed=512 decoder.layers=1 decoder.ffn=2048 decoder.qkv=512 decoder.self_heads=4 "
    "decoder.cross_heads=1 decoder.cross_span=2";

std::string replaced(const std::string& from, const std::string& to) {
    std::string text = line;
    const auto at = text.find(from);
    REQUIRE(at != text.npos);
    return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("an architecture goes to one line and back") {
    CHECK(hat::to_text(described()) == line);
    CHECK(hat::arch_from_text(line) == described());
    CHECK(hat::to_text(hat::resize_arch<2, 1>(described())) == line);
    // any order, any white space
    CHECK(hat::arch_from_text("decoder.cross_span=2\n\t" + replaced("decoder.cross_span=2", "")) == described());
    // what comes back is canonical
    CHECK(hat::arch_from_text(replaced("cross_span=2", "cross_span=3")) == described());
}

TEST_CASE("the description has one line per layer") {
    CHECK(hat::describe(described()) ==
          "encoder: width 640, 2 layers\n"
          "  layer 0: qkv 512, self-attention 8 heads, FFN 3072\n"
          "  layer 1: qkv 256, self-attention 4 heads, FFN 1024\n"
          "decoder: width 512, 1 layer\n"
          "  layer 0: qkv 512, self-attention 4 heads, cross-attention 1 head over the last 2 encoder layers, FFN "
          "2048\n");
}

TEST_CASE("a line that is no architecture is refused, naming the field") {
    const auto fails = [](const std::string& text, const std::string& message) {
        CHECK_THROWS_WITH_AS(hat::arch_from_text(text), ("hat::arch_from_text: " + message).c_str(),
                             hat::invalid_value);
    };
    fails("", "field 'encoder.embed' is missing");
    fails(replaced("decoder.qkv=512 ", ""), "field 'decoder.qkv' is missing");
    fails(line + " decoder.speed=9", "unknown field 'decoder.speed'");
    fails(line + " decoder.qkv=512", "field 'decoder.qkv' is given twice");
    fails(line + " fast", "found 'fast', expected field=value");
    const std::string two = ", expected 2 positive whole numbers, one per layer";
    fails(replaced("ffn=3072,1024", "ffn=3072"), "field 'encoder.ffn' is '3072'" + two);
    fails(replaced("ffn=3072,1024", "ffn=3072,1024,512"), "field 'encoder.ffn' is '3072,1024,512'" + two);
    fails(replaced("ffn=3072,1024", "ffn=3072,-1"), "field 'encoder.ffn' is '3072,-1'" + two);
    fails(replaced("ffn=3072,1024", "ffn=3072,1e3"), "field 'encoder.ffn' is '3072,1e3'" + two);
    fails(replaced("ffn=3072,1024", "ffn=99999999999,1"), "field 'encoder.ffn' is '99999999999,1'" + two);
    fails(replaced("encoder.embed=640", "encoder.embed=0"),
          "field 'encoder.embed' is '0', expected 1 positive whole number");
    fails(replaced("encoder.embed=640", "encoder.embed="),
          "field 'encoder.embed' is '', expected 1 positive whole number");
    fails(replaced("encoder.layers=2", "encoder.layers=17"), "field 'encoder.layers' is 17, expected at most 16");
}
