#!/bin/sh
# What including hat costs: seconds to compile a file that does nothing else (g++ -std=c++20 -O0 -c: the whole front end,
# and hardly any code to generate), as multiples of a file that includes xtensor, xsimd, Boost.Hana and doctest.
# User CPU time, the best of several rounds; each round compiles all files, so that other work meets all alike.
# Fails when hat.hpp costs more than 2.5 times, or search/searcher.hpp more than 1 time the baseline; deploy.hpp has no
# limit.
# Prints JSON, of which bench/tables.py makes the table. Usage: bench/compile/run.sh [rounds]; CXX and CXXFLAGS as usual.
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
    function line(name, header, limit,   ratio) {
        ratio = best[name] / best["baseline"]
        printf "{\"file\": \"%s\", \"seconds\": %.3f, \"ratio\": %.3f, \"limit\": %s}", header, best[name], ratio, limit
        return limit != "null" && ratio > limit
    }
    END {
        printf "["
        line("baseline", "xtensor, xsimd, Boost.Hana and doctest", "null")
        printf ",\n "
        bad = line("hat", "hat/hat.hpp", 2.5)
        printf ",\n "
        bad += line("searcher", "hat/search/searcher.hpp", 1)
        printf ",\n "
        line("deploy", "hat/deploy.hpp", "null")
        print "]"
        exit bad > 0
    }' "$work/all"
