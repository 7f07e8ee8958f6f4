#!/usr/bin/env python3
"""Scoring the largest and smallest networks of hat_bench_scoring in fp32, bf16x3 (with tiles) and bf16, beside PyTorch's
loss of the largest one's shape, in turns.

CPU time of one thread; every run is a process of its own. hat's sentences have 10 to 40 tokens, PyTorch's all have 25, so that
it pads none.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess

from peers import pytorch

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program", help="hat_bench_scoring")
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--shapes", default="small,iwslt")
parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has torch")
parser.add_argument("--json", help="where to write all figures")
args = parser.parse_args()
if not shutil.which(args.program):
    parser.error(f"{args.program} is no program: bench/run.sh scoring builds it")
if not {*args.shapes.split(",")} <= {"small", "iwslt"}:
    parser.error(f"--shapes is {args.shapes}, expected some of small,iwslt")
listed = subprocess.run([args.program, "--benchmark_list_tests"], capture_output=True, text=True).stdout
if "scoring/" not in listed:
    parser.error(f"{args.program} has no benchmark of scoring: bench/run.sh scoring builds one")


def run(command):
    env = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    done = subprocess.run(command, env=env, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    return json.loads(done.stdout)


have_torch = pytorch.available(args.python)
fastest = {}
if have_torch:
    for shape in args.shapes.split(","):
        fastest[shape], how = pytorch.fastest(args.python, ["--shape", shape, "--score"])
        print(f"PyTorch runs {shape} fastest with: {how}\n")
else:
    print(f"PyTorch is left out: {args.python} has no torch\n")
found = {}  # shape -> name -> the fastest of the rounds
for _ in range(args.rounds):
    for shape in args.shapes.split(","):
        best = found.setdefault(shape, {})
        for result in run([args.program, "--benchmark_format=json", f"--benchmark_filter=scoring/{shape}/"])["benchmarks"]:
            name = result["name"].removeprefix(f"scoring/{shape}/")
            if name not in best or result["cpu_time"] < best[name]["cpu_time"]:
                best[name] = result
        if have_torch:
            peer = pytorch.step(args.python, fastest[shape], ["--shape", shape, "--score"])
            best["pytorch"] = max(best.get("pytorch", 0), peer["tokens_per_cpu_second"])

print("**Scoring 2,000 sentences.** One thread, CPU time, the best of the rounds\n")
print("| shape | network | products | s | GFLOP/s | target tokens/s | PyTorch, target tokens/s | hat / PyTorch |\n|"
      + " --- |" * 8)
for shape, best in found.items():
    for network in ("largest", "smallest"):
        for precision in ("fp32", "bf16x3", "bf16"):
            ours = best.get(network if precision == "fp32" else f"{network}/{precision}")
            if ours is None:
                continue  # bf16x3 without tiles is fp32
            cells = [shape, network, precision, f"{ours['cpu_time'] / 1000:.2f}", f"{ours['GFLOP/s']:.0f}",
                     f"{ours['target_tokens/s']:.0f}", "", ""]
            if have_torch and network == "largest":
                cells[6:] = f"{best['pytorch']:.0f}", f"**{ours['target_tokens/s'] / best['pytorch']:.2f}**"
            print("| " + " | ".join(cells) + " |")
print()
if args.json:
    pathlib.Path(args.json).write_text(json.dumps(found, indent=1))
