#include <doctest/doctest.h>

#include <filesystem>
#include <hat/io/atomic_file.hpp>
#include <hat/latency/device.hpp>

#include "support/files.hpp"

TEST_CASE("the fingerprint of a described machine") {
    const hat_test::TemporaryFolder folder;
    std::filesystem::create_directories(folder / "proc");
    std::filesystem::create_directories(folder / "sys/devices/system/cpu/cpu0/cpufreq");
    hat::write_file_atomically(
        folder / "proc/cpuinfo",
        "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu avx avx2 avx512f fma\n");
    hat::write_file_atomically(folder / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
    const auto d = hat::this_device(2, folder.path);
    CHECK(d.cpu == "Some CPU @ 2.0GHz");
    CHECK(d.isa == "avx avx2 fma avx512f");
    CHECK(d.governor == "performance");
    CHECK(d.threads == 2);
    CHECK(d.hat_version == hat::version);
    CHECK(hat_test::contains(d.text(),
                             "cpu=Some CPU @ 2.0GHz; isa=avx avx2 fma avx512f; governor=performance; compiler="));
    CHECK(hat_test::contains(d.text(), "threads=2"));
    auto other = d;
    CHECK(other.id() == d.id());
    other.governor = "powersave";
    CHECK(other.id() != d.id());
    hat::write_file_atomically(folder / "proc/cpuinfo", "Features\t: fp asimd asimddp\nHardware\t: BCM2835\n");
    CHECK(hat::this_device(1, folder.path).isa == "asimd asimddp");
    CHECK(hat::this_device(1, folder.path).cpu == "BCM2835");
}

TEST_CASE("what cannot be read is unknown") {
    const hat_test::TemporaryFolder folder;
    const auto d = hat::this_device(1, folder.path);
    CHECK(d.cpu == "unknown");
    CHECK(d.isa == "unknown");
    CHECK(d.governor == "unknown");
    CHECK(d.compiler != "unknown");
    CHECK(hat::this_device(1) == hat::this_device(1));
}
