#pragma once
/// \file
/// Latency from a few numbers that describe a device: a first look at hardware that is not at hand.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hat/core/error.hpp>
#include <hat/space/arch.hpp>
#include <hat/space/concepts.hpp>
#include <string>

namespace hat {

/// A device as the roofline model sees it. Its threads together; peaks that real programs reach, not the data sheet's.
struct RooflineDevice {
    double flops = 0;                 ///< floating-point operations per second; a multiply-add is two
    double bandwidth = 0;             ///< bytes per second read from main memory
    double cache_bytes = 0;           ///< weights up to this size stay in a cache between two uses; 0: none do
    double cache_bandwidth = 0;       ///< bytes per second read from that cache; must be given if cache_bytes is
    Milliseconds product_overhead{};  ///< what starting one product costs whatever its size, e.g. a GPU's kernel launch
};

/// What is translated, and how weights are stored.
struct RooflineWork {
    std::size_t source_length = 30;  ///< tokens, end of sentence included
    std::size_t target_length = 30;  ///< decoder steps
    std::size_t beam = 5;            ///< hypotheses per step
    std::size_t vocab = 32768;       ///< rows of the output matrix
    double bytes_per_weight = 4;     ///< fp32; 1 for 8 bits, 0.5 for 4 bits
};

/// What one part of a translation needs, and the time it takes at least.
struct RooflinePart {
    double flops = 0;       ///< operations of matrix products and attention
    double bytes = 0;       ///< read: weights, and keys and values kept from earlier steps
    Milliseconds time{};    ///< sum over products of the longer of both, and their overhead
    Milliseconds memory{};  ///< the part of `time` in which reading, not computing, was the longer
};

/// A translation's two parts.
struct RooflineEstimate {
    RooflinePart encoder;  ///< once per sentence
    RooflinePart decoder;  ///< all steps; keys and values of the encoder-decoder attention included
    /// Both together.
    Milliseconds total() const { return encoder.time + decoder.time; }
};

/// A latency policy without measurements. Each matrix product takes as long as its operations at the device's peak or
/// as reading its operands once, whichever is longer (the roofline model: Williams, Waterman, Patterson 2009, applied
/// to each product by itself). Weights are read once per encoder run and once per decoder step, from the cache if the
/// whole network fits it for the encoder, or one step's weights for the decoder. Not counted: embeddings, layer norms,
/// softmax, beam search, activations. So it is a floor for an engine that uses the device fully, right in ratio where
/// products dominate; measure before relying on it.
class Roofline {
public:
    /// Throws invalid_value for a peak, bandwidth or length that is not positive, or an overhead below 0.
    explicit Roofline(RooflineDevice device, RooflineWork work = {}) : device_(device), work_(work) {
        const auto positive = [](const char* what, double value) {
            if (!(std::isfinite(value) && value > 0))
                throw invalid_value(std::string("hat::Roofline: ") + what + " is " + std::to_string(value) +
                                    ", expected a finite number above 0");
        };
        const auto not_negative = [](const char* what, double value) {
            if (!(std::isfinite(value) && value >= 0))
                throw invalid_value(std::string("hat::Roofline: ") + what + " is " + std::to_string(value) +
                                    ", expected a finite number from 0");
        };
        positive("flops", device.flops);
        positive("bandwidth", device.bandwidth);
        not_negative("cache_bytes", device.cache_bytes);
        if (device.cache_bytes > 0) positive("cache_bandwidth", device.cache_bandwidth);
        not_negative("product_overhead", device.product_overhead.count());
        positive("source_length", static_cast<double>(work.source_length));
        positive("target_length", static_cast<double>(work.target_length));
        positive("beam", static_cast<double>(work.beam));
        positive("vocab", static_cast<double>(work.vocab));
        positive("bytes_per_weight", work.bytes_per_weight);
    }

    /// Both parts, with what they need.
    template <std::size_t E, std::size_t D>
    RooflineEstimate estimate(const Arch<E, D>& arch) const {
        const double S = static_cast<double>(work_.source_length), T = static_cast<double>(work_.target_length);
        const double beam = static_cast<double>(work_.beam), vocab = static_cast<double>(work_.vocab);
        const double enc = arch.encoder.embed, dec = arch.decoder.embed;

        double once = 0, step = dec * vocab;  // weights used once per sentence, and in each decoder step
        for_each_layer(arch.encoder,
                       [&](std::size_t i) { once += 4 * enc * arch.encoder.qkv[i] + 2 * enc * arch.encoder.ffn[i]; });
        for_each_layer(arch.decoder, [&](std::size_t i) {
            once += 2 * enc * arch.decoder.qkv[i];
            step += 6 * dec * arch.decoder.qkv[i] + 2 * dec * arch.decoder.ffn[i];
        });
        const bool all_cached = (once + step) * work_.bytes_per_weight <= device_.cache_bytes;
        const bool step_cached = step * work_.bytes_per_weight <= device_.cache_bytes;

        RooflineEstimate e;
        for_each_layer(arch.encoder, [&](std::size_t i) {
            const double q = arch.encoder.qkv[i], ffn = arch.encoder.ffn[i];
            product(e.encoder, all_cached, S, 3 * q, enc);
            attention(e.encoder, S, S, q, 0);
            product(e.encoder, all_cached, S, enc, q);
            product(e.encoder, all_cached, S, ffn, enc);
            product(e.encoder, all_cached, S, enc, ffn);
        });
        for_each_layer(arch.decoder, [&](std::size_t i) {
            const double keys = arch.decoder.cross_span[i] * S;
            product(e.decoder, all_cached, keys, 2.0 * arch.decoder.qkv[i], enc);
        });
        for (double t = 1; t <= T; ++t) {
            for_each_layer(arch.decoder, [&](std::size_t i) {
                const double q = arch.decoder.qkv[i], ffn = arch.decoder.ffn[i], keys = arch.decoder.cross_span[i] * S;
                product(e.decoder, step_cached, beam, 3 * q, dec);
                attention(e.decoder, beam, t, q, beam);
                product(e.decoder, step_cached, beam, dec, q);
                product(e.decoder, step_cached, beam, q, dec);
                attention(e.decoder, beam, keys, q, 1);
                product(e.decoder, step_cached, beam, dec, q);
                product(e.decoder, step_cached, beam, ffn, dec);
                product(e.decoder, step_cached, beam, dec, ffn);
            });
            product(e.decoder, step_cached, beam, vocab, dec);
        }
        return e;
    }

    /// Encoder and all decoder steps of one sentence.
    template <std::size_t E, std::size_t D>
    Milliseconds operator()(const Arch<E, D>& arch) const {
        return estimate(arch).total();
    }

private:
    template <class Stack, class F>
    static void for_each_layer(const Stack& stack, F&& f) {
        for (std::size_t i = 0; i < static_cast<std::size_t>(stack.layers); ++i) f(i);
    }

    void add(RooflinePart& part, double flops, double bytes, double bandwidth) const {
        const Milliseconds compute(1e3 * flops / device_.flops), read(1e3 * bytes / bandwidth);
        part.flops += flops;
        part.bytes += bytes;
        part.time += std::max(compute, read) + device_.product_overhead;
        if (read > compute) part.memory += read;
    }
    // rows x K times the transposed N x K weights
    void product(RooflinePart& part, bool cached, double rows, double n, double k) const {
        add(part, 2 * rows * n * k, n * k * work_.bytes_per_weight,
            cached ? device_.cache_bandwidth : device_.bandwidth);
    }
    // scores and weighted values of `queries` over `keys`, heads side by side `q` wide; `kept`: how many different sets
    // of fp32 keys and values are read from earlier steps
    void attention(RooflinePart& part, double queries, double keys, double q, double kept) const {
        const double bytes = kept * keys * 2 * q * sizeof(float);
        add(part, 4 * queries * keys * q, bytes,
            bytes <= device_.cache_bytes ? device_.cache_bandwidth : device_.bandwidth);
    }

    RooflineDevice device_;
    RooflineWork work_;
};

}  // namespace hat
