"""The results in six lines and one picture, for a terminal."""

from pathlib import Path

from radialbench.reports import text
from radialbench.reports.breakeven import BreakEven
from radialbench.reports.fidelity import name_of
from radialbench.reports.page.lead import keeping, kept_text, pays_text
from radialbench.reports.page.overview import Headline, headlines
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary

BAR = 32
"""Cells of the longest bar."""

MOST_BARS = 8


def story(summary: Summary, page: Path | None = None, *, width: int | None = None) -> str:
    """Return what was compared, what came of it, and bars of the speed-ups.

    It is of the longest length that has a dense result; without one it says what is missing.

    Args:
        summary: The results.
        page: Where the page of these results is.
        width: Columns of the terminal, if there is one.
    """
    found = headlines(summary).values()
    if not found:
        return "No sparse mask has a time beside a dense one, so there is no speed-up to tell.\n"
    lines = max(found, key=lambda lines: (lines[0].row.tokens, lines[0].row.speedup or 0))
    best = lines[0]
    facts = {
        "compared": _compared(summary, best.row),
        "where": _where(best.row),
        "speed-up": _speedup(best.row),
        "keeps": ". ".join([kept_text(summary, best.row), *keeping(summary, best.row)]),
        "pays": _pays(best.even),
        "page": str(page) if page else "radialbench report RESULTS writes it",
    }
    indent = " " * (max(map(len, facts)) + 2)
    told = (
        text.paragraph(f"{name:{len(indent)}}{fact}", width, hang=indent)
        for name, fact in facts.items()
    )
    return "\n".join([*told, "", *_bars(lines, width)]) + "\n"


def _compared(summary: Summary, best: Row) -> str:
    rows = [row for row in summary.timed if row.sweep == best.sweep and row.ok]
    masks = dict.fromkeys(name_of(row) for row in rows if not row.is_dense)
    dense = dict.fromkeys(row.backend for row in rows if row.is_dense)
    lengths = text.format_range([row.tokens for row in rows])
    return (
        f"{text.first_few([*masks], 6)} beside dense attention ({text.join_and(dense)}) at "
        f"{lengths} tokens: {summary.sweep_texts[best.sweep]}"
    )


def _where(best: Row) -> str:
    env = best.record.environment
    device = f"a CPU, {env.cpu}, {env.threads} threads" if env.device == "cpu" else env.device
    return f"{device}; {best.record.created[:10]}; commit {env.commit or 'unknown'}"


def _speedup(best: Row) -> str:
    assert best.speedup
    interval = text.format_interval(best.speedup_interval, text.format_ratio)
    known = f"95%: {interval}" if interval else "no interval: fewer than six samples"
    return (
        f"{name_of(best)} is {text.format_ratio(best.speedup)} as fast as dense at {best.tokens:,} "
        f"tokens ({known})"
    )


def _pays(even: BreakEven | None) -> str:
    if even is None or even.shortest == even.longest:
        return "one length says nothing of others; measure several"
    return pays_text(even)


def _bars(lines: tuple[Headline, ...], width: int | None) -> list[str]:
    """Draw the speed-up of each mask at the longest length, and dense, which is 1."""
    tokens, dense = lines[0].row.tokens, lines[0].row.dense
    assert dense
    values = {
        text.printable(name_of(line.row)): line.row.speedup or 0
        for line in lines[:MOST_BARS]
        if line.row.tokens == tokens
    }
    values[f"dense ({dense.backend})"] = 1.0
    longest = max(map(len, values))
    cells = max(min(BAR, (width or 100) - longest - 12), 4)
    most = max(values.values())
    return [
        f"speed-up over dense at {tokens:,} tokens",
        *(
            f"{name:{longest}}  {'█' * max(round(value / most * cells), 1):{cells}}  "
            f"{text.format_ratio(value)}"
            for name, value in values.items()
        ),
    ]
