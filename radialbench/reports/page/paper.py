"""The radial attention paper's figures beside those of a run of the suite `paper`."""

from radialbench.reports.claims import PAPER
from radialbench.reports.page._html import table
from radialbench.reports.paper import ATTENTION, attention_rows
from radialbench.reports.summary import Summary

SUITE = "paper"

ABOUT = (
    f"Attention alone, where the last column is what {PAPER} says of whole videos over FA2: dense "
    "steps, dense layers and all that is not attention lie between the two."
)


def beside_the_paper(summary: Summary) -> list[str]:
    """Give the table; nothing if the results are of other suites, or have no times."""
    if SUITE not in summary.suites:
        return []
    records = [row.record for row in summary.timed if row.record.suite == SUITE]
    rows = attention_rows(records)
    if not rows:
        return []
    caption = "Each mask on its fastest kernel, over dense kernels: samples taken in turn."
    return [table("paper-attention", caption, ATTENTION, rows, words=3)]
