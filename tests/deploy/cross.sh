#!/usr/bin/env bash
# Builds hat-agent for another processor as docs/remote_devices.md says, and lets the tests talk to it under qemu; or to
# the agent for PyTorch. Usage: cross.sh aarch64|armv7|torch FOLDER TESTS. Exit status 77, with a message, if compiler,
# qemu or PyTorch is missing.
set -eu -o pipefail
target=$1 folder=$2 tests=$3
root=$(cd "$(dirname "$0")/../.." && pwd)
talk() {  # a filter that finds no test case must not pass
  HAT_AGENT="exec $1" "$tests" --test-case="the program behind a pipe*" | tee /dev/stderr |
    grep -Eq "test cases: +1 \| +1 passed"
}
case $target in
  torch)
    for python in python3 /usr/bin/python3; do
      if $python -c "import torch" 2>/dev/null; then
        talk "$python $root/examples/agent/torch_agent.py"
        exit
      fi
    done
    echo "skipped: no python3 with torch"
    exit 77 ;;
  aarch64) compiler="aarch64-linux-gnu-g++ -mcpu=cortex-a72" qemu=qemu-aarch64-static ;;
  armv7) compiler="arm-linux-gnueabihf-g++ -march=armv7-a+neon-vfpv4 -mfpu=neon-vfpv4 -Wno-psabi" qemu=qemu-arm-static ;;
  *) echo "cross.sh: '$target' is none of aarch64, armv7, torch" >&2; exit 2 ;;
esac
for program in ${compiler%% *} $qemu; do
  if ! command -v $program >/dev/null; then
    echo "skipped: no $program (cmake/setup.sh --tests installs it)"
    exit 77
  fi
done
mkdir -p "$folder"
launcher=$(command -v ccache || true)
$launcher $compiler -std=c++20 -O2 -ffp-contract=off -Wall -Wextra -Werror -I"$root/include" -c "$root/examples/agent/main.cpp" \
  -o "$folder/main.o"
${compiler%% *} -static -pthread "$folder/main.o" -o "$folder/hat-agent"
talk "$qemu $folder/hat-agent"
