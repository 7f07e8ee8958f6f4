#!/usr/bin/env python3
"""Tables from the JSON of hat_bench_gemm: best of the repetitions, and ratios within the run."""
import json
import math
import sys
from collections import defaultdict

best = defaultdict(dict)  # name -> counter -> best value of the repetitions
for b in json.load(open(sys.argv[1]))["benchmarks"]:
    if b.get("run_type") == "iteration":
        for counter in ("GFLOP/s", "GB/s"):
            if counter in b:
                at = best[b["run_name"]]
                at[counter] = max(at.get(counter, 0.0), b[counter])

peak = best["limit/fma_peak"]["GFLOP/s"]
reads = {n.split("/")[-1]: v["GB/s"] for n, v in best.items() if n.startswith("limit/read/")}
dram = reads["262144KiB"]
blocks = {n.split("/")[-1]: v["GFLOP/s"] for n, v in best.items() if n.startswith("limit/register_block/")}
if blocks:
    print("A register block fed from the first cache, of the FMA peak: "
          + ", ".join(f"{k} {100 * v / peak:.0f} %" for k, v in blocks.items()) + "\n")
print(f"FMA peak {peak:.1f} GFLOP/s; reading " + ", ".join(f"{k} {v:.1f} GB/s" for k, v in reads.items()) + "\n")


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def rows(group):
    """shape -> who -> counters, in the order of the file"""
    out = defaultdict(dict)
    for name, v in best.items():
        parts = name.split("/")
        if parts[0] == group:
            out["/".join(parts[1:-1])][parts[-1]] = v
    return out


def table(group, title, third):
    found = rows(group)
    if not found:
        return
    print(f"### {title}\n\n| product | hat | oneDNN | OpenBLAS | hat / faster peer | % of peak | {third} |")
    print("|---|---|---|---|---|---|---|")
    ratios, shares, thirds = defaultdict(list), defaultdict(list), defaultdict(list)
    for shape, who in found.items():
        ours = who["hat"]["GFLOP/s"]
        peers = [who[p]["GFLOP/s"] for p in ("onednn", "openblas") if p in who]
        key = shape.split("/")[0] if group != "hot" and group != "cold" else "M = " + shape.split("/")[1].split("x")[0]
        ratios[key].append(ours / max(peers))
        shares[key].append(ours / peak)
        gb = who["hat"].get("GB/s", 0)
        extra = gb / dram if group == "cold" else gb
        thirds[key].append(max(extra, 1e-9))
        print(f"| {shape} | {ours:.1f} | {who.get('onednn', {}).get('GFLOP/s', 0):.1f} | "
              f"{who.get('openblas', {}).get('GFLOP/s', 0):.1f} | {ours / max(peers):.2f} | {100 * ours / peak:.0f} | "
              + (f"{100 * extra:.0f} %" if group == "cold" else f"{extra:.1f}" if gb else "") + " |")
    for key in ratios:
        print(f"| **{key}, geometric mean** | | | | **{mean(ratios[key]):.2f}** | **{100 * mean(shares[key]):.0f}** | "
              + (f"**{100 * mean(thirds[key]):.0f} %**" if group == "cold" else "") + " |")
    everything = [r for v in ratios.values() for r in v]
    print(f"| **all, geometric mean** | | | | **{mean(everything):.2f}** | "
          f"**{100 * mean([r for v in shares.values() for r in v]):.0f}** | |\n")


table("train", "Training shapes, GFLOP/s (packing included)", "")
table("hot", "Weights packed once, hot, GFLOP/s", "weights read, GB/s")
table("cold", "Weights packed once, cold (rotating over 256 MiB), GFLOP/s", "of the DRAM bandwidth")
table("attention", "Attention products of one head in rows of a 512 wide matrix, GFLOP/s", "")
if bf16 := rows("bf16"):
    floats = rows("train")
    print("### Training shapes in bf16, GFLOP/s\n\n| product | bf16 | fp32 | bf16 / fp32 |\n|---|---|---|---|")
    for shape, who in bf16.items():
        ours, theirs = who["hat"]["GFLOP/s"], floats[shape]["hat"]["GFLOP/s"]
        print(f"| {shape} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} |")
    print()
