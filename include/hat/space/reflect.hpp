#pragma once
/// \file
/// The fields of an architecture by name, declared once for printing, parsing, files and headers. With model/static.hpp
/// the only file that includes Boost.Hana; neither has a version of it to work around, from 1.74 on.

#include <boost/hana/for_each.hpp>
#include <boost/hana/tuple.hpp>
#include <cstddef>
#include <hat/space/arch.hpp>
#include <string>
#include <string_view>
#include <type_traits>

namespace hat {

/// A data member: its name and where it lies.
template <class Owner, class T>
struct Field {
    std::string_view name;  ///< as messages call it
    T Owner::*member;       ///< where it is
};

/// Makes a Field.
template <class Owner, class T>
constexpr Field<Owner, T> field(std::string_view name, T Owner::*member) {
    return {name, member};
}

/// The fields both sides have, in order: one number each first, then one per layer.
template <std::size_t N>
inline constexpr auto stack_fields = boost::hana::make_tuple(field("embed", &Stack<N>::embed),
                                                             field("layers", &Stack<N>::layers),
                                                             field("ffn", &Stack<N>::ffn), field("qkv", &Stack<N>::qkv),
                                                             field("self_heads", &Stack<N>::self_heads));

/// The fields only a decoder has.
template <std::size_t N>
inline constexpr auto cross_fields = boost::hana::make_tuple(field("cross_heads", &Stack<N>::cross_heads),
                                                             field("cross_span", &Stack<N>::cross_span));

/// Calls f(name, value) for each field of an Arch, const or not: "encoder.embed" .. "decoder.cross_span". Values are
/// int& or std::array<int, max layers>&. The encoder's cross_* fields, always zero, are left out.
template <class A, class F>
requires requires(A& a) {
    a.encoder.layers;
    a.decoder.layers;
}
constexpr void for_each_field(A& arch, F&& f) {
    constexpr std::size_t enc = std::remove_const_t<A>::encoder_max, dec = std::remove_const_t<A>::decoder_max;
    const auto each = [&f](const char* side, auto& stack, const auto& fields) {
        boost::hana::for_each(fields, [&](const auto& one) { f(side + std::string(one.name), stack.*one.member); });
    };
    each("encoder.", arch.encoder, stack_fields<enc>);
    each("decoder.", arch.decoder, stack_fields<dec>);
    each("decoder.", arch.decoder, cross_fields<dec>);
}

}  // namespace hat
