"""Device code of the portable backward kernels: sums over rows, then dq, and dk and dv.

No two programs write to one place, so that results do not depend on the order of the programs.
Where a query does not attend to a key of a partial block, neither reaches the other's gradient,
whatever their numbers: what is not finite is left out of the products that sum over tokens, and
reaches the pairs that attend by their scores.
"""

import triton
import triton.language as tl

from radialbench.kernels.triton.forward import LOG2_E, _below, _lower_bound


@triton.jit
def block_sparse_rows(
    q_ptr,
    out_ptr,
    dout_ptr,
    lse_in,
    dlse_ptr,
    lse_ptr,
    delta_ptr,
    unclean_ptr,
    stride_qb,
    stride_qh,
    stride_qm,
    stride_ob,
    stride_oh,
    stride_om,
    stride_gb,
    stride_gh,
    stride_gm,
    heads,
    q_len,
    ROWS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    HEADS_PER_KV: tl.constexpr,
    WITH_LSE: tl.constexpr,
    MARK: tl.constexpr,
):
    """Write lse in units of log2, and delta, of some rows of a head, up to a whole query block.

    delta is the sum of dout·out, less the gradient of lse if there is one. Rows past the end, and
    rows without keys, have an lse of inf: they weigh nothing. With MARK, key heads with a number in
    q or dout that is not finite are marked with 1.
    """
    off_bh = tl.program_id(1)
    off_b = (off_bh // heads).to(tl.int64)
    off_h = (off_bh % heads).to(tl.int64)
    off_m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    off_d = tl.arange(0, BLOCK_D)
    in_rows = off_m < q_len
    inside = in_rows[:, None] & (off_d < HEAD_DIM)[None, :]
    rows = off_m.to(tl.int64)[:, None]
    out_tile = out_ptr + off_b * stride_ob + off_h * stride_oh + rows * stride_om + off_d[None, :]
    dout_tile = dout_ptr + off_b * stride_gb + off_h * stride_gh + rows * stride_gm + off_d[None, :]
    out = tl.load(out_tile, mask=inside, other=0.0).to(tl.float32)  # [ROWS, BLOCK_D]
    dout = tl.load(dout_tile, mask=inside, other=0.0).to(tl.float32)
    if MARK:
        q_tile = q_ptr + off_b * stride_qb + off_h * stride_qh + rows * stride_qm + off_d[None, :]
        q = tl.load(q_tile, mask=inside, other=0.0).to(tl.float32)
        unclean = tl.max(tl.max(tl.where(_is_finite(q) & _is_finite(dout), 0, 1), 1), 0)
        if unclean == 1:
            # Whichever program comes last writes the same.
            tl.store(unclean_ptr + off_bh // HEADS_PER_KV, 1)
    delta = tl.sum(out * dout, 1)
    place = off_bh.to(tl.int64) * q_len + off_m
    if WITH_LSE:
        delta -= tl.load(dlse_ptr + place, mask=in_rows, other=0.0)
    lse = tl.load(lse_in + place, mask=in_rows, other=float("-inf"))
    lse = tl.where(lse == float("-inf"), float("inf"), lse * LOG2_E)
    padded = tl.cdiv(q_len, BLOCK_M) * BLOCK_M
    place = off_bh.to(tl.int64) * padded + off_m
    tl.store(lse_ptr + place, lse, mask=off_m < padded)
    tl.store(delta_ptr + place, delta, mask=off_m < padded)


@triton.jit
def block_sparse_dq(
    q_ptr,
    k_in,
    v_in,
    dout_ptr,
    lse_ptr,
    delta_ptr,
    dq_ptr,
    stride_qb,
    stride_qh,
    stride_qm,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_vb,
    stride_vh,
    stride_vn,
    stride_gb,
    stride_gh,
    stride_gm,
    stride_dqb,
    stride_dqh,
    stride_dqm,
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
    sm_scale,
    scale_log2,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    OWN: tl.constexpr,
    STEP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUPED: tl.constexpr,
    KEY_LENS: tl.constexpr,
    RAGGED: tl.constexpr,
    COPIES: tl.constexpr,
    HEADS_PER_KV: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute dq of OWN queries of a head, over STEP keys of their row's blocks at a time.

    With COPIES, k_in and v_in are TMA descriptors of blocks [1, 1, STEP, BLOCK_D], else pointers. A
    k_len of None is that of q: no argument of the compiled kernel.
    """
    if k_len is None:
        k_len = q_len
    OWNS: tl.constexpr = BLOCK_M // OWN
    STEPS: tl.constexpr = BLOCK_N // STEP
    off_bh = tl.program_id(1)
    off_b, off_h = off_bh // heads, off_bh % heads
    off_kv = off_h // HEADS_PER_KV
    group = tl.load(group_of_head + off_h) if GROUPED else 0
    row = tl.load(row_order + group * rows + tl.program_id(0) // OWNS)
    inner_m = tl.program_id(0) % OWNS * OWN + tl.arange(0, OWN)
    inner_n = tl.arange(0, STEP)
    off_d = tl.arange(0, BLOCK_D)
    off_m = row * BLOCK_M + inner_m
    in_rows = off_m < q_len  # [OWN]
    in_d = off_d < HEAD_DIM  # [BLOCK_D]
    in_tile = in_rows[:, None] & in_d[None, :]

    far_b, far_h, far_kv = off_b.to(tl.int64), off_h.to(tl.int64), off_kv.to(tl.int64)
    far_m = (row * BLOCK_M).to(tl.int64) + inner_m[:, None]
    q_tile = q_ptr + far_b * stride_qb + far_h * stride_qh + far_m * stride_qm + off_d[None, :]
    g_tile = dout_ptr + far_b * stride_gb + far_h * stride_gh + far_m * stride_gm + off_d[None, :]
    q = tl.load(q_tile, mask=in_tile, other=0.0)  # [OWN, BLOCK_D]
    dout = tl.load(g_tile, mask=in_tile, other=0.0)
    of_row = off_bh.to(tl.int64) * (rows * BLOCK_M) + off_m
    lse_log2 = tl.load(lse_ptr + of_row)
    delta = tl.load(delta_ptr + of_row)
    if not COPIES:
        k_tile = k_in + far_b * stride_kb + far_kv * stride_kh
        v_tile = v_in + far_b * stride_vb + far_kv * stride_vh
        k_tile += inner_n[:, None] * stride_kn + off_d[None, :]
        v_tile += inner_n[:, None] * stride_vn + off_d[None, :]
    dq = tl.zeros([OWN, BLOCK_D], tl.float32)

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

    for step in range(begin * STEPS, end * STEPS):
        start_n = tl.load(full_indices + step // STEPS) * BLOCK_N + step % STEPS * STEP
        if COPIES:
            k = k_in.load([off_b, off_kv, start_n, 0]).reshape([STEP, BLOCK_D])
            v = v_in.load([off_b, off_kv, start_n, 0]).reshape([STEP, BLOCK_D])
        else:
            off_k = start_n.to(tl.int64) * stride_kn
            off_v = start_n.to(tl.int64) * stride_vn
            if BLOCK_D == HEAD_DIM:
                k = tl.load(k_tile + off_k)  # [STEP, BLOCK_D]
                v = tl.load(v_tile + off_v)
            else:
                k = tl.load(k_tile + off_k, mask=in_d[None, :], other=0.0)
                v = tl.load(v_tile + off_v, mask=in_d[None, :], other=0.0)
        qk = tl.dot(q, k.T, input_precision=PRECISION)  # [OWN, STEP]
        p = tl.exp2(qk * scale_log2 - lse_log2[:, None])
        dp = tl.dot(dout, v.T, input_precision=PRECISION)
        ds = p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision=PRECISION)

    # Column 8·j + 2·c + b of a block is bit 2·j + b of word c.
    lanes = tl.arange(0, 4)[None, :]
    bit_of = 1 << (2 * tl.arange(0, STEP // 8)[:, None] + tl.arange(0, 2)[None, :])
    masked_full = 0
    if RAGGED:
        if end < stop:
            masked_full = tl.where(tl.load(full_indices + end) * BLOCK_N < key_len, 1, 0)
    begin = tl.load(partial_indptr + table_row)
    blocks = masked_full + tl.load(partial_indptr + table_row + 1) - begin
    for step in range(blocks * STEPS):
        block, inner = step // STEPS, step % STEPS * STEP
        partial = begin + block - masked_full
        real = block >= masked_full
        column = tl.load(full_indices + end, mask=block < masked_full, other=0)
        column += tl.load(partial_indices + partial, mask=real, other=0)
        bitmap = tl.load(bitmap_of + partial, mask=real, other=0).to(tl.int64)
        start_n = column * BLOCK_N + inner
        words = tl.load(bitmaps + (bitmap * BLOCK_M + inner_m[:, None]) * 4 + lanes)
        words = (words >> (inner // 4)) & _below(key_len - start_n - 2 * lanes)  # [OWN, 4]
        attends = (words[:, None, :, None] & bit_of[None, :, None, :]) != 0
        attends = attends.reshape([OWN, STEP])
        if COPIES:
            k = k_in.load([off_b, off_kv, start_n, 0]).reshape([STEP, BLOCK_D])
            v = v_in.load([off_b, off_kv, start_n, 0]).reshape([STEP, BLOCK_D])
        else:
            inside = (start_n + inner_n < key_len)[:, None] & in_d[None, :]
            off_k = start_n.to(tl.int64) * stride_kn
            off_v = start_n.to(tl.int64) * stride_vn
            k = tl.load(k_tile + off_k, mask=inside, other=0.0)
            v = tl.load(v_tile + off_v, mask=inside, other=0.0)
        qk = tl.dot(q, k.T, input_precision=PRECISION)  # [OWN, STEP]
        p = tl.exp2(tl.where(attends, qk * scale_log2 - lse_log2[:, None], float("-inf")))
        dp = tl.dot(dout, v.T, input_precision=PRECISION)
        ds = tl.where(p != 0.0, p * (dp - delta[:, None]), 0.0)
        dq = tl.dot(ds.to(k.dtype), _finite(k), dq, input_precision=PRECISION)

    dq_tile = dq_ptr + far_b * stride_dqb + far_h * stride_dqh + far_m * stride_dqm
    tl.store(dq_tile + off_d[None, :], (dq * sm_scale).to(dq_ptr.dtype.element_ty), mask=in_tile)


@triton.jit
def block_sparse_dkdv(
    q_in,
    k_ptr,
    v_ptr,
    dout_in,
    lse_ptr,
    delta_ptr,
    dk_ptr,
    dv_ptr,
    stride_qb,
    stride_qh,
    stride_qm,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_vb,
    stride_vh,
    stride_vn,
    stride_gb,
    stride_gh,
    stride_gm,
    stride_dkb,
    stride_dkh,
    stride_dkn,
    stride_dvb,
    stride_dvh,
    stride_dvn,
    full_indptr,
    full_indices,
    partial_indptr,
    partial_indices,
    bitmap_of,
    column_order,
    bitmaps,
    group_of_head,
    key_len_ptr,
    unclean_ptr,
    heads,
    q_len,
    k_len,
    columns,
    sm_scale,
    scale_log2,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    OWN: tl.constexpr,
    STEP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUPED: tl.constexpr,
    KEY_LENS: tl.constexpr,
    RAGGED: tl.constexpr,
    COPIES: tl.constexpr,
    CLEAN: tl.constexpr,
    HEADS_PER_KV: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Compute dk and dv of OWN keys of a key head, over STEP queries at a time.

    Scores are [OWN, STEP], a row for each key. With COPIES, q_in and dout_in are TMA descriptors of
    blocks [1, 1, STEP, BLOCK_D], else pointers. RAGGED says that the last query block is short. A
    k_len of None is that of q. With CLEAN, only heads that are marked are computed, as a sum over
    tokens would be nan where 0 meets what is not finite: this takes more registers.
    """
    if CLEAN:
        if tl.load(unclean_ptr + tl.program_id(1)) == 0:
            return
    if k_len is None:
        k_len = q_len
    OWNS: tl.constexpr = BLOCK_N // OWN
    STEPS: tl.constexpr = BLOCK_M // STEP
    kv_heads = heads // HEADS_PER_KV
    off_b, off_kv = tl.program_id(1) // kv_heads, tl.program_id(1) % kv_heads
    first_group = tl.load(group_of_head + off_kv * HEADS_PER_KV) if GROUPED else 0
    column = tl.load(column_order + first_group * columns + tl.program_id(0) // OWNS)
    inner_start = tl.program_id(0) % OWNS * OWN
    inner_n = inner_start + tl.arange(0, OWN)
    inner_m = tl.arange(0, STEP)
    off_d = tl.arange(0, BLOCK_D)
    off_n = column * BLOCK_N + inner_n
    key_len = k_len
    if KEY_LENS:
        key_len = tl.minimum(tl.load(key_len_ptr + off_b), k_len)
    valid = off_n < key_len  # [OWN]
    in_d = off_d < HEAD_DIM  # [BLOCK_D]

    far_b, far_kv = off_b.to(tl.int64), off_kv.to(tl.int64)
    far_n = (column * BLOCK_N).to(tl.int64) + inner_n[:, None]
    k_tile = k_ptr + far_b * stride_kb + far_kv * stride_kh + far_n * stride_kn + off_d[None, :]
    v_tile = v_ptr + far_b * stride_vb + far_kv * stride_vh + far_n * stride_vn + off_d[None, :]
    k = tl.load(k_tile, mask=valid[:, None] & in_d[None, :], other=0.0)  # [OWN, BLOCK_D]
    v = tl.load(v_tile, mask=valid[:, None] & in_d[None, :], other=0.0)
    dk = tl.zeros([OWN, BLOCK_D], tl.float32)
    dv = tl.zeros([OWN, BLOCK_D], tl.float32)
    lanes = tl.arange(0, 4)
    bit_of = 1 << (2 * tl.arange(0, OWN // 8)[:, None] + tl.arange(0, 2)[None, :])
    seen = column * BLOCK_N + inner_start < key_len
    padded = tl.cdiv(q_len, BLOCK_M) * BLOCK_M

    for shared in range(HEADS_PER_KV):
        off_h = off_kv * HEADS_PER_KV + shared
        group = tl.load(group_of_head + off_h) if GROUPED else 0
        of_head = (off_b * heads + off_h).to(tl.int64) * padded + inner_m
        lse_head, delta_head = lse_ptr + of_head, delta_ptr + of_head
        if not COPIES:
            far_h = off_h.to(tl.int64)
            q_tile = q_in + far_b * stride_qb + far_h * stride_qh
            g_tile = dout_in + far_b * stride_gb + far_h * stride_gh
            q_tile += inner_m[:, None] * stride_qm + off_d[None, :]
            g_tile += inner_m[:, None] * stride_gm + off_d[None, :]

        table_row = group * columns + column
        begin = tl.load(full_indptr + table_row)
        end = tl.where(seen, tl.load(full_indptr + table_row + 1), begin)
        for step in range(begin * STEPS, end * STEPS):
            start_m = tl.load(full_indices + step // STEPS) * BLOCK_M + step % STEPS * STEP
            if COPIES:
                q = q_in.load([off_b, off_h, start_m, 0]).reshape([STEP, BLOCK_D])
                dout = dout_in.load([off_b, off_h, start_m, 0]).reshape([STEP, BLOCK_D])
            else:
                off_q = start_m.to(tl.int64) * stride_qm
                off_g = start_m.to(tl.int64) * stride_gm
                if BLOCK_D == HEAD_DIM and not RAGGED:
                    q = tl.load(q_tile + off_q)  # [STEP, BLOCK_D]
                    dout = tl.load(g_tile + off_g)
                else:
                    inside = (start_m + inner_m < q_len)[:, None] & in_d[None, :]
                    q = tl.load(q_tile + off_q, mask=inside, other=0.0)
                    dout = tl.load(g_tile + off_g, mask=inside, other=0.0)
            lse_log2 = tl.load(lse_head + start_m)
            delta = tl.load(delta_head + start_m)
            qk = tl.dot(k, q.T, input_precision=PRECISION)  # [OWN, STEP]
            p = tl.exp2(qk * scale_log2 - lse_log2[None, :])
            dv = tl.dot(p.to(dout.dtype), dout, dv, input_precision=PRECISION)
            dp = tl.dot(v, dout.T, input_precision=PRECISION)
            ds = p * (dp - delta[None, :])
            dk = tl.dot(ds.to(q.dtype), q, dk, input_precision=PRECISION)

        begin = tl.load(partial_indptr + table_row)
        end = tl.where(seen, tl.load(partial_indptr + table_row + 1), begin)
        for step in range(begin * STEPS, end * STEPS):
            partial, inner = step // STEPS, step % STEPS * STEP
            start_m = tl.load(partial_indices + partial) * BLOCK_M + inner
            bitmap = tl.load(bitmap_of + partial).to(tl.int64)
            words = bitmaps + (bitmap * BLOCK_M + inner + inner_m[None, :]) * 4 + lanes[:, None]
            words = tl.load(words) >> (inner_start // 4)  # [4, STEP]
            attends = (words[None, :, None, :] & bit_of[:, None, :, None]) != 0
            attends = attends.reshape([OWN, STEP])
            if COPIES:
                q = q_in.load([off_b, off_h, start_m, 0]).reshape([STEP, BLOCK_D])
                dout = dout_in.load([off_b, off_h, start_m, 0]).reshape([STEP, BLOCK_D])
            else:
                inside = (start_m + inner_m < q_len)[:, None] & in_d[None, :]
                q = tl.load(q_tile + start_m.to(tl.int64) * stride_qm, mask=inside, other=0.0)
                dout = tl.load(g_tile + start_m.to(tl.int64) * stride_gm, mask=inside, other=0.0)
            lse_log2 = tl.load(lse_head + start_m)
            delta = tl.load(delta_head + start_m)
            if CLEAN:
                # A dout that is not finite reaches dv by the weights.
                lse_log2 += tl.where(_is_finite(delta), 0.0, float("nan"))
            qk = tl.dot(k, q.T, input_precision=PRECISION)  # [OWN, STEP]
            p = tl.exp2(tl.where(attends, qk * scale_log2 - lse_log2[None, :], float("-inf")))
            weighed = _finite(dout) if CLEAN else dout
            dv = tl.dot(p.to(dout.dtype), weighed, dv, input_precision=PRECISION)
            dp = tl.dot(v, dout.T, input_precision=PRECISION)
            ds = tl.where(p != 0.0, p * (dp - delta[None, :]), 0.0)
            weighed = _finite(q) if CLEAN else q
            dk = tl.dot(ds.to(q.dtype), weighed, dk, input_precision=PRECISION)

    # Keys past the length of their sequence had scores of 0.
    dk = tl.where(valid[:, None], dk * sm_scale, 0.0)
    dv = tl.where(valid[:, None], dv, 0.0)
    in_tile = (off_n < k_len)[:, None] & in_d[None, :]
    dk_tile = dk_ptr + far_b * stride_dkb + far_kv * stride_dkh + far_n * stride_dkn
    dv_tile = dv_ptr + far_b * stride_dvb + far_kv * stride_dvh + far_n * stride_dvn
    tl.store(dk_tile + off_d[None, :], dk.to(dk_ptr.dtype.element_ty), mask=in_tile)
    tl.store(dv_tile + off_d[None, :], dv.to(dv_ptr.dtype.element_ty), mask=in_tile)


@triton.jit
def _finite(x):
    """Return x with zeros for what is not finite."""
    return tl.where(_is_finite(x), x, 0.0).to(x.dtype)


@triton.jit
def _is_finite(x):
    return tl.abs(x) < float("inf")
