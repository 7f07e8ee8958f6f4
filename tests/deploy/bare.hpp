#pragma once
/// \file
/// A network and what is compiled for it in bare.cpp.

#include <cstddef>
#include <hat/model/stored.hpp>
#include <hat/space/arch.hpp>
#include <span>
#include <string>

namespace hat_test {

inline constexpr hat::Arch<1, 1> bare_arch = [] {
    hat::Arch<1, 1> a{};
    a.encoder = {.embed = 16, .layers = 1, .ffn = {32}, .qkv = {16}, .self_heads = {2}};
    a.decoder = {
        .embed = 16, .layers = 1, .ffn = {32}, .qkv = {16}, .self_heads = {2}, .cross_heads = {2}, .cross_span = {1}};
    return a;
}();
inline constexpr hat::StaticConfig bare_config{.source_vocab = 20, .target_vocab = 20};

/// The translation of "w5" by the generic code and by the compiled one; empty when the file cannot be opened.
std::string translate_bare(std::span<const std::byte> file);

}  // namespace hat_test
