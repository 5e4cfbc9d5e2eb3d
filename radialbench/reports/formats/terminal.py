"""Plain text for a terminal of 100 columns."""

import textwrap
from collections.abc import Iterable, Sequence

from radialbench.reports.check.metrics import format_value
from radialbench.reports.check.verdict import CheckResult, Outcome
from radialbench.reports.numbers import listed, mib, plain, share, span, three, times
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary, protocol

WIDTH = 100
NARROWEST = 8
"""Signs to which a column of words is cut at most."""

FIRST = 3
"""Cases that are named of those with the same reason."""

MOST = 20
"""Verdicts that are shown of those that do not just pass against a baseline."""

WORDS = ("mask", "backend", "table of")
NONE = "–"


def render(summary: Summary) -> str:
    """Render tables of latency and of compiling, break-even lengths, growth and failures."""
    parts = [_head(summary)]
    for sweep in summary.sweeps:
        parts += _latency(summary, sweep)
        parts += _compiling(summary, sweep)
    parts += _section("Break-even with dense", _break_evens(summary))
    parts += _section("Against the baseline", _baseline(summary.check))
    for told in summary.told:
        parts += _section(told.topic, told.lines)
    parts += _section("Not measured", _unsound(summary))
    parts += _section("Notes", summary.notes)
    return "\n\n".join(parts) + "\n"


def _head(summary: Summary) -> str:
    lines = [f"{plain(listed(list(summary.suites))) or 'no suite'}: {summary.counted}"]
    for place, env in enumerate(summary.environments, start=1):
        number = f"{place}: " if len(summary.environments) > 1 else ""
        torch = env.versions.get("torch", "not installed")
        lines.append(
            f"{number}{plain(env.device)}, {plain(env.cpu)}, {env.threads} of {env.cores} cores, "
            f"PyTorch {plain(torch)}, Python {plain(env.python)}"
        )
    if summary.timed:
        lines.append(f"attention: {protocol(summary.timed)}")
    return "\n".join(_wrapped(line) for line in lines)


def _latency(summary: Summary, sweep: str) -> list[str]:
    rows = [row for row in summary.timed if row.sweep == sweep]
    if not any(row.ok for row in rows):
        return []
    rated = any(row.of_ceiling for row in rows)
    body, last = [], 0
    for row in rows:
        head = ("", "") if row.tokens == last else (row.frames, f"{row.tokens:,}")
        last = row.tokens
        cells = _cells(row, numbered=len(summary.environments) > 1)
        body.append((*head, *cells, *(_rated(row) if rated else _rates(row))))
    headers = (
        *("frames", "tokens", "mask", "backend", "density", "ms", "IQR", "speed-up"),
        *("TFLOP/s" if rated else "GFLOP/s", "of max" if rated else "peak MiB"),
    )
    over = sorted({row.dense.backend or "" for row in rows if row.dense})
    notes = (
        [f"speed-up over the fastest dense result of each length ({listed(over)})"] if over else []
    )
    if any(row.record.permute_ms for row in rows):
        notes.append("ms has the time to bring q, k, v into the mask's order and the output back")
    unit = "TFLOP/s" if rated else "GFLOP/s"
    notes.append(f"{unit} of the operations the blocks execute")
    if rated:
        notes.append("of max is their share of the matrix product timed in turn with them")
    return [f"{plain(sweep)}\n\n{_table(body, headers)}\n{_wrapped('; '.join(notes) + '.')}"]


def _cells(row: Row, *, numbered: bool) -> Sequence[str]:
    place = f" [{row.place + 1}]" if numbered else ""
    return (
        plain(row.mask),
        plain(row.backend) + place,
        share(row.table.density) if row.table else NONE,
        row.record.status.value if row.total_ms is None else three(row.total_ms),
        NONE if row.iqr_share is None else f"{row.iqr_share:.0%}",
        NONE if row.speedup is None else times(row.speedup),
    )


def _rates(row: Row) -> tuple[str, str]:
    """Executed GFLOP/s and peak MiB."""
    memory = row.record.memory
    peak = memory.peak_bytes if memory else None
    return (
        NONE if row.executed_gflops is None else three(row.executed_gflops),
        NONE if peak is None else mib(peak),
    )


def _rated(row: Row) -> tuple[str, str]:
    """Executed TFLOP/s and their share of the matrix product's beside them."""
    return (
        NONE if row.executed_gflops is None else three(row.executed_gflops / 1e3),
        NONE if row.of_ceiling is None else share(row.of_ceiling),
    )


def _compiling(summary: Summary, sweep: str) -> list[str]:
    """One line a mask: the tables of its shortest and longest length."""
    body = []
    compiled = [row for row in summary.compiled if row.sweep == sweep and row.ok]
    for mask in dict.fromkeys(row.mask for row in compiled):
        rows = [row for row in compiled if row.mask == mask and row.table]
        body.append(
            (
                plain(mask),
                span([row.frames for row in rows]),
                _ends([share(row.table.density) for row in rows if row.table]),
                _ends([three(row.median_ms) for row in rows if row.median_ms is not None]),
                _ends([f"{row.table.full:,}" for row in rows if row.table]),
                _ends([f"{row.table.partial:,}" for row in rows if row.table]),
                _ends([mib(row.table.nbytes) for row in rows if row.table]),
            )
        )
    headers = ("table of", "frames", "density", "compile ms", "full", "partial", "MiB")
    return [f"{plain(sweep)}: tables\n\n{_table(body, headers)}"] if body else []


def _ends(texts: list[str]) -> str:
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} … {texts[-1]}"


def _break_evens(summary: Summary) -> list[str]:
    several = len({one.sweep for one in summary.crossings}) > 1
    return [
        f"{plain(one.mask)} on {plain(one.backend)}"
        + (f", {plain(one.sweep)}" if several else "")
        + (f" [{one.place + 1}]" if len(summary.environments) > 1 else "")
        + f": {one.text}"
        for one in summary.crossings
    ]


def _baseline(check: CheckResult | None) -> list[str]:
    """What a check decided, the worst first; what passes is counted only."""
    if check is None:
        return []
    lines = [f"{plain(check.baseline)}: {check.headline}"]
    notable = [one for one in check.compared if one.outcome is not Outcome.PASS]
    for one in notable[:MOST]:
        before, now = (format_value(one.metric, value or 0) for value in (one.before, one.now))
        lines.append(
            f"{one.outcome}: {plain(one.case)}: {one.metric}, {before} to {now}: "
            f"{plain(one.reason)}"
        )
    if (more := len(notable) - MOST) > 0:
        lines.append(f"and {more} more")
    lines += [
        f"{plain(words)}: {_first(cases)}" if cases else plain(words)
        for words, cases in check.notes
    ]
    return lines


def _unsound(summary: Summary) -> list[str]:
    return [
        f"{status}: {plain(reason)}: {_first(cases)}"
        for (status, reason), cases in summary.reasons.items()
    ]


def _first(cases: Sequence[str]) -> str:
    shown = ", ".join(plain(case) for case in cases[:FIRST])
    more = len(cases) - FIRST
    return f"{shown}, and {more} more" if more > 0 else shown


def _section(title: str, lines: Iterable[str]) -> list[str]:
    body = [_wrapped(line, indent="  ") for line in lines]
    return ["\n".join([title, *body])] if body else []


def _wrapped(line: str, *, indent: str = "") -> str:
    return textwrap.fill(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(body: Sequence[Sequence[object]], headers: Sequence[str]) -> str:
    """Columns two spaces apart: words left, cut short if need be, and numbers right."""
    lines = [[str(cell) for cell in line] for line in (headers, *body)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = [place for place, header in enumerate(headers) if header in WORDS]
    while sum(widths) + 2 * len(widths) - 2 > WIDTH:
        widest = max(words, key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            _cut(cell, width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cut(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 1] + "…"
