#!/usr/bin/env python3
"""Training steps of hat_bench_training beside PyTorch's, in turns, and where hat's time goes (by perf's samples).

Every run is a process of its own, PyTorch's in the environment in which one thread of it is fastest. One thread is compared by CPU
time, more by wall clock: those figures need an idle machine.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
from collections import Counter

from peers import pytorch

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("program", help="hat_bench_training")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--shapes", default="small,iwslt")
parser.add_argument("--threads", default="1,2")
parser.add_argument("--python", default="/usr/bin/python3", help="a Python that has torch")
parser.add_argument("--json", help="where to write all figures")
args = parser.parse_args()
if not shutil.which(args.program):
    parser.error(f"{args.program} is no program: bench/run.sh training builds it")
SHAPES, THREADS = args.shapes.split(","), [int(t) for t in args.threads.split(",")]
if not {*SHAPES} <= {"small", "iwslt"}:
    parser.error(f"--shapes is {args.shapes}, expected some of small,iwslt")
TOKENS = 164 * 25
listed = subprocess.run([args.program, "--benchmark_list_tests"], capture_output=True, text=True).stdout
# the last one is the default; without tiles there is no bf16x3
PRECISIONS = [p for p in ("fp32", "bf16x3") if f"training/small/{p}/" in listed]
if not PRECISIONS:
    parser.error(f"{args.program} has no benchmark of training: bench/run.sh training builds one")
FREQUENCY = {"small": "499", "iwslt": "49"}  # samples per CPU second


def run(command, threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), OMP_WAIT_POLICY="PASSIVE")
    done = subprocess.run(command, env=env, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    return done.stdout


def ours(shape, precision, threads, prefix=()):
    command = [*prefix, args.program, "--benchmark_format=json",
               f"--benchmark_filter=limit/fma_peak|training/{shape}/{precision}/threads:{threads}/"]
    peak, step = json.loads(run(command, threads))["benchmarks"]
    timed = step["cpu_time" if threads == 1 else "real_time"] / 1000  # what its rates are of, seconds
    return {"wall": TOKENS / step["real_time"] * 1000, "cpu": TOKENS / step["cpu_time"] * 1000, "MiB": step["peak_MiB"],
            "seconds": step["iterations"] * step["real_time"] / 1000, "gflop": step["GFLOP/s"] * timed,
            "peak": peak["GFLOP/s"]}


def peer(shape, threads, blas, environment, steps=4):
    options = ["--shape", shape, "--threads", threads, "--blas-threads", blas, "--steps", steps]
    found = pytorch.step(args.python, environment, options)
    return {"wall": found["tokens_per_second"], "cpu": found["tokens_per_cpu_second"], "MiB": found["peak_MiB"]}


def median(runs, key):
    return statistics.median(r[key] for r in runs)


def spread(runs, key):
    return f"{max(r[key] for r in runs):.0f} / {median(runs, key):.0f}"


# where the time goes: the first pattern found in a sample's call chain (innermost function first, one a line)
PARTS = [
    ("attention: scores, softmax, values", r"hat::(attention|attention_backward)<|for_each_head|multiply_near"),
    ("softmax + loss", r"smoothed_loss_row|row_exp|row_max|\Ahat::parallel_rows<[^\n]*output_loss_in"),
    ("data", r"hat::Batches"),
    ("optimizer: Adam, gradient to zero", r"hat::Adam"),
    ("layer norm", r"layer_norm|norm_row|normalize_row|hat::NormOutput<float>::"),
    ("residual + dropout", r"add_residual|apply_dropout|hat::ResidualBlock<float>::"),
    ("embedding", r"hat::embed"),
    ("bias gradients", r"add_column_sums|\Ahat::GradientMap"),
    ("GEMM: packing", r"hat::(detail::)?pack_|\A.*mem(move|cpy).*\n.*multiply"),
    ("GEMM: layers and output matrix", r"hat::(multiply|multiply_transposed|linear\w*)<|detail::multiply_p"),
    ("ReLU, scaling, sums of gradients", r"Pass<float>|ElasticTransformer"),
    ("other", r""),
]


def profile(shape):
    """Shares of PARTS, and of the functions themselves, in the timed steps of one run on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        data = folder + "/perf.data"
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", FREQUENCY[shape], "--call-graph", "dwarf,16384",
                  "-o", data]
        seconds = ours(shape, PRECISIONS[-1], 1, record)["seconds"]
        text = run(["perf", "script", "-i", data, "--no-inline", "-F", "time,ip,sym"], 1).decode()
    samples = []
    for block in text.split("\n\n"):
        lines = [line.strip() for line in block.strip().splitlines()]
        if len(lines) > 1 and any("hat::Trainer" in line for line in lines):
            samples.append((float(lines[0].rstrip(":")), [line.split(" ", 1)[1] for line in lines[1:]]))
    samples = [chain for at, chain in samples if at > samples[-1][0] - seconds]  # without the steps that warm up
    parts = Counter(next(n for n, p in PARTS if re.search(p, "\n".join(chain))) for chain in samples)
    functions = Counter(re.sub(r"[<(].*", "", chain[0]) for chain in samples)
    print(f"**Where the time of a step goes: {shape}.** {PRECISIONS[-1]}, one thread, {len(samples)} samples\n")
    print("| part | % |\n| --- | --- |")
    for name, _ in PARTS:
        print(f"| {name} | {100 * parts[name] / len(samples):.1f} |")
    top = (f"`{name}` {100 * n / len(samples):.1f} %" for name, n in functions.most_common(10))
    print("\nFunctions without what they call: " + ", ".join(top) + "\n")
    return {name: n / len(samples) for name, n in parts.items()}


found = {}
have_torch = pytorch.available(args.python)
fastest = {}
if have_torch:
    for shape in SHAPES:
        fastest[shape], how = pytorch.fastest(args.python, ["--shape", shape])
        print(f"PyTorch runs {shape} fastest with: {how}\n")
    print("PyTorch's memory is that of a step as it comes\n")
else:
    print(f"PyTorch is left out: {args.python} has no torch\n")
for _ in range(args.rounds):
    for shape in SHAPES:
        for t in THREADS:
            # PyTorch's own threads and those of its BLAS: which split is best differs from machine to machine
            splits = sorted({(t, t), (1, t), (t, 1)}) if have_torch else []
            entry = found.setdefault(f"{shape}/{t}", {**{p: [] for p in PRECISIONS},
                                                      "pytorch": {f"{a}+{b}": [] for a, b in splits}})
            for p in PRECISIONS:
                entry[p].append(ours(shape, p, t))
            for a, b in splits:
                entry["pytorch"][f"{a}+{b}"].append(peer(shape, a, b, fastest[shape]))
            if have_torch and "pytorch_MiB" not in entry:
                entry["pytorch_MiB"] = peer(shape, t, t, {}, 1)["MiB"]

print("**A training step.** Target tokens per second, best / median of the rounds\n")
print("| shape | threads | products | hat | PyTorch (fp32) | its threads + BLAS's | hat / PyTorch | GFLOP/s | "
      "of fp32's FMA peak | hat, MiB | PyTorch, MiB | ratio |\n|" + " --- |" * 12)
for name, entry in found.items():
    shape, t = name.split("/")
    key = "cpu" if t == "1" else "wall"
    for p in PRECISIONS:
        hat = entry[p]
        speed, memory = median(hat, key), median(hat, "MiB")
        gflops = median(hat, "gflop") * speed / TOKENS
        share = 100 * gflops / int(t) / median(hat, "peak")
        cells = [shape, f"{t} ({key})", p, spread(hat, key), "", "", "", f"{gflops:.0f}", f"{share:.0f} %",
                 f"{memory:.0f}", "", ""]
        if have_torch:
            split, torch = max(entry["pytorch"].items(), key=lambda kv: median(kv[1], key))
            cells[4:7] = spread(torch, key), split, f"**{speed / median(torch, key):.2f}**"
            cells[10:] = f"{entry['pytorch_MiB']:.0f}", f"**{memory / entry['pytorch_MiB']:.2f}**"
        print("| " + " | ".join(cells) + " |")
print()
for shape in SHAPES:
    for p in PRECISIONS if {f"{shape}/1", f"{shape}/2"} <= found.keys() else []:
        one, two = median(found[f"{shape}/1"][p], "cpu"), median(found[f"{shape}/2"][p], "wall")
        work = median(found[f"{shape}/2"][p], "cpu")  # tokens for a second of either core
        print(f"{shape}, {p}: two threads are {two / one:.2f} times as fast as one; they work {50 * two / work:.0f} % of "
              f"the time, each with {work / one:.2f} times the speed of one alone\n")
print("**A training step with products in bfloat16.** One thread, CPU time, in turns in one process\n")
print("| shape | products | target tokens/s | times fp32's | GFLOP/s | of the FMA peak |\n|" + " --- |" * 6)
for shape in SHAPES:
    command = [args.program, "--benchmark_format=json", f"--benchmark_filter=limit/fma_peak|precision/{shape}/"]
    peak, step = found[f"{shape}/precision"] = json.loads(run(command, 1))["benchmarks"]
    for p in (*PRECISIONS, "bf16"):
        tokens, gflops = step[f"{p}_tokens/s"], step[f"{p}_GFLOP/s"]
        print(f"| {shape} | {p} | {tokens:.0f} | **{tokens / step['fp32_tokens/s']:.2f}** | {gflops:.0f} | "
              f"{100 * gflops / peak['GFLOP/s']:.0f} % |")
print()
if shutil.which("perf"):
    for shape in SHAPES:
        found[f"{shape}/1/parts"] = profile(shape)
else:
    print("Where the time goes: not measured, perf is not installed\n")
if args.json:
    pathlib.Path(args.json).write_text(json.dumps(found, indent=1))
