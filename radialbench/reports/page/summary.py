"""What comes first: what was measured, how much faster masks are and how surely, what failed."""

from collections.abc import Iterable

from radialbench.reports.breakeven import BreakEven
from radialbench.reports.compare import Comparison
from radialbench.reports.formats._tables import between
from radialbench.reports.headlines import Headline, headlines
from radialbench.reports.numbers import listed, share, span, three, times
from radialbench.reports.page._html import NONE, esc, items, section, table
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary, protocol
from radialbench.reports.times import total_ms

MOST_TABLES = 12
"""Sweeps with a table of headlines."""

FIRST = 6
"""Cases that are named of those with the same reason."""


def fragment(summary: Summary) -> str:
    """The page's first part without its style, as a notebook shows it."""
    missing = failed(summary)
    told = items(summary.notes)
    return "\n".join(filter(None, (measured(summary), *headline_tables(summary), missing, told)))


def measured(summary: Summary) -> str:
    """Say in a sentence or two what was measured, where and how."""
    devices = list(dict.fromkeys(env.device for env in summary.environments))
    masks = list(dict.fromkeys(row.mask for row in summary.rows))
    told = []
    if summary.timed:
        kernels = list(dict.fromkeys(row.backend for row in summary.timed))
        lengths = span([row.tokens for row in summary.timed])
        told.append(
            f"{_count(len(masks), 'mask')} on {_count(len(kernels), 'kernel')} at {lengths} tokens "
            f"on {listed(devices)}: {protocol(summary.timed)}."
        )
    if summary.compiled:
        lengths = span([row.tokens for row in summary.compiled])
        told.append(f"Block tables compiled at {lengths} tokens.")
    return f'<p class="lead">{esc(" ".join(told) or "Nothing was measured.")}</p>'


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def headline_tables(summary: Summary) -> list[str]:
    """Give a table of the fastest kernels of each sweep, with what dense does there."""
    found = headlines(summary)
    parts = []
    for place, ((sweep, where), lines) in enumerate(found.items()):
        if place == MOST_TABLES:
            parts.append(
                f"<p>{len(found) - place} more sweeps are in the table of results, and all in "
                "report.csv.</p>"
            )
            break
        number = f" [{where + 1}]" if len(summary.environments) > 1 else ""
        parts.append(_headlines(f"headline{place}", f"{sweep}{number}", lines))
    return parts


def _headlines(name: str, where: str, lines: tuple[Headline, ...]) -> str:
    first = lines[0].row
    assert first.dense
    problem = first.record.problem
    caption = (
        f"{where}: {_count(problem.heads, 'head')} of {problem.head_dim} in {problem.dtype}, at "
        f"{first.tokens:,} tokens. Each mask on its fastest kernel beside dense on "
        f"{first.dense.backend}, which takes {three(total_ms(first.dense).value)} ms."
    )
    headers = (
        *("mask", "speed-up", "95% interval", "of 1/density", "faster than dense", "ms"),
        *("density", "kernel"),
    )
    return table(name, caption, headers, [_headline(line, first) for line in lines], words=1)


def _headline(line: Headline, first: Row) -> tuple[str, ...]:
    row = line.row
    # A mask may lack a result where the others have their longest.
    elsewhere = "" if row.tokens == first.tokens else f" at {row.tokens:,} tokens"
    return (
        row.mask + elsewhere,
        times(row.speedup or 0),
        between(row.speedup_interval),
        NONE if line.reached is None else f"{line.reached:.0%}",
        _even(line.even),
        three(row.total_ms or 0),
        share(row.table.density) if row.table else NONE,
        row.backend,
    )


def _even(even: BreakEven | None) -> str:
    """From how many tokens on, with the interval."""
    if even is None:
        return NONE
    if even.shortest == even.longest:
        return f"{'yes' if even.above else 'no'}, at this length"
    if even.above is None:
        return f"not up to {even.longest:,}"
    if even.below is None:
        sure = even.interval and even.interval[1] <= even.shortest
        return f"from {even.shortest:,}{'' if sure or not even.sure else f' ({even.sure})'}"
    return f"from {even.about}" + (f" ({even.sure})" if even.sure else "")


def failed(summary: Summary) -> str:
    """List what has no time, by reason."""
    return items(
        f"{status}: {reason}: {named(cases)}" for (status, reason), cases in summary.reasons.items()
    )


def named(cases: Iterable[str]) -> str:
    """The first few cases, and how many more there are."""
    names = list(cases)
    more = f", and {len(names) - FIRST} more" if len(names) > FIRST else ""
    return ", ".join(names[:FIRST]) + more


def baseline(comparison: Comparison | None) -> str:
    """Give both times of each case and their ratio, the slower ones first."""
    if comparison is None:
        return ""
    headers = (
        *("mask", "kernel", "tokens", "before ms", "now ms", "before / now", "95% interval"),
        *("which is", "sweep"),
    )
    body = [
        (
            one.row.mask,
            one.row.backend,
            f"{one.row.tokens:,}",
            three(one.before_ms),
            three(one.row.total_ms or 0),
            times(one.ratio),
            between(one.interval),
            one.verdict + (f"; {one.config}" if one.config else ""),
            one.row.sweep,
        )
        for one in sorted(comparison.cases, key=lambda one: one.ratio)
    ]
    caption = f"Times beside {comparison.source}: {comparison.counted}"
    return section(
        "baseline",
        "Against the baseline",
        items([f"Changed between the two: {', '.join(comparison.changed)}"])
        if comparison.changed
        else "",
        table("compared", caption, headers, body, words=2, sortable=True) if body else "",
        items(f"Not compared, {why}: {named(names)}" for why, names in comparison.apart.items()),
        about="A ratio above 1 is faster now. Its interval counts the samples of both runs, not "
        "what else changed between them.",
    )
