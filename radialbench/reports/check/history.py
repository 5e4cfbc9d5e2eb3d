"""Several sets of results in order: the series of each case and metric, and where they change."""

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from radialbench.errors import ReportError
from radialbench.records.gate import Gate
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate
from radialbench.reports.check.baseline import of_the_same_devices
from radialbench.reports.check.change_points import (
    FEWEST,
    ChangePoint,
    change_points,
    drop_small,
    segment_medians,
)
from radialbench.reports.check.compare import common
from radialbench.reports.check.environment_diff import environment_diff, why_unlike
from radialbench.reports.check.gates import NO_GATES, Gates, describe_gates, gates_of
from radialbench.reports.check.metrics import METRICS, Metric, MetricValue
from radialbench.reports.check.verdict import Outcome

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """A set of results.

    Attributes:
        source: Where it comes from, for people.
        records: The last of each case, by measure and case.
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
        series: Those that changed first, as in the last run otherwise.
        left_out: Why values of earlier runs are not compared with the last, and how many.
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
    """Make a run of a file's records, which are at least one."""
    latest = {(record.measure, record.case): record for record in records}
    last = max(latest.values(), key=lambda record: record.created)
    return Run(source, latest, last.environment.commit, last.created)


def history(runs: Sequence[Run], asked: Gates = NO_GATES, *, noise_floor: float = 0.0) -> History:
    """Find the series of the last run's cases, and their changes.

    Args:
        runs: The earliest first.
        asked: Gates, as for `check`; those of the suite are those of the last run.
        noise_floor: What two runs of the same code are known to differ by, as for `check`.

    Raises:
        ReportError: Fewer than two runs, or one of another machine.
    """
    if len(runs) < 2:
        raise ReportError("a history takes two sets of results or more, the earliest first")
    last = runs[-1]
    comparable = [_of_this_machine(run, last) for run in runs]
    left_out: Counter[str] = Counter()
    series = [
        one
        for key, record in last.records.items()
        for one in _of_case(key, record, comparable, asked, noise_floor, left_out)
    ]
    series.sort(key=lambda one: not one.changes)
    told = describe_gates(last.records.values(), asked)
    return History(tuple(runs), tuple(series), dict(left_out), told)


def _of_this_machine(run: Run, last: Run) -> Run:
    records = of_the_same_devices(list(run.records.values()), last.records.values())
    try:
        environment_diff(common(last.records.values(), records), across_versions=True)
    except ReportError as error:
        raise ReportError(f"{run.source} beside {last.source}: {error}") from None
    return Run(run.source, {(r.measure, r.case): r for r in records}, run.commit, run.created)


def _of_case(
    key: Key,
    last: Record,
    runs: Sequence[Run],
    asked: Gates,
    noise_floor: float,
    left_out: Counter[str],
) -> Iterator[MetricHistory]:
    records: dict[int, Record] = {}
    for place, run in enumerate(runs):
        found = run.records.get(key)
        if found is not None and (why := why_unlike(found, last)):
            left_out[why] += 1
        elif found is not None and found.timing is not None:
            records[place] = found
    gates = gates_of(last, asked)
    for name, metric in METRICS.items():
        gate, values = gates[name], _values(metric, records, last)
        if gate is not None and values:
            yield _series(last.case, name, gate, values, records, noise_floor)


def _values(metric: Metric, records: dict[int, Record], last: Record) -> dict[int, MetricValue]:
    """Figures by run, of those that were measured as in the last one."""
    now = metric.value_of(last) if last.timing else None
    found = {place: metric.value_of(record) for place, record in records.items()}
    return {
        place: value
        for place, value in found.items()
        if value is not None and (now is None or value.source == now.source)
    }


def _series(
    case: str,
    name: str,
    gate: Gate,
    values: dict[int, MetricValue],
    records: dict[int, Record],
    noise_floor: float,
) -> MetricHistory:
    metric, places = METRICS[name], list(values)
    costs = [value.value for value in values.values()]
    counts = _counts(metric, gate, list(values.values()), noise_floor)
    found: list[ChangePoint] = []
    # Where not even the extremes differ enough no order needs to be tried.
    if len(costs) >= FEWEST and counts(min(costs), max(costs)):
        found = drop_small(costs, change_points(costs), counts)
    sides = segment_medians(costs, found)
    changes = []
    for step, before, after in zip(found, sides, sides[1:], strict=False):
        since, run = places[step.at - 1], places[step.at]
        pair = (records[since], records[run])
        changes.append(
            MetricChange(
                run=run,
                since=since,
                before=_shown(metric, before),
                after=_shown(metric, after),
                outcome=Outcome.REGRESSED if after > before else Outcome.FASTER,
                p=step.p,
                changed=environment_diff([pair], across_versions=True),
            )
        )
    points = tuple(
        Point(place, _shown(metric, value.value), _interval(metric, value))
        for place, value in values.items()
    )
    return MetricHistory(case, name, gate, points, tuple(changes))


def _counts(
    metric: Metric, gate: Gate, values: Sequence[MetricValue], noise_floor: float
) -> Callable[[float, float], bool]:
    """Whether a change counts, by the same rule as in `check`."""
    runs = median(value.runs for value in values)
    slack = max(value.slack for value in values)
    share = max(gate.share, 2 * max(runs, noise_floor) if metric.sampled else runs)

    def counts(before: float, after: float) -> bool:
        low, high = min(before, after), max(before, after)
        if metric.sampled:
            return high >= low * (1 + max(share, gate.least / before))
        return high > low and high - low >= max(gate.least, slack) and high >= low * (1 + share)

    return counts


def _shown(metric: Metric, cost: float) -> float:
    return 1 / cost if metric.share else cost


def _interval(metric: Metric, value: MetricValue) -> Estimate | None:
    ends = value.interval
    if ends is None or not metric.share:
        return ends
    return ends.inverse()


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
