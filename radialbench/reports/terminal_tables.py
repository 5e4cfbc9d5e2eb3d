"""Tables and paragraphs for a terminal, as wide as it is; without one nothing is left out."""

import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest

from radialbench.reports.text import printable

WIDEST = 100
"""Signs to a line of a paragraph: longer ones are hard to read."""

EASY = 16
NARROWEST = 8
"""Signs to which a column of words is folded before columns are left out, and after."""


def terminal_width() -> int | None:
    """Return the columns of the terminal that is standard output; None if it is a file or pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def paragraph(line: str, width: int | None = None, *, indent: str = "", hang: str = "  ") -> str:
    """Break a line of text.

    Args:
        line: The text.
        width: Columns of the terminal, if there is one.
        indent: What all lines begin with.
        hang: What all but the first begin with besides.
    """
    return textwrap.fill(
        printable(line),
        min(width or WIDEST, WIDEST),
        initial_indent=indent,
        subsequent_indent=indent + hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def terminal_table(
    headings: Sequence[str],
    body: Iterable[Sequence[object]],
    *,
    words: Collection[str],
    width: int | None = None,
    spare: Sequence[str] | None = None,
) -> str:
    """Lay out a table with its columns two spaces apart: words left, numbers right.

    On a terminal that is too narrow, cells of words are folded over several lines, then columns
    are left out, which a line below names; numbers are always whole.

    Args:
        headings: Of the columns.
        body: The rows.
        words: Headings of the columns of words.
        width: Columns of the terminal; None for as many as the table takes.
        spare: Columns that may be left out, the least important first; all but the first two, from
            the right, if not given.
    """
    lines = [[printable(str(cell)) for cell in line] for line in (headings, *body)]
    wide = {column[0]: max(map(len, column)) for column in zip(*lines, strict=True)}
    least = {h: min(size, EASY) if h in words else size for h, size in wide.items()}
    left_out: list[str] = []
    for heading in list(headings[:1:-1]) if spare is None else spare:
        if width is None or _across(least) <= width:
            break
        if heading in least:
            del least[heading]
            left_out.append(heading)
    if width is not None and _across(least) > width:
        least = {h: min(size, NARROWEST) if h in words else size for h, size in least.items()}
    kept = {heading: wide[heading] for heading in least}
    while width is not None and _across(kept) > width:
        widest = max(kept, key=lambda heading: kept[heading] - least[heading])
        if kept[widest] == least[widest]:
            break
        kept[widest] -= 1
    places = [place for place, heading in enumerate(headings) if heading in kept]
    sizes = [(kept[headings[place]], headings[place] in words) for place in places]
    shown = [_folded([line[place] for place in places], sizes) for line in lines]
    shown.insert(1, "  ".join("-" * size for size, _ in sizes))
    if left_out:
        shown.append(paragraph(f"no room for: {', '.join(left_out)}", width))
    return "\n".join(shown)


def _across(sizes: dict[str, int]) -> int:
    return sum(sizes.values()) + 2 * (len(sizes) - 1)


def _folded(cells: Sequence[str], sizes: Sequence[tuple[int, bool]]) -> str:
    """Lay out a row; what is longer than its column goes on beneath."""
    stacks = [
        textwrap.wrap(cell, size, break_on_hyphens=False) or [""]
        for cell, (size, _) in zip(cells, sizes, strict=True)
    ]
    return "\n".join(
        "  ".join(
            part.ljust(size) if left else part.rjust(size)
            for part, (size, left) in zip(parts, sizes, strict=True)
        ).rstrip()
        for parts in zip_longest(*stacks, fillvalue="")
    )
