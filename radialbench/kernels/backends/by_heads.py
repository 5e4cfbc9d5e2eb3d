"""Backends on head plans: one launch where a backend takes tables by head, else one for a group."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.backends import Backend, Run
from radialbench.maskgen.head_tables import AnyTable, HeadTables
from radialbench.records.problem import KernelConfig, Problem


@runtime_checkable
class TakesHeads(Protocol):
    """A backend that computes heads with different tables in one launch."""

    def plan_heads(self, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
        """Prepare as `Backend.plan`, for the tables of heads."""
        ...


def plan_table(backend: Backend, problem: Problem, table: AnyTable, config: KernelConfig) -> Run:
    """Plan a backend for a table, or for the tables of heads.

    A backend that takes one table for all heads is launched once for each group of heads, on a copy
    of the group's heads where they are no neighbours; both are part of the call.

    Raises:
        BackendError: As `Backend.plan`, or the tables are for another number of heads.
    """
    if not isinstance(table, HeadTables):
        return backend.plan(problem, table, config)
    if table.heads != problem.heads:
        raise BackendError(f"the tables are for {table.heads} heads, q has {problem.heads}")
    if isinstance(backend, TakesHeads):
        return backend.plan_heads(problem, table, config)
    return _by_group(backend, problem, table, config)


def _by_group(backend: Backend, problem: Problem, table: HeadTables, config: KernelConfig) -> Run:
    shared = problem.heads // problem.key_heads
    groups: list[tuple[slice | list[int], slice | list[int], Run]] = []
    for number, one in enumerate(table.tables):
        heads = [head for head, group in enumerate(table.group_of_head) if group == number]
        if not heads:
            continue
        part = replace(problem, heads=len(heads), kv_heads=None)
        planned = backend.plan(part, one, config)
        groups.append((_compact(heads), _compact([head // shared for head in heads]), planned))

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = torch.empty_like(q), q.new_empty(q.shape[:3], dtype=torch.float32)
        for heads, key_heads, attend in groups:
            out[:, heads], lse[:, heads] = attend(q[:, heads], k[:, key_heads], v[:, key_heads])
        return out, lse

    return run


def _compact(heads: list[int]) -> slice | list[int]:
    """Return neighbours as a slice, which copies nothing."""
    neighbours = heads == list(range(heads[0], heads[0] + len(heads)))
    return slice(heads[0], heads[0] + len(heads)) if neighbours else heads
