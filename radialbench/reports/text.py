"""How numbers, stored text and tables are written, for a terminal and as Markdown."""

import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import zip_longest
from math import floor, log10

from tabulate import tabulate

from radialbench.records.statistics import Estimate

MIB = 1 << 20

EMPTY_CELL = "–"
"""What stands in a table where there is no value."""

PARAGRAPH_WIDTH = 100
"""Characters to a line of a paragraph: longer lines are hard to read."""

EASY_WIDTH = 16
LEAST_WIDTH = 8
"""Characters to which a text column is folded before columns are left out, and after."""


def format_sig3(value: float) -> str:
    """Format with three figures, a comma between thousands and no exponent: 0.0120, 4.56, 1,234."""
    if value == 0:
        return "0"
    decimals = min(max(2 - floor(log10(abs(value))), 0), 12)
    return f"{value:,.{decimals}f}"


def format_percent(value: float) -> str:
    """Format a share as a percentage."""
    return f"{value:.1%}"


def format_ratio(value: float) -> str:
    """Format a ratio: `2.56×`."""
    return f"{value:.2f}×" if 0.1 <= value < 10 else f"{format_sig3(value)}×"


def format_interval(estimate: Estimate | None, form: Callable[[float], str]) -> str:
    """Format the ends of an interval: `2.51× to 2.60×`; empty without one."""
    ends = estimate and estimate.ends
    return " to ".join(map(form, ends)) if ends else ""


def format_mib(count: float) -> str:
    """Format bytes in MiB, without the unit."""
    return format_sig3(count / MIB)


def format_range(values: list[int]) -> str:
    """Format the ends of a range: `5–257`, or the one value there is."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def printable(text: str) -> str:
    """Return stored text without what a terminal would obey: control characters become `�`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def join_and(words: Iterable[str]) -> str:
    """Join words as in a sentence: `a`, `a and b`, `a, b and c`."""
    *others, last = [*words] or [""]
    return f"{', '.join(others)} and {last}" if others else last


def plural(count: int, noun: str) -> str:
    """Return a count and its noun: `1 record`, `2 records`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def first_few(names: Sequence[str], most: int) -> str:
    """Join the first names, and the number of the others."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def escape(text: str) -> str:
    """Escape stored text, so that Markdown shows it and does nothing else.

    A joiner without width follows @ and #, which would name people and issues in a comment.
    """
    shown = printable(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    shown = re.sub(r"([|`*]|(?<!\w)_|_(?!\w)|(?<=\])\()", r"\\\1", shown)
    return re.sub(r"([@#]|\bGH-)(?=\w)", "\\1\u2060", shown)


def markdown_table(
    headers: Sequence[str], body: Iterable[Sequence[str]], *, text_columns: int
) -> str:
    """Format a Markdown table; its first `text_columns` columns are text, the others numbers."""
    return tabulate(
        list(body),
        headers,
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left"] * text_columns + ["right"] * (len(headers) - text_columns),
    )


def terminal_width() -> int | None:
    """Return the columns of the terminal that is standard output; None if it is a file or pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def paragraph(line: str, width: int | None = None, *, indent: str = "", hang: str = "  ") -> str:
    """Break a line of text.

    Args:
        line: The text.
        width: Columns of the terminal, if there is one.
        indent: Start of every line.
        hang: What follows the indent in every line but the first.
    """
    return textwrap.fill(
        printable(line),
        min(width or PARAGRAPH_WIDTH, PARAGRAPH_WIDTH),
        initial_indent=indent,
        subsequent_indent=indent + hang,
        break_long_words=False,
        break_on_hyphens=False,
    )


def fitted(line: str, width: int | None, *, indent: str = "", hang: str = "  ") -> str:
    """Break a line as `paragraph` does if it is longer than a terminal; None for no terminal."""
    line = printable(line)
    if width is None or len(indent + line) <= width:
        return indent + line
    return paragraph(line, width, indent=indent, hang=hang)


def terminal_table(
    headings: Sequence[str],
    body: Iterable[Sequence[object]],
    *,
    text_columns: Collection[str],
    width: int | None = None,
    spare: Sequence[str] | None = None,
    whole: Collection[str] = (),
) -> str:
    """Format a table with two spaces between its columns: text left, numbers right.

    If the terminal is too narrow, text cells are folded over several lines, then columns are left
    out, which a line below names; numbers are always whole.

    Args:
        headings: Of the columns.
        body: The rows.
        text_columns: Headings of the columns of text.
        width: Columns of the terminal; None for as many as the table takes.
        spare: Columns that may be left out, the least important first; all but the first two, from
            the right, if not given.
        whole: Text columns that are folded last, such as ids, which are to be copied.
    """
    lines = [[printable(str(cell)) for cell in line] for line in (headings, *body)]
    full = {column[0]: max(map(len, column)) for column in zip(*lines, strict=True)}

    def narrowed(most: int) -> dict[str, int]:
        return {h: min(size, most) if h in text_columns else size for h, size in least.items()}

    least = full
    least = {h: full[h] if h in whole else size for h, size in narrowed(EASY_WIDTH).items()}
    left_out: list[str] = []
    for heading in list(headings[:1:-1]) if spare is None else spare:
        if width is None or _total_width(least) <= width:
            break
        if heading in least:
            del least[heading]
            left_out.append(heading)
    if width is not None and _total_width(least) > width:
        least = narrowed(LEAST_WIDTH)
    sizes = {heading: full[heading] for heading in least}
    while width is not None and _total_width(sizes) > width:
        widest = max(sizes, key=lambda heading: sizes[heading] - least[heading])
        if sizes[widest] == least[widest]:
            break
        sizes[widest] -= 1
    columns = [
        (place, sizes[heading], heading in text_columns)
        for place, heading in enumerate(headings)
        if heading in sizes
    ]
    shown = [_folded(line, columns) for line in lines]
    shown.insert(1, "  ".join("-" * size for _, size, _ in columns))
    if left_out:
        shown.append(paragraph(f"no room for: {', '.join(left_out)}", width))
    return "\n".join(shown)


def _total_width(sizes: dict[str, int]) -> int:
    return sum(sizes.values()) + 2 * (len(sizes) - 1)


def _folded(line: Sequence[str], columns: Sequence[tuple[int, int, bool]]) -> str:
    """Format a row; text that is longer than its column continues on the next line."""
    stacks = [
        textwrap.wrap(line[place], size, break_on_hyphens=False) or [""]
        for place, size, _ in columns
    ]
    return "\n".join(
        "  ".join(
            part.ljust(size) if left else part.rjust(size)
            for part, (_, size, left) in zip(parts, columns, strict=True)
        ).rstrip()
        for parts in zip_longest(*stacks, fillvalue="")
    )
