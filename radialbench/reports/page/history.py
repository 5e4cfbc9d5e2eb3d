"""The history of results as one HTML page: a section for each machine, changes first."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from radialbench.errors import ReportError
from radialbench.plain import utf8
from radialbench.records.store import write_errors
from radialbench.reports.check.cohorts import VersionSpan, version_spans
from radialbench.reports.check.history import (
    History,
    MetricHistory,
    Run,
    describe_change,
    headline,
)
from radialbench.reports.check.metrics import format_value
from radialbench.reports.check.significance import MIN_VALUES
from radialbench.reports.history_chart import draw_runs
from radialbench.reports.page import Table, page_file, render_template
from radialbench.reports.page.pictures import inline
from radialbench.reports.text import format_interval, join_and
from radialbench.writing import write_files

RANGES = (100, 30, 10)
"""Last results that the reader may choose to see alone."""

MOST_CHANGED, MOST_STEADY = 24, 24
"""Most charts of metrics that changed, and of others; the table has all."""

SMALL = (4.4, 2.2)
"""Inches of a chart of what did not change."""


def write_history(histories: Mapping[str, History], notes: Sequence[str], path: Path) -> None:
    """Write the page.

    Args:
        histories: Those of each machine, by its name.
        notes: What is not on the page, and why.
        path: The file.

    Raises:
        ReportError: The file cannot be written.
        WriteError: The disk is full.
    """
    with write_errors(f"the history to {path}", "choose another file with --out", ReportError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_files({path: utf8(history_page(histories, notes)).encode()})


def history_page(histories: Mapping[str, History], notes: Sequence[str] = ()) -> str:
    """Build the page; arguments are those of `write_history`."""
    from radialbench.reports.charts._drawing import drawing

    most = max((len(one.runs) for one in histories.values()), default=0)
    ranges = [count for count in RANGES if count < most]
    with drawing():
        machines = [
            _machine(place, name, found, ranges)
            for place, (name, found) in enumerate(histories.items())
        ]
    suites = {
        record.suite for one in histories.values() for record in one.runs[-1].records.values()
    }
    return render_template(
        "history.html",
        title=join_and(sorted(filter(None, suites))) or "Results",
        counted=f"{most} results",
        notes=notes,
        ranges=ranges,
        machines=machines,
        style=page_file("style.css") + page_file("history.css"),
    )


def _machine(place: int, name: str, found: History, ranges: Sequence[int]) -> dict[str, Any]:
    spans = version_spans(found.runs)
    steady = [one for one in found.series if not one.changes and _moves(one)]
    left = [f"{count} case{'s' * (count != 1)}, {why}" for why, count in found.left_out.items()]
    few = f"With fewer than {MIN_VALUES} results a change cannot be distinguished from chance."
    return {
        "name": name,
        "headline": headline(found),
        "few": few if len(found.runs) < MIN_VALUES else "",
        "gates": found.gates,
        "left_out": left,
        "versions": _versions(f"versions{place}", name, found.runs, spans),
        "series": _all(f"series{place}", name, found),
        "changed": [
            _changed(f"m{place}c{number}", name, one, found.runs, spans, ranges)
            for number, one in enumerate(found.changed[:MOST_CHANGED])
        ],
        "steady": [
            {
                "svg": inline(
                    draw_runs(one, found.runs, spans=spans, size=SMALL, ticks=4),
                    f"m{place}s{number}",
                    f"{_title(one)} over {len(one.points)} results, without a change",
                ),
                "title": _title(one),
            }
            for number, one in enumerate(steady[:MOST_STEADY])
        ],
        "more": max(0, len(found.changed) - MOST_CHANGED) + max(0, len(steady) - MOST_STEADY),
    }


def _changed(
    name: str,
    machine: str,
    one: MetricHistory,
    runs: Sequence[Run],
    spans: Sequence[VersionSpan],
    ranges: Sequence[int],
) -> dict[str, Any]:
    """Return the charts of a metric by what they show, its changes in words, and its values."""
    texts = [
        "; ".join(
            (describe_change(each, one.metric, tuple(runs)), f"p {each.p:.3f}", *each.changed)
        )
        for each in one.changes
    ]
    # Each chart stands for the ranges that it shows whole.
    charts: dict[int, list[str]] = {0: ["all"]}
    for count in ranges:
        since = max(0, len(runs) - count)
        shown = sum(point.run >= since for point in one.points)
        charts.setdefault(since if shown else 0, []).append(str(count))
    drawn = []
    for since, kinds in charts.items():
        seen = f"the last {len(runs) - since} results" if since else f"{len(runs)} results"
        svg = inline(
            draw_runs(one, runs, since=since, spans=spans),
            f"{name}r{since}",
            f"{_title(one)} over {seen}; {'; '.join(texts)}",
        )
        drawn.append({"svg": svg, "kinds": kinds})
    marks = {each.run: each.outcome.value for each in one.changes}
    rows = [
        (
            str(point.run + 1),
            format_value(one.metric, point.value),
            format_interval(point.interval, partial(format_value, one.metric)),
            *_origin(runs[point.run]),
            marks.get(point.run, ""),
        )
        for point in one.points
    ]
    headers = ("result", one.metric, "95%", "commit or file", "measured", "change")
    caption = f"Values of {_title(one)} on {machine}"
    worst = min(one.changes, key=lambda each: each.outcome.value != "regressed").outcome.value
    return {
        "title": _title(one),
        "outcome": worst,
        "texts": texts,
        "charts": drawn,
        "table": Table(f"{name}-values", caption, headers, rows, text_columns=1),
    }


def _all(name: str, machine: str, found: History) -> Table:
    rows = []
    for one in found.series:
        first, last = one.points[0].value, one.points[-1].value
        worst = {each.outcome.value for each in one.changes}
        rows.append(
            (
                one.case,
                one.metric,
                str(len(one.points)),
                format_value(one.metric, first),
                format_value(one.metric, last),
                f"{last / first:.3f}" if first else "–",
                ", ".join(sorted(worst, reverse=True)),
            )
        )
    headers = ("case", "metric", "results", "first", "last", "last / first", "change")
    caption = f"{machine}: every case and metric, those that changed by a gate first."
    return Table(name, caption, headers, rows, text_columns=2)


def _versions(name: str, machine: str, runs: Sequence[Run], spans: Sequence[VersionSpan]) -> Table:
    rows = []
    for span in spans:
        first, last = runs[span.first], runs[span.last]
        environment = next(reversed(first.records.values())).environment
        libraries = (f"{name} {version}" for name, version in environment.versions.items())
        whole = (f"Python {environment.python}", environment.os, *libraries)
        places = {span.first + 1, span.last + 1}
        rows.append(
            (
                " to ".join(map(str, sorted(places))),
                *(
                    " to ".join(dict.fromkeys(pair))
                    for pair in zip(_origin(first), _origin(last), strict=True)
                ),
                "; ".join(span.changed or whole),
            )
        )
    headers = ("results", "commits or files", "measured", "versions, then what changed")
    caption = f"{machine}: results with the same system and libraries; a line of dots before each."
    return Table(name, caption, headers, rows, text_columns=4)


def _moves(one: MetricHistory) -> bool:
    return len({point.value for point in one.points}) > 1


def _title(one: MetricHistory) -> str:
    return f"{one.case}: {one.metric}"


def _origin(run: Run) -> tuple[str, str]:
    return run.commit or run.source, run.created[:10]
