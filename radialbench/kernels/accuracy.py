"""How far a result is from the definition, and how far it may be."""

import math
import sys

import numpy as np
import torch
from torch import Tensor

from radialbench.kernels.backends.reference import attend, masked_chunks
from radialbench.kernels.inputs import Inputs
from radialbench.kernels.sampling import sample_rows
from radialbench.maskgen.table import BlockTable
from radialbench.records.result import Accuracy

WRONG = sys.float_info.max
"""The error of a number that is nan, or infinite on one side only: finite, so it can be stored."""

_LEAST_ROWS_OF_A_HEAD = 64


def compare(
    result: tuple[Tensor, Tensor],
    inputs: Inputs,
    *,
    table: BlockTable,
    sm_scale: float,
    rows: int = 1024,
    seed: int = 0,
) -> Accuracy:
    """Compare a result with masked attention computed in float64 from the same inputs.

    The tolerance comes from the data, as FlashAttention's tests take it. With u the unit roundoff
    of the inputs' dtype (2^-24, 2^-11 and 2^-8 for float32, float16 and bfloat16), per head

        tolerance = 2·e + u·max|out| + 4·2^-24·(1 + max|score|)·max(1, max|v|)

    e is the largest error, on the same rows, of attention written down in PyTorch with every
    intermediate in the inputs' dtype: a kernel may sum in another order, so twice that is allowed.
    The second term is the rounding of the output itself, and matters where e is 0 by luck. The
    third is what a float32 score that large can be off by, carried to the lse (at most the
    score's error) and to the output (at most that times |v|). The largest over the heads counts.

    A float32 result with one pair too many or too few is off by about that pair's probability,
    1/keys, and fails; in 16 bits a single pair of very many is below the output's own rounding.

    Args:
        result: What a backend's run gave for the inputs: out and lse, in the table's order.
        inputs: q, k and v, in the table's order.
        table: What attends to what.
        sm_scale: Factor of q·k.
        rows: Rows to compare at least, over all heads together; all, if a head has up to four
            times its share. Every head is sampled on its own.
        seed: Of the sample.
    """
    (out, lse), (q, k, v) = result, inputs
    batch, heads, seq_len, head_dim = q.shape
    share = max(-(-rows // (batch * heads)), _LEAST_ROWS_OF_A_HEAD)
    compared, squares, out_error, lse_error, tolerance = 0, 0.0, 0.0, 0.0, 0.0
    for number, head in enumerate(np.ndindex(batch, heads)):
        queries = sample_rows(table, share, seed=seed + number)
        keys, values = k[head].detach().double(), v[head].detach().double()
        for part, masked in masked_chunks(table, queries):
            row = q[head].detach()[part]
            exact = attend(row, keys, values, masked, sm_scale=sm_scale)
            errors = _errors(out[head][part], exact[0])
            out_error = max(out_error, float(errors.max()))
            lse_error = max(lse_error, float(_errors(lse[head][part], exact[1]).max()))
            squares += float(errors.square().sum())
            allowed = _tolerance(row, k[head], v[head], masked, exact[0], sm_scale=sm_scale)
            tolerance = max(tolerance, allowed)
        compared += len(queries)
    mean_square = squares / (compared * head_dim)
    return Accuracy(
        max_abs_error=out_error,
        rms_error=math.sqrt(mean_square) if math.isfinite(mean_square) else WRONG,
        max_lse_error=lse_error,
        tolerance=tolerance,
        rows=compared,
        rows_total=batch * heads * seq_len,
        reference="float64 definition"
        + ("" if compared == batch * heads * seq_len else ", stratified sample of rows"),
    )


def _errors(got: Tensor, exact: Tensor) -> Tensor:
    """Give absolute errors; equal infinities have none, and what is not a number is WRONG."""
    got = got.detach().double()
    errors = (got - exact).abs().masked_fill(got == exact, 0.0)
    return errors.nan_to_num(nan=WRONG, posinf=WRONG)


def _tolerance(
    q: Tensor, k: Tensor, v: Tensor, masked: Tensor, exact: Tensor, *, sm_scale: float
) -> float:
    """Say how far some rows of one head may be off; `compare` derives it."""
    k, v = k.detach(), v.detach()
    scores = (q @ k.T).mul_(sm_scale).masked_fill_(masked, 0.0)
    top = max(abs(float(end)) for end in scores.aminmax())
    weights = scores.masked_fill_(masked, -math.inf).softmax(dim=1).masked_fill_(masked, 0.0)
    low_precision = float((weights @ v).double().sub_(exact).abs().max().nan_to_num(nan=0.0))
    rounding = torch.finfo(q.dtype).eps / 2 * float(exact.abs().max())
    of_scores = 4 * 2.0**-24 * (1 + top) * max(1.0, float(v.abs().max()))
    return 2 * low_precision + rounding + of_scores
