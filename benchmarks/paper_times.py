"""Times of transformer blocks and denoising steps, and what they make of whole videos."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.parts import read_lines
from radialbench.maskgen.work import Schedule
from radialbench.records.measurement import Measurement
from radialbench.records.result import Environment
from radialbench.reports.claims import VIDEOS, Video
from radialbench.reports.markdown_tables import table
from radialbench.reports.numbers import NONE, share, three, times
from radialbench.reports.paper import PEERS, table_of
from radialbench.reports.ratio import Ratio, ratio

RADIAL = "radial"
"""What attends besides the dense kernels of `PEERS`: the authors' mask on ours, in all layers."""

STEP = "step"
"""The part that is a whole call of the transformer; other parts are its kinds of blocks."""


@dataclass(frozen=True, slots=True)
class PartTime:
    """How long a part of a transformer takes.

    Attributes:
        model: Preset of the model.
        size: Pixels and frames.
        part: `step`, or a kind of block.
        count: How many such parts a call has.
        attention: What attends: `radial`, or a dense kernel.
        mask: Label of the radial mask in the suite `paper`; `dense` for the others.
        timing: Samples, taken in turn with the other kinds of attention.
        environment: Where it ran.
        created: When, in ISO 8601 with its zone.
        attention_ms: How long attention took in each sample; empty if that is not known.
    """

    model: str
    size: str
    part: str
    count: int
    attention: str
    mask: str
    timing: Measurement
    environment: Environment
    created: str
    attention_ms: tuple[float, ...] = ()


SHOWN = ("flash", "fa3")
"""Dense kernels of the README's table: the paper's own, and one of today's."""


def read_times(path: Path) -> tuple[PartTime, ...]:
    """Read what benchmarks/paper_step.py wrote.

    Raises:
        RecordError: A line is none of its; the message has its number.
    """
    return read_lines(path, PartTime)


@dataclass(frozen=True)
class VideoTimes:
    """All parts of one video that were timed.

    Attributes:
        video: The video.
        parts: Their times.
    """

    video: Video
    parts: tuple[PartTime, ...]

    def kinds(self) -> list[str]:
        """Kinds of blocks, the first layers' kind first."""
        return list(dict.fromkeys(part.part for part in self.parts if part.part != STEP))

    def find(self, part: str, attention: str) -> PartTime | None:
        """The time of a part with one kind of attention; the last, if it was timed again."""
        for one in reversed(self.parts):
            if (one.part, one.attention) == (part, attention):
                return one
        return None

    def blocks_ms(self, attention: str) -> float | None:
        """All blocks of a call: each kind's median times its count."""
        found = [self.find(kind, attention) for kind in self.kinds()]
        known = [one.count * one.timing.median_ms for one in found if one]
        return sum(known) if known and len(known) == len(found) else None

    def call_ms(self, attention: str) -> float | None:
        """A call of the transformer: as measured, or its blocks where only they were."""
        step = self.find(STEP, attention)
        return step.timing.median_ms if step else self.blocks_ms(attention)

    def layers_ms(self, attention: str, layers: int) -> float | None:
        """The first layers of a call, which are all of the first kind."""
        if not layers:
            return 0.0
        one = self.find(self.kinds()[0], attention) if self.kinds() else None
        return layers * one.timing.median_ms if one else None

    def video_s(self, peer: str, *, radial: bool) -> float | None:
        """All steps of a video, in seconds: from calls and the schedule, not run as a whole.

        Args:
            peer: The dense kernel, also of the steps and layers that stay dense.
            radial: Whether the others attend by the mask.
        """
        schedule, calls = self.video.schedule, self.video.preset.calls
        dense, sparse = self.call_ms(peer), self.call_ms(RADIAL)
        if not radial:
            return None if dense is None else schedule.steps * calls * dense / 1e3
        still = self._still_dense_ms(peer, schedule)
        if dense is None or sparse is None or still is None:
            return None
        ms = schedule.dense_steps * dense + (schedule.steps - schedule.dense_steps) * (
            sparse + still
        )
        return calls * ms / 1e3

    def _still_dense_ms(self, peer: str, schedule: Schedule) -> float | None:
        """What the layers that stay dense add to a sparse call."""
        dense = self.layers_ms(peer, schedule.dense_layers)
        sparse = self.layers_ms(RADIAL, schedule.dense_layers)
        return None if dense is None or sparse is None else dense - sparse

    def over(self, part: str, peer: str) -> Ratio | None:
        """How many times as long a part takes with a dense kernel, by samples of one round."""
        dense, own = self.find(part, peer), self.find(part, RADIAL)
        return ratio(dense.timing, own.timing) if dense and own else None


def of_videos(times: Iterable[PartTime]) -> list[VideoTimes]:
    """Sort times by video; videos without any are left out."""
    times = list(times)
    found = [
        VideoTimes(
            video,
            tuple(one for one in times if (one.model, one.size) == (video.model, video.size)),
        )
        for video in VIDEOS
    ]
    return [one for one in found if one.parts]


def part_table(videos: Iterable[VideoTimes]) -> str:
    """Every part with radial attention beside dense kernels."""
    names = PEERS.values()
    headers = ("video", "part", "in a call", "radial ms", *(f"{name} ms" for name in names))
    headers = (*headers, *(f"over {name}" for name in names))
    body = []
    for one in videos:
        for part in dict.fromkeys(part.part for part in one.parts):
            found = {peer: one.find(part, peer) for peer in (RADIAL, *PEERS)}
            count = next(part.count for part in found.values() if part)
            over = [one.over(part, peer) for peer in PEERS]
            body.append(
                (
                    one.video.title,
                    part,
                    str(count),
                    *(NONE if p is None else three(p.timing.median_ms) for p in found.values()),
                    *(NONE if r is None else times(r.median) for r in over),
                )
            )
    return table(headers, body, words=2)


def inside_table(videos: Iterable[VideoTimes]) -> str:
    """How long attention takes within each part, and how near that is to the fastest dense one."""
    names = PEERS.values()
    headers = ("video", "part", "radial ms", *(f"{name} ms" for name in names), "of ideal")
    body = []
    for one in videos:
        density = table_of(one.video, one.video.masks[0][0]).block_density
        for part in dict.fromkeys(part.part for part in one.parts):
            found = {peer: one.find(part, peer) for peer in (RADIAL, *PEERS)}
            taken = {
                peer: median(p.attention_ms) for peer, p in found.items() if p and p.attention_ms
            }
            if RADIAL not in taken or len(taken) < 2:
                continue
            ideal = density * min(ms for peer, ms in taken.items() if peer != RADIAL)
            told = (three(taken[peer]) if peer in taken else NONE for peer in found)
            body.append((one.video.title, part, *told, share(ideal / taken[RADIAL])))
    return table(headers, body, words=2) if body else ""


def sum_table(videos: Iterable[VideoTimes]) -> str:
    """Blocks times their count beside the call that was measured whole."""
    headers = ("video", "attention", "blocks × count, ms", "whole call, ms", "blocks of the call")
    body = []
    for one in videos:
        for attention in (RADIAL, *PEERS):
            step, blocks = one.find(STEP, attention), one.blocks_ms(attention)
            if step and blocks:
                whole = step.timing.median_ms
                row = (three(blocks), three(whole), share(blocks / whole))
                body.append((one.video.title, PEERS.get(attention, attention), *row))
    return table(headers, body, words=2)


def video_table(videos: Iterable[VideoTimes]) -> str:
    """Whole videos, multiplied from calls by the schedule, beside the paper's."""
    headers = (
        *("video", "dense kernel", "from", "dense s", "radial s", "speed-up"),
        *("paper, dense s", "paper, radial s", "paper", "H100s"),
    )
    body = []
    for one in videos:
        claim = one.video.claim
        for peer, name in PEERS.items():
            dense, own = one.video_s(peer, radial=False), one.video_s(peer, radial=True)
            if dense is None or own is None:
                continue
            told = claim.seconds if peer == "flash" else None
            body.append(
                (
                    one.video.title,
                    name,
                    "whole calls" if one.find(STEP, peer) else "blocks",
                    three(dense),
                    three(own),
                    times(dense / own),
                    *((NONE, NONE) if told is None else (f"{told[0]:,.0f}", f"{told[1]:,.0f}")),
                    times(claim.speedup) if claim.speedup and peer == "flash" else NONE,
                    str(claim.gpus) if told else NONE,
                )
            )
    return table(headers, body, words=3)


def call_table(videos: Iterable[VideoTimes]) -> str:
    """Calls that were measured whole, and the videos that they add up to: the README's table."""
    over = [f"{what}, over {PEERS[peer]}" for what in ("a call", "a video") for peer in SHOWN]
    headers = ("video", "radial ms", *(f"{PEERS[peer]} ms" for peer in SHOWN), *over)
    body = []
    for one in videos:
        found = [one.find(STEP, attention) for attention in (RADIAL, *SHOWN)]
        calls = [one.over(STEP, peer) for peer in SHOWN]
        whole = [(one.video_s(p, radial=False), one.video_s(p, radial=True)) for p in SHOWN]
        if None in found or None in calls:
            continue
        body.append(
            (
                one.video.title,
                *(NONE if part is None else three(part.timing.median_ms) for part in found),
                *(NONE if ratio is None else times(ratio.median) for ratio in calls),
                *(times(dense / own) if dense and own else NONE for dense, own in whole),
            )
        )
    return table(headers, body, words=1)


def amdahl(one: VideoTimes, peer: str, *, rest: str | None = None) -> Ratio | None:
    """What share of the ideal a call reaches: a call with dense attention's time times density.

    Args:
        one: The video's times.
        peer: The dense kernel.
        rest: With which attention all but attention took as long as it takes in the ideal call:
            the dense kernel if not given, as Amdahl's law has it. With `RADIAL` both calls have the
            same rest, and what differs is the kernel alone.
    """
    dense, own, other = (one.find(STEP, name) for name in (peer, RADIAL, rest or peer))
    if dense is None or own is None or other is None:
        return None
    if not dense.attention_ms or not other.attention_ms:
        return None
    density = table_of(one.video, own.mask).density
    samples = zip(other.timing.samples_ms, other.attention_ms, dense.attention_ms, strict=True)
    ideal = tuple(whole - apart + density * attention for whole, apart, attention in samples)
    return ratio(replace(other.timing, samples_ms=ideal), own.timing)
