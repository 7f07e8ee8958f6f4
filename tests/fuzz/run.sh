#!/usr/bin/env bash
# Builds the fuzz targets and runs them for some time, all at once, from small valid files. A fault ends it with the
# input's path.
# Usage: tests/fuzz/run.sh [seconds a target, 60] [target...]
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake/setup.sh --fuzz
seconds=${1:-60}
shift || true
build=build/fuzz
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=clang++ -DHAT_BUILD_FUZZERS=ON \
  -DHAT_BUILD_TESTS=OFF -DHAT_BUILD_EXAMPLES=OFF >/dev/null
targets=${*:-$(cd tests/fuzz && ls -- *_fuzz.cpp | sed 's/_fuzz.cpp//')}
# shellcheck disable=SC2046,SC2086
ninja -C $build $(for target in $targets; do echo "${target}_fuzz" "${target}_seeds"; done)
fuzz() {  # target
  local corpus=$build/corpus/$1
  mkdir -p "$corpus"
  "$(find $build -name "$1_seeds" -type f -perm -u+x)" "$corpus"
  # leaks and memory per input are bounded as well; inputs up to 64 kB
  "$(find $build -name "$1_fuzz" -type f -perm -u+x)" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -max_len=65536 -artifact_prefix="$build/" -print_final_stats=1 "$corpus" 2>&1 | tail -n 25
}
running=()
trap 'kill "${running[@]}" 2>/dev/null || true' EXIT
for target in $targets; do
  fuzz "$target" & # each has one thread
  running+=($!)
done
for one in "${running[@]}"; do wait "$one"; done
