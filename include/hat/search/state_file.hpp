#pragma once
/// \file
/// A search on disk: saved after every generation, it can be killed at any moment and continued with the same result.
/// Optional: needs nlohmann_json (target hat::json).

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <hat/core/rng.hpp>
#include <hat/io/json.hpp>
#include <hat/search/searcher.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hat {

/// Identifies a space by what its genes mean: the choices of every entry and what they decode to, one at a time.
template <SearchSpace Space>
std::string space_fingerprint(const Space& space) {
    using Gene = typename Space::Gene;
    const Gene cardinality = space.cardinality();
    std::uint64_t h = cardinality.size();
    for (const bool from_last : {false, true}) {
        Gene gene = cardinality;
        for (auto& g : gene) g = static_cast<typename Gene::value_type>(from_last && g > 0 ? g - 1 : 0);
        for (std::size_t i = 0; i < cardinality.size(); ++i)
            for (std::size_t c = 0; c < static_cast<std::size_t>(cardinality[i]); ++c) {
                Gene one = gene;
                one[i] = static_cast<typename Gene::value_type>(c);
                h = mix64(h + 0x9E3779B97F4A7C15ULL + ArchKeyHash{}(arch_key(space.decode(one))));
            }
    }
    char text[20];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(h));
    return text;
}

namespace detail {

inline constexpr int search_file_version = 1;

inline Json budget_json(const Budget& b) {
    return {{"latency_ms", b.latency.count()}, {"population", b.population},  {"parents", b.parents},
            {"mutations", b.mutations},        {"crossovers", b.crossovers},  {"iterations", b.iterations},
            {"max_draws", b.max_draws},        {"max_redraws", b.max_redraws}};
}

inline Json progress_json(const Progress& p) {
    return {{"iteration", p.iteration}, {"best_loss", p.best_loss},     {"best_latency_ms", p.best_latency.count()},
            {"mean_loss", p.mean_loss}, {"evaluations", p.evaluations}, {"cache_hits", p.cache_hits},
            {"draws", p.draws},         {"seconds", p.seconds}};
}

}  // namespace detail

/// Writes a search atomically. `scores` names what losses and latencies depend on besides the network (say, checksums
/// of the weights and of the predictor): a search continued with others would mix scores, and load_search refuses it.
/// Throws bad_file.
template <SearchPolicy Policy>
void save_search(const std::filesystem::path& path, const Searcher<Policy>& searcher,
                 const typename Searcher<Policy>::State& state, std::string_view scores = "") {
    Json genes = Json::array(), losses = Json::array(), latencies = Json::array(), history = Json::array();
    for (const auto& n : state.networks) {
        genes.push_back(std::vector<std::size_t>(n.gene.begin(), n.gene.end()));
        losses.push_back(n.loss);
        latencies.push_back(n.latency.count());
    }
    for (const Progress& p : state.history) history.push_back(detail::progress_json(p));
    Json json = {{"format", "hat-search"},
                 {"version", detail::search_file_version},
                 {"space", space_fingerprint(searcher.policy().space)},
                 {"scores", scores},
                 {"budget", detail::budget_json(state.budget)},
                 {"seed", state.seed},
                 {"rng", state.rng},
                 {"genes", std::move(genes)},
                 {"losses", std::move(losses)},
                 {"latencies_ms", std::move(latencies)},
                 {"population", state.population},
                 {"history", std::move(history)}};
    json["crc32"] = crc32(json.dump());
    save_json(path, json, -1);
}

/// Reads a search back. Throws bad_file, naming key, value and what was expected, if the file is missing, truncated
/// or corrupt, or belongs to another space, budget, seed or other `scores`.
template <SearchPolicy Policy>
typename Searcher<Policy>::State load_search(const std::filesystem::path& path, const Searcher<Policy>& searcher,
                                             const Budget& budget, std::uint64_t seed, std::string_view scores = "") {
    using Gene = typename Searcher<Policy>::Gene;
    Json json = load_json(path);
    const JsonView file(json, path.string());
    if (const auto format = file.get<std::string>("format"); format != "hat-search")
        file["format"].fail("is \"" + format + "\", expected \"hat-search\"");
    if (const auto found = file.get<int>("version"); found != detail::search_file_version)
        file["version"].fail("is " + std::to_string(found) + ", expected " +
                             std::to_string(detail::search_file_version));
    const auto crc = file.get<std::uint32_t>("crc32");
    json.erase("crc32");
    if (const std::uint32_t actual = crc32(json.dump()); actual != crc)
        throw bad_file(path.string(), "the file is corrupt: its checksum is " + std::to_string(actual) + ", expected " +
                                          std::to_string(crc));

    const auto expect_text = [&](const char* key, const std::string& expected, const char* what) {
        if (const auto found = file.get<std::string>(key); found != expected)
            file[key].fail("is \"" + found + "\", expected \"" + expected + "\": the search was made with " + what);
    };
    const Gene cardinality = searcher.policy().space.cardinality();
    expect_text("space", space_fingerprint(searcher.policy().space), "another space");
    expect_text("scores", std::string(scores), "other weights, another predictor or another way of scoring");
    const Json wanted = detail::budget_json(budget);
    for (const auto& [key, value] : wanted.items())
        if (file["budget"][key].json() != value)
            file["budget"][key].fail("is " + file["budget"][key].json().dump() + ", expected " + value.dump() +
                                     ": the search was made with another budget");
    if (const auto found = file.get<std::uint64_t>("seed"); found != seed)
        file["seed"].fail("is " + std::to_string(found) + ", expected " + std::to_string(seed));

    typename Searcher<Policy>::State state = searcher.start(budget, seed);
    state.rng = file.get<std::uint64_t>("rng");
    const JsonView genes = file["genes"], losses = file["losses"], latencies = file["latencies_ms"];
    const std::size_t n = genes.size();
    for (const JsonView& list : {losses, latencies})
        if (list.size() != n)
            list.fail("has " + std::to_string(list.size()) + " elements, expected " + std::to_string(n));
    for (std::size_t i = 0; i < n; ++i) {
        const auto values = genes[i].as<std::vector<std::size_t>>();
        if (values.size() != cardinality.size())
            genes[i].fail("has " + std::to_string(values.size()) + " elements, expected " +
                          std::to_string(cardinality.size()));
        Gene gene = cardinality;
        for (std::size_t k = 0; k < values.size(); ++k) {
            if (values[k] >= static_cast<std::size_t>(cardinality[k]))
                genes[i][k].fail("is " + std::to_string(values[k]) + ", expected less than " +
                                 std::to_string(static_cast<std::size_t>(cardinality[k])));
            gene[k] = static_cast<typename Gene::value_type>(values[k]);
        }
        state.networks.push_back({std::move(gene), losses[i].as<double>(), Milliseconds(latencies[i].as<double>())});
    }
    state.population = file.get<std::vector<std::size_t>>("population");
    for (std::size_t i = 0; i < state.population.size(); ++i)
        if (state.population[i] >= n)
            file["population"][i].fail("is " + std::to_string(state.population[i]) + ", expected less than " +
                                       std::to_string(n));
    const JsonView history = file["history"];
    for (std::size_t i = 0; i < history.size(); ++i) {
        const JsonView p = history[i];
        state.history.push_back({.iteration = p.get<std::size_t>("iteration"),
                                 .iterations = budget.iterations,
                                 .best_loss = p.get<double>("best_loss"),
                                 .best_latency = Milliseconds(p.get<double>("best_latency_ms")),
                                 .mean_loss = p.get<double>("mean_loss"),
                                 .evaluations = p.get<std::size_t>("evaluations"),
                                 .cache_hits = p.get<std::size_t>("cache_hits"),
                                 .draws = p.get<std::size_t>("draws"),
                                 .seconds = p.get<double>("seconds")});
    }
    if (state.history.empty() != state.networks.empty() ||
        (!state.history.empty() && state.history.back().evaluations != n))
        history.fail("does not fit the " + std::to_string(n) + " networks of the file");
    return state;
}

/// Runs a search that is saved to `path` after every generation; continues from that file if it exists.
/// Throws what Searcher::run and load_search throw.
template <SearchPolicy Policy>
typename Searcher<Policy>::Found run_resumable(const Searcher<Policy>& searcher, const Budget& budget,
                                               std::uint64_t seed, const std::filesystem::path& path,
                                               std::string_view scores = "") {
    auto state = std::filesystem::exists(path) ? load_search(path, searcher, budget, seed, scores)
                                               : searcher.start(budget, seed);
    while (!searcher.finished(state)) {
        searcher.step(state);
        save_search(path, searcher, state, scores);
    }
    return searcher.result(state);
}

}  // namespace hat
