"""What the page says of what masks keep: ranks at equal mass, and the heads."""

from radialbench.reports.columns import cell
from radialbench.reports.fidelity import (
    UNKNOWN,
    fastest_keeping,
    inputs_text,
    kept_rows,
    name_of,
)
from radialbench.reports.page import Table
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary
from radialbench.reports.text import EMPTY_CELL

MOST_HEADS = 200
"""Rows of the table of heads."""


def ranks(summary: Summary) -> tuple[list[Table], str]:
    """Return a table a sweep of the fastest masks at equal mass kept, or why there is none."""
    tables: list[Table] = []
    for sweep in summary.sweeps:
        rows = kept_rows(summary, sweep)
        if found := fastest_keeping(rows):
            of = rows[0].fidelity
            assert of is not None
            caption = (
                f"By speed at equal mass kept, {rows[0].tokens:,} tokens: the fastest mask that "
                f"keeps at least so much of the attention mass of {inputs_text(of)}."
            )
            headers = ("at least", "mask", "speed-up", "mass kept", "error", "place", "ms")
            body = [(f"{level:.0%}", name_of(row), *_numbers(row)) for level, row in found]
            tables.append(Table(f"kept{len(tables)}", caption, headers, body, text_columns=2))
    sparse = [row for row in summary.timed if not row.is_dense and row.ok]
    return tables, UNKNOWN if sparse and not any(row.fidelity for row in summary.timed) else ""


def _numbers(row: Row) -> tuple[str, ...]:
    patterns = ("{speedup}", "{mass_kept}", "{output_error}", "{place}", "{latency_ms}")
    return tuple(cell(row, pattern) for pattern in patterns)


def heads(summary: Summary) -> list[Table]:
    """Return a table a sweep of the mass that each mask keeps in each head."""
    tables: list[Table] = []
    for sweep in summary.sweeps:
        rows = kept_rows(summary, sweep)
        by_head: dict[tuple[int | None, ...], dict[str, str]] = {}
        for row in rows:
            assert row.fidelity is not None
            for one in row.fidelity.heads:
                place = (one.layer, one.step, one.sequence, one.head)
                by_head.setdefault(place, {})[name_of(row)] = f"{one.kept.mass:.1%}"
        if not by_head:
            continue
        names = [name_of(row) for row in rows]
        shown = [
            (
                *(EMPTY_CELL if x is None else str(x) for x in place),
                *(of.get(n, EMPTY_CELL) for n in names),
            )
            for place, of in sorted(
                by_head.items(), key=lambda item: tuple(x or 0 for x in item[0])
            )
        ]
        left = len(shown) - MOST_HEADS
        more = f"; {left} more are in the records" if left > 0 else ""
        caption = f"Attention mass that each mask keeps, by head, {rows[0].tokens:,} tokens{more}"
        headers = ("layer", "step", "sequence", "head", *names)
        tables.append(
            Table(f"heads{len(tables)}", caption, headers, shown[:MOST_HEADS], text_columns=0)
        )
    return tables
