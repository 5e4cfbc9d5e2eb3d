"""From records, or a file of them, to a summary."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from radialbench.errors import ReportError
from radialbench.records.result import Environment, Record
from radialbench.records.store import RESULTS, ReadResult, read
from radialbench.reports.breakeven import break_evens
from radialbench.reports.compare import compare
from radialbench.reports.numbers import listed, plain
from radialbench.reports.rows import Row, differing, rows_of
from radialbench.reports.scaling import scaling
from radialbench.reports.summary import Summary


def load_summary(path: Path | str, baseline: Path | str | None = None) -> Summary:
    """Read the results of a run, and sum them up.

        frame = load_summary("results/smoke").frame()

    Args:
        path: A run's folder, or its file of results.
        baseline: Earlier results to compare with, likewise.

    Raises:
        ReportError: There is no such file, or it holds no records.
    """
    results = results_file(path)
    earlier = None
    if baseline is not None:
        before = results_file(baseline)
        earlier = (str(before), _read(before).records)
    found = _read(results)
    return summarize(found.records, source=str(results), skipped=found.skipped, baseline=earlier)


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


def _read(results: Path) -> ReadResult:
    found = read(results)
    if not found.records:
        why = f"; its first line is none: {found.skipped[0]}" if found.skipped else ""
        raise ReportError(f"{results} holds no records{why}. Run a suite with `radialbench run`")
    return found


def summarize(
    records: Sequence[Record],
    *,
    source: str = "",
    skipped: Iterable[str] = (),
    baseline: tuple[str, Sequence[Record]] | None = None,
) -> Summary:
    """Sum up records. The last record of a case counts.

    Args:
        records: In the order they were written.
        source: Where they come from, for people.
        skipped: Lines of the file that are no records, as `line 12: reason`.
        baseline: Where earlier records come from, and the records, to compare these with.
    """
    rows, environments = rows_of(records)
    return Summary(
        source=source,
        rows=rows,
        environments=environments,
        break_evens=break_evens(rows),
        scaling=scaling(rows),
        notes=tuple(_notes(records, rows, environments, list(skipped))),
        comparison=compare(rows, baseline[1], baseline[0]) if baseline else None,
    )


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
