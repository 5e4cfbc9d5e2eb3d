"""A history as text for people, and as plain values for programs."""

import textwrap
from functools import partial
from typing import Any

from tabulate import tabulate

from radialbench.records.gate import gate_text
from radialbench.reports.check.amounts import amount
from radialbench.reports.check.history import History, Point, Run, Series, Shift
from radialbench.reports.check.steps import FEWEST
from radialbench.reports.check.verdict import PLACES
from radialbench.reports.numbers import between, plain

WIDTH = 100
MOST = 20
"""Series that are shown at most."""


def terminal(found: History) -> str:
    """Render each series that changed: what changed where, and its figures."""
    parts = [_series(one, found.runs) for one in found.changed[:MOST]]
    more = len(found.changed) - MOST
    lines = [f"and {more} more; all are in --format json"] if more > 0 else []
    lines.append(headline(found))
    if len(found.runs) < FEWEST:
        lines.append(f"with fewer than {FEWEST} results no change can be told from chance")
    lines += [f"gates: {', '.join(found.gates)}"] if found.gates else []
    for why, count in found.left_out.items():
        lines.append(f"left out: {count} case{'s' * (count != 1)}, {plain(why)}")
    return "\n".join([*parts, *lines]) + "\n"


def headline(found: History) -> str:
    """Say in a line how many changes there are: `12 results: 1 change in 50 cases`."""
    count = sum(len(one.shifts) for one in found.series)
    cases = len({one.case for one in found.series})
    changes = f"{count or 'no'} change{'s' * (count != 1)}"
    return f"{len(found.runs)} results: {changes} in {cases} case{'s' * (cases != 1)}"


def told_shift(shift: Shift, metric: str, runs: tuple[Run, ...]) -> str:
    """Say a change in words: `1.00 ms, then 1.05 ms (+5.0%) from result 8 on, 4567def`."""
    before, after = amount(metric, shift.before), amount(metric, shift.after)
    ratio = f" ({shift.after / shift.before - 1:+.1%})" if shift.before else ""
    return f"{before}, then {after}{ratio} from result {shift.run + 1} on, {_name(runs[shift.run])}"


def facts(found: History) -> dict[str, Any]:
    """Give everything as JSON's own types; runs are named by their place, from 0."""
    return {
        "runs": [
            {"source": run.source, "commit": run.commit, "created": run.created}
            for run in found.runs
        ],
        "gates": list(found.gates),
        "left_out": found.left_out,
        "series": [_facts(one) for one in found.series],
    }


def _facts(one: Series) -> dict[str, Any]:
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
                "run": shift.run,
                "since": shift.since,
                "before": shift.before,
                "after": shift.after,
                "outcome": shift.outcome.value,
                "p": shift.p,
                "changed": list(shift.changed),
            }
            for shift in one.shifts
        ],
    }


def _series(one: Series, runs: tuple[Run, ...]) -> str:
    worst = min((shift.outcome for shift in one.shifts), key=PLACES.__getitem__)
    width = len(worst) + 2
    lines = []
    for shift in one.shifts:
        told = f"{told_shift(shift, one.metric, runs)}; p {shift.p:.3f}"
        told += f"; {', '.join(shift.changed)}" if shift.changed else ""
        indent = " " * width
        lines += textwrap.wrap(plain(told), WIDTH, initial_indent=indent, subsequent_indent=indent)
    marks = {shift.run: shift.outcome.value for shift in one.shifts}
    rows = [_row(one.metric, point, runs[point.run], marks) for point in one.points]
    headers = ("result", one.metric, "95%", "of", "")
    table = tabulate(rows, headers, tablefmt="plain", disable_numparse=True)
    lines += ["", textwrap.indent(table, " " * width), ""]
    return "\n".join([f"{worst:<{width}}{plain(one.case)}: {one.metric}", *lines])


def _row(metric: str, point: Point, run: Run, marks: dict[int, str]) -> tuple[str, ...]:
    ends = between(point.interval, partial(amount, metric))
    place, mark = str(point.run + 1), marks.get(point.run, "")
    return place, amount(metric, point.value), ends, _name(run), mark


def _name(run: Run) -> str:
    return plain(f"{run.commit or run.source}, {run.created[:10]}")
