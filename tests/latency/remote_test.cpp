#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/latency/remote.hpp>
#include <memory>
#include <string>
#include <support/files.hpp>
#include <support/tiny.hpp>
#include <vector>

using namespace std::chrono_literals;
using hat_test::contains;
using hat_test::message_of;

namespace {

/// An agent as a shell script: it greets, sets itself up, and does `on_time` for a request to time a network, in which
/// $id is its number. It starts with `first`; $tries counts how often it was started.
struct FakeAgent {
    hat_test::TemporaryFolder folder;
    std::vector<std::string> reports;

    hat::RemoteOptions options(const std::string& on_time, const std::string& first = "",
                               const std::string& hello = "echo 'hello protocol=1'",
                               const std::string& ready = "echo 'ready device=a board'") {
        const std::string script = (folder / "agent.sh").string(), tries = (folder / "tries").string();
        hat::write_file_atomically(script, "echo >> " + tries + "\ntries=$(wc -l < " + tries + ")\n" + first + "\n" +
                                               hello +
                                               "\nwhile read -r verb word rest; do\n id=${word#id=}\n case $verb in\n"
                                               "  model) " +
                                               ready + ";;\n  ping) echo \"pong id=$id\";;\n  quit) exit;;\n  time) " +
                                               on_time + ";;\n esac\ndone\n");
        return {.command = "exec sh " + script,
                .timeout = 20s,
                .retries = 2,
                .pause = 1ms,
                .report = [this](const std::string& what) { reports.push_back(what); }};
    }
    std::size_t tries() const { return hat::read_file(folder / "tries").size(); }
};

hat::RemoteModel tiny_model() {
    hat::RemoteModel m;
    m.shape = hat_test::tiny_arch();
    return m;
}

const hat::RunCount twice{.warmup = 0, .repeats = 2};
const std::string good = "echo \"samples id=$id encoder=1000000,2000000 decoder=3000000,4000000\"";

/// The message of what one request throws.
std::string failure(hat::RemoteDevice& device) {
    return message_of<hat::error>([&] { (void)device.run(hat_test::tiny_arch(), twice); });
}

}  // namespace

TEST_CASE("an agent answers with times, says what it is and that it is there; greetings before do not matter") {
    FakeAgent fake;
    hat::RemoteDevice device(tiny_model(), fake.options("echo \"busy id=$id\"; " + good, "echo; echo 'Welcome = !'"));
    CHECK(device.device() == "a board");
    CHECK(device.id() == hat::device_id("a board"));
    const auto times = device.run(hat_test::tiny_arch(), twice);
    CHECK(times.encoder == std::vector<double>{1, 2});
    CHECK(times.decoder == std::vector<double>{3, 4});
    CHECK(device.ping().count() > 0);
    CHECK(fake.tries() == 1);
    CHECK(fake.reports.empty());
}

TEST_CASE("an agent that hangs, dies or talks nonsense is started again, and each time is reported") {
    const std::pair<std::string, std::string> cases[] = {
        {"exec sleep 30", "did not answer for 1.5 s; starting it again (1 of 2)"},
        {"exit 3", "has ended, with exit status 3; starting it again (1 of 2)"},
        {"kill -9 $$", "has ended, by signal 9; starting it again (1 of 2)"},
        {"printf 'samples id='; exit", "has ended, with exit status 0; starting it again (1 of 2)"},
        {"echo 'Segmentation fault'", "sent 'Segmentation fault', which is not the protocol; starting it again"},
        {"echo 'samples id=999 encoder=1,2 decoder=1,2'",
         "sent 'samples id=999 encoder=1,2 decoder=1,2', expected 'samples id=1'; starting it again"},
        {"echo \"pong id=$id\"", "sent 'pong id=1', expected 'samples id=1'; starting it again"},
        {"echo \"samples id=$id encoder=1,x decoder=1,2\"",
         "sent samples whose key 'encoder' is '1,x', expected whole nanoseconds between commas; starting it again"},
        {"echo \"samples id=$id encoder=1,2 decoder=1\"",
         "sent samples whose key 'decoder' has 1 times, expected at least 2; starting it again"},
        {"echo \"samples id=$id encoder=1,2\"", "sent samples whose key 'decoder' is missing; starting it again"}};
    for (const auto& one : cases) {
        const std::string &on_time = one.first, &report = one.second;
        FakeAgent fake;
        auto options = fake.options("if [ $tries = 1 ]; then " + on_time + "; else " + good + "; fi");
        if (contains(on_time, "sleep")) options.timeout = 1500ms;
        hat::RemoteDevice device(tiny_model(), options);
        CAPTURE(on_time);
        CHECK(device.run(hat_test::tiny_arch(), twice).decoder == std::vector<double>{3, 4});
        CHECK(fake.tries() == 2);
        REQUIRE(fake.reports.size() == 1);
        CHECK_MESSAGE(contains(fake.reports[0], report), fake.reports[0]);
    }
}

TEST_CASE("retries end, and each request has its own") {
    FakeAgent fake;
    hat::RemoteDevice device(tiny_model(), fake.options("exit 3"));
    const std::string message = failure(device);
    CHECK_MESSAGE(contains(message, "has ended, with exit status 3; given up after 3 attempts"), message);
    CHECK(fake.tries() == 3);
    CHECK(fake.reports.size() == 2);

    FakeAgent dying;  // at every second request
    hat::RemoteDevice again(tiny_model(), dying.options(good + "; exit 3"));
    for (int i = 0; i < 5; ++i) CHECK(again.run(hat_test::tiny_arch(), twice).encoder.size() == 2);
    CHECK(dying.tries() == 5);
    CHECK(dying.reports.size() == 4);

    FakeAgent silent;  // says nothing at all
    auto options = silent.options(good, "", "exec sleep 30");
    options.retries = 0;
    options.timeout = 300ms;
    hat::RemoteDevice nothing(tiny_model(), options);
    CHECK(contains(failure(nothing), "did not answer for 0.3 s; given up after 1 attempt"));

    hat::RemoteDevice missing(tiny_model(), {.command = "/no/such/agent 2>/dev/null", .retries = 1, .pause = 1ms});
    CHECK(contains(failure(missing), "has ended, with exit status 127; given up after 2 attempts"));
}

TEST_CASE("what another attempt cannot help is an error at once") {
    const auto refused = [](const std::string& what, auto... parts) {
        FakeAgent fake;
        hat::RemoteDevice device(tiny_model(), fake.options(parts...));
        const std::string message = failure(device);
        CHECK_MESSAGE(contains(message, what), message);
        CHECK(fake.tries() == 1);
    };
    const std::string nothing, hello = "echo 'hello protocol=1'";
    refused("': the FFN is too wide", "echo \"error id=$id message=the FFN is too wide\"");
    refused("refused 'time id=1 warmup=0 repeats=2 ", "echo \"error id=$id message=no\"");
    refused("speaks version '2' of the agent's protocol, expected 1: build the agent", good, nothing,
            "echo 'hello protocol=2 hat=9.0.0 colour=blue device=x'");
    refused("refused 'model source_vocab=32768 ", good, nothing, hello, "echo 'error id=0 message=not enough memory'");
}

TEST_CASE("an agent must greet, and name its device") {
    for (const auto& [hello, ready, what] :
         {std::tuple("yes", "", "sent 'y', expected 'hello protocol=1'"),
          std::tuple("echo 'hello world'", "", "sent 'hello world': found 'world', expected key=value"),
          std::tuple("echo 'hello hat=1'", "", "key 'protocol' is missing"),
          std::tuple("echo 'hello protocol=1'", "echo ready", "sent 'ready', which names no device")}) {
        FakeAgent fake;
        auto options = fake.options(good, "", hello, ready);
        options.retries = 0;
        hat::RemoteDevice device(tiny_model(), options);
        const std::string message = failure(device);
        CHECK_MESSAGE(contains(message, what), message);
    }
}

TEST_CASE("a command that reaches another device after a while is refused") {
    FakeAgent fake;
    hat::RemoteDevice device(tiny_model(), fake.options(good + "; exit", "", "echo 'hello protocol=1'",
                                                        "echo \"ready device=board $tries\""));
    CHECK(failure(device) == "");
    const std::string message = failure(device);
    CHECK_MESSAGE(contains(message, "is another device now: 'board 2', before: 'board 1'"), message);
}

TEST_CASE("a meter measures a device as it does a model here, and its latency is a policy") {
    FakeAgent fake;  // two layers take 2 and 6 ms, one layer half of it
    const auto device = std::make_shared<hat::RemoteDevice>(
        tiny_model(), fake.options("n=2; case $rest in *decoder.layers=1*) n=1;; esac; e=${n}000000; d=$((3*n))000000; "
                                   "echo \"samples id=$id encoder=$e,$e,$e,$e,$e decoder=$d,$d,$d,$d,$d\""));
    const hat::MeterOptions options{.repeats = 5};
    hat::Meter<hat::RemoteNetwork> meter({device, hat_test::tiny_arch()}, options);
    const hat::Measurement m = meter.measure(hat::RemoteNetwork{device, hat_test::tiny_sub_arch()});
    CHECK(m.encoder.mean.count() == doctest::Approx(1));
    CHECK(m.decoder.mean.count() == doctest::Approx(3));
    CHECK(m.reference.count() == doctest::Approx(8));
    CHECK(m.gain == doctest::Approx(1));
    CHECK(m.row().decoder_samples == std::vector<double>(5, 3.0));

    const auto latency = hat::measured_remotely(device, options);
    static_assert(hat::LatencyPolicy<decltype(latency), hat::RuntimeArch>);
    CHECK(latency(hat_test::tiny_sub_arch()).count() == doctest::Approx(4));
    CHECK(latency(hat_test::tiny_arch()).count() == doctest::Approx(8));
    CHECK(fake.tries() == 1);
}

TEST_CASE("options that reach nothing are refused by name") {
    CHECK_THROWS_WITH_AS(hat::RemoteDevice(tiny_model(), {.command = " "}), "hat::RemoteOptions: the command is empty",
                         hat::invalid_value);
    CHECK_THROWS_WITH_AS(hat::RemoteDevice(tiny_model(), {.command = "x", .timeout = 0ms}),
                         "hat::RemoteOptions: the time-out is 0 ms, expected more than 0", hat::invalid_value);
}
