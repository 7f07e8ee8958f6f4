#!/usr/bin/env bash
# The whole of HAT on real text, on this machine: does its own set-up, builds the program, and runs the pipeline of
# examples/quickstart/quickstart.yml. Stop it at any moment; the same command goes on.
# Usage: examples/quickstart.sh [--fast] [option of hat run...]      --fast: minutes, bad models (for CI)
set -eu
cd "$(dirname "$0")/.."
configs="--config examples/quickstart/quickstart.yml" dir=run/quickstart
if [ "${1:-}" = --fast ]; then
  configs="$configs --config examples/quickstart/fast.yml" dir=run/quickstart-fast
  shift
fi
cmake/setup.sh
cmake --preset gcc -DHAT_BUILD_TESTS=OFF -Wno-dev >/dev/null
cmake --build --preset gcc --target hat_program
# shellcheck disable=SC2086
exec build/gcc/bin/hat run $configs --dir "$dir" "$@"
