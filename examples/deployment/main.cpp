// A network as a C++ type: its weight file is written, mapped and used. Usage: hat_example_deployment FILE
#include <cstdio>
#include <hat/deploy/static_translator.hpp>
#include <hat/deploy/write_weight_file.hpp>
#include <hat/quant/store.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace {

// what `hat export` writes to <name>.hpp
constexpr hat::Arch<2, 1> tiny{
    .encoder = {.embed = 32, .layers = 2, .ffn = {64, 48}, .qkv = {32, 32}, .self_heads = {4, 2}},
    .decoder = {
        .embed = 32, .layers = 1, .ffn = {64}, .qkv = {32}, .self_heads = {2}, .cross_heads = {4}, .cross_span = {2}}};
constexpr hat::StaticConfig tiny_config{.source_vocab = 8, .target_vocab = 8};
constexpr hat::StaticLimits tiny_limits{.max_source = 32, .max_target = 32, .beam = 4};
using Tiny = hat::StaticTransformer<tiny, tiny_config, tiny_limits>;

// what `hat export` does with a trained model; this one knows nothing
void export_tiny(const char* path) {
    hat::TransformerConfig config;
    config.shape = hat::to_runtime(tiny);
    config.source_vocab = config.target_vocab = 8;
    hat::Weights<float> weights(config);
    weights.initialize(/*seed=*/1);
    hat::TokenCounts counts;
    hat::count_words(counts, std::vector<std::string>{"open the file now"});
    const auto words = hat::word_parts(hat::Vocabulary::build(counts));
    const auto stored = hat::store_weights(weights, config.shape);
    hat::save_weight_file(
        path, {config.shape, hat::static_config(config), {stored.data(), stored.size()}, words, words, "seed: 1\n"});
}

int failed(hat::WeightFileError error) {
    std::printf("%s\n", std::string(hat::message(error)).c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    export_tiny(argv[1]);

    hat::MappedFile file;
    if (!file.open(argv[1])) return 1;
    hat::StaticTranslator<Tiny> translator;
    if (const auto error = translator.open(file.bytes()); error != hat::WeightFileError::none) return failed(error);
    const std::string text = translator.translate("open the file");
    if (translator.last().status != hat::TextStatus::ok) return 1;
    std::printf("%s\n", text.c_str());

    // all memory from the caller: nothing is allocated, neither here nor later
    using InPlace = hat::StaticTranslator<Tiny>;
    alignas(64) static std::byte memory[InPlace::memory_bytes()];
    static InPlace in_place;
    if (in_place.open(file.bytes(), hat::WeightCheck::structure, memory) != hat::WeightFileError::none) return 1;
    char out[512];
    const auto result = in_place.translate("open the file", out);
    if (result.status != hat::TextStatus::ok || std::string_view(out, result.size) != text) return 1;

    // whatever network the file holds: Tiny runs compiled, any other by the generic code
    hat::AnyTranslator<Tiny> any;
    if (const auto error = any.open(file.bytes()); error != hat::WeightFileError::none) return failed(error);
    return any.translate("open the file") == text && any.engine().compiled() ? 0 : 1;
}
