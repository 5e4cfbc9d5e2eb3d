"""Which of our kernels a launch takes, how it runs, and what each kernel can run.

Arguments mean the same everywhere: `kernel` is `hopper` or `triton`, `dtype` the type of q, k and
v, `head_dim` the numbers per head and token, `blocks` the query and key tokens of a block, and
`target` where the kernel runs.
"""

import os
import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from radialbench.errors import BackendError
from radialbench.kernels.arch import SHARED_LIMITS, Target
from radialbench.kernels.device_table import TableKey
from radialbench.kernels.steps import gradient_steps, steps_reasons
from radialbench.kernels.tuned import (
    block_reasons,
    compiler_version,
    device_name,
    lookup,
    not_tuned,
    warn_once,
)
from radialbench.records.lookup import ConfigChoice
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey

SIDES = (16, 32, 64, 128, 256)

GLUON = ((3, 6), (3, 9))
"""The oldest and the newest Triton whose Gluon the kernels for Hopper are known to run with."""


def select_kernel(
    backend: str | None, dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], target: Target
) -> str:
    """Return the kernel that is asked for, or the best one for the device.

    Where only the installed Triton keeps the kernel for Hopper from running, a warning says so.
    """
    if backend is not None:
        return backend
    reasons = kernel_reasons("hopper", dtype, head_dim, blocks, target)
    if reasons and reasons == gluon_reasons():
        warn_once(f"the portable kernel runs in place of the one for Hopper, which {reasons[0]}")
    return "triton" if reasons else "hopper"


def default_gradients(
    dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], target: Target
) -> KernelConfig:
    """Return the steps of the portable gradients where nothing was tuned."""
    steps = gradient_steps(blocks, dtype, portable_columns(head_dim), target)
    return KernelConfig(*blocks, gradients=steps)


def default_config(
    kernel: str,
    dtype: torch.dtype,
    head_dim: int,
    blocks: tuple[int, int],
    target: Target,
    *,
    tma: bool = True,
) -> KernelConfig:
    """Return the warps and stages of a kernel where nothing was tuned.

    `tma` is whether TMA can read keys and values in their layout.
    """
    if kernel == "hopper":
        return KernelConfig(*blocks, num_warps=4, num_stages=2)
    copies = tma and not copy_reasons(dtype, head_dim, target)
    shared = target.shared_bytes
    options = portable_options(KernelConfig(*blocks), dtype, head_dim, copies=copies, shared=shared)
    return KernelConfig(*blocks, **options)


@lru_cache(maxsize=4096)
def choose_config(
    kernel: str,
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
    kv_heads: int,
    table: TableKey,
    target: Target,
    *,
    tma: bool = True,
) -> ConfigChoice:
    """Choose the configuration of a launch that is given none; looked up once for each problem.

    `shape` is that of q, `kv_heads` are the heads of k and v; `tma` is whether TMA can read k and v
    in their layout.

    Raises:
        RecordError: Records cannot be read.
    """
    head_dim, blocks = shape[3], (table.block_m, table.block_n)
    default = default_config(kernel, dtype, head_dim, blocks, target, tma=tma)
    if not table.mask_fingerprint:
        return ConfigChoice(default, "default", None, UNKNOWN_MASK)

    def feasible(config: KernelConfig) -> list[str]:
        return run_reasons(kernel, dtype, head_dim, config, target)

    key = _key(kernel, dtype, shape, kv_heads, table, target)
    choice = lookup(key, default=default, feasible=feasible)
    config = choice.config
    if (config.block_m, config.block_n) != blocks:
        reason = (
            f"{choice.reason}, in blocks of {config.block_m}×{config.block_n}; the table has "
            f"{blocks[0]}×{blocks[1]}: compile the mask with the former"
        )
        return ConfigChoice(default, "default", None, reason)
    return choice


@lru_cache(maxsize=4096)
def choose_gradients(
    kernel: str,
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
    kv_heads: int,
    table: TableKey,
    target: Target,
) -> ConfigChoice:
    """Choose the steps of gradients that are given none; arguments and errors as `choose_config`.

    Records in other blocks than the table's are skipped: the forward pass decides on these.
    """
    head_dim, blocks = shape[3], (table.block_m, table.block_n)
    if kernel == "hopper":
        return ConfigChoice(KernelConfig(*blocks), "default", None, not_tuned(kernel, "backward"))
    default = default_gradients(dtype, head_dim, blocks, target)
    if not table.mask_fingerprint:
        return ConfigChoice(default, "default", None, UNKNOWN_MASK)

    def feasible(config: KernelConfig) -> list[str]:
        reasons = block_reasons(config, blocks)
        return reasons or run_reasons(kernel, dtype, head_dim, config, target)

    key = replace(_key(kernel, dtype, shape, kv_heads, table, target), direction="backward")
    choice = lookup(key, default=default, feasible=feasible)
    return choice if choice.config.gradients else replace(choice, config=default)


UNKNOWN_MASK = "the mask of the table is not known"
"""Why nothing is looked up."""


def _key(
    kernel: str,
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
    kv_heads: int,
    table: TableKey,
    target: Target,
) -> TuningKey:
    batch, heads, _, head_dim = shape
    return TuningKey(
        backend=kernel,
        device=device_name(target.device),
        mask_fingerprint=table.mask_fingerprint,
        frames=table.frames,
        tokens_per_frame=table.tokens_per_frame,
        seq_len=table.k_len,
        q_len=table.q_len,
        batch=batch,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        dtype=_dtype_name(dtype),
    )


def run_reasons(
    kernel: str, dtype: torch.dtype, head_dim: int, config: KernelConfig, target: Target
) -> list[str]:
    """Return why a kernel cannot run in a configuration; empty if it can.

    Raises:
        BackendError: There is no such kernel.
    """
    blocks = (config.block_m, config.block_n)
    return [
        *kernel_reasons(kernel, dtype, head_dim, blocks, target),
        *config_reasons(kernel, config, head_dim),
    ]


def kernel_reasons(
    kernel: str, dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], target: Target
) -> list[str]:
    """Return why a kernel cannot run; empty if it can.

    Raises:
        BackendError: There is no such kernel.
    """
    reasons = variant_reasons(kernel, dtype, head_dim, blocks)
    if kernel == "hopper":
        return reasons + (target.hopper_reasons or gluon_reasons())
    if target.device == "cpu" and not is_interpreted():
        reasons.append("runs on a GPU only, got device 'cpu'")
    if target.device == "cpu" and dtype == torch.bfloat16:
        reasons.append("bfloat16 products are wrong in Triton's interpreter; use float16")
    return reasons


def gluon_reasons() -> list[str]:
    """Return why the installed Triton does not run kernels for Hopper; empty if it does."""
    found = compiler_version("hopper")["triton"]
    number = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if GLUON[0] <= number <= GLUON[1]:
        return []
    oldest, newest = (".".join(map(str, one)) for one in GLUON)
    return [f"is known to run with Triton {oldest} to {newest}, got {found}"]


def is_interpreted() -> bool:
    """Return whether TRITON_INTERPRET has Triton run kernels in its interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def variant_reasons(
    kernel: str, dtype: torch.dtype, head_dim: int, blocks: tuple[int, int]
) -> list[str]:
    """Return why a kernel cannot run on any GPU; empty if it can on one.

    Raises:
        BackendError: There is no such kernel.
    """
    if kernel == "triton":
        return _triton_reasons(dtype, head_dim, blocks)
    if kernel == "hopper":
        return _hopper_reasons(dtype, head_dim, blocks)
    raise BackendError(f"kernels are hopper, triton, got {kernel!r}")


def config_reasons(kernel: str, config: KernelConfig, head_dim: int) -> list[str]:
    """Return why a kernel cannot run the way a configuration asks; empty if it can."""
    stages, block_n = config.num_stages, config.block_n
    steps = steps_reasons(config)
    if kernel != "hopper" or stages is None:
        return steps
    # Two bytes per number: the query block, then keys and values of each stage, then barriers.
    needed = 2 * hopper_columns(head_dim) * (128 + 2 * stages * block_n) + 1024
    if needed <= SHARED_LIMITS[90]:
        return steps
    return [
        *steps,
        f"num_stages {stages} takes {needed:,} bytes of shared memory at head_dim {head_dim} and "
        f"block_n {block_n}, more than the {SHARED_LIMITS[90]:,} available",
    ]


def portable_options(
    config: KernelConfig, dtype: torch.dtype, head_dim: int, *, copies: bool, shared: int
) -> dict[str, Any]:
    """Return the warps and stages of the portable kernel, those of `config` first.

    `copies` says whether TMA copies keys and values; `shared` is the bytes of shared memory that a
    thread block may have.
    """
    # Sixteen rows per warp: more rows need too many registers at 128 keys.
    warps = max(1, min(8, config.block_m // 16))
    # On an H100 a third stage makes TMA copies a fifth faster. Five stages gain another sixth where
    # small key blocks leave room for them. Loads through registers gain nothing.
    most = 2 if not copies else 5 if config.block_m >= 128 and config.block_n <= 64 else 3
    stages = next(
        stages
        for stages in (5, 3, 2, 1)
        if stages == 1
        or (stages <= most and _portable_bytes(config, dtype, head_dim, stages) <= shared)
    )
    return {"num_warps": config.num_warps or warps, "num_stages": config.num_stages or stages}


def copy_reasons(dtype: torch.dtype, head_dim: int, target: Target) -> list[str]:
    """Return why TMA cannot copy keys and values for the portable kernel.

    Strides and addresses must be multiples of 16 bytes too, which only a launch knows.
    """
    reasons = []
    if dtype not in (torch.float16, torch.bfloat16):
        reasons.append(f"float16 and bfloat16 are copied, got {_dtype_name(dtype)}")
    if head_dim % 8:
        reasons.append(f"head_dim must be a multiple of 8, got {head_dim}")
    return reasons + target.tma_reasons


def portable_columns(head_dim: int) -> int:
    """Return the columns of a tile of the portable kernel."""
    return max(16, 1 << (head_dim - 1).bit_length())


def hopper_columns(head_dim: int) -> int:
    """Return the columns of a tile of the kernel for Hopper: head_dim, padded with zeros."""
    return 64 if head_dim <= 64 else 128 if head_dim <= 128 else 256


def _triton_reasons(dtype: torch.dtype, head_dim: int, blocks: tuple[int, int]) -> list[str]:
    reasons = []
    if dtype not in (torch.float16, torch.bfloat16, torch.float32):
        reasons.append(f"computes float16, bfloat16 and float32, got {_dtype_name(dtype)}")
    if head_dim > 256:
        reasons.append(f"head_dim is at most 256, got {head_dim}")
    for block, most in zip(blocks, (256, 128), strict=True):
        if block not in SIDES or block > most:
            reasons.append(
                f"takes blocks of 16 to 256 query and 16 to 128 key tokens, powers of two, "
                f"got {block}"
            )
    return reasons


def _hopper_reasons(dtype: torch.dtype, head_dim: int, blocks: tuple[int, int]) -> list[str]:
    reasons = []
    if blocks[0] != 128:
        reasons.append(f"block_m is 128, got {blocks[0]}")
    wanted = (64,) if head_dim > 128 else (64, 128)
    if blocks[1] not in wanted:
        sizes = " or ".join(map(str, wanted))
        reasons.append(f"block_n is {sizes} at head_dim {head_dim}, got {blocks[1]}")
    if dtype not in (torch.float16, torch.bfloat16):
        reasons.append(f"computes float16 and bfloat16, got {_dtype_name(dtype)}")
    if head_dim > 256 or head_dim % 8:
        reasons.append(f"head_dim is a multiple of 8 up to 256, got {head_dim}")
    return reasons


def _portable_bytes(config: KernelConfig, dtype: torch.dtype, head_dim: int, stages: int) -> int:
    """Return an upper bound of the portable kernel's shared memory under Triton 3.6 and 3.7."""
    buffers = 1 if stages == 1 else max(2, (stages + 1) // 2)
    tokens = config.block_m + 2 * buffers * config.block_n
    return dtype.itemsize * portable_columns(head_dim) * tokens + 16 * config.block_m + 64


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
