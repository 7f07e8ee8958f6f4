#include <doctest/doctest.h>

#include <filesystem>
#include <hat/io/file_path.hpp>
#include <string>
#include <string_view>
#include <type_traits>

namespace {

std::string name_of(const hat::FilePath& path) { return path.string(); }

TEST_CASE("whatever names a file is a FilePath") {
    const std::string text = "folder/text file";
    const std::filesystem::path path = std::filesystem::path("folder") / "text file";
    CHECK(name_of("folder/text file") == text);
    CHECK(name_of(text) == text);
    CHECK(name_of(std::string_view(text)) == text);
    CHECK(name_of(path) == text);
    CHECK(name_of(path.parent_path() / "text file") == text);
    CHECK(std::string_view(hat::FilePath(path).c_str()) == text);
    CHECK(name_of("") == "");
    static_assert(!std::is_convertible_v<int, hat::FilePath>);
    static_assert(!std::is_convertible_v<std::u16string, hat::FilePath>);
}

}  // namespace
