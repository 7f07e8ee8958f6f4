// The three operators of the evolution, each of one's own.
#include <hat/search/searcher.hpp>
#include <hat/space/presets.hpp>
#include <iostream>

using Space = hat::Space<hat::Iwslt14DeEn>;

struct EliteAndLuck {  // half of the parents are the best, the others are drawn: more variety
    void operator()(std::span<const double> losses, std::span<std::size_t> order, std::size_t keep,
                    hat::Rng& rng) const {
        const hat::Truncation best;
        best(losses, order, keep / 2, rng);
        hat::shuffle(order.subspan(keep / 2), rng);
        best(losses, order.first(keep), keep, rng);  // survivors go best first
    }
};
static_assert(hat::SelectionPolicy<EliteAndLuck>);

struct OneStep {  // moves a few entries to a neighbouring choice
    std::size_t entries = 3;

    template <class Gene>
    void operator()(Gene& gene, const Gene& cardinality, hat::Rng& rng) const {
        for (std::size_t n = 0; n < entries; ++n) {
            const std::size_t i = rng.below(gene.size());
            const bool up = rng.below(2) == 0;
            if (up && gene[i] + 1 < cardinality[i]) ++gene[i];
            if (!up && gene[i] > 0) --gene[i];
        }
    }
};
static_assert(hat::MutationPolicy<OneStep, Space>);

struct OnePoint {  // the front of one parent, the back of the other
    template <class Gene>
    Gene operator()(const Gene& a, const Gene& b, hat::Rng& rng) const {
        Gene child = a;
        for (std::size_t i = rng.below(child.size()); i < child.size(); ++i) child[i] = b[i];
        return child;
    }
};
static_assert(hat::CrossoverPolicy<OnePoint, Space>);

struct Layers {
    hat::Milliseconds operator()(const Space::Arch& a) const { return hat::Milliseconds(10 * a.decoder.layers); }
};
struct Wide {  // 6 decoder layers of FFN 2048 would be 0
    double operator()(const Space::Arch& a) const {
        double missing = 6 * 2048;
        for (const int f : a.decoder.ffn) missing -= f;
        return missing;
    }
};

struct Paper : hat::SearchDefaults {  // the paper's operators; their numbers can be set
    Space space;
    Layers latency;
    Wide fitness;
};

struct Mine {  // every member of one's own: no base is needed
    Space space;
    Layers latency;
    Wide fitness;
    EliteAndLuck selection;
    OneStep mutation;
    OnePoint crossover;
    hat::Serial executor;
};
static_assert(hat::SearchPolicy<Mine>);

int main() {
    Paper paper;
    paper.mutation.probability = 0.2;
    const hat::Budget budget{.latency = hat::Milliseconds(40), .iterations = 10};
    const auto a = hat::Searcher{paper}.run(budget, /*seed=*/1), b = hat::Searcher{Mine{}}.run(budget, /*seed=*/1);
    std::cout << "the paper's operators: " << a.loss << ", ours: " << b.loss << ", best possible: " << 2 * 2048 << "\n";
    return a.loss == 2 * 2048 && b.loss == 2 * 2048 ? 0 : 1;
}
