"""Suites without a GPU: their kernels compiled for five architectures, their masks counted."""

import ctypes
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from radialbench.errors import BackendError, SuiteError
from radialbench.kernels.environment import cores
from radialbench.kernels.forms import ARCHITECTURES, KERNELS, KernelForm, kernel_figures
from radialbench.kernels.row_order import PROCESSORS
from radialbench.maskgen.compile import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.spec import MaskSpec
from radialbench.records.offline import (
    KernelFigures,
    MaskFigures,
    Offline,
    OfflineHead,
    OfflineRow,
)
from radialbench.suites.mask_figures import attends_hash, mask_figures
from radialbench.suites.plan import Case
from radialbench.suites.pool import Failed, Job, Pool

LIMIT_SECONDS = 600.0
"""Of one kernel or mask; most kernels take three seconds."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of glibc's `mallopt`."""

_UNSTEADY = re.compile(r"0x[0-9a-f]+|(?:/[\w.+-]+){2,}|\btmp\w{8}\b[\w.]*")

Shape = tuple[int, int]
"""Heads of all sequences, and numbers per head and token."""


@dataclass(frozen=True, slots=True)
class KernelJob:
    """Compile a kernel and tell what it takes."""

    form: KernelForm

    def run(self) -> KernelFigures:
        """Do it, in a process of its own: a bad kernel can take the compiler down.

        Raises:
            BackendError: There is no such kernel, or it cannot be compiled.
        """
        # Triton reads it when it is imported; what is interpreted is not compiled.
        os.environ["TRITON_INTERPRET"] = "0"
        return kernel_figures(self.form)


@dataclass(frozen=True, slots=True)
class MaskJob:
    """Compile a mask and count, for each of some shapes."""

    mask: MaskSpec
    grid: TokenGrid
    block_m: int
    block_n: int
    shapes: tuple[Shape, ...]

    def run(self) -> tuple[MaskFigures, ...]:
        """Do it, in a process of its own, whose memory it keeps.

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
) -> tuple[Offline, ...]:
    """Compile the kernels and masks of suites, each once; no GPU is asked.

    Configurations are those that the suites state, and the default ones where they state none: what
    was tuned on some machine changes nothing.

    Args:
        suites: Cases by the name of their suite.
        architectures: Compute capabilities times ten.
        children: Processes that work at a time; one for each core if not given.

    Returns:
        What there is in each suite, in their order.

    Raises:
        BackendError: There are kernels to compile, and no Triton.
        SuiteError: Two masks of a suite would have one name.
    """
    architectures = tuple(architectures)
    parts = [_Part(name, tuple(cases), architectures) for name, cases in suites.items()]
    masks = {job: -job.grid.seq_len for part in parts for job in part.masks}
    # What takes longest is begun first.
    jobs: list[Job] = [*sorted(masks, key=masks.__getitem__)]
    jobs += {job: None for part in parts for job in part.kernels}
    with Pool(min(children or cores(), len(jobs)), limit_s=LIMIT_SECONDS) as pool:
        pool.add(jobs)
        return tuple(part.found(pool) for part in parts)


class _Part:
    """What one suite asks of the pool."""

    def __init__(self, name: str, cases: tuple[Case, ...], architectures: tuple[int, ...]) -> None:
        self.kernels = {KernelJob(form): form for form in kernel_forms(cases, architectures)}
        self.masks = mask_jobs(cases)
        self.head = OfflineHead(name, _compiler(bool(self.kernels)), PROCESSORS, rows=0)

    def found(self, pool: Pool) -> Offline:
        """Wait for it."""
        rows = [_kernel_row(form, pool.result(job)) for job, form in self.kernels.items()]
        for mask, names in self.masks.items():
            rows += _mask_rows(names, pool.result(mask))
        rows.sort(key=lambda row: (row.kind, row.name))
        return Offline(replace(self.head, rows=len(rows)), tuple(rows))


def kernel_forms(cases: Iterable[Case], architectures: Iterable[int]) -> tuple[KernelForm, ...]:
    """List what our kernels are compiled for in some cases, each once, by name."""
    architectures = tuple(architectures)
    found = {
        KernelForm(
            kernel=case.backend,
            config=case.config,
            arch=arch,
            head_dim=case.problem.head_dim,
            dtype=case.problem.dtype,
            ragged=case.grid.seq_len % case.config.block_n != 0,
        )
        for case in cases
        if case.backend in KERNELS
        for arch in architectures
    }
    return tuple(sorted(found, key=lambda form: form.name))


def mask_jobs(cases: Iterable[Case]) -> dict[MaskJob, tuple[str, ...]]:
    """List the tables of some cases, each once, with the names of its rows, one for each shape.

    Raises:
        SuiteError: Two would have one name.
    """
    tables: dict[MaskJob, dict[Shape, str]] = {}
    for case in cases:
        problem, config = case.problem, case.config
        table = MaskJob(case.mask, case.grid, config.block_m, config.block_n, ())
        shape = (problem.batch * problem.heads, problem.head_dim)
        place = "/".join(filter(None, (case.model, case.grid.label)))
        name = f"{case.identity.label}/{place}/h{shape[0]}d{shape[1]}"
        name += f"/{config.block_m}x{config.block_n}"
        tables.setdefault(table, {}).setdefault(shape, name)
    named = Counter(name for names in tables.values() for name in names.values())
    for name, count in named.items():
        if count > 1:
            raise SuiteError(f"{count} masks would be named {name}; give each a label of its own")
    return {
        replace(table, shapes=tuple(names)): tuple(names.values())
        for table, names in tables.items()
    }


def _kernel_row(form: KernelForm, found: KernelFigures | Failed) -> OfflineRow:
    if isinstance(found, Failed):
        return OfflineRow("kernel", form.name, reason=_steady(found.reason))
    return OfflineRow("kernel", form.name, kernel=found)


def _mask_rows(names: tuple[str, ...], found: tuple[MaskFigures, ...] | Failed) -> list[OfflineRow]:
    if isinstance(found, Failed):
        return [OfflineRow("mask", name, reason=_steady(found.reason)) for name in names]
    return [OfflineRow("mask", name, mask=one) for name, one in zip(names, found, strict=True)]


def _keep_memory() -> None:
    """Have the C library keep freed memory for the next array, up to 2 GiB.

    A table of 52 million blocks takes a quarter less time than with new pages for every array.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2_000_000_000)


def _steady(reason: str) -> str:
    """Take out what differs from run to run: what a dying process said, addresses, file names."""
    return _UNSTEADY.sub("…", reason.partition("; it said: ")[0])


def _compiler(needed: bool) -> str:
    """Name what decides the kernels' code; `none` where there are none, and any will do."""
    if not needed:
        return "none"
    try:
        return f"triton {version('triton')}"
    except PackageNotFoundError:
        raise BackendError(
            "the suite has kernels to compile, and triton is not installed; install it, or "
            "choose a suite without kernels"
        ) from None
