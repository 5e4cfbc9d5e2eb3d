"""Pieces of HTML; what they are given as text is shown and does nothing else."""

import html
from collections.abc import Iterable, Sequence

from radialbench.reports.numbers import plain

NONE = "–"


def esc(words: object) -> str:
    """Stored text as HTML, also inside an attribute's quotes."""
    return html.escape(plain(str(words)))


def section(name: str, title: str, *parts: str, about: str = "") -> str:
    """A section under a heading; nothing at all without a part.

    Args:
        name: Its id.
        title: The heading, as text.
        *parts: HTML.
        about: What the section holds, as text.
    """
    body = "\n".join(filter(None, parts))
    if not body:
        return ""
    told = f'<p class="about">{esc(about)}</p>\n' if about else ""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n'
        f'<h2 id="{name}-title">{esc(title)}</h2>\n{told}{body}\n</section>'
    )


def items(lines: Iterable[str]) -> str:
    """A list of lines of text; nothing without one."""
    body = "".join(f"<li>{esc(line)}</li>" for line in lines)
    return f"<ul>{body}</ul>" if body else ""


def table(
    name: str,
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: int,
    sortable: bool = False,
) -> str:
    """A table in a frame of its own that scrolls; the first cell of a row is its header.

    Closing tags that HTML lets one leave out are left out: thousands of rows stay small.

    Args:
        name: Its id.
        caption: What it holds, as text.
        headers: As text.
        rows: Cells as text.
        words: Columns of words; the others are numbers, set to the right.
        sortable: Whether its headers are buttons.
    """
    head = "".join(_header(header, sortable=sortable) for header in headers)
    body = "\n".join(_row(cells) for cells in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}-caption">\n'
        f'<table id="{name}" class="words{words}{" sortable" * sortable}">\n'
        f'<caption id="{name}-caption"><span>{esc(caption)}</span></caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _header(header: str, *, sortable: bool) -> str:
    if not sortable:
        return f'<th scope="col">{esc(header)}</th>'
    return f'<th scope="col"><button type="button">{esc(header)}</button></th>'


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f"<tr><th scope=row>{esc(first)}" + "".join(f"<td>{esc(cell)}" for cell in others)
