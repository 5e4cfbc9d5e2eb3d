"""Tables as Markdown."""

import re
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from radialbench.reports.text import printable


def table(headers: Sequence[str], body: Iterable[Sequence[str]], *, words: int) -> str:
    """Lay out a table; its first `words` columns are text, the others numbers."""
    return tabulate(
        list(body),
        headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left"] * words + ["right"] * (len(headers) - words),
    )


def text(words: str) -> str:
    """Escape stored text, so that Markdown shows it and does nothing else."""
    shown = printable(words).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|`*]|(?<!\w)_|_(?!\w)|(?<=\])\()", r"\\\1", shown)
