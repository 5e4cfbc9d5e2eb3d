"""Block tables of a run, compiled once for all backends that share them."""

import os
import pickle
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path
from time import perf_counter

from radialbench.maskgen.compiler.compile import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import TableStats

KEPT = 4
"""Tables kept at a time; plans put the cases of a table side by side."""

SHARED_KEPT = 32
"""The same where tables are shared: who tries all block sizes comes back to each."""

Key = tuple[str, TokenGrid, int, int]


Timed = tuple[BlockTable, float]
"""A table, and the milliseconds it took to compile."""


class Tables:
    """Compiles tables, and keeps the last few with the time they took.

    Several processes can share a folder: what one has compiled with `shared_table` the others read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._kept: OrderedDict[Key, Timed] = OrderedDict()
        self._folder = folder
        self._most = SHARED_KEPT if folder else KEPT

    def table(self, mask: MaskSpec, grid: TokenGrid, config: KernelConfig) -> Timed:
        """Give a table, and the milliseconds it took to compile.

        Raises:
            SpecError: The mask does not fit the grid.
        """
        key = _key(mask, grid, config)
        if key not in self._kept:
            found = _read(self._folder, key) if self._folder else None
            self._kept[key] = found or _compiled(mask, grid, config)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def shared_table(folder: Path, mask: MaskSpec, grid: TokenGrid, config: KernelConfig) -> BlockTable:
    """Give a table that others find in a folder of this program's own; compiled if it is not there.

    Raises:
        SpecError: The mask does not fit the grid.
    """
    key = _key(mask, grid, config)
    found = _read(folder, key)
    if found is None:
        found = _compiled(mask, grid, config)
        path = _path(folder, key)
        # Whole or not at all: another process may read it at any moment.
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(pickle.dumps(found, pickle.HIGHEST_PROTOCOL))
        part.replace(path)
    return found[0]


def _key(mask: MaskSpec, grid: TokenGrid, config: KernelConfig) -> Key:
    return (mask.fingerprint, grid, config.block_m, config.block_n)


def _path(folder: Path, key: Key) -> Path:
    return folder / f"{sha256(repr(key).encode()).hexdigest()[:32]}.table"


def _read(folder: Path, key: Key) -> Timed | None:
    try:
        found: Timed = pickle.loads(_path(folder, key).read_bytes())
    except FileNotFoundError:
        return None
    return found


def _compiled(mask: MaskSpec, grid: TokenGrid, config: KernelConfig) -> Timed:
    begin = perf_counter()
    table = compile_mask(mask, grid, config.block_m, config.block_n)
    return table, (perf_counter() - begin) * 1e3


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
