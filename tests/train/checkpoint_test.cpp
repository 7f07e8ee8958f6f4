#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <hat/train/average.hpp>
#include <hat/train/checkpoint.hpp>
#include <support/files.hpp>
#include <support/tiny.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

/// A training in miniature, without a model.
struct Training {
    hat::Weights<float> weights{hat_test::tiny_config()};
    hat::Adam<float> adam{weights.shared_layout()};
    hat::TrainingState state;
    hat::Json identity = {{"space", {{"encoder_embed", {12, 16}}, {"qkv", {16}}}}, {"recipe", {{"seed", 1}}}};

    explicit Training(float value = 0, std::uint64_t update = 0) {
        std::fill(weights.values().begin(), weights.values().end(), value);
        std::fill(adam.first.values().begin(), adam.first.values().end(), value + 1);
        std::fill(adam.second.values().begin(), adam.second.values().end(), value + 2);
        std::fill(adam.steps.begin(), adam.steps.end(), update);
        state.update = update;
    }
    std::filesystem::path save(const hat::CheckpointFolder& folder, bool best = false) const {
        return folder.save(weights, adam, state, hat_test::tiny_arch(), identity, best);
    }
    hat::TrainingState load(const hat::CheckpointFolder& folder) { return folder.load(weights, adam, identity); }
    std::string load_error(const hat::CheckpointFolder& folder) {
        return message_of<hat::bad_file>([&] { load(folder); });
    }
};

}  // namespace

TEST_CASE("a checkpoint brings back weights, moments, step counts and state") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder / "run");
    CHECK(!checkpoints.exists());
    Training a(0.1F, 7);
    a.state = {.update = 7,
               .epoch = 2,
               .batch = 3,
               .best = 1.25,
               .best_update = 5,
               .strikes = 1,
               .seconds = 1.5,
               .loss_sum = 0.1,
               .nll_sum = 0.2,
               .tokens = 99,
               .history = {{5, 1, 0.01, 1.0, {3, 2}, {{"largest", {1, 0.5}}, {"smallest", {2, 1.5}}}}}};
    a.save(checkpoints, true);
    CHECK(checkpoints.exists());
    CHECK(checkpoints.latest() == folder.path / "run" / "update_00000007");
    CHECK(checkpoints.best() == checkpoints.latest());
    Training b;
    const auto state = b.load(checkpoints);
    for (std::size_t t = 0; t < a.weights.layout().tensors().size(); ++t)
        for (const float v : b.weights.tensor(static_cast<int>(t))) CHECK_UNARY(v == 0.1F);
    CHECK(b.adam.first.tensor(3)[0] == 1.1F);
    CHECK(b.adam.second.tensor(3)[0] == 2.1F);
    CHECK(b.adam.steps == a.adam.steps);
    CHECK(hat::detail::to_json(state) == hat::detail::to_json(a.state));
    CHECK(state.history[0].valid.at("smallest").nll == 1.5);
    CHECK(hat::load_model(hat::CheckpointFolder::weights_file(checkpoints.latest())).arch == hat_test::tiny_arch());
}

TEST_CASE("the last checkpoints and the best are kept, others and leftovers are removed") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder.path, 2);
    for (std::uint64_t update : {5U, 10U, 15U, 20U, 25U}) {
        hat::write_file_atomically(folder / "latest.json.tmp.1.1", "left by a killed process");
        Training(1, update).save(checkpoints, update == 10);
    }
    CHECK(hat_test::count_files(folder.path) == 5);  // 10, 20, 25, latest, best
    CHECK(checkpoints.best().filename() == "update_00000010");
    const auto recent = checkpoints.recent_weights(2);
    REQUIRE(recent.size() == 2);
    CHECK(recent[0].parent_path().filename() == "update_00000020");
    CHECK(recent[1].parent_path().filename() == "update_00000025");
    CHECK(checkpoints.recent_weights(9).size() == 3);
    CHECK_THROWS_AS(hat::CheckpointFolder(folder.path, 0), hat::invalid_value);
}

TEST_CASE("pauses are there to go on from: they are neither averaged nor do they push planned checkpoints out") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder.path, 2);
    const auto pause = [&](std::uint64_t update) {
        const Training t(2, update);
        return checkpoints.save(t.weights, t.adam, t.state, hat_test::tiny_arch(), t.identity, false,
                                hat::CheckpointKind::pause);
    };
    const auto averaged = [&] {
        std::string names;
        for (const auto& file : checkpoints.recent_weights(9)) names += file.parent_path().filename().string() + " ";
        return names;
    };
    pause(3);
    CHECK(checkpoints.paused());
    CHECK(averaged().empty());
    Training(1, 5).save(checkpoints);
    CHECK(!checkpoints.paused());
    CHECK(!std::filesystem::exists(folder / "pause_00000003"));
    Training(1, 10).save(checkpoints);
    pause(11);
    const auto newest = pause(12);
    CHECK(checkpoints.latest() == newest);
    CHECK(averaged() == "update_00000005 update_00000010 ");
    CHECK(hat_test::count_files(folder.path) == 4);  // 5, 10, the pause, latest
    CHECK(Training().load(checkpoints).update == 12);
    Training(1, 15).save(checkpoints);
    CHECK(averaged() == "update_00000010 update_00000015 ");
    CHECK(hat_test::count_files(folder.path) == 3);
}

TEST_CASE("a checkpoint that was not finished is not seen, and is overwritten") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder.path, 3);
    Training(1, 10).save(checkpoints);
    // what kill -9 leaves at each stage of the next checkpoint
    const auto half = folder / "update_00000020";
    std::filesystem::create_directory(half);
    hat::write_file_atomically(half / "weights.safetensors.tmp.9.9", "half");
    CHECK(Training().load(checkpoints).update == 10);
    hat::save_model(half / "weights.safetensors", Training(2).weights, hat_test::tiny_arch());
    hat::write_file_atomically(half / "optimizer.safetensors", "half");
    CHECK(Training().load(checkpoints).update == 10);
    CHECK(checkpoints.recent_weights(5).size() == 1);
    Training(2, 20).save(checkpoints);
    CHECK(hat_test::count_files(half) == 3);
    Training b;
    CHECK(b.load(checkpoints).update == 20);
    CHECK(b.weights.tensor(0)[0] == 2);
    // a checkpoint from a future that was given up goes away
    std::filesystem::create_directory(folder / "update_00000030");
    Training(3, 25).save(checkpoints);
    CHECK(!std::filesystem::exists(folder / "update_00000030"));
}

TEST_CASE("a lost latest.json is said, a first checkpoint that was not finished is none") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder / "run", 2);
    Training(1, 10).save(checkpoints);
    Training(2, 20).save(checkpoints);
    std::filesystem::create_directory(folder / "run/update_00000030");  // not finished
    const auto pointer = folder / "run/latest.json";
    const std::string good = hat::read_file(pointer);
    std::filesystem::remove(pointer);
    CHECK(message_of<hat::bad_file>([&] { (void)checkpoints.exists(); }) ==
          pointer.string() +
              ": is missing, but there are checkpoints: put it back (it is {\"folder\": \"update_00000020\"} for the "
              "newest), or remove " +
              (folder / "run").string() + " to start over");
    hat::write_file_atomically(pointer, good);
    CHECK(checkpoints.exists());

    Training third(3, 30);
    third.state.best = 1.5;
    third.state.best_update = 30;
    third.save(checkpoints, true);
    CHECK(Training().load(checkpoints).update == 30);
    std::filesystem::remove(folder / "run/best.json");
    CHECK(Training().load_error(checkpoints) ==
          (folder / "run/best.json").string() +
              ": is missing: put it back (it is {\"folder\": \"update_00000030\"}), " + "or remove " +
              (folder / "run").string() + " to start over");

    // a first checkpoint that fails, or is killed, on its way
    const hat::CheckpointFolder first(folder / "first");
    std::filesystem::create_directories(folder / "first/update_00000010/weights.safetensors/x");
    hat::save_json(folder / "first/latest.json", {{"folder", nullptr}});
    CHECK(!first.exists());
    CHECK(Training().load_error(first) ==
          (folder / "first/latest.json").string() + ": names no checkpoint: none was finished");
    Training(1, 10).save(first);
    CHECK(Training().load(first).update == 10);
    std::filesystem::create_directories(folder / "other");
    CHECK(!hat::CheckpointFolder(folder / "other").exists());
    hat::write_file_atomically(folder / "other/update_00000010", "a file in the way");
    CHECK_THROWS_AS(Training(1, 20).save(hat::CheckpointFolder(folder / "other/update_00000010")), hat::bad_file);
}

TEST_CASE("a failed write leaves the checkpoint before") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder.path);
    Training(1, 10).save(checkpoints);
    hat::write_file_atomically(folder / "update_00000020", "a file is in the way");
    std::filesystem::permissions(folder.path, std::filesystem::perms::owner_all);
    // the file in the way is removed as a leftover; a folder in the way of a file cannot be
    std::filesystem::remove(folder / "update_00000020");
    std::filesystem::create_directory(folder / "best.json");
    CHECK(contains(message_of<hat::bad_file>([&] { Training(2, 20).save(checkpoints, true); }), "best.json"));
    Training b;
    CHECK(b.load(checkpoints).update == 10);
    CHECK(b.weights.tensor(0)[0] == 1);
}

TEST_CASE("a checkpoint of something else is refused, says what differs, and changes nothing") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder.path);
    const auto saved = Training(1, 10).save(checkpoints);
    const std::string at = (saved / "state.json").string() + ": this is a checkpoint of another ";
    Training b;
    b.identity["space"]["encoder_embed"] = {12, 18};
    CHECK(b.load_error(checkpoints) == at + "space: space.encoder_embed is [12,16], expected [12,18]");
    b.identity = {{"space", {{"qkv", {16}}}}};
    CHECK(b.load_error(checkpoints) == at + "space: space.encoder_embed is [12,16], expected nothing");
    b.identity = {{"recipe", {{"seed", 1}, {"dropout", 0.1}}}};
    CHECK(b.load_error(checkpoints) == at + "recipe: recipe.dropout is missing, expected 0.1");
    b.identity = {{"data", "x"}};
    CHECK(b.load_error(checkpoints) == at + "data: data is null, expected \"x\"");
    CHECK(b.weights.tensor(0)[0] == 0);

    hat::Weights<float> other(hat_test::tiny_config(13));
    hat::Adam<float> adam(other.shared_layout());
    CHECK(contains(message_of<hat::bad_file>([&] { checkpoints.load(other, adam, hat::Json::object()); }),
                   "this is a checkpoint of another model: config.source_vocab is 12, expected 13"));
}

TEST_CASE("truncated, corrupt, missing and mixed files are refused by name, and change nothing") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder.path, 2);
    const auto first = Training(1, 10).save(checkpoints), second = Training(2, 20).save(checkpoints);
    Training b;
    CHECK(b.load_error(hat::CheckpointFolder(folder / "none")) ==
          (folder / "none/latest.json").string() + ": cannot be read: No such file or directory");
    for (const char* name : {"weights.safetensors", "optimizer.safetensors"}) {
        const std::string good = hat::read_file(second / name);
        hat::write_file_atomically(second / name, good.substr(0, good.size() - 4));
        CHECK(contains(b.load_error(checkpoints), (second / name).string() + ": truncated"));
        std::string bad = good;
        bad[bad.size() - 10] ^= 1;
        hat::write_file_atomically(second / name, bad);
        CHECK(contains(b.load_error(checkpoints), (second / name).string() + ": corrupt: the checksum"));
        bad = good;
        bad.replace(bad.find("\"shape\":[12,16]"), 15, "\"shape\":[16,12]");
        hat::write_file_atomically(second / name, bad);
        CHECK(contains(b.load_error(checkpoints),
                       "encoder.embed_tokens.weight is 16 x 12, expected 12 x 16; the file was damaged or edited"));
        hat::write_file_atomically(second / name, hat::read_file(first / name));
        CHECK(contains(b.load_error(checkpoints), "of update "));
        std::filesystem::remove(second / name);
        CHECK(contains(b.load_error(checkpoints), (second / name).string() + ": cannot be read"));
        hat::write_file_atomically(second / name, good);
    }
    hat::write_file_atomically(second / "state.json", "{\"format\": \"hat training 1\",");
    CHECK(contains(b.load_error(checkpoints), (second / "state.json").string() + ":1: column"));
    hat::write_file_atomically(second / "state.json", "{\"format\": \"hat training 2\"}");
    CHECK(contains(b.load_error(checkpoints), "key \"format\" is \"hat training 2\", expected \"hat training 1\""));
    CHECK(b.weights.tensor(0)[0] == 0);
    CHECK(b.adam.steps[0] == 0);
}

TEST_CASE("averaging gives the mean of the weights and refuses different models") {
    const hat_test::TemporaryFolder folder;
    const hat::CheckpointFolder checkpoints(folder.path, 3);
    for (std::uint64_t update : {1U, 2U, 4U}) Training(static_cast<float>(update), update).save(checkpoints);
    const auto files = checkpoints.recent_weights(3);
    const hat::Model mean = hat::average_models(files);
    CHECK(mean.weights.tensor(2)[1] == doctest::Approx(7.0 / 3));
    CHECK(mean.notes.at("averaged") == "3");
    CHECK(hat::average_models(checkpoints.recent_weights(1)).weights.tensor(2)[1] == 4.0F);
    CHECK_THROWS_AS(hat::average_models({}), hat::invalid_value);
    const hat::Weights<float> other(hat_test::tiny_config(13));
    hat::save_model(folder / "other", other, hat_test::tiny_arch());
    const std::vector<std::filesystem::path> mixed{folder / "other", files[0]};
    CHECK(contains(message_of<hat::bad_file>([&] { hat::average_models(mixed); }),
                   (folder / "other").string() + ": has another configuration than"));
}
