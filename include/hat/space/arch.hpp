#pragma once
/// \file
/// An architecture is one plain value: the search returns it, the elastic model runs it, a static model takes it as
/// template argument, files store it.

#include <algorithm>
#include <array>
#include <cstddef>

namespace hat {

/// Which of the three vocabulary matrices (encoder input, decoder input, output) are one.
enum class EmbeddingSharing {
    none,                  ///< three matrices
    decoder_input_output,  ///< the output projection is the decoder's embedding
    all                    ///< one matrix for all three; the vocabularies must be equal
};

/// One side of a SubTransformer. Entries at and past `layers` are zero, so equal networks compare equal and, as
/// template arguments, are the same type.
template <std::size_t MaxLayers>
struct Stack {
    static constexpr std::size_t max_layers = MaxLayers;  ///< room in the lists

    int embed{};                               ///< embedding width of this side
    int layers{};                              ///< active layers
    std::array<int, MaxLayers> ffn{};          ///< hidden width of each feed-forward block
    std::array<int, MaxLayers> qkv{};          ///< width of q, k and v of each layer's attentions
    std::array<int, MaxLayers> self_heads{};   ///< heads of each self-attention
    std::array<int, MaxLayers> cross_heads{};  ///< decoder only: heads of each encoder-decoder attention
    std::array<int, MaxLayers> cross_span{};   ///< decoder only: attends to the last 1, 2 or 3 encoder layers
    friend constexpr bool operator==(const Stack&, const Stack&) = default;  ///< memberwise
};

/// The phenotype: an ordinary run-time value that is also a structural type.
template <std::size_t EncMax, std::size_t DecMax>
struct Arch {
    static constexpr std::size_t encoder_max = EncMax;  ///< room for encoder layers
    static constexpr std::size_t decoder_max = DecMax;  ///< room for decoder layers

    Stack<EncMax> encoder{};                                               ///< reads the source
    Stack<DecMax> decoder{};                                               ///< writes the target
    friend constexpr bool operator==(const Arch&, const Arch&) = default;  ///< memberwise
};

/// Capacity of architectures read at run time.
inline constexpr std::size_t runtime_max_layers = 16;

/// What the elastic model runs and files store: any architecture of up to 16 + 16 layers.
using RuntimeArch = Arch<runtime_max_layers, runtime_max_layers>;

/// The same architecture with another capacity; layers that do not fit must be inactive.
template <std::size_t ToEnc, std::size_t ToDec, std::size_t E, std::size_t D>
constexpr Arch<ToEnc, ToDec> resize_arch(const Arch<E, D>& a) {
    Arch<ToEnc, ToDec> out{};
    const auto copy = [](const auto& from, auto& to) {
        to.embed = from.embed;
        to.layers = from.layers;
        const auto row = [](const auto& f, auto& t) {
            std::copy_n(f.begin(), std::min(f.size(), t.size()), t.begin());
        };
        row(from.ffn, to.ffn);
        row(from.qkv, to.qkv);
        row(from.self_heads, to.self_heads);
        row(from.cross_heads, to.cross_heads);
        row(from.cross_span, to.cross_span);
    };
    copy(a.encoder, out.encoder);
    copy(a.decoder, out.decoder);
    return out;
}

/// The run-time form of any architecture of up to 16 + 16 layers.
template <std::size_t E, std::size_t D>
requires(E <= runtime_max_layers && D <= runtime_max_layers) constexpr RuntimeArch to_runtime(const Arch<E, D>& a) {
    return resize_arch<runtime_max_layers, runtime_max_layers>(a);
}

/// Zeros what an inactive layer says, and clamps every attention span to the active encoder depth: equal networks
/// become equal values.
template <std::size_t E, std::size_t D>
constexpr Arch<E, D> canonical(Arch<E, D> a) {
    const auto clear = [](auto& s) {
        for (auto* row : {&s.ffn, &s.qkv, &s.self_heads, &s.cross_heads, &s.cross_span})
            for (std::size_t i = static_cast<std::size_t>(std::max(0, s.layers)); i < row->size(); ++i) (*row)[i] = 0;
    };
    clear(a.encoder);
    clear(a.decoder);
    a.encoder.cross_heads = {};
    a.encoder.cross_span = {};
    for (int& span : a.decoder.cross_span) span = std::min(span, a.encoder.layers);
    return a;
}

}  // namespace hat
