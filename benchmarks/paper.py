"""Put the radial attention paper's figures beside what we compute and measure.

    radialbench run paper -o results/paper                       # attention
    python -m benchmarks.paper_step -o results/paper_step.jsonl  # blocks and steps; see there
    python -m benchmarks.paper                                   # write docs/paper.md
    python -m benchmarks.paper --check                           # exit with 1 if it differs

The page is made of the masks and models themselves and of benchmarks/results/paper.jsonl and
paper_step.jsonl; what was not measured yet is not on it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper_reasons import reasons
from benchmarks.paper_times import (
    RADIAL,
    STEP,
    VideoTimes,
    amdahl,
    inside_table,
    of_videos,
    part_table,
    read_times,
    sum_table,
    video_table,
)
from benchmarks.parts import filled, rewrite, told
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate
from radialbench.records.store import read
from radialbench.reports.claims import VIDEOS, Video
from radialbench.reports.kernels import Target, find, target_table
from radialbench.reports.paper import (
    PEERS,
    attention_table,
    sparsity_table,
    work_table,
)
from radialbench.reports.rows import DENSE
from radialbench.reports.times import speedup

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "paper.md"
RECORDS = ROOT / "benchmarks" / "results" / "paper.jsonl"
TIMES = ROOT / "benchmarks" / "results" / "paper_step.jsonl"
NOT_YET = "Not measured yet."


def kernel_target(video: Video, peer: str) -> Target:
    """Attention with the radial mask against a dense kernel's time × density."""

    def of(records: Sequence[Record]) -> Estimate | None:
        own = find(records, video.group, video.masks[0][0], "hopper")
        dense = find(records, video.group, DENSE, peer)
        if dense is None or own is None or own.table is None:
            return None
        return speedup(dense, own).times(own.table.density)

    return Target(f"{video.title}: attention of dense {PEERS[peer]} × density", 0.97, of)


def step_targets(videos: Sequence[VideoTimes]) -> list[Target]:
    """A step against Amdahl's law, and whole videos against FA2."""
    steps = [
        _step_target(one, peer, rest)
        for rest in (None, RADIAL)
        for one in videos
        for peer in PEERS
        if one.find(STEP, peer)
    ]
    return [*steps, *filter(None, map(_video_target, videos))]


def _step_target(one: VideoTimes, peer: str, rest: str | None) -> Target:
    what = "step of Amdahl's law" if rest is None else "the same with the radial call's own rest"
    text = f"{one.video.title}: {what}, over {PEERS[peer]}"
    return Target(text, 0.97, lambda _: amdahl(one, peer, rest=rest))


AGAINST_FA2 = {("hunyuanvideo", 1): 2.3, ("hunyuanvideo", 4): 4.5}
"""How much faster a whole video should be than on FA2."""


def _video_target(one: VideoTimes) -> Target | None:
    bound = AGAINST_FA2.get((one.video.model, one.video.length))
    dense, own = one.video_s("flash", radial=False), one.video_s("flash", radial=True)
    if not bound or not dense or not own:
        return None
    found = Estimate(dense / own)
    return Target(f"{one.video.title}: video over FA2", bound, lambda _: found)


def parts() -> dict[str, str]:
    """Give each generated part of the page by its name."""
    records = read(RECORDS).records if RECORDS.exists() else ()
    times = read_times(TIMES) if TIMES.exists() else ()
    videos = of_videos(times)
    made = (part_table(videos), inside_table(videos), sum_table(videos))
    steps = list(filter(None, made)) if times else [NOT_YET]
    if times:
        steps.append(told(times[-1]))
    attention = f"{attention_table(records)}\n\n{told(records[-1])}" if records else NOT_YET
    targets = [*(kernel_target(video, peer) for video in VIDEOS for peer in ("cudnn", "fa3"))]
    targets += step_targets(videos)
    return {
        "work": work_table(),
        "sparsity": sparsity_table(),
        "reasons": reasons(),
        "attention": attention,
        "steps": "\n\n".join(steps),
        "videos": video_table(videos) if times else NOT_YET,
        "targets": target_table(records, targets) if records or times else NOT_YET,
    }


def written(text: str) -> str:
    """Put the parts into the page."""
    return filled(text, parts(), maker="benchmarks/paper.py")


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description="The paper's figures beside ours.")
    parser.add_argument("--check", action="store_true", help="compare the page with its sources")
    options = parser.parse_args()
    return rewrite(PAGE, written, check=options.check)


if __name__ == "__main__":
    sys.exit(main())
