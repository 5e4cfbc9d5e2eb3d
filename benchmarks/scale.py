"""Replay tables over ranks: balance, hops, bytes, and the time of a model of machines.

    python -m benchmarks.scale         # about five minutes on one core
    python -m benchmarks.pages scale

Nothing is measured. benchmarks/results/scale.jsonl holds what is computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from benchmarks.parts import RESULTS, read_lines
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.maskgen.table import BlockTable
from radialbench.parallel.plan import ParallelPlan, plan_parallel
from radialbench.records.codec import to_json
from radialbench.reports.text import EMPTY_CELL, markdown_table

STORED = RESULTS / "scale.jsonl"

VIDEOS = {"W1": (TokenGrid(21, 45, 80), 40), "H4": (TokenGrid(129, 45, 80), 24)}
"""Tokens and heads of docs/performance.md's shapes."""

MASKS = ("dense", "radial", "radial_blocks", "sta", "svg_spatial", "svg_temporal")
PLAN = "plan"
"""The name of a head plan: the first fifth of the heads dense, the others radial."""

RANKS = (8, 16, 32, 64, 128, 256, 512)
SHOWN = (8, 64, 512)
HEAD_DIM, BYTES = 128, 2


@dataclass(frozen=True, slots=True)
class Machine:
    """What is assumed of GPUs and links.

    Attributes:
        flops: Operations that a kernel does in a second, on the blocks it visits.
        host: Bytes a second from a GPU to those of its host.
        network: Bytes a second from a GPU to those of other hosts.
        message: Seconds that a message takes besides its bytes.
        gpus: GPUs of a host.
    """

    flops: float = 600e12
    host: float = 450e9
    network: float = 50e9
    message: float = 10e-6
    gpus: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One way to deal a video's attention out, forward, as a plan says.

    Attributes:
        video: Its name in `VIDEOS`.
        mask: The mask.
        ranks: Number of ranks.
        ulysses: Those that exchange heads.
        load: Visited blocks of the busiest rank, over the mean.
        load_by_number: The same where neighbouring heads are dealt out in equal numbers.
        cut: Visited blocks of all ranks, over those of the whole tables.
        skipped: Share of the ring's hops that no rank takes; None without a ring.
        sent: Most bytes that a rank sends.
        sent_whole: The same without skipping.
        efficiency: Computed time on one GPU, over ranks times that of the slowest.
    """

    video: str
    mask: str
    ranks: int
    ulysses: int
    load: float
    load_by_number: float
    cut: float
    skipped: float | None
    sent: int
    sent_whole: int
    efficiency: float

    @property
    def way(self) -> str:
        """Ulysses, ring, or both."""
        if self.ulysses == 1:
            return "ring"
        return "Ulysses" if self.ulysses == self.ranks else f"Ulysses {self.ulysses} × ring"


def load_by_number(plan: ParallelPlan) -> float:
    """Return the load where neighbouring heads are dealt out in equal numbers, as far as they go.

    The busiest rank's blocks over the mean.
    """
    by_shard = plan.blocks.sum(axis=2)
    parts = np.array_split(np.arange(plan.kv_heads), plan.ulysses)
    visited = np.array([by_shard[part].sum(axis=0) for part in parts])
    return float(visited.max() / visited.mean())


def swapped(plan: ParallelPlan) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """[ranks, ulysses] bytes that Ulysses sends to each member of the group, itself left out."""
    heads = np.array([len(own) for own in plan.dealt])
    queries = heads * plan.shared
    lengths = np.array(plan.lengths)
    sent = np.zeros((plan.ranks, plan.ulysses), np.int64)
    for rank in range(plan.ranks):
        place, first = rank % plan.ulysses, rank - rank % plan.ulysses
        theirs = lengths[first : first + plan.ulysses]
        # q, k and v of its tokens for their heads; out of its heads for their tokens.
        sent[rank] = (queries + 2 * heads) * lengths[rank] + queries[place] * theirs
        sent[rank, place] = 0
    return sent * HEAD_DIM * BYTES


def replay(plan: ParallelPlan, machine: Machine, *, skip: bool = True) -> tuple[float, int]:
    """Return the seconds of the slowest rank, and the most bytes that a rank sends.

    Ulysses waits for its messages. In the ring those of the next step travel while a step is
    computed, and a message starts when both ranks have come to it.
    """
    ring, ulysses = plan.ring, plan.ulysses
    block = 4 * plan.table.block_m * plan.table.block_n * HEAD_DIM / machine.flops
    shard, place = np.divmod(np.arange(plan.ranks), ulysses)
    by_place = np.stack([plan.blocks[list(own)].sum(axis=0) for own in plan.dealt])
    needs = np.stack([(plan.blocks[list(own)] > 0).sum(axis=0) for own in plan.dealt])
    if not skip:
        needs[:] = np.array([len(own) for own in plan.dealt])[:, None, None]
    per_head = 2 * plan.longest * HEAD_DIM * BYTES
    swaps = swapped(plan)
    sent = swaps.sum(axis=1)
    near = np.arange(ulysses) + (np.arange(plan.ranks) - place)[:, None]
    local = near // machine.gpus == (np.arange(plan.ranks) // machine.gpus)[:, None]
    exchange = np.maximum(
        (swaps * local).sum(axis=1) / machine.host, (swaps * ~local).sum(axis=1) / machine.network
    )
    if ulysses > 1:
        exchange += 2 * machine.message
    ready = exchange
    computed = by_place[place, shard, shard] * block
    for step in range(1, ring):
        source, reader = (shard + step) % ring, (shard - step) % ring
        peers = source * ulysses + place, reader * ulysses + place
        comes = needs[place, shard, source] * per_head
        goes = needs[place, reader, shard] * per_head
        sent = sent + goes
        same_host = peers[0] // machine.gpus == np.arange(plan.ranks) // machine.gpus
        width = np.where(same_host, machine.host, machine.network)
        moves = comes + goes > 0
        travel = (np.maximum(comes, goes) / width + machine.message) * moves
        posted = np.maximum(ready, ready[peers[0]] * (comes > 0))
        posted = np.maximum(posted, ready[peers[1]] * (goes > 0))
        ready = np.maximum(ready + computed, (posted + travel) * moves)
        computed = by_place[place, shard, source] * block
    return float((ready + computed).max()), int(sent.max())


def ways(ranks: int, heads: int) -> list[int]:
    """Return how many ranks exchange heads: one, as many as fit a host evenly, and all."""
    return sorted({1, gcd(ranks, heads, Machine().gpus), ranks if ranks <= heads else 1})


def replayed(video: str, mask: str, table: AnyTable, ranks: int, ulysses: int) -> Replayed:
    """Compute one row."""
    heads = VIDEOS[video][1]
    machine = Machine()
    plan = plan_parallel(table, ranks, heads, ulysses=ulysses)
    visited = plan.visited()
    whole = table.nnz if isinstance(table, HeadTables) else heads * table.nnz
    seconds, sent = replay(plan, machine)
    alone = 4 * table.block_m * table.block_n * HEAD_DIM * whole / machine.flops
    skipped = None
    if plan.ring > 1:
        hops = np.stack([plan.blocks[list(own)].any(axis=0) for own in plan.dealt])
        others = ~np.eye(plan.ring, dtype=bool)
        skipped = float(1 - hops[:, others].mean())
    return Replayed(
        video=video,
        mask=mask,
        ranks=ranks,
        ulysses=ulysses,
        load=float(visited.max() / visited.mean()),
        load_by_number=load_by_number(plan),
        cut=float(visited.sum() / whole),
        skipped=skipped,
        sent=sent,
        sent_whole=replay(plan, machine, skip=False)[1],
        efficiency=alone / (ranks * seconds),
    )


def tables(video: str) -> Iterator[tuple[str, AnyTable]]:
    """Yield the masks of a video, and their tables."""
    grid, heads = VIDEOS[video]
    made: dict[str, BlockTable] = {}
    for mask in MASKS:
        made[mask] = compile_mask(mask, grid)
        yield mask, made[mask]
    dense = heads // 5
    groups = (0,) * dense + (1,) * (heads - dense)
    yield PLAN, HeadTables((made["dense"], made["radial"]), groups)


def parts() -> dict[str, str]:
    """Return the tables of docs/scale.md."""
    rows = read_lines(STORED, Replayed)
    return {f"scale-{video}": video_table(rows, video) for video in VIDEOS} | {
        "scale-limits": limits_table(rows)
    }


def video_table(rows: Sequence[Replayed], video: str) -> str:
    """Return the rows of some numbers of ranks."""
    body = [
        [
            row.mask,
            str(row.ranks),
            row.way,
            f"{row.load:.2f}",
            f"{row.load_by_number:.2f}",
            f"{row.cut:.2f}",
            EMPTY_CELL if row.skipped is None else f"{row.skipped:.0%}",
            f"{row.sent / 2**20:,.0f}",
            f"{row.sent_whole / 2**20:,.0f}",
            f"{row.efficiency:.0%}",
        ]
        for row in rows
        if row.video == video and row.ranks in SHOWN
    ]
    headers = ["mask", "ranks", "way", "load", "by number", "cut", "hops skipped"]
    headers += ["MiB sent", "all hops", "efficiency"]
    return markdown_table(headers, body, text_columns=3)


def limits_table(rows: Sequence[Replayed]) -> str:
    """Return the most ranks with a computed efficiency of 80%, of each mask and way."""
    names = ("ring", "Ulysses", "both")
    body = []
    for video in VIDEOS:
        for mask in (*MASKS, PLAN):
            cells = []
            for name in names:
                good = [
                    row.ranks
                    for row in rows
                    if (row.video, row.mask) == (video, mask)
                    and (row.way if row.way in names else "both") == name
                    and row.efficiency >= 0.8
                ]
                cells.append(str(max(good)) if good else EMPTY_CELL)
            body.append([video, mask, *cells])
    return markdown_table(["video", "mask", *names], body, text_columns=2)


def main() -> None:
    """Compute all rows."""
    lines = []
    for video in VIDEOS:
        for mask, table in tables(video):
            for ranks in RANKS:
                for ulysses in ways(ranks, VIDEOS[video][1]):
                    row = replayed(video, mask, table, ranks, ulysses)
                    lines.append(to_json(row))
                    print(video, mask, ranks, row.way, f"{row.efficiency:.0%}", flush=True)
    STORED.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
