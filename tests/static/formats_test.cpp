#include <cmath>
#include <static/archs.hpp>
#include <support/files.hpp>

namespace {

constexpr hat::StaticLimits limits{9, 12, 3};

constexpr hat::StaticConfig in_format(std::uint64_t index, hat::MatrixFormat format, hat::CodebookMath math,
                                      std::size_t book_rows) {
    hat::StaticConfig c = hat_test::static_config(index);
    c.format = format, c.codebook_math = math, c.book_rows = book_rows;
    return c;
}

/// Weights whose matrices are what the stored ones stand for.
hat::Weights<float> read_back(const hat::Weights<float>& extracted, const hat::RuntimeArch& arch,
                              const hat::StaticConfig& config, const std::byte* stored) {
    hat::Weights<float> out = extracted;
    const hat::SubTransformerView<float> sub(out, arch);
    const hat::ModelPlan plan = hat::plan_model(arch, config);
    std::vector<float> row;
    const auto matrix = [&](const hat::LinearPlan& p, hat::View<const float> w) {
        row.resize(p.k);
        for (std::size_t n = 0; n < w.rows; ++n) {
            float* const to = out.values().data() + (w.row(n) - out.values().data());
            const auto read = [&](const auto& table) { std::copy_n(table.vector(n, p.k, row.data()), w.cols, to); };
            if (config.format == hat::MatrixFormat::int8)
                read(hat::int8_panels(stored, p, config, p.k));
            else
                read(hat::codebook_panels(stored, p, config, p.k));
        }
    };
    const auto attention = [&](const hat::AttentionPlan& p, const auto& a) {
        matrix(p.q, a.q.weight), matrix(p.k, a.k.weight), matrix(p.v, a.v.weight), matrix(p.out, a.out.weight);
    };
    const auto layer = [&](const hat::LayerPlan& p, const auto& l) {
        attention(p.self, l.self);
        if constexpr (requires { l.cross; }) attention(p.cross, l.cross);
        matrix(p.fc1, l.ffn.fc1.weight), matrix(p.fc2, l.ffn.fc2.weight);
    };
    for (std::size_t i = 0; i < sub.encoder_layers(); ++i) layer(plan.encoder[i], sub.encoder(i));
    for (std::size_t i = 0; i < sub.decoder_layers(); ++i) layer(plan.decoder[i], sub.decoder(i));
    const auto table = [&](const hat::LinearPlan& p, int index) { matrix(p, std::as_const(out).matrix(index)); };
    table(plan.source, out.layout().encoder_embedding());
    table(plan.target, out.layout().decoder_embedding());
    table(plan.output, out.layout().output_embedding());
    return out;
}

struct Compared {
    double distance = 0;    ///< of the logits, relative to those of the looked-up weights
    bool same = true;       ///< to the bit
    std::size_t bytes = 0;  ///< of the weights
};

/// A static model in some format beside an elastic one in fp32 with the weights that the format stands for. Its memory
/// must be planned to the byte.
template <std::uint64_t index, hat::MatrixFormat format, hat::CodebookMath math = hat::CodebookMath::exact,
          std::size_t book_rows = 0>
Compared compare() {
    constexpr auto arch = hat_test::tiny_arch(index);
    constexpr auto config = in_format(index, format, math, book_rows);
    using Model = hat::StaticTransformer<arch, config, limits>;
    const hat::RuntimeArch sub = hat::to_runtime(arch);
    const auto super = hat_test::super_weights(hat::to_runtime(hat_test::tiny_shape()), config, index + 1);
    const auto stored = hat::store_weights(super, sub, {format, book_rows});
    REQUIRE(stored.size() == Model::weight_bytes);
    const Model model(stored.data());
    hat::AlignedBuffer<std::byte> workspace(Model::workspace_bytes);
    typename Model::Session session(model, workspace.data());
    const auto looked_up = read_back(hat::extract(super, sub), sub, config, stored.data());
    const hat::InferenceModel<float> packed(looked_up, sub);
    hat::InferenceSession<float> elastic(packed);

    hat::Ragged source;
    source.push_back(std::vector<std::int32_t>{7, 30, 12, 5, 5, 19, 33, 8, 2});
    auto& decoder = session.decoder();
    decoder.encode(source.tokens, source.offsets);
    decoder.start({});
    elastic.encode(source);
    elastic.start(limits.beam);
    Compared result;
    double difference = 0, size = 0;
    const std::vector<std::int32_t> tokens{9, 4, 21};
    std::vector<std::size_t> parents;
    for (std::size_t step = 0; step < 4; ++step) {
        const auto found = decoder.step(tokens, parents);
        const auto expected = elastic.step(tokens, parents);
        for (std::size_t b = 0; b < limits.beam; ++b)
            for (std::size_t v = 0; v < config.target_vocab; ++v) {
                const double f = found(b, v), e = expected(b, v);
                result.same = result.same && found(b, v) == expected(b, v);
                difference += (f - e) * (f - e), size += e * e;
            }
        parents = {1, 0, 2};
    }
    result.distance = std::sqrt(difference / size);
    result.bytes = Model::weight_bytes;

    std::vector<std::int32_t> target(limits.max_target);
    const auto translated = session.translate(source.tokens, target, {.min_length = limits.max_target - 1});
    CHECK(translated.status == hat::TranslateStatus::ok);
    const auto& plan = Model::workspace_plan();
    const auto& m = decoder.memories();
    CHECK(m.outputs.peak_bytes() == plan.outputs);
    CHECK(m.caches.peak_bytes() == plan.caches);
    CHECK(m.temporaries.peak_bytes() == plan.temporaries);
    CHECK(session.search_peak() == plan.search);
    return result;
}

}  // namespace

TEST_CASE("4-bit codes computed exactly give the numbers of the looked-up weights to the bit") {
    using enum hat::MatrixFormat;
    const auto first = compare<0, codebook4>(), second = compare<5, codebook4, hat::CodebookMath::exact, 32>();
    CHECK(first.same);
    CHECK(second.same);
    CHECK(compare<9, codebook4>().same);  // pre-norm
}

TEST_CASE("8-bit integers and 4-bit codes computed in integers are close to the looked-up weights, and small") {
    using enum hat::MatrixFormat;
    const auto eight = compare<3, int8>(), four = compare<3, codebook4, hat::CodebookMath::integers>();
    for (const auto& c : {eight, four}) {
        CHECK(c.distance < 0.05);  // activations are rounded to 8 bits
        CHECK(c.distance > 0);
    }
    CHECK(four.bytes < eight.bytes);
    CHECK(eight.bytes <
          hat::StaticTransformer<hat_test::tiny_arch(3), hat_test::static_config(3), limits>::weight_bytes);
    CHECK(compare<1, int8>().distance < 0.05);
    CHECK(compare<4, int8>().distance < 0.05);  // pre-norm
}

TEST_CASE("codebooks are shared by multiples of 32 rows") {
    const auto super = hat_test::super_weights(hat::to_runtime(hat_test::tiny_shape()), hat_test::static_config(0), 1);
    CHECK(hat_test::message_of<hat::invalid_value>([&] {
              hat::store_weights(super, super.config().shape, {hat::MatrixFormat::codebook4, 8});
          }) == "hat::store_weights: book_rows is 8, expected a multiple of 32");
}
