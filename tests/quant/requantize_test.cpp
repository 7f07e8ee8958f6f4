#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <hat/model/elastic.hpp>
#include <hat/quant/requantize.hpp>
#include <hat/train/trainer.hpp>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <support/files.hpp>
#include <support/tiny.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

hat::TrainingTask copying(std::vector<hat::Batch> validation = {}) {
    const auto train = std::make_shared<const std::vector<hat::Batch>>(hat_test::copy_task(1, 40, 16));
    return hat::fixed_task(
        hat_test::tiny_arch(),
        {[train](std::uint64_t) { return train->size(); }, [train](std::size_t i) { return (*train)[i]; }},
        std::move(validation));
}

hat::TrainerOptions training(std::uint64_t updates, double lr) {
    hat::TrainerOptions o;
    o.schedule = hat::FixedSchedule{.lr = lr};
    o.dropout = o.label_smoothing = 0;
    o.max_updates = updates;
    return o;
}

hat::Weights<float> trained_a_little() {
    hat::Weights<float> weights(hat_test::tiny_config());
    weights.initialize(5);
    hat::Trainer(weights, copying(), training(200, 5e-3)).run();
    return weights;
}

double loss_of(const hat::Weights<float>& weights) {
    double sum = 0, tokens = 0;
    hat::ElasticTransformer<float> model(weights);
    for (const auto& batch : hat_test::copy_task(1, 40, 16)) {
        const auto sums = model.loss(hat_test::tiny_arch(), batch, 0);
        sum += sums.loss, tokens += static_cast<double>(sums.tokens);
    }
    return sum / tokens;
}

bool same_bits(const hat::Weights<float>& a, const hat::Weights<float>& b) {
    return std::memcmp(a.values().data(), b.values().data(), a.values().size_bytes()) == 0;
}

}  // namespace

TEST_CASE("weights that were quantized keep their codes; k-means was done, so that entries hardly move") {
    const auto weights = trained_a_little();
    for (const hat::Quantization& how : {hat::Quantization{3, 4}, hat::Quantization{4, 0}}) {
        const auto q = hat::quantize(hat::Serial{}, weights, hat_test::tiny_arch(), how);
        const auto again = hat::requantize(q, weights);
        for (std::size_t i = 0; i < q.tensors.size(); ++i) {
            CAPTURE(weights.layout().tensors()[i].name);
            CHECK(again.tensors[i].codes == q.tensors[i].codes);
            REQUIRE(again.tensors[i].values.size() == q.tensors[i].values.size());
            for (std::size_t v = 0; v < q.tensors[i].values.size(); ++v)
                CHECK(again.tensors[i].values[v] == doctest::Approx(q.tensors[i].values[v]).epsilon(1e-5));
        }
    }
}

TEST_CASE("a number that moved gets the code it is nearest to, and an entry is the mean of its numbers") {
    const auto before = trained_a_little();
    const auto q = hat::quantize(hat::Serial{}, before, hat_test::tiny_arch(), {3, 4});
    auto after = before;
    hat::Rng rng(1);
    for (float& v : after.values()) v += static_cast<float>(0.2 * (rng.uniform() - 0.5));
    const auto moved = hat::requantize(q, after);
    const auto used = hat::dequantize(moved);
    std::size_t changed = 0;
    for (std::size_t i = 0; i < q.tensors.size(); ++i) {
        const auto& info = before.layout().tensors()[i];
        const std::span<const float> numbers = after.tensor(static_cast<int>(i)),
                                     got = used.tensor(static_cast<int>(i));
        CAPTURE(info.name);
        if (!hat::is_quantized(info)) {
            CHECK(std::equal(numbers.begin(), numbers.end(), got.begin()));
            continue;
        }
        changed += moved.tensors[i].codes != q.tensors[i].codes;
        const std::size_t group = 4 * info.cols();
        for (std::size_t first = 0, g = 0; first < info.size; first += group, ++g) {
            const std::size_t size = std::min(group, info.size - first);
            const auto entries = std::span(q.tensors[i].values).subspan(8 * g, 8);
            std::vector<double> sum(8), count(8);
            std::vector<std::size_t> nearest(size);
            for (std::size_t k = 0; k < size; ++k) {
                for (std::size_t c = 1; c < 8; ++c)
                    if (std::abs(numbers[first + k] - entries[c]) < std::abs(numbers[first + k] - entries[nearest[k]]))
                        nearest[k] = c;
                sum[nearest[k]] += static_cast<double>(numbers[first + k]), ++count[nearest[k]];
            }
            for (std::size_t k = 0; k < size; ++k)
                CHECK(got[first + k] == doctest::Approx(sum[nearest[k]] / count[nearest[k]]).epsilon(1e-5));
        }
    }
    CHECK(changed > 0);
}

TEST_CASE("codebooks of fewer numbers than they have room for stay so") {
    auto weights = trained_a_little();
    for (float& v : weights.values()) v = v < 0 ? -1.0F : 1.0F;
    const auto q = hat::quantize(hat::Serial{}, weights, hat_test::tiny_arch(), {4, 0});
    const auto again = hat::dequantize(hat::requantize(q, weights));
    for (std::size_t i = 0; i < q.tensors.size(); ++i) {
        const std::span<const float> a = again.tensor(static_cast<int>(i)), b = weights.tensor(static_cast<int>(i));
        CHECK(std::equal(a.begin(), a.end(), b.begin()));
    }
}

TEST_CASE("quantization-aware training lowers the loss of the quantized model, and validates that one") {
    const auto weights = trained_a_little();
    const auto q = hat::quantize(hat::Serial{}, weights, hat_test::tiny_arch(), {2, 0});
    const double before = loss_of(hat::dequantize(q));
    CHECK(before > 1.2 * loss_of(weights));

    auto trained = weights;
    auto task = copying(hat_test::copy_task(1, 40, 16));
    task.stand_in = hat::straight_through(q);
    const auto result = hat::Trainer(trained, task, training(80, 2e-3)).run();
    const auto after = hat::dequantize(hat::requantize(q, trained));
    CHECK(loss_of(after) < 0.5 * before);
    CHECK(result.state.history.back().valid.at("network").loss == doctest::Approx(loss_of(after)).epsilon(1e-9));
    CHECK(!same_bits(after, trained));  // the full weights were trained underneath
    for (std::size_t i = 0; i < q.tensors.size(); ++i)
        if (hat::is_quantized(after.layout().tensors()[i])) {
            const auto numbers = after.tensor(static_cast<int>(i));
            CHECK(std::set<float>(numbers.begin(), numbers.end()).size() <= 4);
        }
}

TEST_CASE("weights of another layout, or that are no numbers, are not requantized") {
    auto weights = trained_a_little();
    const auto q = hat::quantize(hat::Serial{}, weights, hat_test::tiny_arch(), {4, 0});
    const hat::Weights<float> other(hat_test::tiny_config(13));
    CHECK(contains(message_of<hat::shape_mismatch>([&] { hat::requantize(q, other); }), "another layout"));
    weights.values()[3] = std::numeric_limits<float>::quiet_NaN();
    CHECK(contains(message_of<hat::not_finite>([&] { hat::requantize(q, weights); }), "hat::requantize: "));

    // in training, with the update
    auto task = copying();
    task.stand_in = hat::straight_through(q);
    hat::Trainer trainer(weights, task, training(1, 1e-3));
    CHECK(contains(message_of<hat::not_finite>([&] { trainer.run(); }), "hat::Trainer: update 0: hat::requantize: "));
}

TEST_CASE("codebooks that do not ascend are refused") {
    const auto weights = trained_a_little();
    auto q = hat::quantize(hat::Serial{}, weights, hat_test::tiny_arch(), {4, 0});
    std::swap(q.tensors[0].values[2], q.tensors[0].values[3]);
    CHECK(contains(message_of<hat::invalid_value>([&] { hat::requantize(q, weights); }), "does not ascend"));
}
