#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <hat/io/safetensors.hpp>
#include <support/files.hpp>

using hat_test::contains;
using hat_test::message_of;

namespace {

const std::vector<float> floats{1, -2, 3.5F, 4, 5, 6};
const std::vector<std::int32_t> ints{7, -8};
const std::vector<std::uint8_t> bytes{9};
const std::vector<double> doubles{0.1};

void save_example(const std::filesystem::path& path) {
    hat::SafetensorsWriter writer;
    writer.metadata["note"] = "hello";
    writer.add<float>("f", {2, 3}, floats);
    writer.add<std::int32_t>("i", {2}, ints);
    writer.add<std::uint8_t>("u", {1}, bytes);
    writer.add<double>("d", {}, doubles);
    writer.save(path);
}

/// A file with this header text and `data` zero bytes.
void write_raw(const std::filesystem::path& path, const std::string& header, std::size_t data) {
    const std::uint64_t length = header.size();
    std::string text(reinterpret_cast<const char*>(&length), 8);
    hat::write_file_atomically(path, text + header + std::string(data, '\0'));
}

std::string load_error(const std::filesystem::path& path) {
    return message_of<hat::bad_file>([&] { hat::SafetensorsFile file(path); });
}

}  // namespace

TEST_CASE("tensors of all kinds and metadata come back as they were") {
    const hat_test::TemporaryFolder folder;
    save_example(folder / "a");
    const hat::SafetensorsFile file(folder / "a");
    CHECK(file.metadata("note") == "hello");
    CHECK(file.read<float>("f") == floats);
    CHECK(file.read<std::int32_t>("i") == ints);
    CHECK(file.read<std::uint8_t>("u") == bytes);
    CHECK(file.read<double>("d") == doubles);
    CHECK(file.info("f").shape == std::vector<std::size_t>{2, 3});
    file.require_exactly({"f", "i", "u", "d"});
    save_example(folder / "b");
    CHECK(hat::read_file(folder / "a") == hat::read_file(folder / "b"));
}

TEST_CASE("a foreign file without our checksum loads") {
    const hat_test::TemporaryFolder folder;
    write_raw(
        folder / "a",
        R"({"x":{"dtype":"F32","shape":[2,0],"data_offsets":[4,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} )",
        4);
    CHECK(hat::SafetensorsFile(folder / "a").read<float>("w") == std::vector<float>{0});
    CHECK(hat::SafetensorsFile(folder / "a").read<float>("x").empty());
}

TEST_CASE("wrong use of a good file names the tensor and what was expected") {
    const hat_test::TemporaryFolder folder;
    save_example(folder / "a");
    const hat::SafetensorsFile file(folder / "a");
    const std::string at = (folder / "a").string() + ": ";
    std::vector<float> out(6);
    CHECK(message_of<hat::bad_file>([&] {
              file.read<float>("f", {3, 2}, out);
          }) == at + "tensor f is 2 x 3, expected 3 x 2");
    CHECK(message_of<hat::bad_file>([&] { file.read<float>("i"); }) == at + "tensor i has type I32, expected F32");
    CHECK(message_of<hat::bad_file>([&] { file.read<float>("g"); }) == at + "tensor g is missing");
    CHECK(message_of<hat::bad_file>([&] { file.metadata("arch"); }) == at + "metadata \"arch\" is missing");
    CHECK(message_of<hat::bad_file>([&] {
              file.require_exactly({"f", "i", "u"});
          }) == at + "tensor d is not expected here");
    CHECK(message_of<hat::bad_file>([&] { file.require_exactly({"f", "q"}); }) == at + "tensor q is missing");
}

TEST_CASE("who knows what to expect learns which tensor was changed, not only that the file was") {
    const hat_test::TemporaryFolder folder;
    save_example(folder / "a");
    const std::string at = (folder / "a").string() + ": ",
                      damaged = "; the file was damaged or edited: the checksum is ";
    std::string edited = hat::read_file(folder / "a");
    edited.replace(edited.find("[2,3]"), 5, "[3,2]");
    hat::write_file_atomically(folder / "a", edited);
    CHECK(load_error(folder / "a").starts_with(at + "corrupt: the checksum is "));
    const hat::SafetensorsFile file(folder / "a", hat::SafetensorsFile::Checksum::later);
    const auto error = [&](auto&& f) { return message_of<hat::bad_file>(f); };
    std::vector<float> out(6);
    CHECK(error([&] {
              file.require<float>("f", {2, 3});
          }).starts_with(at + "tensor f is 3 x 2, expected 2 x 3" + damaged));
    CHECK(error([&] {
              file.read<float>("f", {2, 3}, out);
          }).starts_with(at + "tensor f is 3 x 2, expected 2 x 3" + damaged));
    CHECK(error([&] { file.read<float>("i"); }).starts_with(at + "tensor i has type I32, expected F32" + damaged));
    CHECK(error([&] { file.require_intact(); }).starts_with(at + "corrupt: the checksum is "));
}

TEST_CASE("a writer refuses tensors that contradict themselves") {
    hat::SafetensorsWriter writer;
    CHECK_THROWS_AS(writer.add<float>("f", {7}, floats), hat::shape_mismatch);
    writer.add<float>("f", {6}, floats);
    CHECK_THROWS_AS(writer.add<float>("f", {6}, floats), hat::invalid_value);
    CHECK_THROWS_AS(writer.add<float>("__metadata__", {6}, floats), hat::invalid_value);
}

TEST_CASE("a file cut anywhere, or with any byte changed, is never accepted") {
    const hat_test::TemporaryFolder folder;
    save_example(folder / "a");
    const std::string good = hat::read_file(folder / "a");
    for (std::size_t n = 0; n < good.size(); ++n) {
        hat::write_file_atomically(folder / "b", good.substr(0, n));
        CHECK_MESSAGE(contains(load_error(folder / "b"), "truncated"), n);
    }
    std::uint64_t header = 0;
    std::memcpy(&header, good.data(), 8);
    const std::size_t key = good.find("crc32");  // another name there makes a file without a checksum
    for (std::size_t i = 0; i < good.size(); ++i) {
        if (i >= key && i < key + 5) continue;
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ 4);
        hat::write_file_atomically(folder / "b", bad);
        CHECK_MESSAGE(!load_error(folder / "b").empty(), i);
        if (i >= 8 + header) CHECK(contains(load_error(folder / "b"), "corrupt: the checksum"));
    }
    std::string renamed = good;
    renamed.replace(renamed.find("hello"), 5, "hullo");
    hat::write_file_atomically(folder / "b", renamed);
    CHECK(contains(load_error(folder / "b"), "corrupt: the checksum is "));
    hat::write_file_atomically(folder / "b", good + "x");
    CHECK(contains(load_error(folder / "b"), "follow the header"));
}

TEST_CASE("each kind of broken header gets its own message") {
    const hat_test::TemporaryFolder folder;
    const auto error = [&](const std::string& header, std::size_t data) {
        write_raw(folder / "a", header, data);
        return load_error(folder / "a");
    };
    CHECK(contains(error("{\"x\":", 0), "not valid JSON"));
    CHECK(contains(error("[]", 0), "expected an object"));
    CHECK(contains(error(R"({"x":{"dtype":"F32","shape":[1]}})", 4), "key \"x.data_offsets\" is missing"));
    CHECK(contains(error(R"({"x":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4),
                   "tensor x has the unknown type F31"));
    CHECK(contains(error(R"({"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4), "key \"x.shape[0]\" is -1"));
    CHECK(contains(error(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
                   "tensor x (F32, 2) needs 8 bytes, but has 4"));
    CHECK(contains(error(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
                   "tensor x is too large"));
    CHECK(contains(error(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4),
                   "tensor x has data_offsets [4,0]"));
    CHECK(contains(
        error(
            R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
            6),
        "tensor y starts at byte 2 of the numbers, expected 4 (it overlaps another)"));
    CHECK(contains(error(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
                   "tensor x starts at byte 4 of the numbers, expected 0 (there is a gap)"));
    CHECK(contains(error(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 2),
                   "truncated: tensor x ends at byte 4 of the numbers, but there are only 2"));
    CHECK(contains(
        error(
            R"({"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
            0),
        "key \"x\" is given twice"));
    hat::write_file_atomically(folder / "a", std::string(16, '\x7f'));
    CHECK(contains(load_error(folder / "a"), "not a safetensors file"));
    CHECK(contains(load_error(folder / "none"), "No such file"));
}
