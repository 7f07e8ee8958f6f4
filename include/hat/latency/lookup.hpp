#pragma once
/// \file
/// Latencies that are known: a table from networks to numbers.

#include <cmath>
#include <concepts>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/arch_key.hpp>
#include <hat/space/concepts.hpp>
#include <hat/space/text.hpp>
#include <string>
#include <unordered_map>

namespace hat {

/// A latency policy that looks networks up; right for spaces small enough to measure as a whole.
template <class A = RuntimeArch>
class Table {
public:
    Table() = default;
    /// All rows of a dataset that name their network; later rows win. Throws invalid_value if a name cannot be read.
    explicit Table(const LatencyDataset& data) requires std::same_as<A, RuntimeArch> {
        for (const LatencyRow& row : data.rows)
            if (!row.arch.empty()) set(arch_from_text(row.arch), Milliseconds(row.total_ms()));
    }

    /// Throws invalid_value if the latency is not finite.
    void set(const A& arch, Milliseconds latency) {
        if (!std::isfinite(latency.count()))
            throw invalid_value("hat::Table: the latency of " + detail::describe_network(arch) + " is not finite");
        known_[arch_key(arch)] = latency.count();
    }
    /// Networks in the table.
    std::size_t size() const { return known_.size(); }
    /// Whether the latency of `arch` is known.
    bool contains(const A& arch) const { return known_.find(arch_key(arch)) != known_.end(); }

    /// Throws invalid_value, naming the network, if it is not in the table.
    Milliseconds operator()(const A& arch) const {
        const auto found = known_.find(arch_key(arch));
        if (found == known_.end())
            throw invalid_value("hat::Table: no latency is known of " + detail::describe_network(arch));
        return Milliseconds(found->second);
    }

private:
    std::unordered_map<ArchKey, double, ArchKeyHash> known_;  // ms
};

}  // namespace hat
