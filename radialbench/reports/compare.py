"""The same cases in an earlier file of results: both times, their ratio, and what has no ratio."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from radialbench.records.problem import Problem
from radialbench.records.result import Environment, Record
from radialbench.records.statistics import Estimate
from radialbench.reports.numbers import between, listed, plain, times
from radialbench.reports.rows import Row, differing
from radialbench.reports.times import ratio_of_totals, total_ms

HERE = ("device", "cpu", "cores", "threads", "os")
"""What must be the same for two times to be compared; libraries may differ: that is often asked."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A case that both files have a time of.

    Attributes:
        row: The case now.
        before: Its record in the baseline.
        before_ms: Time there, token order included.
        ratio: That time over the time now: above 1 it is faster now.
        interval: 95% interval of the ratio; None with too few samples.
        config: What differs in the configuration, such as `block_n: 128 and 64`; empty if nothing.
    """

    row: Row
    before: Record
    before_ms: float
    ratio: float
    interval: Estimate | None
    config: str

    @property
    def verdict(self) -> str:
        """`faster`, `slower`, `no difference` that the samples can show, or that they are few."""
        if self.interval is None:
            return "too few samples to tell"
        if self.interval.surely_above(1):
            return "faster"
        return "slower" if self.interval.surely_below(1) else "no difference shown"

    @property
    def text(self) -> str:
        """The ratio, its interval and the verdict in words."""
        told = times(self.ratio)
        if self.interval:
            told += f" ({between(self.interval, times)})"
        changed = f"; {self.config}" if self.config else ""
        return f"{told}, {self.verdict}{changed}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A summary's cases beside a baseline's.

    Attributes:
        source: Where the baseline comes from, for people.
        cases: Those with a ratio, in the order of the rows.
        apart: Cases without one, by reason.
        changed: What else differs between the two runs, such as `triton: 3.5.0 and 3.6.0`.
    """

    source: str
    cases: tuple[Compared, ...]
    apart: dict[str, tuple[str, ...]]
    changed: tuple[str, ...]

    @property
    def by_case(self) -> dict[tuple[str, str], Compared]:
        """The comparisons by suite and case of the row."""
        return {(one.row.record.suite, one.row.record.case): one for one in self.cases}

    @property
    def counted(self) -> str:
        """How the comparisons came out: `3 faster, 1 slower`."""
        verdicts = [one.verdict for one in self.cases]
        order = ("faster", "slower", "no difference shown", "too few samples to tell")
        found = [f"{verdicts.count(word)} {word}" for word in order if word in verdicts]
        alone = sum(map(len, self.apart.values()))
        found += [f"{alone} not compared"] if alone else []
        return ", ".join(found) or "nothing to compare"


def compare(rows: Sequence[Row], baseline: Iterable[Record], source: str) -> Comparison:
    """Compare cases with those of the same name in a baseline; its last record of a case counts.

    Args:
        rows: The cases.
        baseline: Records of the other file.
        source: Where it comes from, for people.
    """
    # A suite may have been renamed, or be part of another one; the case says what was computed.
    before = {(record.measure, record.case): record for record in baseline}
    cases: list[Compared] = []
    apart: dict[str, list[str]] = {}
    changed: dict[str, None] = {}
    for row in rows:
        old = before.pop((row.record.measure, row.record.case), None)
        why = "only in this file" if old is None else _apart(row.record, old)
        if why or old is None:
            apart.setdefault(why or "", []).append(row.record.case)
        else:
            cases.append(_compared(row, old))
            changed |= dict.fromkeys(_changed(old.environment, row.record.environment))
    for old in before.values():
        apart.setdefault("only in the baseline", []).append(old.case)
    named = {why: tuple(names) for why, names in apart.items()}
    return Comparison(source, tuple(cases), named, tuple(changed))


def _compared(row: Row, old: Record) -> Compared:
    ratio = ratio_of_totals(old, row.record)
    return Compared(
        row=row,
        before=old,
        before_ms=total_ms(old).value,
        ratio=ratio.value,
        interval=ratio if ratio.ends else None,
        config=listed(_fields(old.config, row.record.config)),
    )


def _apart(now: Record, old: Record) -> str:
    """Say why two records of a case have no ratio; empty if they have one."""
    if problems := _fields(old.problem, now.problem):
        return f"another problem ({'; '.join(problems)})"
    if old.timing is None or now.timing is None:
        return f"{old.status.value} in the baseline, {now.status.value} in this file"
    there, here = old.environment, now.environment
    where = [name for name in HERE if getattr(there, name) != getattr(here, name)]
    if where:
        told = [f"{name}: {getattr(there, name)} and {getattr(here, name)}" for name in where]
        return f"another {'device' if 'device' in where else 'machine'} ({plain('; '.join(told))})"
    if unlike := old.timing.unlike(now.timing):
        return f"measured differently ({plain('; '.join(unlike))})"
    return ""


def _changed(there: Environment, here: Environment) -> list[str]:
    found = [plain(words) for words in differing([there, here])]
    if there.commit != here.commit:
        found.append(f"commit: {plain(str(there.commit))} and {plain(str(here.commit))}")
    return found


def _fields(one: object, other: object) -> list[str]:
    """In which fields two values of the same type differ."""
    names = [field.name for field in fields(one)]  # type: ignore[arg-type]
    if isinstance(one, Problem) and isinstance(other, Problem):
        # 1/√head_dim, given or not, is the same scale.
        names = ["scale" if name == "sm_scale" else name for name in names]
    pairs = [(name, getattr(one, name), getattr(other, name)) for name in names]
    return [f"{name}: {plain(str(a))} and {plain(str(b))}" for name, a, b in pairs if a != b]
