"""The error of a backend's gradients against their definition, on the tensors that are timed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radialbench.kernels.backends.reference import (
    CHUNK_BYTES,
    mask_columns,
    masked_chunks,
    weighed,
)
from radialbench.kernels.measure.accuracy import WRONG, Inputs, sample_rows
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.maskgen.table import BlockTable
from radialbench.records.measurement import Accuracy

Int64 = NDArray[np.int64]

_LEAST_OF_A_HEAD = 64


@dataclass
class _Errors:
    """Errors of one of dq, dk and dv over all heads, and what bounds them."""

    largest: float = 0.0
    squares: float = 0.0
    numbers: int = 0
    tolerance: float = 0.0

    def add(self, got: Tensor, exact: Tensor, rough: Tensor, top: float) -> None:
        """Add some tokens of a head; `rough` are the same in the type of the inputs."""
        errors = (got.double() - exact).abs().nan_to_num(nan=WRONG, posinf=WRONG)
        size = float(exact.abs().max().nan_to_num(nan=0.0))
        low_precision = float((rough.double() - exact).abs().max().nan_to_num(nan=0.0))
        rounding = torch.finfo(got.dtype).eps / 2 * size
        of_scores = 4 * 2.0**-24 * (1 + top) * max(1.0, size)
        self.tolerance = max(self.tolerance, 2 * low_precision + rounding + of_scores)
        self.largest = max(self.largest, float(errors.max()))
        self.squares += float(errors.square().sum())
        self.numbers += errors.numel()


def compare_gradients(
    grads: Inputs,
    inputs: Inputs,
    result: tuple[Tensor, Tensor],
    dout: Tensor,
    *,
    table: AnyTable,
    sm_scale: float,
    rows: int = 1024,
    seed: int = 0,
) -> Accuracy:
    """Compare dq of some rows, and dk and dv of some keys, of every head with float64.

    The exact gradients are those for the backend's own out and lse, which `compare` checks. The
    tolerance of each is as in `expected`: twice the largest error of the same computation with
    every intermediate in the inputs' dtype, and rounding. The worst of the three is returned.

    Args:
        grads: dq, dk and dv of the backend.
        inputs: q, k and v.
        result: out and lse.
        dout: The gradient of out.
        table: The mask, or those of the heads.
        sm_scale: Factor of q·k.
        rows: Least number of rows, and of keys, over all heads together.
        seed: Seed of the samples.
    """
    q, k, v = (x.detach() for x in inputs)
    out, lse = (x.detach() for x in result)
    batch, heads = q.shape[:2]
    shared = heads // k.shape[1]
    tables = tables_by_head(table, heads)
    share = max(-(-rows // (batch * heads)), _LEAST_OF_A_HEAD)
    found = _Errors(), _Errors(), _Errors()
    compared = 0
    for number, (b, kv) in enumerate(np.ndindex(batch, k.shape[1])):
        keys = _sample(k.shape[2], share, seed + number)
        own = torch.from_numpy(keys).to(q.device)
        sums = {dtype: [torch.zeros_like(k[b, kv, own], dtype=dtype)] * 2 for dtype in _both(q)}
        top_key = 0.0
        for h in range(kv * shared, (kv + 1) * shared):
            head = _Head(q[b, h], k[b, kv], v[b, kv], out[b, h], lse[b, h], dout[b, h], sm_scale)
            queries = sample_rows(tables[h], share, seed=seed + number)
            compared += len(queries)
            for part, masked in masked_chunks(tables[h], queries, device=q.device):
                exact, rough = (head.dq(part, masked, dtype) for dtype in _both(q))
                found[0].add(grads[0][b, h, part], exact, rough, head.top)
            for dtype in _both(q):
                dk, dv = sums[dtype]
                more_k, more_v = head.dkdv(own, tables[h], keys, dtype)
                sums[dtype] = [dk + more_k, dv + more_v]
            top_key = max(top_key, head.top)
        for place, errors in enumerate(found[1:]):
            exact, rough = (sums[dtype][place] for dtype in _both(q))
            errors.add(grads[1 + place][b, kv, own], exact, rough, top_key)
    worst = max(found, key=lambda errors: errors.largest / errors.tolerance)
    mean_square = worst.squares / worst.numbers
    names = dict(zip(map(id, found), ("dq", "dk", "dv"), strict=True))
    return Accuracy(
        max_abs_error=worst.largest,
        rms_error=math.sqrt(mean_square) if math.isfinite(mean_square) else WRONG,
        max_lse_error=0.0,
        tolerance=worst.tolerance,
        rows=compared,
        rows_total=lse.numel(),
        reference=f"float64 gradients of out and lse as computed; {names[id(worst)]} is the worst",
    )


def _both(q: Tensor) -> tuple[torch.dtype, torch.dtype]:
    return torch.float64, torch.float32 if q.dtype == torch.float32 else q.dtype


def _sample(tokens: int, most: int, seed: int) -> Int64:
    """Return ascending keys, the first and the last among them."""
    if tokens <= 4 * most:
        return np.arange(tokens, dtype=np.int64)
    some = np.random.default_rng(seed).choice(tokens, most, replace=False)
    return np.unique(np.append(some, [0, tokens - 1])).astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Head:
    """What the gradients of one head are computed from: [tokens, head_dim], lse [tokens]."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    lse: Tensor
    dout: Tensor
    sm_scale: float

    @property
    def top(self) -> float:
        """A bound of the scores."""
        sides = (float(x.double().square().sum(1).max().sqrt()) for x in (self.q, self.k))
        return self.sm_scale * math.prod(sides)

    def slopes(
        self, rows: Tensor, keys: Tensor, masked: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return the weights of pairs and the gradients of their scores, [rows, keys]."""
        q, k, v, dout = (
            x[at].to(dtype)
            for x, at in ((self.q, rows), (self.k, keys), (self.v, keys), (self.dout, rows))
        )
        delta = (self.out[rows].double() * self.dout[rows].double()).sum(1).to(dtype)
        scores = (q @ k.T) * self.sm_scale
        lse = self.lse[rows].to(torch.float64 if dtype == torch.float64 else torch.float32)
        weights = (scores.to(lse.dtype) - lse[:, None]).exp().to(dtype).masked_fill(masked, 0.0)
        slopes = weights * (dout @ v.T - delta[:, None]) * self.sm_scale
        return weights, slopes.masked_fill(masked, 0.0)

    def dq(self, rows: Tensor, masked: Tensor, dtype: torch.dtype) -> Tensor:
        """Return dq of some rows."""
        every = torch.arange(len(self.k), device=self.k.device)
        _, slopes = self.slopes(rows, every, masked, dtype)
        return weighed(slopes, self.k.to(dtype), ~masked)

    def dkdv(
        self, own: Tensor, table: BlockTable, keys: Int64, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return dk and dv of some keys, of this head's queries."""
        every = torch.arange(len(self.q), device=self.q.device)
        parts = []
        for some, attends in _attending(table, keys, self.q.device):
            weights, slopes = self.slopes(every, own[some], ~attends.T, dtype)
            parts.append(
                (
                    weighed(slopes.T, self.q.to(dtype), attends),
                    weighed(weights.T, self.dout.to(dtype), attends),
                )
            )
        dk, dv = (torch.cat(side) for side in zip(*parts, strict=True))
        return dk, dv


def _attending(
    table: BlockTable, keys: Int64, device: torch.device
) -> Iterator[tuple[slice, Tensor]]:
    """Yield chunks of keys, with whether each query attends to each: [keys, q_len]."""
    chunk = max(1, CHUNK_BYTES // (8 * table.q_len))
    for start in range(0, len(keys), chunk):
        some = slice(start, start + chunk)
        yield some, torch.from_numpy(mask_columns(table, keys[some])).to(device)
