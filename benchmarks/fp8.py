"""Time attention in e4m3 on Hopper beside the kernel in 16 bits, in turn, and compute its error.

    python -m benchmarks.fp8   # on an H200, 80 seconds

Operations are those of visited blocks, 4 · 128³ · blocks · heads. `whole call` rounds q, k and v
too; `attention` takes them rounded. The error is against float64 on a sample of rows of head 0.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from radialbench import TokenGrid, block_sparse_attention, compile_mask
from radialbench.kernels.backends import load_backend
from radialbench.kernels.fp8 import attend_fp8
from radialbench.kernels.measure.accuracy import Expected, expected
from radialbench.kernels.measure.clocks import EventClock
from radialbench.kernels.measure.timing import measure_together
from radialbench.kernels.op import device_table
from radialbench.kernels.triton.fp8_launch import attend_rounded, round_to_fp8
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.statistics import paired_ratio
from radialbench.reports.text import markdown_table

HEAD_DIM = 128
SHAPES = {
    "S": (TokenGrid(21, 30, 52), 12),
    "W1": (TokenGrid(21, 45, 80), 16),
    "H1": (TokenGrid(33, 45, 80), 8),
}
MASKS = ("radial_blocks", "radial")
PEER = "fa3_fp8"
ROWS = 256


def main() -> int:
    """Measure and print a table as it grows, and the whole of it at the end."""
    parser = argparse.ArgumentParser(description="Time attention in e4m3 beside 16 bits.")
    parser.add_argument("--seconds", type=float, default=8, help="for each shape and mask")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs a CUDA device")
        return 2
    rows = []
    for shape in SHAPES:
        for mask in MASKS:
            for row in measured(shape, mask, options.seconds):
                print(*row, flush=True)
                rows.append(row)
            torch.cuda.empty_cache()
    head = ("shape", "mask", "call", "ms", "TFLOP/s", "16 bits / this", "relative error", "cosine")
    print(markdown_table(head, rows, text_columns=3))
    return 0


def measured(shape: str, mask: str, seconds: float) -> list[tuple[str, ...]]:
    """Return the rows of a shape and a mask."""
    grid, heads = SHAPES[shape]
    table, dense = compile_mask(mask, grid), compile_mask("dense", grid)
    uploaded = device_table(table, "cuda")
    draw = torch.Generator("cuda").manual_seed(0)
    q, k, v = (
        torch.randn(
            (1, heads, grid.seq_len, HEAD_DIM), generator=draw, device="cuda", dtype=torch.bfloat16
        )
        for _ in range(3)
    )
    rounded = round_to_fp8(q, k, v)
    out, lse = torch.empty_like(q), torch.empty(q.shape[:3], device="cuda")
    scale = HEAD_DIM**-0.5
    head = (q[:, :1], k[:, :1], v[:, :1])
    exact = expected(head, table=table, sm_scale=scale, rows=ROWS)
    calls: dict[str, Callable[[], object]] = {
        "16 bits": partial(block_sparse_attention, q, k, v, uploaded, backend="hopper"),
        "whole call": partial(attend_fp8, q, k, v, uploaded),
        "attention": partial(attend_rounded, rounded, uploaded, out, lse, sm_scale=scale),
        "rounding": partial(round_to_fp8, q, k, v),
    }
    problem = Problem("dense", grid, 1, heads, HEAD_DIM, "bfloat16")
    peer = load_backend(PEER)
    if not peer.unsupported_reasons(problem, "cuda"):
        run = peer.plan(problem, dense, KernelConfig())
        calls[f"{PEER}, dense"] = partial(run, q, k, v)
    timings = measure_together(
        list(calls.values()), max_samples=60, max_seconds=seconds, clock=EventClock()
    )
    first = timings[0]
    rows: list[tuple[str, ...]] = []
    for (call, function), timing in zip(calls.items(), timings, strict=True):
        blocks = dense if "dense" in call else table
        operations = 4 * 128**3 * blocks.nnz * heads
        ms = timing.median_ms
        rate = "" if call == "rounding" else f"{operations / ms / 1e9:.0f}"
        ratio = paired_ratio(first.samples_ms, timing.samples_ms)
        errors = ("", "")
        if call in ("16 bits", "whole call"):
            errors = compared(function(), exact)
        rows.append((shape, mask, call, f"{ms:.3f}", rate, f"{ratio.value:.3f}", *errors))
    return rows


def compared(result: object, exact: Expected) -> tuple[str, str]:
    """Return the relative error, L2, and the cosine, on the rows of head 0."""
    out = result[0] if isinstance(result, tuple) else result
    assert isinstance(out, Tensor)
    wanted = exact.out[0, 0]
    found = out[0, 0][exact.rows[0, 0]].double()
    error = float((found - wanted).norm() / wanted.norm())
    cosine = float(torch.cosine_similarity(found.flatten(), wanted.flatten(), 0))
    return f"{error:.4f}", f"{cosine:.5f}"


if __name__ == "__main__":
    raise SystemExit(main())
