// Trains one SubTransformer on two text files, line by line translations of each other, and saves it so that
// translate.cpp, or 'hat translate', can use it. Run it again to go on after an interruption.
// Usage: hat_example_train SOURCE TARGET FOLDER [UPDATES]
#include <filesystem>
#include <hat/decode/tokenizers.hpp>
#include <hat/hat.hpp>
#include <hat/model/model_file.hpp>
#include <hat/text/gzip.hpp>
#include <hat/text/sentencepiece.hpp>
#include <hat/train/trainer.hpp>
#include <iostream>

// 2 + 1 layers: what a search might have found.
hat::RuntimeArch small_network() {
    hat::RuntimeArch a{};
    a.encoder.embed = a.decoder.embed = 96;
    a.encoder.layers = 2, a.decoder.layers = 1;
    for (std::size_t i = 0; i < 2; ++i) a.encoder.ffn[i] = 192, a.encoder.qkv[i] = 96, a.encoder.self_heads[i] = 4;
    a.decoder.ffn[0] = 192, a.decoder.qkv[0] = 96, a.decoder.self_heads[0] = a.decoder.cross_heads[0] = 4;
    a.decoder.cross_span[0] = 2;  // it attends to both encoder layers
    return a;
}

int main(int argc, char** argv) try {
    if (argc < 4) throw std::runtime_error("usage: hat_example_train SOURCE TARGET FOLDER [UPDATES]");
    const std::filesystem::path folder = argv[3];

    // text that teaches nothing goes, every 100th pair is for validation
    const hat::Filtered all = hat::filter(hat::read_parallel(argv[1], argv[2]), {});
    std::cout << all.report.text();
    hat::ParallelText train, valid;
    for (std::size_t i = 0; i < all.text.size(); ++i) {
        auto& part = i % 100 == 99 ? valid : train;
        part.source.push_back(all.text.source[i]);
        part.target.push_back(all.text.target[i]);
    }
    const std::array<std::span<const std::string>, 2> both{train.source, train.target};
    const auto pieces = hat::train_sentencepiece(both, {.vocab_size = 2000});

    const auto batches = [&](const hat::ParallelText& text) {
        return std::make_shared<const hat::Batches>(
            hat::encode_lines(pieces, text.source), hat::encode_lines(pieces, text.target),
            hat::BatchOptions{.max_tokens = 2048, .too_long = hat::BatchOptions::TooLong::drop});
    };
    const hat::RuntimeArch arch = small_network();
    const std::size_t vocabulary = pieces.vocabulary_size();
    hat::Weights<float> weights(
        hat::TransformerConfig{.shape = arch, .source_vocab = vocabulary, .target_vocab = vocabulary});
    weights.initialize(/*seed=*/1);

    hat::TrainerOptions options;
    options.schedule = hat::InverseSquareRootSchedule{.lr = 2e-3, .warmup = 100};
    options.dropout = 0.1;
    options.max_updates = argc > 4 ? std::stoul(argv[4]) : 2000;
    options.validate_every = 100;
    options.folder = folder / "checkpoints";
    hat::TrainingObserver observer;
    observer.validated = [](const hat::HistoryEntry& h, bool best) {
        std::cout << "update " << h.update << ", validation perplexity " << std::exp(h.valid.at("network").nll)
                  << (best ? ", the best so far" : "") << std::endl;
    };
    auto task = hat::fixed_task(arch, hat::batch_source(batches(train)), hat::batches_in_order(*batches(valid)));
    hat::Trainer(weights, std::move(task), options).run(observer);

    const hat::TokenizerPair tokenizers{pieces, pieces};
    hat::save_tokenizers(folder, tokenizers);
    hat::save_model(folder / "model.safetensors", weights, arch,
                    {{"tokenizers", hat::tokenizers_checksum(tokenizers)}});
} catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
}
