"""Compare the cpu backend on sparse masks with dense SDPA: 21 × 1,560 tokens, one head, float32.

    python benchmarks/cpu.py

The cases take turns in one process, so that whatever else the machine does meets all of them; each
result is compared with the definition first. GFLOP/s count the blocks that are visited, whole. The
ratio is that of a case's GFLOP/s to SDPA's in the same round: its median, and the interval that
holds the true median at 95%. Takes about a minute on two cores. Exits with 1 when the ratio of
radial attention is below 0.7.
"""

import sys
from statistics import median, quantiles
from time import perf_counter

import torch

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.kernels.accuracy import compare, expected
from radialbench.kernels.backend import Run, load_backend
from radialbench.kernels.environment import cpu_name
from radialbench.kernels.inputs import Inputs, make_inputs
from radialbench.records.problem import KernelConfig, Problem

TARGET = 0.7
ROUNDS = 6
"""With six rounds, the smallest and the largest ratio hold the true median at 97%."""

GRID = TokenGrid(frames=21, height=30, width=52)
CASES = (("dense", "sdpa"), ("radial", "cpu"), ("sta", "cpu"))


def planned(mask: str, backend: str) -> tuple[Problem, BlockTable, Run]:
    """Compile a mask and plan attention on it."""
    config = KernelConfig()
    spec = load_mask(mask)
    table = compile_mask(spec, GRID, config.block_m, config.block_n)
    problem = Problem(
        mask_fingerprint=spec.fingerprint,
        grid=GRID,
        batch=1,
        heads=1,
        head_dim=128,
        dtype="float32",
    )
    return problem, table, load_backend(backend).plan(problem, table, config)


def gflops_of_rounds(
    plans: list[tuple[Problem, BlockTable, Run]], inputs: Inputs
) -> tuple[list[list[float]], list[list[float]]]:
    """Time the cases in turn; give milliseconds and GFLOP/s, a list of rounds for each case."""
    times: list[list[float]] = [[] for _ in plans]
    for _ in range(ROUNDS):
        for samples, (_, _, run) in zip(times, plans, strict=True):
            start = perf_counter()
            run(*inputs)
            samples.append((perf_counter() - start) * 1e3)
    work = [table.executed_flops(1, 128) / 1e6 for _, table, _ in plans]
    rates = [[flops / ms for ms in samples] for flops, samples in zip(work, times, strict=True)]
    return times, rates


def main() -> int:
    """Print the table and compare the ratio of radial attention with its target."""
    plans = [planned(mask, backend) for mask, backend in CASES]
    inputs = make_inputs(plans[0][0])
    for (mask, backend), (problem, table, run) in zip(CASES, plans, strict=True):
        accuracy = compare(run(*inputs), expected(inputs, table=table, sm_scale=problem.scale))
        if not accuracy.passed:
            print(f"{mask} on {backend} is inaccurate: {accuracy}")
            return 1
    times, rates = gflops_of_rounds(plans, inputs)
    print(f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'case':<12} {'ms':>8} {'IQR':>7} {'GFLOP/s':>8}   ratio")
    ratio = {}
    for (mask, backend), samples, rate in zip(CASES, times, rates, strict=True):
        of_sdpa = [own / other for own, other in zip(rate, rates[0], strict=True)]
        ratio[mask] = median(of_sdpa)
        low, _, high = quantiles(samples, n=4, method="inclusive")
        print(
            f"{mask + ' ' + backend:<12} {median(samples):>8,.0f} {high - low:>7,.0f} "
            f"{median(rate):>8.1f}   {ratio[mask]:.2f} ({min(of_sdpa):.2f} to {max(of_sdpa):.2f})"
        )
    return int(ratio["radial"] < TARGET)


if __name__ == "__main__":
    sys.exit(main())
