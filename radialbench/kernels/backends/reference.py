"""Reference: the definition of masked attention, in float64."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radialbench.kernels.autograd import differentiable
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import check_inputs, check_plan, host_reasons
from radialbench.maskgen.table import BlockTable, Csr
from radialbench.records.problem import KernelConfig, Problem

CHUNK_BYTES = 32 << 20
"""Most bytes of the scores of a chunk: larger chunks are not faster."""


class Reference:
    """Computes every score in float64, by chunks of query rows: every pair's work for any mask."""

    name = "reference"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        return host_reasons(problem, device, gradients=True)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Fix table and scale."""
        check_plan(self.name, self.unsupported_reasons(problem, "cpu"), problem, table, config)
        exact = exact_attention(table, problem.scale)

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v, gradients=True)
            out, lse = exact(q, k, v)
            return out, lse.float()

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return f"torch {torch.__version__}, any CPU"


def exact_attention(table: BlockTable, sm_scale: float) -> Run:
    """Return attention by its definition, with gradients; out is like q, lse float64."""
    queries = np.arange(table.q_len, dtype=np.int64)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = torch.empty_like(q), torch.empty(q.shape[:3], dtype=torch.float64)
        for head, kv_head in _heads(q, k):
            keys, values = k[kv_head].double(), v[kv_head].double()
            for rows, masked in masked_chunks(table, queries):
                exact, lse[head][rows] = attend(
                    q[head][rows], keys, values, masked, sm_scale=sm_scale
                )
                out[head][rows] = exact.to(out.dtype)
        return out, lse

    def backward(
        q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dout: Tensor, dlse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        delta = (out.double() * dout.double()).sum(-1) - dlse
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros_like(x, dtype=torch.float64) for x in (k, v))
        for head, kv_head in _heads(q, k):
            keys, values = k[kv_head].double(), v[kv_head].double()
            for rows, masked in masked_chunks(table, queries):
                own, up = q[head][rows].double(), dout[head][rows].double()
                scores = (own @ keys.T).mul_(sm_scale)
                weights = (scores - lse[head][rows, None]).exp_().masked_fill_(masked, 0)
                slopes = (up @ values.T).sub_(delta[head][rows, None]).mul_(weights)
                slopes.mul_(sm_scale).masked_fill_(masked, 0)
                attends = masked.logical_not()
                dq[head][rows] = weighed(slopes, keys, attends).to(dq.dtype)
                dk[kv_head] += weighed(slopes.T, own, attends.T)
                dv[kv_head] += weighed(weights.T, up, attends.T)
        return dq, dk.to(k.dtype), dv.to(v.dtype)

    return differentiable(forward, backward)


def weighed(weights: Tensor, x: Tensor, attends: Tensor) -> Tensor:
    """Return weights @ x, where what is not finite in a row of x reaches those that attend to it.

    A weight of 0 times nan is nan: such rows are counted apart.
    """
    good = x.isfinite().all(dim=1)
    if good.all():
        return weights @ x
    reached = attends[:, ~good].any(dim=1)
    return (weights @ x.masked_fill(~good[:, None], 0)).masked_fill(reached[:, None], math.nan)


def _heads(q: Tensor, k: Tensor) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield sequence and head of q, with those of k."""
    for batch, head in np.ndindex(*q.shape[:2]):
        yield (batch, head), (batch, head // (q.shape[1] // k.shape[1]))


def masked_chunks(
    table: BlockTable, queries: NDArray[np.int64], *, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield chunks of query rows, each with its mask [rows, k_len]: true where masked."""
    chunk = max(1, CHUNK_BYTES // (8 * table.k_len))
    for start in range(0, len(queries), chunk):
        rows = queries[start : start + chunk]
        mask = torch.from_numpy(mask_rows(table, rows)).to(device)
        yield torch.from_numpy(rows).to(device), mask.logical_not_()


def attend(
    q: Tensor, k: Tensor, v: Tensor, masked: Tensor, *, sm_scale: float
) -> tuple[Tensor, Tensor]:
    """Compute some query rows of one head by the definition.

    Args:
        q: [rows, head_dim] of any dtype.
        k: [k_len, head_dim] float64.
        v: [k_len, head_dim] float64.
        masked: [rows, k_len] true where a query does not attend to a key.
        sm_scale: Factor of q·k.

    Returns:
        out [rows, head_dim] and lse [rows], float64. A row without keys: zeros and -inf. nan and
        infinities reach exactly the rows that attend to their key.
    """
    scores = (q.double() @ k.T).mul_(sm_scale).masked_fill_(masked, -math.inf)
    lse = scores.logsumexp(dim=1)
    # A row without keys has lse -inf; with 0 instead, exp(-inf - 0) = 0 for every key.
    scores.sub_(lse.masked_fill(lse == -math.inf, 0.0)[:, None]).exp_()
    if v.isfinite().all():
        return scores @ v, lse
    # A weight of 0 times nan is nan: what is not finite is counted apart, where it attends.
    out = scores @ v.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    attends = (~masked).double()
    nan, above, below = (
        attends @ x.double() > 0 for x in (v.isnan(), v == math.inf, v == -math.inf)
    )
    out = out.masked_fill(above, math.inf).masked_fill(below, -math.inf)
    return out.masked_fill(nan | (above & below), math.nan), lse


def mask_rows(table: BlockTable, queries: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return rows of the token mask: [rows, k_len] whether a query attends to each key.

    `queries` are [rows] positions in the table's token order.
    """
    blocks, places = np.divmod(queries, table.block_m)
    mask = np.zeros((len(queries), table.columns, table.block_n), np.bool_)
    row, entry = _entries(table.full, blocks)
    mask[row, table.full.indices[entry]] = True
    row, entry = _entries(table.partial, blocks)
    words = table.bitmaps[table.bitmap_of[entry], places[row]]
    as_bytes = np.ascontiguousarray(words.astype("<u4", copy=False)).view(np.uint8)
    bits = np.unpackbits(as_bytes, axis=1, count=table.block_n, bitorder="little")
    mask[row, table.partial.indices[entry]] = bits.view(np.bool_)
    return mask.reshape(len(queries), table.columns * table.block_n)[:, : table.k_len]


def mask_columns(table: BlockTable, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return columns of the token mask: [keys, q_len] whether each query attends to a key."""
    blocks, places = np.divmod(keys, table.block_n)
    mask = np.zeros((len(keys), table.rows, table.block_m), np.bool_)
    full, _ = table.full.transposed(table.columns)
    row, entry = _entries(full, blocks)
    mask[row, full.indices[entry]] = True
    partial, numbers = table.partial.transposed(table.columns)
    row, entry = _entries(partial, blocks)
    words = table.bitmaps[table.bitmap_of[numbers[entry]], :, places[row] // 32]
    mask[row, partial.indices[entry]] = words >> (places[row] % 32).astype(np.uint32)[:, None] & 1
    return mask.reshape(len(keys), table.rows * table.block_m)[:, : table.q_len]


def _entries(csr: Csr, blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (index into `blocks`, entry of `csr`) of every entry in these rows."""
    first = csr.indptr[blocks]
    count = csr.indptr[blocks + 1] - first
    row = np.repeat(np.arange(len(blocks)), count)
    before = np.cumsum(count) - count
    return row, np.arange(len(row)) - np.repeat(before - first, count)
