"""Suites without a GPU: kernels compiled for five architectures, the blocks of masks counted."""

import ctypes
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from heapq import heapify, heapreplace
from importlib.metadata import PackageNotFoundError, version
from itertools import repeat
from typing import Any

import numpy as np

from radialbench.errors import BackendError, SuiteError
from radialbench.kernels.arch import ARCHITECTURES
from radialbench.kernels.row_order import SM_COUNT, row_blocks, row_order
from radialbench.kernels.triton.compile import KERNELS, KernelVariant, kernel_figures
from radialbench.machine import cores
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.heads import HeadPlan
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.table import BlockTable
from radialbench.records import offline as stored
from radialbench.suites.plan import Case
from radialbench.suites.pool import Failed, JobPool, PoolJob

LIMIT_SECONDS = 600.0
"""For one kernel or mask; most kernels take three seconds."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of glibc's `mallopt`."""

_VARYING = re.compile(r"0x[0-9a-f]+|(?:/[\w.+-]+){2,}|\btmp\w{8}\b[\w.]*")

Shape = tuple[int, int]
"""Heads of all sequences, and the head dimension."""


@dataclass(frozen=True, slots=True)
class KernelJob:
    """Compile a kernel, and report its registers, memory and code."""

    variant: KernelVariant

    def run(self) -> stored.KernelFigures:
        """Compile it, in a process of its own: a bad kernel can crash the compiler.

        Raises:
            BackendError: There is no such kernel, or it cannot be compiled.
        """
        # Triton reads it when it is imported; an interpreted kernel is not compiled.
        os.environ["TRITON_INTERPRET"] = "0"
        return kernel_figures(self.variant)


@dataclass(frozen=True, slots=True)
class MaskJob:
    """Compile a mask, and count its blocks for each of some shapes."""

    mask: MaskSpec
    grid: TokenGrid
    block_m: int
    block_n: int
    shapes: tuple[Shape, ...]

    def run(self) -> tuple[stored.MaskFigures, ...]:
        """Compile it, in a process of its own, which keeps freed memory.

        Raises:
            SpecError: The mask does not fit the grid.
        """
        _keep_memory()
        table = compile_mask(self.mask, self.grid, self.block_m, self.block_n)
        attends = attends_hash(table)
        return tuple(mask_figures(table, *shape, attends=attends) for shape in self.shapes)


def offline(
    suites: Mapping[str, Iterable[Case]],
    architectures: Iterable[int] = ARCHITECTURES,
    *,
    children: int | None = None,
    on_share: Callable[[float], None] = lambda share: None,
) -> tuple[stored.Offline, ...]:
    """Compile the kernels and masks of suites, each once, without a GPU.

    Configurations are those of the suites, and the default ones where they state none: tuned ones
    are not used.

    Args:
        suites: Cases by the name of their suite.
        architectures: Compute capabilities times ten.
        children: Processes; one for each core if not given.
        on_share: Called with the share that is compiled.

    Returns:
        The figures of each suite, in their order.

    Raises:
        BackendError: There are kernels to compile, and no Triton.
        SuiteError: Two masks of a suite would have one name.
    """
    architectures = tuple(architectures)
    parts = [_SuiteJobs(name, tuple(cases), architectures) for name, cases in suites.items()]
    masks = {job: -job.grid.seq_len for part in parts for job in part.masks}
    # The longest start first.
    jobs: list[PoolJob] = [*sorted(masks, key=masks.__getitem__)]
    jobs += {job: None for part in parts for job in part.kernels}
    with JobPool(min(children or cores(), len(jobs)), limit_s=LIMIT_SECONDS) as pool:
        pool.add(jobs)
        for done, job in enumerate(jobs):
            on_share(done / len(jobs))
            pool.result(job)
        return tuple(part.results(pool) for part in parts)


class _SuiteJobs:
    """The jobs of one suite."""

    def __init__(self, name: str, cases: tuple[Case, ...], architectures: tuple[int, ...]) -> None:
        self.kernels = {
            KernelJob(variant): variant for variant in kernel_variants(cases, architectures)
        }
        self.masks = mask_jobs(cases)
        self.head = stored.OfflineHead(name, _compiler(bool(self.kernels)), SM_COUNT, rows=0)

    def results(self, pool: JobPool) -> stored.Offline:
        """Wait for the results."""
        rows = [
            _row("kernel", variant.name, pool.result(job)) for job, variant in self.kernels.items()
        ]
        for mask, names in self.masks.items():
            found = pool.result(mask)
            every = repeat(found) if isinstance(found, Failed) else found
            rows += [_row("mask", name, one) for name, one in zip(names, every, strict=False)]
        rows.sort(key=lambda row: (row.kind, row.name))
        return stored.Offline(replace(self.head, rows=len(rows)), tuple(rows))


def kernel_variants(
    cases: Iterable[Case], architectures: Iterable[int]
) -> tuple[KernelVariant, ...]:
    """List the variants of our kernels that cases need, each once, by name."""
    architectures = tuple(architectures)
    variants = {
        KernelVariant(
            kernel=kernel,
            config=case.config,
            arch=arch,
            head_dim=case.problem.head_dim,
            dtype=case.problem.dtype,
            ragged=case.grid.seq_len % case.config.block_n != 0,
            heads_per_kv=case.problem.heads // case.problem.key_heads,
            part=part,
        )
        for case in cases
        if case.backend in KERNELS
        for arch in architectures
        for kernel, part in _parts(case)
    }
    return tuple(sorted(variants, key=lambda variant: variant.name))


def _parts(case: Case) -> list[tuple[str, str]]:
    """Return the kernels of a case of ours, and their parts.

    Gradients do not depend on the backend: the portable kernels have them all, and the kernel for
    Hopper those of some blocks.
    """
    direction, problem, config = case.problem.direction, case.problem, case.config
    parts = [(case.backend or "", "out")] if direction != "backward" else []
    if direction == "forward":
        return parts
    parts += [("triton", part) for part in ("rows", "dq", "dkdv")]
    blocks = (config.block_m, config.block_n) == (128, 128)
    if blocks and problem.head_dim <= 128 and problem.dtype != "float32":
        parts.append(("hopper", "grads"))
    return parts


def mask_jobs(cases: Iterable[Case]) -> dict[MaskJob, tuple[str, ...]]:
    """List the tables of some cases, each once, with the names of its rows, one for each shape.

    Raises:
        SuiteError: Two would have one name.
    """
    tables: dict[MaskJob, dict[Shape, str]] = {}
    for case in cases:
        problem, config = case.problem, case.config
        place = "/".join(filter(None, (case.model, case.grid.label)))
        for label, mask, heads in _masks(case):
            table = MaskJob(mask, case.grid, config.block_m, config.block_n, ())
            shape = (problem.batch * heads, problem.head_dim)
            name = f"{label}/{place}/h{shape[0]}d{shape[1]}/{config.block_m}x{config.block_n}"
            tables.setdefault(table, {}).setdefault(shape, name)
    named = Counter(name for names in tables.values() for name in names.values())
    for name, count in named.items():
        if count > 1:
            raise SuiteError(f"{count} masks would be named {name}; give each a label of its own")
    return {
        replace(table, shapes=tuple(names)): tuple(names.values())
        for table, names in tables.items()
    }


def _masks(case: Case) -> list[tuple[str, MaskSpec, int]]:
    """Return the mask of a case, or those of its groups of heads, with names and heads."""
    label, mask = case.identity.label, case.mask
    if isinstance(mask, HeadPlan):
        return [(f"{label}:{group.label}", group.mask, len(group.heads)) for group in mask.groups]
    return [(label, mask, case.problem.heads)]


def mask_figures(
    table: BlockTable, heads: int, head_dim: int, *, attends: str
) -> stored.MaskFigures:
    """Return the figures of a table for the heads of all sequences, the same on every machine."""
    works = launched_blocks(table, heads)
    visited = max(1, table.nnz)
    busiest = makespan(works)
    return stored.MaskFigures(
        pairs=table.pairs,
        density=table.density,
        attends=attends,
        full=table.full.nnz,
        partial=table.partial.nnz,
        block_density=table.block_density,
        bitmaps=len(table.bitmaps),
        nbytes=table.nbytes,
        flops=table.flops(heads, head_dim),
        executed_flops=table.executed_flops(heads, head_dim),
        longest_row=max(works),
        imbalance=max(works) * table.rows / visited,
        makespan=busiest,
        load_imbalance=busiest * SM_COUNT / (visited * heads),
    )


def attends_hash(table: BlockTable) -> str:
    """Return a short hash of which pairs attend, however the table numbers its bitmaps."""
    digest = hashlib.blake2b(digest_size=8)
    sizes = f"{table.grid}|{table.order}|{table.block_m}|{table.block_n}"
    digest.update(sizes.encode())
    bitmaps = [hashlib.blake2b(bits.tobytes(), digest_size=8).digest() for bits in table.bitmaps]
    hashes = np.array([int.from_bytes(bitmap, "little") for bitmap in bitmaps], np.uint64)
    parts = (table.full, table.partial)
    arrays = [array for part in parts for array in (part.indptr, part.indices)]
    for array in (*arrays, hashes[table.bitmap_of]):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def makespan(works: Iterable[int], sms: int = SM_COUNT) -> int:
    """Return the work of the busiest SM; each takes the next thread block when it is free."""
    loads = [0] * sms
    heapify(loads)
    for work in works:
        heapreplace(loads, loads[0] + work)
    return max(loads)


def launched_blocks(table: BlockTable, heads: int) -> list[int]:
    """Return the blocks of each thread block, in the order in which the kernels launch them."""
    blocks: list[int] = row_blocks(table)[row_order(table)].tolist()
    return blocks * heads


def _row(kind: str, name: str, result: Any) -> stored.OfflineRow:
    found: Any = {kind: result}
    if isinstance(result, Failed):
        # Without what differs from run to run: the output of a process, addresses, file names.
        found = {"reason": _VARYING.sub("…", result.reason.partition("; it said: ")[0])}
    return stored.OfflineRow(kind, name, **found)


def _keep_memory() -> None:
    """Let the C library keep freed memory for the next array, up to 2 GiB.

    A table of 52 million blocks takes a quarter less time than with new pages for every array.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2_000_000_000)


def _compiler(needed: bool) -> str:
    """Return the compiler's name and version; `none` where there are no kernels."""
    if not needed:
        return "none"
    try:
        return f"triton {version('triton')}"
    except PackageNotFoundError:
        raise BackendError(
            "the suite has kernels to compile, and triton is not installed; install it, or "
            "choose a suite without kernels"
        ) from None
