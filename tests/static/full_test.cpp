#include <static/archs.hpp>

namespace {

/// A network of WMT'14 En-De's space: widths, FFN, heads and spans as searches find them.
constexpr hat::Arch<6, 6> wmt(int encoder, int decoder, int layers) {
    hat::Arch<6, 6> a{};
    a.encoder.embed = encoder, a.encoder.layers = 6;
    a.encoder.ffn = {2048, 3072, 1024, 3072, 2048, 2048}, a.encoder.qkv = {512, 512, 512, 512, 512, 512};
    a.encoder.self_heads = {8, 4, 8, 8, 4, 8};
    a.decoder.embed = decoder, a.decoder.layers = layers;
    a.decoder.ffn = {3072, 2048, 1024, 2048, 3072, 1024}, a.decoder.qkv = a.encoder.qkv;
    a.decoder.self_heads = {8, 4, 4, 8, 8, 4}, a.decoder.cross_heads = {4, 8, 8, 4, 8, 8};
    a.decoder.cross_span = {1, 3, 2, 1, 1, 3};
    return hat::canonical(a);
}
constexpr hat::StaticConfig config(std::size_t vocabulary, int encoder, int decoder) {
    hat::StaticConfig c;
    c.source_vocab = c.target_vocab = vocabulary;
    c.encoder_super_embed = encoder, c.decoder_super_embed = decoder;
    return c;
}

}  // namespace

TEST_CASE("full-sized networks: static, elastic and extracted are equal to the bit") {
    constexpr auto large = wmt(640, 640, 6);
#ifndef HAT_SANITIZED
    hat_test::check_static<wmt(512, 640, 2), config(1003, 640, 640), hat::StaticLimits{30, 40, 5}>(
        hat::to_runtime(large), 1);
#endif
    hat_test::check_static<wmt(640, 512, 1), config(1003, 640, 640), hat::StaticLimits{31, 8, 4}>(
        hat::to_runtime(large), 2);
#ifndef HAT_SANITIZED
    hat_test::check_static<large, config(517, 640, 640), hat::StaticLimits{7, 9, 1}>(hat::to_runtime(large), 3);
#endif
}
