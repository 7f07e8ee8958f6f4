#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <deploy/parts.hpp>
#include <hat/core/rng.hpp>
#include <hat/deploy/any_model.hpp>
#include <hat/deploy/mapped_file.hpp>
#include <hat/deploy/weight_file.hpp>
#include <set>
#include <thread>
#include <vector>

using E = hat::WeightFileError;
using hat_test::TinyParts;

namespace {

constexpr auto arch = hat_test::tiny_arch(0);
constexpr hat::StaticConfig config = hat_test::static_config(0);
constexpr hat::StaticConfig other = [] {
    hat::StaticConfig c = config;
    c.vocab_original_scaling = true;
    return c;
}();

/// Whether the bytes are refused, or what they hold can be used without a fault.
E try_everything(const hat::AlignedBuffer<std::byte>& bytes, hat::WeightCheck check, bool run = true) {
    hat::WeightFile file;
    const E error = file.open(hat_test::span(bytes), check);
    if (error != E::none) {
        CHECK(file.weights().empty());
        return error;
    }
    if (!run) return E::none;
    hat::AnyModel<> any;
    if (any.open(file, {6, 6, 2}) != E::none) return E::none;
    std::vector<std::int32_t> ids(6), target(6);
    const auto encoded = file.source_tokenizer().encode("w6 w5", ids, {});
    const std::vector<std::int32_t> source{5, 4, 2};
    const auto found = any.translate(source, target);
    if (found.status != hat::TranslateStatus::ok || !encoded) return E::none;
    std::vector<char> text(file.target_tokenizer().decoded_bytes(found.length));
    file.target_tokenizer().decode(std::span(target).first(found.length), text);
    return E::none;
}

hat::AlignedBuffer<std::byte> copy(const hat::AlignedBuffer<std::byte>& from, std::size_t bytes) {
    hat::AlignedBuffer<std::byte> to(bytes);
    if (bytes > 0) std::memcpy(to.data(), from.data(), bytes);
    return to;
}

/// Puts a 32-bit number into the bytes, and makes the checksum right.
hat::AlignedBuffer<std::byte> changed(const hat::AlignedBuffer<std::byte>& from, std::size_t at, std::uint32_t word) {
    auto out = copy(from, from.size());
    std::memcpy(out.data() + at, &word, 4);
    std::memset(out.data() + 24, 0, 8);
    hat::WeightHash hash;
    hash.update(hat_test::span(out));
    const std::uint64_t value = hash.value();
    std::memcpy(out.data() + 24, &value, 8);
    return out;
}

}  // namespace

TEST_CASE("what is written comes back, where it lies") {
    for (const std::uint64_t index : {0U, 1U, 4U, 5U}) {
        const TinyParts tiny(index);
        const auto bytes = tiny.file();
        hat::WeightFile file;
        REQUIRE(file.open(hat_test::span(bytes)) == E::none);
        CHECK(file.arch() == tiny.arch);
        CHECK(file.config() == tiny.parts.config);
        CHECK(file.weights().size() == tiny.stored.size());
        CHECK(std::memcmp(file.weights().data(), tiny.stored.data(), tiny.stored.size()) == 0);
        CHECK(file.weights().data() >= bytes.data());
        CHECK(file.weights().data() + file.weights().size() <= bytes.data() + bytes.size());
        CHECK(file.notes() == tiny.parts.notes);
        CHECK(file.source_tokenizer().vocabulary_size() == tiny.parts.config.source_vocab);
        CHECK(file.target_tokenizer().kind() == hat::TokenizerKind::words);
        const bool joint = tiny.parts.source == tiny.parts.target;
        CHECK(joint == (file.section(hat::WeightSection::source_index).data() ==
                        file.section(hat::WeightSection::target_index).data()));
        CHECK(bytes.size() < tiny.stored.size() + 4096);
    }
}

TEST_CASE("files without tokenizers, and parts that make no file") {
    TinyParts tiny(1);
    tiny.parts.source = tiny.parts.target = {};
    tiny.parts.notes = "";
    const auto bytes = tiny.file();
    hat::WeightFile file;
    REQUIRE(file.open(hat_test::span(bytes)) == E::none);
    CHECK(file.source_tokenizer().kind() == hat::TokenizerKind::none);
    CHECK(file.notes().empty());
    const auto message = [](const hat::WeightFileParts& parts) {
        const hat_test::TemporaryFolder folder;
        const auto text = hat_test::message_of<hat::invalid_value>([&] { hat::save_weight_file(folder / "x", parts); });
        CHECK(hat_test::count_files(folder.path) == 0);
        return text;
    };
    auto bad = tiny.parts;
    bad.weights = bad.weights.first(64);
    CHECK(message(bad) ==
          "hat::weight_file_bytes: 64 bytes of weights are not those of this architecture and configuration");
    bad = tiny.parts;
    bad.target = hat::word_parts(hat_test::word_vocabulary(9));
    CHECK(message(bad) == "hat::weight_file_bytes: the target tokenizer has 9 ids, but the network 37");
    bad.target.index.pop_back();
    CHECK(message(bad) == "hat::weight_file_bytes: the target tokenizer cannot be read");
    CHECK_THROWS_AS(hat::save_weight_file("/nonexistent/x", tiny.parts), hat::bad_file);
}

TEST_CASE("a file that is cut anywhere is refused") {
    const TinyParts tiny(1);
    const auto bytes = tiny.file();
    std::set<std::size_t> cuts{0, 1, 7, 8, 12, 16, 63, 64, 65, bytes.size() - 1};
    hat::WeightFile whole;
    REQUIRE(whole.open(hat_test::span(bytes)) == E::none);
    for (std::uint32_t kind = 1; kind <= 7; ++kind) {
        const auto s = whole.section(static_cast<hat::WeightSection>(kind));
        REQUIRE(!s.empty());
        const auto begin = static_cast<std::size_t>(s.data() - bytes.data());
        for (const std::size_t at : {begin - 1, begin, begin + 1, begin + s.size() - 1, begin + s.size()})
            if (at < bytes.size()) cuts.insert(at);
    }
    for (const std::size_t at : cuts)
        for (const auto check : {hat::WeightCheck::everything, hat::WeightCheck::structure})
            CHECK(try_everything(copy(bytes, at), check) == (at == 0 ? E::not_a_weight_file : E::truncated));
    auto more = copy(bytes, bytes.size());
    hat::AlignedBuffer<std::byte> longer(bytes.size() + 1);
    std::memcpy(longer.data(), bytes.data(), bytes.size());
    longer.data()[bytes.size()] = {};
    CHECK(try_everything(longer, hat::WeightCheck::everything) == E::trailing_bytes);
    hat::AlignedBuffer<std::byte> room(bytes.size() + 64);
    std::memcpy(room.data() + 4, bytes.data(), bytes.size());
    hat::WeightFile file;
    CHECK(file.open({room.data() + 4, bytes.size()}) == E::misaligned);
}

TEST_CASE("every changed bit is found by the checksum; without it, nothing bad happens") {
    const TinyParts tiny(1);
    const auto bytes = tiny.file();
    hat::WeightFile whole;
    REQUIRE(whole.open(hat_test::span(bytes)) == E::none);
    const auto weights = static_cast<std::size_t>(whole.weights().data() - bytes.data());
    hat::Rng rng(7);
    std::size_t accepted = 0;
    const auto flip = [&](std::size_t at, unsigned bit) {
        auto damaged = copy(bytes, bytes.size());
        damaged.data()[at] ^= static_cast<std::byte>(1U << bit);
        accepted += try_everything(damaged, hat::WeightCheck::everything) == E::none;
        try_everything(damaged, hat::WeightCheck::structure, at % 16 == 0);  // running takes long
    };
    for (std::size_t at = 0; at < weights; ++at) flip(at, static_cast<unsigned>(rng.below(8)));
    for (int i = 0; i < 200; ++i)
        flip(weights + rng.below(bytes.size() - weights), static_cast<unsigned>(rng.below(8)));
    CHECK(accepted == 0);
    // whole words in what is no weight, with a checksum that fits
    for (std::size_t at = 64; at + 4 <= weights; at += 4)
        for (const std::uint32_t word : {0U, 1U, 0xFFFFFFFFU, 0x7FFFFFFFU, 0x10000U})
            try_everything(changed(bytes, at, word), hat::WeightCheck::everything, at % 16 == 0);
}

TEST_CASE("what is wrong has a name") {
    const TinyParts tiny(0);
    const auto bytes = tiny.file();
    hat::WeightFile whole, file;
    REQUIRE(whole.open(hat_test::span(bytes)) == E::none);
    const auto error = [&](std::size_t at, std::uint32_t word) {
        const auto bad = changed(bytes, at, word);
        return file.open(hat_test::span(bad));
    };
    CHECK(error(0, 0x46464952) == E::not_a_weight_file);
    CHECK(error(8, 0x04030201) == E::foreign_endian);
    CHECK(error(8, 5) == E::not_a_weight_file);
    CHECK(error(12, 2) == E::newer_version);
    CHECK(error(12, 0) == E::not_a_weight_file);
    CHECK(error(32, 65) == E::bad_section);       // sections
    CHECK(error(32, 0) == E::bad_section);        // none
    CHECK(error(64 + 8, 100) == E::bad_section);  // not aligned
    CHECK(error(64 + 24, 1) == E::bad_section);   // there twice
    const auto at = static_cast<std::size_t>(whole.section(hat::WeightSection::description).data() - bytes.data());
    CHECK(error(at, 36) == E::bad_description);  // vocabularies that are not equal but shared
    CHECK(error(at + 8, 3) == E::bad_description);
    CHECK(error(at + 12, 16) == E::bad_description);
    CHECK(error(at + 24, 200) == E::unknown_format);
    CHECK(error(at + 28, 3) == E::bad_description);
    CHECK(error(at + 32, 7) == E::bad_description);  // book_rows
    CHECK(error(at + 36, 2) == E::bad_description);  // codebook_math
    CHECK(error(at + 40, 7) == E::wrong_size);       // encoder.embed
    CHECK(error(at + 40, 0) == E::bad_description);
    CHECK(error(at + 40, 0x80000000U) == E::bad_description);
    CHECK(error(at + 44, 17) == E::bad_description);  // encoder.layers
    const auto index = static_cast<std::size_t>(whole.section(hat::WeightSection::source_index).data() - bytes.data());
    CHECK(error(index, 36) == E::bad_tokenizer);
    for (std::uint8_t e = 0; e <= static_cast<std::uint8_t>(E::no_memory); ++e)
        CHECK(hat::message(static_cast<E>(e)).size() > 5);
    CHECK(hat::message(static_cast<E>(255)) == "unknown error");
}

TEST_CASE("weights of another network are refused") {
    const auto bytes = TinyParts(0).file(), another = TinyParts(1).file();
    hat::WeightFile file;
    using Right = hat::StaticTransformer<arch, config, hat::StaticLimits{8, 8, 2}>;
    using Wrong = hat::StaticTransformer<arch, other, hat::StaticLimits{8, 8, 2}>;
    CHECK(file.open_for<Right>(hat_test::span(bytes)) == E::none);
    CHECK(file.open_for<Right>(hat_test::span(another)) == E::wrong_architecture);
    CHECK(file.open_for<Wrong>(hat_test::span(bytes)) == E::wrong_config);
    CHECK(file.weights().empty());
}

TEST_CASE("a mapped file") {
    const hat_test::TemporaryFolder folder;
    const auto path = (folder / "w.hatw").string();
    const TinyParts tiny(3);
    hat::save_weight_file(path, tiny.parts);
    hat::MappedFile mapped;
    CHECK(!mapped.open((folder / "none").c_str()));
    CHECK(errno == ENOENT);
    CHECK(!mapped.open(folder.path.c_str()));
    CHECK(errno == EISDIR);
    REQUIRE(mapped.open(path.c_str()));
    hat::MappedFile moved = std::move(mapped);
    CHECK(mapped.bytes().empty());
    hat::WeightFile file;
    REQUIRE(file.open(moved.bytes()) == E::none);
    // threads that share the mapping, and a process that has its own
    std::vector<std::int32_t> source{5, 6, 2}, expected(12);
    const auto translate = [](const hat::WeightFile& w, std::vector<std::int32_t> from) {
        hat::AnyModel<> any;
        std::vector<std::int32_t> target(12);
        if (any.open(w, {6, 12, 2}) != E::none) return std::vector<std::int32_t>{};
        target.resize(any.translate(from, target).length);
        return target;
    };
    expected = translate(file, source);
    CHECK(!expected.empty());
    std::vector<std::vector<std::int32_t>> found(3);
    {
        std::vector<std::jthread> threads;
        for (auto& f : found) threads.emplace_back([&] { f = translate(file, source); });
    }
    for (const auto& f : found) CHECK(f == expected);
    const ::pid_t child = ::fork();
    if (child == 0) {
        hat::MappedFile own;
        hat::WeightFile w;
        const bool good = own.open(path.c_str()) && w.open(own.bytes()) == E::none && translate(w, source) == expected;
        ::_exit(good ? 0 : 1);
    }
    int status = 1;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    // an empty file is one
    hat::write_file_atomically(folder / "empty", "");
    CHECK(moved.open((folder / "empty").c_str()));
    CHECK(moved.bytes().empty());
    CHECK(file.open(moved.bytes()) == E::not_a_weight_file);
}
