"""Our kernels beside their peers, and the orders in which a launch can begin its rows.

    radialbench run benchmarks/kernels.yaml -o results/kernels            # under ten minutes, H100
    python -m benchmarks.performance -o results/row_order.jsonl           # orders, on a Hopper GPU
    python -m benchmarks.pages performance                                # docs/performance.md

The page is made of benchmarks/results/kernels.jsonl and row_order.jsonl. Orders are of attention of
the paper's videos under its mask, and of shorter ones, on the kernel for Hopper, all in turn. An
order changes no bit of the result, which is compared before anything is timed.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.parts import NOT_YET, RESULTS, read_lines, source_of
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.row_order import row_blocks, row_order
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.table import BlockTable
from radialbench.records.measurement import Measurement
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment, Record
from radialbench.records.statistics import Estimate
from radialbench.records.store import append, read
from radialbench.reports.doc_tables import PerformanceTarget, find, shape_tables, target_table
from radialbench.reports.paper_reference import VIDEOS
from radialbench.reports.rows import fraction_of_ceiling, interleaved_ratio
from radialbench.reports.text import format_sig3, markdown_table

RECORDS = RESULTS / "kernels.jsonl"
ORDERS = RESULTS / "row_order.jsonl"

S, W1, H1, H4 = (
    "21x30x52/h12d128bf16",
    "21x45x80/h40d128bf16",
    "33x45x80/h24d128bf16",
    "129x45x80/h24d128bf16",
)
SHAPES = (S, W1, H1)
WHOLE, SMALL = "21x32x48/h12d128bf16", "8x32x32/h12d128bf16"
TITLES = {
    S: "S: Wan2.1 1.3B, 480p, 81 frames",
    W1: "W1: Wan2.1 14B, 720p, 81 frames",
    H1: "H1: HunyuanVideo, 720p, 129 frames",
    H4: "H4: HunyuanVideo, 720p, 4× the length",
    WHOLE: "Whole blocks: 21 frames of 12 × 128 tokens",
    SMALL: "A small launch",
}
SHORT = {S: "S", W1: "W1", H1: "H1", H4: "H4", WHOLE: "whole blocks", SMALL: "small launch"}
RADIAL = "radial_blocks"

Case = tuple[str, str, str]
"""Group, mask and backend."""


def ceiling(group: str, mask: str, backend: str, bound: float) -> PerformanceTarget:
    """A rate as a share of the matrix product's."""

    def of(records: Sequence[Record]) -> Estimate | None:
        found = find(records, group, mask, backend)
        return fraction_of_ceiling(found) if found else None

    return PerformanceTarget(f"{SHORT[group]} {mask}: {backend} of the matrix product", bound, of)


def over(above: Case, below: Case) -> Callable[[Sequence[Record]], Estimate | None]:
    """How many times as long one case takes as another."""

    def of(records: Sequence[Record]) -> Estimate | None:
        one, other = find(records, *above), find(records, *below)
        if one is None or other is None or not one.timing or not other.timing:
            return None
        return interleaved_ratio(one.timing, other.timing)

    return of


def ahead(group: str, mask: str, backend: str, peer: str, bound: float) -> PerformanceTarget:
    """How many times as long a peer takes on the same mask."""
    found = over((group, mask, peer), (group, mask, backend))
    return PerformanceTarget(f"{SHORT[group]} {mask}: {backend} against {peer}", bound, found)


def exact(group: str) -> PerformanceTarget:
    """What exact blocks at the border cost over whole ones."""
    found = over((group, "radial", "hopper"), (group, "radial_whole", "hopper"))
    text = f"{SHORT[group]} radial: exact over whole blocks, hopper"
    return PerformanceTarget(text, 1.10, found, at_most=True)


def small(mask: str) -> PerformanceTarget:
    """A short sequence against dense attention, by the share of pairs."""
    over_dense = over((SMALL, mask, "hopper"), (SMALL, "dense", "cudnn"))

    def of(records: Sequence[Record]) -> Estimate | None:
        own, found = find(records, SMALL, mask, "hopper"), over_dense(records)
        return found.times(1 / own.table.density) if found and own and own.table else None

    text = f"small launch {mask}: hopper over dense cudnn × density"
    return PerformanceTarget(text, 1.30, of, at_most=True)


TARGETS = (
    *(ceiling(group, RADIAL, "hopper", 1.00) for group in SHAPES),
    ceiling(H4, RADIAL, "hopper", 0.95),
    *(ahead(group, RADIAL, "hopper", "fa4", 1.08) for group in SHAPES),
    ahead(H4, RADIAL, "hopper", "fa4", 1.15),
    *(ahead(group, "dense", "hopper", "cudnn", 1.00) for group in SHAPES),
    *(ahead(group, "dense", "hopper", "fa3", 0.97) for group in SHAPES),
    *(exact(group) for group in (S, W1)),
    ceiling(W1, RADIAL, "triton", 0.87),
    *(ahead(group, RADIAL, "triton", "flex", 1.00) for group in (S, W1, H1, H4)),
    *(ahead(group, RADIAL, "triton", "flex_tma", 1.00) for group in (S, W1)),
    *(ahead(WHOLE, RADIAL, "triton", name, 1.00) for name in ("flashinfer_fa3", "fastvideo")),
    *(small(mask) for mask in (RADIAL, "radial")),
)


LENGTH, STANDS, OURS = "by length", "as they stand", "ours"
HEAD_DIM = 128
SCALE = HEAD_DIM**-0.5


@dataclass(frozen=True, slots=True)
class OrderTime:
    """How long a launch takes with its rows in one order, in turn with the others."""

    name: str
    mask: str
    heads: int
    order: str
    timing: Measurement
    environment: Environment
    created: str


Problem = tuple[str, MaskSpec, TokenGrid, int]


def problems() -> list[Problem]:
    """Name what is computed: the mask, the video, and how many heads."""
    found = [
        (video.title, video.mask(video.masks[0][0]), video.grid, video.preset.heads)
        for video in VIDEOS
    ]
    for mask in ("radial", "sta"):
        found.append(("Wan2.1 1.3B, 480p: 81 frames", load_mask(mask), TokenGrid(21, 30, 52), 12))
        found.append(("Wan2.1 14B, 720p: 129 frames", load_mask(mask), TokenGrid(33, 45, 80), 4))
    return found


def orders(of: BlockTable) -> dict[str, NDArray[np.int64]]:
    """Give each order of a table's rows."""
    return {
        LENGTH: np.argsort(-row_blocks(of), kind="stable"),
        STANDS: np.arange(of.rows),
        OURS: row_order(of),
    }


def measure(problem: Problem, command: str, *, seconds: float) -> Iterator[OrderTime]:
    """Time a launch with its rows in each order.

    Raises:
        SystemExit: Two orders give different results.
    """
    import torch

    from radialbench.kernels.arch import target_of
    from radialbench.kernels.device_table import upload
    from radialbench.kernels.measure.clocks import clock_of
    from radialbench.kernels.measure.environment import environment
    from radialbench.kernels.measure.timing import measure_together
    from radialbench.kernels.triton.launch import layout_of, prepare_hopper

    name, mask, grid, heads = problem
    compiled = compile_mask(mask, grid)
    uploaded = upload([compiled], "cuda")
    shape = (1, heads, grid.seq_len, HEAD_DIM)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    lse = torch.empty(shape[:3], device="cuda")
    config = KernelConfig(128, 128, None, 2)
    run = prepare_hopper(
        *map(layout_of, (q, k, v)),
        table=uploaded.key,
        config=config,
        target=target_of("cuda"),
        key_lens=False,
    )
    calls: dict[str, Callable[[], None]] = {}
    first = None
    for order, rows in orders(compiled).items():
        begun = torch.as_tensor(rows[None], device="cuda", dtype=torch.int32)
        out = torch.full_like(q, torch.nan)
        tensors = replace(uploaded, row_order=begun).tensors()
        calls[order] = partial(run, q, k, v, out, lse, tensors, None, SCALE)
        calls[order]()
        first = out if first is None else first
        if not torch.equal(out, first):
            raise SystemExit(f"{name}, {mask.label}: rows {order} give another result")
    times = measure_together(
        list(calls.values()),
        clock=clock_of("cuda"),
        target=0.002,
        min_samples=8,
        min_seconds=seconds / 2,
        max_seconds=seconds,
    )
    here = environment(command, device="cuda")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for order, timing in zip(calls, times, strict=True):
        yield OrderTime(name, mask.label, heads, order, timing, here, now)


def order_table(times: Sequence[OrderTime]) -> str:
    """Every problem's time by length, and how many times as fast the other orders are."""
    body = []
    for name, mask in dict.fromkeys((one.name, one.mask) for one in times):
        here = {one.order: one for one in times if (one.name, one.mask) == (name, mask)}
        base = here[LENGTH]
        over = [interleaved_ratio(base.timing, here[order].timing) for order in (STANDS, OURS)]
        told = (f"{over[0].value:.3f}", f"{over[1]:.3f}")
        body.append((name, mask, str(base.heads), format_sig3(base.timing.median_ms), *told))
    headers = ("video", "mask", "heads", "by length, ms", "as they stand", "ours")
    return markdown_table(headers, body, text_columns=2)


def parts(orders: Path = ORDERS) -> dict[str, str]:
    """Return each generated part of the page by its name."""
    records = read(RECORDS).records
    times = read_lines(orders, OrderTime) if orders.exists() else ()
    return {
        "targets": f"{target_table(records, TARGETS)}\n\n{source_of(records[-1])}",
        "shapes": shape_tables(records, TITLES),
        "order": f"{order_table(times)}\n\n{source_of(times[-1])}" if times else NOT_YET,
    }


def main() -> int:
    """Measure the orders of every problem."""
    parser = argparse.ArgumentParser(description="Orders in which rows are begun.")
    parser.add_argument("-o", "--out", type=Path, required=True, help="add lines to this file")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a problem, at most (8)")
    options = parser.parse_args()
    command = shlex.join(["python", "-m", "benchmarks.performance", *sys.argv[1:]])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for problem in problems():
        found = list(measure(problem, command, seconds=options.seconds))
        for one in found:
            append(options.out, one)
        print(order_table(found).splitlines()[-1], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
