// Fitness policies: what the search minimises, one network at a time or a generation at once; and who runs it.
#include <algorithm>
#include <future>
#include <hat/core/thread_pool.hpp>
#include <hat/search/searcher.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <iostream>

using Space = hat::Space<hat::Iwslt14DeEn>;

struct Smallest {  // any number will do; here: the fewest parameters
    double operator()(const Space::Arch& a) const { return static_cast<double>(hat::count_params(a)); }
};

struct Remote {  // optional: all new networks of a generation at once, say for a GPU or a cluster
    double operator()(const Space::Arch& a) const { return Smallest{}(a); }

    void batch(std::span<const Space::Arch> archs, std::span<double> losses) const {
        std::transform(archs.begin(), archs.end(), losses.begin(), Smallest{});
    }
};

struct Tasks {  // an executor of one's own; get() brings the exceptions of the bodies back
    std::size_t count = 2;

    template <class Body>
    void operator()(std::size_t n, Body&& body) const {
        std::vector<std::future<void>> tasks;
        for (std::size_t t = 0; t < count; ++t)
            tasks.push_back(std::async(std::launch::async, [this, t, n, &body] {
                for (std::size_t i = t; i < n; i += count) body(i);
            }));
        for (auto& task : tasks) task.get();
    }
};
static_assert(hat::ExecutorPolicy<Tasks>);

struct Depth {
    hat::Milliseconds operator()(const Space::Arch& a) const { return hat::Milliseconds(10 * a.decoder.layers); }
};

template <class Fitness>
struct Basic : hat::SearchDefaults {
    Space space;
    Depth latency;
    Fitness fitness;
};

struct Pooled : Basic<Smallest> {
    hat::ThreadPool executor{4};  // instead of the one in SearchDefaults
};

struct Tasked : Basic<Smallest> {
    Tasks executor;
};

template <class Policy>
auto search() {
    const auto found = hat::Searcher{Policy{}}.run({.latency = hat::Milliseconds(30), .iterations = 5}, /*seed=*/1);
    std::cout << found.loss << " parameters\n";
    return found.arch;
}

int main() {
    const auto arch = search<Basic<Smallest>>();
    // the same seed finds the same network, whoever does the work
    const bool same = search<Pooled>() == arch && search<Tasked>() == arch && search<Basic<Remote>>() == arch &&
                      search<Basic<hat::Cached<Smallest>>>() == arch;
    return same ? 0 : 1;
}
