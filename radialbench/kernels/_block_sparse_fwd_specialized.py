"""Device code of the portable forward kernel with warps that copy and warps that compute."""

import triton
import triton.language as tl

from radialbench.kernels._block_sparse_fwd import LOWEST, below, finish, softmax


@triton.jit(do_not_specialize=["first_bh"])
def block_sparse_fwd_specialized(
    q_ptr,
    k_ptr,
    v_ptr,
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
    first_bh,
    heads,
    seq_len,
    rows,
    scale_log2,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUPED: tl.constexpr,
    RAGGED: tl.constexpr,
    PARTIAL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One query block of one head: its full blocks, then its partial ones.

    For tensors the copy engine takes, in 16 bits. With PARTIAL the table has partial blocks, and
    full ones are masked as well, by bitmap 0: the loop may hold no branch, and there may be no
    second one (Triton 3.6 and 3.7).

    The compiler adds warps for the copies and gives each group of four that computes 64 rows. Where
    it cannot, because an `if` has an `else` or changes a tensor, it says nothing and leaves the
    loop as it is; where it goes wrong it says nothing either. Compile after every change
    (`offline.compile_triton`): the warps and where they store can be read there.
    """
    off_bh = first_bh + tl.program_id(1)
    off_b, off_h = off_bh // heads, off_bh % heads
    group = tl.load(group_of_head + off_h) if GROUPED else 0
    row = tl.load(row_order + group * rows + tl.program_id(0))
    # Two numbers for one row, so that the compiler does not see that they are the same: where it
    # cuts a descriptor's block in halves it adds 64 to the number wherever else that is used, and
    # the second half's pointers, whose ranges start at 64 already, would be 128 rows ahead.
    first_row = row.to(tl.int64) * BLOCK_M
    off_m = first_row + tl.arange(0, BLOCK_M)
    off_n = tl.arange(0, BLOCK_N)[None, :]

    q_base = q_ptr + off_b.to(tl.int64) * stride_qb + off_h.to(tl.int64) * stride_qh
    k_base = k_ptr + off_b.to(tl.int64) * stride_kb + off_h.to(tl.int64) * stride_kh
    v_base = v_ptr + off_b.to(tl.int64) * stride_vb + off_h.to(tl.int64) * stride_vh
    out_base = out_ptr + off_b.to(tl.int64) * stride_ob + off_h.to(tl.int64) * stride_oh
    q_desc = tl.make_tensor_descriptor(
        q_base, [seq_len, HEAD_DIM], [stride_qm, 1], [BLOCK_M, BLOCK_D]
    )
    k_desc = tl.make_tensor_descriptor(
        k_base, [seq_len, HEAD_DIM], [stride_kn, 1], [BLOCK_N, BLOCK_D]
    )
    v_desc = tl.make_tensor_descriptor(
        v_base, [seq_len, HEAD_DIM], [stride_vn, 1], [BLOCK_N, BLOCK_D]
    )
    q = q_desc.load([row * BLOCK_M, 0])  # [BLOCK_M, BLOCK_D]

    m_i = tl.full([BLOCK_M], LOWEST, tl.float32)
    l_i = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)

    table_row = group * rows + row
    begin = tl.load(full_indptr + table_row)
    stop = tl.load(full_indptr + table_row + 1)
    full_steps = stop - begin
    steps = full_steps
    begin_partial = tl.load(partial_indptr + table_row)
    if PARTIAL:
        steps += tl.load(partial_indptr + table_row + 1) - begin_partial
    to_partial = begin_partial - full_steps

    # Words are loaded a step ahead and the number of their bitmap two, so that nothing waits.
    if PARTIAL:
        words = bitmaps + tl.arange(0, BLOCK_M) * 4
        bitmap = tl.load(bitmap_of + to_partial, mask=(full_steps == 0) & (steps > 0), other=0)
        w01 = _pair(words + bitmap.to(tl.int64) * (BLOCK_M * 4))
        w23 = _pair(words + bitmap.to(tl.int64) * (BLOCK_M * 4) + 2)
        bitmap = tl.load(bitmap_of + to_partial + 1, mask=(full_steps <= 1) & (steps > 1), other=0)
    for step in tl.range(0, steps, warp_specialize=True):
        if PARTIAL:
            real = step >= full_steps
            column = tl.load(full_indices + begin + step, mask=step < full_steps, other=0)
            column += tl.load(partial_indices + to_partial + step, mask=real, other=0)
            next01 = _pair(words + bitmap.to(tl.int64) * (BLOCK_M * 4))
            next23 = _pair(words + bitmap.to(tl.int64) * (BLOCK_M * 4) + 2)
            ahead = step + 2
            bitmap = tl.load(
                bitmap_of + to_partial + ahead,
                mask=(ahead >= full_steps) & (ahead < steps),
                other=0,
            )
        else:
            column = tl.load(full_indices + begin + step)
        start_n = column * BLOCK_N
        k = k_desc.load([start_n, 0])  # [BLOCK_N, BLOCK_D]
        qk = tl.dot(q, k.T, input_precision=PRECISION)  # [BLOCK_M, BLOCK_N]
        if PARTIAL:
            # Column 8·j + 2·c + b of a block is bit 2·j + b of word c.
            c = (off_n % 8) // 2
            low = tl.where(c < 1, w01[:, None], w01[:, None] >> 32).to(tl.int32)
            high = tl.where(c < 3, w23[:, None], w23[:, None] >> 32).to(tl.int32)
            word = tl.where(c < 2, low, high)
            if RAGGED:
                word = word & below(seq_len - start_n - 2 * c)
            bit = 1 << (2 * (off_n // 8) + off_n % 2)
            qk = tl.where((word & bit) != 0, qk, float("-inf"))
        elif RAGGED:
            qk = tl.where(off_n < seq_len - start_n, qk, float("-inf"))
        p, m_i, l_i, alpha = softmax(qk, m_i, l_i, scale_log2)
        acc = acc * alpha[:, None]
        v = v_desc.load([start_n, 0])
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
        if PARTIAL:
            w01 = next01
            w23 = next23

    lse_row = lse_ptr + off_bh.to(tl.int64) * seq_len + off_m
    out, lse = finish(acc, m_i, l_i)
    in_rows = off_m < seq_len  # [BLOCK_M]
    tl.store(lse_row, lse, mask=in_rows)
    # By pointer: a descriptor would take 17 KB of shared memory, and scratch of each half.
    off_d = tl.arange(0, BLOCK_D)[None, :]
    out_tile = out_base + off_m[:, None] * stride_om + off_d
    in_tile = in_rows[:, None] & (off_d < HEAD_DIM)
    tl.store(out_tile, out.to(out_ptr.dtype.element_ty), mask=in_tile)


@triton.jit
def _pair(pointers):
    """Two words from each pointer.

    A tl.load of 128 numbers or more would be given to the warp that copies, and the compiler fails
    where descriptors are loaded beside it; this stays with the warps that compute, half for each.
    """
    return tl.inline_asm_elementwise(
        "ld.global.b64 $0, [$1];", "=l,l", [pointers], dtype=tl.int64, is_pure=True, pack=1
    )
