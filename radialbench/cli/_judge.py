"""What `check` and `report --baseline` share: how results are judged, as the options say."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radialbench.records.result import Record
    from radialbench.reports.check.verdict import CheckResult


def judge_of(
    gate: Iterable[str] | None, gates: Path | None, noise_floor: str | None, across_versions: bool
) -> "Callable[..., CheckResult]":
    """Return `reports.check.compare.check` with what a command's options ask for.

    Raises:
        ReportError: A gate cannot be read.
    """
    from radialbench.cli._options import noise_share
    from radialbench.reports.check.compare import check
    from radialbench.reports.check.metrics import choose_gates

    chosen = choose_gates(gates, gate)

    def judge(
        current: "Sequence[Record]", baseline: "Sequence[Record]", **sources: str
    ) -> "CheckResult":
        return check(
            current,
            baseline,
            chosen,
            across_versions=across_versions,
            noise_floor=noise_share(noise_floor, current),
            **sources,
        )

    return judge
