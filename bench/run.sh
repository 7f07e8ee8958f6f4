#!/usr/bin/env bash
# Builds and runs all benchmarks; writes their JSON to build/bench/results and prints the tables of docs/performance.md.
# Usage: bench/run.sh [gemm|quantized|training|decoding|scoring|predictor|static|packed|compile ...], default: all that could be built.
# What an exported program costs needs a finished run: see bench/deployed.py.
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
[ $# -gt 0 ] || set -- gemm quantized training decoding scoring predictor static packed compile
for what in "$@"; do
  echo
  echo "## $what"
  echo
  case $what in
    compile) bench/compile/run.sh ;;
    training) [ ! -x "$programs/hat_bench_training" ] || bench/training.py "$programs/hat_bench_training" --json "$results/training.json" ;;
    scoring)
      "$programs/hat_bench_scoring" --benchmark_out="$results/scoring.json" --benchmark_out_format=json \
        --benchmark_counters_tabular=true
      bench/scoring.py "$programs/hat_bench_scoring" --json "$results/scoring_peers.json" ;;
    gemm | quantized)
      [ ! -x "$programs/hat_bench_$what" ] || {
        "$programs/hat_bench_$what" --benchmark_min_time=0.02 --benchmark_repetitions=3 --benchmark_format=json \
          --benchmark_enable_random_interleaving=true >"$results/$what.json"
        "bench/${what}_tables.py" "$results/$what.json"
      } ;;
    *)
      "$programs/hat_bench_$what" --benchmark_out="$results/$what.json" --benchmark_out_format=json \
        --benchmark_counters_tabular=true ;;
  esac
done
