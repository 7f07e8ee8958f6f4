#!/usr/bin/env bash
# Builds and passes all tests; does its own set-up. Usage: tests/run.sh [preset...], default gcc; the presets are gcc,
# clang, clang-numeric, asan-ubsan and tsan (see CMakePresets.json).
set -eu
cd "$(dirname "$0")/.."
cmake/setup.sh --tests
[ $# -gt 0 ] || set -- gcc
for preset in "$@"; do
  echo "== $preset: configure and build"
  cmake --preset "$preset" -DHAT_BUILD_TESTS=ON -Wno-dev >/dev/null
  cmake --build --preset "$preset"
  echo "== $preset: tests"
  ctest --preset "$preset" -j "$(nproc)"
done
