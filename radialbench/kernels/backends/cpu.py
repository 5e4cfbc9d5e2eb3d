"""Cpu: block-sparse attention in PyTorch that computes the visited blocks and nothing else."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radialbench.kernels.backend import Run
from radialbench.kernels.checks import check_inputs, check_plan, host_reasons
from radialbench.kernels.running_softmax import RunningSoftmax
from radialbench.kernels.tiles import cut_tiles
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

TILE_SCORES = 256 * 1024
"""Most scores of a tile: 1 MiB, the L2 cache of a server core. Half as many cost 4% in speed on two
cores of an AMD EPYC 9004, because more operators wait for the interpreter; more gain nothing."""


class Cpu:
    """Walks the tiles of each query block with a running softmax.

    Keys and values are slices of k and v, never gathered copies. Each thread takes one query
    block after the other, the longest first, and runs single-threaded operators on it; PyTorch
    frees the interpreter inside an operator. Computes in float32: 16-bit keys and values are
    converted once a call.
    """

    name = "cpu"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Say why this problem cannot run here."""
        return host_reasons(problem, device)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Cut the table into tiles and order the work."""
        check_plan(self.name, self.unsupported_reasons(problem, "cpu"), problem, table, config)
        rows = cut_tiles(table, TILE_SCORES // table.block_m)
        keys = [sum(tile.width for tile in row) for row in rows]
        widest = max((tile.width for row in rows for tile in row), default=0)
        longest_first = sorted(range(len(rows)), key=lambda row: -keys[row])
        heads = list(np.ndindex(problem.batch, problem.heads))
        work = [(head, row) for row in longest_first for head in heads]

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, q, k, v)
            q, k, v = q.detach(), k.detach().float().mT, v.detach().float()
            out = torch.empty(q.shape, dtype=q.dtype)
            lse = torch.empty(q.shape[:3], dtype=torch.float32)
            finite = bool(torch.isfinite(q.sum(dtype=torch.float32) + k.sum()))

            def start() -> Callable[[Any], None]:
                softmax = RunningSoftmax(table, problem.head_dim, widest)

                def step(item: tuple[tuple[int, int], int]) -> None:
                    head, row = item
                    block = slice(row * table.block_m, (row + 1) * table.block_m)
                    softmax.begin(q[head][block], problem.scale, finite=finite)
                    for tile in rows[row]:
                        softmax.add(tile, k[head], v[head])
                    softmax.end(out[head][block], lse[head][block])

                return step

            _share(work, start, threads=torch.get_num_threads())
            return out, lse

        return run

    def needs(self) -> str:
        """Say what is needed."""
        return f"torch {torch.__version__}, any CPU; {torch.get_num_threads()} threads"


def _share(work: list[Any], start: Callable[[], Callable[[Any], None]], *, threads: int) -> None:
    """Do all items of work on some threads, each with a step of its own.

    Operators inside a thread are single-threaded: the threads of PyTorch's own pools would fight
    with these.
    """
    queue = deque(work)

    def drain() -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            step = start()
            while queue:
                try:
                    item = queue.popleft()
                except IndexError:
                    return
                step(item)

    try:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in [pool.submit(drain) for _ in range(threads)]:
                    done.result()
            finally:
                # The pool waits for its threads: after an error or Ctrl-C, not for all the work.
                queue.clear()
    finally:
        # A thread's number is also what later threads begin with: give that back.
        torch.set_num_threads(threads)
