"""Plain text for a terminal."""

from collections.abc import Sequence

from radialbench.reports import text
from radialbench.reports.check.metrics import format_value
from radialbench.reports.check.verdict import CheckResult, Outcome
from radialbench.reports.columns import Cell, View, cell, named, show
from radialbench.reports.fidelity import keeping_lines
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary, protocol
from radialbench.reports.sweeps import sweep_differences

MAX_NAMED = 3
"""Cases of a reason that are named."""

MAX_VERDICTS = 20
"""Verdicts against a baseline that are shown, without passes."""

LATENCY: View = {
    **named("frames", "tokens", "mask", "backend", "density"),
    "ms": ("{latency_ms}", "{status}"),
    "IQR": "{iqr_share}",
    "speed-up": "{speedup}",
}
RATED: View = {"TFLOP/s": "{executed_tflop_per_s}", "of max": "{of_ceiling}"}
UNRATED: View = {"GFLOP/s": "{executed_tflop_per_s:giga}", "peak MiB": "{peak_bytes}"}
"""Further columns, with and without a matmul that was timed beside the cases."""

SPARE = ("IQR", "peak MiB", "of max", "density", "GFLOP/s", "TFLOP/s", "frames")
"""Columns that a narrow terminal leaves out, in this order."""


def render(summary: Summary, *, width: int | None = None) -> str:
    """Render tables, break-even lengths, growth and failures, for a terminal's width if any."""
    parts = ["\n".join(text.paragraph(line, width) for line in _head(summary))]
    for sweep in summary.sweeps:
        parts += _latency(summary, sweep, width)
        parts += _compiling(summary, sweep, width)
    sections = {
        "Fastest at equal mass kept": keeping_lines(summary),
        "Break-even with dense": _break_evens(summary),
        "Against the baseline": _baseline(summary.check),
        **{section.topic: section.lines for section in summary.narrative},
        "Not measured": [
            f"{status}: {reason}: {text.first_few(cases, MAX_NAMED)}"
            for (status, reason), cases in summary.reasons.items()
        ],
        "Notes": summary.notes,
    }
    for title, lines in sections.items():
        if lines:
            parts.append(
                "\n".join([title, *(text.paragraph(one, width, indent="  ") for one in lines)])
            )
    return "\n\n".join(parts) + "\n"


def _head(summary: Summary) -> list[str]:
    lines = [f"{text.join_and(summary.suites) or 'no suite'}: {summary.counted}"]
    for place, env in enumerate(summary.environments, start=1):
        number = f"{place}: " if len(summary.environments) > 1 else ""
        torch = env.versions.get("torch", "not installed")
        lines.append(
            f"{number}{env.device}, {env.cpu}, {env.threads} of {env.cores} cores, "
            f"PyTorch {torch}, Python {env.python}"
        )
    if summary.timed:
        lines.append(f"attention: {protocol(summary.timed)}")
    return lines


def _latency(summary: Summary, sweep: str, width: int | None) -> list[str]:
    rows = summary.timed_of(sweep)
    if not any(row.ok for row in rows):
        return []
    rated = any(row.of_ceiling for row in rows)
    view: View = {**LATENCY, **(RATED if rated else UNRATED)}
    if len(summary.environments) > 1:
        view = {**view, "backend": "{backend} [{environment}]"}
    headings, body = show(view, rows)
    for row, before, line in zip(rows[1:], rows, body[1:], strict=False):
        line[:2] = ["", ""] if row.tokens == before.tokens else line[:2]
    texts = ("mask", "backend")
    shown = text.terminal_table(headings, body, text_columns=texts, width=width, spare=SPARE)
    over = sorted({row.dense.backend or "" for row in rows if row.dense})
    notes = (
        [f"speed-up over the fastest dense result of each length ({text.join_and(over)})"]
        if over
        else []
    )
    if any(row.record.permute_ms for row in rows):
        notes.append("ms has the time to bring q, k, v into the mask's order and the output back")
    unit = "TFLOP/s" if rated else "GFLOP/s"
    notes.append(f"{unit} of the operations the blocks execute")
    if rated:
        notes.append("of max is their share of the matmul timed in turn with them")
    title = text.paragraph(summary.sweep_texts[sweep], width)
    return [f"{title}\n\n{shown}\n{text.paragraph('; '.join(notes) + '.', width)}"]


COMPILING: View = {
    "density": "{density}",
    "compile ms": "{median_ms}",
    "full": "{full_blocks}",
    "partial": "{partial_blocks}",
    "MiB": "{table_bytes}",
}


def _compiling(summary: Summary, sweep: str, width: int | None) -> list[str]:
    """Return a line for each mask: the tables of its shortest and longest length."""
    compiled = [row for row in summary.compiled_of(sweep) if row.ok and row.table]
    body = []
    for mask in dict.fromkeys(row.mask for row in compiled):
        rows = [row for row in compiled if row.mask == mask]
        ends = (_ends(rows, pattern) for pattern in COMPILING.values())
        body.append((mask, text.format_range([row.frames for row in rows]), *ends))
    if not body:
        return []
    headings = ("table of", "frames", *COMPILING)
    shown = text.terminal_table(headings, body, text_columns=("table of",), width=width)
    title = text.paragraph(f"tables of {summary.sweep_texts[sweep]}", width)
    return [f"{title}\n\n{shown}"]


def _ends(rows: Sequence[Row], pattern: Cell) -> str:
    first, last = (cell(rows[end], pattern) for end in (0, -1))
    return first if first == last else f"{first} … {last}"


def _break_evens(summary: Summary) -> list[str]:
    differ = sweep_differences(summary.rows)
    return [
        f"{one.mask} on {one.backend}"
        + (f" ({differ[one.sweep]})" if differ[one.sweep] else "")
        + (f" [{one.place + 1}]" if len(summary.environments) > 1 else "")
        + f": {one.text}"
        for one in summary.crossings
    ]


def _baseline(check: CheckResult | None) -> list[str]:
    """Return the verdicts of a check, the worst first; passes are only counted."""
    if check is None:
        return []
    lines = [f"{text.printable(check.baseline)}: {check.headline}"]
    notable = [one for one in check.compared if one.outcome is not Outcome.PASS]
    for one in notable[:MAX_VERDICTS]:
        before, now = (format_value(one.metric, value or 0) for value in (one.before, one.now))
        lines.append(
            f"{one.outcome}: {text.printable(one.case)}: {one.metric}, {before} to {now}: "
            f"{text.printable(one.reason)}"
        )
    if (more := len(notable) - MAX_VERDICTS) > 0:
        lines.append(f"and {more} more")
    lines += [
        f"{text.printable(note)}: {text.first_few(cases, MAX_NAMED)}"
        if cases
        else text.printable(note)
        for note, cases in check.notes
    ]
    return lines
