// Writes inputs for weight_file_fuzz to start from: tiny networks with tokenizers of each kind.
// Usage: weight_file_seeds FOLDER
#include <filesystem>
#include <hat/deploy/write_weight_file.hpp>
#include <hat/quant/store.hpp>
#include <hat/text/sentencepiece.hpp>
#include <map>
#include <string>
#include <vector>

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const std::filesystem::path folder = argv[1];
    std::filesystem::create_directories(folder);
    std::vector<std::string> lines;
    for (int i = 0; i < 40; ++i) lines.push_back("Save the file number " + std::to_string(i) + ", then open it again.");
    const auto subwords = hat::train_sentencepiece(lines, {.vocab_size = 60, .hard_vocab_limit = false});
    hat::TokenCounts counts;
    hat::count_words(counts, lines);
    const std::map<std::string, hat::TokenizerParts> tokenizers{
        {"subwords", hat::subword_parts(subwords.bytes())},
        {"words", hat::word_parts(hat::Vocabulary::build(counts, {.max_size = 12, .multiple = 1}))},
        {"none", {}}};
    for (const auto& [name, tokenizer] : tokenizers)
        for (const bool pre_norm : {false, true}) {
            hat::TransformerConfig c;
            c.shape.encoder.embed = c.shape.decoder.embed = 4;
            c.shape.encoder.layers = 2, c.shape.decoder.layers = 1;
            for (std::size_t i = 0; i < 2; ++i) {
                c.shape.encoder.ffn[i] = c.shape.encoder.qkv[i] = 4;
                c.shape.encoder.self_heads[i] = 2;
            }
            c.shape.decoder.ffn[0] = 6, c.shape.decoder.qkv[0] = 4;
            c.shape.decoder.self_heads[0] = 1, c.shape.decoder.cross_heads[0] = 2, c.shape.decoder.cross_span[0] = 2;
            hat::DeployedTokenizer t;
            if (t.load(tokenizer.kind, tokenizer.bytes, tokenizer.index) != hat::SubwordError::none) return 1;
            c.source_vocab = c.target_vocab = tokenizer.kind == hat::TokenizerKind::none ? 9 : t.vocabulary_size();
            c.encoder_pre_norm = c.decoder_pre_norm = pre_norm;
            c.sharing = pre_norm ? hat::EmbeddingSharing::none : hat::EmbeddingSharing::all;
            hat::Weights<float> weights(c);
            weights.initialize(1);
            const auto stored = hat::store_weights(weights, c.shape);
            hat::save_weight_file(
                folder / (name + (pre_norm ? "_pre" : "_post")),
                {c.shape, hat::static_config(c), {stored.data(), stored.size()}, tokenizer, tokenizer, "seed: 1\n"});
        }
    return 0;
}
