"""Summary: everything a report shows, as values, and how records become one."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from radialbench.errors import ReportError
from radialbench.records.result import Environment, Record, Status
from radialbench.records.store import RESULTS, ReadResult, read
from radialbench.reports.breakeven import BreakEven, break_evens
from radialbench.reports.check.compare import check
from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.columns import BASELINE_COLUMNS, COLUMNS, Value, case_values
from radialbench.reports.narrative import Section, describe_scaling
from radialbench.reports.rows import Row, by_sweep, differing, rows_of
from radialbench.reports.scaling import Scaling, scaling
from radialbench.reports.spread import spread_note
from radialbench.reports.sweeps import sweep_differences, sweep_texts
from radialbench.reports.text import format_range, format_sig3, join_and, plural, printable

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Summary:
    """Everything a report shows of a file of results; it has no slots, so that parts are cached.

    Attributes:
        source: Where the records come from, for people.
        rows: One per case, by sweep and length.
        environments: Different ones; times are compared within one only.
        break_evens: One per sparse mask and backend that was compared with dense.
        scaling: Growth along the sweeps.
        notes: Warnings to read before the numbers.
        check: Result of a check against a baseline, if one was given.
    """

    source: str
    rows: tuple[Row, ...]
    environments: tuple[Environment, ...]
    break_evens: tuple[BreakEven, ...]
    scaling: Scaling
    notes: tuple[str, ...]
    check: CheckResult | None = None

    @cached_property
    def timed(self) -> tuple[Row, ...]:
        """Rows of attention."""
        return tuple(row for row in self.rows if row.record.measure == "attention")

    @cached_property
    def compiled(self) -> tuple[Row, ...]:
        """Rows of compiling a table."""
        return tuple(row for row in self.rows if row.record.measure == "compile")

    @property
    def reasons(self) -> dict[tuple[Status, str], tuple[str, ...]]:
        """Cases that are not ok, by status and reason."""
        found: dict[tuple[Status, str], list[str]] = {}
        for row in self.rows:
            if not row.ok:
                found.setdefault((row.record.status, row.record.reason or ""), []).append(
                    row.record.case
                )
        return {key: tuple(cases) for key, cases in found.items()}

    @cached_property
    def sweeps(self) -> tuple[str, ...]:
        """Names of the sweeps, in order."""
        return tuple(dict.fromkeys(row.sweep for row in self.rows))

    def timed_of(self, sweep: str) -> list[Row]:
        """Return the rows of attention of a sweep."""
        return self._timed.get(sweep, [])

    def compiled_of(self, sweep: str) -> list[Row]:
        """Return the rows of compiling a table of a sweep."""
        return self._compiled.get(sweep, [])

    @cached_property
    def _timed(self) -> dict[str, list[Row]]:
        return by_sweep(self.timed)

    @cached_property
    def _compiled(self) -> dict[str, list[Row]]:
        return by_sweep(self.compiled)

    @cached_property
    def sweep_texts(self) -> dict[str, str]:
        """The sweeps in words, by name: what their cases share."""
        return sweep_texts(self.rows)

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites, in order."""
        return tuple(dict.fromkeys(row.record.suite for row in self.rows))

    @property
    def crossings(self) -> tuple[BreakEven, ...]:
        """Break-evens of more than one length: the speed-up of a single length says the same."""
        return tuple(one for one in self.break_evens if one.shortest < one.longest)

    @property
    def narrative(self) -> tuple[Section, ...]:
        """Growth in plain sentences."""
        return describe_scaling(self.scaling, sweep_differences(self.rows))

    @property
    def counted(self) -> str:
        """How the cases ended: `40 ok, 2 failed`."""
        found = [row.record.status for row in self.rows]
        counts = (f"{found.count(one)} {one}" for one in Status if one in found)
        return ", ".join(counts) or "no records"

    @property
    def cases(self) -> tuple[dict[str, Value], ...]:
        """Values of every column of `reports.columns`, by name, of each row."""
        verdicts = self.check.by_case if self.check else {}
        return tuple(case_values(row, verdicts.get(row.record.case)) for row in self.rows)

    def frame(self) -> "DataFrame":
        """Return the cases as a pandas DataFrame: one row per case, in the order of `rows`.

        Names of columns include their units, as `latency_ms` and `peak_bytes`; a value that a case
        does not have is missing. docs/reports.md describes the columns.
        """
        import pandas as pd

        verdicts = self.check.by_case if self.check else {}
        checked = [verdicts.get(row.record.case) for row in self.rows]
        values = {one: [one.get(row) for row in self.rows] for one in COLUMNS}
        values |= {one: [one.get(verdict) for verdict in checked] for one in BASELINE_COLUMNS}
        return pd.DataFrame(
            {one.name: pd.Series(of, dtype=one.dtype) for one, of in values.items()}
        )

    def _repr_html_(self) -> str:
        from radialbench.reports.page.overview import fragment

        return fragment(self)


def protocol(rows: Iterable[Row]) -> str:
    """Describe how times were sampled: samples, warm-ups, cache and timer."""
    timings = [row.record.timing for row in rows if row.record.timing]
    if not timings:
        return "nothing was timed"
    facts = {
        "samples": format_range([len(timing.samples_ms) for timing in timings]),
        "warm-ups": format_range([timing.warmups for timing in timings]),
        "cache": join_and(sorted({timing.cache for timing in timings})),
        "timer": join_and(sorted({printable(timing.timer) for timing in timings})),
    }
    clocks = join_and(sorted({printable(timing.clocks) for timing in timings if timing.clocks}))
    facts |= {"clocks": clocks} if clocks else {}
    return ", ".join(f"{name} {text}" for name, text in facts.items())


def load_summary(
    path: Path | str,
    baseline: Path | str | None = None,
    *,
    check: Callable[..., CheckResult] = check,
) -> Summary:
    """Read the results of a run and summarize them.

        frame = load_summary("results/smoke").frame()

    Args:
        path: A run's folder, or its file of results.
        baseline: Earlier results to check these against, likewise; every line must be a record.
        check: Checks the records: `radialbench.reports.check.compare.check`, or it with options.

    Raises:
        ReportError: There is no such file, it holds no records, or the two cannot be compared.
    """
    results = results_file(path)
    found = _read(results)
    verdicts = None
    if baseline is not None:
        before, earlier = whole_results(baseline)
        verdicts = check(found.records, earlier, source=str(results), baseline_source=before)
    return summarize(found.records, source=str(results), skipped=found.skipped, check=verdicts)


def results_file(path: Path | str) -> Path:
    """Return the file of results of a run.

    Args:
        path: The run's folder, or the file itself.

    Raises:
        ReportError: There is no such file.
    """
    path = Path(path)
    results = path / RESULTS if path.is_dir() else path
    if not results.exists():
        raise ReportError(
            f"there are no results at {results}; give a folder that `radialbench run` wrote, "
            f"or its {RESULTS}"
        )
    return results


def whole_results(path: Path | str) -> tuple[str, tuple[Record, ...]]:
    """Read results of which no line is skipped: a case that is skipped would look like a pass.

    Args:
        path: A run's folder, or its file of results.

    Returns:
        The file, for people, and its records.

    Raises:
        ReportError: There is no such file, it has no records, or lines that are not records.
    """
    results = results_file(path)
    return str(results), _read(results, whole=True).records


def _read(results: Path, *, whole: bool = False) -> ReadResult:
    found = read(results)
    if whole and found.skipped:
        more = f", and {len(found.skipped) - 1} more" if len(found.skipped) > 1 else ""
        raise ReportError(
            f"{results} holds lines that are no records: {found.skipped[0]}{more}. Measure again, "
            "or take those lines out"
        )
    if not found.records:
        why = f"; its first line is none: {found.skipped[0]}" if found.skipped else ""
        raise ReportError(f"{results} holds no records{why}. Run a suite with `radialbench run`")
    return found


def summarize(
    records: Sequence[Record],
    *,
    source: str = "",
    skipped: Iterable[str] = (),
    check: CheckResult | None = None,
) -> Summary:
    """Summarize records. The last record of a case counts.

    Args:
        records: In the order they were written.
        source: Where they come from, for people.
        skipped: Lines of the file that are no records, as `line 12: reason`.
        check: Result of a check of these records against a baseline.
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


def _notes(
    records: Sequence[Record],
    rows: Sequence[Row],
    environments: Sequence[Environment],
    skipped: list[str],
) -> Iterable[str]:
    for line in skipped:
        yield f"{printable(line)}; skipped"
    if replaced := len(records) - len(rows):
        yield f"{plural(replaced, 'earlier record')} of the same case left out: the last counts"
    if len(environments) > 1:
        yield (
            f"the records come from {len(environments)} environments "
            f"({printable('; '.join(differing(environments)))}): times are compared within one only"
        )
    commits = list(dict.fromkeys(row.record.environment.commit or "none" for row in rows))
    if len(commits) > 1:
        yield f"the records come from several commits: {printable(join_and(commits))}"
    cards = {(env.device, env.card) for row in rows if (env := row.record.environment).card}
    for device, count in Counter(device for device, _ in sorted(cards)).items():
        if count > 1:
            yield f"{count} GPUs were used ({printable(device)}): times of two may be 1% apart"
    if single := sum(len(row.samples_ms) == 1 for row in rows):
        timed = sum(row.ok for row in rows)
        yield f"{single} of {timed} times are of one sample: how much they vary is not known"
    if wide := spread_note(row.record for row in rows):
        yield wide
    for reason, count in Counter(row.uncompared for row in rows if row.uncompared).items():
        yield f"{plural(count, 'case')} without a speed-up: {reason}"


def environment_facts(summary: Summary) -> dict[str, dict[str, str]]:
    """Return facts of each environment and of how its rows were measured, by its name."""
    named = {}
    for place, env in enumerate(summary.environments):
        number = f" {place + 1}" if len(summary.environments) > 1 else ""
        rows = [row for row in summary.rows if row.place == place]
        named[f"Environment{number}"] = _environment_facts(env, rows)
    return named


def _environment_facts(env: Environment, rows: Sequence[Row]) -> dict[str, str]:
    commands = dict.fromkeys(row.record.environment.command for row in rows)
    commits = dict.fromkeys(row.record.environment.commit or "unknown" for row in rows)
    times = sorted(row.record.created for row in rows)
    timed = [row for row in rows if row.record.measure == "attention"]
    compiled = [row for row in rows if row.record.measure == "compile"]
    facts = {
        "Device": env.device,
        "Processor": f"{env.cpu}, {env.threads} threads on {env.cores} cores",
        "Memory": f"{format_sig3(env.memory_bytes / 2**30)} GiB",
        "System": f"{env.os}, Python {env.python}",
        "Versions": ", ".join(f"{name} {version}" for name, version in env.versions.items()),
        "Commit": ", ".join(commits),
        "Command": ", ".join(filter(None, commands)),
        "Measured": f"{times[0]} to {times[-1]}" if times else "",
        "Attention": protocol(timed) if timed else "",
        "Compiling": protocol(compiled) if compiled else "",
    }
    return {name: fact for name, fact in facts.items() if fact}
