"""Compare our kernels with their peers, and the orders in which a launch starts its rows.

    radialbench run benchmarks/kernels.yaml -o results/kernels            # under ten minutes, H200
    radialbench run benchmarks/peers_h200.yaml -o results/peers           # fewer kernels, 90 s
    python -m benchmarks.performance -o results/row_order.jsonl           # orders, on a Hopper GPU
    python -m benchmarks.pages performance performance-h100               # both pages

docs/performance.md is made from the records of runs on an H200 and of row_order.jsonl, and
docs/performance-h100.md from those of an earlier run on an H100. Orders are timed in turn, on the
kernel for Hopper, with attention of the paper's videos under its mask and of shorter videos. An
order changes no bit of the result, which is compared before anything is timed.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import parts as common
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.row_order import row_blocks, row_order
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate
from radialbench.records.store import append, read
from radialbench.reports.doc_tables import compile_table, find, shape_tables
from radialbench.reports.paper_reference import VIDEOS
from radialbench.reports.rows import fraction_of_ceiling, interleaved_ratio
from radialbench.reports.text import format_sig3, markdown_table

RUNS = (common.RESULTS / "kernels.jsonl", common.RESULTS / "peers_h200.jsonl")
"""Records of runs on an H200; times of different runs are not compared."""

H100 = common.RESULTS / "kernels_h100.jsonl"
ORDERS = common.RESULTS / "row_order.jsonl"

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

Runs = Sequence[Sequence[Record]]
"""The records of each run."""

Case = tuple[str, str, str]
"""Group, mask and backend."""


def over(runs: Runs, above: Case, below: Case) -> Estimate | None:
    """Return the ratio of two cases' times in the first run that has both; None without one."""
    for records in runs:
        one, other = find(records, *above), find(records, *below)
        if one and other:
            return interleaved_ratio(common.timing_of(one), common.timing_of(other))
    return None


def targets(runs: Runs) -> Iterator[common.PerformanceTarget]:
    """Yield what the kernels should reach, and what they reach by the records of some runs."""

    def ceiling(group: str, backend: str, bound: float) -> common.PerformanceTarget:
        cases = (find(records, group, RADIAL, backend) for records in runs)
        found = next((case for case in cases if case), None)
        share = fraction_of_ceiling(found) if found else None
        text = f"{SHORT[group]} {RADIAL}: {backend} of the matmul"
        return common.PerformanceTarget(text, bound, share)

    def against(
        groups: Iterable[str], mask: str, backend: str, peer: str, bound: float
    ) -> Iterator[common.PerformanceTarget]:
        for group in groups:
            ratio = over(runs, (group, mask, peer), (group, mask, backend))
            text = f"{SHORT[group]} {mask}: {backend} against {peer}"
            yield common.PerformanceTarget(text, bound, ratio)

    yield from (ceiling(group, "hopper", 1.00) for group in SHAPES)
    yield ceiling(H4, "hopper", 0.95)
    yield from against(SHAPES, RADIAL, "hopper", "fa4", 1.08)
    yield from against([H4], RADIAL, "hopper", "fa4", 1.15)
    yield from against(SHAPES, RADIAL, "hopper", "bsa", 1.00)
    yield from against(SHAPES, "dense", "hopper", "cudnn", 1.00)
    yield from against(SHAPES, "dense", "hopper", "fa3", 0.97)
    for group in (S, W1):
        ratio = over(runs, (group, "radial", "hopper"), (group, "radial_whole", "hopper"))
        text = f"{SHORT[group]} radial: exact over whole blocks, hopper"
        yield common.PerformanceTarget(text, 1.10, ratio, at_most=True)
    yield ceiling(W1, "triton", 0.87)
    yield from against((S, W1, H1, H4), RADIAL, "triton", "flex", 1.00)
    yield from against((S, W1), RADIAL, "triton", "flex_tma", 1.00)
    for peer in ("flashinfer_fa3", "fastvideo"):
        yield from against([WHOLE], RADIAL, "triton", peer, 1.00)
    for mask in (RADIAL, "radial"):
        cases = (find(records, SMALL, mask, "hopper") for records in runs)
        own = next((case for case in cases if case), None)
        ratio = over(runs, (SMALL, mask, "hopper"), (SMALL, "dense", "cudnn"))
        ratio = ratio.times(1 / own.table.density) if ratio and own and own.table else None
        text = f"small launch {mask}: hopper over dense cudnn × density"
        yield common.PerformanceTarget(text, 1.30, ratio, at_most=True)


LENGTH, STANDS, OURS = "by length", "as they stand", "ours"
HEAD_DIM = 128
SCALE = HEAD_DIM**-0.5


@dataclass(frozen=True, slots=True)
class OrderTime(common.Timed):
    """The time of a launch with its rows in one order, sampled in turn with the others."""

    name: str
    mask: str
    heads: int
    order: str


Problem = tuple[str, MaskSpec, TokenGrid, int]


def problems() -> list[Problem]:
    """Return what is computed: video, mask, grid and heads."""
    found = [
        (video.title, video.mask(video.masks[0][0]), video.grid, video.preset.heads)
        for video in VIDEOS
    ]
    for mask in ("radial", "sta"):
        found.append(("Wan2.1 1.3B, 480p: 81 frames", load_mask(mask), TokenGrid(21, 30, 52), 12))
        found.append(("Wan2.1 14B, 720p: 129 frames", load_mask(mask), TokenGrid(33, 45, 80), 4))
    return found


def orders(of: BlockTable) -> dict[str, NDArray[np.int64]]:
    """Return each order of a table's rows."""
    return {
        LENGTH: np.argsort(-row_blocks(of), kind="stable"),
        STANDS: np.arange(of.rows),
        OURS: row_order(of),
    }


def measure(problem: Problem, *, seconds: float) -> Iterator[OrderTime]:
    """Time a launch with its rows in each order, or exit if results differ."""
    import torch

    from radialbench.kernels.arch import target_of
    from radialbench.kernels.device_table import upload
    from radialbench.kernels.measure.clocks import clock_of
    from radialbench.kernels.measure.timing import measure_together
    from radialbench.kernels.triton.launch import layout_of, prepare_hopper

    name, mask, grid, heads = problem
    compiled = compile_mask(mask, grid)
    uploaded = upload([compiled], "cuda")
    shape = (1, heads, grid.seq_len, HEAD_DIM)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    lse = torch.empty(shape[:3], device="cuda")
    layouts, config = map(layout_of, (q, k, v)), KernelConfig(128, 128, None, 2)
    target = target_of("cuda")
    run = prepare_hopper(*layouts, table=uploaded.key, config=config, target=target, key_lens=False)
    calls: dict[str, Callable[[], None]] = {}
    first = None
    for order, rows in orders(compiled).items():
        started = torch.as_tensor(rows[None], device="cuda", dtype=torch.int32)
        out = torch.full_like(q, torch.nan)
        tensors = replace(uploaded, row_order=started).tensors()
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
    here = common.measured_here("benchmarks.performance")
    for order, timing in zip(calls, times, strict=True):
        yield OrderTime(name, mask.label, heads, order, timing=timing, **here)


def order_table(times: Sequence[OrderTime]) -> str:
    """Format every problem's time by length, and the speed-up of the other orders."""
    body = []
    for name, mask in dict.fromkeys((one.name, one.mask) for one in times):
        here = {one.order: one for one in times if (one.name, one.mask) == (name, mask)}
        base = here[LENGTH]
        over = [interleaved_ratio(base.timing, here[order].timing) for order in (STANDS, OURS)]
        ratios = (f"{over[0].value:.3f}", f"{over[1]:.3f}")
        body.append((name, mask, str(base.heads), format_sig3(base.timing.median_ms), *ratios))
    headers = ("video", "mask", "heads", "by length, ms", "as they stand", "ours")
    return markdown_table(headers, body, text_columns=2)


def of_runs(*runs: Path) -> dict[str, str]:
    """Return the targets and the tables of some runs, those of later runs as `peers`."""
    records = [read(run).records for run in runs]
    measured = [one for one in targets(records) if one.measured is not None]
    found = {"targets": f"{common.target_table(measured)}\n\n{common.source_of(records[0][-1])}"}
    for name, run in zip(("shapes", "peers"), records, strict=False):
        found[name] = f"{shape_tables(run, TITLES)}\n\n{common.source_of(run[-1])}"
    return found


def parts() -> dict[str, str]:
    """Return each generated part of the page by its name."""
    times = common.read_lines(ORDERS, OrderTime)
    rules = read(common.RESULTS / "compile_rules.jsonl").records
    return {
        "rules": f"{compile_table(rules)}\n\n{common.source_of(rules[-1])}",
        **of_runs(*RUNS),
        "order": f"{order_table(times)}\n\n{common.source_of(times[-1])}",
    }


def main() -> int:
    """Measure the orders of every problem."""
    parser = argparse.ArgumentParser(description="Time the orders in which rows start.")
    parser.add_argument("-o", "--out", type=Path, required=True, help="add lines to this file")
    parser.add_argument("--seconds", type=float, default=8.0, help="limit for each problem (8)")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for problem in problems():
        found = list(measure(problem, seconds=options.seconds))
        for one in found:
            append(options.out, one)
        print(order_table(found).splitlines()[-1], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
