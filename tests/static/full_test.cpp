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

/// Weights of a SuperTransformer that all of them are part of, uniform: 60 million normal numbers take many seconds.
hat::Weights<float> uniform_weights(const hat::RuntimeArch& shape, hat::StaticConfig kind, std::uint64_t seed) {
    hat::Weights<float> w(hat_test::super_config(shape, kind));
    hat::Rng rng(seed);
    for (float& v : w.values()) v = static_cast<float>(0.2 * rng.uniform() - 0.1);
    return w;
}

}  // namespace

TEST_CASE("full-sized networks: static, elastic and extracted are equal to the bit") {
    constexpr auto large = wmt(640, 640, 6);
    constexpr auto kind = config(1003, 640, 640);
    const auto super = uniform_weights(hat::to_runtime(large), kind, 1);
#ifndef HAT_SANITIZED
    hat_test::check_static<wmt(512, 640, 2), kind, hat::StaticLimits{30, 40, 5}>(super, 1);
#endif
    hat_test::check_static<wmt(640, 512, 1), kind, hat::StaticLimits{31, 8, 4}>(super, 2);
#ifndef HAT_SANITIZED
    constexpr auto other = config(517, 640, 640);
    hat_test::check_static<large, other, hat::StaticLimits{7, 9, 1}>(uniform_weights(hat::to_runtime(large), other, 3),
                                                                     3);
#endif
}
