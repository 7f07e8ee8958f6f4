#!/usr/bin/env bash
# Exports the winner of a finished run (as fp32, unless options of hat export say otherwise), builds the exported project
# for this machine, for it without vectors, and for 64- and 32-bit ARM, and compares the translations of sentences: every
# program must give the same text.
# Usage: exported.sh RUN_FOLDER TEXT [FOLDER [EXPORT_OPTION...]]; TEXT is a file, a sentence a line. HAT names the program
# (build/gcc/bin/hat).
set -eu -o pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
run=$1 text=$2 folder=${3:-$root/build/exported}
hat=${HAT:-$root/build/gcc/bin/hat}
rm -rf "$folder"
"$hat" export --model "$run/winner/model" --project "$folder/project" --name winner "${@:4}"
build() {  # name, options of CMake
  cmake -S "$folder/project" -B "$folder/$1" -DHAT_INCLUDE_DIR="$root/include" "${@:2}" >/dev/null
  cmake --build "$folder/$1" >/dev/null
}
same() {  # name, the command that translates
  "${@:2}" <"$text" >"$folder/$1.txt"
  if ! diff "$folder/native.txt" "$folder/$1.txt"; then
    echo "exported.sh: the lines above (<) are not those that $1 gives (>)" >&2
    return 1
  fi
  echo "$1: $(wc -l <"$folder/$1.txt") sentences as on this machine"
}
cross() {  # name of a toolchain file, emulator
  build "$1" --toolchain "$root/cmake/toolchains/$1.cmake"
  same "$1" "$2" "$folder/$1/translate"
}
build native
"$root/bench/deployed.py" --check "$folder/native/translate" "$folder/project/winner.hatw" "$text"
"$folder/native/translate" <"$text" >"$folder/native.txt"
# formats in integers translate alike on processors that fuse multiply-adds, as all of today do
fused=
if [ "$(uname -m)" = x86_64 ]; then fused=-mfma; fi
cross armv7 qemu-arm-static & # at once: emulation takes minutes
other=$!
cross aarch64 qemu-aarch64-static
build scalar -DNATIVE=OFF "-DCMAKE_CXX_FLAGS=-DHAT_SCALAR $fused"
same scalar "$folder/scalar/translate"
wait $other
