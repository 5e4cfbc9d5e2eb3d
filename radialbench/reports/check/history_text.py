"""A history as text for people, and as plain values for programs."""

import textwrap
from functools import partial
from typing import Any

from radialbench.records.gate import gate_text
from radialbench.reports.check.change_points import FEWEST
from radialbench.reports.check.history import History, MetricChange, MetricHistory, Point, Run
from radialbench.reports.check.metrics import format_value
from radialbench.reports.check.verdict import PLACES
from radialbench.reports.text import format_interval, paragraph, printable, terminal_table

MOST = 20
"""Histories of a metric that are shown at most."""


def terminal(found: History, *, width: int | None = None) -> str:
    """Render each series that changed: what changed where, and its figures.

    Args:
        found: The history.
        width: Columns of the terminal, if there is one.
    """
    parts = [_series(one, found.runs, width) for one in found.changed[:MOST]]
    more = len(found.changed) - MOST
    lines = [f"and {more} more; all are in --format json"] if more > 0 else []
    lines.append(headline(found))
    if len(found.runs) < FEWEST:
        lines.append(f"with fewer than {FEWEST} results no change can be told from chance")
    lines += [f"gates: {', '.join(found.gates)}"] if found.gates else []
    for why, count in found.left_out.items():
        lines.append(f"left out: {count} case{'s' * (count != 1)}, {printable(why)}")
    return "\n".join([*parts, *lines]) + "\n"


def headline(found: History) -> str:
    """Count the changes, in a line: `12 results: 1 change in 50 cases`."""
    count = sum(len(one.changes) for one in found.series)
    cases = len({one.case for one in found.series})
    changes = f"{count or 'no'} change{'s' * (count != 1)}"
    return f"{len(found.runs)} results: {changes} in {cases} case{'s' * (cases != 1)}"


def describe_change(change: MetricChange, metric: str, runs: tuple[Run, ...]) -> str:
    """Describe a change: `1.00 ms, then 1.05 ms (+5.0%) from result 8 on, 4567def`."""
    before, after = format_value(metric, change.before), format_value(metric, change.after)
    ratio = f" ({change.after / change.before - 1:+.1%})" if change.before else ""
    return (
        f"{before}, then {after}{ratio} from result {change.run + 1} on, {_name(runs[change.run])}"
    )


def facts(found: History) -> dict[str, Any]:
    """Return everything as JSON's own types; runs are named by their place, from 0."""
    return {
        "runs": [
            {"source": run.source, "commit": run.commit, "created": run.created}
            for run in found.runs
        ],
        "gates": list(found.gates),
        "left_out": found.left_out,
        "series": [_facts(one) for one in found.series],
    }


def _facts(one: MetricHistory) -> dict[str, Any]:
    return {
        "case": one.case,
        "metric": one.metric,
        "gate": gate_text(one.metric, one.gate),
        "points": [
            {
                "run": point.run,
                "value": point.value,
                "low": point.interval.low if point.interval else None,
                "high": point.interval.high if point.interval else None,
            }
            for point in one.points
        ],
        "changes": [
            {
                "run": change.run,
                "since": change.since,
                "before": change.before,
                "after": change.after,
                "outcome": change.outcome.value,
                "p": change.p,
                "changed": list(change.changed),
            }
            for change in one.changes
        ],
    }


def _series(one: MetricHistory, runs: tuple[Run, ...], width: int | None) -> str:
    worst = min((change.outcome for change in one.changes), key=PLACES.__getitem__)
    indent = " " * (len(worst) + 2)
    lines = []
    for change in one.changes:
        told = f"{describe_change(change, one.metric, runs)}; p {change.p:.3f}"
        told += f"; {', '.join(change.changed)}" if change.changed else ""
        lines.append(paragraph(told, width, indent=indent, hang=""))
    marks = {change.run: change.outcome.value for change in one.changes}
    table = terminal_table(
        ("result", one.metric, "95%", "of", "change"),
        [_row(one.metric, point, runs[point.run], marks) for point in one.points],
        text_columns=("95%", "of", "change"),
        width=None if width is None else width - len(indent),
        spare=("of", "95%"),
    )
    lines += ["", textwrap.indent(table, indent), ""]
    return "\n".join([f"{worst}  {printable(one.case)}: {one.metric}", *lines])


def _row(metric: str, point: Point, run: Run, marks: dict[int, str]) -> tuple[str, ...]:
    ends = format_interval(point.interval, partial(format_value, metric))
    place, mark = str(point.run + 1), marks.get(point.run, "")
    return place, format_value(metric, point.value), ends, _name(run), mark


def _name(run: Run) -> str:
    return printable(f"{run.commit or run.source}, {run.created[:10]}")
