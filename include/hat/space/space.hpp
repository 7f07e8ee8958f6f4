#pragma once
/// \file
/// The design space: which SubTransformers exist, how a gene names one, how many there are, and how to draw them.
///
/// An axis is the list of choices of one property. Per-layer properties (FFN width, heads, attention span, qkv width)
/// are chosen anew for every layer. Space<Spec> has its axes from a plain struct, at compile time; RuntimeSpace from
/// vectors, e.g. read from a file. Both are this one template.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <hat/core/error.hpp>
#include <hat/core/rng.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/concepts.hpp>
#include <hat/space/count.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace hat {

/// The choices of one axis of a compile-time space.
template <class... I>
consteval auto choices(I... i) {
    return std::array<int, sizeof...(I)>{i...};
}

/// The axes of a space read at run time; the same names as the members of a compile-time Spec.
struct RuntimeAxes {
    std::vector<int> encoder_embed;   ///< embedding widths of the encoder
    std::vector<int> encoder_layers;  ///< encoder depths
    std::vector<int> encoder_ffn;     ///< hidden widths of an encoder layer's feed-forward block
    std::vector<int> encoder_heads;   ///< heads of an encoder layer's self-attention
    std::vector<int> decoder_embed;   ///< embedding widths of the decoder
    std::vector<int> decoder_layers;  ///< decoder depths
    std::vector<int> decoder_ffn;     ///< hidden widths of a decoder layer's feed-forward block
    std::vector<int> decoder_heads;   ///< heads of a decoder layer's self-attention
    std::vector<int> cross_heads;     ///< heads of a decoder layer's encoder-decoder attention
    std::vector<int> cross_span;      ///< encoder layers a decoder layer attends to: the last 1, 2 or 3
    std::vector<int> qkv;             ///< widths of q, k and v of a layer; one choice: fixed, and not part of genes
    friend bool operator==(const RuntimeAxes&, const RuntimeAxes&) = default;  ///< memberwise
};

/// The members that every space declares, whether `static constexpr auto x = hat::choices(...)` or vectors.
template <class A>
concept SpaceAxes = requires(const A& a) {
    a.encoder_embed.size();
    a.encoder_layers.size();
    a.encoder_ffn.size();
    a.encoder_heads.size();
    a.decoder_embed.size();
    a.decoder_layers.size();
    a.decoder_ffn.size();
    a.decoder_heads.size();
    a.cross_heads.size();
    a.cross_span.size();
    a.qkv.size();
};

/// Axes that are compile-time constants of their type.
template <class A>
concept StaticAxes = SpaceAxes<A> && std::is_empty_v<A> && requires {
    typename std::bool_constant<(A::encoder_layers.size() + A::decoder_layers.size() > 0)>;
};

/// Calls f(name, axis) for each axis of `axes`, a Spec{} or RuntimeAxes, in the order of the members above.
template <class Axes, class F>
requires SpaceAxes<std::remove_const_t<Axes>>
constexpr void for_each_axis(Axes& axes, F&& f) {
    f(std::string_view("encoder_embed"), axes.encoder_embed);
    f(std::string_view("encoder_layers"), axes.encoder_layers);
    f(std::string_view("encoder_ffn"), axes.encoder_ffn);
    f(std::string_view("encoder_heads"), axes.encoder_heads);
    f(std::string_view("decoder_embed"), axes.decoder_embed);
    f(std::string_view("decoder_layers"), axes.decoder_layers);
    f(std::string_view("decoder_ffn"), axes.decoder_ffn);
    f(std::string_view("decoder_heads"), axes.decoder_heads);
    f(std::string_view("cross_heads"), axes.cross_heads);
    f(std::string_view("cross_span"), axes.cross_span);
    f(std::string_view("qkv"), axes.qkv);
}

/// One entry of a gene: the axis it chooses from and where the choice goes.
struct GeneSite {
    std::string_view axis;  ///< its name
    int layer;              ///< -1: a property of the whole encoder or decoder
    bool decoder;           ///< which side
    bool in_gene;           ///< false: the one choice of a fixed qkv width, which takes no entry
};

namespace detail {

/// What is wrong with the axes of a space, if anything.
struct AxisFault {
    enum class Kind { none, empty, too_many, not_positive, duplicate, too_deep, span, heads };
    Kind kind = Kind::none;
    std::string_view axis{};
    int value = 0;
    int other = 0;
};

template <SpaceAxes Axes>
constexpr AxisFault find_fault(const Axes& axes) {
    using Kind = AxisFault::Kind;
    AxisFault fault;
    const auto report = [&](Kind kind, std::string_view axis, int value = 0, int other = 0) {
        if (fault.kind == Kind::none) fault = {kind, axis, value, other};
    };
    for_each_axis(axes, [&](std::string_view name, const auto& axis) {
        if (axis.size() == 0) report(Kind::empty, name);
        if (axis.size() > 255) report(Kind::too_many, name, static_cast<int>(axis.size()));
        for (std::size_t i = 0; i < axis.size(); ++i) {
            if (axis[i] < 1) report(Kind::not_positive, name, axis[i]);
            for (std::size_t j = 0; j < i; ++j)
                if (axis[i] == axis[j]) report(Kind::duplicate, name, axis[i]);
        }
    });
    if (fault.kind != Kind::none) return fault;
    const auto each = [](const auto& axis, auto&& f) {
        for (std::size_t i = 0; i < axis.size(); ++i) f(axis[i]);
    };
    const int deepest = static_cast<int>(runtime_max_layers);
    each(axes.encoder_layers, [&](int v) {
        if (v > deepest) report(Kind::too_deep, "encoder_layers", v, deepest);
    });
    each(axes.decoder_layers, [&](int v) {
        if (v > deepest) report(Kind::too_deep, "decoder_layers", v, deepest);
    });
    each(axes.cross_span, [&](int v) {
        if (v > 3) report(Kind::span, "cross_span", v);
    });
    each(axes.qkv, [&](int q) {
        const auto divides = [&](std::string_view name) {
            return [&, name, q](int h) {
                if (q % h != 0) report(Kind::heads, name, h, q);
            };
        };
        each(axes.encoder_heads, divides("encoder_heads"));
        each(axes.decoder_heads, divides("decoder_heads"));
        each(axes.cross_heads, divides("cross_heads"));
    });
    return fault;
}

template <class Axes>
constexpr AxisFault static_fault() {
    if constexpr (StaticAxes<Axes>)
        return find_fault(Axes{});
    else
        return {};
}

template <class Axis>
constexpr int largest_choice(const Axis& axis) {
    int most = 0;
    for (std::size_t i = 0; i < axis.size(); ++i) most = std::max(most, axis[i]);
    return most;
}

/// Gene and Arch of run-time axes: sizes known at run time, capacity fixed.
template <class Axes>
struct SpaceTypes {
    using Arch = RuntimeArch;
    using Gene = std::vector<std::uint8_t>;
};
/// Gene and Arch of compile-time axes: exactly as large as needed.
template <StaticAxes Spec>
struct SpaceTypes<Spec> {
    static constexpr std::size_t enc = static_cast<std::size_t>(largest_choice(Spec::encoder_layers));
    static constexpr std::size_t dec = static_cast<std::size_t>(largest_choice(Spec::decoder_layers));
    using Arch = hat::Arch<enc, dec>;
    using Gene = std::array<std::uint8_t, 4 + 2 * enc + 4 * dec + (Spec::qkv.size() > 1 ? enc + dec : 0)>;
};

template <class Axis>
std::string choices_text(const Axis& axis) {
    std::string out;
    for (std::size_t i = 0; i < axis.size(); ++i) out += (i ? ", " : "") + std::to_string(axis[i]);
    return out;
}

}  // namespace detail

/// A design space. `Axes` is a struct with one `static constexpr auto` per axis (an empty, constexpr value), or
/// RuntimeAxes. A gene is a flat row of choice indices, an Arch the network they mean.
template <SpaceAxes Axes>
class Space {
    static constexpr detail::AxisFault::Kind fault = detail::static_fault<Axes>().kind;
    static_assert(fault != detail::AxisFault::Kind::empty, "hat::Space: an axis has no choice");
    static_assert(fault != detail::AxisFault::Kind::too_many, "hat::Space: an axis has more than 255 choices");
    static_assert(fault != detail::AxisFault::Kind::not_positive, "hat::Space: a choice is not positive");
    static_assert(fault != detail::AxisFault::Kind::duplicate, "hat::Space: an axis lists a choice twice");
    static_assert(fault != detail::AxisFault::Kind::too_deep, "hat::Space: more than 16 layers");
    static_assert(fault != detail::AxisFault::Kind::span, "hat::Space: cross_span must be 1, 2 or 3");
    static_assert(fault != detail::AxisFault::Kind::heads, "hat::Space: heads must divide qkv");

public:
    using Arch = typename detail::SpaceTypes<Axes>::Arch;  ///< a network of the space
    using Gene = typename detail::SpaceTypes<Axes>::Gene;  ///< a network as choices, one per entry

    /// A space whose axes are known when compiling.
    constexpr Space() requires StaticAxes<Axes>
    = default;

    /// Throws invalid_value naming the axis and the value if the axes make no space.
    explicit Space(Axes axes) requires(!StaticAxes<Axes>) : axes_(std::move(axes)) {
        using Kind = detail::AxisFault::Kind;
        const auto bad = detail::find_fault(axes_);
        const std::string axis(bad.axis), value = std::to_string(bad.value), other = std::to_string(bad.other);
        const auto fail = [&](const std::string& what) { return invalid_value("hat::Space: " + axis + " " + what); };
        switch (bad.kind) {
            case Kind::none:
                break;
            case Kind::empty:
                throw fail("has no choice, so the space has no network");
            case Kind::too_many:
                throw fail("has " + value + " choices, expected at most 255");
            case Kind::not_positive:
                throw fail("has the choice " + value + ", expected positive numbers");
            case Kind::duplicate:
                throw fail("has the choice " + value + " twice");
            case Kind::too_deep:
                throw fail("has the choice " + value + ", expected at most " + other);
            case Kind::span:
                throw fail("has the choice " + value + ", expected 1, 2 or 3 encoder layers");
            case Kind::heads:
                throw fail("has the choice " + value + ", which does not divide the qkv width " + other);
        }
    }

    /// The choices of every size.
    constexpr const Axes& axes() const { return axes_; }

    /// The one place that knows the gene's layout (the reference's, semantics section 13; elastic qkv widths follow
    /// at the end): calls at(site, axis, field) for each entry, in order.
    template <class A, class F>
    constexpr void visit(A& a, F&& at) const {
        const auto enc = static_cast<std::size_t>(detail::largest_choice(axes_.encoder_layers));
        const auto dec = static_cast<std::size_t>(detail::largest_choice(axes_.decoder_layers));
        const auto each = [&](std::string_view name, bool decoder, const auto& axis, auto& row, bool in_gene = true) {
            for (std::size_t i = 0; i < (decoder ? dec : enc); ++i)
                at(GeneSite{name, static_cast<int>(i), decoder, in_gene}, axis, row[i]);
        };
        at(GeneSite{"encoder_embed", -1, false, true}, axes_.encoder_embed, a.encoder.embed);
        at(GeneSite{"encoder_layers", -1, false, true}, axes_.encoder_layers, a.encoder.layers);
        each("encoder_ffn", false, axes_.encoder_ffn, a.encoder.ffn);
        each("encoder_heads", false, axes_.encoder_heads, a.encoder.self_heads);
        at(GeneSite{"decoder_embed", -1, true, true}, axes_.decoder_embed, a.decoder.embed);
        at(GeneSite{"decoder_layers", -1, true, true}, axes_.decoder_layers, a.decoder.layers);
        each("decoder_ffn", true, axes_.decoder_ffn, a.decoder.ffn);
        each("decoder_heads", true, axes_.decoder_heads, a.decoder.self_heads);
        each("cross_heads", true, axes_.cross_heads, a.decoder.cross_heads);
        each("cross_span", true, axes_.cross_span, a.decoder.cross_span);
        const bool elastic = axes_.qkv.size() > 1;
        each("qkv", false, axes_.qkv, a.encoder.qkv, elastic);
        each("qkv", true, axes_.qkv, a.decoder.qkv, elastic);
    }

    /// Number of entries of a gene.
    constexpr std::size_t gene_count() const {
        Arch scratch{};
        std::size_t n = 0;
        visit(scratch, [&](const GeneSite& site, const auto&, int&) { n += site.in_gene; });
        return n;
    }
    /// Number of choices of each entry of a gene.
    constexpr Gene cardinality() const {
        Gene n = blank();
        Arch scratch{};
        std::size_t i = 0;
        visit(scratch, [&](const GeneSite& site, const auto& axis, int&) {
            if (site.in_gene) n[i++] = static_cast<std::uint8_t>(axis.size());
        });
        return n;
    }

    /// The network a gene means, in canonical form. Throws invalid_value if it is no gene of this space.
    constexpr Arch decode(const Gene& gene) const { return canonical(decode_all(gene)); }

    /// As decode(), but with the choices of inactive layers and unclamped attention spans: all that the gene says.
    constexpr Arch decode_all(const Gene& gene) const {
        if (gene.size() != gene_count())
            throw invalid_value("hat::Space: a gene has " + std::to_string(gene.size()) + " entries, expected " +
                                std::to_string(gene_count()));
        Arch a{};
        std::size_t i = 0;
        visit(a, [&](const GeneSite& site, const auto& axis, int& field) {
            const std::size_t choice = site.in_gene ? gene[i++] : 0;
            if (choice >= axis.size())
                throw invalid_value("hat::Space: gene entry " + std::to_string(i - 1) + " (" + std::string(site.axis) +
                                    ") is " + std::to_string(choice) + ", expected less than " +
                                    std::to_string(axis.size()));
            field = axis[choice];
        });
        return a;
    }

    /// A gene of the network. Entries of inactive layers that are zero are filled from layer 0, as the reference
    /// does; others are kept, so encode(decode_all(gene)) == gene. Throws invalid_value naming the axis and the value
    /// if the network is not in this space.
    template <std::size_t E, std::size_t D>
    constexpr Gene encode(const hat::Arch<E, D>& arch) const {
        Gene gene = blank();
        const Fault bad = encode_into(arch, gene);
        if (!bad.axis.empty())
            throw invalid_value("hat::Space: " + std::string(bad.axis) +
                                (bad.layer < 0 ? ""
                                               : " of " + std::string(bad.decoder ? "decoder" : "encoder") + " layer " +
                                                     std::to_string(bad.layer)) +
                                " is " + std::to_string(bad.value) + ", expected one of " + choices_of(bad.axis));
        return gene;
    }
    /// Whether the network is in this space.
    template <std::size_t E, std::size_t D>
    constexpr bool contains(const hat::Arch<E, D>& arch) const {
        Gene gene = blank();
        return encode_into(arch, gene).axis.empty();
    }

    /// The choices of each entry of a gene.
    std::vector<std::vector<int>> gene_choices() const {
        std::vector<std::vector<int>> out;
        Arch scratch{};
        visit(scratch, [&](const GeneSite& site, const auto& axis, int&) {
            if (site.in_gene) out.emplace_back(axis.begin(), axis.end());
        });
        return out;
    }
    /// A gene with the choices themselves in place of their indices: how the reference writes it.
    std::vector<int> gene_values(const Gene& gene) const {
        std::vector<int> out;
        Arch a = decode_all(gene);
        visit(a, [&](const GeneSite& site, const auto&, int& field) {
            if (site.in_gene) out.push_back(field);
        });
        return out;
    }
    /// The inverse of gene_values(). Throws invalid_value naming the entry.
    Gene gene_of_values(std::span<const int> values) const {
        const auto lists = gene_choices();
        if (values.size() != lists.size())
            throw invalid_value("hat::Space: a gene has " + std::to_string(values.size()) + " entries, expected " +
                                std::to_string(lists.size()));
        Gene gene = blank();
        for (std::size_t i = 0; i < values.size(); ++i) {
            const auto at = std::find(lists[i].begin(), lists[i].end(), values[i]);
            if (at == lists[i].end())
                throw invalid_value("hat::Space: gene entry " + std::to_string(i) + " is " + std::to_string(values[i]) +
                                    ", expected one of " + detail::choices_text(lists[i]));
            gene[i] = static_cast<std::uint8_t>(at - lists[i].begin());
        }
        return gene;
    }

    /// The exact number of distinct networks: canonical forms, not genes.
    BigCount network_count() const {
        BigCount sum;
        for_each_depth([&](int, int, const BigCount& n) { sum += n; });
        return sum;
    }

    /// Uniform over genes: depths are equally likely, and inactive entries are drawn too.
    Gene random_gene(Rng& rng) const {
        Gene gene = cardinality();
        for (auto& entry : gene) entry = static_cast<std::uint8_t>(rng.below(entry));
        return gene;
    }
    /// Uniform over distinct networks: each depth is as likely as it has networks.
    Arch random_network(Rng& rng) const {
        Arch a = decode_all(random_gene(rng));
        BigCount rank = BigCount::random_below(network_count(), rng);
        bool found = false;
        for_each_depth([&](int encoder, int decoder, const BigCount& n) {
            if (found) return;
            if (rank < n) {
                a.encoder.layers = encoder;
                a.decoder.layers = decoder;
                found = true;
            } else {
                rank -= n;
            }
        });
        const auto spans = distinct_spans(a.encoder.layers);
        for (std::size_t i = 0; i < static_cast<std::size_t>(a.decoder.layers); ++i)
            a.decoder.cross_span[i] = spans[rng.below(spans.size())];
        return canonical(a);
    }

    /// The network with the largest choice of every axis.
    constexpr Arch largest() const {
        return extreme([](int a, int b) { return a > b; });
    }
    /// The network with the smallest choice of every axis.
    constexpr Arch smallest() const {
        return extreme([](int a, int b) { return a < b; });
    }

    /// Spaces are equal if their axes are.
    friend bool operator==(const Space& a, const Space& b) requires(!StaticAxes<Axes>) { return a.axes_ == b.axes_; }

private:
    struct Fault {
        std::string_view axis{};  // empty: none
        int layer = -1;
        bool decoder = false;
        int value = 0;
    };

    constexpr Gene blank() const {
        if constexpr (StaticAxes<Axes>)
            return Gene{};
        else
            return Gene(gene_count());
    }

    std::string choices_of(std::string_view wanted) const {
        std::string out;
        for_each_axis(axes_, [&](std::string_view name, const auto& axis) {
            if (name == wanted) out = detail::choices_text(axis);
        });
        return out;
    }

    template <std::size_t E, std::size_t D>
    constexpr Fault encode_into(const hat::Arch<E, D>& arch, Gene& gene) const {
        const auto has = [](const auto& axis, int v) { return std::find(axis.begin(), axis.end(), v) != axis.end(); };
        if (arch.encoder.layers > static_cast<int>(E) || !has(axes_.encoder_layers, arch.encoder.layers))
            return {"encoder_layers", -1, false, arch.encoder.layers};
        if (arch.decoder.layers > static_cast<int>(D) || !has(axes_.decoder_layers, arch.decoder.layers))
            return {"decoder_layers", -1, true, arch.decoder.layers};
        Arch a = resize_arch<Arch::encoder_max, Arch::decoder_max>(arch);
        Fault bad;
        std::size_t i = 0;
        int first = 0;  // layer 0's choice of the same axis
        visit(a, [&](const GeneSite& site, const auto& axis, int& field) {
            if (site.layer <= 0) first = field;
            const bool active = site.layer < (site.decoder ? a.decoder.layers : a.encoder.layers);
            const int value = !active && field == 0 ? first : field;
            auto at = std::find(axis.begin(), axis.end(), value);
            // a span clamped to the depth stands for every span at least as long
            if (at == axis.end() && site.axis == "cross_span" && value == a.encoder.layers)
                at = std::find_if(axis.begin(), axis.end(), [&](int v) { return v > value; });
            if (at == axis.end() && bad.axis.empty()) bad = {site.axis, site.layer, site.decoder, value};
            if (site.in_gene) gene[i++] = static_cast<std::uint8_t>(at - axis.begin());
        });
        return bad;
    }

    template <class Better>
    constexpr Arch extreme(Better better) const {
        Arch a{};
        visit(a, [&](const GeneSite&, const auto& axis, int& field) {
            field = axis[0];
            for (std::size_t i = 1; i < axis.size(); ++i)
                if (better(axis[i], field)) field = axis[i];
        });
        return canonical(a);
    }

    /// The different spans that are left when an encoder has this depth.
    std::vector<int> distinct_spans(int depth) const {
        std::vector<int> out;
        for (const int span : axes_.cross_span) {
            const int clamped = std::min(span, depth);
            if (std::find(out.begin(), out.end(), clamped) == out.end()) out.push_back(clamped);
        }
        return out;
    }

    /// f(encoder depth, decoder depth, number of networks of these depths)
    template <class F>
    void for_each_depth(F&& f) const {
        const auto size = [](const auto& axis) { return static_cast<std::uint32_t>(axis.size()); };
        for (const int encoder : axes_.encoder_layers)
            for (const int decoder : axes_.decoder_layers) {
                BigCount n(1);
                n *= size(axes_.encoder_embed);
                n *= size(axes_.decoder_embed);
                for (int i = 0; i < encoder; ++i)
                    for (const auto k : {size(axes_.encoder_ffn), size(axes_.encoder_heads), size(axes_.qkv)}) n *= k;
                const auto spans = size(distinct_spans(encoder));
                for (int i = 0; i < decoder; ++i)
                    for (const auto k : {size(axes_.decoder_ffn), size(axes_.decoder_heads), size(axes_.cross_heads),
                                         spans, size(axes_.qkv)})
                        n *= k;
                f(encoder, decoder, n);
            }
    }

    [[no_unique_address]] Axes axes_{};
};

/// A space whose axes are read at run time, with architectures of up to 16 + 16 layers.
using RuntimeSpace = Space<RuntimeAxes>;

/// The run-time form of a compile-time space.
template <StaticAxes Spec>
RuntimeSpace to_runtime(const Space<Spec>& space) {
    RuntimeAxes out;
    std::vector<int>* const rows[] = {&out.encoder_embed, &out.encoder_layers, &out.encoder_ffn, &out.encoder_heads,
                                      &out.decoder_embed, &out.decoder_layers, &out.decoder_ffn, &out.decoder_heads,
                                      &out.cross_heads,   &out.cross_span,     &out.qkv};
    std::size_t i = 0;
    for_each_axis(space.axes(),
                  [&](std::string_view, const auto& axis) { rows[i++]->assign(axis.begin(), axis.end()); });
    return RuntimeSpace(std::move(out));
}

static_assert(SearchSpace<RuntimeSpace>);

}  // namespace hat
