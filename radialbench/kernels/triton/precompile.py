"""Compiling launches ahead of time, into Triton's cache on the disk."""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import torch

from radialbench.errors import BackendError
from radialbench.kernels.arch import SHARED_LIMITS, Target
from radialbench.kernels.checks import DTYPES
from radialbench.kernels.device_table import DeviceTable, Transpose
from radialbench.kernels.select import default_gradients
from radialbench.kernels.triton.compile import resource_usage
from radialbench.kernels.triton.gradients import gradient_kernel, prepare_gradients
from radialbench.kernels.triton.launch import PREPARE, layout_of
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.records.problem import KernelConfig, Problem


@dataclass(frozen=True, slots=True)
class Built:
    """The compiled kernels of a launch, and the most that any of them takes.

    Attributes:
        code: Hash of their machine code.
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
    backend: str, problem: Problem, table: AnyTable, config: KernelConfig, *, arch: int
) -> Built:
    """Compile what one of our kernels needs to run a problem, into Triton's cache on the disk.

    Runs the launch itself, on tensors of the meta device and with a driver that simulates the GPU,
    so that types, alignments and options are those of later launches in other processes. Call it in
    a process of its own: from then on Triton uses the simulated GPU there.

    Args:
        backend: `hopper` or `triton`.
        problem: What is computed.
        table: What attends to what.
        config: How.
        arch: Compute capability times ten, such as 90.

    Raises:
        BackendError: It cannot be compiled.
    """
    from triton.runtime.driver import driver

    gpu, meta = _simulated_gpu(arch), _meta_table(table)
    gpu.launched.clear()
    driver.set_active(gpu)
    dtype = DTYPES[problem.dtype]
    queries = (problem.batch, problem.heads, table.q_len, problem.head_dim)
    keys = (problem.batch, problem.key_heads, table.k_len, problem.head_dim)
    q, out = (torch.empty(queries, dtype=dtype, device="meta") for _ in "qo")
    k, v = (torch.empty(keys, dtype=dtype, device="meta") for _ in "kv")
    try:
        launch = PREPARE[backend](
            *map(layout_of, (q, k, v)),
            table=meta.key,
            config=config,
            target=Target("cuda", arch),
            key_lens=False,
        )
        lse = torch.empty(queries[:3], device="meta")
        launch(q, k, v, out, lse, meta.tensors(), None, problem.scale)
        if problem.direction != "forward":
            _gradients(backend, config, meta, Target("cuda", arch), q, k, v, out, lse)
    except BackendError:
        raise
    except Exception as error:  # Triton raises many kinds.
        reason = " ".join(str(error).split())[-300:]
        raise BackendError(f"{type(error).__name__}: {reason}") from None
    codes, *needs = zip(*map(astuple, gpu.launched), strict=True)
    return Built(sha256(" ".join(codes).encode()).hexdigest(), *map(max, needs))


def _gradients(
    backend: str,
    config: KernelConfig,
    table: DeviceTable,
    target: Target,
    *tensors: torch.Tensor,
) -> None:
    """Launch the gradients of a problem of those tensors: q, k, v, out and lse."""
    q, k, v, out, lse = tensors
    layouts = [layout_of(x) for x in (out, q, k, v)]
    kernel = gradient_kernel(
        *layouts, backend=backend, fixed_order=False, table=table.key, target=target
    )
    steps = config.gradients
    if steps is None:
        blocks = (config.block_m, config.block_n)
        steps = default_gradients(q.dtype, q.shape[3], blocks, target).gradients
    launch = prepare_gradients(
        kernel,
        *(*layouts, layout_of(out)),
        table=table.key,
        target=target,
        key_lens=False,
        with_lse=False,
        steps=steps,
    )
    launch(out, None, q, k, v, out, lse, table.all_tensors(), None, q.shape[3] ** -0.5)


MOST_STACK_BYTES = 512
"""Half of what the registers of a thread hold, moved through memory at every step."""


def over_limits(built: Built, arch: int) -> str | None:
    """Return why a kernel is not worth launching; None if it may be worth it."""
    limit = SHARED_LIMITS.get(arch)
    if limit is not None and built.shared_bytes > limit:
        return f"takes {built.shared_bytes:,} bytes of shared memory, of {limit:,} available"
    if built.stack_bytes > MOST_STACK_BYTES:
        return (
            f"spills {built.stack_bytes:,} bytes per thread to local memory, beside "
            f"{built.registers} registers"
        )
    return None


class _SimulatedGpu:
    """A driver of Triton for a GPU that this machine lacks: a launch notes what its kernel needs.

    Triton passes what `load_binary` returns for a kernel to every launch of it.
    """

    def __init__(self, arch: int) -> None:
        self.arch = arch
        self.launched: list[Built] = []
        self.utils = self

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> str:
        return f"simulated, {self.arch}"

    def get_current_stream(self, device: str) -> int:
        return 0

    def get_device_properties(self, device: str) -> dict[str, int]:
        # Too much shared memory is noted here, not refused.
        return {"max_shared_mem": 1 << 30}

    def load_binary(self, name: str, cubin: bytes, shared: int, device: str) -> tuple[Any, ...]:
        code = sha256(f"{shared} ".encode() + cubin).hexdigest()
        return None, Built(code, *resource_usage(cubin), shared), 0, 0, 1024

    def launcher_cls(self, source: object, metadata: object) -> Callable[..., None]:
        return self._launch

    def _launch(self, x: int, y: int, z: int, stream: int, kernel: Built, *rest: object) -> None:
        self.launched.append(kernel)


@cache
def _simulated_gpu(arch: int) -> _SimulatedGpu:
    return _SimulatedGpu(arch)


def _meta_table(table: AnyTable) -> DeviceTable:
    """Return a table's tensors on the meta device; Triton specializes kernels for empty ones."""

    def tensor(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.int32, device="meta")

    parts = table.tables if isinstance(table, HeadTables) else (table,)
    full = sum(part.full.nnz for part in parts)
    partial = sum(part.partial.nnz for part in parts)
    columns = len(parts) * table.columns
    rows, bitmaps = len(parts) * table.rows, sum(len(part.bitmaps) for part in parts)
    return DeviceTable(
        block_m=table.block_m,
        block_n=table.block_n,
        q_len=table.q_len,
        k_len=table.k_len,
        full_indptr=tensor(rows + 1),
        full_indices=tensor(full),
        partial_indptr=tensor(rows + 1),
        partial_indices=tensor(partial),
        bitmap_of=tensor(partial),
        bitmaps=tensor(1 + bitmaps, table.block_m, 4),
        row_order=tensor(len(parts), table.rows),
        group_of_head=tensor(table.heads if isinstance(table, HeadTables) else 0),
        transpose=Transpose(
            full_indptr=tensor(columns + 1),
            full_indices=tensor(full),
            partial_indptr=tensor(columns + 1),
            partial_indices=tensor(partial),
            bitmap_of=tensor(partial),
            column_order=tensor(len(parts), table.columns),
        ),
    )
