#include <doctest/doctest.h>

#include <hat/model/weights.hpp>
#include <hat/space/cost.hpp>

namespace {

// encoder 1 layer of 4, decoder 2 layers of 6
hat::Arch<1, 2> tiny() {
    hat::Arch<1, 2> a;
    a.encoder.embed = 4;
    a.encoder.layers = 1;
    a.encoder.ffn = {10};
    a.encoder.qkv = {8};
    a.encoder.self_heads = {2};
    a.decoder.embed = 6;
    a.decoder.layers = 2;
    a.decoder.ffn = {12, 5};
    a.decoder.qkv = {8, 2};
    a.decoder.self_heads = {4, 1};
    a.decoder.cross_heads = {1, 2};
    a.decoder.cross_span = {1, 1};
    return a;
}

hat::CostOptions options(int s, int t, std::size_t v) {
    hat::CostOptions o;
    o.source_length = s;
    o.target_length = t;
    o.source_vocab = o.target_vocab = v;
    return o;
}

}  // namespace

TEST_CASE("parameters by hand") {
    const auto c = hat::cost(tiny(), options(3, 2, 50));
    // in 3*8*4 + 24, out 4*8 + 4, norm 8
    CHECK(c.encoder_attention.params == 96 + 24 + 32 + 4 + 8);
    CHECK(c.encoder_ffn.params == 40 + 10 + 40 + 4 + 8);
    // qkv 8: in 144 + 24, out 48 + 6; qkv 2: in 36 + 6, out 12 + 6; two norms
    CHECK(c.decoder_self_attention.params == 222 + 60 + 24);
    // q 8*6, k and v 8*4 each, bias 24, out 48 + 6; with 2: 12 + 16 + 6 + 12 + 6
    CHECK(c.cross_attention.params == 190 + 52 + 24);
    CHECK(c.decoder_ffn.params == (72 + 12 + 72 + 6) + (30 + 5 + 30 + 6) + 24);
    CHECK(c.params == 164 + 102 + 306 + 266 + 257);
    CHECK(hat::count_params(tiny()) == c.params);
    CHECK(c.embedding_params == 50 * 6);  // shared: the wider of the two
    CHECK(c.total_params == c.params + 300);
    CHECK(c.bytes_fp32 == 4 * c.total_params);
}

TEST_CASE("operations by hand") {
    auto a = tiny();
    auto c = hat::cost(a, options(3, 2, 50));
    CHECK(c.encoder_attention.flops == 2 * (3 * 4 * 8 * 4 + 2 * 9 * 8 + 3 * 4 + 3 * 8));
    CHECK(c.encoder_ffn.flops == 2 * (3 * 2 * 4 * 10 + 3 * 4));
    CHECK(c.decoder_self_attention.flops ==
          2 * ((2 * 4 * 8 * 6 + 2 * 4 * 8 + 2 * 6 + 2 * 8) + (2 * 4 * 2 * 6 + 2 * 4 * 2 + 2 * 6 + 2 * 2)));
    CHECK(c.cross_attention.flops == 2 * ((2 * 2 * 8 * 6 + 2 * 3 * 8 * 4 + 2 * 2 * 3 * 8 + 2 * 6 + 2 * 8) +
                                          (2 * 2 * 2 * 6 + 2 * 3 * 2 * 4 + 2 * 2 * 3 * 2 + 2 * 6 + 2 * 2)));
    CHECK(c.decoder_ffn.flops == 2 * ((2 * 2 * 6 * 12 + 2 * 6) + (2 * 2 * 6 * 5 + 2 * 6)));
    CHECK(c.embedding.flops == 2 * (3 * 4 + 2 * 6));
    CHECK(c.flops == c.encoder_attention.flops + c.encoder_ffn.flops + c.decoder_self_attention.flops +
                         c.cross_attention.flops + c.decoder_ffn.flops + c.embedding.flops);
    CHECK(c.output_flops == 2 * 2 * 6 * 50);
    CHECK(hat::count_flops(a, 3, 2) == c.flops);
    // two more encoder layers to attend to: keys and values of 2 more sentences, with layer 0's qkv of 8
    a.decoder.cross_span[0] = 3;
    CHECK(hat::cost(a, options(3, 2, 50)).flops - c.flops == 2 * (2 * 6 * 8 * 4 + 2 * 2 * 6 * 8));
    // heads change nothing
    a = tiny();
    a.decoder.self_heads[0] = 8;
    CHECK(hat::count_flops(a, 3, 2) == c.flops);
}

TEST_CASE("the files' tensors are those of the weights layout") {
    for (const auto sharing :
         {hat::EmbeddingSharing::none, hat::EmbeddingSharing::decoder_input_output, hat::EmbeddingSharing::all})
        for (const bool pre_norm : {false, true})
            for (const int encoder : {4, 6}) {
                auto a = tiny();
                a.encoder.embed = encoder;
                auto o = options(3, 3, 20);
                o.sharing = sharing;
                if (sharing != hat::EmbeddingSharing::all) o.target_vocab = 30;
                o.encoder_pre_norm = o.decoder_pre_norm = pre_norm;
                hat::TransformerConfig config;
                config.shape = hat::to_runtime(a);
                config.source_vocab = o.source_vocab;
                config.target_vocab = o.target_vocab;
                config.sharing = sharing;
                config.encoder_pre_norm = config.decoder_pre_norm = pre_norm;
                const hat::WeightLayout layout(config);
                std::uint64_t params = 0, bytes = 0, embeddings = 0;
                for (const auto& t : layout.tensors()) {
                    using Kind = hat::TensorInfo::Kind;
                    const bool embedding = t.kind == Kind::embedding || t.kind == Kind::output_embedding;
                    params += t.size;
                    if (embedding) embeddings += t.size;
                    bytes += embedding || t.kind == Kind::matrix ? (t.size + 1) / 2 + 64 : 4 * t.size;
                }
                const auto c = hat::cost(a, o);
                CHECK(c.total_params == params);
                CHECK(c.embedding_params == embeddings);
                CHECK(c.bytes_4bit == bytes);
            }
}

TEST_CASE("quantized sizes count codes, codebooks and what stays fp32") {
    const auto o = options(3, 3, 20);
    std::uint64_t matrices = 0, tensors = 0, rest = 0;
    hat::for_each_tensor(tiny(), o, [&](std::uint64_t r, std::uint64_t c, bool matrix) {
        (matrix ? matrices : rest) += r * c;
        tensors += matrix;
    });
    CHECK(matrices + rest == hat::total_params(tiny(), o));
    CHECK(hat::quantized_bytes(tiny(), o, 8) == matrices + tensors * 4 * 256 + 4 * rest);
    CHECK(hat::quantized_bytes(tiny(), o, 4) == hat::cost(tiny(), o).bytes_4bit);
    CHECK_THROWS_WITH_AS(hat::quantized_bytes(tiny(), o, 9), "hat::quantized_bytes: 9 bits, expected 1 to 8",
                         hat::invalid_value);
}

TEST_CASE("costs of nothing are refused") {
    CHECK_THROWS_WITH_AS(hat::cost(tiny(), options(0, 2, 50)), "hat::cost: the source length is 0, expected 1 to 65536",
                         hat::invalid_value);
    CHECK_THROWS_WITH_AS(hat::cost(tiny(), options(3, 2, 0)),
                         "hat::cost: the source vocabulary is 0, expected 1 to 16777216", hat::invalid_value);
    auto o = options(3, 2, 50);
    o.target_vocab = 60;
    CHECK_THROWS_WITH_AS(hat::cost(tiny(), o),
                         "hat::CostOptions: shared embeddings need equal vocabularies, got 50 and 60",
                         hat::invalid_value);
}

TEST_CASE("sizes whose costs would not fit 64 bits are refused, and the largest that are not give no nonsense") {
    auto arch = tiny();
    const auto refused = [&](const hat::CostOptions& o) {
        try {
            hat::cost(arch, o);
        } catch (const hat::invalid_value& e) {
            return std::string(e.what());
        }
        return std::string();
    };
    CHECK(refused(options(1 << 17, 2, 50)) == "hat::cost: the source length is 131072, expected 1 to 65536");
    CHECK(refused(options(3, -1, 50)) == "hat::cost: the target length is -1, expected 1 to 65536");
    arch.decoder.ffn[0] = 2000000000;
    CHECK(refused(options(3, 2, 50)) == "hat::cost: the width of a decoder's FFN is 2000000000, expected 1 to 262144");
    CHECK_THROWS_AS(hat::total_params(arch, options(3, 2, 50)), hat::invalid_value);

    hat::RuntimeArch largest{};
    const auto fill = [](auto& stack) {
        stack.embed = hat::most_width;
        stack.layers = static_cast<int>(hat::runtime_max_layers);
        stack.ffn.fill(hat::most_width);
        stack.qkv.fill(hat::most_width);
        stack.self_heads.fill(1);
        stack.cross_heads.fill(1);
        stack.cross_span.fill(3);
    };
    fill(largest.encoder);
    fill(largest.decoder);
    const auto most =
        hat::cost(largest, options(hat::most_sentence_length, hat::most_sentence_length, hat::most_vocab));
    const double flops = static_cast<double>(most.flops), n = hat::most_sentence_length, w = hat::most_width;
    CHECK(flops > 16 * 2 * n * w * (6 + 8 + 4) * w);  // a sum that wrapped around would be small
    CHECK(flops < 9e18);
    CHECK(most.output_flops < std::uint64_t{1} << 63);
    CHECK(most.bytes_fp32 > 4 * most.params);
}
