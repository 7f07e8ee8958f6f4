// The smallest search: a space, a latency, a fitness. Everything else is the paper's.
#include <hat/hat.hpp>
#include <iostream>

using Space = hat::Space<hat::Wmt14EnDe>;

struct MyLatency {  // a latency policy is one const call operator
    hat::Milliseconds operator()(const Space::Arch& a) const { return hat::Milliseconds(30.0 * a.decoder.layers); }
};
struct MyLoss {
    double operator()(const Space::Arch& a) const { return 5.0 - 1e-3 * a.encoder.embed - 1e-1 * a.decoder.layers; }
};
struct Policy : hat::SearchDefaults {
    Space space;
    MyLatency latency;
    MyLoss fitness;
};

int main() {
    const hat::Searcher searcher{Policy{}};
    const auto found = searcher.run({.latency = hat::Milliseconds(120)}, /*seed=*/1);
    std::cout << hat::describe(found.arch);
    return found.arch.decoder.layers == 4 ? 0 : 1;  // 120 ms at 30 ms a layer
}
