#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <filesystem>

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstring>
#include <hat/space/space.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/sampler.hpp>
#include <hat/train/trainer.hpp>
#include <limits>
#include <memory>
#include <support/files.hpp>
#include <support/numbers.hpp>
#include <support/tiny.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

hat::RuntimeSpace tiny_space() {
    return hat::RuntimeSpace(
        hat::RuntimeAxes{{12, 16}, {1, 2}, {16, 32}, {1, 2}, {12, 16}, {1, 2}, {16, 32}, {1, 2}, {1, 2}, {1, 2}, {16}});
}

/// Batches of the copy task, shuffled anew in every epoch.
hat::BatchSource copy_batches(std::size_t count = 8, std::size_t sentences = 8) {
    const auto all = hat_test::copy_task(1, count, sentences);
    hat::Ragged sides;
    for (const auto& batch : all)
        for (std::size_t i = 0; i < batch.sentences(); ++i) sides.push_back(batch.source[i]);
    return hat::batch_source(
        std::make_shared<const hat::Batches>(sides, sides, hat::BatchOptions{.max_sentences = sentences, .seed = 3}));
}

hat::TrainingTask super() {
    const auto space = tiny_space();
    return hat::super_task(hat::UniformSampler(space, 7), space.largest(), space.smallest(), copy_batches(),
                           hat_test::copy_task(2, 2, 8), {{"qkv", space.axes().qkv}});
}

hat::TrainingTask fixed() {
    return hat::fixed_task(hat_test::tiny_arch(), copy_batches(40, 16), hat_test::copy_task(2, 4, 16));
}

hat::TrainerOptions options(std::uint64_t updates) {
    hat::TrainerOptions o;
    o.adam = {.weight_decay = 1e-3, .clip_norm = 5};
    o.schedule = hat::InverseSquareRootSchedule{.lr = 5e-3, .warmup = 20, .warmup_init = 1e-4};
    o.dropout = 0.1;
    o.activation_dropout = 0.1;
    o.attention_dropout = 0.1;
    o.max_updates = updates;
    o.update_freq = 3;  // 8 batches: the last update of an epoch has two
    o.validate_every = 5;
    return o;
}

hat::Weights<float> fresh() {
    hat::Weights<float> w(hat_test::tiny_config());
    w.initialize(5);
    return w;
}

bool same_bits(const hat::Weights<float>& a, const hat::Weights<float>& b) {
    return std::memcmp(a.values().data(), b.values().data(), a.values().size_bytes()) == 0;
}

}  // namespace

TEST_CASE("a fixed network learns to copy: low loss on sentences it has not seen, from scratch and from weights") {
    auto weights = fresh();
    auto o = options(700);
    o.dropout = o.attention_dropout = o.activation_dropout = 0;
    o.label_smoothing = 0;
    o.update_freq = 1;
    o.validate_every = 100;
    std::uint64_t updates = 0;
    const auto result = hat::Trainer(weights, fixed(), o).run({.updated = [&](const hat::TrainingProgress& p) {
        CHECK(p.update == ++updates);
        CHECK(p.max_updates == 700);
        CHECK(p.lr == hat::learning_rate(o.schedule, p.update - 1));
        CHECK(p.gradient_norm > 0);
        CHECK(p.tokens_per_second > 0);
        CHECK(p.seconds_left.has_value());
    }});
    CHECK(updates == 700);
    CHECK(result.end == hat::TrainingEnd::max_updates);
    REQUIRE(result.state.history.size() == 7);
    const auto& last = result.state.history.back();
    CHECK(result.state.history.front().valid.at("network").nll > 3 * last.valid.at("network").nll);
    CHECK(last.valid.at("network").nll < 0.2);
    CHECK(last.train.nll < 0.2);
    CHECK(result.state.epoch == 17);
    CHECK(result.state.batch == 20);

    o.max_updates = 5;
    o.schedule = hat::FixedSchedule{.lr = 1e-5};
    const auto more = hat::Trainer(weights, fixed(), o).run();
    CHECK(more.state.history.back().valid.at("network").nll < 0.2);
}

TEST_CASE("a SuperTransformer learns too, and both ends of its space get better") {
    auto weights = fresh();
    auto o = options(150);
    o.dropout = o.attention_dropout = o.activation_dropout = 0;
    o.validate_every = 50;
    std::vector<hat::RuntimeArch> seen;
    const auto result = hat::Trainer(weights, super(), o).run({.updated = [&](const hat::TrainingProgress& p) {
        seen.push_back(p.arch);
    }});
    const hat::UniformSampler sampler(tiny_space(), 7);
    for (std::uint64_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == sampler(i));
    const auto &first = result.state.history.front(), &last = result.state.history.back();
    CHECK(last.valid.at("largest").loss < first.valid.at("largest").loss);
    CHECK(last.valid.at("smallest").loss < first.valid.at("smallest").loss);
}

TEST_CASE("stopped at any update and resumed, with any number of threads, the weights are the same to the bit") {
    const hat_test::TemporaryFolder folder;
    auto whole = fresh();
    auto o = options(23);
    o.folder = folder / "whole";
    hat::Trainer uninterrupted(whole, super(), o);
    const auto expected = uninterrupted.run();

    for (const std::vector<std::uint64_t>& stops : {std::vector<std::uint64_t>{1}, {3, 4, 9}, {10}, {5, 6, 22}}) {
        o.folder = folder / ("stops" + std::to_string(stops.size()) + "_" + std::to_string(stops[0]));
        std::atomic<bool> stop{false};
        o.stop = &stop;
        for (std::size_t session = 0; session <= stops.size(); ++session) {
            stop = false;
            auto weights = fresh();
            hat::Trainer trainer(weights, super(), o, hat::ThreadPool(session % 2 ? 3 : 1));
            std::uint64_t resumed = 0;
            const auto result = trainer.run({.resumed = [&](const hat::TrainingState& s) { resumed = s.update; },
                                             .updated =
                                                 [&](const hat::TrainingProgress& p) {
                                                     if (session < stops.size() && p.update == stops[session])
                                                         stop = true;
                                                 }});
            CHECK(resumed == (session == 0 ? 0 : stops[session - 1]));
            if (session < stops.size()) {
                CHECK(result.end == hat::TrainingEnd::stopped);
                CHECK(result.state.update == stops[session]);
                continue;
            }
            CHECK(result.end == hat::TrainingEnd::max_updates);
            CHECK(same_bits(weights, whole));
            CHECK(same_bits(trainer.adam().first, uninterrupted.adam().first));
            CHECK(same_bits(trainer.adam().second, uninterrupted.adam().second));
            CHECK(trainer.adam().steps == uninterrupted.adam().steps);
            REQUIRE(result.state.history.size() == expected.state.history.size());
            for (std::size_t i = 0; i < result.state.history.size(); ++i) {
                CHECK(result.state.history[i].valid == expected.state.history[i].valid);
                CHECK(result.state.history[i].train == expected.state.history[i].train);
            }
            CHECK(result.state.best == expected.state.best);
        }
        for (const char* name : {"latest.json", "best.json"})
            CHECK(hat::read_file(o.folder / name) == hat::read_file(folder / "whole" / name));
    }
}

TEST_CASE(
    "bf16 learns as fp32 does; stopped and resumed with other threads, to the bit; another precision is refused") {
    const hat_test::TemporaryFolder folder;
    auto o = options(150);
    o.validate_every = 150;
    const auto last = [&](hat::Weights<float>& weights) {
        return hat::Trainer(weights, super(), o).run().state.history.back().valid.at("largest").loss;
    };
    auto plain = fresh(), whole = fresh();
    o.precision = hat::Precision::fp32;
    const double expected = last(plain);
    o.precision = hat::Precision::bf16;
    CHECK(last(whole) == doctest::Approx(expected).epsilon(0.02));
    CHECK(!same_bits(plain, whole));

    o.folder = folder / "run";
    std::atomic<bool> stop{false};
    o.stop = &stop;
    auto weights = fresh();
    hat::Trainer(weights, super(), o, hat::ThreadPool(3)).run({.updated = [&](const hat::TrainingProgress& p) {
        stop = p.update == 70;
    }});
    stop = false;
    o.precision = hat::Precision::fp32;
    const std::string message = message_of<hat::bad_file>([&] { hat::Trainer(weights, super(), o).run(); });
    CHECK(contains(message, "this is a checkpoint of another recipe: recipe.precision is \"bf16\", expected \"fp32\""));
    o.precision = hat::Precision::bf16;
    weights = fresh();
    hat::Trainer(weights, super(), o).run();
    CHECK(same_bits(weights, whole));
}

TEST_CASE("bf16x3, the default, learns as fp32 does, and is fp32 without tiles") {
    auto o = options(60);
    o.validate_every = 60;
    const auto last = [&](hat::Weights<float>& weights, std::size_t threads) {
        return hat::Trainer(weights, super(), o, hat::ThreadPool(threads))
            .run()
            .state.history.back()
            .valid.at("largest")
            .loss;
    };
    auto plain = fresh(), split = fresh(), threaded = fresh();
    CHECK(o.precision == hat::Precision::bf16x3);
    const double learned = last(split, 1);
    o.precision = hat::Precision::fp32;
    CHECK(learned == doctest::Approx(last(plain, 1)).epsilon(0.002));
    o.precision = hat::Precision::bf16x3;
    CHECK(same_bits(plain, split) != hat::simd::tiles_usable());
    last(threaded, 3);
    CHECK(same_bits(split, threaded));
}

TEST_CASE("stops and the clock change neither which checkpoints are averaged nor which are kept") {
    const hat_test::TemporaryFolder folder;
    auto o = options(23);
    o.checkpoint_every = 4;
    o.keep_last = 3;
    const auto run = [&](const std::string& name, const std::vector<std::uint64_t>& stops, double every_seconds) {
        o.folder = folder / name;
        o.checkpoint_seconds = every_seconds;
        std::atomic<bool> stop{false};
        o.stop = &stop;
        for (std::size_t session = 0; session <= stops.size(); ++session) {
            stop = false;
            auto weights = fresh();
            hat::Trainer(weights, super(), o).run({.updated = [&](const hat::TrainingProgress& p) {
                if (session < stops.size() && p.update == stops[session]) stop = true;
            }});
            if (session < stops.size()) CHECK(hat::CheckpointFolder(o.folder).paused() == (stops[session] % 4 != 0));
        }
        std::string content;
        for (const auto& file : hat::CheckpointFolder(o.folder, 3).recent_weights(3))
            content += file.parent_path().filename().string() + " " + hat::read_file(file);
        return content;
    };
    const std::string expected = run("whole", {}, 0);
    CHECK(contains(expected, "update_00000016"));
    CHECK(contains(expected, "update_00000020"));
    CHECK(contains(expected, "update_00000023"));
    CHECK(run("stopped", {18, 20, 22}, 0) == expected);
    CHECK(run("clock", {19}, 1e-9) == expected);
}

TEST_CASE("killed between the last checkpoint and the last validation, a resumed training still validates") {
    const hat_test::TemporaryFolder folder;
    auto o = options(17);
    o.checkpoint_every = 17;
    o.folder = folder / "whole";
    auto weights = fresh();
    const auto expected = hat::Trainer(weights, super(), o).run();
    REQUIRE(expected.state.history.back().update == 17);
    REQUIRE(expected.state.best_update == 17);
    o.folder = folder / "killed";
    weights = fresh();
    struct Killed {};
    CHECK_THROWS_AS(hat::Trainer(weights, super(), o)
                        .run({.saved =
                                  [](const std::filesystem::path& path) {
                                      if (path.filename() == "update_00000017") throw Killed();
                                  }}),
                    Killed);
    for (int again = 0; again < 2; ++again) {  // the second time from what the first one wrote
        const auto result = hat::Trainer(weights, super(), o).run();
        CHECK(result.state.history.size() == expected.state.history.size());
        CHECK(result.state.best == expected.state.best);
        CHECK(hat::read_file(o.folder / "best.json") == hat::read_file(folder / "whole" / "best.json"));
    }
}

TEST_CASE("killed at any moment, training goes on from the last checkpoint and ends with the same bits") {
    const hat_test::TemporaryFolder folder;
    auto whole = fresh();
    hat::Trainer(whole, super(), options(17)).run();
    auto o = options(17);
    o.folder = folder / "run";
    o.checkpoint_every = 4;
    struct Killed {};
    for (const std::uint64_t kill : {2U, 6U, 7U, 13U}) {
        auto weights = fresh();
        CHECK_THROWS_AS(hat::Trainer(weights, super(), o)
                            .run({.updated =
                                      [&](const hat::TrainingProgress& p) {
                                          if (p.update == kill) throw Killed();
                                      }}),
                        Killed);
    }
    auto weights = fresh();
    hat::Trainer(weights, super(), o).run();
    CHECK(same_bits(weights, whole));
    // already at its end: nothing more happens
    CHECK(hat::Trainer(weights, super(), o).run().state.update == 17);
    CHECK(same_bits(weights, whole));
}

TEST_CASE("kill -9 of the process at arbitrary moments, also while it writes, loses nothing that was saved") {
    const hat_test::TemporaryFolder folder;
    auto whole = fresh();
    auto o = options(40);
    o.checkpoint_every = 1;
    hat::Trainer(whole, super(), o).run();
    o.folder = folder / "run";
    std::uint64_t reached = 0;
    int killed_after_a_checkpoint = 0;
    for (int round = 0; round < 12; ++round) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            auto weights = fresh();
            hat::Trainer(weights, super(), o).run();
            ::_exit(0);
        }
        // on a busy machine it may take long until there is something to lose
        for (int wait = 0; wait < 6000 && !hat::CheckpointFolder(o.folder).exists(); ++wait) ::usleep(10'000);
        ::usleep(static_cast<useconds_t>(1'000 + 7'001 * round));
        ::kill(child, SIGKILL);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        const hat::CheckpointFolder checkpoints(o.folder);
        if (!checkpoints.exists()) continue;
        killed_after_a_checkpoint += WIFSIGNALED(status);
        auto weights = fresh();
        hat::Adam<float> adam(weights.shared_layout(), o.adam);
        const auto state = checkpoints.load(weights, adam, hat::Trainer(weights, super(), o).identity());
        CHECK(state.update >= reached);
        reached = state.update;
    }
    CHECK(killed_after_a_checkpoint > 0);
    auto weights = fresh();
    hat::Trainer(weights, super(), o).run();
    CHECK(same_bits(weights, whole));
}

TEST_CASE("three threads give the bits of one, and another seed gives others") {
    auto one = fresh(), three = fresh(), other = fresh();
    auto o = options(6);
    hat::Trainer(one, super(), o).run();
    hat::Trainer(three, super(), o, hat::ThreadPool(3)).run();
    CHECK(same_bits(one, three));
    o.seed = 2;
    hat::Trainer(other, super(), o).run();
    CHECK(!same_bits(one, other));
}

TEST_CASE("accumulated batches make the update of one large batch") {
    auto split = fresh(), joined = fresh();
    auto o = options(4);
    o.dropout = o.attention_dropout = o.activation_dropout = 0;
    auto task = fixed();
    const auto batches = hat_test::copy_task(9, 2, 6);
    task.batches = {[](std::uint64_t) { return std::size_t{2}; }, [batches](std::size_t i) { return batches[i]; }};
    o.update_freq = 2;
    hat::Trainer(split, task, o).run();
    hat::Batch both = batches[0];
    for (std::size_t i = 0; i < batches[1].sentences(); ++i) both.push_back(batches[1].source[i], batches[1].target[i]);
    task.batches = {[](std::uint64_t) { return std::size_t{1}; }, [both](std::size_t) { return both; }};
    o.update_freq = 1;
    hat::Trainer(joined, task, o).run();
    double worst = 0;
    for (std::size_t t = 0; t < split.layout().tensors().size(); ++t) {
        const int i = static_cast<int>(t);
        if (split.info(i).name.ends_with("in_proj_bias")) continue;  // a true gradient of zero, see tests/data/golden
        for (std::size_t k = 0; k < split.tensor(i).size(); ++k)
            worst = hat_test::worse(worst, std::abs(double(split.tensor(i)[k]) - double(joined.tensor(i)[k])));
    }
    CHECK(worst < 1e-4);
}

TEST_CASE("training ends when the validation loss has stopped improving, and the best checkpoint stays") {
    const hat_test::TemporaryFolder folder;
    auto weights = fresh();
    auto o = options(0);
    o.schedule = hat::FixedSchedule{.lr = 0.05};  // soon too much
    o.validate_every = 2;
    o.patience = 3;
    o.folder = folder.path;
    const auto result = hat::Trainer(weights, fixed(), o).run();
    CHECK(result.end == hat::TrainingEnd::patience);
    CHECK(result.state.strikes == 3);
    CHECK(result.state.update == result.state.best_update + 6);
    const hat::CheckpointFolder checkpoints(folder.path);
    const auto best = hat::load_model(hat::CheckpointFolder::weights_file(checkpoints.best()));
    CHECK(best.notes.at("update") == std::to_string(result.state.best_update));
    hat::ElasticTransformer<float> model(best.weights);
    double loss = 0, tokens = 0;
    for (const auto& batch : fixed().validation) {
        const auto sums = model.loss(best.arch, batch, o.label_smoothing);
        loss += sums.loss;
        tokens += static_cast<double>(sums.tokens);
    }
    CHECK(loss / tokens == *result.state.best);
    CHECK(hat::Trainer(weights, fixed(), o).run().state.update == result.state.update);
}

TEST_CASE("epochs and time also end a training, and epochs trigger validation") {
    auto weights = fresh();
    auto o = options(0);
    o.max_epochs = 2;
    o.validate_every = 0;
    const auto result = hat::Trainer(weights, super(), o).run();
    CHECK(result.end == hat::TrainingEnd::max_epochs);
    CHECK(result.state.update == 6);
    REQUIRE(result.state.history.size() == 2);
    CHECK(result.state.history[0].update == 3);
    o.max_epochs = 0;
    o.max_seconds = 0.05;
    CHECK(hat::Trainer(weights, super(), o).run().end == hat::TrainingEnd::max_seconds);
}

TEST_CASE("NaN or infinity ends training with update and tensor, and the last checkpoint is intact") {
    const hat_test::TemporaryFolder folder;
    auto weights = fresh();
    auto o = options(20);
    o.folder = folder.path;
    o.checkpoint_every = 4;
    auto task = super();
    const std::string message = message_of<hat::not_finite>([&] {
        hat::Trainer(weights, task, o).run({.updated = [&](const hat::TrainingProgress& p) {
            if (p.update == 6) weights.tensor(weights.layout().find("encoder.layers.0.fc1.weight"))[0] = std::nanf("");
        }});
    });
    CHECK(contains(message, "hat::Trainer: update 6: "));
    CHECK(contains(message, "encoder.layers.0.fc1.weight has a NaN or infinity"));
    CHECK(contains(message, "the checkpoint " + (folder / "update_00000005").string() + " is intact"));
    auto again = fresh(), whole = fresh();
    hat::Trainer(again, super(), o).run();
    o.folder.clear();
    hat::Trainer(whole, super(), o).run();
    CHECK(same_bits(again, whole));
}

TEST_CASE(
    "weights or moments with NaN or infinity are never saved: the last good checkpoint stays, also the only one") {
    const hat_test::TemporaryFolder folder;
    auto o = options(9);
    o.folder = folder / "run";
    o.validate_every = 100;
    o.checkpoint_every = 1;
    auto weights = fresh();
    std::string message = message_of<hat::not_finite>([&] {
        hat::Trainer(weights, super(), o).run({.updated = [&](const hat::TrainingProgress& p) {
            if (p.update == 6) weights.tensor(weights.layout().find("encoder.layers.0.fc1.weight"))[0] = std::nanf("");
        }});
    });
    CHECK(message ==
          "hat::Trainer: update 6: the weight encoder.layers.0.fc1.weight has a NaN or infinity; the checkpoint " +
              (o.folder / "update_00000005").string() + " is intact");
    auto again = fresh(), whole = fresh();
    hat::Trainer(again, super(), o).run();
    o.folder.clear();
    hat::Trainer(whole, super(), o).run();
    CHECK(same_bits(again, whole));

    // a learning rate no float holds: the first update breaks the weights, and nothing is written
    o.folder = folder / "rate";
    o.schedule = hat::FixedSchedule{.lr = 1e39};
    weights = fresh();
    message = message_of<hat::not_finite>([&] { hat::Trainer(weights, super(), o).run(); });
    CHECK(contains(message, "hat::Trainer: update 1: the weight "));
    CHECK(!hat::CheckpointFolder(o.folder).exists());
}

TEST_CASE("a checkpoint of another space, recipe or model is not resumed") {
    const hat_test::TemporaryFolder folder;
    auto o = options(3);
    o.folder = folder.path;
    auto weights = fresh();
    hat::Trainer(weights, super(), o).run();
    const auto error = [&](hat::TrainingTask task, const hat::TrainerOptions& changed) {
        return message_of<hat::bad_file>([&] { hat::Trainer(weights, std::move(task), changed).run(); });
    };
    auto task = super();
    task.identity["space"]["qkv"] = {16, 32};
    CHECK(contains(error(task, o),
                   "state.json: this is a checkpoint of another space: space.qkv is [16], expected [16,32]"));
    auto changed = o;
    changed.update_freq = 2;
    CHECK(contains(error(super(), changed), "checkpoint of another recipe: recipe.update_freq is 3, expected 2"));
    changed = o;
    changed.schedule = hat::FixedSchedule{};
    CHECK(contains(error(super(), changed),
                   "checkpoint of another schedule: schedule.kind is \"inverse_sqrt\", expected \"fixed\""));
    changed = o;
    changed.max_updates = 5;  // this may change
    CHECK(hat::Trainer(weights, super(), changed).run().state.update == 5);
    hat::Weights<float> other(hat_test::tiny_config(13));
    other.initialize(1);
    CHECK(contains(message_of<hat::bad_file>([&] { hat::Trainer(other, super(), o).run(); }),
                   "checkpoint of another model: model.source_vocab is 12, expected 13"));
}

TEST_CASE("impossible options and tasks are refused by name") {
    auto weights = fresh();
    const auto error = [&](auto change) {
        auto o = options(3);
        auto task = super();
        change(o, task);
        return message_of<hat::error>([&] { hat::Trainer(weights, task, o).run(); });
    };
    CHECK(contains(error([](auto& o, auto&) { o.dropout = 1; }), "dropout is 1.000000, expected 0 to less than 1"));
    CHECK(contains(error([](auto& o, auto&) { o.label_smoothing = -0.1; }), "label_smoothing is -0.1"));
    CHECK(contains(error([](auto& o, auto&) { o.update_freq = 0; }), "update_freq is 0, expected at least 1"));
    CHECK(contains(error([](auto& o, auto&) { o.max_updates = 0; }), "nothing says when to end"));
    CHECK(contains(error([](auto& o, auto&) { o.adam.beta1 = 2; }), "beta1 is 2"));
    CHECK(contains(error([](auto& o, auto&) { o.schedule = hat::FixedSchedule{.lr = -1}; }), "lr is -1"));
    CHECK(contains(error([](auto& o, auto& task) { o.patience = 2, task.validation.clear(); }),
                   "patience needs validation"));
    CHECK(contains(error([](auto&, auto& task) { task.validated.clear(); }), "names no network to validate"));
    CHECK(contains(error([](auto&, auto& task) { task.batches.batch = nullptr; }), "no networks or no batches"));
    CHECK(contains(
        error([](auto&, auto& task) { task.batches.begin_epoch = [](std::uint64_t) { return std::size_t{0}; }; }),
        "there is no training batch"));
    CHECK(contains(error([](auto&, auto& task) { task.validated[0].arch.encoder.embed = 99; }),
                   "embedding width is 99, but the weights hold at most 16"));
}
