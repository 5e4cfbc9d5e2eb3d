"""Offline rows beside those of a baseline: exactly equal, told, or worse."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from radialbench.errors import ReportError
from radialbench.records.offline import KernelFigures, MaskFigures, Offline, OfflineRow
from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict, worst_first

Figure = int | float | str

PATHS = {
    "wgmma": "the warp group's matrix products (wgmma)",
    "tcgen05": "matrix products in tensor memory (tcgen05)",
    "copy_loads": "the copy engine's loads",
    "copy_stores": "the copy engine's stores",
}
"""Figures that must not fall to none, and what is lost then."""


class OfflineOutcome(StrEnum):
    """How a row came out, the worst first."""

    REGRESSED = "regressed"
    MISSING = "missing"
    CHANGED = "changed"
    NEW = "new"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class FigureChange:
    """A figure that is not what it was.

    Attributes:
        figure: Its name.
        before: In the baseline.
        now: In this version.
    """

    figure: str
    before: Figure
    now: Figure

    def __str__(self) -> str:
        return f"{self.figure} {_written(self.before)} → {_written(self.now)}"


@dataclass(frozen=True, slots=True)
class OfflineVerdict:
    """What became of a row.

    Attributes:
        kind: `kernel` or `mask`.
        name: The row's.
        outcome: How it came out.
        reason: What is worse, or gone; empty if nothing is.
        changes: Figures that changed.
    """

    kind: str
    name: str
    outcome: OfflineOutcome
    reason: str = ""
    changes: tuple[FigureChange, ...] = ()

    @property
    def words(self) -> str:
        """The reason and the changes."""
        told = [self.reason] if self.reason else []
        told += [", ".join(map(str, self.changes))] if self.changes else []
        return "; ".join(told)


def compare_offline(before: Offline, now: Offline) -> tuple[OfflineVerdict, ...]:
    """Compare each row with the baseline's of the same name, the worst first.

    Worse are: a kernel that is gone, more spills, a fast path lost, and a mask whose pairs changed.

    Raises:
        ReportError: The baseline is of another suite, compiler or number of processors.
    """
    _check_alike(before, now)
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
    """Return the exit code of a check: 0 pass, 1 something is worse, 2 rows are gone.

    Args:
        verdicts: Of all rows.
        allow_missing: Whether rows may be gone.
        strict: Whether what changed counts as worse.
    """
    found = {one.outcome for one in verdicts}
    if OfflineOutcome.REGRESSED in found or (strict and OfflineOutcome.CHANGED in found):
        return 1
    return 2 if OfflineOutcome.MISSING in found and not allow_missing else 0


def as_check_result(
    verdicts: Mapping[str, Iterable[OfflineVerdict]], baseline: str, *, strict: bool = False
) -> CheckResult:
    """Turn an offline check into one of results, for the forms that both have.

    What changed is inconclusive there, since whether it is slower only a GPU can tell.

    Args:
        verdicts: Of each suite's rows.
        baseline: Where those come from that they are compared with, for people.
        strict: Whether what changed counts as worse.
    """
    outcomes = {one.value: Outcome(one.value) for one in OfflineOutcome if one.value != "changed"}
    outcomes["changed"] = Outcome.REGRESSED if strict else Outcome.INCONCLUSIVE
    found = [
        Verdict(f"{suite}: {one.name}", one.kind, outcomes[one.outcome], _as_reason(one))
        for suite, every in verdicts.items()
        for one in every
    ]
    return CheckResult(", ".join(verdicts), baseline, tuple(worst_first(found)))


def counted_outcomes(verdicts: Iterable[OfflineVerdict]) -> str:
    """Count the rows by outcome, in words: `1 regressed, 29 pass`."""
    found = [one.outcome for one in verdicts]
    return ", ".join(f"{found.count(word)} {word}" for word in OfflineOutcome if word in found)


def _check_alike(before: Offline, now: Offline) -> None:
    for figure in ("suite", "compiler", "processors"):
        was, is_ = getattr(before.head, figure), getattr(now.head, figure)
        if was != is_:
            raise ReportError(
                f"the baseline is of {figure} {was}, and this is {figure} {is_}: their figures "
                "differ for that alone. Write a baseline with --write where both are the same"
            )


def _verdict(old: OfflineRow | None, new: OfflineRow | None) -> OfflineVerdict:
    row = new or old
    assert row is not None
    kind, name = row.kind, row.name
    if old is None:
        return OfflineVerdict(kind, name, OfflineOutcome.NEW, "not in the baseline")
    if new is None:
        return OfflineVerdict(kind, name, OfflineOutcome.MISSING, "the suite has it no more")
    if old == new:
        return OfflineVerdict(kind, name, OfflineOutcome.PASS)
    if old.figures is None or new.figures is None:
        outcome = OfflineOutcome.CHANGED if old.figures is None else OfflineOutcome.REGRESSED
        return OfflineVerdict(kind, name, outcome, _ends(old, new))
    changes = tuple(_changes(old.figures, new.figures))
    worse = "; ".join(_worse(old.figures, new.figures))
    outcome = OfflineOutcome.REGRESSED if worse else OfflineOutcome.CHANGED
    return OfflineVerdict(kind, name, outcome, worse, changes)


def _ends(old: OfflineRow, new: OfflineRow) -> str:
    """Describe what a row came to that has no figures before, or now."""
    if old.figures is None and new.figures is None:
        return f"there is none, as before, and now: {new.reason}"
    if old.figures is None:
        return f"there is one now; before: {old.reason}"
    return f"there is none any more: {new.reason}"


def _changes(
    old: KernelFigures | MaskFigures, new: KernelFigures | MaskFigures
) -> Iterator[FigureChange]:
    for field in fields(old):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if before != now:
            yield FigureChange(field.name, before, now)


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
            yield "it lost all matrix products"


def _as_reason(one: OfflineVerdict) -> str:
    if one.outcome is OfflineOutcome.CHANGED:
        return f"changed: {one.words}"
    return one.words or "every figure is equal"


def _written(figure: Figure) -> str:
    if isinstance(figure, str):
        return figure
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.6g}"
