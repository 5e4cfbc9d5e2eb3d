"""Several sets of results in order: the series of each case and metric, and where they change."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from radialbench.errors import ReportError
from radialbench.records.gate import Gate
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate
from radialbench.reports.check import common
from radialbench.reports.check.alike import differences, unlike
from radialbench.reports.check.baseline import of_the_same_devices
from radialbench.reports.check.figures import METRICS, Figure, Metric
from radialbench.reports.check.gates import NONE, Gates, gates_of, told_gates
from radialbench.reports.check.steps import FEWEST, Step, levels, steps, those_that_count
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
    """A figure in one run.

    Attributes:
        run: Place of the run.
        value: The figure, in the metric's unit.
        interval: 95% interval from its own samples; None for what has none.
    """

    run: int
    value: float
    interval: Estimate | None


@dataclass(frozen=True, slots=True)
class Shift:
    """A change that is as large as the gate.

    Attributes:
        run: Place of the first run after it.
        since: Place of the last run before it.
        before: Median from the change before it, or from the start.
        after: Median up to the next change, or to the end.
        outcome: `regressed` or `faster`.
        p: How likely a change as clear is in the same figures in random order.
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
class Series:
    """A metric of a case over the runs.

    Attributes:
        case: The case's id.
        metric: A name of `METRICS`.
        gate: The least change that counts.
        points: Of the runs that have the figure.
        shifts: Where it changed.
    """

    case: str
    metric: str
    gate: Gate
    points: tuple[Point, ...]
    shifts: tuple[Shift, ...]


@dataclass(frozen=True, slots=True)
class History:
    """All series.

    Attributes:
        runs: The earliest first.
        series: Those that changed first, as in the last run otherwise.
        left_out: Why figures of earlier runs are not compared with the last, and how many.
        gates: Those that are not the default ones.
    """

    runs: tuple[Run, ...]
    series: tuple[Series, ...]
    left_out: dict[str, int] = field(hash=False)
    gates: tuple[str, ...]

    @property
    def changed(self) -> tuple[Series, ...]:
        """Those with a change."""
        return tuple(one for one in self.series if one.shifts)


def run_of(source: str, records: Sequence[Record]) -> Run:
    """Make a run of a file's records, which are at least one."""
    latest = {(record.measure, record.case): record for record in records}
    last = max(latest.values(), key=lambda record: record.created)
    return Run(source, latest, last.environment.commit, last.created)


def history(runs: Sequence[Run], asked: Gates = NONE, *, noise: float = 0.0) -> History:
    """Find the series of the last run's cases, and their changes.

    Args:
        runs: The earliest first.
        asked: Gates, as for `check`; those of the suite are those of the last run.
        noise: What two runs of the same code are known to differ by, as for `check`.

    Raises:
        ReportError: Fewer than two runs, or one of another machine.
    """
    if len(runs) < 2:
        raise ReportError("a history takes two sets of results or more, the earliest first")
    last = runs[-1]
    alike = [_of_this_machine(run, last) for run in runs]
    left_out: Counter[str] = Counter()
    series = [
        one
        for key, record in last.records.items()
        for one in _of_case(key, record, alike, asked, noise, left_out)
    ]
    series.sort(key=lambda one: not one.shifts)
    told = told_gates(last.records.values(), asked)
    return History(tuple(runs), tuple(series), dict(left_out), told)


def _of_this_machine(run: Run, last: Run) -> Run:
    records = of_the_same_devices(list(run.records.values()), last.records.values())
    try:
        differences(common(last.records.values(), records), across_versions=True)
    except ReportError as error:
        raise ReportError(f"{run.source} beside {last.source}: {error}") from None
    return Run(run.source, {(r.measure, r.case): r for r in records}, run.commit, run.created)


def _of_case(
    key: Key,
    last: Record,
    runs: Sequence[Run],
    asked: Gates,
    noise: float,
    left_out: Counter[str],
) -> Iterator[Series]:
    records: dict[int, Record] = {}
    for place, run in enumerate(runs):
        found = run.records.get(key)
        if found is not None and (why := unlike(found, last)):
            left_out[why] += 1
        elif found is not None and found.timing is not None:
            records[place] = found
    gates = gates_of(last, asked)
    for name, metric in METRICS.items():
        gate, figures = gates[name], _figures(metric, records, last)
        if gate is not None and figures:
            yield _series(last.case, name, gate, figures, records, noise)


def _figures(metric: Metric, records: dict[int, Record], last: Record) -> dict[int, Figure]:
    """Figures by run, of those that were measured as in the last one."""
    now = metric.figure(last) if last.timing else None
    found = {place: metric.figure(record) for place, record in records.items()}
    return {
        place: figure
        for place, figure in found.items()
        if figure is not None and (now is None or figure.source == now.source)
    }


def _series(
    case: str,
    name: str,
    gate: Gate,
    figures: dict[int, Figure],
    records: dict[int, Record],
    noise: float,
) -> Series:
    metric, places = METRICS[name], list(figures)
    costs = [figure.value for figure in figures.values()]
    counts = _counts(metric, gate, list(figures.values()), noise)
    found: list[Step] = []
    # Where not even the extremes differ enough no order needs to be tried.
    if len(costs) >= FEWEST and counts(min(costs), max(costs)):
        found = those_that_count(costs, steps(costs), counts)
    sides = levels(costs, found)
    shifts = []
    for step, before, after in zip(found, sides, sides[1:], strict=False):
        since, run = places[step.at - 1], places[step.at]
        pair = (records[since], records[run])
        shifts.append(
            Shift(
                run=run,
                since=since,
                before=_shown(metric, before),
                after=_shown(metric, after),
                outcome=Outcome.REGRESSED if after > before else Outcome.FASTER,
                p=step.p,
                changed=differences([pair], across_versions=True),
            )
        )
    points = tuple(
        Point(place, _shown(metric, figure.value), _interval(metric, figure))
        for place, figure in figures.items()
    )
    return Series(case, name, gate, points, tuple(shifts))


def _counts(
    metric: Metric, gate: Gate, figures: Sequence[Figure], noise: float
) -> Callable[[float, float], bool]:
    """Whether a change counts, by the same rule as in `check`."""
    runs = median(figure.runs for figure in figures)
    slack = max(figure.slack for figure in figures)
    share = max(gate.share, 2 * max(runs, noise) if metric.sampled else runs)

    def counts(before: float, after: float) -> bool:
        low, high = min(before, after), max(before, after)
        if metric.sampled:
            return high >= low * (1 + max(share, gate.least / before))
        return high > low and high - low >= max(gate.least, slack) and high >= low * (1 + share)

    return counts


def _shown(metric: Metric, cost: float) -> float:
    return 1 / cost if metric.share else cost


def _interval(metric: Metric, figure: Figure) -> Estimate | None:
    ends = figure.interval
    if ends is None or not metric.share:
        return ends
    return ends.inverse()
