"""The whole page."""

from radialbench.reports.columns import View, named, show
from radialbench.reports.page import Table, page_file, render_template
from radialbench.reports.page.overview import baseline, overview
from radialbench.reports.page.pictures import charts_of, masks_of
from radialbench.reports.paper import (
    ATTENTION,
    SPARSITY,
    WORK,
    attention_rows,
    sparsity_rows,
    work_rows,
)
from radialbench.reports.paper_reference import PAPER, VIDEOS
from radialbench.reports.summary import Summary, environment_facts
from radialbench.reports.text import join_and

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
    **named("frames"),
}
"""Columns between the kernel and the sweep; those that no row has are left out."""


def results(summary: Summary) -> Table | None:
    """Return the table of all cases; None without rows."""
    rows = summary.rows
    if not rows:
        return None
    number = " [{environment}]" if len(summary.environments) > 1 else ""
    kernel = ("{backend}" + number, "compile" + number)
    view: View = {**named("mask"), "kernel": kernel, **COLUMNS, **named("sweep")}
    if all(row.ok for row in rows):
        view = {heading: cell for heading, cell in view.items() if heading != "status"}
    headers, body = show(view, rows, optional=COLUMNS)
    caption = "Every case. Headers sort; the time has the token order."
    return Table("results-table", caption, headers, body, text_columns=2, sortable=True)


PAPER_SUITE = "paper"

ABOUT_PAPER = (
    f"Attention alone, where the last column is what {PAPER} says of whole videos over FA2: dense "
    "steps, dense layers and all that is not attention lie between the two. Then what is counted, "
    "not measured: the work of whole videos, and what the masks leave out."
)

METHOD = (
    "Times are medians. Their 95% intervals lie between two of the samples, whatever the samples' "
    "distribution; from fewer than six samples there is none.",
    "Speed-ups are over the fastest dense kernel of the same length, with the time of the mask's "
    "token order on both sides. Where both were sampled in turn, beside the same matmul, "
    "the interval is that of the ratios of pairs, so that drift cancels.",
    "1/density is what a mask would gain if time were in proportion to the pairs it asks for.",
    "A break-even length is interpolated on logarithmic axes; its interval is where the ends of "
    "the speed-ups' intervals pass 1.",
    "The ceiling is a matmul of 8192³ in the same dtype, timed in turn with the kernels: "
    "what the device gave at that moment, not what its data sheet says.",
    "Energy is the device's own counter over a stretch of calls; it is left out where the device "
    "waited meanwhile.",
    "Every time was taken after its result had been compared with the definition of attention, on "
    "the same tensors.",
)


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
        about_paper=ABOUT_PAPER,
        charts=charts_of(summary),
        masks=masks_of(summary),
        growth=summary.narrative,
        results=results(summary),
        environments=_environments(summary),
        method=METHOD,
        style=page_file("style.css"),
        script=page_file("script.js"),
    )


def _environments(summary: Summary) -> list[Table]:
    tables = []
    for place, env in enumerate(summary.environments):
        number = f" {place + 1}" if len(summary.environments) > 1 else ""
        rows = [row for row in summary.rows if row.place == place]
        facts = tuple(environment_facts(env, rows).items())
        caption = f"Environment{number}"
        tables.append(
            Table(f"environment{place}", caption, ("what", "value"), facts, text_columns=2)
        )
    return tables


def _beside_the_paper(summary: Summary) -> list[Table]:
    """Return the radial attention paper's figures beside those of a run of its suite.

    There are none if the results are of other suites, or have no times.
    """
    records = [row.record for row in summary.timed if row.record.suite == PAPER_SUITE]
    rows = attention_rows(records)
    if not rows:
        return []
    groups = {record.group for record in records}
    videos = [video for video in VIDEOS if video.group in groups]
    times = "Each mask on our fastest kernel, over dense kernels: samples taken in turn."
    work = "Operations of whole videos in 10¹⁵, exact: all steps, by the paper's schedule."
    sparsity = "Sparsity of the authors' mask, as released now and first, text counted."
    return [
        Table("paper-attention", times, ATTENTION, rows, text_columns=3),
        Table("paper-work", work, WORK, work_rows(videos), text_columns=2),
        Table("paper-sparsity", sparsity, SPARSITY, sparsity_rows(videos), text_columns=2),
    ]
