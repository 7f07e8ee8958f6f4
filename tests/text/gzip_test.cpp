#include <doctest/doctest.h>
#include <sys/stat.h>
#include <zlib.h>

#include <hat/text/gzip.hpp>
#include <text/files.hpp>

namespace {
std::string compress(std::string_view text) {
    z_stream stream{};
    deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    std::string out(text.size() + 1000, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    deflate(&stream, Z_FINISH);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}
using Lines = std::vector<std::string>;
}  // namespace

TEST_CASE("Plain and compressed files give the same lines, whatever their names") {
    const TempFolder dir;
    const std::string text =
        "\xEF\xBB\xBF"
        "one\r\n\ntwo \u00E4\nthree";
    const Lines expected{"one", "", "two \u00E4", "three"};
    CHECK(hat::read_lines(dir.write("a.gz", text)) == expected);
    CHECK(hat::read_lines(dir.write("b.txt", compress(text))) == expected);
    CHECK(hat::read_plain_lines(dir / "a.gz") == expected);
    CHECK(hat::read_lines(dir.write("c", "x\n\n")) == Lines{"x", ""});
    CHECK(hat::read_lines(dir.write("d", "")).empty());
    CHECK(hat::read_lines(dir.write("e", compress(""))).empty());
    CHECK(hat::read_lines(dir.write("f", compress("a\n") + compress("b\n"))) == Lines{"a", "b"});  // two members
}

TEST_CASE("A large compressed file is unpacked whole") {
    const TempFolder dir;
    std::string text;
    for (int i = 0; i < 60000; ++i) text += "line " + std::to_string(i * 7919LL % 100003) + "\n";
    const auto lines = hat::read_lines(dir.write("a", compress(text)));
    REQUIRE(lines.size() == 60000);
    CHECK(lines[59999] == "line " + std::to_string(59999 * 7919LL % 100003));
    CHECK(hat::read_lines(dir.write("z", compress(std::string(5'000'000, 'x'))))[0].size() == 5'000'000);
}

TEST_CASE("Files that cannot be read are named with the reason") {
    const TempFolder dir;
    const auto read = [](const std::string& path) { return message_of<hat::bad_file>([&] { hat::read_lines(path); }); };
    CHECK(read(dir / "missing") == (dir / "missing") + ": cannot be read: No such file or directory");
    CHECK(read(dir.path.string()) == dir.path.string() + ": cannot be read: Is a directory");
    const std::string locked = dir.write("locked", "x\n");
    ::chmod(locked.c_str(), 0);
    if (::geteuid() != 0) CHECK(read(locked) == locked + ": cannot be read: Permission denied");
    ::chmod(locked.c_str(), 0600);
    const std::string packed = compress("some text that is long enough\n");
    CHECK(message_of<hat::bad_file>([&] { hat::read_plain_lines(dir.write("p", packed)); }) ==
          (dir / "p") + ": is gzip-compressed; expected plain UTF-8 text");
}

TEST_CASE("A truncated or damaged compressed file is an error at every length") {
    const TempFolder dir;
    const std::string packed = compress("some text that is long enough\nand a second line\n");
    for (std::size_t n = 2; n < packed.size(); ++n) {
        const std::string path = dir.write("cut", packed.substr(0, n));
        const std::string what = message_of<hat::bad_file>([&] { hat::read_lines(path); });
        REQUIRE_MESSAGE(what.starts_with(path + ": truncated gzip file"), what);
    }
    std::string damaged = packed;
    damaged[packed.size() - 6] = static_cast<char>(damaged[packed.size() - 6] ^ 1);  // the checksum
    CHECK(message_of<hat::bad_file>([&] { hat::read_lines(dir.write("d", damaged)); }) ==
          (dir / "d") + ": corrupt gzip file: incorrect data check");
    CHECK(message_of<hat::bad_file>([&] {
              hat::read_lines(dir.write("t", packed + "tail"));
          }).starts_with((dir / "t") + ": corrupt gzip file: incorrect header check"));
}

TEST_CASE("Text that is not UTF-8 is named with its line") {
    const TempFolder dir;
    CHECK(message_of<hat::bad_file>([&] { hat::read_lines(dir.write("a", "fine\nGr\xFC\xDF\n")); }) ==
          (dir / "a") + ":2: invalid UTF-8: byte 0xFC at column 3; expected UTF-8 text");
    CHECK(message_of<hat::bad_file>([&] { hat::read_lines(dir.write("b", compress("a\nb\nc\xC3"))); }) ==
          (dir / "b") + ":3: invalid UTF-8: byte 0xC3 at column 2; expected UTF-8 text");
    CHECK(message_of<hat::bad_file>([&] { hat::read_lines(dir.write("c", std::string_view("a\nb\0c\n", 6))); }) ==
          (dir / "c") + ":2: NUL byte at column 2; expected UTF-8 text");
    CHECK(message_of<hat::bad_file>([&] {
              hat::read_lines(dir.write("u", "\xFF\xFEh\n"));
          }).starts_with((dir / "u") + ":1: invalid UTF-8: byte 0xFF"));  // UTF-16
}
