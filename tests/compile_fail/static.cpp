/// A static model with one mistake, chosen by CASE; 0 is the same model without any. The message must name the numbers.
#include <hat/decode/static_transformer.hpp>

constexpr hat::Arch<1, 1> arch = [] {
    hat::Arch<1, 1> a{};
    a.encoder.embed = a.decoder.embed = 16;
    a.encoder.layers = a.decoder.layers = 1;
    a.encoder.ffn = a.decoder.ffn = {32};
    a.encoder.qkv = a.decoder.qkv = {16};
    a.encoder.self_heads = a.decoder.self_heads = a.decoder.cross_heads = {2};
    a.decoder.cross_span = {1};
#if CASE == 1
    a.encoder.self_heads = {3};
#elif CASE == 2
    a.decoder.cross_span = {0};
#elif CASE == 6
    a.encoder.ffn = {0};
#elif CASE == 7
    a.encoder = {.embed = 16};
#elif CASE == 4
    a.encoder.cross_span = {1};
#endif
    return a;
}();
constexpr hat::StaticConfig config{.source_vocab = 20, .target_vocab = CASE == 3 ? 24 : 20};
constexpr hat::StaticLimits limits{8, 8, CASE == 5 ? 0 : 2};

using Model = hat::StaticTransformer<arch, config, limits>;
std::size_t size() { return Model::weight_bytes + Model::workspace_bytes; }
