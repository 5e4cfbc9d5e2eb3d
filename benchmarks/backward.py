"""Time the gradients of attention on one GPU: our kernels beside those of others, in turn.

    python -m benchmarks.backward -o benchmarks/results/backward.jsonl   # on an H200, three minutes
    python -m benchmarks.pages performance                               # their table

Every kernel computes dq, dk and dv from the same q, k, v and gradient of out, each from its own
out. All of it counts: the sums over rows before, dq's rounding after, and lists by key block that
a kernel makes in every call. Before it is timed, each is compared with float64 on some rows. A peer
that is not installed is left out, and the reason printed. Lines are added to the file.
"""

import argparse
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.parts import (
    RESULTS,
    PerformanceTarget,
    Timed,
    measured_here,
    read_lines,
    source_of,
    target_table,
)
from radialbench import TokenGrid, block_sparse_attention, compile_mask, load_mask
from radialbench.kernels.backends import load_backend
from radialbench.kernels.backends.reference import mask_columns, mask_rows
from radialbench.kernels.backward import block_sparse_attention_backward
from radialbench.kernels.measure.clocks import EventClock
from radialbench.kernels.measure.timing import ceiling_matmul, measure_together
from radialbench.kernels.op import device_table
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import CEILING_SIZE
from radialbench.records.statistics import Estimate, paired_ratio
from radialbench.records.store import append
from radialbench.reports.rows import DENSE
from radialbench.reports.text import EMPTY_CELL, markdown_table

RUNS = (RESULTS / "backward.jsonl", RESULTS / "backward_peers.jsonl")
"""Records of two runs; times of different runs are not compared."""

HEAD_DIM = 128
SHAPES = {
    "S": (TokenGrid(21, 30, 52), 12),
    "W1": (TokenGrid(21, 45, 80), 8),
    "H1": (TokenGrid(33, 45, 80), 8),
}
"""Wan 2.1 1.3B at 480p, Wan 2.1 14B and HunyuanVideo's video at 720p, with fewer heads."""

MASKS = ("radial_blocks", "radial", DENSE)
OURS, FIXED = "hopper", "triton"
WHOLE = MASKS[0]
PEERS = {
    "fa4": (WHOLE, DENSE),
    "bsa": (WHOLE,),
    "flex": (WHOLE,),
    "cudnn": (DENSE,),
    "flash": (DENSE,),
}
"""The masks with which each peer is timed."""

KERNELS = (OURS, FIXED, *PEERS)
MATMUL = "matmul"
ALLOWED = 0.01
"""Most relative difference, L2, from float64 and from each other."""

Call = Callable[[], Any]

Case = tuple[str, str]
"""Mask and kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardTime(Timed):
    """The time of gradients.

    Attributes:
        shape: Name of the shape.
        mask: The mask.
        kernel: What computes them; `matmul` multiplies two matrices.
        tokens: Length of the sequence.
        heads: Number of heads.
        tflops: What is computed, in 10¹² operations: of visited blocks ten times 128³ and heads.
        error: Relative difference of dq, dk and dv from float64 on some rows, the greatest; None
            for the matmul.
    """

    shape: str
    mask: str
    kernel: str
    tokens: int
    heads: int
    tflops: float
    error: float | None


def main() -> int:
    """Measure, append records and print their table."""
    parser = argparse.ArgumentParser(description="Time the gradients of attention on one GPU.")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--masks", nargs="*", default=list(MASKS), choices=list(MASKS))
    parser.add_argument("--kernels", nargs="*", default=list(KERNELS), choices=list(KERNELS))
    parser.add_argument("--seconds", type=float, default=20.0, help="limit for each shape (20)")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs a CUDA device")
        return 2
    times = []
    for shape in options.shapes:
        for time in measured(shape, options.masks, options.kernels, seconds=options.seconds):
            append(options.out, time)
            times.append(time)
        torch.cuda.empty_cache()
    print(backward_table(times))
    return 0


def measured(
    shape: str, masks: Collection[str], kernels: Collection[str], *, seconds: float
) -> list[BackwardTime]:
    """Time kernels on masks of a shape, in turn."""
    grid, heads = SHAPES[shape]
    draw = torch.Generator("cuda").manual_seed(0)
    size = (1, heads, grid.seq_len, HEAD_DIM)
    q, k, v, dout = (
        torch.randn(size, generator=draw, device="cuda", dtype=torch.bfloat16) for _ in range(4)
    )
    calls: dict[tuple[str, str], Call] = {}
    work: dict[tuple[str, str], float] = {}
    errors: dict[tuple[str, str], float] = {}
    for mask in masks:
        table = compile_mask(load_mask(mask), grid)
        on_device = device_table(table, "cuda")
        out, lse = block_sparse_attention(q, k, v, on_device, return_lse=True)
        ours = partial(block_sparse_attention_backward, dout, q, k, v, out, lse, on_device)
        own: dict[str, Call] = {OURS: ours, FIXED: partial(in_fixed_order, ours)}
        for kernel, call in own.items():
            if kernel in kernels:
                errors[mask, kernel] = checked(call(), q, k, v, dout, out, lse, table)
                calls[mask, kernel] = call
        for peer in (peer for peer, known in PEERS.items() if mask in known and peer in kernels):
            problem = Problem(
                mask_fingerprint=table.fingerprint,
                grid=grid,
                batch=1,
                heads=heads,
                head_dim=HEAD_DIM,
                dtype="bfloat16",
                direction="backward",
            )
            try:
                call, result = of_backend(peer, problem, table, q, k, v, dout)
                errors[mask, peer] = checked(call(), q, k, v, dout, *result, table)
            except (Exception, SystemExit) as error:  # Whatever another library raises.
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                print(f"{shape} {mask}: {peer} is left out: {reason}", file=sys.stderr)
            else:
                calls[mask, peer] = call
        visited = 10 * 128**3 * table.nnz * heads / 1e12
        work |= {case: visited for case in calls if case[0] == mask}
    calls["", MATMUL] = ceiling_matmul(torch.bfloat16, "cuda")
    work["", MATMUL] = 2 * CEILING_SIZE**3 / 1e12
    timings = measure_together(
        list(calls.values()), max_samples=30, max_seconds=seconds, clock=EventClock()
    )
    return [
        BackwardTime(
            shape=shape,
            mask=mask,
            kernel=kernel,
            tokens=grid.seq_len,
            heads=heads,
            tflops=work[mask, kernel],
            error=errors.get((mask, kernel)),
            timing=timing,
            **measured_here("benchmarks.backward"),
        )
        for (mask, kernel), timing in zip(calls, timings, strict=True)
    ]


def in_fixed_order(call: Call) -> Any:
    """Call with PyTorch's switch for algorithms that are deterministic."""
    with fixed_order():
        return call()


@contextmanager
def fixed_order() -> Any:
    """Ask for deterministic algorithms, without filling fresh memory."""
    settings: Any = torch.utils.deterministic
    settings.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        settings.fill_uninitialized_memory = True


def of_backend(
    name: str, problem: Problem, table: BlockTable, q: Tensor, k: Tensor, v: Tensor, dout: Tensor
) -> tuple[Call, tuple[Tensor, Tensor]]:
    """Return a call of a backend's gradients that was made once, and its out and lse."""
    run = load_backend(name).plan(problem, table, KernelConfig(table.block_m, table.block_n))
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    out, lse = run(q, k, v)
    call = partial(torch.autograd.grad, out, (q, k, v), dout, retain_graph=True)
    call()
    return call, (out.detach(), lse.detach())


def checked(
    grads: Sequence[Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dout: Tensor,
    out: Tensor,
    lse: Tensor,
    table: BlockTable,
) -> float:
    """Compare dq, dk and dv of the first head with float64, on some rows and keys.

    Raises:
        SystemExit: They differ.
    """
    q, k, v, dout, out = (x[0, 0].double() for x in (q, k, v, dout, out))
    lse, scale = lse[0, 0].double(), HEAD_DIM**-0.5
    delta = (dout * out).sum(-1)
    some = torch.arange(5, table.q_len, max(1, table.q_len // 100), device=q.device)
    seen = torch.from_numpy(mask_rows(table, some.cpu().numpy())).to(q.device)
    weights = ((q[some] @ k.T) * scale - lse[some, None]).exp() * seen
    change = weights * (dout[some] @ v.T - delta[some, None])
    wanted = [scale * (change @ k)]
    seen = torch.from_numpy(mask_columns(table, some.cpu().numpy())).to(q.device)
    weights = ((k[some] @ q.T) * scale - lse).exp() * seen
    change = weights * (v[some] @ dout.T - delta)
    wanted += [scale * (change @ q), weights @ dout]
    found = [x[0, 0][some].double() for x in grads]
    errors = [float((x - y).norm() / y.norm()) for x, y in zip(found, wanted, strict=True)]
    if not max(errors) <= ALLOWED:
        raise SystemExit(f"gradients of {table.label} differ from float64 by {errors}")
    return max(errors)


def backward_table(times: Sequence[BackwardTime]) -> str:
    """Format each kernel's rate, and its share of the matmul timed in turn."""
    rows = []
    for time in times:
        if time.kernel == MATMUL:
            continue
        (matmul,) = (t for t in times if (t.shape, t.kernel) == (time.shape, MATMUL))
        rate = time.tflops / time.timing.median_ms * 1e3
        over = paired_ratio(matmul.timing.samples_ms, time.timing.samples_ms)
        share = over.times(time.tflops / matmul.tflops)
        rows.append(
            [
                time.shape,
                time.mask,
                time.kernel,
                f"{time.timing.median_ms:.1f}",
                f"{rate:.0f}",
                f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})",
                f"{time.error:.4f}" if time.error is not None else EMPTY_CELL,
                str(len(time.timing.samples_ms)),
            ]
        )
    headings = ("shape", "mask", "kernel", "ms", "TFLOP/s", "of the matmul", "error", "samples")
    return markdown_table(headings, rows, text_columns=3)


def targets(runs: Sequence[Sequence[BackwardTime]]) -> Iterator[PerformanceTarget]:
    """Yield what the kernels should reach, and what they reach in the first run that has both."""

    def over(shape: str, above: Case, below: Case) -> tuple[Estimate, float] | None:
        """Return the ratio of times, and that of the work."""
        for times in runs:
            found = {(time.mask, time.kernel): time for time in times if time.shape == shape}
            if above in found and below in found:
                pair = found[above], found[below]
                ratio = paired_ratio(*(one.timing.samples_ms for one in pair))
                return ratio, pair[0].tflops / pair[1].tflops
        return None

    def against(above: Case, below: Case, bound: float) -> Iterator[PerformanceTarget]:
        for shape in SHAPES:
            found = over(shape, above, below)
            words = f"{shape} {below[0]}: {below[1]} against {above[1]}"
            if above[0] != below[0]:
                words += f", {above[0]}, by rate"
            measured = found[0].times(1 / found[1]) if found else None
            yield PerformanceTarget(words, bound, measured)

    for peer in ("fa4", "bsa"):
        yield from against((WHOLE, peer), (WHOLE, OURS), 1.05)
    yield from against((DENSE, "fa4"), (WHOLE, OURS), 0.95)
    yield from against((WHOLE, "flex"), (WHOLE, FIXED), 1.00)
    yield from against((WHOLE, OURS), (WHOLE, FIXED), 0.70)


def parts() -> dict[str, str]:
    """Return the generated parts of docs/performance.md."""
    runs = [read_lines(run, BackwardTime) for run in RUNS]
    tables = [f"{backward_table(times)}\n\n{source_of(times[-1])}" for times in runs]
    aims = target_table(targets(runs))
    return {"backward": tables[0], "backward_peers": tables[1], "backward_targets": aims}


if __name__ == "__main__":
    sys.exit(main())
