// Exports the model that train.cpp saves: architecture, weights and tokenizers become one file, which is mapped and
// translates without exceptions, allocations and libraries. Usage: hat_example_export FOLDER FILE < SOURCE
#include <filesystem>
#include <hat/decode/translate.hpp>
#include <hat/deploy/any_model.hpp>
#include <hat/deploy/mapped_file.hpp>
#include <hat/deploy/static_translator.hpp>
#include <hat/deploy/write_weight_file.hpp>
#include <hat/quant/store.hpp>
#include <iostream>

void write(const std::filesystem::path& folder, const std::filesystem::path& file) {
    const hat::Model model = hat::load_model(folder / "model.safetensors");
    const hat::TokenizerPair tokenizers = hat::load_tokenizers(folder);
    hat::WeightFileParts parts;
    parts.arch = hat::canonical(model.arch);
    parts.config = hat::static_config(model.weights.config());
    parts.config.format = hat::MatrixFormat::fp32;  // or int8, codebook4: smaller, faster, no longer equal to the bit
    const auto stored = hat::store_weights(model.weights, model.arch, {parts.config.format});
    parts.weights = {stored.data(), stored.size()};
    parts.source = hat::subword_parts(tokenizers.source.sentencepiece()->bytes());
    parts.target = hat::subword_parts(tokenizers.target.sentencepiece()->bytes());
    parts.notes = "exported by examples/text/export.cpp\n";
    hat::save_weight_file(file, std::move(parts));
}

int main(int argc, char** argv) try {
    if (argc < 3) throw std::runtime_error("usage: hat_example_export FOLDER FILE < SOURCE");
    write(argv[1], argv[2]);

    // from here on a program on the device; with the architecture as a C++ type: examples/deployment, hat export
    hat::MappedFile file;
    if (!file.open(argv[2])) throw std::runtime_error(std::string(argv[2]) + " cannot be mapped");
    hat::AnyTranslator<> deployed;
    if (const auto error = deployed.open(file.bytes()); error != hat::WeightFileError::none)
        throw std::runtime_error(std::string(hat::message(error)));

    hat::Translator saved(argv[1]);
    std::string line;
    while (std::getline(std::cin, line)) {
        const std::string text = deployed.translate(line);
        std::cout << text << "\n";
        if (text != saved.translate(line)) throw std::runtime_error("the saved model translates otherwise");
    }
} catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
}
