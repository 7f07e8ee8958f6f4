// Two goals at once: a selection policy that prefers networks no other one beats in both loss and size. The search
// still minimises the loss; selection decides who has children, so small networks stay in the game.
#include <hat/search/searcher.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <iostream>
#include <map>
#include <memory>

using Space = hat::Space<hat::Iwslt14DeEn>;

// The losses of a generation are all that selection is given. The fitness writes down the size that came with each
// loss; copies share the book.
struct Book {
    std::shared_ptr<std::map<double, double>> size_of = std::make_shared<std::map<double, double>>();
};

struct LossAndSize {  // stands for a validation loss: larger networks are better, with falling returns
    Book book;

    double operator()(const Space::Arch& a) const {
        const auto params = static_cast<double>(hat::count_params(a));
        const double loss = 3 + 1e7 / params + 0.01 * a.decoder.layers;
        (*book.size_of)[loss] = params;
        return loss;
    }
};

struct NonDominated {  // the fewer networks beat it in both goals, the sooner it is chosen (as in NSGA's ranking)
    Book book;

    void operator()(std::span<const double> losses, std::span<std::size_t> order, std::size_t keep,
                    hat::Rng& rng) const {
        std::vector<double> beaten_by(losses.size(), 0);
        for (const std::size_t a : order)
            for (const std::size_t b : order)
                if (losses[b] < losses[a] && book.size_of->at(losses[b]) < book.size_of->at(losses[a]))
                    beaten_by[a] += 1;
        hat::Truncation{}(beaten_by, order, keep, rng);
        hat::Truncation{}(losses, order.first(keep), keep, rng);  // survivors go best first
    }
};
static_assert(hat::SelectionPolicy<NonDominated>);

struct Layers {
    hat::Milliseconds operator()(const Space::Arch& a) const { return hat::Milliseconds(10 * a.decoder.layers); }
};

struct Policy : hat::SearchDefaults {
    Space space;
    Layers latency;
    LossAndSize fitness;
    NonDominated selection;  // instead of the one in SearchDefaults
};

int main() {
    const Book book;
    const auto found = hat::Searcher{Policy{{}, {}, {}, {book}, {book}}}.run({.latency = hat::Milliseconds(40)}, 1);
    // the front: from the smallest network on, those that are better than every smaller one
    std::map<double, double> by_size;
    for (const auto& [loss, size] : *book.size_of) by_size.emplace(size, loss);
    double best = std::numeric_limits<double>::infinity();
    std::size_t front = 0;
    for (const auto& [size, loss] : by_size)
        if (loss < best) {
            best = loss;
            if (front++ % 20 == 0) std::cout << size / 1e6 << " M parameters: loss " << loss << "\n";
        }
    std::cout << front << " networks on the front, the best loss is " << found.loss << "\n";
    return front > 10 && found.loss == best ? 0 : 1;
}
