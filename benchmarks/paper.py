"""Compare the radial attention paper's figures with what we compute and measure.

    radialbench run paper -o results/paper                       # attention
    python -m benchmarks.paper_step -o results/paper_step.jsonl  # blocks and steps; see there
    python -m benchmarks.pages paper                             # docs/paper.md

The page is computed from the masks and models, and from benchmarks/results/paper.jsonl and
paper_step.jsonl.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.parts import RESULTS, PerformanceTarget, Timed, read_lines, source_of, target_table
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.work import call_work
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate
from radialbench.records.store import read
from radialbench.reports import paper as figures
from radialbench.reports.doc_tables import find
from radialbench.reports.paper_reference import VIDEOS, Video
from radialbench.reports.rows import DENSE, interleaved_ratio, speedup
from radialbench.reports.text import (
    EMPTY_CELL,
    format_percent,
    format_ratio,
    format_sig3,
    markdown_table,
)

RECORDS = RESULTS / "paper.jsonl"
TIMES = RESULTS / "paper_step.jsonl"

RADIAL = "radial"
"""Attention with the authors' mask on our kernel, in all layers; others are dense, of `PEERS`."""

STEP = "step"
"""The part that is a whole call of the transformer; other parts are kinds of blocks."""


@dataclass(frozen=True, slots=True)
class PartTime(Timed):
    """The time of one part of a transformer, sampled in turn with the other kinds of attention.

    The part is `step`, or a kind of block that a call has `count` times; attention is `radial` or
    a dense kernel. `attention_ms` has one value per sample; it is empty where unknown.
    """

    model: str
    size: str
    part: str
    count: int
    attention: str
    mask: str
    attention_ms: tuple[float, ...] = ()


SHOWN = ("flash", "fa3")
"""Dense kernels of the README's table: the paper's, and a current one."""


@dataclass(frozen=True, slots=True)
class VideoTimes:
    """All timed parts of one video."""

    video: Video
    parts: tuple[PartTime, ...]

    def kinds(self) -> list[str]:
        """Return the kinds of blocks, the first layers' kind first."""
        return list(dict.fromkeys(part.part for part in self.parts if part.part != STEP))

    def find(self, part: str, attention: str) -> PartTime | None:
        """Return the last timing of a part with one kind of attention."""
        found = (p for p in reversed(self.parts) if (p.part, p.attention) == (part, attention))
        return next(found, None)

    def blocks_ms(self, attention: str) -> float | None:
        """Return the time of all blocks of a call: each kind's median times its count."""
        found = [self.find(kind, attention) for kind in self.kinds()]
        known = [one.count * one.timing.median_ms for one in found if one]
        return sum(known) if known and len(known) == len(found) else None

    def call_ms(self, attention: str) -> float | None:
        """Return the time of a call of the transformer, measured whole or as its blocks."""
        step = self.find(STEP, attention)
        return step.timing.median_ms if step else self.blocks_ms(attention)

    def video_s(self, peer: str, *, radial: bool) -> float | None:
        """Return the time of all steps of a video, computed from calls and the schedule.

        Steps and layers that stay dense use the same dense kernel.
        """
        schedule, calls = self.video.schedule, self.video.preset.calls
        dense, sparse = self.call_ms(peer), self.call_ms(RADIAL)
        if not radial:
            return None if dense is None else schedule.steps * calls * dense / 1e3
        still = self._still_dense_ms(peer)
        if dense is None or sparse is None or still is None:
            return None
        sparse_steps = schedule.steps - schedule.dense_steps
        return calls * (schedule.dense_steps * dense + sparse_steps * (sparse + still)) / 1e3

    def video_ratio(self, peer: str) -> Estimate | None:
        """Return how many times as long a video takes with a dense kernel alone."""
        dense, own = self.video_s(peer, radial=False), self.video_s(peer, radial=True)
        return Estimate(dense / own) if dense and own else None

    def _still_dense_ms(self, peer: str) -> float | None:
        """Return the time that layers that stay dense add to a sparse call."""
        layers, kinds = self.video.schedule.dense_layers, self.kinds()
        if not layers:
            return 0.0
        dense, own = (self.find(kinds[0], name) if kinds else None for name in (peer, RADIAL))
        return layers * (dense.timing.median_ms - own.timing.median_ms) if dense and own else None

    def over(self, part: str, peer: str) -> Estimate | None:
        """Return the paired ratio of a part's times, dense kernel over radial."""
        dense, own = self.find(part, peer), self.find(part, RADIAL)
        return interleaved_ratio(dense.timing, own.timing) if dense and own else None


def of_videos(times: Iterable[PartTime]) -> list[VideoTimes]:
    """Group times by video; videos without times are left out."""
    parts: dict[tuple[str, str], list[PartTime]] = {}
    for one in times:
        parts.setdefault((one.model, one.size), []).append(one)
    keys = ((video, (video.model, video.size)) for video in VIDEOS)
    return [VideoTimes(video, tuple(parts[key])) for video, key in keys if key in parts]


def _ms(part: PartTime | None) -> str:
    return format_sig3(part.timing.median_ms) if part else EMPTY_CELL


def _times(ratio: Estimate | None) -> str:
    return format_ratio(ratio.value) if ratio else EMPTY_CELL


def part_table(videos: Iterable[VideoTimes]) -> str:
    """Format every part's time with radial attention and with dense kernels."""
    names = figures.PEERS.values()
    headers = ("video", "part", "in a call", "radial ms", *(f"{name} ms" for name in names))
    headers = (*headers, *(f"over {name}" for name in names))
    body = []
    for one in videos:
        for part in dict.fromkeys(part.part for part in one.parts):
            found = {peer: one.find(part, peer) for peer in (RADIAL, *figures.PEERS)}
            count = next(part.count for part in found.values() if part)
            over = map(_times, (one.over(part, peer) for peer in figures.PEERS))
            body.append((one.video.title, part, str(count), *map(_ms, found.values()), *over))
    return markdown_table(headers, body, text_columns=2)


def inside_table(videos: Iterable[VideoTimes]) -> str:
    """Format the time of attention within each part, and its share of the ideal."""
    names = figures.PEERS.values()
    headers = ("video", "part", "radial ms", *(f"{name} ms" for name in names), "of ideal")
    body = []
    for one in videos:
        density = figures.table_of(one.video, one.video.masks[0][0]).block_density
        for part in dict.fromkeys(part.part for part in one.parts):
            found = {peer: one.find(part, peer) for peer in (RADIAL, *figures.PEERS)}
            taken = {
                peer: median(p.attention_ms) for peer, p in found.items() if p and p.attention_ms
            }
            if RADIAL not in taken or len(taken) < 2:
                continue
            ideal = density * min(ms for peer, ms in taken.items() if peer != RADIAL)
            shown = (format_sig3(taken[peer]) if peer in taken else EMPTY_CELL for peer in found)
            body.append((one.video.title, part, *shown, format_percent(ideal / taken[RADIAL])))
    return markdown_table(headers, body, text_columns=2)


def sum_table(videos: Iterable[VideoTimes]) -> str:
    """Format blocks times their count beside the call that was measured whole."""
    headers = ("video", "attention", "blocks × count, ms", "whole call, ms", "blocks of the call")
    body = []
    for one in videos:
        for attention in (RADIAL, *figures.PEERS):
            step, blocks = one.find(STEP, attention), one.blocks_ms(attention)
            if step and blocks:
                whole = step.timing.median_ms
                row = (format_sig3(blocks), format_sig3(whole), format_percent(blocks / whole))
                body.append((one.video.title, figures.PEERS.get(attention, attention), *row))
    return markdown_table(headers, body, text_columns=2)


def video_table(videos: Iterable[VideoTimes]) -> str:
    """Format whole videos, computed from calls and the schedule, beside the paper's."""
    headers = (
        *("video", "dense kernel", "from", "dense s", "radial s", "speed-up"),
        *("paper, dense s", "paper, radial s", "paper", "H100s"),
    )
    body = []
    for one in videos:
        claim = one.video.claim
        for peer, name in figures.PEERS.items():
            dense, own = one.video_s(peer, radial=False), one.video_s(peer, radial=True)
            if dense is None or own is None:
                continue
            claimed_s = claim.seconds if peer == "flash" else None
            paper_ratio = claim.speedup if peer == "flash" else None
            body.append(
                (
                    one.video.title,
                    name,
                    "whole calls" if one.find(STEP, peer) else "blocks",
                    format_sig3(dense),
                    format_sig3(own),
                    format_ratio(dense / own),
                    *((f"{s:,.0f}" for s in claimed_s) if claimed_s else (EMPTY_CELL, EMPTY_CELL)),
                    format_ratio(paper_ratio) if paper_ratio else EMPTY_CELL,
                    str(claim.gpus) if claimed_s else EMPTY_CELL,
                )
            )
    return markdown_table(headers, body, text_columns=3)


def call_table(videos: Iterable[VideoTimes]) -> str:
    """Format the README's table: calls that were measured whole, and their videos."""
    over = [
        f"{what}, over {figures.PEERS[peer]}" for what in ("a call", "a video") for peer in SHOWN
    ]
    headers = ("video", "radial ms", *(f"{figures.PEERS[peer]} ms" for peer in SHOWN), *over)
    body = []
    for one in videos:
        found = [one.find(STEP, attention) for attention in (RADIAL, *SHOWN)]
        calls = [one.over(STEP, peer) for peer in SHOWN]
        whole = [one.video_ratio(peer) for peer in SHOWN]
        if None not in found and None not in calls:
            cells = (*map(_ms, found), *map(_times, calls), *map(_times, whole))
            body.append((one.video.title, *cells))
    return markdown_table(headers, body, text_columns=1)


def amdahl(one: VideoTimes, peer: str, *, rest: str | None = None) -> Estimate | None:
    """Return the share of the ideal that a call reaches: dense attention's time times density.

    The time of all but attention is that of the dense call, as in Amdahl's law, or of the call
    `rest`: with `RADIAL` both calls have the same rest, and only the kernel differs.
    """
    dense, own, other = (one.find(STEP, name) for name in (peer, RADIAL, rest or peer))
    if dense is None or own is None or other is None:
        return None
    if not dense.attention_ms or not other.attention_ms:
        return None
    density = figures.table_of(one.video, own.mask).density
    samples = zip(other.timing.samples_ms, other.attention_ms, dense.attention_ms, strict=True)
    ideal = tuple(whole - own_ms + density * dense_ms for whole, own_ms, dense_ms in samples)
    return interleaved_ratio(replace(other.timing, samples_ms=ideal), own.timing)


BY_NAME = {(video.model, video.length): video for video in VIDEOS}
HUNYUAN = BY_NAME["hunyuanvideo", 1]
WAN = BY_NAME["wan2.1-14b", 1]


def reasons() -> str:
    """Return the list of explanations; every figure in it is computed or the paper's."""
    twice, fourfold = BY_NAME["hunyuanvideo", 2], BY_NAME["hunyuanvideo", 4]
    wan_twice = BY_NAME["wan2.1-14b", 2]
    videos = {"wan": WAN, "hunyuan": HUNYUAN, "twice": twice, "fourfold": fourfold}
    facts = {name: _figures(one) for name, one in (videos | {"wan_twice": wan_twice}).items()}
    work, calls = call_work(WAN.preset, WAN.grid), WAN.schedule.steps * WAN.preset.calls
    text = (
        Path(__file__)
        .with_suffix(".txt")
        .read_text(encoding="utf-8")
        .format(
            **facts,
            wan_one_call=figures.dense_pflop(WAN) / WAN.preset.calls,
            wan_bare=calls * (work.total - work.other) / figures.PETA,
            wan_needed=_needed(WAN, WAN.schedule.dense_layers),
            wan_blocks=_without_sink("radial_blocks"),
            wan_pairs=_without_sink("radial_published"),
            hunyuan_more=claimed(HUNYUAN)[0] - figures.dense_pflop(HUNYUAN),
            hunyuan_needed=[_needed(HUNYUAN, dense_layers) for dense_layers in (0, 1)],
            wan_twice_paper=format_percent(wan_twice.claim.sparsity or 0),
        )
    )
    return "\n".join(f"- {' '.join(part.split())}" for part in text.split("\n\n"))


def _figures(video: Video) -> dict[str, Any]:
    """Return figures of a video, of each variant of its mask, and the paper's of its work."""
    found: dict[str, Any] = {"video": video, "dense": figures.dense_pflop(video)}
    for mask, name in figures.VARIANTS.items():
        share = figures.table_of(video, mask).block_density
        saved = found["dense"] - figures.pflop(video, mask, visited=True)
        sparsity = format_percent(1 - share)
        found[name] = {"saved": saved, "sparsity": sparsity, "less": 1 / share}
    return found | ({"paper": claimed(video)} if video.claim.pflop else {})


def _needed(video: Video, dense_layers: int) -> str:
    """Return the sparsity of the sparse layers that saves as much as the paper says."""
    model, schedule, (_, saved) = video.preset, video.schedule, claimed(video)
    sparse = (schedule.steps - schedule.dense_steps) * (model.layers - dense_layers)
    layer = call_work(model, video.grid).self_attention / model.layers
    return format_percent(saved * figures.PETA / (model.calls * sparse * layer))


def claimed(video: Video) -> tuple[float, float]:
    """Return the paper's PFLOP of a video with dense attention, and those that radial saves."""
    dense, radial = video.claim.dense_pflop, video.claim.pflop
    assert dense is not None and radial is not None
    return dense, dense - radial


def _without_sink(name: str) -> str:
    mask = load_mask(f"{name}:wan_first", decay=WAN.decay, sink_frames=0, empty_rows="own_block")
    return format_percent(1 - compile_mask(mask, WAN.grid).density)


def kernel_target(records: Sequence[Record], video: Video, peer: str) -> PerformanceTarget:
    """Return the target of radial attention against a dense kernel's time × density."""
    own = find(records, video.group, video.masks[0][0], "hopper")
    dense = find(records, video.group, DENSE, peer)
    reached = None
    if dense and own and own.table:
        reached = speedup(dense, own).times(own.table.density)
    text = f"{video.title}: attention of dense {figures.PEERS[peer]} × density"
    return PerformanceTarget(text, 0.97, reached)


AGAINST_FA2 = {("hunyuanvideo", 1): 2.3, ("hunyuanvideo", 4): 4.5}
"""How much faster a whole video should be than on FA2."""


def step_targets(videos: Sequence[VideoTimes]) -> list[PerformanceTarget]:
    """Return the targets of steps against Amdahl's law, and of whole videos against FA2."""
    lines = {None: "step of Amdahl's law", RADIAL: "the same with the radial call's own rest"}
    targets = [
        PerformanceTarget(
            f"{one.video.title}: {what}, over {figures.PEERS[peer]}",
            0.97,
            amdahl(one, peer, rest=rest),
        )
        for rest, what in lines.items()
        for one in videos
        for peer in figures.PEERS
        if one.find(STEP, peer)
    ]
    for one in videos:
        bound = AGAINST_FA2.get((one.video.model, one.video.length))
        ratio = one.video_ratio("flash")
        if bound and ratio:
            targets.append(PerformanceTarget(f"{one.video.title}: video over FA2", bound, ratio))
    return targets


def parts() -> dict[str, str]:
    """Return each generated part of the page by its name."""
    records, timed = read(RECORDS).records, read_lines(TIMES, PartTime)
    videos = of_videos(timed)
    attention = markdown_table(figures.ATTENTION, figures.attention_rows(records), text_columns=3)
    tables = (part_table(videos), inside_table(videos), sum_table(videos))
    targets = [kernel_target(records, video, peer) for video in VIDEOS for peer in ("cudnn", "fa3")]
    return {
        "work": markdown_table(figures.WORK, figures.work_rows(VIDEOS), text_columns=2),
        "sparsity": markdown_table(figures.SPARSITY, figures.sparsity_rows(VIDEOS), text_columns=2),
        "reasons": reasons(),
        "attention": f"{attention}\n\n{source_of(records[-1])}",
        "steps": "\n\n".join((*tables, source_of(timed[-1]))),
        "videos": video_table(videos),
        "targets": target_table([*targets, *step_targets(videos)]),
    }
