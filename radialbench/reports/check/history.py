"""Results in order of time: the history of each case and metric, and where it changes."""

import re
import subprocess
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any

from radialbench.errors import ReportError
from radialbench.records.gate import Gate, gate_text
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate
from radialbench.reports.check.baseline import (
    environment_diff,
    machine_of,
    mismatch_reason,
    same_devices,
)
from radialbench.reports.check.compare import paired_records
from radialbench.reports.check.metrics import (
    METRICS,
    NO_GATES,
    Gates,
    Metric,
    MetricValue,
    NoiseFloor,
    describe_gates,
    format_value,
    gates_of,
    known_noise,
)
from radialbench.reports.check.significance import (
    MIN_VALUES,
    ChangePoint,
    change_points,
    drop_small,
    segment_medians,
)
from radialbench.reports.check.verdict import PLACES, Outcome
from radialbench.reports.text import format_interval, paragraph, printable, terminal_table

Key = tuple[str, str, str]
"""Machine, measure and case of a record."""

MAX_SHOWN = 20
"""Histories of a metric that the terminal shows at most."""


@dataclass(frozen=True, slots=True)
class Run:
    """A set of results.

    Attributes:
        source: Where it comes from, for people.
        records: The last of each case and machine.
        commit: Of the source that was measured, if it is known.
        created: When the last of them ended.
    """

    source: str
    records: dict[Key, Record] = field(hash=False)
    commit: str | None
    created: str


@dataclass(frozen=True, slots=True)
class Point:
    """A value in one run.

    Attributes:
        run: Place of the run.
        value: The value, in the metric's unit.
        interval: 95% interval from its own samples; None for what has none.
    """

    run: int
    value: float
    interval: Estimate | None


@dataclass(frozen=True, slots=True)
class MetricChange:
    """A change that is as large as the gate.

    Attributes:
        run: Place of the first run after it.
        since: Place of the last run before it.
        before: Median from the change before it, or from the start.
        after: Median up to the next change, or to the end.
        outcome: `regressed` or `faster`.
        p: How likely a change as clear is in the same values in random order.
        changed: What differs between the environments of the two runs.
    """

    run: int
    since: int
    before: float
    after: float
    outcome: Outcome
    p: float
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricHistory:
    """A metric of a case over the runs.

    Attributes:
        case: The case's id.
        metric: A name of `METRICS`.
        gate: The least change that counts.
        points: Of the runs that have the value.
        changes: Where it changed.
    """

    case: str
    metric: str
    gate: Gate
    points: tuple[Point, ...]
    changes: tuple[MetricChange, ...]


@dataclass(frozen=True, slots=True)
class History:
    """All series.

    Attributes:
        runs: The earliest first.
        series: Those with a change first, else in the order of the last run.
        left_out: How many cases of a run are not compared, by reason.
        gates: Those that are not the default ones.
    """

    runs: tuple[Run, ...]
    series: tuple[MetricHistory, ...]
    left_out: dict[str, int] = field(hash=False)
    gates: tuple[str, ...]

    @property
    def changed(self) -> tuple[MetricHistory, ...]:
        """Those with a change."""
        return tuple(one for one in self.series if one.changes)


def run_of(source: str, records: Sequence[Record]) -> Run:
    """Make a run of a file's records, at least one."""
    latest = {_key(record): record for record in records}
    last = max(latest.values(), key=lambda record: datetime.fromisoformat(record.created))
    return Run(source, latest, last.environment.commit, last.created)


def in_commit_order(runs: Sequence[Run]) -> tuple[list[Run], str]:
    """Sort by the time of the commits, or of measuring where git does not know one of them.

    Returns:
        The runs, and the reason if the order is that of measuring.
    """
    measured = sorted(runs, key=lambda run: datetime.fromisoformat(run.created))
    times = {run.commit: _commit_time(run.commit) for run in runs}
    known = {commit: time for commit, time in times.items() if time is not None}
    if unknown := [commit for commit in times if commit not in known]:
        name = unknown[0]
        return measured, f"git does not know commit {name} here" if name else "some name no commit"
    # Results of one commit stay in the order in which they were measured.
    return sorted(measured, key=lambda run: known[run.commit]), ""


def _commit_time(commit: str | None) -> int | None:
    """Return a commit's time by git, in seconds; a + marks changes that are not in the commit."""
    if commit is None or not re.fullmatch(r"[0-9a-f]{4,40}\+?", commit):
        return None
    command = ["git", "show", "--no-patch", "--format=%ct", commit.rstrip("+"), "--"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return int(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def history(
    runs: Sequence[Run], asked: Gates = NO_GATES, *, noise_floor: NoiseFloor = None
) -> History:
    """Find the series of the last run's cases, and their changes.

    Args:
        runs: The earliest first.
        asked: Gates, as for `check`; the suite's are those of the last run.
        noise_floor: What two runs of the same code are known to differ by, as for `check`.

    Raises:
        ReportError: Fewer than two runs, one of another machine, or nothing in common.
    """
    if len(runs) < 2:
        raise ReportError("a history takes two sets of results or more, the earliest first")
    last = runs[-1]
    comparable = [_of_this_machine(run, last) for run in runs]
    others = {key for run in comparable[:-1] for key in run.records}
    shared = {key: record for key, record in last.records.items() if key in others}
    if not shared:
        raise ReportError(
            f"{last.source} has no case in common with the other results; give results of one suite"
        )
    left_out: Counter[str] = Counter()
    left_out["in the last result only"] = len(last.records) - len(shared)
    left_out["not in the last result"] = len(others) - len(shared)
    series = [
        one
        for key, record in shared.items()
        for one in _of_case(key, record, comparable, asked, noise_floor, left_out)
    ]
    series.sort(key=lambda one: not one.changes)
    gates = describe_gates(last.records.values(), asked)
    return History(tuple(runs), tuple(series), dict(+left_out), gates)


def _of_this_machine(run: Run, last: Run) -> Run:
    records = same_devices(list(run.records.values()), last.records.values())
    try:
        environment_diff(paired_records(last.records.values(), records), across_versions=True)
    except ReportError as error:
        raise ReportError(f"{run.source} beside {last.source}: {error}") from None
    return Run(run.source, {_key(one): one for one in records}, run.commit, run.created)


def _key(record: Record) -> Key:
    return machine_of(record.environment), record.measure, record.case


def _of_case(
    key: Key,
    last: Record,
    runs: Sequence[Run],
    asked: Gates,
    noise_floor: NoiseFloor,
    left_out: Counter[str],
) -> Iterator[MetricHistory]:
    records: dict[int, Record] = {}
    for place, run in enumerate(runs):
        record = run.records.get(key)
        if record is not None and (why := mismatch_reason(record, last)):
            left_out[why] += 1
        elif record is not None and record.timing is not None:
            records[place] = record
    gates = gates_of(last, asked)
    for name, metric in METRICS.items():
        gate, values = gates[name], _values(metric, records, last)
        if gate is not None and values:
            yield _series(last.case, name, gate, values, records, noise_floor)


def _values(metric: Metric, records: dict[int, Record], last: Record) -> dict[int, MetricValue]:
    """Return the values by run, of the runs that were measured as the last one."""
    now = metric.value_of(last) if last.timing else None
    return {
        place: value
        for place, record in records.items()
        if (value := metric.value_of(record)) and (now is None or value.source == now.source)
    }


def _series(
    case: str,
    name: str,
    gate: Gate,
    values: dict[int, MetricValue],
    records: dict[int, Record],
    noise_floor: NoiseFloor,
) -> MetricHistory:
    metric, places = METRICS[name], list(values)
    costs = [value.value for value in values.values()]
    counts = _counts(metric, gate, list(values.values()), known_noise(noise_floor, case) or 0.0)
    steps: list[ChangePoint] = []
    # Where not even the extremes differ enough no order needs to be tried.
    if len(costs) >= MIN_VALUES and counts(min(costs), max(costs)):
        steps = drop_small(costs, change_points(costs), counts)
    changes = []
    for step, (before, after) in zip(steps, pairwise(segment_medians(costs, steps)), strict=True):
        since, run = places[step.at - 1], places[step.at]
        changes.append(
            MetricChange(
                run=run,
                since=since,
                before=metric.shown(before),
                after=metric.shown(after),
                outcome=Outcome.REGRESSED if after > before else Outcome.FASTER,
                p=step.p,
                changed=environment_diff([(records[since], records[run])], across_versions=True),
            )
        )
    points = tuple(
        Point(place, metric.shown(value.value), metric.shown_interval(value.interval))
        for place, value in values.items()
    )
    return MetricHistory(case, name, gate, points, tuple(changes))


def _counts(
    metric: Metric, gate: Gate, values: Sequence[MetricValue], floor: float
) -> Callable[[float, float], bool]:
    """Return a function that decides whether a change counts, by the rule of `check`."""
    slack = max(value.slack for value in values)
    # Chance is told from the series itself, and not from what two runs are assumed to differ by.
    share = max(gate.share, 2 * floor if metric.sampled else max(v.runs for v in values))

    def counts(before: float, after: float) -> bool:
        low, high = min(before, after), max(before, after)
        if metric.sampled:
            return high >= low * (1 + max(share, gate.least / before))
        return high > low and high - low >= max(gate.least, slack) and high >= low * (1 + share)

    return counts


def history_text(history: History, *, width: int | None = None) -> str:
    """Render each series with a change, for a terminal of some width if there is one."""
    parts = [_series_text(one, history.runs, width) for one in history.changed[:MAX_SHOWN]]
    more = len(history.changed) - MAX_SHOWN
    lines = [f"and {more} more; all are in --format json"] if more > 0 else []
    lines.append(headline(history))
    if len(history.runs) < MIN_VALUES:
        lines.append(
            f"with fewer than {MIN_VALUES} results a change cannot be distinguished from chance"
        )
    lines += [f"gates: {', '.join(history.gates)}"] if history.gates else []
    for why, count in history.left_out.items():
        lines.append(f"left out: {count} case{'s' * (count != 1)}, {printable(why)}")
    return "\n".join([*parts, *lines]) + "\n"


def headline(history: History) -> str:
    """Count the changes, in a line: `12 results: 1 change in 50 cases`."""
    count = sum(len(one.changes) for one in history.series)
    cases = len({one.case for one in history.series})
    changes = f"{count or 'no'} change{'s' * (count != 1)}"
    return f"{len(history.runs)} results: {changes} in {cases} case{'s' * (cases != 1)}"


def describe_change(change: MetricChange, metric: str, runs: tuple[Run, ...]) -> str:
    """Describe a change: `1.00 ms, then 1.05 ms (+5.0%) from result 8 on, 4567def`."""
    before, after = format_value(metric, change.before), format_value(metric, change.after)
    ratio = f" ({change.after / change.before - 1:+.1%})" if change.before else ""
    return (
        f"{before}, then {after}{ratio} from result {change.run + 1} on, {_name(runs[change.run])}"
    )


def history_document(history: History) -> dict[str, Any]:
    """Return everything as JSON's own types; runs are named by their place, from 0."""
    return {
        "runs": [
            {"source": run.source, "commit": run.commit, "created": run.created}
            for run in history.runs
        ],
        "gates": list(history.gates),
        "left_out": history.left_out,
        "series": [_metric_document(one) for one in history.series],
    }


def _metric_document(one: MetricHistory) -> dict[str, Any]:
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
            asdict(change) | {"outcome": change.outcome.value, "changed": list(change.changed)}
            for change in one.changes
        ],
    }


def _series_text(one: MetricHistory, runs: tuple[Run, ...], width: int | None) -> str:
    worst = min((change.outcome for change in one.changes), key=PLACES.__getitem__)
    indent = " " * (len(worst) + 2)
    lines = []
    for change in one.changes:
        text = f"{describe_change(change, one.metric, runs)}; p {change.p:.3f}"
        text += f"; {', '.join(change.changed)}" if change.changed else ""
        lines.append(paragraph(text, width, indent=indent, hang=""))
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
