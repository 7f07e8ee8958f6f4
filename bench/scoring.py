#!/usr/bin/env python3
"""Scoring the largest networks of hat_bench_scoring in fp32, bf16x3 and bf16, beside PyTorch's loss of the same shape, in turns.

CPU time of one thread; every run is a process of its own. hat's sentences have 10 to 40 tokens, PyTorch's all have 25, so that
it pads none.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program", help="hat_bench_scoring")
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--shapes", default="small,iwslt")
parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has torch")
parser.add_argument("--json", help="where to write all figures")
args = parser.parse_args()
if not shutil.which(args.program):
    parser.error(f"{args.program} is no program: bench/run.sh scoring builds it")


def run(command):
    env = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    done = subprocess.run(command, env=env, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    return json.loads(done.stdout)


have_torch = subprocess.run([args.python, "-c", "import torch"], capture_output=True).returncode == 0
if not have_torch:
    print(f"PyTorch is left out: {args.python} has no torch\n")
found = {}
for _ in range(args.rounds):
    for shape in args.shapes.split(","):
        best = found.setdefault(shape, {})

        def note(name, tokens_per_second):
            best[name] = max(best.get(name, 0), tokens_per_second)

        program = [args.program, "--benchmark_format=json", f"--benchmark_filter=scoring/{shape}/largest"]
        for result in run(program)["benchmarks"]:
            note(result["name"].removeprefix(f"scoring/{shape}/largest").strip("/") or "fp32",
                 result["target_tokens/s"])
        if have_torch:
            peer = [args.python, str(HERE / "peers/pytorch_training.py"), "--shape", shape, "--score"]
            note("pytorch", run(peer)["tokens_per_cpu_second"])

print("### Scoring: target tokens per CPU second, one thread, the best of the rounds\n")
PRECISIONS = "fp32", "bf16x3", "bf16"
print("| shape | " + " | ".join((*PRECISIONS, "PyTorch", *(f"{p} / PyTorch" for p in PRECISIONS))) + " |\n" + "|---" * 8 + "|")
for shape, best in found.items():
    cells = [shape, *(f"{best[p]:.0f}" for p in PRECISIONS), "", "", "", ""]
    if have_torch:
        cells[4:] = [f"{best['pytorch']:.0f}"] + [f"**{best[p] / best['pytorch']:.2f}**" for p in PRECISIONS]
    print("| " + " | ".join(cells) + " |")
print()
if args.json:
    pathlib.Path(args.json).write_text(json.dumps(found, indent=1))
