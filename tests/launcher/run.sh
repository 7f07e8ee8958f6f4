#!/usr/bin/env bash
# The launcher of examples/hat/launcher starts the right build, as if it were that one. Ends with status 0 when all is
# well. Usage: run.sh FOLDER CXX LEVELS, where FOLDER is the build's of tests/launcher, and LEVELS is where the builds are,
# seen from the launcher's folder.
set -u
here=$(cd "$(dirname "$0")" && pwd)
built=$(cd "$1" && pwd) cxx=$2 levels=$3
work=$built/work
rm -rf "$work"
mkdir "$work"
cd "$work" || exit
unset HAT_ISA
failures=0

runs() { # runs STATUS PATTERN COMMAND...: its status, and a pattern that all it prints must match
  local status=$1 pattern=$2 got=0 text
  shift 2
  text=$("$@" 2>&1 </dev/null) || got=$?
  if [ "$got" != "$status" ] || ! [[ $text =~ ^$pattern$ ]]; then
    echo "FAILED: $*: expected status $status and '$pattern', got $got and '$text'"
    failures=$((failures + 1))
  fi
}

# -- what is chosen, by a launcher that takes the levels low, middle and high, and believes the processor runs two of them
tree() { # tree FOLDER LAUNCHER
  mkdir -p "$1/bin/$levels"
  cp "$2" "$1/bin/hat"
  for level in low middle high; do cp "$built/bin/$levels/hat-x86-64" "$1/bin/$levels/hat-$level"; done
}
tree one "$built/choice/hat"
hat=$work/one/bin/hat
runs 0 "hat-middle [0-9]+ \[$hat\]" "$hat"
runs 0 "hat-middle [0-9]+ \[$hat\]" env HAT_ISA= "$hat"
runs 0 "hat-low [0-9]+ \[$hat\] \[--threads\]" env HAT_ISA=low "$hat" --threads
runs 2 "hat: error: HAT_ISA names no build: 'lo' is none of low, middle, high" env HAT_ISA=lo "$hat"
runs 2 "hat: error: this processor cannot run the build that HAT_ISA names, high; it runs low, middle" \
  env HAT_ISA=high "$hat"

# -- the build is started as it would have been without the launcher: arguments, input, status, signals, process
runs 0 "hat-middle [0-9]+ \[its name\] \[\] \[a  b\] \[\*\] \[-x\]" bash -c 'exec -a "its name" "$@"' - "$hat" "" "a  b" "*" -x
runs 0 "hat-middle [0-9]+ \[$hat\] <one> <two>" bash -c 'printf "one\ntwo\n" | "$1"' - "$hat"
runs 7 "hat-middle .*" "$hat" exit 7
runs 143 "hat-middle .*" "$hat" raise 15 # 128 + SIGTERM
runs 0 "([0-9]+) hat-middle ([0-9]+) .*" bash -c 'printf "%s " $$; exec "$1"' - "$hat"
[ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ] || runs 0 "" echo "it is another process: ${BASH_REMATCH[0]}"

# -- where it looks: beside itself, through links, from anywhere, with and without /proc
mv one "a folder"
hat="$work/a folder/bin/hat"
runs 0 "hat-middle .*" "$hat"
mkdir links
ln -s "$hat" links/hat
ln -s hat links/other
runs 0 "hat-middle .*" links/other
runs 0 "hat-middle [0-9]+ \[hat\]" env "PATH=$work/links:$PATH" hat
sed 's,/proc/self/exe,/no/such/file,' "$here/../../examples/hat/launcher/launcher.cpp" >no_proc.cpp
"$cxx" -std=c++20 -I "$here" '-DHAT_NAME="hat"' "-DHAT_LEVELS_FOLDER=\"$levels\"" -o no_proc no_proc.cpp || exit
tree "no proc" no_proc
ln -sf "$work/no proc/bin/hat" links/hat
runs 0 "hat-middle .*" "$work/no proc/bin/hat"
runs 0 "hat-middle .*" "no proc/bin/hat"
runs 0 "hat-middle .*" links/other
runs 0 "hat-middle [0-9]+ \[hat\]" env "PATH=/no/such/folder:$work/links:$PATH" hat
runs 0 "hat-middle [0-9]+ \[hat\]" bash -c 'cd "no proc/bin" && PATH= exec -a hat ./hat'
runs 1 "hat: error: the folder of this program cannot be found" bash -c 'PATH=/no/such/folder; exec -a hat "no proc/bin/hat"'

# -- a build that is not there
rm "a folder/bin/$levels/hat-middle"
runs 1 "hat: error: the build for this processor cannot be started: $work/a folder/bin/$levels/hat-middle: No such \
file or directory; HAT_ISA can name another one of low, middle" "$hat"
runs 0 "hat-low .*" env HAT_ISA=low "$hat"

# -- the real levels: this processor runs those up to the chosen one, and the system agrees on what it can do
hat=$built/bin/hat best=
for level in x86-64 x86-64-v3 x86-64-v4 x86-64-v4-bf16 x86-64-v4-amx; do
  case $level in
    *-v3) needs="avx2 bmi1 bmi2 fma" ;;
    *-v4) needs="$needs avx512f avx512bw avx512cd avx512dq avx512vl" ;;
    *-bf16) needs="$needs avx512_bf16" ;;
    *-amx) needs="$needs amx_tile amx_bf16" ;;
    *) needs= ;;
  esac
  can=yes
  for feature in $needs; do grep -qw "^flags.* $feature" /proc/cpuinfo || can=no; done
  if [ $can = yes ]; then
    best=$level
    runs 0 "hat-$level [0-9]+ .*" env HAT_ISA=$level "$hat"
  else
    runs 2 "hat: error: this processor cannot run .* $level; it runs x86-64.*" env HAT_ISA=$level "$hat"
  fi
done
runs 0 "hat-$best [0-9]+ .*" "$hat"
# other processors, by an emulator; what it starts runs on this one
if command -v qemu-x86_64-static >/dev/null; then
  mkdir -p "emulated/bin/$levels"
  cp "$built/bin/hat" emulated/bin
  for level in x86-64 x86-64-v3 x86-64-v4 x86-64-v4-bf16 x86-64-v4-amx; do
    cp "$built/bin/$levels/hat-x86-64" "emulated/bin/$levels/hat-$level"
  done
  for pair in Nehalem:x86-64 IvyBridge:x86-64 Haswell:x86-64-v3 EPYC:x86-64-v3; do
    runs 0 "(qemu.*warning.*)?hat-${pair#*:} [0-9]+ .*" qemu-x86_64-static -cpu "${pair%:*}" emulated/bin/hat
  done
fi

[ $failures = 0 ] && echo "the launcher starts the right build"
