"""Device code of the portable forward kernel."""

import triton
import triton.language as tl

LOWEST = tl.constexpr(-3.0e38)
"""Starting maximum of a row: below any score, and finite, so that no step meets inf - inf."""

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def block_sparse_fwd(
    q_ptr,
    k_in,
    v_in,
    out_ptr,
    lse_ptr,
    stride_qb,
    stride_qh,
    stride_qm,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_vb,
    stride_vh,
    stride_vn,
    stride_ob,
    stride_oh,
    stride_om,
    full_indptr,
    full_indices,
    partial_indptr,
    partial_indices,
    bitmap_of,
    bitmaps,
    row_order,
    group_of_head,
    key_len_ptr,
    heads,
    q_len,
    k_len,
    rows,
    scale_log2,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUPED: tl.constexpr,
    KEY_LENS: tl.constexpr,
    RAGGED: tl.constexpr,
    COPIES: tl.constexpr,
    HEADS_PER_KV: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute a query block of a head: full blocks, one that the keys end in, partial blocks.

    With COPIES, k_in and v_in are TMA descriptors of blocks [1, 1, BLOCK_N, BLOCK_D] from the host,
    else pointers. Automatic warp specialization with descriptors made in the kernel gave nan when a
    Hopper GPU switched between two processes; the cause is not known.

    A k_len of None is that of q: no argument of the compiled kernel.
    """
    if k_len is None:
        k_len = q_len
    off_bh = tl.program_id(1)
    off_b, off_h = off_bh // heads, off_bh % heads
    off_kv = off_h // HEADS_PER_KV
    group = tl.load(group_of_head + off_h) if GROUPED else 0
    row = tl.load(row_order + group * rows + tl.program_id(0))
    inner_m = tl.arange(0, BLOCK_M)
    inner_n = tl.arange(0, BLOCK_N)
    off_d = tl.arange(0, BLOCK_D)
    off_m = row * BLOCK_M + inner_m
    in_rows = off_m < q_len  # [BLOCK_M]
    in_d = off_d < HEAD_DIM  # [BLOCK_D]

    q_base = q_ptr + off_b.to(tl.int64) * stride_qb + off_h.to(tl.int64) * stride_qh
    out_base = out_ptr + off_b.to(tl.int64) * stride_ob + off_h.to(tl.int64) * stride_oh
    first_row = (row * BLOCK_M).to(tl.int64)
    out_tile = out_base + (first_row + inner_m[:, None]) * stride_om + off_d[None, :]
    q_tile = q_base + (first_row + inner_m[:, None]) * stride_qm + off_d[None, :]
    q = tl.load(q_tile, mask=in_rows[:, None] & in_d[None, :], other=0.0)  # [BLOCK_M, BLOCK_D]
    if not COPIES:
        k_base = k_in + off_b.to(tl.int64) * stride_kb + off_kv.to(tl.int64) * stride_kh
        v_base = v_in + off_b.to(tl.int64) * stride_vb + off_kv.to(tl.int64) * stride_vh
        k_tile = k_base + inner_n[:, None] * stride_kn + off_d[None, :]
        v_tile = v_base + inner_n[:, None] * stride_vn + off_d[None, :]

    m_i = tl.full([BLOCK_M], LOWEST, tl.float32)
    l_i = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)

    key_len = k_len
    if KEY_LENS:
        key_len = tl.minimum(tl.load(key_len_ptr + off_b), k_len)
    table_row = group * rows + row
    begin = tl.load(full_indptr + table_row)
    stop = tl.load(full_indptr + table_row + 1)
    end = stop
    if KEY_LENS:
        end = _lower_bound(full_indices, begin, stop, key_len // BLOCK_N)
    elif RAGGED:
        # Only the last key block is short.
        last = tl.load(full_indices + stop - 1, mask=stop > begin, other=0)
        end = stop - tl.where((stop > begin) & ((last + 1) * BLOCK_N > k_len), 1, 0)

    for entry in range(begin, end):
        start_n = tl.load(full_indices + entry) * BLOCK_N
        if COPIES:
            k = k_in.load([off_b, off_kv, start_n, 0]).reshape([BLOCK_N, BLOCK_D])
            v = v_in.load([off_b, off_kv, start_n, 0]).reshape([BLOCK_N, BLOCK_D])
        else:
            off_k = start_n.to(tl.int64) * stride_kn
            off_v = start_n.to(tl.int64) * stride_vn
            if BLOCK_D == HEAD_DIM:
                k = tl.load(k_tile + off_k)  # [BLOCK_N, BLOCK_D]
                v = tl.load(v_tile + off_v)
            else:
                k = tl.load(k_tile + off_k, mask=in_d[None, :], other=0.0)
                v = tl.load(v_tile + off_v, mask=in_d[None, :], other=0.0)
        qk = tl.dot(q, k.T, input_precision=PRECISION)  # [BLOCK_M, BLOCK_N]
        p, m_i, l_i, alpha = _softmax(qk, m_i, l_i, scale_log2)
        acc = acc * alpha[:, None]
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)

    # Column 8·j + 2·c + b of a block is bit 2·j + b of word c.
    lanes = tl.arange(0, 4)[None, :]
    bit_of = 1 << (2 * tl.arange(0, BLOCK_N // 8)[:, None] + tl.arange(0, 2)[None, :])
    masked_full = 0
    if RAGGED:
        if end < stop:
            masked_full = tl.where(tl.load(full_indices + end) * BLOCK_N < key_len, 1, 0)
    begin = tl.load(partial_indptr + table_row)
    steps = masked_full + tl.load(partial_indptr + table_row + 1) - begin
    for step in range(steps):
        partial = begin + step - masked_full
        real = step >= masked_full
        column = tl.load(full_indices + end, mask=step < masked_full, other=0)
        column += tl.load(partial_indices + partial, mask=real, other=0)
        bitmap = tl.load(bitmap_of + partial, mask=real, other=0).to(tl.int64)
        start_n = column * BLOCK_N
        words = tl.load(bitmaps + (bitmap * BLOCK_M + inner_m[:, None]) * 4 + lanes)
        words = words & _below(key_len - start_n - 2 * lanes)  # [BLOCK_M, 4]
        attends = (words[:, None, :, None] & bit_of[None, :, None, :]) != 0
        attends = attends.reshape([BLOCK_M, BLOCK_N])
        # Keys past the end may be nan, which a weight of 0 would not remove.
        inside = (start_n + inner_n < key_len)[:, None]
        if COPIES:
            k = k_in.load([off_b, off_kv, start_n, 0]).reshape([BLOCK_N, BLOCK_D])
            v = v_in.load([off_b, off_kv, start_n, 0]).reshape([BLOCK_N, BLOCK_D])
            if KEY_LENS:
                v = tl.where(inside, v, 0.0)
        else:
            inside = inside & in_d[None, :]
            off_k = start_n.to(tl.int64) * stride_kn
            off_v = start_n.to(tl.int64) * stride_vn
            k = tl.load(k_tile + off_k, mask=inside, other=0.0)
            v = tl.load(v_tile + off_v, mask=inside, other=0.0)
        qk = tl.dot(q, k.T, input_precision=PRECISION)  # [BLOCK_M, BLOCK_N]
        qk = tl.where(attends, qk, float("-inf"))
        p, m_i, l_i, alpha = _softmax(qk, m_i, l_i, scale_log2)
        acc = acc * alpha[:, None]
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)

    # A row without keys has l_i = 0: zeros, and an lse of -inf.
    some = l_i != 0.0
    l_i = tl.where(some, l_i, 1.0)
    lse = tl.where(some, (m_i + tl.log2(l_i)) / LOG2_E, float("-inf"))
    tl.store(lse_ptr + off_bh.to(tl.int64) * q_len + off_m, lse, mask=in_rows)
    out = (acc / l_i[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_tile, out, mask=in_rows[:, None] & in_d[None, :])


@triton.jit
def _softmax(qk, m_i, l_i, scale_log2):
    """Return the weights of a tile, the rows' new maximum and sum, and the factor of the old sums.

    Scaling the maximum instead of the scores leaves one multiply-add per score; it needs a scale
    above 0.
    """
    m_new = tl.maximum(m_i, tl.max(qk, 1) * scale_log2)
    p = tl.exp2(qk * scale_log2 - m_new[:, None])
    alpha = tl.exp2(m_i - m_new)
    return p, m_new, l_i * alpha + tl.sum(p, 1), alpha


@triton.jit
def _below(left):
    """Return the bits of a word whose columns 8·j + b are below `left`."""
    count = tl.where(left > 0, 2 * (left // 8) + tl.minimum(left % 8, 2), 0)
    return tl.where(count >= 32, -1, (1 << tl.minimum(count, 31)) - 1)


@triton.jit
def _lower_bound(indices, begin, end, column):
    """Return the first entry from `begin` to `end` - 1 that is not below `column`."""
    low = begin
    high = end
    while low < high:
        middle = (low + high) // 2
        below = tl.load(indices + middle) < column
        low = tl.where(below, middle + 1, low)
        high = tl.where(below, high, middle)
    return low
