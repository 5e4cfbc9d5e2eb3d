"""The radial attention paper's figures beside ours: work, sparsity and attention kernels."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.table import BlockTable
from radialbench.maskgen.work import call_work, video_work
from radialbench.records.result import Record
from radialbench.reports.columns import cell
from radialbench.reports.doc_tables import OURS, find, row_of
from radialbench.reports.paper_reference import FIRST, RELEASED, VIDEOS, Video
from radialbench.reports.rows import DENSE, speedup, total_ms
from radialbench.reports.text import EMPTY_CELL, format_percent, format_ratio

PEERS = {"flash": "FA2", "cudnn": "cuDNN", "fa3": "FA3", "fa4": "FA4"}
"""Dense kernels that attention is compared with; the paper's own baseline is FA2."""

VARIANTS = {RELEASED: "released", FIRST: "first"}

PETA = 1e15


@lru_cache(maxsize=32)
def table_of(video: Video, variant: str) -> BlockTable:
    """Compile a variant of a video's mask into blocks of 128."""
    return compile_mask(video.mask(variant), video.grid)


def dense_pflop(video: Video) -> float:
    """Return the operations of a video with dense attention, in 10¹⁵."""
    return video_work(video.preset, video.grid, video.schedule) / PETA


def pflop(video: Video, variant: str, *, visited: bool) -> float:
    """Return the same with a variant of the mask: of its pairs, or of the visited blocks."""
    tables = (table_of(video, variant),)
    return video_work(video.preset, video.grid, video.schedule, tables, visited=visited) / PETA


WORK = (
    *("video", "mask", "tokens", "self-attention of all", "dense PFLOP", "paper"),
    *("PFLOP of pairs", "PFLOP of blocks", "paper", "saved", "paper", "dense over blocks"),
)
"""Columns of the exact operations of whole videos."""


def work_rows(videos: Iterable[Video]) -> list[tuple[str, ...]]:
    """Return the operations of whole videos beside the paper's."""
    return [_work_row(video, variant) for video in videos for variant, _ in video.masks]


def _work_row(video: Video, variant: str) -> tuple[str, ...]:
    call, claim, dense = call_work(video.preset, video.grid), video.claim, dense_pflop(video)
    saved = claim.dense_pflop - claim.pflop if claim.dense_pflop and claim.pflop else None
    blocks = pflop(video, variant, visited=True)
    return (
        video.title,
        VARIANTS[variant],
        f"{video.grid.seq_len:,}",
        format_percent(call.self_attention / call.total),
        f"{dense:,.1f}",
        _whole(claim.dense_pflop),
        f"{pflop(video, variant, visited=False):,.1f}",
        f"{blocks:,.1f}",
        _whole(claim.pflop),
        f"{dense - blocks:,.1f}",
        _whole(saved),
        format_ratio(dense / blocks),
    )


def _whole(value: float | None) -> str:
    return EMPTY_CELL if value is None else f"{value:,.0f}"


SPARSITY = (
    *("video", "mask", "decay", "sparsity of pairs", "of blocks", "paper"),
    *("attention saved", "paper"),
)
"""Columns of the sparsity of the authors' mask."""


def sparsity_rows(videos: Iterable[Video]) -> list[tuple[str, ...]]:
    """Return the sparsity of each variant of the authors' mask, beside the paper's."""
    return [_sparsity_row(video, variant) for video in videos for variant, _ in video.masks]


def _sparsity_row(video: Video, variant: str) -> tuple[str, ...]:
    found, claim = table_of(video, variant), video.claim
    return (
        video.title,
        VARIANTS[variant],
        f"{video.decay:g}",
        format_percent(1 - found.density),
        format_percent(1 - found.block_density),
        EMPTY_CELL if claim.sparsity is None else format_percent(claim.sparsity),
        format_ratio(1 / found.block_density),
        EMPTY_CELL if claim.saved is None else f"{claim.saved:g}×",
    )


ATTENTION = (
    *("video", "mask", "kernel", "ms", "blocks of dense", "over FA2", "over cuDNN", "over FA3"),
    *("over FA4", "of ideal", "paper, whole video"),
)
"""Columns of the measured kernels. Ideal is the fastest dense kernel's time times the blocks."""


def attention_rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Return every mask of every video on our fastest kernel, over each dense kernel.

    Videos without a time are left out.
    """
    return [row for video in VIDEOS for row in _video_rows(video, records)]


def _video_rows(video: Video, records: Sequence[Record]) -> list[tuple[str, ...]]:
    timed = [record for record in records if record.timing and record.group == video.group]
    masks = dict.fromkeys(record.mask for record in timed)
    rows = []
    for mask in masks:
        own = [record for record in timed if record.mask == mask and record.backend in OURS]
        if not own:
            continue
        best = min(own, key=lambda record: total_ms(record).value)
        peers = {peer: find(timed, video.group, DENSE, peer) for peer in PEERS}
        over = {peer: speedup(dense, best) if dense else None for peer, dense in peers.items()}
        fastest = min((found.value for found in over.values() if found), default=0.0)
        assert best.table
        reached = fastest * best.table.block_density
        claim = video.claim.speedup if mask.name == video.masks[0][0] else None
        rows.append(
            (
                video.title,
                mask.label,
                best.backend or "",
                cell(row_of(best), "{latency_ms}"),
                cell(row_of(best), "{block_density}"),
                *(
                    EMPTY_CELL if found is None else format_ratio(found.value)
                    for found in over.values()
                ),
                format_percent(reached) if reached else EMPTY_CELL,
                EMPTY_CELL if claim is None else format_ratio(claim),
            )
        )
    return rows
