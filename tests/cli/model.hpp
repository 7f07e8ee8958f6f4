#pragma once
/// \file
/// A model for tests of the program.

#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/model/model_file.hpp>

namespace hat_test {

/// A model's folder with a tiny network and a vocabulary of three words.
inline void write_model(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    hat::TransformerConfig config;
    for (auto* embed : {&config.shape.encoder.embed, &config.shape.decoder.embed}) *embed = 8;
    config.shape.encoder.layers = config.shape.decoder.layers = 1;
    config.shape.encoder.ffn[0] = config.shape.decoder.ffn[0] = 16;
    config.shape.encoder.qkv[0] = config.shape.decoder.qkv[0] = 8;
    config.shape.encoder.self_heads[0] = config.shape.decoder.self_heads[0] = 2;
    config.shape.decoder.cross_heads[0] = 2;
    config.shape.decoder.cross_span[0] = 1;
    config.source_vocab = config.target_vocab = 7;
    hat::Weights<float> weights(config);
    float next = 0;
    for (float& w : weights.values()) w = 0.01F * (next += 1);
    hat::save_model(folder / "model.safetensors", weights, config.shape, {{"stage", "test"}});
    for (const char* name : {"source.dict.txt", "target.dict.txt"})
        hat::write_file_atomically(folder / name, "one 3\ntwo 2\nthree 1\n");
}

}  // namespace hat_test
