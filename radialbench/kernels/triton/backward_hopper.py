"""Device code of the backward kernel for Hopper (sm_90), in Gluon: all gradients in one pass.

A program keeps a block of keys and walks over the queries that see it, 64 at a time, so that scores
and their gradients are computed once: five products for a pair of blocks. One warp copies q and
dout into shared memory; two warpgroups of 64 keys each compute. Scores are [keys, queries], and so
in registers already what the products for dk and dv take. ds passes through shared memory, where
each warpgroup takes all of it for its half of dq's channels. dq is summed up in float32 by the copy
engine, in no fixed order.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from radialbench.kernels.triton import hopper_tma as tma

QUERIES = gl.constexpr(64)
"""Queries of a step."""


@gluon.jit
def block_sparse_bwd_hopper(
    desc_q,
    desc_k,
    desc_v,
    desc_dout,
    desc_lse,
    desc_delta,
    desc_dq,
    dk_ptr,
    dv_ptr,
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
    heads,
    k_len,
    columns,
    sm_scale,
    scale_log2,
    BLOCK: gl.constexpr,
    HEAD_DIM: gl.constexpr,
    BLOCK_D: gl.constexpr,
    GROUPED: gl.constexpr,
    KEY_LENS: gl.constexpr,
    HEADS_PER_KV: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Compute dk and dv of a key block, and add what it gives to dq.

    `desc_lse` and `desc_delta` are of [batch · heads, queries up to a whole block]: lse in units of
    log2, inf where no key is attended, and delta.
    """
    HALF: gl.constexpr = BLOCK // 2
    kv_heads = heads // HEADS_PER_KV
    off_b = gl.program_id(1) // kv_heads
    off_kv = gl.program_id(1) % kv_heads
    first_group = 0
    if GROUPED:
        first_group = gl.load(group_of_head + off_kv * HEADS_PER_KV)
    column = gl.load(column_order + first_group * columns + gl.program_id(0))
    key_len = k_len
    if KEY_LENS:
        key_len = gl.minimum(gl.load(key_len_ptr + off_b), k_len)

    k_buf = gl.allocate_shared_memory(desc_k.dtype, [1, 1, 1, BLOCK, BLOCK_D], desc_k.layout)
    v_buf = gl.allocate_shared_memory(desc_v.dtype, [1, 1, 1, BLOCK, BLOCK_D], desc_v.layout)
    q_bufs = gl.allocate_shared_memory(
        desc_q.dtype, [BUFFERS, 1, 1, QUERIES, BLOCK_D], desc_q.layout
    )
    dout_bufs = gl.allocate_shared_memory(
        desc_dout.dtype, [BUFFERS, 1, 1, QUERIES, BLOCK_D], desc_dout.layout
    )
    lse_bufs = gl.allocate_shared_memory(gl.float32, [BUFFERS, 1, QUERIES], desc_lse.layout)
    delta_bufs = gl.allocate_shared_memory(gl.float32, [BUFFERS, 1, QUERIES], desc_delta.layout)
    ds_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([BLOCK, QUERIES], desc_q.dtype)
    ds_bufs = gl.allocate_shared_memory(desc_q.dtype, [2, BLOCK, QUERIES], ds_layout)
    dq_bufs = gl.allocate_shared_memory(
        gl.float32, [2, 1, 1, QUERIES, BLOCK_D // 2], desc_dq.layout
    )
    kv_full = gl.allocate_shared_memory(gl.int64, [1, 1], mbarrier.MBarrierLayout())
    q_full = gl.allocate_shared_memory(gl.int64, [BUFFERS, 1], mbarrier.MBarrierLayout())
    dout_full = gl.allocate_shared_memory(gl.int64, [BUFFERS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [BUFFERS, 1], mbarrier.MBarrierLayout())
    ds_full = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    mbarrier.init(kv_full.index(0), count=1)
    for slot in gl.static_range(BUFFERS):
        mbarrier.init(q_full.index(slot), count=1)
        mbarrier.init(dout_full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=2)
    for slot in gl.static_range(2):
        mbarrier.init(ds_full.index(slot), count=2)

    buffers = (k_buf, v_buf, q_bufs, dout_bufs, lse_bufs, delta_bufs, ds_bufs, dq_bufs)
    barriers = (kv_full, q_full, dout_full, empty, ds_full)
    table = (full_indptr, full_indices, partial_indptr, partial_indices, bitmap_of, group_of_head)
    place = (off_b, off_kv, heads, column, columns, key_len)
    strides = (stride_dkb, stride_dkh, stride_dkn, stride_dvb, stride_dvh, stride_dvn)
    results = (desc_dq, dk_ptr, dv_ptr, strides, k_len, sm_scale)
    gl.warp_specialize(
        [
            (
                _consume,
                (
                    0,
                    results,
                    buffers,
                    barriers,
                    table,
                    bitmaps,
                    place,
                    scale_log2,
                    HALF,
                    HEAD_DIM,
                    BLOCK_D,
                    GROUPED,
                    KEY_LENS,
                    HEADS_PER_KV,
                    BUFFERS,
                ),
            ),
            (
                _consume,
                (
                    1,
                    results,
                    buffers,
                    barriers,
                    table,
                    bitmaps,
                    place,
                    scale_log2,
                    HALF,
                    HEAD_DIM,
                    BLOCK_D,
                    GROUPED,
                    KEY_LENS,
                    HEADS_PER_KV,
                    BUFFERS,
                ),
            ),
            (
                _produce,
                (
                    (desc_q, desc_k, desc_v, desc_dout, desc_lse, desc_delta),
                    buffers,
                    barriers,
                    table,
                    place,
                    HALF,
                    GROUPED,
                    HEADS_PER_KV,
                    BUFFERS,
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )


@gluon.jit
def _list(table, off_h, place, GROUPED: gl.constexpr):
    """Return a head's query blocks that see the keys: full and partial ones with their counts."""
    full_indptr, full_indices, partial_indptr, partial_indices, bitmap_of, group_of_head = table
    off_b, off_kv, heads, column, columns, key_len = place
    row = column
    if GROUPED:
        row += gl.load(group_of_head + off_h) * columns
    seen = column * 2 * QUERIES < key_len
    begin = gl.load(full_indptr + row)
    fulls = full_indices + begin
    full_count = gl.where(seen, gl.load(full_indptr + row + 1) - begin, 0)
    begin = gl.load(partial_indptr + row)
    partials = partial_indices + begin
    numbers = bitmap_of + begin
    partial_count = gl.where(seen, gl.load(partial_indptr + row + 1) - begin, 0)
    return fulls, full_count, partials, numbers, partial_count


@gluon.jit
def _first_query(work, step):
    """Return the first query of a step; 0 past the last."""
    fulls, full_count, partials, numbers, partial_count = work
    entry = step // 2
    other = entry - full_count
    full = gl.load(fulls + entry, mask=other < 0, other=0)
    partial = gl.load(partials + other, mask=(other >= 0) & (other < partial_count), other=0)
    return (2 * (full + partial) + step % 2) * QUERIES


@gluon.jit
def _produce(
    inputs,
    buffers,
    barriers,
    table,
    place,
    HALF: gl.constexpr,
    GROUPED: gl.constexpr,
    HEADS_PER_KV: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Copy the key block, then the queries of each step, as buffers become free."""
    desc_q, desc_k, desc_v, desc_dout, desc_lse, desc_delta = inputs
    k_buf, v_buf, q_bufs, dout_bufs, lse_bufs, delta_bufs, ds_bufs, dq_bufs = buffers
    kv_full, q_full, dout_full, empty, ds_full = barriers
    off_b, off_kv, heads, column, columns, key_len = place
    row_bytes: gl.constexpr = QUERIES * 4
    mbarrier.expect(kv_full.index(0), desc_k.block_type.nbytes + desc_v.block_type.nbytes)
    keys = [off_b, off_kv, column * 2 * HALF, 0]
    tma.async_copy_global_to_shared(desc_k, keys, kv_full.index(0), k_buf.index(0))
    tma.async_copy_global_to_shared(desc_v, keys, kv_full.index(0), v_buf.index(0))
    done = 0
    for shared in range(HEADS_PER_KV):
        off_h = off_kv * HEADS_PER_KV + shared
        off_bh = off_b * heads + off_h
        work = _list(table, off_h, place, GROUPED)
        start = _first_query(work, 0)
        for step in range(2 * (work[1] + work[4])):
            this = start
            # The next index loads while this step waits for its buffers.
            start = _first_query(work, step + 1)
            slot = done % BUFFERS
            mbarrier.wait(empty.index(slot), (done // BUFFERS + 1) & 1)
            full = q_full.index(slot)
            mbarrier.expect(full, desc_q.block_type.nbytes + row_bytes)
            tma.async_copy_global_to_shared(
                desc_q, [off_b, off_h, this, 0], full, q_bufs.index(slot)
            )
            tma.async_copy_global_to_shared(desc_lse, [off_bh, this], full, lse_bufs.index(slot))
            full = dout_full.index(slot)
            mbarrier.expect(full, desc_dout.block_type.nbytes + row_bytes)
            tma.async_copy_global_to_shared(
                desc_dout, [off_b, off_h, this, 0], full, dout_bufs.index(slot)
            )
            tma.async_copy_global_to_shared(
                desc_delta, [off_bh, this], full, delta_bufs.index(slot)
            )
            done += 1


@gluon.jit
def _consume(
    half: gl.constexpr,
    results,
    buffers,
    barriers,
    table,
    bitmaps,
    place,
    scale_log2,
    HALF: gl.constexpr,
    HEAD_DIM: gl.constexpr,
    BLOCK_D: gl.constexpr,
    GROUPED: gl.constexpr,
    KEY_LENS: gl.constexpr,
    HEADS_PER_KV: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Compute the gradients of half a key block, and of half of dq's channels."""
    desc_dq, dk_ptr, dv_ptr, strides, k_len, sm_scale = results
    stride_dkb, stride_dkh, stride_dkn, stride_dvb, stride_dvh, stride_dvn = strides
    off_b, off_kv, heads, column, columns, key_len = place
    acc_layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK_D, 16]
    )
    s_layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, QUERIES, 16]
    )
    dk = gl.zeros([HALF, BLOCK_D], gl.float32, acc_layout)
    dv = gl.zeros([HALF, BLOCK_D], gl.float32, acc_layout)
    zero = gl.zeros([HALF, QUERIES], gl.float32, s_layout)
    first_key = column * 2 * HALF + half * HALF

    # Key 8·j + 2·c + b of a block is bit 2·j + b of word c: two words a column for each thread.
    group_layout: gl.constexpr = zero.reshape([HALF // 8, 4, 2, QUERIES]).type.layout
    word_layout: gl.constexpr = gl.SliceLayout(0, gl.SliceLayout(2, group_layout))
    lanes = gl.expand_dims(gl.arange(0, 4, gl.SliceLayout(1, word_layout)), 1)
    queries = gl.expand_dims(gl.arange(0, QUERIES, gl.SliceLayout(0, word_layout)), 0)
    places = queries * 4 + lanes
    bit_layout: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(3, group_layout))
    in_j = half * (HALF // 4) + 2 * gl.arange(0, HALF // 8, gl.SliceLayout(1, bit_layout))
    in_b = gl.arange(0, 2, gl.SliceLayout(0, bit_layout))
    bits = 1 << (gl.expand_dims(in_j, 1) + gl.expand_dims(in_b, 0))
    bit_of = gl.expand_dims(gl.expand_dims(bits, 1), 3)
    left = key_len - first_key

    mbarrier.wait(barriers[0].index(0), 0)
    done = 0
    for shared in range(HEADS_PER_KV):
        off_h = off_kv * HEADS_PER_KV + shared
        fulls, full_count, partials, numbers, partial_count = _list(table, off_h, place, GROUPED)
        for step in range(2 * full_count):
            start = (2 * gl.load(fulls + step // 2) + step % 2) * QUERIES
            dk, dv = _step(
                half,
                done,
                [off_b, off_h, start, half * (BLOCK_D // 2)],
                dk,
                dv,
                zero,
                bitmaps + places,
                bit_of,
                left,
                desc_dq,
                buffers,
                barriers,
                scale_log2,
                s_layout,
                acc_layout,
                False,
                KEY_LENS,
                HALF,
                BLOCK_D,
                BUFFERS,
            )
            done += 1
        for step in range(2 * partial_count):
            start = (2 * gl.load(partials + step // 2) + step % 2) * QUERIES
            number = gl.load(numbers + step // 2).to(gl.int64)
            dk, dv = _step(
                half,
                done,
                [off_b, off_h, start, half * (BLOCK_D // 2)],
                dk,
                dv,
                zero,
                bitmaps + (2 * number + step % 2) * (QUERIES * 4) + places,
                bit_of,
                left,
                desc_dq,
                buffers,
                barriers,
                scale_log2,
                s_layout,
                acc_layout,
                True,
                KEY_LENS,
                HALF,
                BLOCK_D,
                BUFFERS,
            )
            done += 1
    tma.store_wait(0)

    dtype: gl.constexpr = buffers[0].dtype
    rows = gl.expand_dims(first_key + gl.arange(0, HALF, gl.SliceLayout(1, acc_layout)), 1)
    off_d = gl.expand_dims(gl.arange(0, BLOCK_D, gl.SliceLayout(0, acc_layout)), 0)
    inside = (rows < k_len) & (off_d < HEAD_DIM)
    if KEY_LENS:
        dk = gl.where(rows < key_len, dk, 0.0)
        dv = gl.where(rows < key_len, dv, 0.0)
    far_b, far_kv, far_n = off_b.to(gl.int64), off_kv.to(gl.int64), rows.to(gl.int64)
    dk_tile = dk_ptr + far_b * stride_dkb + far_kv * stride_dkh + far_n * stride_dkn + off_d
    dv_tile = dv_ptr + far_b * stride_dvb + far_kv * stride_dvh + far_n * stride_dvn + off_d
    gl.store(dk_tile, (dk * sm_scale).to(dtype), mask=inside)
    gl.store(dv_tile, dv.to(dtype), mask=inside)


@gluon.jit
def _step(
    half: gl.constexpr,
    done,
    place,
    dk,
    dv,
    zero,
    words,
    bit_of,
    left,
    desc_dq,
    buffers,
    barriers,
    scale_log2,
    s_layout: gl.constexpr,
    acc_layout: gl.constexpr,
    MASKED: gl.constexpr,
    KEY_LENS: gl.constexpr,
    HALF: gl.constexpr,
    BLOCK_D: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Add the gradients of a step's queries; `done` steps came before it."""
    k_buf, v_buf, q_bufs, dout_bufs, lse_bufs, delta_bufs, ds_bufs, dq_bufs = buffers
    kv_full, q_full, dout_full, empty, ds_full = barriers
    dtype: gl.constexpr = q_bufs.dtype
    operand: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=acc_layout, k_width=2)
    dq_layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK_D // 2, 16]
    )
    row: gl.constexpr = gl.SliceLayout(0, s_layout)
    slot = done % BUFFERS
    phase = (done // BUFFERS) & 1
    k = k_buf.index(_opaque(0)).reshape([2 * HALF, BLOCK_D])
    v = v_buf.index(_opaque(0)).reshape([2 * HALF, BLOCK_D])
    q = q_bufs.index(slot).reshape([QUERIES, BLOCK_D])
    dout = dout_bufs.index(slot).reshape([QUERIES, BLOCK_D])

    own_k = k.slice(half * HALF, HALF, 0)
    own_v = v.slice(half * HALF, HALF, 0)
    mbarrier.wait(q_full.index(slot), phase)
    s_token = warpgroup_mma(own_k, q.permute([1, 0]), zero, use_acc=False, is_async=True)
    mbarrier.wait(dout_full.index(slot), phase)
    dp_token = warpgroup_mma(own_v, dout.permute([1, 0]), zero, use_acc=False, is_async=True)
    lse = lse_bufs.index(slot).reshape([QUERIES]).load(row)
    s = warpgroup_mma_wait(1, deps=[s_token])
    if MASKED:
        groups = s.reshape([HALF // 8, 4, 2, QUERIES])
        loaded = gl.expand_dims(gl.expand_dims(gl.load(words), 0), 2)
        groups = gl.where((loaded & bit_of) != 0, groups, float("-inf"))
        s = gl.convert_layout(groups.reshape([HALF, QUERIES]), s_layout, assert_trivial=True)
    if KEY_LENS:
        keys = gl.expand_dims(gl.arange(0, HALF, gl.SliceLayout(1, s_layout)), 1)
        s = gl.where(keys < left, s, float("-inf"))
    p = gl.exp2(s * scale_log2 - gl.expand_dims(lse, 0))  # [HALF, QUERIES]
    weights = gl.convert_layout(p.to(dtype), operand)
    dp = warpgroup_mma_wait(0, deps=[dp_token])
    dv_token = warpgroup_mma(weights, dout, dv, use_acc=True, is_async=True)
    delta = delta_bufs.index(slot).reshape([QUERIES]).load(row)
    ds = (p * (dp - gl.expand_dims(delta, 0))).to(dtype)
    # This buffer's last readers have ended: since, both warpgroups wrote into the other one.
    ds_buf = ds_bufs.index(done % 2)
    ds_buf.slice(half * HALF, HALF, 0).store(ds)
    fence_async_shared()
    mbarrier.arrive(ds_full.index(done % 2), count=1)
    own_ds = gl.convert_layout(ds, operand)
    dk_token = warpgroup_mma(own_ds, q, dk, use_acc=True, is_async=True)
    mbarrier.wait(ds_full.index(done % 2), (done // 2) & 1)
    none = gl.zeros([QUERIES, BLOCK_D // 2], gl.float32, dq_layout)
    own_d = k.slice(half * (BLOCK_D // 2), BLOCK_D // 2, 1)
    dq_token = warpgroup_mma(ds_buf.permute([1, 0]), own_d, none, use_acc=False, is_async=True)
    dv, dk, dq, _, _ = warpgroup_mma_wait(0, deps=[dv_token, dk_token, dq_token, weights, own_ds])
    mbarrier.arrive(empty.index(slot), count=1)

    tma.store_wait(0)
    dq_buf = dq_bufs.index(half)
    dq_buf.reshape([QUERIES, BLOCK_D // 2]).store(dq)
    fence_async_shared()
    tma.async_atomic_add(desc_dq, place, dq_buf)
    return dk, dv


@gluon.jit
def _opaque(x):
    """Return x such that what depends on it is computed where it is used.

    The descriptors of a block's matrix products, computed ahead of the loop, take more registers
    than there are.
    """
    return gl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], gl.int32, False, 1)
