#!/usr/bin/env bash
# Makes sure that the Debian packages hat builds with are there: installs what is missing when it may, else prints the
# one line that does. Usage: cmake/setup.sh [--tests | --bench | --fuzz] (also what only the tests, the benchmarks with
# their peers, or fuzzing need)
set -eu
packages="g++ make cmake ninja-build pkg-config libxtensor-dev libxsimd-dev libboost-dev nlohmann-json3-dev libyaml-cpp-dev
  libcli11-dev zlib1g-dev libsentencepiece-dev"
[ "${1:-}" = --tests ] && packages="$packages doctest-dev clang libclang-rt-14-dev libbenchmark-dev doxygen mkdocs
  libopenmpi-dev openmpi-bin python3 g++-aarch64-linux-gnu g++-arm-linux-gnueabihf qemu-user-static"
[ "${1:-}" = --bench ] && packages="$packages libbenchmark-dev libopenblas-dev libdnnl-dev"
[ "${1:-}" = --fuzz ] && packages="$packages clang libclang-rt-14-dev"
missing=""
for p in $packages; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q "install ok installed" || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "hat: this system has no apt-get; the build needs the equivalents of:$missing" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "hat: packages are missing; please run: sudo apt-get update && sudo apt-get install -y$missing" >&2
  exit 1
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends $missing >/dev/null
