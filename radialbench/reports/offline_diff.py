"""Compare offline rows with those of a baseline: equal, changed or worse."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from radialbench.errors import ReportError
from radialbench.records.offline import KernelFigures, MaskFigures, Offline, OfflineRow
from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict, worst_first

Figure = int | float | str

PATHS = {
    "wgmma": "the warp group's matmuls (wgmma)",
    "tcgen05": "matmuls in tensor memory (tcgen05)",
    "copy_loads": "TMA loads",
    "copy_stores": "TMA stores",
}
"""Figures that must not fall to zero, and the fast path that is then lost."""


class OfflineOutcome(StrEnum):
    """Result of a row's comparison, the worst first."""

    REGRESSED = "regressed"
    MISSING = "missing"
    CHANGED = "changed"
    NEW = "new"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A figure that changed.

    Attributes:
        figure: Its name.
        before: Its value in the baseline.
        now: Its value in this version.
    """

    figure: str
    before: Figure
    now: Figure

    def __str__(self) -> str:
        return f"{self.figure} {_format_figure(self.before)} → {_format_figure(self.now)}"


@dataclass(frozen=True, slots=True)
class OfflineVerdict:
    """Comparison of a row with the baseline.

    Attributes:
        kind: `kernel` or `mask`.
        name: Name of the row.
        outcome: Its result.
        reason: What is worse or missing; empty if nothing is.
        changes: Figures that changed.
    """

    kind: str
    name: str
    outcome: OfflineOutcome
    reason: str = ""
    changes: tuple[FigureChange, ...] = ()

    @property
    def text(self) -> str:
        """The reason and the changes."""
        return "; ".join(filter(None, (self.reason, ", ".join(map(str, self.changes)))))


def compare_offline(before: Offline, now: Offline) -> tuple[OfflineVerdict, ...]:
    """Compare each row with the baseline's of the same name, the worst first.

    Worse are a missing kernel, more spills, a lost fast path, and a mask whose pairs changed.

    Raises:
        ReportError: The baseline is of another suite, compiler or number of SMs.
    """
    for figure in ("suite", "compiler", "sm_count"):
        was, is_ = getattr(before.head, figure), getattr(now.head, figure)
        if was != is_:
            raise ReportError(
                f"the baseline is of {figure} {was}, and this is {figure} {is_}: their figures "
                "differ for that alone. Write a baseline with --write where both are the same"
            )
    old = {(row.kind, row.name): row for row in before.rows}
    new = {(row.kind, row.name): row for row in now.rows}
    if old and not old.keys() & new.keys():
        raise ReportError("the baseline has no row of this suite; write it anew with --write")
    verdicts = [_verdict(old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]
    places = list(OfflineOutcome)
    return tuple(sorted(verdicts, key=lambda one: places.index(one.outcome)))


def offline_exit_code(
    verdicts: Iterable[OfflineVerdict], *, allow_missing: bool = False, strict: bool = False
) -> int:
    """Return the exit code of a check: 0 pass, 1 a row is worse, 2 rows are missing.

    Args:
        verdicts: Verdicts of all rows.
        allow_missing: Whether rows may be missing.
        strict: Whether changed rows count as worse.
    """
    found = {one.outcome for one in verdicts}
    if OfflineOutcome.REGRESSED in found or (strict and OfflineOutcome.CHANGED in found):
        return 1
    return 2 if OfflineOutcome.MISSING in found and not allow_missing else 0


def as_check_result(
    verdicts: Mapping[str, Iterable[OfflineVerdict]], baseline: str, *, strict: bool = False
) -> CheckResult:
    """Return an offline check as a check of results, for the output formats of both.

    Changed rows are inconclusive, since only a GPU shows whether they are slower.

    Args:
        verdicts: Verdicts of each suite's rows.
        baseline: Source of the baseline, for people.
        strict: Whether changed rows count as worse.
    """
    outcomes = {one.value: Outcome(one.value) for one in OfflineOutcome if one.value != "changed"}
    outcomes["changed"] = Outcome.REGRESSED if strict else Outcome.INCONCLUSIVE
    found = [
        Verdict(
            f"{suite}: {one.name}",
            one.kind,
            outcomes[one.outcome],
            f"changed: {one.text}"
            if one.outcome == "changed"
            else one.text or "every figure is equal",
        )
        for suite, every in verdicts.items()
        for one in every
    ]
    return CheckResult(", ".join(verdicts), baseline, tuple(worst_first(found)))


def counted_outcomes(verdicts: Iterable[OfflineVerdict]) -> str:
    """Count the rows by outcome, in words: `1 regressed, 29 pass`."""
    found = [one.outcome for one in verdicts]
    return ", ".join(f"{found.count(word)} {word}" for word in OfflineOutcome if word in found)


def _verdict(old: OfflineRow | None, new: OfflineRow | None) -> OfflineVerdict:
    row = new or old
    assert row is not None
    kind, name = row.kind, row.name
    if old is None:
        return OfflineVerdict(kind, name, OfflineOutcome.NEW, "not in the baseline")
    if new is None:
        return OfflineVerdict(kind, name, OfflineOutcome.MISSING, "the suite no longer has it")
    if old == new:
        return OfflineVerdict(kind, name, OfflineOutcome.PASS)
    if old.figures is None or new.figures is None:
        outcome = OfflineOutcome.CHANGED if old.figures is None else OfflineOutcome.REGRESSED
        return OfflineVerdict(kind, name, outcome, _ends(old, new))
    pairs = (
        (f.name, getattr(old.figures, f.name), getattr(new.figures, f.name))
        for f in fields(old.figures)
    )
    changes = tuple(FigureChange(*pair) for pair in pairs if pair[1] != pair[2])
    worse = "; ".join(_worse(old.figures, new.figures))
    outcome = OfflineOutcome.REGRESSED if worse else OfflineOutcome.CHANGED
    return OfflineVerdict(kind, name, outcome, worse, changes)


def _ends(old: OfflineRow, new: OfflineRow) -> str:
    """Describe a row that has no figures before or now."""
    if old.figures is None and new.figures is None:
        return f"there is none, as before, and now: {new.reason}"
    if old.figures is None:
        return f"there is one now; before: {old.reason}"
    return f"there is none any more: {new.reason}"


def _worse(old: KernelFigures | MaskFigures, new: KernelFigures | MaskFigures) -> Iterator[str]:
    if isinstance(old, MaskFigures) and isinstance(new, MaskFigures):
        if (old.pairs, old.attends) != (new.pairs, new.attends):
            yield "other pairs attend"
    elif isinstance(old, KernelFigures) and isinstance(new, KernelFigures):
        if new.spills > old.spills:
            yield "it spills more" if old.spills else "it spills"
        for figure, lost in PATHS.items():
            if getattr(old, figure) and not getattr(new, figure):
                yield f"it lost {lost}"
        if old.mma and not (new.mma or new.wgmma or new.tcgen05):
            yield "it lost all matmuls"


def _format_figure(figure: Figure) -> str:
    if isinstance(figure, str):
        return figure
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.6g}"
