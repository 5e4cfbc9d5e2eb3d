"""What `check` and `report --baseline` share: how results are judged, as the options say."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radialbench.records.result import Record
    from radialbench.reports.check.verdict import CheckResult

    Source = tuple[str, Sequence[Record]]
    """Where records come from, for people, and the records."""

    Judge = Callable[[Source, Source], CheckResult]
    """Compares results with those of a baseline."""


def judge_of(
    gate: Iterable[str] | None, gates: Path | None, noise_floor: str | None, across_versions: bool
) -> "Judge":
    """Return the comparer that a command's options ask for.

    Raises:
        ReportError: A gate cannot be read.
    """
    from radialbench.cli._options import noise_share
    from radialbench.reports.check.compare import check
    from radialbench.reports.check.gates import choose_gates

    chosen = choose_gates(gates, gate)

    def judge(current: "Source", baseline: "Source") -> "CheckResult":
        return check(
            current[1],
            baseline[1],
            chosen,
            source=current[0],
            baseline_source=baseline[0],
            across_versions=across_versions,
            noise_floor=noise_share(noise_floor, current[1]),
        )

    return judge
