#!/usr/bin/env bash
# Builds and runs all benchmarks; writes their JSON to build/bench/results and prints the tables of docs/performance.md.
# Usage: bench/run.sh [gemm|quantized|training|decoding|scoring|predictor|static|packed|compile ...], default: all that
# could be built, which takes about an hour. The machine should do nothing else.
# Again from the JSON: bench/tables.py. What an exported program costs needs a finished run: see bench/deployed.py.
# Peers are Debian packages, each left out when missing: libopenblas-dev libdnnl-dev python3-torch; and for decoding
# CTranslate2, where its CMake package is installed (elsewhere than in the system: CMAKE_PREFIX_PATH=... bench/run.sh decoding).
set -eu
cd "$(dirname "$0")/.."
cmake/setup.sh --tests
cmake --preset bench -Wno-dev >/dev/null
cmake --build --preset bench
programs=build/bench/bin
results=build/bench/results
mkdir -p "$results"

# measure <program> <name of the results> [options]
measure() { "$programs/hat_bench_$1" --benchmark_format=json "${@:3}" >"$results/$2.json"; }
turns=--benchmark_enable_random_interleaving=true

status=0
[ $# -gt 0 ] || set -- gemm quantized training decoding scoring predictor static packed compile
for what in "$@"; do
  printf '\n## %s\n\n' "$what"
  if [ "$what" != compile ] && [ ! -x "$programs/hat_bench_$what" ]; then
    echo "left out: bench/$what.cpp was not built"
    continue
  fi
  begin=$SECONDS
  case $what in
    gemm) measure gemm gemm --benchmark_min_time=0.02 --benchmark_repetitions=3 $turns ;;
    quantized) measure quantized quantized --benchmark_min_time=0.02 --benchmark_repetitions=3 $turns ;;
    static) measure static static --benchmark_min_time=0.2 --benchmark_repetitions=3 $turns ;;
    predictor) measure predictor predictor --benchmark_repetitions=2 ;;
    packed) measure packed packed --benchmark_repetitions=3 ;;
    training) bench/training.py "$programs/hat_bench_training" --rounds 2 --json "$results/training.json" ;;
    scoring)
      bench/scoring.py "$programs/hat_bench_scoring" --json "$results/scoring.json"
      measure scoring search --benchmark_filter=search/
      bench/tables.py search "$results/search.json"
      ;;
    decoding)
      measure decoding decoding --benchmark_min_time=0.3 --benchmark_repetitions=3
      bench/tables.py decoding "$results/decoding.json"
      for network in A B C D; do "$programs/hat_bench_decoding" --rss $network; done >"$results/memory.jsonl"
      bench/tables.py memory "$results/memory.jsonl"
      if "$programs/hat_bench_decoding" --benchmark_list_tests | grep -q beside_ctranslate2; then
        echo "The same without AMX (ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI):"
        ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI measure decoding no_amx --benchmark_filter='limit|beside_ctranslate2' \
          --benchmark_repetitions=3
        bench/tables.py decoding "$results/no_amx.json"
      fi
      ;;
    compile) bench/compile/run.sh 3 >"$results/compile.json" || status=1 ;;
  esac
  case $what in
    gemm | quantized | static | predictor | packed | compile) bench/tables.py "$what" "$results/$what.json" ;;
  esac
  echo "bench/run.sh $what: $((SECONDS - begin)) s" >&2
done
exit $status
