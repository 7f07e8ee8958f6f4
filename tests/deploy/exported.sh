#!/usr/bin/env bash
# Exports the winner of a finished run (as fp32, unless options of hat export say otherwise), builds the exported project
# for this machine and for others, and compares the translations of sentences: every program must give the same text.
# Usage: exported.sh RUN_FOLDER TEXT [FOLDER [EXPORT_OPTION...]]; TEXT is a file, a sentence a line. HAT names the program
# (build/gcc/bin/hat), TARGETS some of: armv7 aarch64 (emulated), scalar (no vectors), unfused (nor fused multiply-adds).
set -eu -o pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
run=$1 text=$2 folder=${3:-$root/build/exported}
hat=${HAT:-$root/build/gcc/bin/hat}
integers=no fused=
case " ${*:4} " in *" int8 "* | *" --integers "*) integers=yes ;; esac
if [ "$(uname -m)" = x86_64 ]; then
  if grep -qw fma /proc/cpuinfo; then
    fused=-mfma
  elif [ $integers = yes ]; then
    echo "exported.sh: skipped, this processor has no fused multiply-adds: formats in integers may translate otherwise"
    exit 0
  fi
fi
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
other=
for target in ${TARGETS:-armv7 aarch64 scalar unfused}; do
  case $target in
    armv7)
      cross armv7 qemu-arm-static & # at once: emulation takes minutes
      other=$! ;;
    aarch64) cross aarch64 qemu-aarch64-static ;;
    scalar)
      build scalar -DNATIVE=OFF "-DCMAKE_CXX_FLAGS=-DHAT_SCALAR $fused"
      same scalar "$folder/scalar/translate" ;;
    unfused)
      if [ $integers = yes ]; then
        echo "unfused: skipped, formats in integers need fused multiply-adds to be the same"
      else
        build unfused -DNATIVE=OFF -DCMAKE_CXX_FLAGS=-DHAT_SCALAR
        same unfused "$folder/unfused/translate"
      fi ;;
    *) echo "exported.sh: TARGETS has '$target', which is none of armv7, aarch64, scalar, unfused" >&2; exit 2 ;;
  esac
done
if [ -n "$other" ]; then wait "$other"; fi
