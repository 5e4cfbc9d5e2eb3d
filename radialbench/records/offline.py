"""What a suite's kernels and masks are on a machine without a GPU, and the file that keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from radialbench.errors import RecordError
from radialbench.records import _check
from radialbench.records.codec import VersionError, read_line
from radialbench.records.store import DISK_FULL, WriteError, write_whole

SCHEMA = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KernelFigures:
    """What a compiled kernel takes, and what its instructions are.

    Attributes:
        registers: Of a thread.
        stack_bytes: Local memory of a thread.
        spills: Instructions that store to or load from it.
        shared_bytes: Of a thread block.
        scratch_bytes: Global memory of a thread block.
        warps: Of a thread block, with those that specialization adds.
        instructions: Of every kind, in the whole kernel.
        wgmma: Matrix products of a warp group, on Hopper.
        tcgen05: Matrix products in tensor memory, on Blackwell's servers.
        mma: Matrix products of a warp.
        special: Of the special functions' unit, such as exponentials.
        global_loads: Loads from global memory.
        global_stores: Stores to global memory.
        shared_loads: Loads from shared memory.
        shared_stores: Stores to shared memory.
        copy_loads: Tiles that the copy engine brings.
        copy_stores: Tiles that it takes away.
        barriers: Of the threads of a block.
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


@dataclass(frozen=True, slots=True)
class MaskFigures:
    """What a mask's table holds, and how even its work is.

    Attributes:
        pairs: Attending pairs of a head.
        density: As a share of all pairs.
        attends: Hash of which pairs they are, in blocks of one size and one order of tokens.
        full: Full blocks of a head.
        partial: Partial blocks of a head.
        block_density: Visited blocks as a share of all blocks.
        bitmaps: Distinct bitmaps.
        nbytes: Of the table.
        flops: Of all heads, of the attending pairs.
        executed_flops: Of all heads, of the visited blocks.
        longest_row: Blocks of the row that has most.
        imbalance: As a multiple of the mean row's.
        makespan: Blocks that the busiest SM computes, in the order in which rows are launched.
        load_imbalance: As a multiple of an even share.
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


@dataclass(frozen=True, slots=True)
class OfflineRow:
    """A kernel for an architecture, or a mask on a grid: its figures, or why it has none.

    Attributes:
        kind: `kernel` or `mask`.
        name: Says which; once in a file.
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
        _check.one_of(self, "kind", ("kernel", "mask"))
        _check.filled(self, "name")
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
    """What the rows of a file have in common; the first line of the file.

    Attributes:
        suite: Name of the suite.
        compiler: Version of Triton, which decides what kernels are.
        sm_count: SMs of the GPU among which the masks' work is divided.
        rows: How many rows follow; fewer are a file that was cut off.
        schema: Version of the stored form.
    """

    suite: str
    compiler: str
    sm_count: int
    rows: int
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class Offline:
    """All rows of a suite.

    Attributes:
        head: What they have in common.
        rows: Sorted by kind and name.
    """

    head: OfflineHead
    rows: tuple[OfflineRow, ...]


def write_offline(path: Path, found: Offline) -> None:
    """Write a file, in place of the one that is there, if any: whole or not at all.

    Raises:
        RecordError: It cannot be written there.
        WriteError: The disk is full; the file that was there is kept.
    """
    lines: Sequence[object] = (found.head, *found.rows)
    try:
        write_whole(path, lines)
    except OSError as error:
        kind = WriteError if error.errno in DISK_FULL else RecordError
        raise kind(
            f"cannot write {path}: {error.strerror or error}; choose another place"
        ) from None


def read_offline(path: Path) -> Offline:
    """Read a file that `write_offline` wrote.

    Raises:
        RecordError: The file cannot be read, or is not whole; the message names the line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    if not lines:
        raise RecordError(f"{path} is empty; write a baseline with --write")
    head = _parsed(path, 1, lines[0], OfflineHead)
    rows = tuple(
        _parsed(path, number, line, OfflineRow) for number, line in enumerate(lines[1:], start=2)
    )
    names: set[tuple[str, str]] = set()
    for number, row in enumerate(rows, start=2):
        if (row.kind, row.name) in names:
            raise RecordError(f"{path}:{number}: {row.kind} {row.name} is there twice; remove one")
        names.add((row.kind, row.name))
    if len(rows) != head.rows:
        raise RecordError(
            f"{path} is not whole: it says {head.rows} rows and has {len(rows)}; write it anew"
        )
    return Offline(head, rows)


def _parsed(path: Path, number: int, line: bytes, kind: type[T]) -> T:
    try:
        return read_line(line, kind, SCHEMA)
    except VersionError as error:
        raise VersionError(f"{path}:{number}: {error}") from None
    except RecordError as error:
        raise RecordError(
            f"{path}:{number}: not what an offline check wrote: {error}. Write the baseline anew"
        ) from None
