"""Summary: everything a report says, as values; every format and chart is a function of it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from radialbench.records.result import Environment, Record, Status
from radialbench.reports.breakeven import BreakEven, break_evens
from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.numbers import listed, plain, span
from radialbench.reports.rows import Row, counts, differing, rows_of
from radialbench.reports.scaling import Scaling, scaling
from radialbench.reports.told import Told, tell


@dataclass(frozen=True, slots=True)
class Summary:
    """What a file of results says.

    Attributes:
        source: Where the records come from, for people.
        rows: One a case, by sweep and length.
        environments: Those that are not alike; times are compared within one only.
        break_evens: One for every sparse mask and backend that was compared with dense.
        scaling: Growth along the sweeps.
        notes: What a reader should know before the numbers.
        check: What a check against a baseline decided, if one was given.
    """

    source: str
    rows: tuple[Row, ...]
    environments: tuple[Environment, ...]
    break_evens: tuple[BreakEven, ...]
    scaling: Scaling
    notes: tuple[str, ...]
    check: CheckResult | None = None

    @property
    def timed(self) -> tuple[Row, ...]:
        """Rows of attention."""
        return tuple(row for row in self.rows if row.record.measure == "attention")

    @property
    def compiled(self) -> tuple[Row, ...]:
        """Rows of compiling a table."""
        return tuple(row for row in self.rows if row.record.measure == "compile")

    @property
    def unsound(self) -> tuple[Row, ...]:
        """Rows that are not ok."""
        return tuple(row for row in self.rows if not row.ok)

    @property
    def reasons(self) -> dict[tuple[Status, str], tuple[str, ...]]:
        """Cases that are not ok, by status and reason."""
        found: dict[tuple[Status, str], tuple[str, ...]] = {}
        for row in self.unsound:
            key = row.record.status, row.record.reason or ""
            found[key] = (*found.get(key, ()), row.record.case)
        return found

    @property
    def sweeps(self) -> tuple[str, ...]:
        """Names of the sweeps, in order."""
        return tuple(dict.fromkeys(row.sweep for row in self.rows))

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites, in order."""
        return tuple(dict.fromkeys(row.record.suite for row in self.rows))

    @property
    def crossings(self) -> tuple[BreakEven, ...]:
        """Break-evens of more than one length: of a single one, the speed-up says the same."""
        return tuple(one for one in self.break_evens if one.shortest < one.longest)

    @property
    def told(self) -> tuple[Told, ...]:
        """Growth in plain sentences."""
        return tell(self.scaling)

    @property
    def counted(self) -> str:
        """How the cases ended: `40 ok, 2 failed`."""
        found = counts(self.rows).items()
        return ", ".join(f"{count} {status}" for status, count in found) or "no records"

    def _repr_html_(self) -> str:
        from radialbench.reports.page.summary import fragment

        return fragment(self)


def summarize(
    records: Sequence[Record],
    *,
    source: str = "",
    skipped: Iterable[str] = (),
    check: CheckResult | None = None,
) -> Summary:
    """Sum up records. The last record of a case counts.

    Args:
        records: In the order they were written.
        source: Where they come from, for people.
        skipped: Lines of the file that are no records, as `line 12: reason`.
        check: What a check of these records against a baseline decided.
    """
    rows, environments = rows_of(records)
    return Summary(
        source=source,
        rows=rows,
        environments=environments,
        break_evens=break_evens(rows),
        scaling=scaling(rows),
        notes=tuple(_notes(records, rows, environments, list(skipped))),
        check=check,
    )


def protocol(rows: Iterable[Row]) -> str:
    """Say how times were sampled: samples, warm-ups, cache and timer."""
    timings = [row.record.timing for row in rows if row.record.timing]
    if not timings:
        return "nothing was timed"
    told = {
        "samples": span([len(timing.samples_ms) for timing in timings]),
        "warm-ups": span([timing.warmups for timing in timings]),
        "cache": listed(sorted({timing.cache for timing in timings})),
        "timer": listed(sorted({plain(timing.timer) for timing in timings})),
    }
    clocks = listed(sorted({plain(timing.clocks) for timing in timings if timing.clocks}))
    told |= {"clocks": clocks} if clocks else {}
    return ", ".join(f"{name} {text}" for name, text in told.items())


def _notes(
    records: Sequence[Record],
    rows: Sequence[Row],
    environments: Sequence[Environment],
    skipped: list[str],
) -> Iterable[str]:
    for line in skipped:
        yield f"{plain(line)}; skipped"
    if replaced := len(records) - len(rows):
        s = "s" * (replaced > 1)
        yield f"{replaced} earlier record{s} of the same case left out: the last counts"
    if len(environments) > 1:
        yield (
            f"the records come from {len(environments)} environments "
            f"({plain('; '.join(differing(environments)))}): times are compared within one only"
        )
    commits = list(dict.fromkeys(row.record.environment.commit or "none" for row in rows))
    if len(commits) > 1:
        yield f"the records come from several commits: {plain(listed(commits))}"
    cards = {(env.device, env.card) for row in rows if (env := row.record.environment).card}
    for device, count in Counter(device for device, _ in sorted(cards)).items():
        if count > 1:
            yield f"{count} GPUs were used ({plain(device)}): times of two may be 1% apart"
    if single := sum(len(row.samples_ms) == 1 for row in rows):
        timed = sum(row.ok for row in rows)
        yield f"{single} of {timed} times are of one sample: how much they vary is not known"
    reasons: dict[str, int] = {}
    for row in rows:
        if row.uncompared:
            reasons[row.uncompared] = reasons.get(row.uncompared, 0) + 1
    for reason, count in reasons.items():
        yield f"{count} case{'s' * (count > 1)} without a speed-up: {reason}"
