// Latency of a device that is measured once, say a phone: a predictor learns it, and a factor says what the desk hides.
#include <hat/latency/linear.hpp>
#include <hat/latency/predicted.hpp>
#include <hat/space/features.hpp>
#include <vector>

#include "remote.hpp"

// A phone is measured once and then goes back into a pocket: a predictor learns from the dataset. In use it is warm and
// runs slower than on the desk.
struct PhoneLatency {
    hat::PredictedLatency<hat::Ridge, hat::OperationFeatures> on_the_desk;
    double throttled = 1.4;

    hat::Milliseconds operator()(const Space::Arch& a) const { return throttled * on_the_desk(a); }
};

static_assert(hat::LatencyPolicy<PhoneLatency, Space::Arch>);

int main(int argc, char** argv) {
    const auto measured = hat::measured_remotely(connect(argc > 1 ? argv[1] : stand_in), {.repeats = 5});
    std::vector<Space::Arch> archs;
    std::vector<double> milliseconds;
    hat::Rng rng(1);
    for (int i = 0; i < 30; ++i) {
        archs.push_back(Space{}.random_network(rng));
        milliseconds.push_back(measured(archs.back()).count());  // or rows of latency.csv, as 'hat measure' left it
    }
    PhoneLatency phone;
    phone.on_the_desk.fit(archs, milliseconds);
    const hat::Milliseconds shallow = phone(with_decoder(1)), deep = phone(with_decoder(3));
    std::cout << "on a warm phone: 1 decoder layer " << shallow.count() << " ms, 3: " << deep.count() << " ms\n";
    return shallow < deep ? 0 : 1;
}
