#pragma once
/// \file
/// The loss by which quantized weights are judged.

#include <hat/core/thread_pool.hpp>
#include <hat/model/elastic.hpp>
#include <support.hpp>
#include <vector>

namespace hat::cli {

/// Negative log-likelihood per target token. Throws interrupted if the user asked to stop.
inline double validation_nll(const Weights<float>& weights, const RuntimeArch& arch, const std::vector<Batch>& batches,
                             const ThreadPool& pool) {
    ElasticTransformer<float> network(weights, pool);
    LossSums sums;
    for (const auto& batch : batches) sums += network.loss(arch, batch, 0);
    stop_if_requested("stopped while the loss of quantized weights was measured; the same command begins that again");
    return sums.nll / static_cast<double>(sums.tokens);
}

}  // namespace hat::cli
