"""Time sta on tokens in raster order, in turn: moved to its order and back, or read in boxes.

    python -m benchmarks.boxes -o benchmarks/results/boxes.jsonl   # on an H200, one minute
    python -m benchmarks.pages performance                         # their table

All calls attend from the same q, k and v, and agree. What a mask could gain is 1 / density over our
own dense kernel: the shares of it that are printed count the moves. Lines are added to the file.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.parts import RESULTS, Timed, measured_here, read_lines, source_of
from radialbench import TokenGrid, block_sparse_attention, compile_mask
from radialbench.kernels.measure.clocks import EventClock
from radialbench.kernels.measure.timing import measure_together
from radialbench.kernels.op import device_table
from radialbench.kernels.reorder import Reorder, reorder
from radialbench.maskgen.boxes import boxed
from radialbench.maskgen.table import BlockTable
from radialbench.records.statistics import paired_ratio
from radialbench.records.store import append
from radialbench.reports.text import markdown_table

STORED = RESULTS / "boxes.jsonl"
MASK, HEAD_DIM = "sta", 128
SHAPES = {
    "Wan2.1 1.3B, 480p: 17 frames": (TokenGrid(5, 30, 52), 12),
    "Wan2.1 1.3B, 480p: 81 frames": (TokenGrid(21, 30, 52), 12),
    "Wan2.1 14B, 720p: 81 frames": (TokenGrid(21, 45, 80), 40),
}
DENSE, MOVED, ORDERED, BOXES = "dense", "moved", "in its order", "boxes"
ALLOWED = 0.01
"""Most relative difference, L2, of outputs from each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxTime(Timed):
    """The time of a call.

    Attributes:
        shape: Name of the shape.
        call: `dense`, `moved` (q, k and v to the order, attention, out back), `in its order`
            (attention alone) or `boxes`.
        tokens: Length of the sequence.
        heads: Number of heads.
        tflops: What attending pairs need, in 10¹² operations: 4 · pairs · head_dim · heads.
        executed: Pairs of visited blocks, as a multiple of those that attend.
        density: Attending pairs, as a share of all.
    """

    shape: str
    call: str
    tokens: int
    heads: int
    tflops: float
    executed: float
    density: float


def main() -> int:
    """Measure, append records and print their table."""
    parser = argparse.ArgumentParser(description="Time sta moved to its order and in boxes.")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=14, help="for each shape")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs a CUDA device")
        return 2
    times = []
    for shape in SHAPES:
        for time in measured(shape, options.seconds):
            append(options.out, time)
            times.append(time)
        torch.cuda.empty_cache()
    print(boxes_table(times))
    return 0


def measured(shape: str, seconds: float) -> list[BoxTime]:
    """Time all calls of a shape, in turn.

    Raises:
        SystemExit: Their outputs differ.
    """
    grid, heads = SHAPES[shape]
    draw = torch.Generator("cuda").manual_seed(0)
    size = (1, grid.seq_len, heads, HEAD_DIM)
    q, k, v = (
        torch.randn(size, generator=draw, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
        for _ in range(3)
    )
    table, dense = compile_mask(MASK, grid), compile_mask("dense", grid)
    boxes = boxed(table)
    moves = reorder(table, heads, heads, "cuda")
    assert moves is not None
    in_order = moves.inputs(q, k, v)
    calls: dict[str, Callable[[], Tensor]] = {
        DENSE: partial(block_sparse_attention, q, k, v, device_table(dense, "cuda")),
        MOVED: partial(moved, moves, q, k, v, table),
        ORDERED: partial(block_sparse_attention, *in_order, device_table(table, "cuda")),
        BOXES: partial(block_sparse_attention, q, k, v, device_table(boxes, "cuda")),
    }
    wanted, found = calls[MOVED](), calls[BOXES]()
    difference = float((found - wanted).float().norm() / wanted.float().norm())
    if not difference <= ALLOWED:
        raise SystemExit(f"{shape}: boxes and moved tokens differ by {difference}")
    del wanted, found
    timings = measure_together(
        list(calls.values()), max_samples=60, max_seconds=seconds, clock=EventClock()
    )
    blocks = {DENSE: dense, MOVED: table, ORDERED: table, BOXES: boxes.tables[0]}
    return [
        BoxTime(
            shape=shape,
            call=call,
            tokens=grid.seq_len,
            heads=heads,
            tflops=pairs_of(blocks[call], table) * 4 * HEAD_DIM * heads / 1e12,
            executed=blocks[call].nnz * 128 * 128 / pairs_of(blocks[call], table),
            density=pairs_of(blocks[call], table) / grid.seq_len**2,
            timing=timing,
            **measured_here("benchmarks.boxes"),
        )
        for call, timing in zip(calls, timings, strict=True)
    ]


def pairs_of(blocks: BlockTable, table: BlockTable) -> int:
    """Return the attending pairs of tokens; padding in full blocks is none."""
    return blocks.pairs if blocks.density == 1.0 else table.pairs


def moved(moves: Reorder, q: Tensor, k: Tensor, v: Tensor, table: BlockTable) -> Tensor:
    """Attend with tokens moved to the order, and the output back."""
    return moves.output(block_sparse_attention(*moves.inputs(q, k, v), table))


def boxes_table(times: Sequence[BoxTime]) -> str:
    """Format each call's time, and its share of what the mask could gain over dense."""
    rows = []
    for time in times:
        (dense,) = (t for t in times if (t.shape, t.call) == (time.shape, DENSE))
        faster = paired_ratio(dense.timing.samples_ms, time.timing.samples_ms)
        share = faster.times(time.density)
        rows.append(
            [
                time.shape,
                time.call,
                str(time.heads),
                f"{time.timing.median_ms:.3g}",
                f"{time.tflops / time.timing.median_ms * 1e3:.0f}",
                f"{time.executed:.2f}",
                f"{faster.value:.2f}",
                f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})",
            ]
        )
    headings = ("video", "call", "heads", "ms", "TFLOP/s of pairs", "executed / pairs")
    return markdown_table((*headings, "× dense", "of 1 / density"), rows, text_columns=2)


def parts() -> dict[str, str]:
    """Return the generated part of docs/performance.md."""
    times = read_lines(STORED, BoxTime)
    return {"boxes": f"{boxes_table(times)}\n\n{source_of(times[-1])}"}


if __name__ == "__main__":
    sys.exit(main())
