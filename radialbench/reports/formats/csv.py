"""Comma-separated values: the frame of a summary, nothing rounded away."""

from radialbench.reports.summary import Summary


def render(summary: Summary) -> str:
    """Render every case; what a case does not have is left empty."""
    text: str = summary.frame().to_csv(index=False, lineterminator="\n")
    return text
