"""Attention on one rank's part of a table, and its gradients: our kernels, or PyTorch on a CPU."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from radialbench.kernels.backends.reference import attend, masked_chunks, weighed
from radialbench.kernels.backward import block_sparse_attention_backward
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.maskgen.head_tables import AnyTable, tables_by_head


def attend_part(
    q: Tensor, k: Tensor, v: Tensor, table: AnyTable, sm_scale: float, key_len: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return out and lse of a part, as `block_sparse_attention`.

    On a CPU in float64, pair by pair: for tests and small sequences.
    """
    if q.is_cuda:
        return block_sparse_attention(
            *(q, k, v, table), sm_scale=sm_scale, key_len=key_len, return_lse=True
        )
    out, lse = torch.empty_like(q), torch.empty(q.shape[:3], dtype=torch.float32)
    for here, there, rows, masked in _chunks(q, k, table, key_len):
        exact, sums = attend(
            q[here][rows], k[there].double(), v[there].double(), masked, sm_scale=sm_scale
        )
        out[here][rows], lse[here][rows] = exact.to(out.dtype), sums.float()
    return out, lse


def gradients_of_part(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    table: AnyTable,
    sm_scale: float,
    key_len: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dq, dk and dv of a part, from out and lse of the whole."""
    if q.is_cuda:
        return block_sparse_attention_backward(
            *(dout, q, k, v, out, lse, device_table(table, q.device)),
            sm_scale=sm_scale,
            key_len=key_len,
        )
    delta = (out.double() * dout.double()).sum(-1)
    dq = torch.empty_like(q)
    dk, dv = (torch.zeros_like(x, dtype=torch.float64) for x in (k, v))
    for here, there, rows, masked in _chunks(q, k, table, key_len):
        keys, values = k[there].double(), v[there].double()
        own, up = q[here][rows].double(), dout[here][rows].double()
        sums = lse[here][rows, None].double()
        scores = (own @ keys.T).mul_(sm_scale).masked_fill_(masked, -math.inf)
        weights = (scores - sums.masked_fill(sums == -math.inf, 0.0)).exp_()
        slopes = (up @ values.T).sub_(delta[here][rows, None]).mul_(weights).mul_(sm_scale)
        slopes.masked_fill_(masked, 0)
        attends = masked.logical_not()
        dq[here][rows] = weighed(slopes, keys, attends).to(dq.dtype)
        dk[there] += weighed(slopes.T, own, attends.T)
        dv[there] += weighed(weights.T, up, attends.T)
    return dq, dk.to(k.dtype), dv.to(v.dtype)


def _chunks(
    q: Tensor, k: Tensor, table: AnyTable, key_len: Tensor | None
) -> Iterator[tuple[tuple[int, int], tuple[int, int], Tensor, Tensor]]:
    """Yield sequence and head of q, those of k, query rows, and their mask: true where masked."""
    by_head = tables_by_head(table, q.shape[1])
    shared = q.shape[1] // k.shape[1]
    for one in dict.fromkeys(by_head):
        heads = [head for head, own in enumerate(by_head) if own == one]
        for rows, masked in masked_chunks(one, np.arange(one.q_len)):
            for batch in range(q.shape[0]):
                hidden = masked
                if key_len is not None:
                    hidden = masked | (torch.arange(one.k_len) >= key_len[batch])
                for head in heads:
                    yield (batch, head), (batch, head // shared), rows, hidden
