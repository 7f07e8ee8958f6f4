#!/bin/sh
# What including hat costs: seconds to compile a file that does nothing else (g++ -std=c++20 -O0 -c: the whole front end,
# and hardly any code to generate), as multiples of a file that includes xtensor, xsimd, Boost.Hana and doctest.
# User CPU time, the best of several rounds; each round compiles all files, so that other work meets all alike.
# Fails when hat.hpp costs more than 2.5 times, or search/searcher.hpp more than 1 time the baseline; deploy.hpp has no
# limit.
# Usage: bench/compile/run.sh [rounds]; CXX and CXXFLAGS as usual.
set -eu
folder=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
round=0
while [ "$round" -lt "${1:-7}" ]; do
    for file in baseline hat searcher deploy; do
        # ${CXXFLAGS} is a list of words; `times` of a subshell counts only what ran inside it
        # shellcheck disable=SC2086
        (
            CCACHE_DISABLE=1 ${CXX:-g++} -std=c++20 -O0 ${CXXFLAGS:-} -I"$folder/../../include" -c "$folder/$file.cpp" -o "$work/$file.o"
            times >"$work/times"
        )
        # second line: children; first word: user time, as 0m1.234s
        awk -v file="$file" 'NR == 2 { split($1, t, /[ms]/); print file, t[1] * 60 + t[2] }' "$work/times" >>"$work/all"
    done
    round=$((round + 1))
done
awk '
    !($1 in best) || $2 < best[$1] { best[$1] = $2 }
    function line(name, header, limit,   ratio, bad) {
        ratio = best[name] / best["baseline"]
        bad = ratio > limit
        printf "%-26s %5.2f s  %4.2fx", header, best[name], ratio
        if (!limit) { print ""; return 0 }
        printf "  limit %.1fx  %s\n", limit, bad ? "ABOVE" : "within"
        return bad
    }
    END {
        printf "%-26s %5.2f s\n", "xtensor+xsimd+hana+doctest", best["baseline"]
        bad = line("hat", "hat/hat.hpp", 2.5)
        bad += line("searcher", "hat/search/searcher.hpp", 1)
        line("deploy", "hat/deploy.hpp", 0)
        exit bad > 0
    }' "$work/all"
