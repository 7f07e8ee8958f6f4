// Writes inputs for subword_fuzz to start from: small trained models of each kind. Usage: subword_seeds FOLDER
#include <filesystem>
#include <fstream>
#include <hat/text/sentencepiece.hpp>
#include <string>
#include <vector>

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    std::filesystem::create_directories(argv[1]);
    std::vector<std::string> lines;
    for (int i = 0; i < 40; ++i)
        lines.push_back("Save the file number " + std::to_string(i) + ", then open \u00FCbrige Dateien \uFB01 again.");
    for (const auto kind : {hat::SentencePieceOptions::Model::bpe, hat::SentencePieceOptions::Model::unigram})
        for (const bool bytes : {false, true})
            for (const char* rule : {"identity", "nfkc"}) {
                const auto model = hat::train_sentencepiece(lines, {.model = kind,
                                                                    .vocab_size = bytes ? 330U : 80U,
                                                                    .byte_fallback = bytes,
                                                                    .hard_vocab_limit = false,
                                                                    .normalization = rule});
                const std::string name =
                    std::string(kind == hat::SentencePieceOptions::Model::bpe ? "bpe" : "unigram") +
                    (bytes ? "_bytes_" : "_") + rule;
                std::ofstream(std::filesystem::path(argv[1]) / name, std::ios::binary)
                    << "\x18"
                    << " \u00FCbrige  \uFB01le\xFF\u2581 \u65E5 xyz" << model.bytes();
            }
    return 0;
}
