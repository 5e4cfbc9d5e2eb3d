"""Compiling launches ahead: what a launch would compile is on the disk when a GPU gets to it."""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import torch

from radialbench.errors import BackendError
from radialbench.kernels.arch import SHARED_LIMITS, Target
from radialbench.kernels.checks import DTYPES
from radialbench.kernels.codegen.compile import resource_usage
from radialbench.kernels.device_table import DeviceTable
from radialbench.kernels.triton.launch import PREPARE, layout_of
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


@dataclass(frozen=True, slots=True)
class Built:
    """What the kernels of a launch are, and the most that any of them takes.

    Attributes:
        code: Hash of their machine code; equal ones run alike.
        registers: Registers per thread.
        stack_bytes: Local memory per thread: spills, or arrays the compiler could not keep in
            registers.
        shared_bytes: Shared memory per thread block.
    """

    code: str
    registers: int
    stack_bytes: int
    shared_bytes: int


def precompile(
    backend: str, problem: Problem, table: BlockTable, config: KernelConfig, *, arch: int
) -> Built:
    """Compile what one of our kernels needs to run a problem, into Triton's cache on the disk.

    The launch itself runs, on tensors without memory, and with a driver for a GPU that is not here:
    Triton compiles, and finds nothing to launch. So types, alignments and options are those of
    later launches in other processes, which find the kernels in the cache.

    For a process of its own: for Triton it has that GPU from then on.

    Args:
        backend: `hopper` or `triton`.
        problem: What is computed.
        table: What attends to what.
        config: How.
        arch: Compute capability times ten, such as 90.

    Raises:
        BackendError: It cannot be compiled.
    """
    gpu, absent = _present(arch), _absent(table)
    shape = (problem.batch, problem.heads, problem.seq_len, problem.head_dim)
    q, k, v, out = (torch.empty(shape, dtype=DTYPES[problem.dtype], device="meta") for _ in "qkvo")
    try:
        launch = PREPARE[backend](
            *map(layout_of, (q, k, v)),
            table=absent.key,
            config=config,
            target=Target("cuda", arch),
            key_lens=False,
        )
        lse = torch.empty(shape[:3], device="meta")
        launch(q, k, v, out, lse, absent.tensors(), None, problem.scale)
    except BackendError:
        raise
    except Exception as error:  # Triton raises many kinds.
        reason = " ".join(str(error).split())[-300:]
        raise BackendError(f"{type(error).__name__}: {reason}") from None
    codes, *needs = zip(*map(astuple, gpu.launched), strict=True)
    return Built(sha256(" ".join(codes).encode()).hexdigest(), *map(max, needs))


MOST_STACK_BYTES = 512
"""Half of what the registers of a thread hold, moved through memory at every step."""


def over_limits(built: Built, arch: int) -> str | None:
    """Return why a kernel is not worth launching; None if it may be."""
    limit = SHARED_LIMITS.get(arch)
    if limit is not None and built.shared_bytes > limit:
        return f"takes {built.shared_bytes:,} bytes of shared memory, there are {limit:,}"
    if built.stack_bytes > MOST_STACK_BYTES:
        return (
            f"a thread keeps {built.stack_bytes:,} bytes in local memory, beside "
            f"{built.registers} registers"
        )
    return None


@cache
def _absent_gpu(arch: int) -> "_AbsentGpu":
    return _AbsentGpu(arch)


def _present(arch: int) -> "_AbsentGpu":
    """Have Triton find a GPU that is not here."""
    from triton.runtime.driver import driver

    gpu = _absent_gpu(arch)
    gpu.launched.clear()
    driver.set_active(gpu)
    return gpu


class _AbsentGpu:
    """Triton's driver for a GPU that is not here: a launch leaves what its kernel takes.

    Triton passes what `load_binary` gives for a kernel to every launch of it.
    """

    def __init__(self, arch: int) -> None:
        self.arch = arch
        self.launched: list[Built] = []
        self.utils = self

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> str:
        return f"absent, {self.arch}"

    def get_current_stream(self, device: str) -> int:
        return 0

    def get_device_properties(self, device: str) -> dict[str, int]:
        # What a kernel takes is noted here, not refused.
        return {"max_shared_mem": 1 << 30}

    def load_binary(self, name: str, cubin: bytes, shared: int, device: str) -> tuple[Any, ...]:
        code = sha256(f"{shared} ".encode() + cubin).hexdigest()
        return None, Built(code, *resource_usage(cubin), shared), 0, 0, 1024

    def launcher_cls(self, source: object, metadata: object) -> Callable[..., None]:
        return self._launch

    def _launch(self, x: int, y: int, z: int, stream: int, kernel: Built, *rest: object) -> None:
        self.launched.append(kernel)


def _absent(table: BlockTable) -> DeviceTable:
    """Return a table's tensors without memory; kernels are compiled for which of them are empty."""

    def tensor(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.int32, device="meta")

    full, partial = table.full.nnz, table.partial.nnz
    return DeviceTable(
        block_m=table.block_m,
        block_n=table.block_n,
        seq_len=table.seq_len,
        full_indptr=tensor(table.rows + 1),
        full_indices=tensor(full),
        partial_indptr=tensor(table.rows + 1),
        partial_indices=tensor(partial),
        bitmap_of=tensor(partial),
        bitmaps=tensor(1 + len(table.bitmaps), table.block_m, 4),
        row_order=tensor(1, table.rows),
        group_of_head=tensor(0),
    )
