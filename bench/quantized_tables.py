#!/usr/bin/env python3
"""Tables from the JSON of hat_bench_quantized: best of the repetitions, and ratios within the run."""
import json
import math
import sys
from collections import defaultdict

best = defaultdict(dict)  # name -> counter -> best value of the repetitions
for b in json.load(open(sys.argv[1]))["benchmarks"]:
    if b.get("run_type") == "iteration":
        for counter in ("GOP/s", "GFLOP/s", "GB/s"):
            if counter in b:
                at = best[b["run_name"]]
                at[counter] = max(at.get(counter, 0.0), b[counter])

dot, dram = best["limit/dot_peak"]["GOP/s"], best["limit/read/262144KiB"]["GB/s"]
print(f"integer peak {dot:.0f} GOP/s, FMA peak {best['limit/fma_peak']['GFLOP/s']:.0f} GFLOP/s; "
      f"reading 256 MiB {dram:.1f} GB/s, 512 KiB {best['limit/read/512KiB']['GB/s']:.1f} GB/s\n")


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


for group in ("hot", "cold"):
    shapes = defaultdict(dict)
    for name, v in best.items():
        parts = name.split("/")
        if parts[0] == group:
            shapes[parts[1]][parts[2]] = v
    if not shapes:
        continue
    print(f"### {group}, GOP/s\n")
    print("| M x N x K | fp32 | 8-bit | 4-bit exact | 4-bit integers | oneDNN int8 | 8-bit / oneDNN | "
          "faster 4-bit / 8-bit | 8-bit GB/s of DRAM's | 4-bit GB/s of DRAM's |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    ratios = defaultdict(list)
    for shape, who in shapes.items():
        fp32, int8, exact, integers, peer = (who[w]["GOP/s"] for w in
                                             ("fp32", "int8", "codes_exact", "codes_integers", "onednn"))
        row = (int8 / peer, max(exact, integers) / int8, who["int8"]["GB/s"] / dram,
               max(who["codes_exact"]["GB/s"], who["codes_integers"]["GB/s"]) / dram)
        ratios[shape.split("x")[0]].append(row)
        print(f"| {shape} | {fp32:.0f} | {int8:.0f} | {exact:.0f} | {integers:.0f} | {peer:.0f} | {row[0]:.2f} | "
              f"{row[1]:.2f} | {100 * row[2]:.0f} % | {100 * row[3]:.0f} % |")
    for m, rows in ratios.items():
        a, b, c, d = (mean(column) for column in zip(*rows))
        print(f"| **M = {m}, geometric mean** | | | | | | **{a:.2f}** | **{b:.2f}** | **{100 * c:.0f} %** | "
              f"**{100 * d:.0f} %** |")
    print()
