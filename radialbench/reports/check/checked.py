"""A check as a whole: what was compared, and every verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from radialbench.records.result import Record
from radialbench.reports.check import check, common
from radialbench.reports.check.alike import differences
from radialbench.reports.check.baseline import of_the_same_devices
from radialbench.reports.check.gates import NONE, Gates, told_gates
from radialbench.reports.check.verdict import Outcome, Verdict, counted, worst_first


@dataclass(frozen=True, slots=True)
class Checked:
    """What the forms of a check are made from.

    Attributes:
        source: Where the records come from, for people.
        baseline: Where those come from that they are compared with.
        verdicts: The worst first.
        changed: What else differs between the two runs, such as `commit: 0123abc and 4567def`.
        gates: Those that are not the default ones, such as `latency 5% (suite)`.
    """

    source: str
    baseline: str
    verdicts: tuple[Verdict, ...]
    changed: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """All verdicts in a line: `2 cases: 1 regressed, 5 pass`."""
        # A sweep has a verdict of its own, and is no case.
        cases = len({one.case for one in self.verdicts if one.metric != "scaling"})
        return f"{cases} case{'s' * (cases != 1)}: {counted(self.verdicts)}"

    @property
    def told(self) -> tuple[Verdict, ...]:
        """Those a reader has to know of: all but what passes."""
        return tuple(one for one in self.verdicts if one.outcome is not Outcome.PASS)


def checked(
    current: tuple[str, Sequence[Record]],
    baseline: tuple[str, Sequence[Record]],
    gates: Gates = NONE,
    *,
    across_versions: bool = False,
    runs: float = 0.0,
) -> Checked:
    """Check records against a baseline, if their environments allow it.

    Args:
        current: Where the records come from, and the records.
        baseline: The same of what they are compared with.
        gates: The least change of a metric that counts, as in `check`.
        across_versions: Whether libraries and system may differ.
        runs: What two runs of the same code are known to differ by, as in `check`.

    Raises:
        ReportError: The environments are unlike, or no case is in both.
    """
    before = of_the_same_devices(baseline[1], current[1])
    changed = differences(common(current[1], before), across_versions=across_versions)
    verdicts = check(current[1], before, gates, runs=runs)
    told = told_gates(current[1], gates)
    return Checked(current[0], baseline[0], tuple(worst_first(verdicts)), changed, told)
