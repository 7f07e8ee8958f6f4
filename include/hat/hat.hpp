#pragma once
/// \file
/// Everything that searches, trains, measures and runs networks, but the optional headers, which need more than the
/// core's libraries and say so in their first lines. What runs on a device is in hat/deploy.hpp.

#if __cplusplus < 202002L
#error "hat needs C++20: compile with -std=c++20 or later"
#else
#include <hat/version.hpp>

#include <hat/core/arena.hpp>
#include <hat/core/dispatch.hpp>
#include <hat/core/error.hpp>
#include <hat/core/executor.hpp>
#include <hat/core/extent.hpp>
#include <hat/core/fixed_vector.hpp>
#include <hat/core/rng.hpp>
#include <hat/core/tensor.hpp>
#include <hat/core/thread_pool.hpp>
#include <hat/core/tokens.hpp>

#include <hat/kernel/amx.hpp>
#include <hat/kernel/attention.hpp>
#include <hat/kernel/cached_attention.hpp>
#include <hat/kernel/codebook.hpp>
#include <hat/kernel/dropout.hpp>
#include <hat/kernel/embedding.hpp>
#include <hat/kernel/gemm.hpp>
#include <hat/kernel/gemm_bf16.hpp>
#include <hat/kernel/int8.hpp>
#include <hat/kernel/layer_norm.hpp>
#include <hat/kernel/linear.hpp>
#include <hat/kernel/loss.hpp>
#include <hat/kernel/parallel.hpp>
#include <hat/kernel/plain_vector.hpp>
#include <hat/kernel/simd.hpp>
#include <hat/kernel/softmax.hpp>

#include <hat/space/arch.hpp>
#include <hat/space/arch_key.hpp>
#include <hat/space/concepts.hpp>
#include <hat/space/cost.hpp>
#include <hat/space/count.hpp>
#include <hat/space/features.hpp>
#include <hat/space/presets.hpp>
#include <hat/space/reflect.hpp>
#include <hat/space/space.hpp>
#include <hat/space/text.hpp>

#include <hat/model/batch.hpp>
#include <hat/model/config.hpp>
#include <hat/model/elastic.hpp>
#include <hat/model/extract.hpp>
#include <hat/model/inference_layers.hpp>
#include <hat/model/layers.hpp>
#include <hat/model/static.hpp>
#include <hat/model/stored.hpp>
#include <hat/model/weights.hpp>

#include <hat/train/adam.hpp>
#include <hat/train/batching.hpp>
#include <hat/train/inherited_loss.hpp>
#include <hat/train/sampler.hpp>
#include <hat/train/schedule.hpp>

#include <hat/decode/beam.hpp>
#include <hat/decode/beam_search.hpp>
#include <hat/decode/incremental.hpp>
#include <hat/decode/inference.hpp>
#include <hat/decode/static_transformer.hpp>
#include <hat/decode/timed.hpp>

#include <hat/text/bleu.hpp>
#include <hat/text/chrf.hpp>
#include <hat/text/corpus.hpp>
#include <hat/text/lines.hpp>
#include <hat/text/lowercase.hpp>
#include <hat/text/metric.hpp>
#include <hat/text/significance.hpp>
#include <hat/text/tokenizer.hpp>
#include <hat/text/utf8.hpp>
#include <hat/text/vocabulary.hpp>

#include <hat/latency/dataset.hpp>
#include <hat/latency/device.hpp>
#include <hat/latency/linear.hpp>
#include <hat/latency/lookup.hpp>
#include <hat/latency/meter.hpp>
#include <hat/latency/metrics.hpp>
#include <hat/latency/mlp.hpp>
#include <hat/latency/predicted.hpp>
#include <hat/latency/remote.hpp>
#include <hat/latency/remote_protocol.hpp>
#include <hat/latency/roofline.hpp>
#include <hat/latency/runs.hpp>

#include <hat/quant/bit_allocation.hpp>
#include <hat/quant/kmeans.hpp>
#include <hat/quant/quantized.hpp>
#include <hat/quant/requantize.hpp>
#include <hat/quant/store.hpp>

#include <hat/search/cached.hpp>
#include <hat/search/operators.hpp>
#include <hat/search/searcher.hpp>

#include <hat/io/atomic_file.hpp>
#include <hat/io/csv.hpp>
#include <hat/io/file_path.hpp>
#include <hat/io/line_process.hpp>
#include <hat/io/units.hpp>
#endif
