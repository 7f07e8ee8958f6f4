// Two limits at once, here on time and on size: the search keeps one number under its limit, so it is given the one
// that is closer to its own.
#include <algorithm>
#include <hat/search/searcher.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/presets.hpp>
#include <iostream>

using Space = hat::Space<hat::Iwslt14DeEn>;

struct Depth {  // stands for a measured or predicted latency
    hat::Milliseconds operator()(const Space::Arch& a) const { return hat::Milliseconds(10 * a.decoder.layers); }
};

struct TimeAndSize {
    hat::Milliseconds most_time;
    double most_params;
    Depth time{};

    hat::Milliseconds operator()(const Space::Arch& a) const {  // the size as a time: at its limit when that is
        return std::max(time(a), static_cast<double>(hat::count_params(a)) / most_params * most_time);
    }
};

struct StandInLoss {  // larger networks are better; it says nothing about translation quality
    double operator()(const Space::Arch& a) const { return 3 + 1e7 / static_cast<double>(hat::count_params(a)); }
};

template <class Latency>
struct Policy : hat::SearchDefaults {
    Space space;
    Latency latency;
    StandInLoss fitness;
};

int main() {
    const hat::Milliseconds most_time{40};
    const double most_params = 20e6;
    const auto free = hat::Searcher{Policy<Depth>{}}.run({.latency = most_time}, /*seed=*/1);
    const auto both = hat::Searcher{Policy<TimeAndSize>{{}, {}, {most_time, most_params}, {}}}.run(
        {.latency = most_time}, /*seed=*/1);
    for (const auto& found : {free, both})
        std::cout << Depth{}(found.arch).count() << " ms, " << static_cast<double>(hat::count_params(found.arch)) / 1e6
                  << " M parameters, stand-in loss " << found.loss << "\n";
    const auto params = [](const auto& found) { return static_cast<double>(hat::count_params(found.arch)); };
    return params(free) > most_params && params(both) <= most_params && Depth{}(both.arch) <= most_time ? 0 : 1;
}
