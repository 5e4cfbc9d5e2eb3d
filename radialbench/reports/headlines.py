"""What people ask first: how much faster each mask is than the best dense kernel, how surely."""

from collections.abc import Iterable
from dataclasses import dataclass

from radialbench.reports.breakeven import BreakEven
from radialbench.reports.rows import Row
from radialbench.reports.summary import Summary


@dataclass(frozen=True, slots=True)
class Headline:
    """A mask on its fastest kernel, at the longest length with a dense result.

    Attributes:
        row: That case; it has a speed-up.
        even: From which length on that kernel's mask beats dense; None if it is not known.
    """

    row: Row
    even: BreakEven | None

    @property
    def ideal(self) -> float | None:
        """Speed-up in proportion to the pairs: one over the density."""
        table = self.row.table
        return 1 / table.density if table and table.density else None

    @property
    def reached(self) -> float | None:
        """Share of the ideal speed-up."""
        return self.row.speedup / self.ideal if self.row.speedup and self.ideal else None


def headlines(summary: Summary) -> dict[tuple[str, int], tuple[Headline, ...]]:
    """Give the headlines of each sweep and environment, the fastest mask first."""
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for row in summary.timed:
        if row.speedup is not None and not row.is_dense:
            best = found.setdefault((row.sweep, row.place), {})
            if row.mask not in best or _better(row, best[row.mask]):
                best[row.mask] = row
    evens = {(one.sweep, one.place, one.mask, one.backend): one for one in summary.break_evens}
    return {where: tuple(_sorted(where, best.values(), evens)) for where, best in found.items()}


def _better(row: Row, other: Row) -> bool:
    return (row.tokens, row.speedup or 0) > (other.tokens, other.speedup or 0)


def _sorted(
    where: tuple[str, int], rows: Iterable[Row], evens: dict[tuple[str, int, str, str], BreakEven]
) -> list[Headline]:
    ordered = sorted(rows, key=lambda row: -(row.speedup or 0))
    return [Headline(row, evens.get((*where, row.mask, row.backend))) for row in ordered]
