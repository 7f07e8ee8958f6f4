#!/usr/bin/env python3
"""What a deployed program costs: its size without symbols, its memory, and the time from its start to a translation.

The program is one of a project that `hat export --project` wrote, its weights in a file beside it (not --embed).
Size and memory are compared with their limits; with --check nothing is timed.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program", help="translate, as built")
parser.add_argument("weights", help="its .hatw file")
parser.add_argument("text", help="sentences to translate, one a line")
parser.add_argument("--runs", type=int, default=30, help="starts to take the best of")
parser.add_argument("--check", action="store_true", help="only what does not depend on the machine's speed")
args = parser.parse_args()
LIMIT_PROGRAM = 500_000  # bytes, stripped and dynamically linked
AIM_START = 10  # ms to the first token, with a warm page cache


def peak_memory(text):
    """Bytes of the largest resident set while it translates the text (Linux: VmHWM, read when all output is there)."""
    with subprocess.Popen([args.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        peak = 0
        for line in text:
            run.stdin.write(line + b"\n")
            run.stdin.flush()
            if not run.stdout.readline():
                sys.exit("deployed.py: the program ended before the text did")
        for line in pathlib.Path(f"/proc/{run.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
        run.stdin.close()
    if run.returncode or not peak:
        sys.exit(f"deployed.py: the program ended with status {run.returncode}, its peak memory was read as {peak}")
    return peak


def first_sentence(text):
    """Milliseconds from starting the program to its first translation: the best of some starts."""
    best = float("inf")
    for _ in range(args.runs):
        begin = time.perf_counter()
        with subprocess.Popen([args.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
            run.stdin.write(text[0] + b"\n")
            run.stdin.flush()
            if not run.stdout.readline():
                sys.exit("deployed.py: the program ended before it translated a sentence")
            best = min(best, time.perf_counter() - begin)
            run.stdin.close()
    return 1000 * best


for name in (args.program, args.weights, args.text):
    if not pathlib.Path(name).is_file():
        sys.exit(f"deployed.py: {name}: there is no such file")
text = pathlib.Path(args.text).read_bytes().removesuffix(b"\n").split(b"\n")
if text == [b""]:
    sys.exit(f"deployed.py: {args.text}: there is no sentence in it")
if args.runs < 1:
    sys.exit(f"deployed.py: --runs is {args.runs}, expected at least 1")
with tempfile.TemporaryDirectory() as folder:
    stripped = shutil.copy(args.program, folder)
    subprocess.run(["strip", stripped], check=True)
    program = pathlib.Path(stripped).stat().st_size
weights = pathlib.Path(args.weights).stat().st_size
memory, limit = peak_memory(text[:50]), 1.5 * weights + 5_000_000
above = program > LIMIT_PROGRAM or memory > limit
print(f"program, stripped: {program / 1000:.0f} kB (at most {LIMIT_PROGRAM / 1000:.0f})")
print(f"weight file: {weights / 1e6:.2f} MB; peak memory: {memory / 1e6:.2f} MB "
      f"(at most 1.5 x file + 5 MB: {limit / 1e6:.2f})")
if not args.check:
    print(f"start to the first sentence, which contains the first token: {first_sentence(text):.1f} ms "
          f"(wanted: at most {AIM_START}), best of {args.runs}")
if above:
    sys.exit("deployed.py: above a limit")
