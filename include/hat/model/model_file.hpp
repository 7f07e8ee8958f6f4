#pragma once
/// \file
/// A model in one file: safetensors with the reference's tensor names; configuration and architecture as JSON in its
/// metadata. Optional: needs nlohmann_json (target hat::json).

#include <cstddef>
#include <filesystem>
#include <hat/core/error.hpp>
#include <hat/io/json.hpp>
#include <hat/io/safetensors.hpp>
#include <hat/model/config.hpp>
#include <hat/model/weights.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/reflect.hpp>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace hat {

/// {"encoder": {"embed": 512, "layers": 6, "ffn": [...], ...}, "decoder": {...}}; lists have one entry per layer.
template <std::size_t E, std::size_t D>
Json arch_to_json(const Arch<E, D>& arch) {
    Json json;
    for_each_field(arch, [&](const std::string& name, const auto& value) {
        const bool decoder = name[0] == 'd';
        Json& out = json[decoder ? "decoder" : "encoder"][name.substr(name.find('.') + 1)];
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, int>) {
            out = value;
        } else {
            const auto layers = decoder ? arch.decoder.layers : arch.encoder.layers;
            out = std::vector<int>(value.begin(), value.begin() + layers);
        }
    });
    return json;
}

/// Reads what arch_to_json() wrote. Throws bad_file naming the key.
inline RuntimeArch arch_from_json(const JsonView& json) {
    RuntimeArch arch{};
    json.require_only({"encoder", "decoder"});
    json["encoder"].require_only({"embed", "layers", "ffn", "qkv", "self_heads"});
    json["decoder"].require_only({"embed", "layers", "ffn", "qkv", "self_heads", "cross_heads", "cross_span"});
    for_each_field(arch, [&](const std::string& name, auto& value) {
        const bool decoder = name[0] == 'd';
        const JsonView in = json[decoder ? "decoder" : "encoder"][name.substr(name.find('.') + 1)];
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, int>) {
            value = in.as<int>();
            if (name.ends_with("layers") && (value < 1 || value > static_cast<int>(runtime_max_layers)))
                in.fail("is " + std::to_string(value) + ", expected 1 to " + std::to_string(runtime_max_layers));
        } else {
            const auto layers = static_cast<std::size_t>(decoder ? arch.decoder.layers : arch.encoder.layers);
            if (in.size() != layers)
                in.fail("has " + std::to_string(in.size()) + " entries, expected one per layer, " +
                        std::to_string(layers));
            for (std::size_t i = 0; i < layers; ++i) value[i] = in[i].template as<int>();
        }
    });
    return arch;
}

/// Everything a TransformerConfig says, as JSON.
inline Json config_to_json(const TransformerConfig& c) {
    const char* const sharing[] = {"none", "decoder_input_output", "all"};
    return {{"shape", arch_to_json(c.shape)},
            {"source_vocab", c.source_vocab},
            {"target_vocab", c.target_vocab},
            {"sharing", sharing[static_cast<int>(c.sharing)]},
            {"encoder_pre_norm", c.encoder_pre_norm},
            {"decoder_pre_norm", c.decoder_pre_norm},
            {"decoder_final_norm", c.decoder_final_norm},
            {"encoder_super_embed", c.encoder_super_embed},
            {"decoder_super_embed", c.decoder_super_embed},
            {"vocab_original_scaling", c.vocab_original_scaling},
            {"attend_to_copies_of", c.attend_to_copies_of},
            {"unnormalized_memory", c.unnormalized_memory}};
}

/// Reads what config_to_json() wrote. Throws bad_file naming the key.
inline TransformerConfig config_from_json(const JsonView& json) {
    json.require_only({"shape", "source_vocab", "target_vocab", "sharing", "encoder_pre_norm", "decoder_pre_norm",
                       "decoder_final_norm", "encoder_super_embed", "decoder_super_embed", "vocab_original_scaling",
                       "attend_to_copies_of", "unnormalized_memory"});
    TransformerConfig c;
    c.shape = arch_from_json(json["shape"]);
    c.source_vocab = json.get<std::size_t>("source_vocab");
    c.target_vocab = json.get<std::size_t>("target_vocab");
    const auto sharing = json.get<std::string>("sharing");
    if (sharing == "none")
        c.sharing = EmbeddingSharing::none;
    else if (sharing == "decoder_input_output")
        c.sharing = EmbeddingSharing::decoder_input_output;
    else if (sharing == "all")
        c.sharing = EmbeddingSharing::all;
    else
        json["sharing"].fail("is \"" + sharing + "\", expected none, decoder_input_output or all");
    c.encoder_pre_norm = json.get<bool>("encoder_pre_norm");
    c.decoder_pre_norm = json.get<bool>("decoder_pre_norm");
    c.decoder_final_norm = json.get<bool>("decoder_final_norm");
    c.encoder_super_embed = json.get<int>("encoder_super_embed");
    c.decoder_super_embed = json.get<int>("decoder_super_embed");
    c.vocab_original_scaling = json.get<bool>("vocab_original_scaling");
    c.attend_to_copies_of = json.get<int>("attend_to_copies_of");
    c.unnormalized_memory = json.get<bool>("unnormalized_memory");
    return c;
}

/// Adds every parameter as `<prefix><name>`.
template <class T>
void add_tensors(SafetensorsWriter& writer, const Weights<T>& weights, const std::string& prefix = "") {
    const auto& tensors = weights.layout().tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i)
        writer.add<T>(prefix + tensors[i].name, tensors[i].shape, weights.tensor(static_cast<int>(i)));
}

/// Reads every parameter from `<prefix><name>`. Throws bad_file naming a tensor that is missing or of another type or
/// shape.
template <class T>
void read_tensors(const SafetensorsFile& file, Weights<T>& weights, const std::string& prefix = "") {
    const auto& tensors = weights.layout().tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i)
        file.read<T>(prefix + tensors[i].name, tensors[i].shape, weights.tensor(static_cast<int>(i)));
}

/// What a model file holds.
struct Model {
    Weights<float> weights;                    ///< the parameters
    RuntimeArch arch;                          ///< the network to run; a SuperTransformer's file names its largest
    std::map<std::string, std::string> notes;  ///< other metadata, e.g. where the model comes from
};

/// Writes weights, their configuration and the architecture to run; atomically. `notes` are stored beside them.
inline void save_model(const std::filesystem::path& path, const Weights<float>& weights, const RuntimeArch& arch,
                       const std::map<std::string, std::string>& notes = {}) {
    require_fits(arch, weights.config().shape);
    SafetensorsWriter writer;
    writer.metadata = notes;
    writer.metadata["format"] = "hat model 1";
    writer.metadata["config"] = config_to_json(weights.config()).dump();
    writer.metadata["arch"] = arch_to_json(arch).dump();
    add_tensors(writer, weights);
    writer.save(path);
}

/// Reads a model file and checks it as a whole. Throws bad_file.
inline Model load_model(const std::filesystem::path& path) {
    const SafetensorsFile file(path, SafetensorsFile::Checksum::later);
    const auto metadata = [&](const std::string& key) {
        return parse_json(file.metadata(key), file.path() + " (metadata " + key + ")");
    };
    file.metadata("crc32");  // save_model() always writes one: without it, its name was damaged
    if (file.metadata("format") != "hat model 1")
        throw bad_file(file.path(), "format is \"" + file.metadata("format") + "\", expected \"hat model 1\"");
    const Json config = metadata("config"), arch_json = metadata("arch");
    try {
        const RuntimeArch arch = arch_from_json(JsonView(arch_json, file.path(), "arch"));
        auto layout = std::make_shared<const WeightLayout>(config_from_json(JsonView(config, file.path(), "config")));
        require_fits(arch, layout->config().shape);
        std::vector<std::string> names;
        for (const auto& t : layout->tensors()) {  // before allocating what a broken file asks for
            names.push_back(t.name);
            file.require<float>(t.name, t.shape);
        }
        file.require_exactly(names);
        file.require_intact();
        Model model{Weights<float>(std::move(layout)), arch, file.metadata()};
        read_tensors(file, model.weights);
        for (const char* key : {"format", "config", "arch", "crc32"}) model.notes.erase(key);
        return model;
    } catch (const bad_file&) {
        throw;
    } catch (const error& e) {  // a configuration or architecture that makes no model
        throw bad_file(file.path(), e.what());
    }
}

}  // namespace hat
