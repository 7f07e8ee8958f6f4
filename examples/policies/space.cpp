// Design spaces: one known when the program is compiled, one read at run time, and one of one's own.
#include <array>
#include <cstdint>
#include <hat/search/searcher.hpp>
#include <hat/space/presets.hpp>
#include <hat/space/text.hpp>
#include <iostream>

struct Tiny {  // one axis per line; a missing axis is a missing member
    static constexpr auto encoder_embed = hat::choices(64, 32);
    static constexpr auto encoder_layers = hat::choices(2);
    static constexpr auto encoder_ffn = hat::choices(128, 64);
    static constexpr auto encoder_heads = hat::choices(4, 2);
    static constexpr auto decoder_embed = hat::choices(64, 32);
    static constexpr auto decoder_layers = hat::choices(2, 1);
    static constexpr auto decoder_ffn = hat::choices(128, 64);
    static constexpr auto decoder_heads = hat::choices(4, 2);
    static constexpr auto cross_heads = hat::choices(4, 2);
    static constexpr auto cross_span = hat::choices(1, 2);
    static constexpr auto qkv = hat::choices(64, 32);  // several: elastic, per layer
};
using TinySpace = hat::Space<Tiny>;

struct Deeper : hat::Iwslt14DeEn {  // a published space with one axis changed
    static constexpr auto decoder_layers = hat::choices(8, 6, 4, 2);
};

struct Uniform {  // a space of one's own: all layers alike, three entries instead of twenty
    using Arch = TinySpace::Arch;
    using Gene = std::array<std::uint8_t, 3>;

    Gene cardinality() const { return {2, 2, 2}; }
    Arch decode(const Gene& gene) const {
        Arch a = TinySpace{}.largest();
        a.decoder.layers = gene[0] == 0 ? 2 : 1;
        a.encoder.ffn.fill(gene[1] == 0 ? 128 : 64);
        a.decoder.ffn.fill(gene[2] == 0 ? 128 : 64);
        return hat::canonical(a);
    }
};
static_assert(hat::SearchSpace<Uniform>);

int main() {
    const TinySpace space;
    hat::Rng rng(1);
    const auto arch = space.random_network(rng);
    std::cout << space.network_count().text() << " networks, one of them:\n" << hat::describe(arch);
    if (!space.contains(arch) || space.decode(space.encode(arch)) != arch) return 1;

    hat::RuntimeAxes axes = hat::to_runtime(space).axes();
    axes.decoder_layers = {4, 3, 2, 1};  // say, from a file or the command line
    const hat::RuntimeSpace wider(axes);
    std::cout << wider.network_count().text() << " networks with up to 4 decoder layers\n";
    if (!wider.contains(arch) || wider.network_count() <= space.network_count()) return 1;

    try {
        axes.qkv = {66};
        const hat::RuntimeSpace impossible(axes);
        return 1;
    } catch (const hat::invalid_value& e) {
        std::cout << e.what() << "\n";  // names the axis and the value
    }

    const bool good = hat::Space<Deeper>{}.largest().decoder.layers == 8 && space.contains(Uniform{}.decode({1, 0, 1}));
    return good ? 0 : 1;
}
