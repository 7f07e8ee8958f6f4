#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <hat/model/elastic.hpp>
#include <hat/model/extract.hpp>
#include <hat/quant/quantized_file.hpp>
#include <model/models.hpp>
#include <support/files.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

hat::QuantizedWeights example(hat::Quantization how = {}) {
    hat::Rng rng(1);
    auto config = hat_test::small_config(hat::EmbeddingSharing::none, true, 12, 10);
    config.vocab_original_scaling = true;
    const auto own = hat::extract(hat_test::random_weights<float>(config, 1), hat_test::random_arch(config.shape, rng));
    return hat::quantize(hat::Serial{}, own, own.config().shape, how);
}

std::string load_error(const std::filesystem::path& path) {
    return message_of<hat::bad_file>([&] { hat::load_quantized(path); });
}

/// The file with its header text changed, lengths and checksum right again.
std::string with_header(const std::string& bytes, const std::string& from, const std::string& to) {
    std::uint32_t header = 0;
    std::memcpy(&header, bytes.data() + 12, 4);
    std::string text = bytes.substr(24, header);
    const std::string payload = bytes.substr(24 + header, bytes.size() - 24 - header - 4);
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
    header = static_cast<std::uint32_t>(text.size());
    std::string out = bytes.substr(0, 24) + text + payload;
    std::memcpy(out.data() + 12, &header, 4);
    const std::uint32_t crc = hat::crc32(out);
    return out + std::string(reinterpret_cast<const char*>(&crc), 4);
}

}  // namespace

TEST_CASE("a quantized model comes back from its file and runs as before") {
    const hat_test::TemporaryFolder folder;
    hat::Rng rng(2);
    for (unsigned bits = 2; bits <= 8; ++bits)
        for (const std::size_t rows : {0U, 3U}) {
            hat::Quantization how{bits, rows};
            if (bits == 5)  // each matrix has its own
                for (std::size_t i = 0; i < example().tensors.size(); ++i)
                    how.bits_each.push_back(2 + static_cast<unsigned>(i % 7));
            const auto q = example(how);
            hat::save_quantized(folder / "a", q, {{"from", "tests"}});
            std::map<std::string, std::string> notes;
            const auto back = hat::load_quantized(folder / "a", &notes);
            CHECK(back.layout->config() == q.layout->config());
            CHECK(back.arch == q.arch);
            CHECK(back.how == q.how);
            CHECK(notes == std::map<std::string, std::string>{{"from", "tests"}});
            REQUIRE(back.tensors.size() == q.tensors.size());
            for (std::size_t i = 0; i < q.tensors.size(); ++i) {
                CHECK(back.tensors[i].values == q.tensors[i].values);
                CHECK(back.tensors[i].codes == q.tensors[i].codes);
            }
            const auto model = hat::load_quantized_model(folder / "a");
            const auto weights = hat::dequantize(q);
            const auto batch = hat_test::random_batch(weights.config(), 3, 5, rng);
            CHECK(hat::ElasticTransformer<float>(model.weights).logits(model.arch, batch) ==
                  hat::ElasticTransformer<float>(weights).logits(q.arch, batch));
            CHECK(model.notes == notes);
        }
    CHECK(hat_test::count_files(folder.path) == 1);
}

TEST_CASE("the file is the parameters plus a small header") {
    const hat_test::TemporaryFolder folder;
    const auto q = example();
    hat::save_quantized(folder / "a", q);
    const auto size = std::filesystem::file_size(folder / "a");
    CHECK(size > q.bytes());
    CHECK(size < q.bytes() + 1500);
    hat::save_quantized(folder / "b", q);
    CHECK(hat::read_file(folder / "a") == hat::read_file(folder / "b"));
    CHECK(hat::is_quantized_file(folder / "a"));
    hat::write_file_atomically(folder / "c", "HATQUAN");
    CHECK(!hat::is_quantized_file(folder / "c"));
    CHECK(!hat::is_quantized_file(folder / "none"));
}

TEST_CASE("a published network in 4 bits, vocabulary included, is 25 times smaller than the fp32 Transformer Big") {
    // Raspberry Pi, 6.0 s, for WMT'14 En-De; heads and spans do not change sizes
    const auto config = [](int width, const std::vector<int>& encoder, const std::vector<int>& decoder, int qkv) {
        hat::TransformerConfig c;
        const auto fill = [&](auto& stack, const std::vector<int>& ffn) {
            stack.embed = width, stack.layers = static_cast<int>(ffn.size());
            for (std::size_t i = 0; i < ffn.size(); ++i)
                stack.ffn[i] = ffn[i], stack.qkv[i] = qkv, stack.self_heads[i] = 8;
        };
        fill(c.shape.encoder, encoder), fill(c.shape.decoder, decoder);
        for (std::size_t i = 0; i < decoder.size(); ++i)
            c.shape.decoder.cross_heads[i] = 8, c.shape.decoder.cross_span[i] = 1;
        c.source_vocab = c.target_vocab = 32768;
        return c;
    };
    const std::vector<int> big_ffn(6, 4096);
    const hat::WeightLayout big(config(1024, big_ffn, big_ffn, 1024));
    const auto small = std::make_shared<const hat::WeightLayout>(
        config(512, std::vector<int>(6, 3072), {2048, 2048, 3072, 3072}, 512));

    // all zeros: no code is shorter than another
    hat::QuantizedWeights q{small, small->config().shape, {}, {}};
    for (std::size_t i = 0; i < small->tensors().size(); ++i) {
        const auto size = hat::detail::quantized_size(small->tensors()[i], 0, 4);
        q.tensors.push_back({std::vector<float>(size.values), std::vector<std::uint8_t>(size.codes)});
    }
    std::string words;
    for (int i = 4; i < 32768; ++i) words += "a-long-sub-word-" + std::to_string(i) + " 1000000\n";
    const hat_test::TemporaryFolder folder;
    hat::save_quantized(folder / "model.hatq", q);
    hat::write_file_atomically(folder / "dict.txt", words);
    const auto bytes =
        std::filesystem::file_size(folder / "model.hatq") + std::filesystem::file_size(folder / "dict.txt");
    CHECK(hat::load_quantized(folder / "model.hatq").bytes() == q.bytes());
    CHECK(4 * big.size() > 25 * bytes);
    CHECK(4 * big.size() < 28 * bytes);
}

TEST_CASE("a file cut anywhere, or with any bit flipped, is refused") {
    const hat_test::TemporaryFolder folder;
    hat::save_quantized(folder / "a", example());
    const std::string good = hat::read_file(folder / "a");
    for (std::size_t size = 0; size < good.size(); size += size < 64 ? 1 : 211) {
        hat::write_file_atomically(folder / "b", good.substr(0, size));
        CHECK(contains(load_error(folder / "b"), "truncated"));
    }
    for (std::size_t at = 0; at < good.size(); at += at < 64 ? 1 : 97) {
        auto broken = good;
        broken[at] = static_cast<char>(broken[at] ^ (1 << (at % 8)));
        hat::write_file_atomically(folder / "b", broken);
        CHECK(load_error(folder / "b") != "");
    }
}

TEST_CASE("each kind of damage has its own message") {
    const hat_test::TemporaryFolder folder;
    const auto path = folder / "a";
    hat::save_quantized(path, example());
    const std::string good = hat::read_file(path), name = path.string();
    const auto error = [&](const std::string& bytes) {
        hat::write_file_atomically(path, bytes);
        return load_error(path);
    };
    auto bytes = good;
    bytes[0] = 'X';
    CHECK(error(bytes) == name + ": not a quantized hat model: expected to begin with HATQUANT");
    bytes = good;
    bytes[8] = 2;
    CHECK(error(bytes) == name + ": has version 2, this program reads version 1");
    CHECK(error(good.substr(0, 20)) == name + ": truncated: 20 bytes, expected at least 28");
    CHECK(contains(error(good.substr(0, good.size() - 5)), "of weights are announced, but only"));
    CHECK(error(good + "!!") == name + ": 2 bytes too long");
    bytes = good;
    bytes[good.size() / 2] = static_cast<char>(bytes[good.size() / 2] ^ 1);
    CHECK(contains(error(bytes), "corrupt: the checksum is "));
    CHECK(contains(load_error(folder / "none"), "cannot be read: No such file"));

    CHECK(contains(error(with_header(good, "\"target_vocab\":11", "\"target_vocab\":12")),
                   "bytes of weights, but its configuration needs"));
    CHECK(contains(error(with_header(good, "\"target_vocab\":11", "\"target_vocab\":3")),
                   "must exceed the 4 special tokens"));
    CHECK(contains(error(with_header(good, "\"bits\":4", "\"bits\":5")), "but its configuration needs"));
    CHECK(contains(error(with_header(good, "\"bits\":4", "\"bits\":9")), "9 bits, expected 2 to 8"));
    CHECK(contains(error(with_header(good, "\"bits\":4,", "")), "key \"bits\" is missing"));
    CHECK(contains(error(with_header(good, "\"bits\"", "\"bitz\"")), "key \"bitz\" is unknown"));
    CHECK(contains(error(with_header(good, "\"notes\":{}", "\"notes\":[]")), "key \"notes\" must be an object"));
    CHECK(contains(error(with_header(good, "\"self_heads\":[", "\"self_heads\":[7,")), "self_heads"));

    hat::Quantization each;
    each.bits_each.assign(example().tensors.size(), 4);
    hat::save_quantized(path, example(each));
    const std::string allocated = hat::read_file(path);
    CHECK(contains(error(with_header(allocated, "\"bits_each\":[4,", "\"bits_each\":[")),
                   "expected one for each of the"));
    CHECK(contains(error(with_header(allocated, "\"bits_each\":[4,", "\"bits_each\":[9,")), "9 bits for encoder"));
    CHECK(contains(error(with_header(allocated, "\"bits_each\":[4,", "\"bits_each\":[5,")),
                   "but its configuration needs"));
    CHECK(contains(error(with_header(allocated, "\"bits_each\":[4,", "\"bits_each\":[-4,")), "bits_each"));
    CHECK(contains(error(with_header(good, "{\"arch\"", "{\"arch")), "not valid JSON"));
    CHECK(contains(message_of<hat::bad_file>([&] { hat::save_quantized(folder / "no" / "where", example()); }),
                   "cannot be written"));
}
