/// \file
/// The program `hat` where it was built for several levels of instruction sets (HAT_PROGRAM_ISAS): replaces itself by
/// the best build for this processor, so that arguments, streams, signals and exit status are that build's own. The
/// environment variable HAT_ISA names another build.

#include <cpuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

struct Level {
    const char* name;
    bool runs;  // on this processor
};

/// Whether the processor has tiles of bfloat16 (CPUID, leaf 7, EDX bits 22 and 24) and the system keeps them (leaf 1,
/// ECX bit 27, then XCR0, bits 17 and 18), which clang's __builtin_cpu_supports() does not know. Whether this process
/// may use them, the build asks itself, and does without otherwise.
[[maybe_unused]] bool amx() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c >> 27U & 1U) == 0) return false;
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low >> 17U & 3U) != 3) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22U & 1U) != 0 && (d >> 24U & 1U) != 0;
}

int fail(int status, const std::string& what) {
    std::fputs((HAT_NAME ": error: " + what + "\n").c_str(), stderr);
    return status;
}

/// The path without links; "" when there is nothing.
std::string resolved(const std::string& path) {
    char* const real = ::realpath(path.c_str(), nullptr);
    const std::string result = real ? real : "";
    std::free(real);
    return result;
}

bool runnable(const std::string& path) {
    struct stat status {};
    return ::access(path.c_str(), X_OK) == 0 && ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

/// The file of this program; "" when it cannot be found.
std::string own_file(const std::string& called) {
    const std::string self = resolved("/proc/self/exe");
    if (!self.empty()) return self;
    if (called.find('/') != std::string::npos) return resolved(called);
    const char* const path = std::getenv("PATH");  // as the shell did; an empty folder is the current one
    const std::string folders = std::string(path ? path : "") + ":";
    for (std::size_t begin = 0, end; (end = folders.find(':', begin)) != std::string::npos; begin = end + 1) {
        const std::string file = (begin == end ? "." : folders.substr(begin, end - begin)) + "/" + called;
        if (runnable(file)) return resolved(file);
    }
    return "";
}

}  // namespace

int main(int argc, char** argv) {
    const Level levels[] = {
#include <levels.inc>
    };
    const char* const variable = std::getenv("HAT_ISA");
    const std::string wanted = variable ? variable : "";
    const Level* chosen = nullptr;
    std::string all, running;
    for (const Level& level : levels) {
        (all += all.empty() ? "" : ", ") += level.name;
        if (level.runs) (running += running.empty() ? "" : ", ") += level.name;
        if (wanted.empty() ? level.runs : wanted == level.name) chosen = &level;
    }
    if (!chosen && wanted.empty()) return fail(1, "this processor runs none of the builds that there are: " + all);
    if (!chosen) return fail(2, "HAT_ISA names no build: '" + wanted + "' is none of " + all);
    if (!chosen->runs)
        return fail(2, "this processor cannot run the build that HAT_ISA names, " + wanted + "; it runs " +
                           (running.empty() ? "none" : running));

    const std::string self = own_file(argc > 0 ? argv[0] : "");
    if (self.empty()) return fail(1, "the folder of this program cannot be found");
    const std::string program = self.substr(0, self.rfind('/')) + "/" HAT_LEVELS_FOLDER "/" HAT_NAME "-" + chosen->name;
    ::execv(program.c_str(), argv);
    return fail(1, "the build for this processor cannot be started: " + program + ": " + std::strerror(errno) +
                       "; HAT_ISA can name another one of " + running);
}
