#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <hat/model/model_file.hpp>
#include <support/files.hpp>
#include <support/tiny.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

/// Rewrites a model file with one metadata entry changed and all tensors as they were, except `drop`, and one more
/// named `extra`.
void tamper(const std::filesystem::path& path, const std::string& key, const std::string& value,
            const std::string& drop = "", const std::string& extra = "") {
    const hat::SafetensorsFile file(path);
    hat::SafetensorsWriter writer;
    writer.metadata = file.metadata();
    if (!key.empty()) writer.metadata[key] = value;
    std::map<std::string, std::vector<float>> values;
    for (const auto& [name, info] : file.tensors())
        if (name != drop) writer.add<float>(name, info.shape, values[name] = file.read<float>(name));
    if (!extra.empty()) writer.add<float>(extra, {1}, values[extra] = {1});
    writer.save(path);
}

}  // namespace

TEST_CASE("a model file brings back weights, configuration, architecture and notes") {
    const hat_test::TemporaryFolder folder;
    auto config = hat_test::tiny_config();
    config.sharing = hat::EmbeddingSharing::none;
    config.target_vocab = 15;
    config.encoder_pre_norm = config.decoder_pre_norm = config.vocab_original_scaling = true;
    config.decoder_final_norm = false;
    config.encoder_super_embed = 20;
    config.decoder_super_embed = 24;
    config.attend_to_copies_of = 2;
    config.unnormalized_memory = true;
    hat::Weights<float> weights(config);
    weights.initialize(3);
    hat::save_model(folder / "m", weights, hat_test::tiny_sub_arch(), {{"origin", "a test"}});
    const hat::Model model = hat::load_model(folder / "m");
    CHECK(model.weights.config() == config);
    CHECK(model.arch == hat_test::tiny_sub_arch());
    CHECK(model.notes == std::map<std::string, std::string>{{"origin", "a test"}});
    CHECK(std::equal(weights.values().begin(), weights.values().end(), model.weights.values().begin()));
}

TEST_CASE("architecture and configuration survive JSON for every kind of sharing") {
    for (const auto sharing :
         {hat::EmbeddingSharing::none, hat::EmbeddingSharing::decoder_input_output, hat::EmbeddingSharing::all}) {
        auto config = hat_test::tiny_config();
        config.sharing = sharing;
        const hat::Json json = hat::config_to_json(config);
        CHECK(hat::config_from_json(hat::JsonView(json, "x")) == config);
    }
    const hat::Json json = hat::arch_to_json(hat_test::tiny_sub_arch());
    CHECK(hat::arch_from_json(hat::JsonView(json, "x")) == hat_test::tiny_sub_arch());
    CHECK(json["encoder"]["ffn"] == hat::Json{24});
}

TEST_CASE("a file that is no model, or a broken one, is refused with file, key or tensor") {
    const hat_test::TemporaryFolder folder;
    const auto path = folder / "m";
    hat::Weights<float> weights(hat_test::tiny_config());
    const auto fresh = [&] { hat::save_model(path, weights, hat_test::tiny_arch()); };
    const auto error = [&] { return message_of<hat::bad_file>([&] { hat::load_model(path); }); };
    const std::string at = path.string() + ": ";
    const hat::Json good = hat::config_to_json(weights.config());

    fresh(), tamper(path, "format", "hat model 9");
    CHECK(error() == at + "format is \"hat model 9\", expected \"hat model 1\"");
    fresh(), tamper(path, "", "", "decoder.layers.1.fc1.weight");
    CHECK(error() == at + "tensor decoder.layers.1.fc1.weight is missing");
    fresh(), tamper(path, "", "", "", "more");
    CHECK(error() == at + "tensor more is not expected here");
    fresh(), tamper(path, "config", "{");
    CHECK(contains(error(), "(metadata config):1: column"));
    hat::Json bad = good;
    bad["shape"]["encoder"]["layers"] = 17;
    fresh(), tamper(path, "config", bad.dump());
    CHECK(error() == at + "key \"config.shape.encoder.layers\" is 17, expected 1 to 16");
    bad = good;
    bad["shape"]["decoder"]["ffn"] = {32};
    fresh(), tamper(path, "config", bad.dump());
    CHECK(error() == at + "key \"config.shape.decoder.ffn\" has 1 entries, expected one per layer, 2");
    bad = good;
    bad["sharing"] = "some";
    fresh(), tamper(path, "config", bad.dump());
    CHECK(contains(error(), "key \"config.sharing\" is \"some\", expected none"));
    bad = good;
    bad["colour"] = 1;
    fresh(), tamper(path, "config", bad.dump());
    CHECK(contains(error(), "key \"config.colour\" is unknown"));
    bad = good;
    bad["source_vocab"] = bad["target_vocab"] = 2'000'000'000;  // must not be allocated
    fresh(), tamper(path, "config", bad.dump());
    CHECK(error() == at + "tensor encoder.embed_tokens.weight is 12 x 16, expected 2000000000 x 16");
    bad = good;
    bad["source_vocab"] = 13;
    fresh(), tamper(path, "config", bad.dump());
    CHECK(contains(error(), "shared embeddings need equal vocabularies, got 13 and 12"));
    hat::Json arch = hat::arch_to_json(hat_test::tiny_arch());
    arch["encoder"]["self_heads"][0] = 3;
    fresh(), tamper(path, "arch", arch.dump());
    CHECK(contains(error(), "3 self-attention heads do not divide the qkv width 16"));
    // edited by hand: the checksum is wrong, too, but that is the smaller news
    const auto edit = [&](const std::string& before, const std::string& after) {
        fresh();
        std::string bytes = hat::read_file(path);
        bytes.replace(bytes.find(before), before.size(), after);
        hat::write_file_atomically(path, bytes);
        return error();
    };
    const std::string damaged = "; the file was damaged or edited: the checksum is ";
    CHECK(edit(R"("dtype":"F32","shape":[12,16]})", R"("dtype":"F32","shape":[16,12]})")
              .starts_with(at + "tensor encoder.embed_tokens.weight is 16 x 12, expected 12 x 16" + damaged));
    CHECK(edit(R"("dtype":"F32","shape":[12,16]})", R"("dtype":"I32","shape":[12,16]})")
              .starts_with(at + "tensor encoder.embed_tokens.weight has type I32, expected F32" + damaged));
    CHECK(edit("hat model 1", "hat model 9") == at + "format is \"hat model 9\", expected \"hat model 1\"");
    auto wide = hat_test::tiny_arch();
    wide.encoder.embed = 32;
    CHECK_THROWS_AS(hat::save_model(path, weights, wide), hat::shape_mismatch);
}
