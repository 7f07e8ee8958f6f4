#pragma once
/// \file
/// Scores remembered by network: genes that decode to the same canonical architecture are one entry.

#include <atomic>
#include <cmath>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/space/arch_key.hpp>
#include <hat/space/concepts.hpp>
#include <hat/space/text.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace hat {

namespace detail {
inline double count_of(double value) { return value; }
inline double count_of(Milliseconds value) { return value.count(); }
}  // namespace detail

/// Wraps any fitness or latency policy and asks it once per network. Copies share what they remember, so several
/// searches can profit from each other. Safe to call from several threads if the wrapped policy is; two threads that
/// ask for the same new network at the same time may both compute it.
/// Throws not_finite, naming the network, if the policy returns NaN or an infinity; nothing is remembered then.
template <class F>
class Cached {
public:
    Cached() = default;
    /// Remembers what `policy` answers.
    explicit Cached(F policy) : policy_(std::move(policy)) {}

    /// What the policy answers for `arch`, asked for once.
    template <class A>
    requires(LatencyPolicy<F, A> || FitnessPolicy<F, A>) auto operator()(const A& arch) const {
        using Result = std::conditional_t<LatencyPolicy<F, A>, Milliseconds, double>;
        const ArchKey key = arch_key(arch);
        {
            const std::lock_guard lock(memory_->mutex);
            if (const auto found = memory_->values.find(key); found != memory_->values.end()) {
                ++memory_->hits;
                return Result(found->second);
            }
        }
        const Result result = policy_(arch);
        const double value = detail::count_of(result);
        if (!std::isfinite(value))
            throw not_finite("hat::Cached: the policy returned " + std::to_string(value) + " for the network " +
                             detail::describe_network(arch));
        const std::lock_guard lock(memory_->mutex);
        memory_->values.emplace(key, value);
        return result;
    }

    /// Questions answered from memory so far, by this object and its copies.
    std::size_t hits() const { return memory_->hits; }
    /// Networks remembered.
    std::size_t size() const {
        const std::lock_guard lock(memory_->mutex);
        return memory_->values.size();
    }
    /// The policy that is asked for what is not known yet.
    const F& policy() const { return policy_; }

private:
    struct Memory {
        mutable std::mutex mutex;
        std::unordered_map<ArchKey, double, ArchKeyHash> values;
        std::atomic<std::size_t> hits{0};
    };

    F policy_{};
    std::shared_ptr<Memory> memory_ = std::make_shared<Memory>();
};

}  // namespace hat
