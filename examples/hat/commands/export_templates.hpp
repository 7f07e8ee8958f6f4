#pragma once
/// \file
/// The files of an exported project. @NAME@ and the other words between @ are replaced.

namespace hat::cli {

inline constexpr const char* export_cmake =
    R"file(# Written by 'hat export'. Builds the program `translate` with a C++20 compiler and three libraries of headers: hat,
# xsimd and Boost.Hana. Where they are not found: -DHAT_INCLUDE_DIR=... -DXSIMD_INCLUDE_DIR=... -DHANA_INCLUDE_DIR=...
cmake_minimum_required(VERSION 3.16...4.0)
project(@NAME@ LANGUAGES CXX)

option(EMBED "The weights become a part of the program" @EMBED@)
option(NATIVE "Compile for the instruction set of this machine" ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

# headers of the machine, also when building for another one: they are the same
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
find_path(HAT_INCLUDE_DIR hat/deploy/static_translator.hpp HINTS ${CMAKE_CURRENT_SOURCE_DIR}/include)
find_path(XSIMD_INCLUDE_DIR xsimd/xsimd.hpp HINTS ${CMAKE_CURRENT_SOURCE_DIR}/include)
find_path(HANA_INCLUDE_DIR boost/hana.hpp HINTS ${CMAKE_CURRENT_SOURCE_DIR}/include)
foreach(library HAT XSIMD HANA)
  if(NOT ${library}_INCLUDE_DIR)
    message(FATAL_ERROR "the headers of ${library} are not found: pass -D${library}_INCLUDE_DIR=<folder>")
  endif()
endforeach()

# the three alone: their folders may hold other things, even another system's
set(only ${CMAKE_CURRENT_BINARY_DIR}/include)
file(MAKE_DIRECTORY ${only})
file(CREATE_LINK ${HAT_INCLUDE_DIR}/hat ${only}/hat SYMBOLIC)
file(CREATE_LINK ${XSIMD_INCLUDE_DIR}/xsimd ${only}/xsimd SYMBOLIC)
file(CREATE_LINK ${HANA_INCLUDE_DIR}/boost ${only}/boost SYMBOLIC)

add_executable(translate main.cpp)
target_compile_features(translate PRIVATE cxx_std_20)
target_include_directories(translate SYSTEM PRIVATE ${only})
# -ffp-contract=off: sums are as hat's kernels say, so that translations are those of `hat translate`
target_compile_options(translate PRIVATE -fno-exceptions -fno-rtti -ffp-contract=off -ffunction-sections
  -fdata-sections)
if(NATIVE AND NOT CMAKE_CROSSCOMPILING)
  target_compile_options(translate PRIVATE -march=native)
endif()
if(NOT APPLE)
  target_link_options(translate PRIVATE -s -Wl,--gc-sections)
endif()

set(weights ${CMAKE_CURRENT_SOURCE_DIR}/@FILE@)
if(EMBED)
  enable_language(ASM)
  target_sources(translate PRIVATE weights.S)
  set_source_files_properties(weights.S PROPERTIES COMPILE_DEFINITIONS "WEIGHTS=\"${weights}\"" OBJECT_DEPENDS ${weights})
  target_compile_definitions(translate PRIVATE EMBED)
else()
  configure_file(${weights} ${CMAKE_CURRENT_BINARY_DIR}/@FILE@ COPYONLY)
endif()
)file";

inline constexpr const char* export_assembly = R"file(/* The weight file as read-only data of the program. */
#if defined(__APPLE__)
    .section __TEXT,__const
    .balign 16384
    .globl _hat_weights, _hat_weights_end
_hat_weights:
    .incbin WEIGHTS
_hat_weights_end:
#else
    .section .rodata
    .balign 4096
    .globl hat_weights, hat_weights_end
hat_weights:
    .incbin WEIGHTS
hat_weights_end:
    .section .note.GNU-stack, "", %progbits
#endif
)file";

inline constexpr const char* export_main =
    R"file(// Written by 'hat export': translates standard input, a sentence a line. Usage: translate [--weights FILE] [--time]
#include <chrono>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <hat/deploy/packed_weights.hpp>
#include <hat/deploy/static_translator.hpp>
#include <string>
#include <string_view>

#include "@NAME@.hpp"

#ifdef EMBED
extern "C" const std::byte hat_weights[], hat_weights_end[];  // weights.S
#endif

namespace {

using Translator = hat::StaticTranslator<@NAME@_transformer>;

double milliseconds() {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
/// False at the end of the input.
bool read_line(std::string& line) {
    line.clear();
    int c = 0;
    while ((c = std::getc(stdin)) != EOF && c != '\n') line.push_back(static_cast<char>(c));
    return c != EOF || !line.empty();
}
int fail(std::string_view what, std::string_view where) {
    std::fprintf(stderr, "translate: error: %.*s%.*s\n", static_cast<int>(where.size()), where.data(),
                 static_cast<int>(what.size()), what.data());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    const double start = milliseconds();
    bool time = false;
    std::string path;
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        if (option == "--time") {
            time = true;
        } else if (option == "--weights" && i + 1 < argc) {
            path = argv[++i];
        } else {
            const bool help = option == "--help";
            std::fprintf(help ? stdout : stderr,
                         "Usage: translate [--weights FILE] [--time] < text\n"
                         "Translates standard input, a sentence a line. --weights: the weight file, beside the program\n"
                         "if not given@ITS_WEIGHTS@; --time: times on standard error.\n");
            return help ? 0 : 2;
        }
    }
    hat::MappedFile file;
    std::span<const std::byte> bytes;
#ifdef EMBED
    if (path.empty()) bytes = {hat_weights, hat_weights_end};
#endif
    if (bytes.empty()) {
        if (path.empty()) {
            path = argc > 0 ? argv[0] : "";
            path = path.substr(0, path.find_last_of('/') + 1) + "@FILE@";
        }
        if (!file.open(path.c_str())) return fail(std::strerror(errno), path + ": cannot be read: ");
        bytes = file.bytes();
    }
    const std::string name = path.empty() ? "the weights in the program: " : path + ": ";
    hat::AlignedBytes unpacked;
    if (hat::is_packed(bytes)) {
        std::size_t size = 0;
        auto error = hat::unpacked_bytes(bytes, size);
        if (error == hat::WeightFileError::none) {
            unpacked = hat::AlignedBytes(size);
            error = unpacked.data() ? hat::unpack_weights(bytes, {unpacked.data(), size}) : hat::WeightFileError::no_memory;
        }
        if (error != hat::WeightFileError::none) return fail(hat::message(error), name);
        bytes = {unpacked.data(), size};
    }
    static Translator translator;
    if (const auto error = translator.open(bytes); error != hat::WeightFileError::none)
        return fail(hat::message(error), name);
    if (time) std::fprintf(stderr, "ready after %.2f ms\n", milliseconds() - start);

    std::string line;
    for (unsigned long number = 1; read_line(line); ++number) {
        std::string_view sentence = line;
        if (number == 1 && sentence.starts_with("\xEF\xBB\xBF")) sentence.remove_prefix(3);
        if (sentence.ends_with('\r')) sentence.remove_suffix(1);
        const double begin = milliseconds();
        const std::string text = translator.translate(sentence);
        const auto& result = translator.last();
        if (result.status != hat::TextStatus::ok) {
            std::string where = "standard input:" + std::to_string(number) + ": ", what(hat::message(result.status));
            if (result.status == hat::TextStatus::invalid_utf8 || result.status == hat::TextStatus::nul_byte)
                what += " at column " + std::to_string(result.position + 1) + "; expected UTF-8 text";
            std::fflush(stdout);
            return fail(what, where);
        }
        if (time)
            std::fprintf(stderr, "line %lu: %.2f ms, %zu tokens into %zu\n", number, milliseconds() - begin,
                         result.source_tokens, result.target_tokens);
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fputc('\n', stdout);
        std::fflush(stdout);
    }
    if (std::ferror(stdin) != 0) return fail("standard input cannot be read", "");
    if (std::ferror(stdout) != 0) return fail("standard output cannot be written", "");
    return 0;
}
)file";

}  // namespace hat::cli
