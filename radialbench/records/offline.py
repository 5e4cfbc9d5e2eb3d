"""Offline facts of a suite: its compiled kernels and its masks' tables, and their file."""

from dataclasses import dataclass, fields
from pathlib import Path

from radialbench.errors import RecordError
from radialbench.records.codec import (
    check_choice,
    check_ints,
    check_numbers,
    check_share,
    check_text,
)
from radialbench.records.store import numbered_lines, read_at, write_errors, write_whole

SCHEMA = 2


@dataclass(frozen=True, slots=True)
class KernelFigures:
    """Resources of a compiled kernel, and counts of its instructions.

    Attributes:
        registers: Registers per thread.
        stack_bytes: Local memory per thread.
        spills: Loads from and stores to local memory.
        shared_bytes: Shared memory per thread block.
        scratch_bytes: Global memory per thread block.
        warps: Warps per thread block, with those that warp specialization adds.
        instructions: All instructions of the kernel.
        wgmma: Matmuls of a warp group, on Hopper.
        tcgen05: Matmuls in tensor memory, on Blackwell's data center GPUs.
        mma: Matmuls of a warp.
        special: Instructions of the special function units, such as exponentials.
        global_loads: Loads from global memory.
        global_stores: Stores to global memory.
        shared_loads: Loads from shared memory.
        shared_stores: Stores to shared memory.
        copy_loads: Tiles that TMA loads.
        copy_stores: Tiles that TMA stores.
        barriers: Barriers of the threads of a block.
        mbarriers: Operations on barriers in shared memory.
        code: Hash of its instructions, whichever registers they name.
        program: Hash of the program they were assembled from.
    """

    registers: int
    stack_bytes: int
    spills: int
    shared_bytes: int
    scratch_bytes: int
    warps: int
    instructions: int
    wgmma: int
    tcgen05: int
    mma: int
    special: int
    global_loads: int
    global_stores: int
    shared_loads: int
    shared_stores: int
    copy_loads: int
    copy_stores: int
    barriers: int
    mbarriers: int
    code: str
    program: str

    def __post_init__(self) -> None:
        counts = [one.name for one in fields(self) if one.name not in ("code", "program")]
        check_ints(self, *counts, at_least=0)


@dataclass(frozen=True, slots=True)
class MaskFigures:
    """Contents of a mask's block table, and the balance of its work.

    Attributes:
        pairs: Attending pairs per head.
        density: Attending pairs as a share of all pairs.
        attends: Hash of the attending pairs, in blocks of one size and one order of tokens.
        full: Full blocks per head.
        partial: Partial blocks per head.
        block_density: Visited blocks as a share of all blocks.
        bitmaps: Distinct bitmaps.
        nbytes: Bytes of the table.
        flops: FLOPs of the attending pairs, over all heads.
        executed_flops: FLOPs of the visited blocks, over all heads.
        longest_row: Blocks of the longest row.
        imbalance: Blocks of the longest row over those of the mean row.
        makespan: Blocks of the busiest SM, with rows launched in the kernels' order.
        load_imbalance: The makespan over an even share.
    """

    pairs: int
    density: float
    attends: str
    full: int
    partial: int
    block_density: float
    bitmaps: int
    nbytes: int
    flops: int
    executed_flops: int
    longest_row: int
    imbalance: float
    makespan: int
    load_imbalance: float

    def __post_init__(self) -> None:
        counts = ("pairs", "full", "partial", "bitmaps", "nbytes", "flops", "executed_flops")
        check_ints(self, *counts, "longest_row", "makespan", at_least=0)
        check_share(self, "density", "block_density")
        check_numbers(self, "imbalance", "load_imbalance")


@dataclass(frozen=True, slots=True)
class OfflineRow:
    """A kernel for an architecture, or a mask on a grid: its figures, or why it has none.

    Attributes:
        kind: `kernel` or `mask`.
        name: Unique for its kind in a file.
        reason: Why it has no figures; empty if it has.
        kernel: Figures of a kernel.
        mask: Figures of a mask.
    """

    kind: str
    name: str
    reason: str = ""
    kernel: KernelFigures | None = None
    mask: MaskFigures | None = None

    def __post_init__(self) -> None:
        check_choice(self, "kind", ("kernel", "mask"))
        check_text(self, "name")
        own, other = (self.kernel, self.mask)[:: 1 if self.kind == "kernel" else -1]
        if other is not None or (own is None) != bool(self.reason):
            raise RecordError(
                f"OfflineRow {self.name!r} must have a reason or the figures of a {self.kind}"
            )

    @property
    def figures(self) -> KernelFigures | MaskFigures | None:
        """Its figures, of either kind."""
        return self.kernel or self.mask


@dataclass(frozen=True, slots=True)
class OfflineHead:
    """The first line of a file: what its rows share.

    Attributes:
        suite: Name of the suite.
        compiler: Version of Triton, which compiled the kernels.
        sm_count: SMs of the GPU that the masks' work is scheduled for.
        rows: How many rows follow; fewer are a truncated file.
        schema: Version of the stored form.
    """

    suite: str
    compiler: str
    sm_count: int
    rows: int
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        check_text(self, "suite", "compiler")
        check_ints(self, "sm_count", at_least=1)
        check_ints(self, "rows", at_least=0)


@dataclass(frozen=True, slots=True)
class Offline:
    """All rows of a suite.

    Attributes:
        head: What they share.
        rows: Sorted by kind and name.
    """

    head: OfflineHead
    rows: tuple[OfflineRow, ...]


def write_offline(path: Path, offline: Offline) -> None:
    """Write a file, in place of the former one: whole or not at all.

    Raises:
        RecordError: It cannot be written there.
        WriteError: The disk is full; the former file is kept.
    """
    with write_errors(path, "choose another place"):
        write_whole(path, (offline.head, *offline.rows))


def read_offline(path: Path) -> Offline:
    """Read a file that `write_offline` wrote.

    Raises:
        RecordError: The file cannot be read, or is not whole; the message names the line.
    """
    what, hint = "what an offline check wrote", "Write the baseline anew"
    lines = numbered_lines(path)
    if not lines:
        raise RecordError(f"{path} is empty; write a baseline with --write")
    head = read_at(f"{path}:1", lines[0][1], OfflineHead, SCHEMA, what=what, hint=hint)
    rows: dict[tuple[str, str], OfflineRow] = {}
    for number, line in lines[1:]:
        row = read_at(f"{path}:{number}", line, OfflineRow, SCHEMA, what=what, hint=hint)
        if rows.setdefault((row.kind, row.name), row) is not row:
            raise RecordError(f"{path}:{number}: {row.kind} {row.name} is there twice; remove one")
    if len(rows) != head.rows:
        raise RecordError(
            f"{path} is not whole: it says {head.rows} rows and has {len(rows)}; write it anew"
        )
    return Offline(head, tuple(rows.values()))
