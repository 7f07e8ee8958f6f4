#include <doctest/doctest.h>

#include <hat/space/reflect.hpp>
#include <type_traits>
#include <vector>

TEST_CASE("every field of an architecture is visited once, by name and in order") {
    hat::Arch<2, 3> arch;
    std::vector<std::string> names;
    int next = 1;
    hat::for_each_field(arch, [&](const std::string& name, auto& value) {
        names.push_back(name);
        if constexpr (std::is_same_v<std::remove_reference_t<decltype(value)>, int>)
            value = next++;
        else
            value[0] = next++;
    });
    CHECK(names == std::vector<std::string>{"encoder.embed", "encoder.layers", "encoder.ffn", "encoder.qkv",
                                            "encoder.self_heads", "decoder.embed", "decoder.layers", "decoder.ffn",
                                            "decoder.qkv", "decoder.self_heads", "decoder.cross_heads",
                                            "decoder.cross_span"});
    CHECK(arch.encoder.embed == 1);
    CHECK(arch.encoder.self_heads[0] == 5);
    CHECK(arch.decoder.layers == 7);
    CHECK(arch.decoder.cross_span[0] == 12);
    const auto& constant = arch;
    int sum = 0;
    hat::for_each_field(constant, [&](const std::string&, const auto& value) {
        if constexpr (std::is_same_v<decltype(value), const int&>)
            sum += value;
        else
            sum += value[0];
    });
    CHECK(sum == 78);
}
