"""Block tables of a run, compiled once for all backends that share them."""

from collections import OrderedDict
from time import perf_counter

from radialbench.maskgen.compile import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.spec import MaskSpec
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import TableStats

KEPT = 4
"""Tables kept at a time; plans put the cases of a table side by side."""

Key = tuple[str, TokenGrid, int, int]


class Tables:
    """Compiles tables, and keeps the last few with the time they took."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[BlockTable, float]] = OrderedDict()

    def table(
        self, mask: MaskSpec, grid: TokenGrid, config: KernelConfig
    ) -> tuple[BlockTable, float]:
        """Give a table, and the milliseconds it took to compile.

        Raises:
            SpecError: The mask does not fit the grid.
        """
        key = (mask.fingerprint, grid, config.block_m, config.block_n)
        if key not in self._kept:
            begin = perf_counter()
            table = compile_mask(mask, grid, config.block_m, config.block_n)
            self._kept[key] = table, (perf_counter() - begin) * 1e3
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def table_stats(table: BlockTable, problem: Problem, compile_ms: float) -> TableStats:
    """Sum up a table for the record."""
    heads = problem.batch * problem.heads
    return TableStats(
        pairs=table.pairs,
        density=table.density,
        block_density=table.block_density,
        full=table.full.nnz,
        partial=table.partial.nnz,
        bitmaps=len(table.bitmaps),
        nbytes=table.nbytes,
        flops=table.flops(heads, problem.head_dim),
        executed_flops=table.executed_flops(heads, problem.head_dim),
        compile_ms=compile_ms,
    )
