#!/usr/bin/env bash
# Builds the tests of kernels for 64-bit ARM, and for 32-bit ARM with NEON or without any vector unit, and runs them under
# qemu. Usage: cross.sh aarch64|armv7|armv7-vfp FOLDER. Exit status 77, with a message, if compiler or qemu is missing.
set -eu -o pipefail
target=$1 folder=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
toolchain=armv7 flags=
programs="arm-linux-gnueabihf-g++ qemu-arm-static"
case $target in
  aarch64) toolchain=aarch64 programs="aarch64-linux-gnu-g++ qemu-aarch64-static" ;;
  armv7) ;;
  armv7-vfp) flags="-march=armv7-a+vfpv3-d16 -mfpu=vfpv3-d16 -Wno-psabi" ;; # instead of the toolchain file's
  *) echo "cross.sh: '$target' is none of aarch64, armv7, armv7-vfp" >&2; exit 2 ;;
esac
for program in $programs; do
  if ! command -v $program >/dev/null; then
    echo "skipped: no $program (cmake/setup.sh --tests installs it)"
    exit 77
  fi
done
cmake --toolchain "$root/cmake/toolchains/$toolchain.cmake" -S "$root" -B "$folder" -DHAT_BUILD_EXAMPLES=OFF \
  -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=0 -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" ${flags:+"-DCMAKE_CXX_FLAGS=$flags"} --log-level=ERROR
cmake --build "$folder" --target hat_test_kernel
ctest --test-dir "$folder" --no-tests=error --output-on-failure -R '^kernel$'
