"""Cohorts: the results of one machine, and the runs in a row that have the same versions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from radialbench.errors import ReportError
from radialbench.records.result import Environment
from radialbench.reports.check.baseline import version_diff
from radialbench.reports.check.history import History, Run, history, run_of
from radialbench.reports.check.metrics import NO_GATES, Gates, NoiseFloor


@dataclass(frozen=True, slots=True)
class VersionSpan:
    """Runs in a row whose libraries and system are the same; our own version may differ.

    Attributes:
        first: Place of the first run.
        last: Place of the last one.
        changed: What differs from the span before; empty for the first one.
    """

    first: int
    last: int
    changed: tuple[str, ...]


def by_machine(runs: Sequence[Run]) -> dict[str, tuple[Run, ...]]:
    """Split runs by machine.

    Args:
        runs: In some order, which is kept.

    Returns:
        The runs of each machine with the records of that machine only, by its name; the machine
        of the last run first.
    """
    found: dict[str, list[Run]] = {}
    for run in reversed(runs):
        for name in dict.fromkeys(machine for machine, *_ in run.records):
            records = [one for (machine, *_), one in run.records.items() if machine == name]
            found.setdefault(name, []).append(run_of(run.source, records))
    return {name: tuple(reversed(listed)) for name, listed in found.items()}


def by_machine_history(
    runs: Sequence[Run], asked: Gates = NO_GATES, *, noise_floor: NoiseFloor = None
) -> tuple[dict[str, History], list[str]]:
    """Find the history of each machine.

    Arguments are those of `history`.

    Returns:
        Histories by machine, that of the last run first; and why other machines have none.

    Raises:
        ReportError: The machine of the last run has none.
    """
    found: dict[str, History] = {}
    missing = []
    for name, own in by_machine(runs).items():
        try:
            found[name] = history(own, asked, noise_floor=noise_floor)
        except ReportError as error:
            if not found:
                raise
            missing.append(f"{name} is left out: {error}")
    return found, missing


def version_spans(runs: Sequence[Run]) -> tuple[VersionSpan, ...]:
    """Return the spans of runs of one machine, the earliest first."""
    spans: list[VersionSpan] = []
    before: Environment | None = None
    for place, run in enumerate(runs):
        now = next(reversed(run.records.values())).environment
        changed = () if before is None else tuple(version_diff(before, now))
        if spans and not changed:
            spans[-1] = replace(spans[-1], last=place)
        else:
            spans.append(VersionSpan(place, place, changed))
        before = now
    return tuple(spans)
