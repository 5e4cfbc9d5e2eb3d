"""Markdown: the whole report, with pictures by their file names."""

from collections.abc import Iterable, Mapping, Sequence

from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.columns import View, named, show
from radialbench.reports.fidelity import keeping_lines
from radialbench.reports.formats.check_markdown import verdict_table
from radialbench.reports.rows import Row, by_sweep
from radialbench.reports.summary import Summary, environment_facts
from radialbench.reports.sweeps import sweep_differences, sweep_texts
from radialbench.reports.text import escape, join_and, markdown_table

CASE = named("mask", "backend", "frames", "tokens")

LATENCY: View = {
    **CASE,
    "median ms": ("{median_ms}", "{status}"),
    "IQR ms": "{iqr_ms}",
    **named("samples", "order_ms"),
    "speed-up": "{speedup}",
    "95% interval": "{speedup_low} to {speedup_high}",
    "over dense": "{dense_backend}",
    "GFLOP/s": "{effective_tflop_per_s:giga}",
    "executed GFLOP/s": "{executed_tflop_per_s:giga}",
    **named("of_ceiling", "isolated_ms"),
    "J": "{energy_j}",
}
"""Times of attention; a case without one shows its status."""

ON_GPU = ("of ceiling", "isolated ms", "J")
"""Columns of records of a GPU."""

COMPUTED: View = {
    **CASE,
    **named("density", "block_density"),
    "TFLOP": "{effective_tflop}",
    "executed TFLOP": "{executed_tflop}",
    "peak MiB": "{peak_bytes}",
    "plan ms": "{plan_ms}",
    "error": "{max_abs_error}",
    "lse error": "{max_lse_error}",
    "tolerance": "{tolerance}",
}
"""Work, memory and accuracy of attention."""

TABLES: View = {
    **named("mask", "frames", "tokens", "pairs", "density", "block_density"),
    "full": "{full_blocks}",
    "partial": "{partial_blocks}",
    "bitmaps": "{bitmaps}",
    "MiB": "{table_bytes}",
    "first ms": "{compile_ms}",
    "median ms": ("{median_ms}", "{status}"),
}
"""Blocks of the tables, and the time to compile them."""


MOST_ROWS = 2000
"""Most rows of a section's tables."""


def render(summary: Summary, *, pictures: Mapping[str, str] | None = None) -> str:
    """Render the report, with captioned pictures by file name; the first opens the report."""
    shown = [
        f"![{escape(text)}]({name})\n\n{escape(text)}" for name, text in (pictures or {}).items()
    ]
    parts = [f"# {escape(join_and(summary.suites)) or 'No results'}", f"{summary.counted}."]
    parts += shown[:1]
    parts += _bullets("Fastest at equal mass kept", map(escape, keeping_lines(summary)))
    parts += _bullets("Break-even with dense", _break_evens(summary))
    parts += _baseline(summary.check)
    for section in summary.narrative:
        parts += _bullets(section.topic, map(escape, section.lines))
    parts += ["## Charts", *shown[1:]] if shown[1:] else []
    parts += _tables(
        "Latency",
        "Medians have q, k and v in the mask's order already; order ms is the time to bring them "
        "there and the output back. The speed-up counts both, over the fastest dense result of the "
        "length. GFLOP/s are of the pairs the mask asks for, executed GFLOP/s of the blocks, "
        "computed whole.",
        LATENCY,
        summary.timed,
        numbered="backend",
    )
    parts += _tables(
        "What was computed",
        "Largest errors against the definition of attention, on the tensors that are timed.",
        COMPUTED,
        summary.timed,
        numbered="backend",
    )
    parts += _tables(
        "Tables",
        "Blocks of the compiled tables. First ms is the first compilation in the run.",
        TABLES,
        summary.compiled,
        numbered="mask",
    )
    unsound = [
        f"**{status}**, {escape(reason)}: {', '.join(map(escape, cases))}"
        for (status, reason), cases in summary.reasons.items()
    ]
    parts += _bullets("Not measured", unsound)
    for name, facts in environment_facts(summary).items():
        parts += _bullets(name, [f"{key}: {escape(value)}" for key, value in facts.items()])
    parts += _bullets("Notes", map(escape, summary.notes))
    return "\n\n".join(parts) + "\n"


def _tables(title: str, about: str, view: View, rows: Sequence[Row], *, numbered: str) -> list[str]:
    """Return a section with a table a sweep; `numbered` is the column with the environment."""
    parts = [f"## {title}", about] if rows else []
    words = sweep_texts(rows)
    if len(rows) > MOST_ROWS:
        parts.append(f"The first {MOST_ROWS:,} of {len(rows):,} cases; report.csv has all.")
    for sweep, here in by_sweep(rows[:MOST_ROWS]).items():
        several = len({row.place for row in here}) > 1
        shown = {**view, numbered: f"{view[numbered]} [{{environment}}]"} if several else view
        headings, body = show(shown, here, escape=escape, optional=ON_GPU)
        texts = list(view).index(numbered) + 1
        parts += [f"### {escape(words[sweep])}", markdown_table(headings, body, text_columns=texts)]
    return parts


def _bullets(title: str, lines: Iterable[str]) -> list[str]:
    body = [f"- {line}" for line in lines]
    return [f"## {title}", "\n".join(body)] if body else []


def _break_evens(summary: Summary) -> list[str]:
    differ = sweep_differences(summary.rows)
    places = len(summary.environments) > 1
    return [
        f"{escape(one.mask)} on {escape(one.backend)}"
        + (f" ({escape(differ[one.sweep])})" if differ[one.sweep] else "")
        + (f", environment {one.place + 1}" if places else "")
        + f": {one.text}"
        for one in summary.crossings
    ]


def _baseline(check: CheckResult | None) -> list[str]:
    if check is None:
        return []
    head = f"Beside {escape(check.baseline)}: {check.headline}."
    shown = [verdict_table(check.compared)] if check.compared else []
    lines = [
        f"- {escape(note)}: {', '.join(map(escape, cases))}" if cases else f"- {escape(note)}"
        for note, cases in check.notes
    ]
    return ["## Against the baseline", head, *shown, *filter(None, ["\n".join(lines)])]
