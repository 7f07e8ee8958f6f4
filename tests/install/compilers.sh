#!/usr/bin/env bash
# Builds and runs small programs that use all of hat with each compiler that is there, in both standards, for several
# instruction sets, without vectors and without RTTI, with all warnings on hat's headers as ordinary ones.
# Usage: tests/install/compilers.sh WORK_FOLDER [INCLUDE_ROOT] (a folder with other versions of xtensor/, xsimd/, xtl/)
# COMPILERS chooses the compilers (default: g++ clang++-14 clang++-16, and those for ARM and RISC-V under qemu),
# OPTIMISE the level (default -O2; -O0 is too low for g++ with AVX-512, whose intrinsics are macros there).
set -eu
source=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:?the folder to work in}
root=${2:-}
mkdir -p "$work"
optimise=${OPTIMISE:--O2}
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
failed=0

check() { # check COMPILER FLAGS RUNNER: one program of two translation units, one that trains, measures and decodes
  local cxx=$1 flags=$2 runner=$3 name="$1 $2${root:+, $(basename "$root")}"
  if {
    $cxx $flags $warnings ${root:+-isystem "$root"} -I "$source/include" -pthread -o "$work/consumer" \
      "$source/examples/custom_latency/main.cpp" "$source/tests/install/second.cpp" && $runner "$work/consumer" &&
      $cxx $flags $warnings ${root:+-isystem "$root"} -I "$source/include" -pthread -o "$work/search" \
        "$source/examples/policies/super_transformer.cpp" && $runner "$work/search"
  } >"$work/log" 2>&1; then
    echo "ok     $name"
  else
    echo "FAILED $name"
    grep -m 5 -E 'error|warning' "$work/log" || tail -n 5 "$work/log"
    failed=1
  fi
}

for cxx in ${COMPILERS:-g++ clang++-14 clang++-16 aarch64-linux-gnu-g++ arm-linux-gnueabihf-g++
    riscv64-linux-gnu-g++}; do
  if ! command -v "$cxx" >/dev/null; then
    echo "absent $cxx"
    continue
  fi
  case $cxx in
    aarch64-*)
      check "$cxx" "-std=c++20 $optimise -static" qemu-aarch64-static
      check "$cxx" "-std=c++2b $optimise -static -fno-rtti -mcpu=cortex-a72" qemu-aarch64-static
      ;;
    arm-*)
      check "$cxx" "-std=c++20 $optimise -static -march=armv7-a+neon-vfpv4 -mfpu=neon-vfpv4 -Wno-psabi" qemu-arm-static
      check "$cxx" "-std=c++20 $optimise -static -march=armv7-a+vfpv3-d16 -mfpu=vfpv3-d16 -Wno-psabi" qemu-arm-static
      ;;
    riscv64-*)
      check "$cxx" "-std=c++20 $optimise -static" qemu-riscv64-static
      ;;
    *)
      native=-march=native
      case $cxx in
        # clang 19 says this of its own choice for some processors, even for an empty program; others do not know it
        *clang*) native="$native -Wno-unknown-warning-option -Wno-invalid-feature-combination" ;;
        # g++ 12's own AVX-512 intrinsics trip these, whoever uses them
        *g++*) native="$native -Wno-maybe-uninitialized -Wno-uninitialized" ;;
      esac
      check "$cxx" "-std=c++20 $optimise" ""
      check "$cxx" "-std=c++20 $optimise -DHAT_SCALAR" ""
      check "$cxx" "-std=c++2b $optimise -fno-rtti -march=x86-64-v3" ""
      check "$cxx" "-std=c++20 $optimise $native" ""
      ;;
  esac
done
exit $failed
