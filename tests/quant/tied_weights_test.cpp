#include <doctest/doctest.h>

#include <hat/model/elastic.hpp>
#include <hat/quant/tied_weights.hpp>
#include <hat/train/trainer.hpp>
#include <map>
#include <span>
#include <support/files.hpp>
#include <support/tiny.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

hat::Weights<float> trained_a_little() {
    hat::Weights<float> weights(hat_test::tiny_config());
    weights.initialize(5);
    const auto train = hat_test::copy_task(1, 40, 16);
    hat::TrainerOptions o;
    o.schedule = hat::FixedSchedule{.lr = 5e-3};
    o.dropout = o.label_smoothing = 0;
    o.max_updates = 200;
    hat::Trainer(
        weights,
        hat::fixed_task(hat_test::tiny_arch(),
                        {[&](std::uint64_t) { return train.size(); }, [&](std::size_t i) { return train[i]; }}, {}),
        o)
        .run();
    return weights;
}

double loss_of(const hat::Weights<float>& weights) {
    double sum = 0;
    hat::ElasticTransformer<float> model(weights);
    for (const auto& batch : hat_test::copy_task(1, 40, 16)) sum += model.loss(hat_test::tiny_arch(), batch, 0).loss;
    return sum;
}

}  // namespace

TEST_CASE("a tied gradient is the mean over the weights with one code; biases and norms keep theirs") {
    const auto weights = trained_a_little();
    const auto q = hat::quantize(hat::Serial{}, weights, hat_test::tiny_arch(), {3, 4});
    const auto before = hat::dequantize(q);
    hat::Weights<float> gradient(weights.shared_layout());
    hat::Rng rng(1);
    for (float& g : gradient.values()) g = static_cast<float>(rng.uniform() - 0.5);
    auto tied = gradient;
    hat::TieCodes{q}(tied);
    for (std::size_t i = 0; i < q.tensors.size(); ++i) {
        const auto& info = weights.layout().tensors()[i];
        const int at = static_cast<int>(i);
        const std::span<const float> g = gradient.tensor(at), t = tied.tensor(at), w = before.tensor(at);
        CAPTURE(info.name);
        if (!hat::is_quantized(info)) {
            CHECK(std::equal(g.begin(), g.end(), t.begin()));
            continue;
        }
        // by value instead of by code: centroids of one codebook differ
        std::map<std::pair<std::size_t, float>, std::pair<double, int>> sums;
        const auto key = [&](std::size_t k) { return std::pair(k / (4 * info.cols()), w[k]); };
        for (std::size_t k = 0; k < g.size(); ++k) {
            auto& [sum, n] = sums[key(k)];
            sum += static_cast<double>(g[k]), ++n;
        }
        std::size_t wrong = 0;
        for (std::size_t k = 0; k < g.size(); ++k) {
            const auto& [sum, n] = sums[key(k)];
            wrong += t[k] != static_cast<float>(sum / n);
        }
        CHECK(wrong == 0);
    }
    hat::Weights<float> other(hat_test::tiny_config(13));
    CHECK(contains(message_of<hat::shape_mismatch>([&] { hat::TieCodes{q}(other); }), "another layout"));
}

TEST_CASE("training the codebooks lowers the loss; the codes stay") {
    const auto weights = trained_a_little();
    auto q = hat::quantize(hat::Serial{}, weights, hat_test::tiny_arch(), {2, 0});
    const auto codes = q.tensors;
    auto running = hat::dequantize(q);
    const double before = loss_of(running);
    CHECK(before > loss_of(weights));

    const auto train = hat_test::copy_task(1, 40, 16);
    auto task =
        hat::fixed_task(hat_test::tiny_arch(),
                        {[&](std::uint64_t) { return train.size(); }, [&](std::size_t i) { return train[i]; }}, {});
    task.constrain = hat::TieCodes(q);
    hat::TrainerOptions o;
    o.schedule = hat::FixedSchedule{.lr = 3e-3};
    o.dropout = 0.1;
    o.label_smoothing = 0;
    o.max_updates = 80;
    hat::Trainer(running, task, o).run();
    hat::read_codebooks(q, running);
    const auto after = hat::dequantize(q);
    CHECK(std::equal(after.values().begin(), after.values().end(), running.values().begin()));
    CHECK(loss_of(after) < 0.8 * before);
    for (std::size_t i = 0; i < codes.size(); ++i) CHECK(q.tensors[i].codes == codes[i].codes);
}

TEST_CASE("weights that were trained apart are no codebooks") {
    const auto weights = trained_a_little();
    auto q = hat::quantize(hat::Serial{}, weights, hat_test::tiny_arch(), {4, 0});
    CHECK(contains(message_of<hat::invalid_value>([&] { hat::read_codebooks(q, weights); }),
                   "holds two numbers for one code"));
    hat::Weights<float> other(hat_test::tiny_config(13));
    CHECK(contains(message_of<hat::shape_mismatch>([&] { hat::read_codebooks(q, other); }), "another layout"));
}
