#!/usr/bin/env bash
# Builds and runs the tests with other versions of xtensor, xsimd and xtl than the system's.
# Usage: tests/install/versions.sh WORK_FOLDER INCLUDE_ROOT... (folders that hold xtensor/, xsimd/ and xtl/; for Boost,
# boost/). CXX chooses the compiler, TESTS the folders of tests (default: kernel model decode parity search), "all" of
# them with the program and the examples, but not what uses none of these headers (documents, packages, launchers) or the
# system's (programs for ARM).
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:?the folder to work in}
shift
[ $# -gt 0 ] || { echo "versions.sh: name at least one folder with xtensor/, xsimd/ and xtl/" >&2; exit 2; }
tests=${TESTS:-kernel model decode parity search}
if [ "$tests" = all ]; then
  build_options="-DHAT_BUILD_EXAMPLES=ON -DHAT_STATIC_NETWORKS=8" # a few networks as types show as much here as 200
  targets=""
  select=(-E '^(layers|snippets|documented|links|guide|missing_library|install.*|launcher.*|agent\..*|kernel\.armv7.*)$')
else
  build_options=-DHAT_BUILD_EXAMPLES=OFF
  targets="--target $(printf 'hat_test_%s ' $tests)"
  select=(-R "^($(echo $tests | tr ' ' '|'))\$")
fi
failed=0
for root in "$@"; do
  root=$(cd "$root" && pwd)
  for library in xtensor xsimd xtl; do
    [ -d "$root/$library" ] || { echo "versions.sh: $root holds no $library/" >&2; exit 2; }
  done
  name=$(basename "$root")
  build=$work/$name-$(basename "${CXX:-g++}")
  mkdir -p "$build"
  # before the system's folders, so that these versions are found whatever find_package found
  if cmake -S "$source" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="${CXX:-g++}" -DCMAKE_CXX_FLAGS="-isystem $root" \
      $build_options -DCMAKE_UNITY_BUILD=ON -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" -Wno-dev >"$build/log" 2>&1 &&
    cmake --build "$build" $targets >>"$build/log" 2>&1 &&
    ctest --test-dir "$build" --no-tests=error "${select[@]}" >>"$build/log" 2>&1; then
    echo "ok     $name, $(grep 'tests passed' "$build/log")"
  else
    echo "FAILED $name, see $build/log"
    failed=1
  fi
done
exit $failed
