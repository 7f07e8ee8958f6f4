#include <doctest/doctest.h>

#include <algorithm>
#include <hat/model/elastic.hpp>
#include <hat/model/extract.hpp>
#include <limits>
#include <model/all_dropouts.hpp>
#include <model/models.hpp>
#include <support/files.hpp>
#include <vector>

using hat_test::all_dropouts;

namespace {

std::vector<hat::TransformerConfig> configs() {
    std::vector<hat::TransformerConfig> all;
    using Sharing = hat::EmbeddingSharing;
    for (const auto sharing : {Sharing::none, Sharing::decoder_input_output, Sharing::all})
        for (const bool pre_norm : {false, true})
            for (const int encoder : {20, 34}) all.push_back(hat_test::small_config(sharing, pre_norm, encoder, 20));
    auto parity = hat_test::small_config(Sharing::all, true, 20, 20);
    parity.attend_to_copies_of = 3;
    parity.unnormalized_memory = true;
    parity.vocab_original_scaling = true;
    all.push_back(parity);
    return all;
}

/// Which numbers of an arena a SubTransformer reads.
template <class T>
std::vector<char> used(const hat::Weights<T>& weights, const hat::RuntimeArch& arch) {
    std::vector<char> in(weights.values().size());
    for (const auto& block : hat::parameter_blocks(hat::SubTransformerView<T>(weights, arch)))
        for (std::size_t r = 0; r < block.rows; ++r)
            for (std::size_t c = 0; c < block.cols; ++c)
                in[static_cast<std::size_t>(block.row(r) + c - weights.values().data())] = 1;
    return in;
}

}  // namespace

TEST_CASE("an extracted SubTransformer gives the same bits as inside the SuperTransformer") {
    hat::Rng rng(1);
    int networks = 0;
    for (const auto& config : configs()) {
        const auto super = hat_test::random_weights<float>(config, 7);
        hat::ElasticTransformer<float> inside(super);
        for (int n = 0; n < 10; ++n, ++networks) {
            const auto arch = hat_test::random_arch(config.shape, rng);
            const auto batch = hat_test::random_batch(config, 4, 8, rng);
            const auto own = hat::extract(super, arch);
            const auto& shape = own.config().shape;
            CHECK(shape.encoder == hat::canonical(arch).encoder);
            CHECK(own.config().encoder_super_embed == config.shape.encoder.embed);
            CHECK(own.config().attend_to_copies_of == config.attend_to_copies_of);
            hat::ElasticTransformer<float> alone(own, hat::ThreadPool(2));
            CHECK(inside.logits(arch, batch) == alone.logits(shape, batch));
            CHECK(inside.encoder_outputs(arch, batch) == alone.encoder_outputs(shape, batch));

            hat::Weights<float> g_super(super.shared_layout()), g_own(own.shared_layout());
            const auto a = inside.loss_and_gradient(arch, batch, all_dropouts, g_super);
            const auto b = alone.loss_and_gradient(shape, batch, all_dropouts, g_own);
            CHECK(a.loss == b.loss);
            CHECK(a.nll == b.nll);
            const auto from = hat::parameter_blocks(hat::SubTransformerView<float>(g_super, arch));
            const auto to = hat::parameter_blocks(hat::SubTransformerView<float>(g_own, shape));
            REQUIRE(from.size() == to.size());
            bool equal = true;
            for (std::size_t i = 0; i < from.size(); ++i)
                for (std::size_t r = 0; r < from[i].rows; ++r)
                    equal = equal && std::equal(from[i].row(r), from[i].row(r) + from[i].cols, to[i].row(r));
            CHECK(equal);
        }
    }
    CHECK(networks >= 100);
}

TEST_CASE("nothing outside the leading blocks is read, and its gradient is exactly zero") {
    hat::Rng rng(2);
    for (const auto& config : configs()) {
        const auto clean = hat_test::random_weights<float>(config, 7);
        for (int n = 0; n < 4; ++n) {
            const auto arch = hat_test::random_arch(config.shape, rng);
            const auto batch = hat_test::random_batch(config, 4, 8, rng);
            auto poisoned = clean;
            const auto in = used(clean, arch);
            for (std::size_t i = 0; i < in.size(); ++i)
                if (!in[i]) poisoned.values()[i] = std::numeric_limits<float>::quiet_NaN();
            hat::Weights<float> expected(clean.shared_layout()), found(clean.shared_layout());
            hat::ElasticTransformer<float> a(clean), b(poisoned);
            const double loss = a.loss_and_gradient(arch, batch, all_dropouts, expected).loss;
            CHECK(b.loss_and_gradient(arch, batch, all_dropouts, found).loss == loss);
            CHECK(b.logits(arch, batch) == a.logits(arch, batch));
            bool equal = true, zero = true;
            for (std::size_t i = 0; i < in.size(); ++i) {
                equal = equal && expected.values()[i] == found.values()[i];
                zero = zero && (in[i] || found.values()[i] == 0);
            }
            CHECK(equal);
            CHECK(zero);
        }
    }
}

TEST_CASE("an extracted network holds exactly its own parameters") {
    hat::Rng rng(3);
    for (const auto& config : configs()) {
        const auto super = hat_test::random_weights<float>(config, 7);
        const auto arch = hat_test::random_arch(config.shape, rng);
        const auto own = hat::extract(super, arch);
        std::size_t parameters = 0;
        for (const auto& t : own.layout().tensors()) parameters += t.size;
        const auto in = used(own, own.config().shape);
        CHECK(static_cast<std::size_t>(std::count(in.begin(), in.end(), 1)) == parameters);
        if (config.sharing == hat::EmbeddingSharing::all)
            CHECK(own.info(own.layout().encoder_embedding()).cols() ==
                  static_cast<std::size_t>(std::max(arch.encoder.embed, arch.decoder.embed)));
        // of itself it is a copy
        const auto again = hat::extract(own, own.config().shape);
        CHECK(again.config() == own.config());
        CHECK(std::equal(own.values().begin(), own.values().end(), again.values().begin(), again.values().end()));
    }
}

TEST_CASE("an architecture that does not fit is not extracted") {
    const auto super = hat_test::random_weights<float>(hat_test::small_config(), 7);
    auto arch = super.config().shape;
    arch.decoder.ffn[1] = 14;
    CHECK(hat_test::message_of<hat::shape_mismatch>([&] { hat::extract(super, arch); }) ==
          "hat: architecture: decoder FFN width of layer 1 is 14, but the weights hold at most 13");
}
