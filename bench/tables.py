#!/usr/bin/env python3
"""The Markdown tables of docs/performance.md from the JSON of a benchmark program: the best of the repetitions, and ratios
and the machine's limits of the same run."""
import argparse
import json
import math
import pathlib
import re
from collections import defaultdict


def load(path):
    """name as registered, with its arguments -> the fastest of its repetitions, whose counters belong together; of read
    bandwidths the highest."""
    best = {}

    def cost(run):
        wall = re.search("/(real|manual)_time", run["run_name"])
        return -run["GB/s"] if "/read/" in run["run_name"] else run["real_time" if wall else "cpu_time"]

    for run in json.loads(pathlib.Path(path).read_text())["benchmarks"]:
        if run.get("run_type") == "iteration" and not run.get("error_occurred"):
            name = re.sub("/(iterations:[0-9]+|(process|real|manual)_time)", "", run["run_name"])
            if name not in best or cost(run) < cost(best[name]):
                best[name] = run
    return best


def table(title, columns, rows, note=""):
    """Prints it, unless a filter left no row."""
    if rows:
        print(f"**{title}.**{note and ' '}{note}\n")
        print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
        for row in rows:
            print(f"| {' | '.join(map(str, row))} |")
        print()


def mean(values):
    """Geometric."""
    return math.exp(sum(map(math.log, values)) / len(values))


def percent(share):
    return f"{100 * share:.0f} %"


def between(values):
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def three_digits(value):
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def by_numbers(text):
    """A key that sorts 64 before 256."""
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", text)]


def groups(best, name):
    """shape -> who -> counters of <name>/<shape>/<who>, in the order of sizes."""
    found = defaultdict(dict)
    for run, counters in best.items():
        group, _, rest = run.partition("/")
        if group == name:
            shape, _, who = rest.rpartition("/")
            found[shape][who] = counters
    return dict(sorted(found.items(), key=lambda shape: by_numbers(shape[0])))


def size(shape):
    """M, N, K of <op>/<M>x<N>x<K> or <M>x<N>x<K>."""
    return tuple(map(int, shape.split("/")[-1].split("x")))


def read_limit(best, group, shape, bytes_per_weight):
    """GB/s at which the machine reads as many bytes as the weights have; of 256 MiB for weights that were cold."""
    _, n, k = size(shape)
    kib = 262144 if group == "cold" else round(n * k * bytes_per_weight / 1024)
    return best[f"limit/read/{kib}KiB"]["GB/s"]


def limits(best):
    reads = {int(n.split("/")[-1].removesuffix("KiB")): v["GB/s"] for n, v in best.items() if n.startswith("limit/read/")}
    print("FMA peak " + f"{best['limit/fma_peak']['GFLOP/s']:.0f} GFLOP/s"
          + (f", integer peak {best['limit/dot_peak']['GOP/s']:.0f} GOP/s" if "limit/dot_peak" in best else "")
          + "; reading again and again: "
          + ", ".join(f"{f'{k // 1024} MiB' if k % 1024 == 0 else f'{k} KiB'} {v:.1f}" for k, v in sorted(reads.items()))
          + " GB/s\n")


OPS = {"NT": "forward (NT)", "NN": "gradient of the input (NN)", "TN": "gradient of the weights (TN)"}
FORMS = {"train": "fp32", "bf16x3": "bf16x3", "bf16": "bf16"}


PEERS = "hat / faster of oneDNN and OpenBLAS"


def gemm(best, shapes):
    peak = best["limit/fma_peak"]["GFLOP/s"]

    def compared(who, peers, hat="hat"):
        """GFLOP/s, and how many times the faster peer's."""
        ours = who[hat]["GFLOP/s"]
        return ours, ours / max(peers[p]["GFLOP/s"] for p in ("onednn", "openblas"))

    def summary(found):
        """How many shapes, their GFLOP/s, of the peak, the ratios to the faster peer."""
        ours, ratios, *_ = zip(*found)
        return len(ours), between(ours), percent(mean(ours) / peak), f"**{mean(ratios):.2f}**", f"{min(ratios):.2f}"

    limits(best)
    blocks = {n.split("/")[-1]: v["GFLOP/s"] for n, v in best.items() if n.startswith("limit/register_block/")}
    print("A register block fed from the first cache, of the FMA peak: "
          + ", ".join(f"{k} {percent(v / peak)}" for k, v in sorted(blocks.items(), key=lambda b: -b[1])) + "\n")

    floats, rows = groups(best, "train"), []  # of the peers there is only fp32
    widths = sorted({w for shape in floats for w in size(shape)[1:]})
    for group, form in FORMS.items():
        cells = defaultdict(list)
        for shape, who in groups(best, group).items():
            cells[shape.split("/")[0], size(shape)[0]].append(compared(who, floats[shape]))
        for name in OPS:
            rows += [(form, OPS[op], m, *summary(found)) for (op, m), found in cells.items() if op == name]
    table("Products of training", ("operands", "product", "rows", "shapes", "GFLOP/s", "of fp32's FMA peak",
                                   f"{PEERS} in fp32", "least"), rows,
          f"Packing and rounding are included. Inputs and outputs: pairs of {', '.join(map(str, widths))}. Shares and "
          "ratios are geometric means.")

    errors = groups(best, "accuracy")
    forms = [form for form in FORMS.values() if all(form in who for who in errors.values())]
    table("Errors of sums of products", ("products in a sum", *(f"{form}: {part}" for form in forms for part in
                                                               ("root mean square", "worst"))),
          [(k, *(f"{who[form][error]:.1e}" for form in forms for error in ("rms_error", "worst_error")))
           for k, who in errors.items()],
          "64 x 64 sums of random numbers' products, relative to the sum of the products' magnitudes.")

    rows, one_row = [], []
    for group in ("hot", "cold"):
        cells = defaultdict(list)
        for shape, who in groups(best, group).items():
            m, n, k = size(shape)
            limit = read_limit(best, group, shape, 4)
            for form in who.keys() & {"hat", "hat_bf16x3"}:
                cells[m, form].append((*compared(who, who, form), who[form]["GB/s"] / limit))
            if m == 1:
                read = who["hat"]["GB/s"]
                one_row.append((group, f"{n} x {k}", f"{n * k // 256}", f"{read:.1f}", f"{limit:.1f}",
                                percent(read / limit), f"{compared(who, who)[1]:.2f}"))
        for (m, form), found in sorted(cells.items()):
            rows.append((f"packed weights, {group}", m, "fp32" if form == "hat" else "bf16x3", *summary(found),
                         percent(mean([share for *_, share in found]))))
    for op, who in groups(best, "attention").items():
        rows.append((f"attention, {op.split('/')[0]}", "25 to 30", "fp32", *summary([compared(who, who)]), ""))
    table("Products of decoding, and of attention",
          ("product", "rows", "operands", "shapes", "GFLOP/s", "of fp32's FMA peak", f"{PEERS} in fp32", "least",
           "weights read, of the limit"), rows)
    table("One row", ("weights", "outputs x inputs", "KiB", "read, GB/s", "limit, GB/s", "share", PEERS), one_row)
    if shapes:
        columns = {"hat": "hat", "hat_bf16x3": "hat, bf16x3", "onednn": "oneDNN", "openblas": "OpenBLAS"}
        table("All shapes, GFLOP/s", ("product", *columns.values()),
              [(f"{group}/{shape}", *(f"{who[p]['GFLOP/s']:.1f}" if p in who else "" for p in columns))
               for group in (*FORMS, "hot", "cold", "attention") for shape, who in groups(best, group).items()])


def quantized(best, shapes):
    limits(best)
    rows, each = [], []
    for group in ("hot", "cold"):
        cells = defaultdict(list)
        for shape, who in groups(best, group).items():
            found = {w: who[w]["GOP/s"] for w in ("fp32", "int8", "codes_exact", "codes_integers", "onednn")}
            reads = [who[w]["GB/s"] / read_limit(best, group, shape, b)
                     for w, b in (("int8", 1), ("codes_integers", 0.5), ("codes_exact", 0.5))]
            cells[size(shape)[0]].append((
                found["int8"] / found["fp32"], found["int8"] / found["onednn"],
                found["codes_integers"] / found["int8"], found["codes_exact"] / found["int8"], *reads))
            each.append((f"{group}/{shape}", *(f"{v:.0f}" for v in found.values())))
        for m, found in cells.items():
            a, b, c, d, *reads = (mean(column) for column in zip(*found))
            rows.append((group, m, len(found), f"{a:.2f}", f"**{b:.2f}**", f"**{c:.2f}**", f"{d:.2f}",
                         *map(percent, reads)))
    table("Layers from quantized weights",
          ("weights", "rows", "shapes", "8 bits / fp32", "8 bits / oneDNN's 8", "4 bits in integers / 8 bits",
           "4 bits exactly / 8 bits", "8 bits read, of the limit", "4 bits in integers", "4 bits exactly"), rows)
    if shapes:
        table("All shapes, GOP/s", ("product", "fp32", "8 bits", "4 bits exactly", "4 bits in integers", "oneDNN's 8"), each)


WEIGHTS = {"": "fp32", "int8": "8 bits", "codes_integers": "4 bits, in integers", "codes_exact": "4 bits, exactly"}


def decoding(best, _):
    limits(best)
    rows, published, peer, many = [], [], [], defaultdict(dict)
    for name, v in best.items():
        group, network, *rest = name.split("/")
        if group == "precision":
            many[network, *(r.split(":")[1] for r in rest[1:])][rest[0]] = v["sentences/s"]
        if group != "decoding":
            continue
        beam = rest.pop().removeprefix("beam:")
        form = WEIGHTS[rest[0] if rest and rest[0] in WEIGHTS else ""]
        if "hat_ms" in v:
            peer.append((network, form, beam, three_digits(v["hat_ms"]), three_digits(v["real_time"]),
                         f"**{v['ratio']:.2f}**", f"{v['ratio_median']:.2f}"))
            continue
        cells = (beam, three_digits(v["cpu_time"]), f"{v['MB/step']:.1f}", f"{v['read_GB/s']:.1f}", f"{v['limit_GB/s']:.1f}",
                 *(cell for floor in (v["floor_ms"], v["memory_floor_ms"])
                   for cell in (three_digits(floor), f"**{v['cpu_time'] / floor:.2f}**")))
        if len(network) == 1:
            rows.append((network, form, *cells))
        else:
            published.append((network.removeprefix("HAT_").replace("_", " ").replace("@", " "), *cells))
    columns = ("beam", "ms", "MB/step", "read, GB/s", "limit, GB/s", "floor, ms", "x floor",
               "floor by memory's bandwidth, ms", "x that floor")
    table("Decoding", ("network", "weights", *columns), rows)
    table("Decoding with the published SubTransformers, fp32", ("network", *columns),
          sorted(published, key=lambda row: by_numbers(row[0])))
    table("Products in bf16x3, sentences a second", ("network", "sentences at once", "beam", "fp32", "bf16x3", "bf16x3 / fp32"),
          [(*what, *(three_digits(found[form]) for form in ("fp32", "bf16x3")), f"**{found['bf16x3'] / found['fp32']:.2f}**")
           for what, found in many.items()])
    table("Beside CTranslate2", ("network", "weights", "beam", "hat, ms", "CTranslate2, ms", "ratio", "of medians"), peer)


def memory(lines):
    """What `hat_bench_decoding --rss` printed."""
    rows = []
    for v in map(json.loads, lines):
        limit = 1.1 * v["weights_MB"] + 5
        rows.append((v["network"], f"{v['weights_MB']:.1f}", f"{v['peak_MB']:.1f}", f"{limit:.1f}",
                     "within" if v["peak_MB"] <= limit else "ABOVE"))
    table("Memory of decoding, fp32, beam 5",
          ("network", "weights, MB", "peak, MB", "limit: weights + 10 % + 5 MB", ""), rows)


def search(best, _):
    for name, v in best.items():
        table("A whole search", ("seconds (wall clock, two threads)", "networks scored", "from the cache",
                                 "encoders' outputs found"),
              [(f"{v['real_time']:.1f}", *(f"{v[c]:.0f}" for c in ("networks", "repeats", "encoders_reused")))])


def static(best, _):
    rows = {}
    for name, ours in best.items():
        kind, width, what = name.split("/")
        if kind == "static":
            both = [v.get("us/step", v["cpu_time"] / 1000) for v in (ours, best[f"elastic/{width}/{what}"])]
            rows[int(width.split(":")[1]), what] = (*map(three_digits, both), f"**{both[1] / both[0]:.2f}**")
    order = ("rows:1", "rows:5", "encoder:30")
    table("Static sizes, microseconds",
          ("width", *(what + part for what in ("a step of 1 row: ", "of 5 rows: ", "the encoder, 30 tokens: ")
                      for part in ("static", "elastic", "elastic / static"))),
          [(width, *(cell for what in order for cell in rows[width, what])) for width in sorted({w for w, _ in rows})])


def predictor(best, _):
    peak, fit, ask = best["limit/fma_peak"]["GFLOP/s"], best["predictor/train"], best["predictor/predict"]
    table("The latency predictor", ("", "", "GFLOP/s", "of the FMA peak"),
          [("seconds for 5,000 steps of 128 rows", f"{fit['cpu_time']:.1f}", f"{fit['GFLOP/s']:.0f}",
            percent(fit["GFLOP/s"] / peak)),
           ("architectures a second", f"{ask['architectures/s']:,.0f}", f"{ask['GFLOP/s']:.0f}",
            percent(ask["GFLOP/s"] / peak))])


def packed(best, _):
    rows = []
    for name, v in best.items():
        what = re.sub(r"unpack/raspberry_pi_(.*)s/(.*)", r"Raspberry Pi, \1 s, \2", name.removeprefix("packed/"))
        rows.append((what, f"{v['plain'] / 1e6:.1f}", f"{v['big/plain']:.1f}", f"{v['packed'] / 1e6:.1f}",
                     f"{v['big/packed']:.1f}", three_digits(v["cpu_time"])))
    table("Weight files in 4 bits", ("network, weights", "plain, MB", "times smaller than Transformer Big in fp32",
                                     "packed, MB", "times smaller", "unpacking, ms"), rows,
          "zlib and the copy are of the first network's plain file.")


def compiling(path):
    rows = [(v["file"], f"{v['seconds']:.2f}", f"{v['ratio']:.2f}",
             f"{v['limit']}{'' if v['ratio'] <= v['limit'] else ': ABOVE'}" if v["limit"] else "")
            for v in json.loads(pathlib.Path(path).read_text())]
    table("Compiling", ("a file that includes", "user CPU time, s", "times the first line's", "limit"), rows)


GROUPS = {f.__name__: f for f in (gemm, quantized, decoding, search, static, predictor, packed)}
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("group", choices=[*GROUPS, "memory", "compile"])
parser.add_argument("results", help="JSON that bench/run.sh wrote")
parser.add_argument("--shapes", action="store_true", help="products: also each shape")
args = parser.parse_args()
try:
    if args.group == "memory":
        memory(pathlib.Path(args.results).read_text().splitlines())
    elif args.group == "compile":
        compiling(args.results)
    else:
        GROUPS[args.group](load(args.results), args.shapes)
except OSError as error:
    parser.error(f"{args.results}: {error.strerror}: bench/run.sh writes it")
except KeyError as missing:
    parser.error(f"{args.results} lacks {missing}: was it made with a filter, or by an older program? bench/run.sh "
                 "measures everything")
except json.JSONDecodeError as error:
    parser.error(f"{args.results} is no JSON ({error}): bench/run.sh writes it again")
