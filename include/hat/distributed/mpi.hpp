#pragma once
/// \file
/// A search shared by several processes, on one machine or many. Every rank runs the same search with the same seed;
/// each scores its part of a generation's networks and gets the other losses from the others, so all ranks find the
/// same network, and it is the one that a single process finds.
/// Optional: needs an MPI library (target hat::mpi).

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <hat/core/rng.hpp>
#include <hat/space/arch_key.hpp>
#include <hat/space/concepts.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// \cond the C interface only: the C++ one left the standard and needs a library of its own
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
/// \endcond
#include <mpi.h>

namespace hat {

/// The processes that work together: a communicator of MPI. The program calls MPI_Init before and MPI_Finalize after;
/// where it scores with several threads, MPI_Init_thread with MPI_THREAD_FUNNELED. The functions named below as
/// collective return only when all ranks have called them. Errors of MPI itself end the program, as is its default.
class MpiRanks {
public:
    /// Throws invalid_value before MPI_Init or after MPI_Finalize.
    explicit MpiRanks(MPI_Comm communicator = MPI_COMM_WORLD) : communicator_(communicator) {
        int begun = 0, ended = 0;
        MPI_Initialized(&begun);
        MPI_Finalized(&ended);
        if (begun == 0 || ended != 0)
            throw invalid_value("hat::MpiRanks: MPI is not running; expected a call of MPI_Init before");
        MPI_Comm_rank(communicator_, &rank_);
        MPI_Comm_size(communicator_, &count_);
    }

    /// This process, from 0. By custom rank 0 prints and writes files.
    std::size_t rank() const { return static_cast<std::size_t>(rank_); }
    /// Processes in all.
    std::size_t count() const { return static_cast<std::size_t>(count_); }

    /// Collective: every rank's numbers, in order of ranks; all must give equally many.
    std::vector<double> gather(std::span<const double> mine) const {
        std::vector<double> all(mine.size() * count());
        const int n = static_cast<int>(mine.size());
        MPI_Allgather(mine.data(), n, MPI_DOUBLE, all.data(), n, MPI_DOUBLE, communicator_);
        return all;
    }

    /// Collective: whether all ranks give the same number.
    bool agree(std::uint64_t number) const {
        const std::array<std::uint64_t, 2> mine{number, ~number};
        std::array<std::uint64_t, 2> least{};
        MPI_Allreduce(mine.data(), least.data(), 2, MPI_UINT64_T, MPI_MIN, communicator_);
        return least[0] == ~least[1];  // the least is also the greatest
    }

    /// Collective: the numbers of rank `root`, which replace those of the others.
    void broadcast(std::span<std::uint64_t> numbers, std::size_t root = 0) const {
        MPI_Bcast(numbers.data(), static_cast<int>(numbers.size()), MPI_UINT64_T, static_cast<int>(root),
                  communicator_);
    }

    /// Collective: throws on all ranks if one comes with an exception: there this exception, on the others an
    /// hat::error that names the (first) rank and says `what` failed and why. So no rank waits for one that is gone.
    void share_failure(const std::exception_ptr& failure, const std::string& what) const {
        const int mine = failure ? rank_ : count_;
        int first = 0;
        MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, communicator_);
        if (first == count_) return;
        std::string message = failure ? message_of(failure) : std::string();
        std::array<std::uint64_t, 1> size{message.size()};
        broadcast(size, static_cast<std::size_t>(first));
        message.resize(size[0]);
        MPI_Bcast(message.data(), static_cast<int>(message.size()), MPI_CHAR, first, communicator_);
        if (failure) std::rethrow_exception(failure);
        throw error(what + " failed on rank " + std::to_string(first) + ": " + message);
    }

private:
    static std::string message_of(const std::exception_ptr& failure) {
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& e) {
            return e.what();
        } catch (...) {
            return "an exception that is no std::exception";
        }
    }

    MPI_Comm communicator_;
    int rank_ = 0, count_ = 1;
};

namespace detail {
/// A number that tells rows of networks apart.
template <class A>
std::uint64_t fingerprint(std::span<const A> archs) {
    std::uint64_t hash = archs.size();
    for (const A& arch : archs) hash = mix64(hash + ArchKeyHash{}(arch_key(arch)));
    return hash;
}
}  // namespace detail

/// A fitness policy for a search on several ranks: of each generation, rank r of n scores the networks r, r + n, ...
/// with `fitness` (its batch(), if it has one; else one by one, by the executor). Losses are those of one process, to
/// the bit, if `fitness` gives the same on all machines.
template <class F, ExecutorPolicy E = Serial>
class MpiFitness {
public:
    /// Every rank makes one of its own: `fitness` may hold what is on that machine only.
    explicit MpiFitness(F fitness, MpiRanks ranks = MpiRanks(), E executor = E())
        : fitness_(std::move(fitness)), ranks_(ranks), executor_(std::move(executor)) {}

    /// The loss of one network, computed on the calling rank.
    template <class A>
    requires FitnessPolicy<F, A>
    double operator()(const A& arch) const { return fitness_(arch); }

    /// Collective: all losses, on all ranks. Throws on every rank what one of them threw (see
    /// MpiRanks::share_failure), and hat::error if the ranks come with different networks.
    template <class A>
    requires FitnessPolicy<F, A>
    void batch(std::span<const A> archs, std::span<double> losses) const {
        if (!ranks_.agree(detail::fingerprint(archs)))
            throw error(
                "hat::MpiFitness: the ranks have drawn different networks; expected one seed, one space and latencies "
                "that do not depend on the rank (hat::MpiLatency for those that are measured)");
        if (archs.empty()) return;
        const std::size_t ranks = ranks_.count();
        std::vector<A> mine;
        for (std::size_t i = ranks_.rank(); i < archs.size(); i += ranks) mine.push_back(archs[i]);
        std::vector<double> share((archs.size() + ranks - 1) / ranks);  // one more than `mine` on some ranks
        std::exception_ptr failure;
        try {
            score(std::span<const A>(mine), std::span<double>(share).first(mine.size()));
        } catch (...) {
            failure = std::current_exception();
        }
        ranks_.share_failure(failure, "hat::MpiFitness: scoring networks");
        const std::vector<double> all = ranks_.gather(share);
        for (std::size_t i = 0; i < archs.size(); ++i) losses[i] = all[i % ranks * share.size() + i / ranks];
    }

private:
    template <class A>
    void score(std::span<const A> archs, std::span<double> losses) const {
        if constexpr (requires { fitness_.batch(archs, losses); })
            fitness_.batch(archs, losses);
        else
            executor_(archs.size(), [&](std::size_t i) { losses[i] = fitness_(archs[i]); });
    }

    F fitness_;
    MpiRanks ranks_;
    E executor_;
};

/// A latency policy for a search on several ranks whose answers may differ from rank to rank, above all a measurement:
/// only rank 0 asks `latency`, and all get its answer. A formula or a table needs no such care.
template <class L>
class MpiLatency {
public:
    /// Every rank makes one; `latency` is used on rank 0 only.
    explicit MpiLatency(L latency, MpiRanks ranks = MpiRanks()) : latency_(std::move(latency)), ranks_(ranks) {}

    /// Collective: what rank 0 says. Throws on every rank what it threw there, and hat::error on a rank that asks about
    /// another network than rank 0.
    template <class A>
    requires LatencyPolicy<L, A> Milliseconds operator()(const A& arch) const {
        const std::uint64_t asked = detail::fingerprint(std::span<const A>(&arch, 1));
        std::array<std::uint64_t, 2> answer{asked, 0};
        std::exception_ptr failure;
        if (ranks_.rank() == 0) try {
                answer[1] = std::bit_cast<std::uint64_t>(Milliseconds(latency_(arch)).count());
            } catch (...) {
                failure = std::current_exception();
            }
        ranks_.share_failure(failure, "hat::MpiLatency: the latency policy");
        ranks_.broadcast(answer);
        if (answer[0] != asked)
            throw error("hat::MpiLatency: rank " + std::to_string(ranks_.rank()) +
                        " asks about another network than rank 0; expected one seed and one space on all ranks");
        return Milliseconds(std::bit_cast<double>(answer[1]));
    }

private:
    L latency_;
    MpiRanks ranks_;
};

}  // namespace hat
