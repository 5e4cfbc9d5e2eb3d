"""Launches of attention in 8 bits (e4m3) on Hopper: q, k and v are rounded, then attended to."""

from typing import NamedTuple

import torch
from torch import Tensor

from radialbench.kernels.device_table import DeviceTable
from radialbench.kernels.select import hopper_columns
from radialbench.kernels.triton.launch import HOPPER_OPTIONS, LOG2_E, layout_of, operand

BLOCK = 128
"""Tokens that share a factor: those of a block of the table."""
PART, STEP = 1024, 64
"""Keys that a program of `summarize_keys` reads, and how many at once."""
BUFFERS = 2
LARGEST = torch.finfo(torch.float8_e4m3fn).max
TINY = 1e-30


class Rounded(NamedTuple):
    """q, k and v in e4m3, and what their numbers stand for; head_dim is padded to D channels.

    Attributes:
        q: [batch, heads, q_len, D].
        k: [batch, kv_heads, k_len, D], less the mean of the keys.
        v: [batch, kv_heads, D, key blocks · 128]; its keys stand in the order of `key_order`.
        q_factors: [batch, heads, query blocks] float32.
        k_factors: [batch, kv_heads, key blocks] float32.
        v_factors: [batch, kv_heads, D] float32.
        times_mean: [batch, heads, q_len] float32: queries times the mean of their keys.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    q_factors: Tensor
    k_factors: Tensor
    v_factors: Tensor
    times_mean: Tensor


def key_order(length: int) -> Tensor:
    """Return [length] the key that stands at each position of a rounded v.

    A thread holds the scores of columns 16·j + 8·i + 2·c + b of a block, for one c. With the keys
    in this order they are its share of the operand of the next product, four to a register.
    """
    x = torch.arange(length)
    return x // 16 * 16 + x // 2 % 2 * 8 + x // 4 % 4 * 2 + x % 2


def round_to_fp8(q: Tensor, k: Tensor, v: Tensor, key_len: Tensor | None = None) -> Rounded:
    """Round q, k and v of [batch, heads or kv_heads, tokens, head_dim], whose last stride is 1.

    Keys from key_len, [batch] int32, on are rounded to zeros. Numbers must be finite.
    """
    from radialbench.kernels.triton import quantize

    batch, heads, q_len, head_dim = q.shape
    kv_heads, k_len = k.shape[1:3]
    width = hopper_columns(head_dim)
    rows, columns, parts = (-(-n // b) for n, b in ((q_len, BLOCK), (k_len, BLOCK), (k_len, PART)))

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(batch, *shape, dtype=dtype, device=q.device)

    dims = {"HEAD_DIM": head_dim, "BLOCK_D": width, "num_warps": 8}
    keys = dims | {"KEY_LENS": key_len is not None}
    sums, tops = empty(kv_heads, parts, width), empty(kv_heads, parts, width)
    strides = (*k.stride()[:3], *v.stride()[:3])
    quantize.summarize_keys[(parts, batch * kv_heads)](
        *(k, v, sums, tops, key_len, *strides),
        *(kv_heads, k_len, parts),
        PART=PART,
        STEP=STEP,
        **keys,
    )
    valid = k_len if key_len is None else key_len.clamp(1, k_len).view(-1, 1, 1)
    mean = sums.sum(2) / valid
    v_factors = tops.amax(2).clamp_(min=TINY) / LARGEST
    fp8 = torch.float8_e4m3fn
    q8, q_factors = empty(heads, q_len, width, dtype=fp8), empty(heads, rows)
    k8, k_factors = empty(kv_heads, k_len, width, dtype=fp8), empty(kv_heads, columns)
    v8, times_mean = empty(kv_heads, width, columns * BLOCK, dtype=fp8), empty(heads, q_len)
    quantize.round_queries[(rows, batch * heads)](
        *(q, mean, q8, q_factors, times_mean, *q.stride()[:3]),
        *(heads, q_len),
        HEADS_PER_KV=heads // kv_heads,
        BLOCK=BLOCK,
        **dims,
    )
    quantize.round_keys[(columns, batch * kv_heads)](
        *(k, mean, k8, k_factors, key_len, *k.stride()[:3]), *(kv_heads, k_len), BLOCK=BLOCK, **keys
    )
    quantize.round_values[(columns, batch * kv_heads)](
        *(v, v_factors, v8, key_len, *v.stride()[:3]), *(kv_heads, k_len), BLOCK=BLOCK, **keys
    )
    return Rounded(q8, k8, v8, q_factors, k_factors, v_factors, times_mean)


def attend_rounded(
    rounded: Rounded,
    table: DeviceTable,
    out: Tensor,
    lse: Tensor,
    *,
    sm_scale: float,
    key_len: Tensor | None = None,
) -> None:
    """Write attention of rounded q, k and v.

    out is [batch, heads, q_len, head_dim] in the type of the inputs, its rows at multiples of 16
    bytes; lse is contiguous [batch, heads, q_len] float32.
    """
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    from radialbench.kernels.triton.forward_hopper_fp8 import block_sparse_fwd_hopper_fp8

    batch, heads, q_len, width = rounded.q.shape
    kv_heads, k_len = rounded.k.shape[1:3]
    half = BLOCK // 2
    element = {torch.bfloat16: gl.bfloat16, torch.float16: gl.float16}[out.dtype]

    def describe(x: Tensor, block: tuple[int, int], kind: object) -> TensorDescriptor:
        whole = [1, 1, *block]
        _, shape, strides = operand(layout_of(x))
        shared = gl.NVMMASharedLayout.get_default_for(whole, kind)
        return TensorDescriptor(x, shape, strides, whole, shared)

    fp8 = gl.float8e4nv
    block_sparse_fwd_hopper_fp8[(table.rows, batch * heads)](
        describe(rounded.q, (half, width), fp8),
        describe(rounded.k, (BLOCK, width), fp8),
        describe(rounded.v, (width, BLOCK), fp8),
        describe(out, (half, width), element),
        *(rounded.q_factors, rounded.k_factors, rounded.v_factors, rounded.times_mean, lse),
        *(*table.tensors(), table.row_order if key_len is None else key_len),
        *(heads, q_len, k_len, table.rows, sm_scale * LOG2_E),
        BLOCK_M=BLOCK,
        BLOCK_N=BLOCK,
        BLOCK_D=width,
        GROUPED=len(table.group_of_head) > 0,
        KEY_LENS=key_len is not None,
        RAGGED=key_len is not None or k_len % BLOCK != 0,
        HEADS_PER_KV=heads // kv_heads,
        BUFFERS=BUFFERS,
        **HOPPER_OPTIONS,
    )
