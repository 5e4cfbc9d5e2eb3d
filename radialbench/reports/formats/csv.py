"""Comma-separated values: the frame of a summary, not rounded."""

from radialbench.reports.summary import Summary


def render(summary: Summary) -> str:
    """Render every case; a value that a case does not have is empty."""
    text: str = summary.frame().to_csv(index=False, lineterminator="\n")
    return text
