/// \file
/// Stands for the program of one level: the compiler's flags must give the kernels what the level is for. Prints its
/// own file's name and how it was called, and ends as it is told.

#include <sys/types.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <hat/kernel/amx.hpp>
#include <hat/kernel/simd.hpp>
#include <iostream>
#include <string>
#include <string_view>

namespace {

constexpr std::string_view level = HAT_LEVEL;
constexpr bool bf16 = sizeof(hat::simd::Bf16Pairs) == sizeof(hat::simd::Vec<float>);  // one register
static_assert(hat::simd::width<float> == (level == "x86-64" ? 4 : level == "x86-64-v3" ? 8 : 16));
static_assert(bf16 == (level == "x86-64-v4-bf16" || level == "x86-64-v4-amx"));
static_assert(hat::simd::tiles_compiled == (level == "x86-64-v4-amx"));

}  // namespace

int main(int argc, char** argv) {
    std::cout << std::filesystem::read_symlink("/proc/self/exe").filename().string() << " " << ::getpid();
    for (int i = 0; i < argc; ++i) std::cout << " [" << argv[i] << "]";
    for (std::string line; std::getline(std::cin, line);) std::cout << " <" << line << ">";
    std::cout << std::endl;
    const std::string_view how = argc > 2 ? argv[1] : "";
    if (how == "exit") return std::stoi(argv[2]);
    if (how == "raise") std::raise(std::stoi(argv[2]));
    return 0;
}
