#include <doctest/doctest.h>

#include <cstdlib>
#include <hat/deploy/agent.hpp>
#include <hat/latency/remote.hpp>
#include <memory>
#include <sstream>
#include <string>
#include <support/files.hpp>
#include <support/tiny.hpp>
#include <vector>

using hat_test::contains;

namespace {

hat::RemoteModel tiny_model() {
    hat::RemoteModel m;
    m.shape = hat_test::tiny_arch();
    m.source_vocab = m.target_vocab = 20;
    m.source_length = m.target_length = 5;
    m.beam = 2;
    return m;
}

/// What the agent answers to these lines, the greeting left out.
std::vector<std::string> answers(const std::string& lines, std::size_t longest = std::size_t{1} << 16) {
    std::istringstream in(lines);
    std::ostringstream out;
    hat::run_agent(in, out, longest);
    std::istringstream all(out.str());
    std::vector<std::string> found;
    for (std::string line; std::getline(all, line);) found.push_back(line);
    REQUIRE(!found.empty());
    CHECK(found[0].starts_with("hello protocol=1 hat=" + std::string(hat::version) + " threads="));
    CHECK(contains(found[0], " device=cpu="));
    found.erase(found.begin());
    return found;
}

std::string request(std::uint64_t id, const hat::RuntimeArch& arch, std::size_t repeats = 3) {
    return hat::time_request(id, {.warmup = 1, .repeats = repeats}, arch).text() + "\n";
}

}  // namespace

TEST_CASE("the agent sets itself up, times any network of the space, and ends when it is told to") {
    const std::string model = tiny_model().message().text() + "\n";
    const auto a =
        answers("ping id=1\r\n\n" + model + request(2, hat_test::tiny_arch()) + request(3, hat_test::tiny_sub_arch()) +
                request(4, hat_test::tiny_arch(), 7) + "quit\nping id=9\n");
    REQUIRE(a.size() == 5);
    CHECK(a[0] == "pong id=1");
    CHECK(a[1] == "ready device=" + hat::this_device(1).text());
    for (const auto& [i, repeats] : {std::pair<std::size_t, std::size_t>(2, 3), {3, 3}, {4, 7}}) {
        const auto samples = hat::RemoteMessage::parse(a[i]);
        CHECK(samples.verb == "samples");
        CHECK(samples.get("id") == std::to_string(i));
        const auto times = hat::parse_samples(samples, repeats);
        CHECK(times.encoder.size() == repeats);
        for (const double t : times.decoder) CHECK(t > 0);
    }
}

TEST_CASE("whatever a line holds, the answer is a line that says what is wrong, and the agent goes on") {
    const std::string model = tiny_model().message().text();
    const auto answer = [&](const std::string& line, bool set_up = true) {
        const auto all = answers((set_up ? model + "\n" : "") + line + "\nping id=77\n");
        REQUIRE(all.size() == (set_up ? 3 : 2));
        CHECK(all.back() == "pong id=77");
        return all[all.size() - 2];
    };
    CHECK(answer("time id=5 warmup=1", false) == "error id=5 message=there is no model yet: send 'model' first");
    CHECK(answer("format disk=c:") ==
          "error id=0 message=verb 'format' is unknown, expected model, time, ping or quit");
    CHECK(answer("time id=x") ==
          "error id=0 message=key 'id' is 'x', expected a whole number from 1 to 18446744073709551615");
    CHECK(answer("time warmup=1") == "error id=0 message=key 'id' is missing");
    CHECK(answer("time id=5 again") == "error id=0 message=found 'again', expected key=value");
    CHECK(answer("time id=5 warmup=1 repeats=2 min_ns=0 max_repeats=9") ==
          "error id=5 message=hat::arch_from_text: field 'encoder.embed' is missing");
    CHECK(answer("time id=5 repeat=2") == "error id=5 message=key 'repeat' is unknown");
    CHECK(answer("model id=4") == "error id=4 message=key 'id' is unknown");
    CHECK(contains(answer(std::string("time \0 \xff\x01", 9)), "error id=0 message="));
    CHECK(contains(answer("time id=5 " + std::string(70000, '9')), "the line is longer than 65536 bytes"));

    hat::RuntimeArch wide = hat_test::tiny_arch();
    wide.encoder.ffn[1] = 4096;
    std::string time = request(6, wide);
    time.pop_back();
    CHECK(answer(time) ==
          "error id=6 message=hat: architecture: encoder FFN width of layer 1 is 4096, but the weights "
          "hold at most 32");
    wide = hat_test::tiny_arch();
    wide.encoder.self_heads[0] = 3;
    time = request(6, wide);
    time.pop_back();
    CHECK(contains(answer(time), "error id=6 message=hat: architecture: encoder layer 0: 3 self-attention heads"));

    const auto with = [&](const std::string& key, const std::string& value) {
        std::string line = model;
        const auto at = line.find(key + "=") + key.size() + 1;
        return line.replace(at, line.find(' ', at) - at, value);
    };
    CHECK(
        contains(answer(with("threads", "5000"), false), "key 'threads' is '5000', expected a whole number from 0 to"));
    CHECK(contains(answer(with("beam", "0"), false), "key 'beam' is '0'"));
    CHECK(contains(answer(with("target_vocab", "21"), false), "error id=0 message="));  // embeddings are shared
    hat::RemoteModel huge = tiny_model();
    huge.shape.encoder.embed = huge.shape.decoder.embed = 262144;
    huge.shape.encoder.ffn[0] = 262144;
    CHECK(contains(answer(huge.message().text(), false), " MiB of weights, but this device has "));
    huge.shape.encoder.embed = 2000000000;
    CHECK(contains(answer(huge.message().text(), false), "error id=0 message="));
}

TEST_CASE("a line that is not finished is not answered") {
    CHECK(answers("ping id=1").empty());
    CHECK(answers("ping id=1\nping id=2") == std::vector<std::string>{"pong id=1"});
}

// The program; HAT_AGENT names another build of it, or another agent (tests/deploy/cross.sh).
TEST_CASE("the program behind a pipe is measured by a meter") {
    const char* other = std::getenv("HAT_AGENT");
    std::vector<std::string> reports;
    const auto device = std::make_shared<hat::RemoteDevice>(
        tiny_model(), hat::RemoteOptions{.command = other ? other : HAT_AGENT,
                                         .report = [&](const std::string& what) { reports.push_back(what); }});
    CHECK(contains(device->device(), "threads=1"));
    if (!other) CHECK(device->id() == hat::this_device(1).id());
    CHECK(device->ping().count() > 0);
    hat::Meter<hat::RemoteNetwork> meter({device, hat_test::tiny_arch()}, {.repeats = 5});
    const auto m = meter.measure(hat::RemoteNetwork{device, hat_test::tiny_sub_arch()});
    CHECK(m.encoder.samples.size() == 5);
    CHECK(m.decoder.samples.size() == 5);
    CHECK(m.total().count() > 0);
    CHECK(m.reference.count() > 0);
    CHECK(reports.empty());
    MESSAGE(device->device());
}
