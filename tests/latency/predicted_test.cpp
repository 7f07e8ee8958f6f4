#include <doctest/doctest.h>

#include <array>
#include <hat/latency/predicted.hpp>
#include <hat/space/arch.hpp>
#include <support/files.hpp>
#include <vector>

namespace {

/// Keeps what it was given.
struct Recorder {
    std::vector<float> x{}, y{};
    void fit(std::span<const float> rows, std::span<const float> targets) {
        x.assign(rows.begin(), rows.end());
        y.assign(targets.begin(), targets.end());
    }
    float predict(std::span<const float> row) const { return row[0] + 10 * row[1]; }
};

struct Widths {
    std::array<float, 2> operator()(const hat::RuntimeArch& a) const {
        return {static_cast<float>(a.encoder.embed), static_cast<float>(a.decoder.embed)};
    }
};

hat::RuntimeArch arch(int encoder, int decoder) {
    hat::RuntimeArch a{};
    a.encoder.embed = encoder;
    a.decoder.embed = decoder;
    return a;
}

}  // namespace

TEST_CASE("networks and milliseconds become rows and targets in the predictor's unit") {
    hat::PredictedLatency<Recorder, Widths> latency{.unit = hat::Milliseconds(20)};
    const std::vector<hat::RuntimeArch> archs{arch(1, 2), arch(3, 4), arch(5, 6)};
    latency.fit(archs, std::vector<double>{10, 20, 50});
    CHECK(latency.regressor.x == std::vector<float>{1, 2, 3, 4, 5, 6});
    CHECK(latency.regressor.y == std::vector<float>{0.5F, 1, 2.5F});
    CHECK(latency(archs[1]) == hat::Milliseconds(20 * 43));
    latency.fit(std::span<const hat::RuntimeArch>(archs).first(1), std::vector<double>{40});
    CHECK(latency.regressor.y == std::vector<float>{2});
    CHECK(hat_test::message_of<hat::shape_mismatch>([&] {
              latency.fit(archs, std::vector<double>{1, 2});
          }) == "hat::PredictedLatency: 3 networks and 2 latencies, expected one for each");
}
