#pragma once
/// \file
/// The paper's latency predictor: a small fully connected network, of any depth and width, on the model's kernels.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <hat/core/rng.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/kernel/simd.hpp>
#include <hat/latency/linear.hpp>
#include <hat/latency/predicted.hpp>
#include <limits>
#include <memory>
#include <numbers>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hat {

/// How an Mlp is built and trained.
struct MlpOptions {
    std::vector<std::size_t> hidden{400, 400, 400, 400};  ///< widths of the hidden layers, each followed by a ReLU
    std::size_t steps = 3000;                             ///< updates at most
    std::size_t batch = 128;       ///< distinct random rows of each update; fewer if there are fewer
    double learning_rate = 1e-3;   ///< Adam's, of the first step
    bool cosine = true;            ///< the rate falls to zero along a cosine; else it is constant
    bool standardize = true;       ///< learn the features' and targets' means and deviations, and store them inside
    double validation = 0.1;       ///< share of the rows kept back to choose the best step; 0: keep the last step
    std::size_t check_every = 50;  ///< steps between looks at the validation rows
    std::size_t patience = 12;     ///< looks without progress before training stops
    std::uint64_t seed = 1;        ///< of first weights, batches and validation rows

    /// The reference's recipe (latency_predictor.py): constant rate 1e-5, 5000 steps of 128 rows, last weights kept,
    /// features and targets taken as they are given (divided by feature-norm and lat-norm before).
    static MlpOptions paper() {
        MlpOptions o;
        o.steps = 5000;
        o.learning_rate = 1e-5;
        o.cosine = false;
        o.standardize = false;
        o.validation = 0;
        return o;
    }
};

/// One layer of an Mlp: outputs x inputs weights, row-major.
struct MlpLayer {
    std::size_t outputs = 0;                                             ///< neurons
    std::size_t inputs = 0;                                              ///< numbers each of them reads
    std::vector<float> weight;                                           ///< outputs x inputs, row-major
    std::vector<float> bias;                                             ///< one for each output
    friend bool operator==(const MlpLayer&, const MlpLayer&) = default;  ///< memberwise
};

/// What an Mlp does before its first and after its last layer: (x - x_mean) * x_scale, y * y_scale + y_mean.
struct MlpNormalization {
    std::vector<float> x_mean;                                                           ///< subtracted from each input
    std::vector<float> x_scale;                                                          ///< multiplies what is left
    float y_mean = 0;                                                                    ///< added last
    float y_scale = 1;                                                                   ///< multiplies the last layer
    friend bool operator==(const MlpNormalization&, const MlpNormalization&) = default;  ///< memberwise
};

/// A regressor: linear layers with ReLU between, trained with Adam on the mean squared error. The same seed gives the
/// same bits, whatever the executor. Copies share the trained weights, which never change.
class Mlp {
public:
    /// Untrained.
    explicit Mlp(MlpOptions options = {}) : options_(std::move(options)) {}

    /// A trained network, e.g. from a file. Throws shape_mismatch if the layers do not fit each other, not_finite.
    static Mlp trained(std::vector<MlpLayer> layers, MlpNormalization normalization, MlpOptions options = {}) {
        Mlp m(std::move(options));
        m.set(std::move(layers), std::move(normalization));
        return m;
    }

    /// x: y.size() rows, row-major. Keeps `validation` of the rows back if the options say so. Throws shape_mismatch,
    /// invalid_value, and not_finite if the data or, naming the step, the loss is not finite.
    template <ExecutorPolicy E = Serial>
    void fit(std::span<const float> x, std::span<const float> y, const E& executor = {}) {
        const std::size_t d = detail::check_rows("hat::Mlp", x, y), n = y.size();
        const auto held = static_cast<std::size_t>(options_.validation * static_cast<double>(n));
        if (held == 0) return fit(x, y, {}, {}, executor);
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), std::size_t{0});
        Rng rng(derive_seed(options_.seed, 2));
        shuffle(order, rng);
        std::vector<float> xs[2], ys[2];
        for (std::size_t i = 0; i < n; ++i) {
            const auto part = static_cast<std::size_t>(i < held);
            for (std::size_t j = 0; j < d; ++j) xs[part].push_back(x[order[i] * d + j]);
            ys[part].push_back(y[order[i]]);
        }
        const auto all = [](const std::vector<float>& v) { return std::span<const float>(v.data(), v.size()); };
        fit(all(xs[0]), all(ys[0]), all(xs[1]), all(ys[1]), executor);
    }

    /// The same with validation rows of one's own; without any, the last weights are kept.
    template <ExecutorPolicy E = Serial>
    void fit(std::span<const float> x, std::span<const float> y, std::span<const float> x_validation,
             std::span<const float> y_validation, const E& executor = {}) {
        const std::size_t d = detail::check_rows("hat::Mlp", x, y);
        check_options();
        if (!y_validation.empty() && detail::check_rows("hat::Mlp", x_validation, y_validation) != d)
            throw shape_mismatch("hat::Mlp: validation rows have another number of features than training rows");
        MlpNormalization norm = normalization_of(x, y, d);
        const std::vector<float> inputs = normalized(x, norm), targets = normalized_targets(y, norm);
        const std::vector<float> check_x = normalized(x_validation, norm),
                                 check_y = normalized_targets(y_validation, norm);
        Trainer<E> trainer(executor, options_, first_layers(d), y.size());
        std::vector<MlpLayer> best;
        double best_error = std::numeric_limits<double>::infinity();
        std::size_t waited = 0;
        steps_ = 0;
        while (steps_ < options_.steps) {
            const double loss = trainer.step(inputs, targets, steps_);
            ++steps_;
            if (!std::isfinite(loss))
                throw not_finite("hat::Mlp: the loss is " + std::to_string(loss) + " at step " +
                                 std::to_string(steps_) + "; is the learning rate of " +
                                 std::to_string(options_.learning_rate) + " too large?");
            if (check_y.empty() || (steps_ % options_.check_every != 0 && steps_ != options_.steps)) continue;
            const double error = trainer.error(check_x, check_y);
            if (error < best_error) {
                best_error = error;
                best = trainer.layers;
                waited = 0;
            } else if (++waited >= options_.patience) {
                break;
            }
        }
        set(best.empty() ? std::move(trainer.layers) : std::move(best), std::move(norm));
    }

    /// One row. Throws invalid_value before training, shape_mismatch for another number of features.
    template <ExecutorPolicy E = Serial>
    float predict(std::span<const float> row, const E& executor = {}) const {
        return predict_rows(row, 1, executor).front();
    }

    /// `rows` rows at once, row-major; bit-equal to one after the other.
    template <ExecutorPolicy E = Serial>
    std::vector<float> predict_rows(std::span<const float> x, std::size_t rows, const E& executor = {}) const {
        if (!network_) throw invalid_value("hat::Mlp: predict() before fit()");
        const std::size_t d = network_->layers.front().inputs;
        if (x.size() != rows * d)
            throw shape_mismatch("hat::Mlp: " + std::to_string(rows) + " rows have " + std::to_string(x.size()) +
                                 " features, expected " + std::to_string(rows * d));
        std::vector<float> in = normalized(x, network_->norm), out;
        for (std::size_t i = 0; i < network_->packed.size(); ++i) {
            const auto& layer = network_->packed[i];
            out.resize(rows * layer.outputs());
            linear<float>(executor, View<const float>(in.data(), rows, in.size() / std::max<std::size_t>(rows, 1)),
                          layer, View<float>(out.data(), rows, layer.outputs()),
                          {.relu = i + 1 < network_->packed.size()});
            in.swap(out);
        }
        for (float& v : in) v = v * network_->norm.y_scale + network_->norm.y_mean;
        return in;
    }

    /// How it is trained.
    const MlpOptions& options() const { return options_; }
    /// Whether it can predict.
    bool is_trained() const { return network_ != nullptr; }
    /// Layers of the trained network. Throws invalid_value before training.
    const std::vector<MlpLayer>& layers() const { return trained_network().layers; }
    /// Normalisation of the trained network. Throws invalid_value before training.
    const MlpNormalization& normalization() const { return trained_network().norm; }
    /// Updates made by the last fit.
    std::size_t steps() const { return steps_; }

private:
    struct Network {
        std::vector<MlpLayer> layers;
        MlpNormalization norm;
        std::vector<PackedLinear<float>> packed;  // of `layers`, whose biases it points to
    };

    /// Weights in training: Adam's moments and the activations of one batch.
    template <ExecutorPolicy E>
    struct Trainer {
        Trainer(const E& e, const MlpOptions& o, std::vector<MlpLayer> first, std::size_t rows)
            : executor(e),
              options(o),
              layers(std::move(first)),
              order(rows),
              batch(std::min(o.batch, rows)),
              rng(derive_seed(o.seed, 1)) {
            std::iota(order.begin(), order.end(), std::size_t{0});
            for (const MlpLayer& l : layers) {
                gradients.push_back(
                    {l.outputs, l.inputs, std::vector<float>(l.weight.size()), std::vector<float>(l.bias.size())});
                moments.push_back(gradients.back());
                squares.push_back(gradients.back());
            }
        }

        /// One Adam update on distinct random rows; the batch's loss before it.
        double step(const std::vector<float>& x, const std::vector<float>& y, std::size_t done) {
            const std::size_t d = layers.front().inputs;
            values.resize(layers.size() + 1);
            values[0].resize(batch * d);
            std::vector<float> wanted(batch);
            for (std::size_t i = 0; i < batch; ++i) {
                std::swap(order[i], order[i + rng.below(order.size() - i)]);
                std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(order[i] * d), d,
                            values[0].begin() + static_cast<std::ptrdiff_t>(i * d));
                wanted[i] = y[order[i]];
            }
            forward(batch);
            double loss = 0;
            std::vector<float> gradient(batch), next;
            for (std::size_t i = 0; i < batch; ++i) {
                const double difference = static_cast<double>(values.back()[i]) - static_cast<double>(wanted[i]);
                loss += difference * difference / static_cast<double>(batch);
                gradient[i] = static_cast<float>(2.0 * difference / static_cast<double>(batch));
            }
            for (std::size_t l = layers.size(); l-- > 0;) {
                const MlpLayer& layer = layers[l];
                const View<const float> dy(gradient.data(), batch, layer.outputs);
                MlpLayer& g = gradients[l];
                std::fill(g.weight.begin(), g.weight.end(), 0.0F);
                std::fill(g.bias.begin(), g.bias.end(), 0.0F);
                linear_backward_weight<float>(executor, dy, View<const float>(values[l].data(), batch, layer.inputs),
                                              View<float>(g.weight.data(), layer.outputs, layer.inputs), g.bias.data());
                if (l == 0) break;
                next.resize(batch * layer.inputs);
                linear_backward_input<float>(executor, dy,
                                             View<const float>(layer.weight.data(), layer.outputs, layer.inputs),
                                             View<float>(next.data(), batch, layer.inputs), false);
                for (std::size_t i = 0; i < next.size(); ++i)
                    if (values[l][i] <= 0) next[i] = 0;
                gradient.swap(next);
            }
            update(done);
            return loss;
        }

        /// Mean squared error on other rows.
        double error(const std::vector<float>& x, const std::vector<float>& y) {
            values[0] = x;
            forward(y.size());
            double sum = 0;
            for (std::size_t i = 0; i < y.size(); ++i) {
                const double difference = static_cast<double>(values.back()[i]) - static_cast<double>(y[i]);
                sum += difference * difference / static_cast<double>(y.size());
            }
            return sum;
        }

        const E& executor;
        const MlpOptions& options;
        std::vector<MlpLayer> layers;

    private:
        void forward(std::size_t rows) {
            for (std::size_t l = 0; l < layers.size(); ++l) {
                const MlpLayer& layer = layers[l];
                values[l + 1].resize(rows * layer.outputs);
                linear<float>(executor, View<const float>(values[l].data(), rows, layer.inputs),
                              Linear<float>{{layer.weight.data(), layer.outputs, layer.inputs}, layer.bias.data()},
                              View<float>(values[l + 1].data(), rows, layer.outputs), {.relu = l + 1 < layers.size()});
            }
        }

        /// Adam (Kingma & Ba 2015, algorithm 1), as torch.optim.Adam: betas 0.9 and 0.999, epsilon 1e-8.
        void update(std::size_t done) {
            const double t = static_cast<double>(done + 1);
            double rate = options.learning_rate;
            if (options.cosine)
                rate *=
                    0.5 *
                    (1 + std::cos(std::numbers::pi * static_cast<double>(done) / static_cast<double>(options.steps)));
            const auto factor = static_cast<float>(rate / (1 - std::pow(0.9, t)));
            const auto correction = static_cast<float>(1 / std::sqrt(1 - std::pow(0.999, t)));
            const auto move = [&](std::vector<float>& p, const std::vector<float>& g, std::vector<float>& m,
                                  std::vector<float>& v) {
                simd::for_each_vector<float>(p.size(), [&](auto load, auto store) {
                    const auto gi = load(g.data());
                    const auto mi = simd::fma(simd::splat(0.9F), load(m.data()), simd::splat(0.1F) * gi);
                    const auto vi = simd::fma(simd::splat(0.999F), load(v.data()), simd::splat(0.001F) * gi * gi);
                    store(m.data(), mi);
                    store(v.data(), vi);
                    const auto root = simd::fma(simd::sqrt(vi), simd::splat(correction), simd::splat(1e-8F));
                    store(p.data(), load(p.data()) - simd::splat(factor) * mi / root);
                });
            };
            for (std::size_t l = 0; l < layers.size(); ++l) {
                move(layers[l].weight, gradients[l].weight, moments[l].weight, squares[l].weight);
                move(layers[l].bias, gradients[l].bias, moments[l].bias, squares[l].bias);
            }
        }

        std::vector<MlpLayer> gradients, moments, squares;
        std::vector<std::vector<float>> values;  // of each layer's input, and the output
        std::vector<std::size_t> order;
        std::size_t batch;
        Rng rng;
    };

    void check_options() const {
        const auto fail = [](const std::string& what) { throw invalid_value("hat::MlpOptions: " + what); };
        for (const std::size_t width : options_.hidden)
            if (width == 0) fail("a hidden layer has width 0, expected at least 1");
        if (options_.steps == 0) fail("steps is 0, expected at least 1");
        if (options_.batch == 0) fail("batch is 0, expected at least 1");
        if (options_.check_every == 0) fail("check_every is 0, expected at least 1");
        if (!(options_.validation >= 0 && options_.validation < 1))
            fail("validation is " + std::to_string(options_.validation) + ", expected 0 to less than 1");
        if (!(options_.learning_rate > 0))
            fail("learning_rate is " + std::to_string(options_.learning_rate) + ", expected more than 0");
    }

    /// Uniform in +-1/sqrt(inputs), weights and biases: what torch.nn.Linear starts from.
    std::vector<MlpLayer> first_layers(std::size_t inputs) const {
        Rng rng(derive_seed(options_.seed, 0));
        std::vector<std::size_t> widths = options_.hidden;
        widths.push_back(1);
        std::vector<MlpLayer> layers;
        for (const std::size_t outputs : widths) {
            MlpLayer l{outputs, inputs, std::vector<float>(outputs * inputs), std::vector<float>(outputs)};
            const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
            for (float& w : l.weight) w = static_cast<float>((2 * rng.uniform() - 1) * bound);
            for (float& b : l.bias) b = static_cast<float>((2 * rng.uniform() - 1) * bound);
            layers.push_back(std::move(l));
            inputs = outputs;
        }
        return layers;
    }

    MlpNormalization normalization_of(std::span<const float> x, std::span<const float> y, std::size_t d) const {
        MlpNormalization norm{std::vector<float>(d, 0.0F), std::vector<float>(d, 1.0F), 0, 1};
        if (!options_.standardize) return norm;
        const auto mean_and_deviation = [](std::span<const float> v, std::size_t first, std::size_t step) {
            double mean = 0, variance = 0;
            const double count = static_cast<double>(v.size() / step);
            for (std::size_t i = first; i < v.size(); i += step) mean += static_cast<double>(v[i]) / count;
            for (std::size_t i = first; i < v.size(); i += step)
                variance += (static_cast<double>(v[i]) - mean) * (static_cast<double>(v[i]) - mean) / count;
            const double deviation = std::sqrt(variance);
            return std::pair(mean, deviation > 1e-6 * std::abs(mean) ? deviation : 0.0);
        };
        for (std::size_t j = 0; j < d; ++j) {
            const auto [mean, deviation] = mean_and_deviation(x, j, d);
            norm.x_mean[j] = static_cast<float>(mean);
            norm.x_scale[j] = deviation > 0 ? static_cast<float>(1 / deviation) : 0.0F;
        }
        const auto [mean, deviation] = mean_and_deviation(y, 0, 1);
        norm.y_mean = static_cast<float>(mean);
        norm.y_scale = deviation > 0 ? static_cast<float>(deviation) : 1.0F;
        return norm;
    }
    static std::vector<float> normalized(std::span<const float> x, const MlpNormalization& norm) {
        std::vector<float> out(x.size());
        const std::size_t d = norm.x_mean.size();
        for (std::size_t i = 0; i < x.size(); ++i) out[i] = (x[i] - norm.x_mean[i % d]) * norm.x_scale[i % d];
        return out;
    }
    static std::vector<float> normalized_targets(std::span<const float> y, const MlpNormalization& norm) {
        std::vector<float> out(y.begin(), y.end());
        for (float& v : out) v = (v - norm.y_mean) / norm.y_scale;
        return out;
    }

    void set(std::vector<MlpLayer> layers, MlpNormalization norm) {
        const auto fail = [](const std::string& what) { throw shape_mismatch("hat::Mlp: " + what); };
        if (layers.empty()) fail("there are no layers");
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const MlpLayer& l = layers[i];
            const std::string name = "layer " + std::to_string(i);
            if (l.weight.size() != l.outputs * l.inputs || l.bias.size() != l.outputs || l.weight.empty())
                fail(name + " has " + std::to_string(l.weight.size()) + " weights and " +
                     std::to_string(l.bias.size()) + " biases, expected " + std::to_string(l.outputs) + " x " +
                     std::to_string(l.inputs) + " and " + std::to_string(l.outputs));
            if (i > 0 && l.inputs != layers[i - 1].outputs)
                fail(name + " has " + std::to_string(l.inputs) + " inputs, expected " +
                     std::to_string(layers[i - 1].outputs));
            for (const auto* numbers : {&l.weight, &l.bias})
                for (const float v : *numbers)
                    if (!std::isfinite(v)) throw not_finite("hat::Mlp: " + name + " holds " + std::to_string(v));
        }
        if (layers.back().outputs != 1)
            fail("the last layer has " + std::to_string(layers.back().outputs) + " outputs, expected 1");
        if (norm.x_mean.size() != layers.front().inputs || norm.x_scale.size() != layers.front().inputs)
            fail("normalisation is for " + std::to_string(norm.x_mean.size()) + " features, expected " +
                 std::to_string(layers.front().inputs));
        auto network = std::make_shared<Network>();
        network->layers = std::move(layers);
        network->norm = std::move(norm);
        for (const MlpLayer& l : network->layers)
            network->packed.emplace_back(Linear<float>{{l.weight.data(), l.outputs, l.inputs}, l.bias.data()});
        network_ = std::move(network);
    }
    const Network& trained_network() const {
        if (!network_) throw invalid_value("hat::Mlp: it is not trained");
        return *network_;
    }

    MlpOptions options_;
    std::shared_ptr<const Network> network_;
    std::size_t steps_ = 0;
};

static_assert(Regressor<Mlp>);

}  // namespace hat
