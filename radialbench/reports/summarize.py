"""From records, or a file of them, to a summary."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from radialbench.errors import ReportError
from radialbench.records.result import Environment, Record
from radialbench.records.store import RESULTS, ReadResult, read
from radialbench.reports.breakeven import break_evens
from radialbench.reports.check.compare import check
from radialbench.reports.check.verdict import CheckResult
from radialbench.reports.rows import Row, differing, rows_of
from radialbench.reports.scaling import scaling
from radialbench.reports.summary import Summary
from radialbench.reports.text import join_and, printable


def load_summary(
    path: Path | str,
    baseline: Path | str | None = None,
    *,
    check: Callable[..., CheckResult] = check,
) -> Summary:
    """Read the results of a run, and sum them up.

        frame = load_summary("results/smoke").frame()

    Args:
        path: A run's folder, or its file of results.
        baseline: Earlier results to check these against, likewise; every line has to be a record.
        check: Checks the records; `radialbench.reports.check.compare.check`, or that with options.

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
    """Find the file of results of a run.

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
    """Read results of which no line is missing: what is missing would look like a pass.

    Args:
        path: A run's folder, or its file of results.

    Returns:
        The file, for people, and its records.

    Raises:
        ReportError: There is no such file, it holds no records, or lines that are none.
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


def _notes(
    records: Sequence[Record],
    rows: Sequence[Row],
    environments: Sequence[Environment],
    skipped: list[str],
) -> Iterable[str]:
    for line in skipped:
        yield f"{printable(line)}; skipped"
    if replaced := len(records) - len(rows):
        s = "s" * (replaced > 1)
        yield f"{replaced} earlier record{s} of the same case left out: the last counts"
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
    reasons: dict[str, int] = {}
    for row in rows:
        if row.uncompared:
            reasons[row.uncompared] = reasons.get(row.uncompared, 0) + 1
    for reason, count in reasons.items():
        yield f"{count} case{'s' * (count > 1)} without a speed-up: {reason}"
