#pragma once
// Files for one test case, named by strings so that messages can be compared.
#include <fstream>
#include <hat/core/error.hpp>
#include <string>
#include <string_view>
#include <support/files.hpp>

struct TempFolder : hat_test::TemporaryFolder {
    std::string write(const std::string& name, std::string_view bytes) const {
        std::ofstream(path / name, std::ios::binary) << bytes;
        return (path / name).string();
    }
    std::string operator/(const std::string& name) const { return (path / name).string(); }
};

using hat_test::message_of;
