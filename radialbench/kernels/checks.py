"""Checks of backends before they compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import target_of, versions
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def host_reasons(problem: Problem, device: str, *, gradients: bool = False) -> list[str]:
    """Return why a backend of the CPU cannot run a problem; `gradients` if it has them."""
    reasons = []
    if device != "cpu":
        reasons.append(f"runs on the cpu only, got device {device!r}")
    if problem.direction != "forward" and not gradients:
        reasons.append(f"computes the forward pass only, got {problem.direction!r}")
    return reasons


def gpu_reasons(
    problem: Problem,
    device: str,
    dtypes: tuple[str, ...],
    *,
    most_head_dim: int,
    gradients: bool = False,
) -> list[str]:
    """Return why a backend of NVIDIA GPUs cannot run a problem; `gradients` if it has them."""
    reasons = []
    if device != "cuda":
        reasons.append(f"runs on a GPU only, got device {device!r}")
    elif not torch.cuda.is_available():
        reasons.append("PyTorch finds no GPU on this machine")
    if problem.direction != "forward" and not gradients:
        reasons.append(f"computes the forward pass only, got {problem.direction!r}")
    if problem.dtype not in dtypes:
        reasons.append(f"computes {' and '.join(dtypes)}, got {problem.dtype}")
    if problem.head_dim % 8 or problem.head_dim > most_head_dim:
        reasons.append(f"head_dim is a multiple of 8 up to {most_head_dim}, got {problem.head_dim}")
    return reasons


def grouped_reasons(problem: Problem) -> list[str]:
    """Return why a backend whose q, k and v have equally many heads cannot run a problem."""
    if problem.kv_heads is None:
        return []
    return [f"takes as many key heads as heads, got {problem.kv_heads} and {problem.heads}"]


def hopper_needs(library: str) -> str:
    """Describe what a backend for Hopper needs, and whether it is here."""
    here = "none is here" if target_of("cuda").hopper_reasons else "one is here"
    return f"torch {torch.__version__}, {library} and a GPU of compute capability 9.0; {here}"


def check_dense(name: str, table: BlockTable, instead: str) -> None:
    """Refuse a mask that leaves a pair out.

    Raises:
        BackendError: A pair is left out; the message names `instead`, a backend for such masks.
    """
    if table.pairs != table.q_len * table.k_len:
        raise BackendError(
            f"backend {name!r} computes every pair, and the mask leaves some out; use "
            f"{instead!r}, or the dense mask"
        )


def check_plan(
    name: str, reasons: list[str], problem: Problem, table: AnyTable, config: KernelConfig
) -> None:
    """Refuse a problem that cannot be planned.

    Raises:
        BackendError: There are reasons, or problem, table and configuration disagree.
    """
    if reasons:
        raise BackendError(f"backend {name!r} cannot run this problem: {'; '.join(reasons)}")
    if (table.q_len, table.k_len) != (problem.q_len, problem.seq_len):
        sides = ((table.q_len, table.k_len), (problem.q_len, problem.seq_len))
        made, asked = (
            f"{k:,} tokens" if q == k else f"{q:,} queries and {k:,} keys" for q, k in sides
        )
        raise BackendError(
            f"the table is for {made}, the problem has {asked.removesuffix(' tokens')}; "
            "compile the mask on the problem's grid"
        )
    blocks, wanted = (table.block_m, table.block_n), (config.block_m, config.block_n)
    if blocks != wanted:
        raise BackendError(
            f"the table has blocks of {blocks[0]}×{blocks[1]}, the configuration asks for "
            f"{wanted[0]}×{wanted[1]}; compile the mask with the configuration's blocks"
        )


def check_inputs(
    problem: Problem, table: AnyTable, q: Tensor, k: Tensor, v: Tensor, *, gradients: bool = False
) -> None:
    """Refuse tensors that do not fit the problem and its table.

    `gradients` says whether the backend has them.

    Raises:
        BackendError: A shape, dtype or device differs, or gradients are wanted that are not there.
    """
    if not gradients and torch.is_grad_enabled():
        for name, tensor in (("q", q), ("k", k), ("v", v)):
            if tensor.requires_grad:
                raise BackendError(
                    f"{name} wants gradients, and this backend computes the forward pass only; use "
                    "cpu, hopper, reference or triton, or torch.no_grad"
                )
    queries = ("heads, q_len", problem.heads, table.q_len)
    keys = ("kv_heads, k_len", problem.key_heads, table.k_len)
    for name, tensor, (words, heads, tokens) in (("q", q, queries), ("k", k, keys), ("v", v, keys)):
        shape = (problem.batch, heads, tokens, problem.head_dim)
        if tensor.shape != shape:
            raise BackendError(
                f"{name} must be [batch, {words}, head_dim] = {list(shape)}, "
                f"got {list(tensor.shape)}"
            )
        if tensor.dtype != DTYPES[problem.dtype]:
            raise BackendError(f"{name} must be {problem.dtype}, got {tensor.dtype}")
        if tensor.device != q.device:
            raise BackendError(f"q, k, v must be on one device, got {q.device} and {tensor.device}")


def check_result(problem: Problem, table: AnyTable, result: object) -> tuple[Tensor, Tensor]:
    """Return the (out, lse) of a backend.

    Raises:
        BackendError: The result is not a pair of tensors, or a shape or dtype differs.
    """
    if not (
        isinstance(result, tuple)
        and len(result) == 2
        and all(isinstance(item, Tensor) for item in result)
    ):
        raise BackendError(f"the backend must return (out, lse), got {type(result).__name__}")
    rows = [problem.batch, problem.heads, table.q_len]
    wanted = (
        ("out", [*rows, problem.head_dim], DTYPES[problem.dtype]),
        ("lse", rows, torch.float32),
    )
    for (name, shape, dtype), tensor in zip(wanted, result, strict=True):
        if list(tensor.shape) != shape or tensor.dtype != dtype:
            raise BackendError(
                f"the backend's {name} must be {dtype} {shape}, "
                f"got {tensor.dtype} {list(tensor.shape)}"
            )
    return result


def package_reasons(package: str) -> list[str]:
    """Return what to install, if a distribution is not installed."""
    return [] if versions([package]) else [f"needs {package}: pip install {package}"]


def describe(package: str) -> str:
    """Return the name and version of a distribution."""
    return f"{package} {versions([package]).get(package) or '(not installed)'}"


@contextmanager
def loading(package: str) -> Iterator[None]:
    """Report an import that fails although the distribution is installed.

    Raises:
        BackendError: An import fails: it was built for another version, or a part is missing.
    """
    try:
        yield
    except ImportError as error:
        raise BackendError(
            f"{describe(package)} does not load beside torch {torch.__version__}: "
            f"{str(error).rpartition('/')[2]}; install it again with all that it needs"
        ) from None


def check_no_partial(name: str, table: BlockTable) -> None:
    """Refuse tables with partial blocks.

    Raises:
        BackendError: There are some.
    """
    if table.partial.nnz:
        raise BackendError(
            f"backend {name!r} computes whole blocks only, but {table.partial.nnz:,} of the "
            f"table's {table.nnz:,} blocks are partial; use a mask that is made of blocks of "
            f"{table.block_m}×{table.block_n}"
        )


def check_whole_blocks(name: str, table: BlockTable) -> None:
    """Refuse tables that a kernel for whole blocks of every length cannot compute.

    Raises:
        BackendError: A block is partial, the last one is short, or a row has no block.
    """
    check_no_partial(name, table)
    sides = (("query", table.q_len, table.block_m), ("key", table.k_len, table.block_n))
    for side, tokens, block in sides:
        if tokens % block:
            raise BackendError(
                f"backend {name!r} takes sequences of whole blocks, and {tokens:,} tokens "
                f"are not a multiple of {block} {side} tokens"
            )
    empty = np.flatnonzero(np.diff(table.full.indptr) == 0)
    if len(empty):
        raise BackendError(
            f"backend {name!r} needs a block in every row, and {len(empty):,} of "
            f"{table.rows:,} rows have none, the first is {empty[0]}"
        )
