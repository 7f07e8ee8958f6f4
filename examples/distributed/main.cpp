// One search on several processes or machines, by MPI: mpiexec -n 4 hat_example_distributed
#include <hat/distributed/mpi.hpp>
#include <hat/search/searcher.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <hat/space/text.hpp>
#include <iostream>

using Space = hat::Space<hat::Wmt14EnDe>;

struct Depth {  // a formula: every rank computes it. What is measured goes into hat::MpiLatency
    hat::Milliseconds operator()(const Space::Arch& a) const { return hat::Milliseconds(30.0 * a.decoder.layers); }
};

struct StandInLoss {  // stands for hat::InheritedLoss, which takes seconds; it says nothing about translation quality
    double operator()(const Space::Arch& a) const { return 3 + 1e8 / static_cast<double>(hat::count_params(a)); }
};

struct Policy : hat::SearchDefaults {
    Space space;
    Depth latency;
    hat::MpiFitness<StandInLoss> fitness{StandInLoss{}};  // each rank scores its share of every generation
};

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);  // before the policy is made
    const hat::MpiRanks ranks;
    const auto found = hat::Searcher{Policy{}}.run({.latency = hat::Milliseconds(120)}, /*seed=*/1);
    if (ranks.rank() == 0)  // all ranks have found the same
        std::cout << ranks.count() << " ranks found, at " << found.latency.count() << " ms:\n"
                  << hat::describe(found.arch);
    MPI_Finalize();
    return found.arch.decoder.layers == 4 ? 0 : 1;  // 120 ms at 30 ms a layer
}
