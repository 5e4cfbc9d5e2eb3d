"""The radial attention paper's figures beside those of a run of the suite `paper`."""

from radialbench.reports.claims import PAPER, VIDEOS
from radialbench.reports.page._html import table
from radialbench.reports.paper import (
    ATTENTION,
    SPARSITY,
    WORK,
    attention_rows,
    sparsity_rows,
    work_rows,
)
from radialbench.reports.summary import Summary

SUITE = "paper"

ABOUT = (
    f"Attention alone, where the last column is what {PAPER} says of whole videos over FA2: dense "
    "steps, dense layers and all that is not attention lie between the two. Then what is counted, "
    "not measured: the work of whole videos, and what the masks leave out."
)


def beside_the_paper(summary: Summary) -> list[str]:
    """Give the tables; nothing if the results are of other suites, or have no times."""
    if SUITE not in summary.suites:
        return []
    records = [row.record for row in summary.timed if row.record.suite == SUITE]
    rows = attention_rows(records)
    if not rows:
        return []
    groups = {record.group for record in records}
    videos = [video for video in VIDEOS if video.group in groups]
    times = "Each mask on our fastest kernel, over dense kernels: samples taken in turn."
    work = "Operations of whole videos in 10¹⁵, exact: all steps, by the paper's schedule."
    sparsity = "Sparsity of the authors' mask, as released now and first, text counted."
    return [
        table("paper-attention", times, ATTENTION, rows, words=3),
        table("paper-work", work, WORK, work_rows(videos), words=2),
        table("paper-sparsity", sparsity, SPARSITY, sparsity_rows(videos), words=2),
    ]
