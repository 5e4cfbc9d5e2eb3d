"""Summary: everything a report says, as values; every format and chart is a function of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from radialbench.records.result import Environment, Status
from radialbench.reports.breakeven import BreakEven
from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.columns import BASELINE_COLUMNS, COLUMNS, Value, case_values
from radialbench.reports.narrative import Section, describe_scaling
from radialbench.reports.rows import Row, counts
from radialbench.reports.scaling import Scaling
from radialbench.reports.text import format_range, join_and, printable

if TYPE_CHECKING:
    from pandas import DataFrame


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
    def told(self) -> tuple[Section, ...]:
        """Growth in plain sentences."""
        return describe_scaling(self.scaling)

    @property
    def counted(self) -> str:
        """How the cases ended: `40 ok, 2 failed`."""
        found = counts(self.rows).items()
        return ", ".join(f"{count} {status}" for status, count in found) or "no records"

    @property
    def cases(self) -> tuple[dict[str, Value], ...]:
        """Values of every column of `reports.columns`, by name, of each row."""
        verdicts = self.check.by_case if self.check else {}
        return tuple(case_values(row, verdicts.get(row.record.case)) for row in self.rows)

    def frame(self) -> "DataFrame":
        """Return the cases as a pandas DataFrame: a row each, in the order of `rows`.

        Names of columns hold their units, as `latency_ms` and `peak_bytes`; what a case does not
        have is missing. docs/reports.md says what each column is.
        """
        import pandas as pd

        cases = self.cases
        return pd.DataFrame(
            {
                one.name: pd.Series([case[one.name] for case in cases], dtype=one.dtype)
                for one in (*COLUMNS, *BASELINE_COLUMNS)
            }
        )

    def _repr_html_(self) -> str:
        from radialbench.reports.page.summary import fragment

        return fragment(self)


def protocol(rows: Iterable[Row]) -> str:
    """Say how times were sampled: samples, warm-ups, cache and timer."""
    timings = [row.record.timing for row in rows if row.record.timing]
    if not timings:
        return "nothing was timed"
    told = {
        "samples": format_range([len(timing.samples_ms) for timing in timings]),
        "warm-ups": format_range([timing.warmups for timing in timings]),
        "cache": join_and(sorted({timing.cache for timing in timings})),
        "timer": join_and(sorted({printable(timing.timer) for timing in timings})),
    }
    clocks = join_and(sorted({printable(timing.clocks) for timing in timings if timing.clocks}))
    told |= {"clocks": clocks} if clocks else {}
    return ", ".join(f"{name} {text}" for name, text in told.items())
