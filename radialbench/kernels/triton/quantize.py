"""Device code that rounds q, k and v to 8 bits (e4m3) for the forward kernel.

Keys are rounded less their mean, which moves all scores of a query by the same number: the output
stays as it is, and the lse gets q·mean back. q and k have a factor for each block of tokens, v one
for each channel. Past the last key k and v are zeros.
"""

import triton
import triton.language as tl

LARGEST = tl.constexpr(448.0)
"""Largest number of e4m3."""
TINY = tl.constexpr(1e-30)
"""The largest number of zeros, so that their factor is finite."""


@triton.jit
def summarize_keys(
    k_ptr,
    v_ptr,
    sums_ptr,
    tops_ptr,
    key_len_ptr,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_vb,
    stride_vh,
    stride_vn,
    kv_heads,
    k_len,
    parts,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PART: tl.constexpr,
    STEP: tl.constexpr,
    KEY_LENS: tl.constexpr,
):
    """Write sums of k and largest magnitudes of v, both [batch, kv_heads, parts, BLOCK_D]."""
    part = tl.program_id(0)
    off_bh = tl.program_id(1)
    off_b = (off_bh // kv_heads).to(tl.int64)
    off_h = (off_bh % kv_heads).to(tl.int64)
    keys = k_len
    if KEY_LENS:
        keys = tl.minimum(tl.load(key_len_ptr + off_b), k_len)
    channels = tl.arange(0, BLOCK_D)
    k_ptr += off_b * stride_kb + off_h * stride_kh
    v_ptr += off_b * stride_vb + off_h * stride_vh
    sums = tl.zeros([BLOCK_D], tl.float32)
    tops = tl.zeros([BLOCK_D], tl.float32)
    for start in range(0, PART, STEP):
        tokens = part * PART + start + tl.arange(0, STEP)
        here = (tokens < keys)[:, None] & (channels < HEAD_DIM)[None, :]
        rows = tokens.to(tl.int64)[:, None]
        k = tl.load(k_ptr + rows * stride_kn + channels[None, :], mask=here, other=0.0)
        v = tl.load(v_ptr + rows * stride_vn + channels[None, :], mask=here, other=0.0)
        sums += tl.sum(k.to(tl.float32), 0)
        tops = tl.maximum(tops, tl.max(tl.abs(v.to(tl.float32)), 0))
    place = (off_bh * parts + part).to(tl.int64) * BLOCK_D + channels
    tl.store(sums_ptr + place, sums)
    tl.store(tops_ptr + place, tops)


@triton.jit
def round_queries(
    q_ptr,
    mean_ptr,
    rounded_ptr,
    factors_ptr,
    times_mean_ptr,
    stride_qb,
    stride_qh,
    stride_qn,
    heads,
    q_len,
    HEADS_PER_KV: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Round a block of queries, and write its factor and each query times the keys' mean."""
    block = tl.program_id(0)
    off_bh = tl.program_id(1)
    off_b = (off_bh // heads).to(tl.int64)
    off_h = (off_bh % heads).to(tl.int64)
    channels = tl.arange(0, BLOCK_D)
    tokens = block * BLOCK + tl.arange(0, BLOCK)
    real = tokens < q_len
    here = real[:, None] & (channels < HEAD_DIM)[None, :]
    rows = tokens.to(tl.int64)[:, None]
    q_ptr += off_b * stride_qb + off_h * stride_qh
    q = tl.load(q_ptr + rows * stride_qn + channels[None, :], mask=here, other=0.0).to(tl.float32)
    mean = tl.load(mean_ptr + (off_bh // HEADS_PER_KV) * BLOCK_D + channels)
    first = off_bh.to(tl.int64) * q_len
    tl.store(times_mean_ptr + first + tokens, tl.sum(q * mean[None, :], 1), mask=real)
    top = tl.maximum(tl.max(tl.max(tl.abs(q), 1), 0), TINY)
    tl.store(factors_ptr + off_bh * tl.num_programs(0) + block, top / LARGEST)
    rounded = (q * (LARGEST / top)).to(tl.float8e4nv)
    place = (first + rows) * BLOCK_D + channels[None, :]
    tl.store(rounded_ptr + place, rounded, mask=real[:, None])


@triton.jit
def round_keys(
    k_ptr,
    mean_ptr,
    rounded_ptr,
    factors_ptr,
    key_len_ptr,
    stride_kb,
    stride_kh,
    stride_kn,
    kv_heads,
    k_len,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK: tl.constexpr,
    KEY_LENS: tl.constexpr,
):
    """Round a block of keys less their mean, and write its factor."""
    block = tl.program_id(0)
    off_bh = tl.program_id(1)
    off_b = (off_bh // kv_heads).to(tl.int64)
    off_h = (off_bh % kv_heads).to(tl.int64)
    keys = k_len
    if KEY_LENS:
        keys = tl.minimum(tl.load(key_len_ptr + off_b), k_len)
    channels = tl.arange(0, BLOCK_D)
    tokens = block * BLOCK + tl.arange(0, BLOCK)
    here = (tokens < keys)[:, None] & (channels < HEAD_DIM)[None, :]
    rows = tokens.to(tl.int64)[:, None]
    k_ptr += off_b * stride_kb + off_h * stride_kh
    k = tl.load(k_ptr + rows * stride_kn + channels[None, :], mask=here, other=0.0).to(tl.float32)
    mean = tl.load(mean_ptr + off_bh * BLOCK_D + channels)
    k = tl.where(here, k - mean[None, :], 0.0)
    top = tl.maximum(tl.max(tl.max(tl.abs(k), 1), 0), TINY)
    tl.store(factors_ptr + off_bh * tl.num_programs(0) + block, top / LARGEST)
    rounded = (k * (LARGEST / top)).to(tl.float8e4nv)
    place = (off_bh.to(tl.int64) * k_len + rows) * BLOCK_D + channels[None, :]
    tl.store(rounded_ptr + place, rounded, mask=(tokens < k_len)[:, None])


@triton.jit
def round_values(
    v_ptr,
    factors_ptr,
    rounded_ptr,
    key_len_ptr,
    stride_vb,
    stride_vh,
    stride_vn,
    kv_heads,
    k_len,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK: tl.constexpr,
    KEY_LENS: tl.constexpr,
):
    """Round a block of values and transpose it, its keys in the order of `key_order`.

    The result is [batch, kv_heads, BLOCK_D, key blocks · BLOCK].
    """
    block = tl.program_id(0)
    off_bh = tl.program_id(1)
    off_b = (off_bh // kv_heads).to(tl.int64)
    off_h = (off_bh % kv_heads).to(tl.int64)
    keys = k_len
    if KEY_LENS:
        keys = tl.minimum(tl.load(key_len_ptr + off_b), k_len)
    channels = tl.arange(0, BLOCK_D)
    places = tl.arange(0, BLOCK)
    # Position 16·j + 4·c + 2·i + b holds key 16·j + 8·i + 2·c + b.
    order = places // 16 * 16 + places // 2 % 2 * 8 + places // 4 % 4 * 2 + places % 2
    tokens = block * BLOCK + order
    here = (tokens < keys)[:, None] & (channels < HEAD_DIM)[None, :]
    rows = tokens.to(tl.int64)[:, None]
    v_ptr += off_b * stride_vb + off_h * stride_vh
    v = tl.load(v_ptr + rows * stride_vn + channels[None, :], mask=here, other=0.0).to(tl.float32)
    factors = tl.load(factors_ptr + off_bh * BLOCK_D + channels)
    rounded = (v / factors[None, :]).to(tl.float8e4nv)
    length = tl.num_programs(0) * BLOCK
    first = off_bh.to(tl.int64) * BLOCK_D * length + block * BLOCK
    place = channels.to(tl.int64)[:, None] * length + places[None, :]
    tl.store(rounded_ptr + first + place, tl.trans(rounded))
