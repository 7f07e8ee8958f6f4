#include <doctest/doctest.h>

#include <hat/model/config.hpp>
#include <model/models.hpp>
#include <support/files.hpp>

using hat_test::message_of;

TEST_CASE("architectures that cannot run are refused, naming side, layer, value and what was expected") {
    const auto message = [](auto change) {
        auto arch = hat_test::small_config().shape;
        change(arch);
        const auto text = message_of<hat::invalid_value>([&] { hat::validate(arch); });
        return text.substr(std::min(text.size(), std::string("hat: architecture: ").size()));
    };
    CHECK(message([](auto&) {}) == "");
    CHECK(message([](auto& a) { a.encoder.embed = 0; }) == "encoder embedding width is 0, expected at least 1");
    CHECK(message([](auto& a) { a.decoder.layers = 0; }) == "decoder has 0 layers, expected 1 to 16");
    CHECK(message([](auto& a) { a.encoder.layers = 17; }) == "encoder has 17 layers, expected 1 to 16");
    CHECK(message([](auto& a) { a.encoder.ffn[2] = -1; }) == "encoder layer 2: FFN width is -1, expected at least 1");
    CHECK(message([](auto& a) { a.decoder.qkv[1] = 0; }) == "decoder layer 1: qkv width is 0, expected at least 1");
    CHECK(message([](auto& a) { a.encoder.self_heads[0] = 5; }) ==
          "encoder layer 0: 5 self-attention heads do not divide the qkv width 12");
    CHECK(message([](auto& a) { a.decoder.self_heads[0] = 0; }) ==
          "decoder layer 0: 0 self-attention heads do not divide the qkv width 12");
    CHECK(message([](auto& a) { a.decoder.cross_heads[1] = 7; }) ==
          "decoder layer 1: 7 encoder-decoder attention heads do not divide the qkv width 12");
    CHECK(message([](auto& a) { a.decoder.cross_span[1] = 4; }) ==
          "decoder layer 1: attention span is 4, expected 1, 2 or 3");
    CHECK(message([](auto& a) { a.decoder.cross_span[0] = 0; }) ==
          "decoder layer 0: attention span is 0, expected 1, 2 or 3");
    CHECK(message([](auto& a) { a.encoder.ffn[3] = -1, a.decoder.cross_span[2] = 9; }) == "");  // inactive layers
}

TEST_CASE("architectures larger than the weights are refused, naming the dimension") {
    const auto shape = hat_test::small_config().shape;
    const auto message = [&](auto change) {
        auto arch = shape;
        change(arch);
        const auto text = message_of<hat::shape_mismatch>([&] { hat::require_fits(arch, shape); });
        return text.substr(std::min(text.size(), std::string("hat: architecture: ").size()));
    };
    CHECK(message([](auto&) {}) == "");
    CHECK(message([](auto& a) { a.encoder.embed = 11; }) ==
          "encoder embedding width is 11, but the weights hold at most 10");
    CHECK(message([](auto& a) { a.decoder.embed = 99; }) ==
          "decoder embedding width is 99, but the weights hold at most 10");
    CHECK(message([](auto& a) { a.encoder.ffn[1] = 15; }) ==
          "encoder FFN width of layer 1 is 15, but the weights hold at most 14");
    CHECK(message([](auto& a) { a.decoder.qkv[1] = 24; }) ==
          "decoder qkv width of layer 1 is 24, but the weights hold at most 12");
    CHECK(message([](auto& a) {
              a.decoder.layers = 3, a.decoder.ffn[2] = a.decoder.qkv[2] = a.decoder.self_heads[2] = 1;
              a.decoder.cross_heads[2] = a.decoder.cross_span[2] = 1;
          }) == "decoder depth is 3, but the weights hold at most 2");
    CHECK(message([](auto& a) { a.encoder.self_heads[0] = 6, a.decoder.cross_span[0] = 3; }) ==
          "");  // not of the weights
}

TEST_CASE("super widths default to those of the shape") {
    hat::TransformerConfig c = hat_test::small_config();
    CHECK(c.super_encoder_embed() == 10);
    c.encoder_super_embed = 16, c.decoder_super_embed = 20;
    CHECK(c.super_encoder_embed() == 16);
    CHECK(c.super_decoder_embed() == 20);
}
