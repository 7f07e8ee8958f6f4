"""PyTorch at its best on this machine, for the benchmarks beside it."""
import json
import os
import pathlib
import shutil
import subprocess

STEP = pathlib.Path(__file__).resolve().parent / "pytorch_training.py"
# memory given back to the system is cleared page by page when it is asked for again: on some virtual machines that takes
# most of a step
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 33), "MALLOC_MMAP_THRESHOLD_": str(1 << 31)}


def processor_has(feature):
    path = pathlib.Path("/proc/cpuinfo")
    return path.exists() and feature in path.read_text().split()


def environments():
    """name -> variables: PyTorch as it comes, and what makes it faster on some machines."""
    found = {"as it comes": {}, "memory kept": KEEP_MEMORY}
    if processor_has("avx512f"):  # OpenBLAS 0.3.21 leaves its kernels for AVX-512 out on processors younger than itself
        avx512 = {**KEEP_MEMORY, "OPENBLAS_CORETYPE": "SkylakeX"}
        found["memory kept, OPENBLAS_CORETYPE=SkylakeX"] = avx512
        found["memory kept in huge pages, OPENBLAS_CORETYPE=SkylakeX"] = {
            **avx512, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    return found


def available(python):
    return bool(shutil.which(python)) and subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0


def step(python, environment, options):
    """What pytorch_training.py prints with these options in this environment."""
    done = subprocess.run([python, str(STEP), *map(str, options)], env={**os.environ, **environment}, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{STEP.name} {' '.join(map(str, options))} failed:\n{done.stderr.decode()}")
    return json.loads(done.stdout)


def fastest(python, options):
    """The environment in which one thread runs the step of these options fastest, and its name."""
    one = ["--threads", 1, "--blas-threads", 1, "--steps", 1, *options]
    speed = {name: step(python, env, one)["best_tokens_per_cpu_second"] for name, env in environments().items()}
    name = max(speed, key=speed.get)
    return environments()[name], name
