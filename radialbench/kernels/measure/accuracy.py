"""Inputs of an attention call, and the error of its result against the definition."""

import math
import sys
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radialbench.kernels.backends.reference import attend, masked_chunks
from radialbench.kernels.checks import DTYPES
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.maskgen.table import BlockTable
from radialbench.records.measurement import Accuracy
from radialbench.records.problem import Problem

Int64 = NDArray[np.int64]

Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""q, [batch, heads, q_len, head_dim], and k and v, [batch, kv_heads, seq_len, head_dim]."""

WRONG = sys.float_info.max
"""The error of nan and of an infinity on one side only: finite, so that it can be stored."""

_LEAST_ROWS_OF_A_HEAD = 64


def make_inputs(problem: Problem, *, seed: int = 0, device: str = "cpu") -> Inputs:
    """Draw q, k and v from a standard normal distribution.

    A seed gives the same numbers in every dtype, up to rounding, on one kind of device.
    """
    generator = torch.Generator(device).manual_seed(seed)

    def draw(heads: int, tokens: int) -> Tensor:
        shape = (problem.batch, heads, tokens, problem.head_dim)
        return torch.randn(shape, generator=generator, device=device).to(DTYPES[problem.dtype])

    keys = problem.key_heads, problem.seq_len
    return draw(problem.heads, problem.q_len), draw(*keys), draw(*keys)


def draw_like(q: Tensor, *, seed: int = 1) -> Tensor:
    """Draw a gradient of the output from a standard normal distribution."""
    generator = torch.Generator(q.device).manual_seed(seed)
    return torch.randn(q.shape, generator=generator, device=q.device).to(q.dtype)


@dataclass(frozen=True, eq=False)
class Expected:
    """The exact result for some query rows of every head, and its tolerance.

    Attributes:
        rows: The rows, by sequence and head.
        out: Their outputs, [rows, head_dim] float64.
        lse: Their log-sum-exps, [rows] float64.
        tolerance: Bound of the errors of both.
        lse_tolerance: Bound of the error of lse, if it has another.
    """

    rows: dict[tuple[int, int], Tensor]
    out: dict[tuple[int, int], Tensor]
    lse: dict[tuple[int, int], Tensor]
    tolerance: float
    lse_tolerance: float | None = None


def expected(
    inputs: Inputs,
    *,
    table: AnyTable,
    sm_scale: float,
    rows: int = 1024,
    seed: int = 0,
    fp8: bool = False,
) -> Expected:
    """Compute masked attention in float64, for a sample of the rows.

    The tolerance comes from the data, as FlashAttention's tests take it. With u the unit roundoff
    of the inputs' dtype (2^-24, 2^-11 and 2^-8 for float32, float16 and bfloat16), per head

        tolerance = 2·e + u·max|out| + 4·2^-24·(1 + max|score|)·max(1, max|v|)

    e is the largest error, on the same rows, of attention in PyTorch with every intermediate in the
    inputs' dtype: a kernel may sum in another order, so twice that is allowed. The second term is
    the rounding of the output itself, and matters if e happens to be 0. The third is the error of a
    float32 score of that size, carried to the lse (at most the score's error) and to the output (at
    most that times |v|). The largest tolerance of all heads counts.

    For a backend in `FP8`, e is that of q, k, v and the weights in e4m3 as well, each scaled by its
    largest number; the lse, which such rounding shifts, has a tolerance from its own error.

    A float32 result with one pair too many or too few has an error of about that pair's
    probability, 1/keys, and fails; in 16 bits one pair of very many is below the output's rounding.

    Args:
        inputs: q, k and v, each head in the order of its table.
        table: The mask, or those of the heads.
        sm_scale: Factor of q·k.
        rows: Least number of rows, over all heads together; all, if a head has up to four times its
            share. Every head has a sample of its own.
        seed: Seed of the sample.
        fp8: Whether the tolerance is that of 8 bits.
    """
    q, k, v = (tensor.detach() for tensor in inputs)
    batch, heads = q.shape[:2]
    heads_per_kv = heads // k.shape[1]
    share = max(-(-rows // (batch * heads)), _LEAST_ROWS_OF_A_HEAD)
    tables = tables_by_head(table, heads)
    exact = Expected({}, {}, {}, 0.0)
    tolerance = lse_tolerance = 0.0
    for number, head in enumerate(np.ndindex(batch, heads)):
        own = tables[head[1]]
        queries = sample_rows(own, share, seed=seed + number)
        kv_head = head[0], head[1] // heads_per_kv
        keys, values = k[kv_head].double(), v[kv_head].double()
        outs, lses = [], []
        for part, masked in masked_chunks(own, queries, device=q.device):
            row = q[head][part]
            out, lse = attend(row, keys, values, masked, sm_scale=sm_scale)
            own_qkv = (row, k[kv_head], v[kv_head])
            of_out, of_lse = _tolerances(*own_qkv, masked, (out, lse), sm_scale=sm_scale, fp8=fp8)
            tolerance, lse_tolerance = max(tolerance, of_out), max(lse_tolerance, of_lse)
            outs.append(out)
            lses.append(lse)
        exact.rows[head] = torch.from_numpy(queries).to(q.device)
        exact.out[head], exact.lse[head] = torch.cat(outs), torch.cat(lses)
    other = lse_tolerance if lse_tolerance != tolerance else None
    return replace(exact, tolerance=tolerance, lse_tolerance=other)


def compare(result: tuple[Tensor, Tensor], wanted: Expected) -> Accuracy:
    """Compare a backend's out and lse with the definition."""
    out, lse = result
    compared, squares, out_error, lse_error = 0, 0.0, 0.0, 0.0
    for head, rows in wanted.rows.items():
        errors = _errors(out[head][rows], wanted.out[head])
        out_error = max(out_error, float(errors.max()))
        lse_error = max(lse_error, float(_errors(lse[head][rows], wanted.lse[head]).max()))
        squares += float(errors.square().sum())
        compared += len(rows)
    mean_square = squares / (compared * out.shape[-1])
    return Accuracy(
        max_abs_error=out_error,
        rms_error=math.sqrt(mean_square) if math.isfinite(mean_square) else WRONG,
        max_lse_error=lse_error,
        tolerance=wanted.tolerance,
        lse_tolerance=wanted.lse_tolerance,
        rows=compared,
        rows_total=lse.numel(),
        reference="float64 definition"
        + ("" if compared == lse.numel() else ", stratified sample of rows"),
    )


def checksums(inputs: Inputs) -> tuple[int, ...]:
    """Return a sum of the bits of each of q, k and v, weighted by their places."""
    sums = []
    for x in inputs:
        bits = x.view(torch.int32 if x.element_size() == 4 else torch.int16).flatten(0, 1)
        places = torch.arange(bits[0].numel(), device=x.device).view(bits[0].shape)
        # Odd weights: no change of one number is lost, however the sums overflow.
        heads = [((2 * (places + 7 * n) + 1) * head).sum() for n, head in enumerate(bits)]
        sums.append(int(torch.stack(heads).sum()))
    return tuple(sums)


def leave_nans(q: Tensor) -> None:
    """Free memory full of nan in the sizes of out and lse, for the outputs of the next call.

    This shows what a kernel does not write, if the allocator reuses freed memory first, as
    PyTorch's does on GPUs.
    """
    torch.full_like(q, math.nan)
    q.new_full(q.shape[:3], math.nan, dtype=torch.float32)


def _errors(got: Tensor, exact: Tensor) -> Tensor:
    """Return absolute errors: 0 for equal infinities, WRONG for nan."""
    got = got.detach().double()
    errors = (got - exact).abs().masked_fill(got == exact, 0.0)
    return errors.nan_to_num(nan=WRONG, posinf=WRONG)


def _tolerances(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    masked: Tensor,
    exact: tuple[Tensor, Tensor],
    *,
    sm_scale: float,
    fp8: bool,
) -> tuple[float, float]:
    """Return the tolerances of out and lse for some rows of one head, as in `expected`."""
    k, v = k.detach(), v.detach()
    if fp8:
        q, k, v = (_in_fp8(x, x.abs().amax()) for x in (q, k, v))
    scores = (q @ k.T).mul_(sm_scale).masked_fill_(masked, 0.0)
    top = max(abs(float(end)) for end in scores.aminmax())
    scores = scores.masked_fill_(masked, -math.inf)
    weights = scores.softmax(dim=1).masked_fill_(masked, 0.0)
    out, lse = exact
    if fp8:
        weights = _in_fp8(weights, weights.amax(1, keepdim=True))
    low_precision = float((weights @ v).double().sub_(out).abs().max().nan_to_num(nan=0.0))
    rounding = torch.finfo(q.dtype).eps / 2 * float(out.abs().max())
    of_scores = 4 * 2.0**-24 * (1 + top) * max(1.0, float(v.abs().max()))
    of_out = 2 * low_precision + rounding + of_scores
    if not fp8:
        return of_out, of_out
    rough = scores.double().logsumexp(1)
    shift = (rough - lse).masked_fill(rough == lse, 0.0).abs().max().nan_to_num(nan=0.0)
    return of_out, 2 * float(shift) + of_scores


def _in_fp8(x: Tensor, top: Tensor) -> Tensor:
    """Round to e4m3, scaled by the largest number."""
    factor = torch.finfo(torch.float8_e4m3fn).max / top.float().clamp(min=1e-30)
    return ((x.float() * factor).to(torch.float8_e4m3fn).float() / factor).to(x.dtype)


def sample_rows(table: BlockTable, rows: int, *, seed: int) -> Int64:
    """Return [rows] ascending query rows that cover all parts of a table.

    These are the first and the last row; one row in each of up to rows/2 partial blocks, cut by the
    bitmap if it cuts one; and for the rest, random rows from equal stretches of the others. All
    rows, if there are at most 4·rows.
    """
    q_len = table.q_len
    if q_len <= 4 * rows:
        return np.arange(q_len, dtype=np.int64)
    generator = np.random.default_rng(seed)
    chosen = np.unique(np.append(_cut_rows(table, rows // 2 - 1, generator), [0, q_len - 1]))
    others = np.setdiff1d(np.arange(q_len), chosen, assume_unique=True)
    stretches = rows - len(chosen)
    edges = np.arange(stretches + 1) * len(others) // max(stretches, 1)
    return np.union1d(chosen, others[generator.integers(edges[:-1], edges[1:])])


def _cut_rows(table: BlockTable, rows: int, generator: np.random.Generator) -> Int64:
    """Return a row in each of up to `rows` partial blocks, cut by its bitmap if it cuts one."""
    count = min(rows, table.partial.nnz)
    entries = np.arange(count) * table.partial.nnz // max(count, 1)
    blocks = table.partial.rows[entries]
    bits = np.bitwise_count(table.bitmaps[table.bitmap_of[entries]]).sum(axis=2)
    inside = np.arange(table.block_m) < table.row_lengths[blocks][:, None]
    widths = table.column_lengths[table.partial.indices[entries]][:, None]
    weight = inside * generator.uniform(1, 2, bits.shape) + 2 * ((bits > 0) & (bits < widths))
    chosen: Int64 = blocks * table.block_m + np.argmax(weight, axis=1)
    return chosen
