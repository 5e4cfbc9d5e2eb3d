"""A history as text for people, and as plain values for programs."""

import textwrap
from typing import Any

from radialbench.records.gate import gate_text
from radialbench.reports.check.amounts import amount
from radialbench.reports.check.history import History, Point, Run, Series, Shift
from radialbench.reports.check.steps import FEWEST
from radialbench.reports.check.verdict import PLACES
from radialbench.reports.numbers import plain
from radialbench.reports.terminal_tables import paragraph, terminal_table

MOST = 20
"""Series that are shown at most."""


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


def _series(one: Series, runs: tuple[Run, ...], width: int | None) -> str:
    worst = min((shift.outcome for shift in one.shifts), key=PLACES.__getitem__)
    indent = " " * (len(worst) + 2)
    lines = []
    for shift in one.shifts:
        told = f"{told_shift(shift, one.metric, runs)}; p {shift.p:.3f}"
        told += f"; {', '.join(shift.changed)}" if shift.changed else ""
        lines.append(paragraph(told, width, indent=indent, hang=""))
    marks = {shift.run: shift.outcome.value for shift in one.shifts}
    table = terminal_table(
        ("result", one.metric, "95%", "of", "change"),
        [_row(one.metric, point, runs[point.run], marks) for point in one.points],
        words=("95%", "of", "change"),
        width=None if width is None else width - len(indent),
        spare=("of", "95%"),
    )
    lines += ["", textwrap.indent(table, indent), ""]
    return "\n".join([f"{worst}  {plain(one.case)}: {one.metric}", *lines])


def _row(metric: str, point: Point, run: Run, marks: dict[int, str]) -> tuple[str, ...]:
    ends = point.interval
    between = f"{amount(metric, ends.low)} to {amount(metric, ends.high)}" if ends else ""
    place, mark = str(point.run + 1), marks.get(point.run, "")
    return place, amount(metric, point.value), between, _name(run), mark


def _name(run: Run) -> str:
    return plain(f"{run.commit or run.source}, {run.created[:10]}")
