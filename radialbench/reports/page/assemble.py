"""The whole page."""

from collections.abc import Sequence

from radialbench.reports import paper
from radialbench.reports.columns import View, named, show
from radialbench.reports.page import Table, page_file, render_template
from radialbench.reports.page.kept import heads
from radialbench.reports.page.overview import baseline, overview
from radialbench.reports.page.pictures import charts_of, masks_of
from radialbench.reports.paper_reference import PAPER, VIDEOS
from radialbench.reports.summary import Summary, environment_facts
from radialbench.reports.text import join_and

CASE: View = {
    **named("mask", "grid"),
    "kernel": "",
    "model": "{model}",
    "heads": "{heads} of {head_dim}",
    "type": "{dtype}",
    "blocks": "{block_m}×{block_n}",
    "warps": "{num_warps}",
    "stages": "{num_stages}",
}
"""Columns that say which case it is: the first three, and of the others those that differ."""

COLUMNS: View = {
    **named("tokens", "status"),
    "ms": "{latency_ms}",
    "95% interval, ms": "{latency_low_ms} to {latency_high_ms}",
    "speed-up": ("{speedup} ({speedup_low} to {speedup_high})", "{speedup}"),
    "density": "{density}",
    "executed TFLOP/s": "{executed_tflop_per_s}",
    **named("of_ceiling"),
    "J": "{energy_j}",
    "W": "{power_w}",
    "SM MHz": "{sm_mhz}",
    "isolated ms": "{isolated_ms}",
    "peak MiB": "{peak_bytes}",
    **named("samples"),
    "error / tolerance": "{error_share}",
}
"""What came of a case; columns that no row has are left out."""


MOST_ROWS = 12000
"""Most rows of the table of results: a browser sorts as many without a pause."""


def results(summary: Summary) -> Table | None:
    """Return the table of all cases; None without rows."""
    rows = summary.rows
    if not rows:
        return None
    number = " [{environment}]" if len(summary.environments) > 1 else ""
    kernel = ("{backend}" + number, "compile" + number)
    view: View = {**CASE, "kernel": kernel, **COLUMNS}
    if all(row.ok for row in rows):
        view = {heading: cell for heading, cell in view.items() if heading != "status"}
    headers, body = show(view, rows[:MOST_ROWS], optional=COLUMNS)
    headers, body = _differing(headers, body)
    cut = f"The first {MOST_ROWS:,} of {len(rows):,} cases; report.csv has all. "
    caption = (cut if len(rows) > MOST_ROWS else "") + (
        "Every case: its mask, grid (frames × height × width, and text) and kernel, then the rest "
        "that tells it from others. Headers sort; the time has the token order."
    )
    return Table("results-table", caption, headers, body, text_columns=3, sortable=True)


def _differing(
    headers: Sequence[str], body: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Leave out the columns behind the third that say which case it is, and say it of none."""
    of_case = list(CASE)[3:]
    kept = [
        place
        for place, heading in enumerate(headers)
        if heading not in of_case or len({cells[place] for cells in body}) > 1
    ]
    return [headers[place] for place in kept], [[cells[place] for place in kept] for cells in body]


PAPER_SUITE = "paper"


def page(summary: Summary) -> str:
    """Build the page."""
    check = summary.check
    return render_template(
        "page.html",
        **overview(summary),
        title=join_and(summary.suites) or "No results",
        counted=summary.counted,
        source=summary.source,
        against=f"Against {check.baseline}: {check.headline}." if check else "",
        baseline=baseline(check) if check else None,
        paper=_beside_the_paper(summary),
        source_paper=PAPER,
        charts=charts_of(summary),
        masks=masks_of(summary),
        heads=heads(summary),
        growth=summary.narrative,
        results=results(summary),
        environments=[
            Table(f"environment{place}", name, ("what", "value"), facts.items(), text_columns=2)
            for place, (name, facts) in enumerate(environment_facts(summary).items())
        ],
        style=page_file("style.css"),
        script=page_file("script.js"),
    )


def _beside_the_paper(summary: Summary) -> list[Table]:
    """Return the radial attention paper's figures beside those of a run of its suite.

    There are none if the results are of other suites, or have no times.
    """
    records = [row.record for row in summary.timed if row.record.suite == PAPER_SUITE]
    rows = paper.attention_rows(records)
    if not rows:
        return []
    groups = {record.group for record in records}
    videos = [video for video in VIDEOS if video.group in groups]
    times = "Each mask on our fastest kernel, over dense kernels: samples taken in turn."
    work = "Operations of whole videos in 10¹⁵, exact: all steps, by the paper's schedule."
    sparsity = "Sparsity of the authors' mask, as released now and first, text counted."
    return [
        Table("paper-attention", times, paper.ATTENTION, rows, text_columns=3),
        Table("paper-work", work, paper.WORK, paper.work_rows(videos), text_columns=2),
        Table(
            "paper-sparsity", sparsity, paper.SPARSITY, paper.sparsity_rows(videos), text_columns=2
        ),
    ]
