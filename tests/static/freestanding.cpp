// Compiled without exceptions and run-time type information: what a deployed model needs must do without.
#include <hat/decode/static_transformer.hpp>
#include <hat/text/subword.hpp>

namespace {
constexpr hat::Arch<1, 1> arch = [] {
    hat::Arch<1, 1> a{};
    a.encoder = {.embed = 16, .layers = 1, .ffn = {32}, .qkv = {16}, .self_heads = {2}};
    a.decoder = {
        .embed = 16, .layers = 1, .ffn = {32}, .qkv = {16}, .self_heads = {2}, .cross_heads = {2}, .cross_span = {1}};
    return a;
}();
using Model =
    hat::StaticTransformer<arch, hat::StaticConfig{.source_vocab = 20, .target_vocab = 20}, hat::StaticLimits{8, 8, 2}>;
}  // namespace

std::size_t translate_without_exceptions() {
    alignas(64) static std::byte weights[Model::weight_bytes], workspace[Model::workspace_bytes];
    const Model model(weights);
    Model::Session session(model, workspace);
    const std::int32_t source[] = {5, 2};
    std::int32_t target[8];
    return session.translate(source, target).length;
}
