"""What `check` and `report --baseline` share: how results are judged, as the options say."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radialbench.reports.check.verdict import CheckResult


def judge_of(
    gate: Iterable[str] | None, gates: Path | None, run_noise: float, across_versions: bool
) -> "Callable[..., CheckResult]":
    """Return `reports.check.compare.check` with what a command's options ask for.

    Raises:
        ReportError: A gate cannot be read.
    """
    from radialbench.reports.check.compare import check
    from radialbench.reports.check.gates import choose_gates

    return partial(
        check,
        gates=choose_gates(gates, gate),
        across_versions=across_versions,
        noise_floor=run_noise / 100,
    )
