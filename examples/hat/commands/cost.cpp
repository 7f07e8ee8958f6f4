/// \file
/// hat cost: what a network costs, from its configuration alone.

#include <commands/commands.hpp>
#include <configs.hpp>
#include <hat/core/error.hpp>
#include <hat/io/json.hpp>
#include <hat/latency/roofline.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/text.hpp>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <support.hpp>
#include <utility>

namespace hat::cli {
namespace {

struct CostArguments : CommonOptions {
    std::size_t vocab = 32768;
    std::optional<int> length;
    RooflineDevice device;
    RooflineWork work;
    unsigned bits = 32;
};

/// The estimate for the device that the options describe, in giga per second and megabytes.
nlohmann::ordered_json roofline(const CostArguments& o, const RuntimeArch& arch, int length) {
    RooflineDevice device = o.device;
    device.flops *= 1e9, device.bandwidth *= 1e9, device.cache_bandwidth *= 1e9, device.cache_bytes *= 1e6;
    RooflineWork work = o.work;
    work.source_length = work.target_length = static_cast<std::size_t>(length);
    work.vocab = o.vocab;
    work.bytes_per_weight = o.bits / 8.0;
    const RooflineEstimate e = Roofline(device, work).estimate(arch);
    return {{"total_ms", e.total().count()},
            {"encoder_ms", e.encoder.time.count()},
            {"decoder_ms", e.decoder.time.count()},
            {"memory_bound", (e.encoder.memory + e.decoder.memory) / e.total()}};
}

void run(const CostArguments& o) {
    const YamlConfig config = load_config(o);
    if (!o.length && !config.has("arch"))
        throw bad_file(o.configs.back(),
                       "key 'arch' is missing, which says how long sentences are; expected it or --length");
    const RuntimeArch arch = reference_subtransformer(config);
    CostOptions cost_options = reference_cost_options(config, o.length);
    cost_options.source_vocab = cost_options.target_vocab = o.vocab;
    const Cost c = cost(arch, cost_options);

    nlohmann::ordered_json out;
    out["params"] = c.params;
    out["flops"] = c.flops;
    out["bytes_fp32"] = c.bytes_fp32;
    out["bytes_4bit"] = c.bytes_4bit;
    out["length"] = cost_options.source_length;
    out["vocab"] = o.vocab;
    out["total_params"] = c.total_params;
    out["embedding_params"] = c.embedding_params;
    out["output_flops"] = c.output_flops;
    for (const auto& [name, stage] :
         {std::pair("encoder_attention", c.encoder_attention), std::pair("encoder_ffn", c.encoder_ffn),
          std::pair("decoder_self_attention", c.decoder_self_attention),
          std::pair("cross_attention", c.cross_attention), std::pair("decoder_ffn", c.decoder_ffn)})
        out["breakdown"][name] = {{"params", stage.params}, {"flops", stage.flops}};
    out["breakdown"]["embedding_scaling"] = {{"params", c.embedding.params}, {"flops", c.embedding.flops}};
    if (o.device.flops > 0) out["roofline"] = roofline(o, arch, cost_options.source_length);
    out["arch"] = to_text(arch);
    std::cout << out.dump(2) << "\n";
}

}  // namespace

void add_cost(CLI::App& app) {
    const auto o = std::make_shared<CostArguments>();
    CLI::App* command = app.add_subcommand("cost", "Parameters, FLOPs and file sizes of a network, as JSON");
    add_config(*command, *o, "The SubTransformer in the reference's YAML keys")->required();
    command->add_option("--vocab", o->vocab, "Entries of each vocabulary")
        ->check(whole_number(1, most_vocab))
        ->type_name("N")
        ->capture_default_str();
    command
        ->add_option("--length", o->length, "Tokens of the source and target sentence; default: from 'arch', 30 or 23")
        ->check(whole_number(1, most_sentence_length))
        ->type_name("N");
    add_quiet(*command, *o);
    // a device, for the roofline model
    const std::string group = "A device, for the least latency it can have (roofline model)";
    CLI::Option* flops = command->add_option("--gflops", o->device.flops, "Peak of the threads used, GFLOP/s");
    CLI::Option* bandwidth = command->add_option("--bandwidth", o->device.bandwidth, "Reading main memory, GB/s");
    CLI::Option* cache = command->add_option("--cache", o->device.cache_bytes, "Last-level cache, MB");
    CLI::Option* cache_bandwidth =
        command->add_option("--cache-bandwidth", o->device.cache_bandwidth, "Reading that cache, GB/s");
    flops->needs(bandwidth), bandwidth->needs(flops), cache->needs(cache_bandwidth), cache->needs(flops);
    cache_bandwidth->needs(cache);
    for (CLI::Option* option : {flops, bandwidth, cache, cache_bandwidth})
        option->check(number_from(0.001, 1e9))->type_name("X")->group(group);
    command->add_option("--beam", o->work.beam, "Hypotheses per step")
        ->check(whole_number(1, 1024))
        ->type_name("N")
        ->needs(flops)
        ->capture_default_str()
        ->group(group);
    command->add_option("--bits", o->bits, "Bits per weight")
        ->check(CLI::IsMember({4, 8, 16, 32}))
        ->type_name("N")
        ->needs(flops)
        ->capture_default_str()
        ->group(group);
    command->footer(
        "params and flops are counted as the reference does: no embeddings, no output layer. The bytes are of a\n"
        "whole model file, embeddings included.\n"
        "Examples: hat cost --config HAT_sub.yml --config common.yml\n"
        "          hat cost --config HAT_sub.yml --config common.yml --gflops 110 --bandwidth 32");
    command->callback([o] { run(*o); });
}

}  // namespace hat::cli
