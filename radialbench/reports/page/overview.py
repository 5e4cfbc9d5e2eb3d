"""What the page shows first: what was measured, how much faster masks are, what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radialbench.reports import text
from radialbench.reports.breakeven import BreakEven
from radialbench.reports.check.metrics import format_value
from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.columns import cell
from radialbench.reports.page import Table, render_template
from radialbench.reports.page.kept import ranks
from radialbench.reports.page.lead import lead
from radialbench.reports.rows import Row, total_ms
from radialbench.reports.summary import Summary


@dataclass(frozen=True, slots=True)
class Headline:
    """A mask on its fastest kernel, at the longest length that has a dense result.

    Attributes:
        row: That case; it has a speed-up.
        even: Length from which the mask on that kernel is faster than dense; None if not known.
    """

    row: Row
    even: BreakEven | None

    @property
    def ideal(self) -> float | None:
        """Speed-up in proportion to the pairs: one over the density."""
        table = self.row.table
        return 1 / table.density if table and table.density else None

    @property
    def reached(self) -> float | None:
        """Share of the ideal speed-up."""
        return self.row.speedup / self.ideal if self.row.speedup and self.ideal else None


def headlines(summary: Summary) -> dict[tuple[str, int], tuple[Headline, ...]]:
    """Return the headlines of each sweep and environment: by length, then the fastest first."""
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for row in summary.timed:
        if row.speedup is not None and not row.is_dense:
            best = found.setdefault((row.sweep, row.place), {})
            other = best.setdefault(row.mask, row)
            if (row.tokens, row.speedup) > (other.tokens, other.speedup or 0):
                best[row.mask] = row
    evens = {(one.sweep, one.place, one.mask, one.backend): one for one in summary.break_evens}
    return {
        where: tuple(
            Headline(row, evens.get((*where, row.mask, row.backend)))
            for row in sorted(best.values(), key=lambda row: (-row.tokens, -(row.speedup or 0)))
        )
        for where, best in found.items()
    }


MOST_TABLES = 12
"""Sweeps with a table of headlines."""

FIRST = 6
"""Cases that are named of those with the same reason."""


def fragment(summary: Summary) -> str:
    """Render the page's first part without its style, as a notebook shows it."""
    return render_template("notebook.html", **overview(summary))


def overview(summary: Summary) -> dict[str, object]:
    """Return what the templates show first: the headlines, what failed, and notes."""
    found = headlines(summary)
    tables = headline_tables(summary, found)
    best = max(
        (lines[0] for lines in found.values()),
        key=lambda line: (line.row.tokens, line.row.speedup or 0),
        default=None,
    )
    finding, how = lead(summary, best.row, best.even) if best else lead(summary, None, None)
    kept, unknown = ranks(summary)
    return {
        "lead": finding,
        "how": how,
        "kept": kept,
        "unknown": unknown,
        "tables": tables[:MOST_TABLES],
        "left_out": len(tables[MOST_TABLES:]),
        "failed": [
            f"{status}: {reason}: {text.first_few(cases, FIRST)}"
            for (status, reason), cases in summary.reasons.items()
        ],
        "notes": summary.notes,
    }


def headline_tables(
    summary: Summary, found: Mapping[tuple[str, int], Sequence[Headline]]
) -> list[Table]:
    """Return a table of the fastest kernels of each sweep, with what dense does there."""
    headers = (
        *("mask", "speed-up", "95% interval", "share of ideal", "faster than dense", "ms"),
        *("density", "kernel"),
    )
    texts, tables = summary.sweep_texts, []
    for place, ((sweep, where), lines) in enumerate(found.items()):
        number = f", in environment {where + 1}" if len(summary.environments) > 1 else ""
        first = lines[0].row
        assert first.dense
        caption = (
            f"{texts[sweep]}: each mask on its fastest kernel at {first.tokens:,} tokens{number}, "
            f"beside dense on {first.dense.backend}, which takes "
            f"{text.format_sig3(total_ms(first.dense).value)} ms."
        )
        rows = [_headline(line, first) for line in lines]
        tables.append(Table(f"headline{place}", caption, headers, rows, text_columns=1))
    return tables


def _headline(line: Headline, first: Row) -> tuple[str, ...]:
    row = line.row
    # A mask may lack a result where the others have their longest.
    elsewhere = "" if row.tokens == first.tokens else f" at {row.tokens:,} tokens"
    return (
        row.mask + elsewhere,
        cell(row, "{speedup}"),
        cell(row, "{speedup_low} to {speedup_high}"),
        text.EMPTY_CELL if line.reached is None else f"{line.reached:.0%}",
        _even(line.even),
        cell(row, "{latency_ms}"),
        cell(row, "{density}"),
        row.backend,
    )


def _even(even: BreakEven | None) -> str:
    """Describe from how many tokens the mask is faster, with the interval."""
    if even is None:
        return text.EMPTY_CELL
    if even.shortest == even.longest:
        return f"{'yes' if even.above else 'no'}, at this length"
    if even.above is None:
        return f"not up to {even.longest:,} tokens"
    if even.below is None:
        start = f"at every length, from {even.shortest:,} tokens"
        shown = even.interval is not None and even.interval[1] > even.shortest
    else:
        start, shown = f"from about {even.about} tokens on", even.interval is not None
    return f"{start} ({even.interval_text})" if shown else start


def baseline(check: CheckResult) -> dict[str, object]:
    """Return a table of what a check compared, the worst first, and notes on the rest."""
    headers = ("case", "metric", "verdict", "why", "before", "now", "now / before", "95% interval")
    rows = [
        (
            one.case,
            one.metric,
            one.outcome,
            one.reason,
            format_value(one.metric, one.before or 0),
            format_value(one.metric, one.now or 0),
            text.EMPTY_CELL if one.ratio is None else text.format_ratio(one.ratio),
            text.format_interval(one.interval, text.format_ratio) or text.EMPTY_CELL,
        )
        for one in check.compared
    ]
    caption = f"Beside {check.baseline}: {check.headline}"
    table = Table("compared", caption, headers, rows, text_columns=4, sortable=True)
    notes = [
        f"{note}: {text.first_few(cases, FIRST)}" if cases else note for note, cases in check.notes
    ]
    return {"table": table if rows else None, "notes": notes}
