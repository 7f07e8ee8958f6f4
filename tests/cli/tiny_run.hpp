#pragma once
/// \file
/// A run of the program that takes seconds.

#include <cli/program.hpp>
#include <hat/io/atomic_file.hpp>
#include <string>
#include <support/files.hpp>
#include <vector>

namespace hat_test {

/// A run in seconds: the first sentences of the sample corpus, a tiny space.
struct TinyRun {
    TemporaryFolder folder;
    std::string config = (folder / "tiny.yml").string(), dir = (folder / "run").string();

    TinyRun() {
        const std::string data = std::string(HAT_SOURCE_DIR) + "/examples/data/en-de/";
        for (const std::string part : {"train", "dev", "test"})
            for (const std::string side : {".en", ".de"}) {
                const std::string text = hat::read_file(data + part + side);
                std::size_t end = 0;
                for (int line = 0; line < (part == "train" ? 300 : 20); ++line) end = text.find('\n', end) + 1;
                hat::write_file_atomically(folder / (part + side), text.substr(0, end));
            }
        // Such networks take microseconds, which are mostly noise: the limit lets all of them through, so that no test
        // depends on what was measured.
        hat::write_file_atomically(config, R"(
train-source: train.en
train-target: train.de
valid-source: dev.en
valid-target: dev.de
test-source: test.en
test-target: test.de
vocab-size: 300
share-all-embeddings: True
encoder-embed-dim: 32
decoder-embed-dim: 32
encoder-ffn-embed-dim: 64
decoder-ffn-embed-dim: 64
encoder-layers: 2
decoder-layers: 2
encoder-attention-heads: 4
decoder-attention-heads: 4
qkv-dim: 32
encoder-embed-choice: [32, 16]
decoder-embed-choice: [32, 16]
encoder-ffn-embed-dim-choice: [64, 32]
decoder-ffn-embed-dim-choice: [64, 32]
encoder-layer-num-choice: [2, 1]
decoder-layer-num-choice: [2, 1]
encoder-self-attention-heads-choice: [4, 2]
decoder-self-attention-heads-choice: [4, 2]
decoder-ende-attention-heads-choice: [4, 2]
decoder-arbitrary-ende-attn-choice: [-1, 1, 2]
max-tokens: 500
label-smoothing: 0.1
lr-scheduler: inverse_sqrt
lr: 0.001
warmup-updates: 10
max-update: 30
validate-every: 10
lat-dataset-size: 20
latiter: 2
latency-length: 5
latency-beam: 2
predictor: linear
evo-iter: 2
population-size: 8
parent-size: 3
mutation-size: 3
crossover-size: 3
latency-fraction: 100
beam: 2
)");
    }
    Outcome hat(const std::string& command, std::vector<std::string> more = {}) const {
        std::vector<std::string> arguments{command, "--config", config, "--dir", dir, "--threads", "1"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_hat(arguments);
    }
    /// With more configuration lines.
    Outcome with(const std::string& lines, const std::string& command, std::vector<std::string> more = {}) const {
        const std::string extra = (folder / "extra.yml").string();
        hat::write_file_atomically(extra, lines + "\n");
        more.insert(more.end(), {"--config", extra});
        return hat(command, more);
    }
    /// Appends to a text.
    void append(const std::string& file, const std::string& text) const {
        hat::write_file_atomically(folder / file, hat::read_file(folder / file) + text);
    }
};

}  // namespace hat_test
