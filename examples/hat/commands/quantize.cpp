/// \file
/// hat quantize: a model in a few bits per weight.

#include <algorithm>
#include <commands/commands.hpp>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/decode/tokenizers.hpp>
#include <hat/io/units.hpp>
#include <hat/model/extract.hpp>
#include <hat/model/model_file.hpp>
#include <hat/quant/bit_allocation.hpp>
#include <hat/quant/quantized.hpp>
#include <hat/quant/quantized_file.hpp>
#include <hat/text/gzip.hpp>
#include <hat/text/tokenizer.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/trainer.hpp>
#include <iostream>
#include <losses.hpp>
#include <memory>
#include <string>
#include <support.hpp>

namespace hat::cli {
namespace {

struct QuantizeArguments : CommonOptions {
    std::string model, out, valid_source, valid_target;
    unsigned bits = 4;
    std::size_t group_rows = 0;
};

/// Bits for each matrix by what it does to the loss on the validation text, in as many bytes as `how` takes.
Quantization measured_bits(const QuantizeArguments& o, const Model& model, const TokenizerPair& tokenizers,
                           const Quantization& how) {
    const ParallelText text = read_parallel(o.valid_source, o.valid_target);
    const Batches sentences(encode_lines(tokenizers.source, text.source), encode_lines(tokenizers.target, text.target),
                            {.max_tokens = 4096, .too_long = BatchOptions::TooLong::drop});
    if (!o.quiet && !sentences.dropped().empty())
        std::cerr << "hat: notice: " << sentences.dropped().size() << " of " << text.size()
                  << " validation pairs have more than 4096 tokens on a side and are left out\n";
    const auto batches = batches_in_order(sentences);
    const ThreadPool pool(o.threads);
    const auto nll = [&](const Weights<float>& weights) { return validation_nll(weights, model.arch, batches, pool); };
    const auto found =
        allocate_bits(pool, model.weights, quantized_bytes(model.weights.layout(), how), nll, how.group_rows);
    if (!o.quiet)
        std::cout << "validation nll " << fixed(found.loss, 4) << " in fp32, "
                  << fixed(nll(dequantize(quantize(pool, model.weights, model.arch, how))), 4) << " in "
                  << bits_text(model.weights.layout(), how) << ", " << fixed(found.loss_after, 4) << " in "
                  << bits_text(model.weights.layout(), found.how) << "\n";
    return found.how;
}

void run(const QuantizeArguments& o) {
    const std::filesystem::path from = o.model, to = o.out;
    const auto source = from / "model.safetensors", target = to / "model.hatq";
    Model model = load_model(source);
    const TokenizerPair tokenizers = load_tokenizers(from);
    if (std::filesystem::exists(to / "model.safetensors"))
        throw bad_file(to.string(), "holds model.safetensors already, expected a folder without a model (--out)");
    // a network inside a larger one is taken out first: nothing else is stored
    if (model.weights.config().shape != model.arch) model.weights = extract(model.weights, model.arch);
    const RuntimeArch arch = model.weights.config().shape;
    Quantization how{.bits = o.bits, .group_rows = o.group_rows};
    if (!o.valid_source.empty()) {
        model.arch = arch;
        how = measured_bits(o, model, tokenizers, how);
    }
    const QuantizedWeights quantized = quantize(ThreadPool(o.threads), model.weights, arch, how);

    std::error_code failure;
    std::filesystem::create_directories(to, failure);
    if (failure) throw bad_file(to.string(), "cannot be made a folder: " + failure.message());
    save_tokenizers(to, tokenizers);
    model.notes["quantized_from"] = source.string();
    save_quantized(target, quantized, model.notes);

    double worst = 0;
    std::size_t width = 0;
    const auto report = quantization_report(model.weights, quantized);
    for (const auto& e : report) width = std::max(width, e.name.size());
    for (const auto& e : report) {
        worst = std::max(worst, e.relative);
        if (!o.quiet && e.relative > 0)
            std::cout << e.name << std::string(width - e.name.size() + 2, ' ') << bytes_text(e.bytes_fp32) << " -> "
                      << bytes_text(e.bytes) << ", relative error " << fixed(e.relative, 4) << "\n";
    }
    const auto before = std::filesystem::file_size(source), after = std::filesystem::file_size(target);
    const bool larger = after > before;
    const double ratio = static_cast<double>(larger ? after : before) / static_cast<double>(larger ? before : after);
    std::cout << target.string() << ": " << bytes_text(before) << " -> " << bytes_text(after) << ", " << fixed(ratio, 2)
              << (larger ? " times larger" : " times smaller") << "; largest relative error of a matrix "
              << fixed(worst, 4) << "\n";
    if (larger && !o.quiet)
        std::cerr << "hat: notice: the result is larger than the model: each group of rows stores a codebook of "
                  << (1U << o.bits) << " numbers; larger groups or fewer bits make it smaller\n";
}

}  // namespace

void add_quantize(CLI::App& app) {
    const auto o = std::make_shared<QuantizeArguments>();
    CLI::App* command =
        app.add_subcommand("quantize", "A model in a few bits per weight (k-means), embeddings included");
    command->add_option("--model", o->model, "Folder of a model: model.safetensors and its tokenizers")
        ->required()
        ->type_name("DIR");
    command->add_option("--out", o->out, "Folder for model.hatq and the tokenizers")->required()->type_name("DIR");
    command->add_option("--bits", o->bits, "Bits of a weight")
        ->check(whole_number(2, 8))
        ->type_name("N")
        ->capture_default_str();
    command->add_option("--group-rows", o->group_rows, "Rows that share a codebook; 0: the whole matrix")
        ->check(whole_number(0, 1 << 30))
        ->type_name("N")
        ->capture_default_str();
    CLI::Option* source =
        command->add_option("--valid-source", o->valid_source,
                            "Validation text: as many bytes, but each matrix gets as many bits as the loss asks for");
    CLI::Option* target = command->add_option("--valid-target", o->valid_target, "Its translation, line by line");
    source->type_name("FILE")->needs(target);
    target->type_name("FILE")->needs(source);
    add_threads(*command, *o);
    add_quiet(*command, *o);
    command->footer("Example: hat quantize --model run/winner/model --out run/winner/small --bits 4");
    command->callback([o] { run(*o); });
}

}  // namespace hat::cli
