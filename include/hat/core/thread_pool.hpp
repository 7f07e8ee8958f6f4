#pragma once
/// \file
/// An executor with threads of its own.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace hat {

/// A fixed set of threads; copies share them. With one thread it starts none. Calls from inside a body, or while
/// another thread uses the pool, run serially. The first exception of a body is rethrown to the caller.
///
/// Each thread begins with the same part of every call's indices, in order, and then helps those that are behind: what
/// it wrote in one call lies in its own caches when a later call needs it, and another core's caches can be far away.
class ThreadPool {
public:
    static constexpr std::size_t most_threads = 1024;  ///< no machine this is for has more

    /// `threads` workers including the caller; 0 means one per hardware thread. Throws invalid_value for more than
    /// `most_threads`, and when the system cannot start so many.
    explicit ThreadPool(std::size_t threads = 0) : impl_(std::make_shared<Impl>(checked(threads))) {}

    /// Workers including the caller.
    std::size_t threads() const { return impl_->workers.size() + 1; }

    /// Runs body(0) .. body(n-1) and waits for all of them.
    template <class Body>
    void operator()(std::size_t n, Body&& body) const {
        if (n == 0) return;
        if (n == 1 || impl_->workers.empty() || inside()) {
            for (std::size_t i = 0; i < n; ++i) body(i);
            return;
        }
        std::unique_lock<std::mutex> use(impl_->user, std::try_to_lock);
        if (!use.owns_lock()) {
            for (std::size_t i = 0; i < n; ++i) body(i);
            return;
        }
        using B = std::remove_reference_t<Body>;
        impl_->run(
            n, [](void* b, std::size_t i) { (*static_cast<B*>(b))(i); },
            const_cast<void*>(static_cast<const void*>(std::addressof(body))));
    }

private:
    static std::size_t checked(std::size_t threads) {
        if (threads > most_threads)  // as a signed number: -1 that became unsigned is shown as -1
            throw invalid_value("hat::ThreadPool: threads is " + std::to_string(static_cast<std::ptrdiff_t>(threads)) +
                                ", expected 0 (one per hardware thread) to " + std::to_string(most_threads));
        return threads;
    }
    static bool& inside() {
        thread_local bool value = false;
        return value;
    }

    struct Impl {
        explicit Impl(std::size_t threads) {
            if (threads == 0) threads = std::max<std::size_t>(1, std::thread::hardware_concurrency());
            parts = std::vector<Part>(threads);
            workers.reserve(threads - 1);
            try {
                while (workers.size() + 1 < threads)
                    workers.emplace_back([this, own = workers.size() + 1] { work(own); });
            } catch (const std::exception& e) {
                const std::size_t started = workers.size() + 1;
                join();
                throw invalid_value("hat::ThreadPool: the system lets only " + std::to_string(started) + " of " +
                                    std::to_string(threads) + " threads run: " + e.what());
            }
        }
        ~Impl() { join(); }
        Impl(const Impl&) = delete;
        Impl& operator=(const Impl&) = delete;

        void join() {
            {
                std::lock_guard lock(mutex);
                stop = true;
                generation.fetch_add(1, std::memory_order_release);
            }
            wake.notify_all();
            for (auto& w : workers) w.join();
        }

        void run(std::size_t n, void (*call)(void*, std::size_t), void* body) {
            {
                std::lock_guard lock(mutex);
                function = call;
                argument = body;
                const std::size_t each = n / parts.size(), more = n % parts.size();
                std::size_t first = 0;
                for (std::size_t p = 0; p < parts.size(); ++p) {
                    parts[p].next.store(first, std::memory_order_relaxed);
                    first += each + (p < more ? 1 : 0);
                    parts[p].end = first;
                }
                open = true;
                failure = nullptr;
                generation.fetch_add(1, std::memory_order_release);
            }
            if (sleeping.load(std::memory_order_acquire) != 0) wake.notify_all();
            drain(0);
            {
                std::lock_guard lock(mutex);
                open = false;  // nothing is left: a worker that the system has not let run yet need not be waited for
            }
            if (!wait_briefly([&] { return active.load(std::memory_order_acquire) == 0; })) {
                std::unique_lock lock(mutex);
                idle.wait(lock, [&] { return active.load(std::memory_order_acquire) == 0; });
            }
            if (failure) std::rethrow_exception(failure);
        }
        // True if `ready` came true soon. Looks at once and often, then lets others have the processor between two
        // looks: on a machine with more work than processors they may be those that are waited for.
        template <class Ready>
        static bool wait_briefly(const Ready& ready) {
            for (int look = 0; look < 1000; ++look) {
                if (ready()) return true;
                pause();
            }
            for (int look = 0; look < 1000; ++look) {
                if (ready()) return true;
                std::this_thread::yield();
            }
            return false;
        }
        // Runs what is left of part `own`, then of the parts after it.
        void drain(std::size_t own) {
            inside() = true;
            for (std::size_t p = 0; p < parts.size(); ++p) {
                Part& part = parts[(own + p) % parts.size()];
                if (part.next.load(std::memory_order_relaxed) >= part.end) continue;  // leaves its cache line alone
                for (std::size_t i; (i = part.next.fetch_add(1, std::memory_order_relaxed)) < part.end;) {
                    try {
                        function(argument, i);
                    } catch (...) {
                        std::lock_guard lock(mutex);
                        if (!failure) failure = std::current_exception();
                    }
                }
            }
            inside() = false;
        }
        void work(std::size_t own) {
            std::size_t seen = 0;
            const auto called = [&] { return generation.load(std::memory_order_acquire) != seen; };
            for (;;) {
                if (!wait_briefly(called)) {
                    std::unique_lock lock(mutex);
                    sleeping.fetch_add(1, std::memory_order_release);
                    wake.wait(lock, called);
                    sleeping.fetch_sub(1, std::memory_order_release);
                }
                {
                    std::lock_guard lock(mutex);
                    seen = generation.load(std::memory_order_acquire);
                    if (stop) return;
                    if (!open) continue;
                    active.fetch_add(1, std::memory_order_relaxed);
                }
                drain(own);
                std::lock_guard lock(mutex);
                if (active.fetch_sub(1, std::memory_order_release) == 1) idle.notify_one();
            }
        }
        static void pause() {
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#endif
        }

        /// Indices [next, end) of the present call that nobody has taken; a cache line of its own.
        struct alignas(64) Part {
            std::atomic<std::size_t> next{0};  ///< may pass `end`, by one for each thread that looked
            std::size_t end = 0;               ///< does not change during a call
        };

        std::mutex user, mutex;
        std::condition_variable wake, idle;
        // active: workers that are inside the present call; open: more of them may join it
        std::atomic<std::size_t> generation{0}, active{0}, sleeping{0};
        std::vector<Part> parts;  // one for each thread
        void (*function)(void*, std::size_t) = nullptr;
        void* argument = nullptr;
        std::exception_ptr failure;
        bool open = false, stop = false;
        std::vector<std::thread> workers;
    };

    std::shared_ptr<Impl> impl_;
};

static_assert(ExecutorPolicy<ThreadPool>);

}  // namespace hat
