#include <doctest/doctest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cli/program.hpp>
#include <cli/tiny_run.hpp>
#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/io/json.hpp>
#include <hat/latency/dataset.hpp>
#include <hat/latency/device.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace hat_test;
using namespace std::chrono_literals;

namespace {

/// A tiny run whose device is a shell script: networks take 1 ms and 2 ms for each layer; `on_time` runs before each
/// answer, $count is the number of answers of this start and $tries the number of starts.
struct ScriptedRun : TinyRun {
    ScriptedRun() { REQUIRE(hat("data").status == 0); }

    std::string agent(const std::string& on_time = ":", const std::string& device = "a board") const {
        const std::string script = (folder / "agent.sh").string(), tries = (folder / "tries").string();
        hat::write_file_atomically(script, "echo $$ >> " + tries + "\ntries=$(wc -l < " + tries + R"()
echo 'hello protocol=1'
count=0
while read -r verb id rest; do
  case $verb in
    model) echo 'ready device=)" + device + R"(' ;;
    time)
      count=$((count + 1))
      )" + on_time + R"(
      e=1000000 d=2000000
      case $rest in *decoder.layers=2*) d=4000000 ;; esac
      echo "samples $id encoder=$e,$e,$e,$e,$e decoder=$d,$d,$d,$d,$d" ;;
    quit) exit ;;
  esac
done
)");
        return "exec sh " + script;
    }
    std::set<std::string> archs() const {
        std::set<std::string> out;
        for (const auto& row : hat::LatencyDataset::load(dir + "/latency.csv").rows) out.insert(row.arch);
        return out;
    }
    Outcome measure(const std::string& command, std::vector<std::string> more = {}) const {
        more.insert(more.end(), {"--command", command});
        return hat("measure", more);
    }
};

}  // namespace

TEST_CASE("measure collects a dataset on another device, and says which") {
    const ScriptedRun run;
    const Outcome measured = run.measure(run.agent());
    INFO(measured.err);
    REQUIRE(measured.status == 0);
    CHECK(contains(measured.err, "measuring on: a board"));
    CHECK(contains(measured.err, "largest network 5.00 ms, smallest 3.00 ms; drift divided out: 1.000 to 1.000"));
    const auto data = hat::LatencyDataset::load(run.dir + "/latency.csv");
    REQUIRE(data.rows.size() == 20);
    for (const auto& row : data.rows) {
        CHECK(row.device == hat::device_id("a board"));
        CHECK(row.encoder_ms == doctest::Approx(1));
        CHECK(row.reference_ms == doctest::Approx(5));
        CHECK(row.encoder_samples.size() >= 2);
        CHECK(row.seed == 1);
    }
    CHECK(run.archs().size() == 20);
    // the other stages would measure here
    const Outcome without = run.hat("measure");
    CHECK(without.status == 1);
    CHECK_MESSAGE(contains(without.err,
                           "stage 'measure' was made with other settings: 'device-command' was \"given\", "
                           "now is not set"),
                  without.err);
}

TEST_CASE("a device that dies or hangs in the middle is asked again, and when that is no use the rows are kept") {
    const ScriptedRun run;
    const Outcome died = run.measure(run.agent("[ $tries = 1 ] && [ $count = 9 ] && exit 3"));
    INFO(died.err);
    CHECK(died.status == 0);
    CHECK(contains(died.err, "has ended, with exit status 3; starting it again (1 of 3)"));
    CHECK(run.archs().size() == 20);

    const ScriptedRun hanging;
    const Outcome hung = hanging.measure(hanging.agent("sleep 0.15; [ $count -gt 16 ] && exec sleep 60"),
                                         {"--timeout", "1.5", "--retries", "0"});
    INFO(hung.err);
    CHECK(hung.status == 1);
    CHECK(contains(hung.err, "did not answer for 1.5 s; given up after 1 attempt"));
    const std::size_t before = hanging.archs().size();
    CHECK(before > 0);
    CHECK(before < 20);
    const Outcome other = hanging.measure(hanging.agent(":", "another board"));
    CHECK(other.status == 1);
    CHECK_MESSAGE(contains(other.err,
                           "/latency.csv: was measured on another device: 'a board', now it would be 'another board'; "
                           "use another --dir, or 'hat run --from measure' measures again"),
                  other.err);
    const Outcome resumed = hanging.measure(hanging.agent());
    INFO(resumed.err);
    CHECK(resumed.status == 0);
    CHECK(contains(resumed.err, "resumed with " + std::to_string(before) + " measurements"));
    CHECK(hanging.archs() == run.archs());
}

TEST_CASE("a killed measurement goes on with the same networks, and leaves no agent behind") {
    const ScriptedRun undisturbed, killed;
    REQUIRE(undisturbed.measure(undisturbed.agent()).status == 0);
    const std::string agent = killed.agent("sleep 0.1");
    const ::pid_t child = ::fork();
    if (child == 0) {
        ::execl(HAT_PROGRAM, HAT_PROGRAM, "measure", "--config", killed.config.c_str(), "--dir", killed.dir.c_str(),
                "--quiet", "--command", agent.c_str(), nullptr);
        ::_exit(99);
    }
    for (int i = 0; i < 6000 && !std::filesystem::exists(killed.dir + "/latency.csv"); ++i)
        std::this_thread::sleep_for(10ms);
    REQUIRE(::kill(child, SIGKILL) == 0);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));  // it was in the middle
    const std::size_t before = killed.archs().size();
    CHECK(before < 20);
    const int agent_pid = std::stoi(hat::read_file(killed.folder / "tries"));
    bool alive = true;
    for (int i = 0; i < 1000 && alive; ++i) {
        const std::string cmdline = "/proc/" + std::to_string(agent_pid) + "/cmdline";
        std::error_code gone;
        alive = std::filesystem::exists(cmdline, gone) && !hat::read_file(cmdline).empty();  // empty: a zombie
        if (alive) std::this_thread::sleep_for(10ms);
    }
    CHECK(!alive);
    const Outcome resumed = killed.measure(killed.agent());
    INFO(resumed.err);
    REQUIRE(resumed.status == 0);
    CHECK(contains(resumed.err, "resumed with " + std::to_string(before) + " measurements"));
    CHECK(killed.archs() == undisturbed.archs());
}

TEST_CASE("a whole run on the device behind a command, with the real agent") {
    const TinyRun tiny;
    const std::string device = "device-command: " + hat::Json(std::string(HAT_AGENT)).dump();
    const Outcome run = tiny.with(device, "run");
    INFO(run.err);
    REQUIRE(run.status == 0);
    CHECK(contains(run.err, "measuring on: cpu="));
    CHECK(contains(run.out, "SubTransformer found"));
    const hat::Json state = hat::load_json(tiny.dir + "/state.json");
    CHECK(state.at("stages").at("evaluate").at("results").at("models").at("winner").at("latency_ms").get<double>() > 0);
    const std::string text = state.at("stages").at("measure").at("results").at("device");
    CHECK(hat::LatencyDataset::load(tiny.dir + "/latency.csv").rows[0].device == hat::device_id(text));

    // the search measures its winners again: on the same device, or not at all
    const std::string other = (tiny.folder / "other.sh").string();
    hat::write_file_atomically(
        other, "echo 'hello protocol=1'\nread -r line\necho 'ready device=another board'\nread -r line\n");
    REQUIRE(tiny.with(device, "run", {"--from", "search", "--estimate"}).status == 0);  // forgets it
    const Outcome search = tiny.with("device-command: sh " + other, "search");
    CHECK(search.status == 1);
    CHECK_MESSAGE(contains(search.err, "latencies were measured on another device: 'cpu="), search.err);
    CHECK(contains(search.err, "reaches 'another board'"));
}

TEST_CASE("options of the device are checked") {
    const TinyRun tiny;
    for (const std::string bad : {"0", "-1", "soon", "[1]", "nan", "1e9"}) {
        const Outcome run = tiny.hat("measure", {"--command", "x", "--timeout", bad});
        CHECK(run.status == 2);
        CHECK(contains(run.err, "--timeout: '" + bad + "' is not a number from 0.001 to 1000000\n"));
    }
    CHECK(contains(tiny.with("device-timeout: 1e9", "measure", {"--command", "x"}).err,
                   "key 'device-timeout' is '1e9', expected seconds, from 0.001 to 1000000"));
    CHECK(tiny.hat("measure", {"--command", "x", "--retries", "some"}).status == 2);
    for (const std::string none : {"", " "})  // as from a variable that is not set: not this machine then
        CHECK(contains(tiny.hat("measure", {"--command", none}).err,
                       "key 'device-command' is '" + none + "', expected a shell command"));
    const Outcome skipped = tiny.with("device-timeout: 3", "data");
    CHECK(skipped.status == 0);
    CHECK(contains(skipped.err, "keys without a meaning here are skipped: device-timeout"));
}
