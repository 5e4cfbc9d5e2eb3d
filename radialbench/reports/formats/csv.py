"""Comma-separated values: the frame of a summary, not rounded."""

from radialbench.reports.summary import Summary


def render(summary: Summary) -> str:
    """Render every case; a value that a case does not have is empty.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    text: str = summary.frame().map(_plain).to_csv(index=False, lineterminator="\n")
    return text


def _plain(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value
