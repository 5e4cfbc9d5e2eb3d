"""What cases need: block tables, tensors, the result by the definition, and memory."""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

from radialbench.errors import BackendError
from radialbench.fidelity.generator import MIXED, Generated, mixed
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.run import TableOf, measure_tables
from radialbench.fidelity.settings import Source
from radialbench.kernels.backends import BACKENDS
from radialbench.kernels.backends.reference import CHUNK_BYTES
from radialbench.kernels.measure.accuracy import (
    Expected,
    Inputs,
    checksums,
    expected,
    make_inputs,
)
from radialbench.kernels.measure.clocks import clock_of
from radialbench.kernels.measure.timing import measure_together
from radialbench.kernels.reorder import Reorder, reorder
from radialbench.machine import free_memory
from radialbench.maskgen.compiler import compile_any
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.maskgen.language.heads import AnyMask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.order import TokenOrder
from radialbench.records.fidelity import Fidelity, InputsIdentity
from radialbench.records.problem import FP8, KernelConfig, Problem
from radialbench.records.result import Environment
from radialbench.suites.plan import Case
from radialbench.writing import replacement

PERMUTE_SECONDS = 0.2
ROWS = {"cpu": 1024, "cuda": 4096}
"""Query rows of a case that are compared with the definition."""

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

CACHED_TABLES = 4
"""Tables kept at a time; plans put the cases of a table side by side."""

SHARED_TABLES = 32
"""The same where tables are shared: a search of all block sizes comes back to each."""

TableKey = tuple[str, TokenGrid, int, int]

TimedTable = tuple[AnyTable, float]
"""A table, or those of heads, and the milliseconds it took to compile."""


class Tables:
    """Compiles tables, and keeps the last few with the time they took.

    Processes can share a folder: what one has compiled with `shared_table` the others read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._kept: OrderedDict[TableKey, TimedTable] = OrderedDict()
        self._folder = folder
        self._most = SHARED_TABLES if folder else CACHED_TABLES

    def table(self, mask: AnyMask, grid: TokenGrid, config: KernelConfig) -> TimedTable:
        """Return a table, and the milliseconds it took to compile; errors as `compile_mask`."""
        key = _key(mask, grid, config)
        if key not in self._kept:
            shared = _read(self._folder, key) if self._folder else None
            self._kept[key] = shared or _compiled(mask, grid, config)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def shared_table(folder: Path, mask: AnyMask, grid: TokenGrid, config: KernelConfig) -> AnyTable:
    """Return a table from a folder that processes share; compile and write it if it is missing."""
    key = _key(mask, grid, config)
    timed = _read(folder, key)
    if timed is None:
        timed = _compiled(mask, grid, config)
        with replacement(_path(folder, key)) as file:
            pickle.dump(timed, file, pickle.HIGHEST_PROTOCOL)
    return timed[0]


def _key(mask: AnyMask, grid: TokenGrid, config: KernelConfig) -> TableKey:
    return (mask.fingerprint, grid, config.block_m, config.block_n)


def _path(folder: Path, key: TableKey) -> Path:
    return folder / f"{sha256(repr(key).encode()).hexdigest()[:32]}.table"


def _read(folder: Path, key: TableKey) -> TimedTable | None:
    try:
        timed: TimedTable = pickle.loads(_path(folder, key).read_bytes())
    except FileNotFoundError:
        return None
    return timed


def _compiled(mask: AnyMask, grid: TokenGrid, config: KernelConfig) -> TimedTable:
    begin = perf_counter()
    table = compile_any(mask, grid, config.block_m, config.block_n)
    return table, (perf_counter() - begin) * 1e3


@dataclass(frozen=True, slots=True)
class _Kept:
    """q, k and v in one token order.

    Attributes:
        inputs: The tensors.
        permute_ms: Milliseconds to get there and back.
        moves: How they are reordered; None in raster order.
        sums: Their checksums.
    """

    inputs: Inputs
    permute_ms: float
    moves: Reorder | None
    sums: tuple[int, ...]


class Workbench:
    """What cases share: where they run, their tables, and the tensors of the last shape.

    Args:
        environment: Where they run.
        folder: Folder of tables that other processes have compiled.
        backends: Module and class of each backend.
    """

    def __init__(
        self,
        environment: Environment,
        folder: Path | None = None,
        backends: Mapping[str, str] = BACKENDS,
    ) -> None:
        self.environment = environment
        self.tables = Tables(folder)
        self.backends = backends
        self._shape: object = None
        self._inputs: dict[tuple[TokenOrder, ...], _Kept] = {}
        self._expected: dict[Any, Expected] = {}
        self._fidelity: dict[Any, Fidelity] = {}
        self._loaded: tuple[InputsIdentity, AttentionInputs] | None = None

    def inputs(self, case: Case, table: AnyTable | None, device: str) -> tuple[Inputs, float]:
        """Return q, k and v in a table's order, and the milliseconds to get there and back.

        Without a table they are in raster order.

        Raises:
            BackendError: Heads that share a key head have different orders.
            InputsError: Their file cannot be read.
        """
        problem = case.problem
        heads, kv_heads = problem.heads, problem.key_heads
        sizes = (problem.batch, heads, kv_heads, problem.head_dim)
        # Which tokens are queries decides how they are permuted.
        if self._shape != (
            shape := (*sizes, problem.grid, problem.dtype, device, case.identity_of_inputs)
        ):
            self._inputs.clear()
            self._expected.clear()
            self._shape = shape
        raster = (TokenOrder(),) * heads
        if not self._inputs:
            made = _make_inputs(case, device)
            self._inputs[raster] = _Kept(made, 0.0, None, checksums(made))
        orders = raster
        if table is not None:
            orders = tuple(one.order for one in tables_by_head(table, heads))
        if table is not None and orders not in self._inputs:
            self._inputs[orders] = _ordered(self._inputs[raster].inputs, table, device)
        kept = self._inputs[orders]
        return kept.inputs, kept.permute_ms

    def restore_inputs(self, case: Case, device: str) -> list[str]:
        """Return which of q, k and v were written to, in any order; all are as they were made."""
        changed: set[str] = set()
        raster: Inputs | None = None
        for kept in self._inputs.values():
            sums = zip("qkv", kept.sums, checksums(kept.inputs), strict=True)
            names = {name for name, made, now in sums if made != now}
            if names:
                raster = raster or _make_inputs(case, device)
                made = raster if kept.moves is None else kept.moves.inputs(*raster)
                for tensor, original in zip(kept.inputs, made, strict=True):
                    tensor.copy_(original)
            changed |= names
        return sorted(changed, key="qkv".index)

    def expected(self, case: Case, table: AnyTable, device: str) -> Expected:
        """Return the result by the definition for those inputs, whatever the blocks.

        Its rows were chosen by the blocks of the first table that needed it.
        """
        problem = case.problem
        fp8 = case.backend in FP8
        key = (problem.mask_fingerprint, problem.scale, fp8)
        if key not in self._expected:
            inputs, _ = self.inputs(case, table, device)
            self._expected[key] = expected(
                inputs, table=table, sm_scale=problem.scale, rows=ROWS[device], fp8=fp8
            )
        return self._expected[key]

    def fidelity(
        self, case: Case, tables: TableOf, device: str, *, backend: str | None = None
    ) -> Fidelity:
        """Return what a mask keeps of a case's inputs for that; measured once for all backends.

        Args:
            case: Whose mask it is.
            tables: The mask's table, or what a backend chooses for inputs.
            device: Where to measure.
            backend: The backend that chooses, if one does.

        Raises:
            InputsError: The inputs cannot be read, or memory does not suffice.
        """
        assert case.fidelity is not None
        sources = case.fidelity.sources or (_generated(case),)
        how = replace(case.fidelity.how, device=device, config=case.config)
        looked_at = tuple(source.identity for source in sources)
        key = (case.problem.mask_fingerprint, case.grid, backend, looked_at, how)
        if key not in self._fidelity:
            (self._fidelity[key],) = measure_tables(sources, [tables], how, load=self._load)
        return self._fidelity[key]

    def _load(self, source: Source, device: str) -> AttentionInputs:
        """Load inputs, or return those of the last call."""
        if self._loaded is None or self._loaded[0] != source.identity:
            self._loaded = None
            self._loaded = source.identity, source.load(device)
        return self._loaded[1]


def _generated(case: Case) -> Source:
    """Return synthetic inputs of a case's shape; of several heads where it has one for all."""
    problem = case.problem
    alike = isinstance(case.mask, MaskSpec)
    heads = max(problem.heads, len(MIXED)) if alike else problem.heads
    return Generated(problem.grid, mixed(heads), problem.head_dim, problem.dtype)


def _make_inputs(case: Case, device: str) -> Inputs:
    """Return q, k and v in raster order: those of a case's file, or normal numbers."""
    if case.inputs is None:
        return make_inputs(case.problem, device=device)
    loaded = case.inputs.load(device)
    return loaded.q, loaded.k, loaded.v


def _ordered(raster: Inputs, table: AnyTable, device: str) -> _Kept:
    """Permute q, k, v into the table's order; time that and the output's permutation back."""
    q, k, _ = raster
    moves = reorder(table, q.shape[1], k.shape[1], device)
    assert moves is not None
    if moves.copies:
        raise BackendError("heads that share a key head have different token orders")
    ordered = moves.inputs(*raster)
    (timing,) = measure_together(
        [lambda: (moves.inputs(*raster), moves.output(ordered[0]))],
        min_samples=1,
        max_seconds=PERMUTE_SECONDS,
        warmups=1,
        clock=clock_of(device),
    )
    return _Kept(ordered, timing.median_ms, moves, checksums(ordered))


def needed_bytes(problem: Problem, *, permuted: bool) -> int:
    """Return the least bytes a case takes: tensors, copies in another order, the comparison."""
    # q and out, k and v; two more of each but out where they are copied in another order.
    tokens = (4 if permuted else 2) * problem.heads * problem.q_len
    tokens += (6 if permuted else 2) * problem.key_heads * problem.seq_len
    if problem.direction != "forward":
        # The gradients of out, q, k and v.
        tokens += 2 * (problem.heads * problem.q_len + problem.key_heads * problem.seq_len)
    elements = problem.batch * tokens * problem.head_dim
    chunk = min(CHUNK_BYTES, 8 * problem.q_len * problem.seq_len)
    check = 2 * 8 * problem.seq_len * problem.head_dim + chunk + chunk // 8
    return elements * ITEM_BYTES[problem.dtype] + check


def available_bytes(device: str) -> int | None:
    """Return the free memory of the GPU, or of the machine within the process's cgroup.

    Memory that PyTorch's allocator keeps for reuse is free. None where it is not known.
    """
    if device == "cuda":
        import torch

        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + kept
    return free_memory()
