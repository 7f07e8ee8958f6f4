#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <support/files.hpp>

using hat_test::contains;
using hat_test::message_of;

TEST_CASE("crc32 gives the published check value, also in pieces") {
    CHECK(hat::crc32("123456789") == 0xCBF43926U);
    CHECK(hat::crc32("6789", hat::crc32("12345")) == 0xCBF43926U);
    CHECK(hat::crc32("") == 0U);
}

TEST_CASE("a file is written, replaced and read back, and no temporary file stays") {
    const hat_test::TemporaryFolder folder;
    const auto path = folder / "a.bin";
    hat::write_file_atomically(path, "first");
    CHECK(hat::read_file(path) == "first");
    CHECK((hat::file_exists(path) && hat::file_exists(folder.path) && !hat::file_exists(folder / "b")));
    const std::string second(100'000, '\0');
    hat::write_file_atomically(path, second);
    CHECK(hat::read_file(path) == second);
    hat::write_file_atomically(path, "");
    CHECK(hat::read_file(path).empty());
    CHECK(hat_test::count_files(folder.path) == 1);
}

TEST_CASE("a file that is not committed never appears") {
    const hat_test::TemporaryFolder folder;
    hat::write_file_atomically(folder / "a", "old");
    {
        hat::AtomicFile file(folder / "a");
        file.write("half of the new");
        CHECK(hat::read_file(folder / "a") == "old");
    }
    CHECK(hat::read_file(folder / "a") == "old");
    CHECK(hat_test::count_files(folder.path) == 1);
}

TEST_CASE("a write that fails half-way leaves the old file and throws with the reason") {
    const hat_test::TemporaryFolder folder;
    hat::write_file_atomically(folder / "a", "old");
    // A limit on the size of files stands in for a full disk.
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit small = before;
    small.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &small);
    const std::string message =
        message_of<hat::bad_file>([&] { hat::write_file_atomically(folder / "a", std::string(10'000, 'x')); });
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    CHECK(contains(message, (folder / "a").string() + ": cannot be written: File too large"));
    CHECK(hat::read_file(folder / "a") == "old");
    CHECK(hat_test::count_files(folder.path) == 1);
}

TEST_CASE("missing files and folders are named with the system's reason") {
    const hat_test::TemporaryFolder folder;
    CHECK(message_of<hat::bad_file>([&] { hat::read_file(folder / "none"); }) ==
          (folder / "none").string() + ": cannot be read: No such file or directory");
    CHECK(contains(message_of<hat::bad_file>([&] { hat::read_file(folder.path); }), "Is a directory"));
    CHECK(contains(message_of<hat::bad_file>([&] { hat::write_file_atomically(folder.path / "no" / "a", "x"); }),
                   "cannot be written: No such file or directory"));
    std::filesystem::create_directory(folder / "taken");
    CHECK(contains(message_of<hat::bad_file>([&] { hat::write_file_atomically(folder / "taken", "x"); }),
                   "cannot be replaced: Is a directory"));
    CHECK(hat_test::count_files(folder.path) == 1);
}

TEST_CASE("a device is refused: it may never end") {
    CHECK(message_of<hat::bad_file>([] { hat::read_file("/dev/zero"); }) == "/dev/zero: is a device, expected a file");
}
