"""Time the orders in which a launch can begin its rows: ours, by length alone, and as they stand.

    python -m benchmarks.row_order -o results/row_order.jsonl   # measure, on a Hopper GPU
    python -m benchmarks.row_order                              # write docs/performance.md's part
    python -m benchmarks.row_order --check                      # exit with 1 if that part differs

Attention of the paper's videos under its mask, and of shorter ones, on the kernel for Hopper, all
orders in turn. An order changes no bit of the result, which is compared before anything is timed.
The part is made of benchmarks/results/row_order.jsonl.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.parts import filled, read_lines, rewrite, told
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.row_order import row_blocks, row_order
from radialbench.maskgen.spec import MaskSpec
from radialbench.maskgen.table import BlockTable
from radialbench.records.measurement import Measurement
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment
from radialbench.records.store import append
from radialbench.reports.claims import VIDEOS
from radialbench.reports.markdown_tables import table
from radialbench.reports.numbers import three
from radialbench.reports.ratio import ratio

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RECORDS = ROOT / "benchmarks" / "results" / "row_order.jsonl"

LENGTH, STANDS, OURS = "by length", "as they stand", "ours"
HEAD_DIM = 128
SCALE = HEAD_DIM**-0.5


@dataclass(frozen=True, slots=True)
class OrderTime:
    """How long a launch takes with its rows in one order.

    Attributes:
        name: The video.
        mask: Label of the mask.
        heads: Heads.
        order: The order.
        timing: Samples, taken in turn with the other orders.
        environment: Where it ran.
        created: When, in ISO 8601 with its zone.
    """

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

    from radialbench.kernels.clocks import clock_of
    from radialbench.kernels.device_table import upload
    from radialbench.kernels.environment import environment
    from radialbench.kernels.launch import launch_hopper
    from radialbench.kernels.timing import measure_together

    name, mask, grid, heads = problem
    compiled = compile_mask(mask, grid)
    uploaded = upload([compiled], "cuda")
    shape = (1, heads, grid.seq_len, HEAD_DIM)
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    lse = torch.empty(shape[:3], device="cuda")
    config = KernelConfig(128, 128, None, 2)
    calls: dict[str, Callable[[], None]] = {}
    first = None
    for order, rows in orders(compiled).items():
        begun = torch.as_tensor(rows[None], device="cuda", dtype=torch.int32)
        out = torch.full_like(q, torch.nan)
        options = {"key_len": None, "sm_scale": SCALE, "config": config}
        ordered = replace(uploaded, row_order=begun)
        calls[order] = partial(launch_hopper, q, k, v, out, lse, table=ordered, **options)
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
        over = [ratio(base.timing, here[order].timing) for order in (STANDS, OURS)]
        told = ["–" if one is None else f"{one.median:.3f}" for one in over]
        ours = over[1]
        if ours is not None and ours.low is not None and ours.high is not None:
            told[1] += f" ({ours.low:.3f} to {ours.high:.3f})"
        body.append((name, mask, str(base.heads), three(base.timing.median_ms), *told))
    headers = ("video", "mask", "heads", "by length, ms", "as they stand", "ours")
    return table(headers, body, words=2)


def written(text: str, records: Path = RECORDS) -> str:
    """Put the part into the page."""
    part = "Not measured yet."
    if records.exists():
        times = read_lines(records, OrderTime)
        part = f"{order_table(times)}\n\n{told(times[-1])}"
    return filled(text, {"order": part}, maker="benchmarks/row_order.py")


def chosen(words: Iterable[str]) -> list[Problem]:
    """Give the problems whose name has one of some words; all if there are none."""
    words = list(words)
    return [one for one in problems() if not words or any(word in one[0] for word in words)]


def main() -> int:
    """Measure, write the part of the page, or check it."""
    parser = argparse.ArgumentParser(description="Orders in which rows are begun.")
    parser.add_argument("-o", "--out", type=Path, help="measure, and add lines to this file")
    parser.add_argument("--only", nargs="*", default=[], metavar="TEXT", help="part of the names")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a problem, at most (8)")
    parser.add_argument("--check", action="store_true", help="only say whether the page differs")
    options = parser.parse_args()
    if options.out is not None:
        command = shlex.join(["python", "-m", "benchmarks.row_order", *sys.argv[1:]])
        options.out.parent.mkdir(parents=True, exist_ok=True)
        for problem in chosen(options.only):
            found = list(measure(problem, command, seconds=options.seconds))
            for one in found:
                append(options.out, one)
            print(order_table(found).splitlines()[-1], flush=True)
        return 0
    return rewrite(PAGE, written, check=options.check)


if __name__ == "__main__":
    sys.exit(main())
