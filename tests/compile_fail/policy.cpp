/// A policy with one mistake, chosen by CASE; 0 is the same policy without any. Each is compiled by a test that
/// looks for the concept's name and the failing expression in the compiler's message.
#include <cstddef>
#include <cstdint>
#include <hat/search/searcher.hpp>
#include <span>
#include <string>
#include <vector>

#include "search/toy.hpp"

struct Other {};

struct MyLatency {
#if CASE == 2  // a plain number: no unit
    double operator()(const toy::Arch& arch) const { return arch.decoder.layers; }
#elif CASE == 3  // forgotten const
    hat::Milliseconds operator()(const toy::Arch& arch) { return hat::Milliseconds(arch.decoder.layers); }
#elif CASE == 4  // another argument
    hat::Milliseconds operator()(const Other&) const { return hat::Milliseconds(1); }
#else
    hat::Milliseconds operator()(const toy::Arch& arch) const { return hat::Milliseconds(arch.decoder.layers); }
#endif
};

struct MyFitness {
#if CASE == 5  // no number
    std::string operator()(const toy::Arch&) const { return "good"; }
#else
    double operator()(const toy::Arch& arch) const { return -arch.decoder.layers; }
#endif
#if CASE == 10  // forgotten const
    void batch(std::span<const toy::Arch>, std::span<double>) {}
#elif CASE == 11  // another argument
    void batch(const std::vector<toy::Arch>&, std::span<double>) const {}
#endif
};

struct MyCrossover {
#if CASE == 6  // no child
    void operator()(const toy::ArraySpace::Gene&, const toy::ArraySpace::Gene&, hat::Rng&) const {}
#else
    toy::ArraySpace::Gene operator()(const toy::ArraySpace::Gene& a, const toy::ArraySpace::Gene&, hat::Rng&) const {
        return a;
    }
#endif
};

struct MySpace : toy::ArraySpace {
#if CASE == 7  // decodes to something else
    Other decode(const Gene&) const { return {}; }
#elif CASE == 12  // an architecture type of one's own without arch_key()
    using Arch = Other;
    Other decode(const Gene&) const { return {}; }
#endif
};

struct MyObserver {
#if CASE == 8  // forgotten const
    void operator()(const hat::Progress&) {}
#else
    void operator()(const hat::Progress&) const {}
#endif
};

struct Policy {
#if CASE == 9  // forgotten const
    void observer(const hat::Progress&) {}
#else
    MyObserver observer;
#endif
    MySpace space;
#if CASE != 1  // forgotten member
    MyLatency latency;
#endif
    MyFitness fitness;
    hat::Truncation selection;
    hat::UniformMutation mutation;
    MyCrossover crossover;
    hat::Serial executor;
};

int main() {
    const hat::Searcher searcher{Policy{}};  // as users write it
    return static_cast<int>(searcher.run({.latency = hat::Milliseconds(3)}, 1).loss);
}
