// Looking on while a search runs, and running it step by step.
#include <functional>
#include <hat/search/searcher.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <iostream>

using Space = hat::Space<hat::Iwslt14DeEn>;

struct Watched : hat::SearchDefaults {
    Space space;
    struct {
        hat::Milliseconds operator()(const Space::Arch& a) const { return hat::Milliseconds(10 * a.decoder.layers); }
    } latency;
    struct {
        double operator()(const Space::Arch& a) const { return -static_cast<double>(hat::count_params(a)); }
    } fitness;
    std::function<void(const hat::Progress&)> observer;  // called after every generation
};

int main() {
    const hat::Budget budget{.latency = hat::Milliseconds(30), .iterations = 8};
    Watched policy;
    std::size_t called = 0;
    policy.observer = [&](const hat::Progress& p) {
        ++called;
        std::cout << p.iteration << "/" << p.iterations << ": best loss " << p.best_loss << " at "
                  << p.best_latency.count() << " ms, " << p.evaluations << " networks scored\n";
    };
    const auto found = hat::Searcher{policy}.run(budget, /*seed=*/1);

    // The same search in the caller's own loop: a state can be looked at, copied, stored and continued.
    policy.observer = nullptr;
    const hat::Searcher searcher{policy};
    auto state = searcher.start(budget, /*seed=*/1);
    while (!searcher.finished(state)) searcher.step(state);  // stop whenever you like

    const bool good = called == budget.iterations + 1 && searcher.result(state).arch == found.arch;
    return good ? 0 : 1;
}
