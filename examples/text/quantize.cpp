// The model that train.cpp saves in 4 bits a weight: each matrix gets as many as the validation loss asks for, then the
// model is trained a little more in these bits. Usage: hat_example_quantize FOLDER SOURCE TARGET OUT [UPDATES]
#include <filesystem>
#include <hat/decode/tokenizers.hpp>
#include <hat/hat.hpp>
#include <hat/model/model_file.hpp>
#include <hat/quant/quantized_file.hpp>
#include <hat/text/gzip.hpp>
#include <hat/train/trainer.hpp>
#include <iostream>

int main(int argc, char** argv) try {
    if (argc < 5) throw std::runtime_error("usage: hat_example_quantize FOLDER SOURCE TARGET OUT [UPDATES]");
    const std::filesystem::path folder = argv[1], out = argv[4];
    const hat::Model model = hat::load_model(folder / "model.safetensors");
    const hat::TokenizerPair tokenizers = hat::load_tokenizers(folder);

    // as in train.cpp, every 100th pair is for validation
    const hat::ParallelText all = hat::filter(hat::read_parallel(argv[2], argv[3]), {}).text;
    hat::ParallelText train, valid;
    for (std::size_t i = 0; i < all.size(); ++i) {
        auto& part = i % 100 == 99 ? valid : train;
        part.source.push_back(all.source[i]);
        part.target.push_back(all.target[i]);
    }
    const auto batches = [&](const hat::ParallelText& text) {
        return std::make_shared<const hat::Batches>(
            hat::encode_lines(tokenizers.source, text.source), hat::encode_lines(tokenizers.target, text.target),
            hat::BatchOptions{.max_tokens = 2048, .too_long = hat::BatchOptions::TooLong::drop});
    };
    const auto sentences = hat::batches_in_order(*batches(valid));
    const auto loss = [&](const hat::Weights<float>& w) { return hat::InheritedLoss(w, sentences)(model.arch); };
    const hat::ThreadPool pool(2);

    // as many bytes as 4 bits everywhere take
    const std::size_t budget = hat::quantized_bytes(model.weights.layout(), {.bits = 4});
    const hat::BitAllocation found = hat::allocate_bits(pool, model.weights, budget, loss);
    hat::QuantizedWeights quantized = hat::quantize(pool, model.weights, model.arch, found.how);
    std::cout << hat::bits_text(model.weights.layout(), found.how) << "\nloss " << found.loss << ", in these bits "
              << loss(hat::dequantize(quantized)) << std::endl;

    // the loss is that of the quantized weights, its gradient trains the full ones
    hat::Weights<float> weights = model.weights;
    auto task = hat::fixed_task(model.arch, hat::batch_source(batches(train)), sentences);
    task.stand_in = hat::straight_through(quantized);
    hat::TrainerOptions options;
    options.max_updates = argc > 5 ? std::stoul(argv[5]) : 400;
    options.schedule =
        hat::CosineSchedule{.min_lr = 0, .max_lr = 3e-4, .warmup = 0, .max_updates = options.max_updates};
    options.dropout = 0.1;
    hat::Trainer(weights, std::move(task), options, pool).run();
    quantized = hat::requantize(quantized, weights);
    std::cout << "loss after training " << loss(hat::dequantize(quantized)) << "\n";

    std::filesystem::create_directories(out);
    hat::save_tokenizers(out, tokenizers);
    hat::save_quantized(out / "model.hatq", quantized, model.notes);
} catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
}
