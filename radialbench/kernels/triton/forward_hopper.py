"""Device code of the forward kernel for Hopper (sm_90), in Gluon.

One warp copies keys and values into shared memory; two warpgroups of half a query block each
compute. Inside a warpgroup the scores of the next block are issued before the values of the current
one, so that the softmax runs while the tensor cores do.
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

LOWEST = gl.constexpr(-3.0e38)
"""Starting maximum of a row: below any score, and finite, so that no step meets inf - inf."""


@gluon.jit
def block_sparse_fwd_hopper(
    desc_q,
    desc_k,
    desc_v,
    desc_out,
    lse_ptr,
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
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    GROUPED: gl.constexpr,
    KEY_LENS: gl.constexpr,
    RAGGED: gl.constexpr,
    HEADS_PER_KV: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Compute a query block of a head: full blocks, one that the keys end in, partial blocks.

    A k_len of None is that of q: no argument of the compiled kernel.
    """
    if k_len is None:
        k_len = q_len
    HALF: gl.constexpr = BLOCK_M // 2
    off_bh = gl.program_id(1)
    off_b = off_bh // heads
    off_h = off_bh % heads
    group = 0
    if GROUPED:
        group = gl.load(group_of_head + off_h)
    row = gl.load(row_order + group * rows + gl.program_id(0))
    key_len = k_len
    if KEY_LENS:
        key_len = gl.minimum(gl.load(key_len_ptr + off_b), k_len)

    table_row = group * rows + row
    full_begin = gl.load(full_indptr + table_row)
    full_stop = gl.load(full_indptr + table_row + 1)
    full_count = full_stop - full_begin
    masked_full = 0
    if RAGGED:
        end = _lower_bound(full_indices, full_begin, full_stop, key_len // BLOCK_N)
        full_count = end - full_begin
        if end < full_stop:
            if gl.load(full_indices + end) * BLOCK_N < key_len:
                masked_full = 1
    partial_begin = gl.load(partial_indptr + table_row)
    partial_count = gl.load(partial_indptr + table_row + 1) - partial_begin
    from_full = full_count + masked_full
    steps = from_full + partial_count
    columns = full_indices + full_begin
    partials = partial_indices + partial_begin - from_full
    numbers = bitmap_of + partial_begin - from_full

    q_bufs = gl.allocate_shared_memory(desc_q.dtype, [2, 1, 1, HALF, BLOCK_D], desc_q.layout)
    k_bufs = gl.allocate_shared_memory(
        desc_k.dtype, [BUFFERS, 1, 1, BLOCK_N, BLOCK_D], desc_k.layout
    )
    v_bufs = gl.allocate_shared_memory(
        desc_v.dtype, [BUFFERS, 1, 1, BLOCK_N, BLOCK_D], desc_v.layout
    )
    q_full = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    k_full = gl.allocate_shared_memory(gl.int64, [BUFFERS, 1], mbarrier.MBarrierLayout())
    k_empty = gl.allocate_shared_memory(gl.int64, [BUFFERS, 1], mbarrier.MBarrierLayout())
    v_full = gl.allocate_shared_memory(gl.int64, [BUFFERS, 1], mbarrier.MBarrierLayout())
    v_empty = gl.allocate_shared_memory(gl.int64, [BUFFERS, 1], mbarrier.MBarrierLayout())
    for half in gl.static_range(2):
        mbarrier.init(q_full.index(half), count=1)
    for slot in gl.static_range(BUFFERS):
        mbarrier.init(k_full.index(slot), count=1)
        mbarrier.init(v_full.index(slot), count=1)
        mbarrier.init(k_empty.index(slot), count=2)
        mbarrier.init(v_empty.index(slot), count=2)

    row_m = row * BLOCK_M
    lse_row = lse_ptr + off_bh.to(gl.int64) * q_len
    buffers = (q_bufs, k_bufs, v_bufs)
    barriers = (q_full, k_full, k_empty, v_full, v_empty)
    work = (columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len)
    place = (off_b, off_h, row_m, q_len)
    LIMITED: gl.constexpr = KEY_LENS or RAGGED
    gl.warp_specialize(
        [
            (
                _consume,
                (
                    0,
                    desc_out,
                    lse_row,
                    buffers,
                    barriers,
                    work,
                    place,
                    scale_log2,
                    BLOCK_M,
                    BLOCK_N,
                    BLOCK_D,
                    LIMITED,
                    BUFFERS,
                ),
            ),
            (
                _consume,
                (
                    1,
                    desc_out,
                    lse_row,
                    buffers,
                    barriers,
                    work,
                    place,
                    scale_log2,
                    BLOCK_M,
                    BLOCK_N,
                    BLOCK_D,
                    LIMITED,
                    BUFFERS,
                ),
            ),
            (
                _produce,
                (
                    desc_q,
                    desc_k,
                    desc_v,
                    buffers,
                    barriers,
                    work,
                    place,
                    HEADS_PER_KV,
                    HALF,
                    BLOCK_N,
                    BUFFERS,
                ),
            ),
        ],
        [4, 1],
        [240, 24],
    )


@gluon.jit
def _produce(
    desc_q,
    desc_k,
    desc_v,
    buffers,
    barriers,
    work,
    place,
    HEADS_PER_KV: gl.constexpr,
    HALF: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Copy the query block, then keys and values of each step, as buffers become free."""
    q_bufs, k_bufs, v_bufs = buffers
    q_full, k_full, k_empty, v_full, v_empty = barriers
    columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len = work
    off_b, off_h, row_m, q_len = place
    off_kv = off_h // HEADS_PER_KV
    for half in gl.static_range(2):
        mbarrier.expect(q_full.index(half), desc_q.block_type.nbytes)
        tma.async_copy_global_to_shared(
            desc_q, [off_b, off_h, row_m + half * HALF, 0], q_full.index(half), q_bufs.index(half)
        )
    column = _column(work, 0, steps > 0)
    for step in range(gl.maximum(steps, 1)):
        slot = step % BUFFERS
        phase = (step // BUFFERS) & 1
        start = column * BLOCK_N
        # The next index loads while this step waits for its buffers.
        column = _column(work, step + 1, step + 1 < steps)
        mbarrier.wait(k_empty.index(slot), phase ^ 1)
        mbarrier.expect(k_full.index(slot), desc_k.block_type.nbytes)
        tma.async_copy_global_to_shared(
            desc_k, [off_b, off_kv, start, 0], k_full.index(slot), k_bufs.index(slot)
        )
        mbarrier.wait(v_empty.index(slot), phase ^ 1)
        mbarrier.expect(v_full.index(slot), desc_v.block_type.nbytes)
        tma.async_copy_global_to_shared(
            desc_v, [off_b, off_kv, start, 0], v_full.index(slot), v_bufs.index(slot)
        )


@gluon.jit
def _consume(
    half: gl.constexpr,
    desc_out,
    lse_row,
    buffers,
    barriers,
    work,
    place,
    scale_log2,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    LIMITED: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Attend from half a query block to the keys of every step."""
    HALF: gl.constexpr = BLOCK_M // 2
    q_bufs, k_bufs, v_bufs = buffers
    q_full, k_full, k_empty, v_full, v_empty = barriers
    columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len = work
    off_b, off_h, row_m, q_len = place
    s_layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK_N, 16]
    )
    o_layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK_D, 16]
    )
    p_layout: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=o_layout, k_width=2)
    row_s: gl.constexpr = gl.SliceLayout(1, s_layout)
    row_o: gl.constexpr = gl.SliceLayout(1, o_layout)
    dtype: gl.constexpr = q_bufs.dtype
    inner_m = half * HALF + gl.arange(0, HALF, row_s)
    acc = gl.zeros([HALF, BLOCK_D], gl.float32, o_layout)
    zero = gl.zeros([HALF, BLOCK_N], gl.float32, s_layout)
    q = q_bufs.index(half).reshape([HALF, BLOCK_D])

    # Column 8·j + 2·c + b of a block is bit 2·j + b of word c: one word a row for each thread.
    group_layout: gl.constexpr = zero.reshape([HALF, BLOCK_N // 8, 4, 2]).type.layout
    word_layout: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(3, group_layout))
    lanes = gl.expand_dims(gl.arange(0, 4, gl.SliceLayout(0, word_layout)), 0)
    rows_m = half * HALF + gl.arange(0, HALF, gl.SliceLayout(1, word_layout))
    place_m = gl.expand_dims(rows_m, 1) * 4 + lanes
    bit_layout: gl.constexpr = gl.SliceLayout(0, gl.SliceLayout(2, group_layout))
    in_j = 2 * gl.arange(0, BLOCK_N // 8, gl.SliceLayout(1, bit_layout))
    in_b = gl.arange(0, 2, gl.SliceLayout(0, bit_layout))
    bits = 1 << (gl.expand_dims(in_j, 1) + gl.expand_dims(in_b, 0))
    bit_of = gl.expand_dims(gl.expand_dims(bits, 0), 2)

    # The first step is always masked. A query block without keys takes one step, in which nothing
    # attends.
    words = _words(work, 0, steps > 0, place_m, lanes, BLOCK_M, BLOCK_N, LIMITED)
    m_i = gl.full([HALF], LOWEST, gl.float32, row_s)
    l_i = gl.zeros([HALF, 4], gl.float32, word_layout)
    mbarrier.wait(q_full.index(half), 0)
    s_token = _scores(0, q, zero, k_bufs, k_full, BLOCK_N, BLOCK_D, BUFFERS)
    s = warpgroup_mma_wait(0, deps=[s_token])
    mbarrier.arrive(k_empty.index(0), count=1)
    s = _masked(s, words, bit_of, BLOCK_N, s_layout)
    p, m_i, l_i, alpha = _softmax(s, m_i, l_i, scale_log2)
    p16 = _pack(p, dtype)

    for step in range(1, full_count):
        s_token = _scores(step, q, zero, k_bufs, k_full, BLOCK_N, BLOCK_D, BUFFERS)
        acc = acc * gl.expand_dims(gl.convert_layout(alpha, row_o), 1)
        weights = _unpack(p16, dtype, p_layout)
        acc_token = _values(step - 1, weights, acc, v_bufs, v_full, BLOCK_N, BLOCK_D, BUFFERS)
        s = warpgroup_mma_wait(1, deps=[s_token])
        p, m_i, l_i, alpha = _softmax(s, m_i, l_i, scale_log2)
        p16 = _pack(p, dtype)
        acc, _ = warpgroup_mma_wait(0, deps=[acc_token, weights])
        mbarrier.arrive(k_empty.index(step % BUFFERS), count=1)
        mbarrier.arrive(v_empty.index((step - 1) % BUFFERS), count=1)

    # Words are loaded one step ahead.
    begin = gl.maximum(full_count, 1)
    words = _words(work, begin, begin < steps, place_m, lanes, BLOCK_M, BLOCK_N, LIMITED)
    for step in range(begin, steps):
        s_token = _scores(step, q, zero, k_bufs, k_full, BLOCK_N, BLOCK_D, BUFFERS)
        acc = acc * gl.expand_dims(gl.convert_layout(alpha, row_o), 1)
        weights = _unpack(p16, dtype, p_layout)
        acc_token = _values(step - 1, weights, acc, v_bufs, v_full, BLOCK_N, BLOCK_D, BUFFERS)
        ahead = _words(work, step + 1, step + 1 < steps, place_m, lanes, BLOCK_M, BLOCK_N, LIMITED)
        s = warpgroup_mma_wait(1, deps=[s_token])
        s = _masked(s, words, bit_of, BLOCK_N, s_layout)
        words = ahead
        p, m_i, l_i, alpha = _softmax(s, m_i, l_i, scale_log2)
        p16 = _pack(p, dtype)
        acc, _ = warpgroup_mma_wait(0, deps=[acc_token, weights])
        mbarrier.arrive(k_empty.index(step % BUFFERS), count=1)
        mbarrier.arrive(v_empty.index((step - 1) % BUFFERS), count=1)

    acc = acc * gl.expand_dims(gl.convert_layout(alpha, row_o), 1)
    weights = _unpack(p16, dtype, p_layout)
    last = gl.maximum(steps, 1) - 1
    acc_token = _values(last, weights, acc, v_bufs, v_full, BLOCK_N, BLOCK_D, BUFFERS)
    acc, _ = warpgroup_mma_wait(0, deps=[acc_token, weights])
    l_i = gl.convert_layout(gl.sum(l_i, 1), row_s)
    # A row without keys has l_i = 0: zeros, and an lse of -inf.
    some = l_i != 0.0
    l_i = gl.where(some, l_i, 1.0)
    lse = gl.where(some, (m_i + gl.log2(l_i)) * 0.6931471805599453, float("-inf"))
    gl.store(lse_row + row_m + inner_m, lse, mask=row_m + inner_m < q_len)
    inverse = 1.0 / l_i
    acc = acc * gl.expand_dims(gl.convert_layout(inverse, row_o), 1)
    out_buf = q_bufs.index(half)
    out_buf.reshape([HALF, BLOCK_D]).store(acc.to(dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(desc_out, [off_b, off_h, row_m + half * HALF, 0], out_buf)
    tma.store_wait(0)


@gluon.jit
def _scores(
    step,
    q,
    zero,
    k_bufs,
    k_full,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Issue the scores of a step once its keys are loaded."""
    slot = step % BUFFERS
    mbarrier.wait(k_full.index(slot), (step // BUFFERS) & 1)
    k = k_bufs.index(slot).reshape([BLOCK_N, BLOCK_D])
    return warpgroup_mma(q, k.permute([1, 0]), zero, use_acc=False, is_async=True)


@gluon.jit
def _values(
    step,
    weights,
    acc,
    v_bufs,
    v_full,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Issue the weighted values of a step once they are loaded."""
    slot = step % BUFFERS
    mbarrier.wait(v_full.index(slot), (step // BUFFERS) & 1)
    v = v_bufs.index(slot).reshape([BLOCK_N, BLOCK_D])
    return warpgroup_mma(weights, v, acc, use_acc=True, is_async=True)


@gluon.jit
def _softmax(s, m_i, l_i, scale_log2):
    """Return the weights, the rows' new maxima and sums, and the factor of older weights."""
    rows: gl.constexpr = s.shape[0]
    columns: gl.constexpr = s.shape[1]
    m_new = gl.maximum(m_i, gl.max(s, 1) * scale_log2)
    p = gl.exp2(s * scale_log2 - gl.expand_dims(m_new, 1))
    alpha = gl.exp2(m_i - m_new)
    # A thread sums the columns it holds; lanes are summed once at the end.
    sums = gl.sum(gl.sum(p.reshape([rows, columns // 8, 4, 2]), 3), 1)  # [rows, 4]
    lanes: gl.constexpr = gl.SliceLayout(1, sums.type.layout)
    l_i = l_i * gl.expand_dims(gl.convert_layout(alpha, lanes), 1) + sums
    return p, m_new, l_i, alpha


@gluon.jit
def _words(
    work,
    step,
    real,
    place_m,
    lanes,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    LIMITED: gl.constexpr,
):
    """Return the bits of a step, [rows of the half, 4]; 0 if not `real`, and past the last key."""
    columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len = work
    bitmap = gl.load(numbers + step, mask=real & (step >= from_full), other=0)
    words = gl.load(bitmaps + bitmap.to(gl.int64) * BLOCK_M * 4 + place_m)
    if LIMITED:
        left = key_len - _column(work, step, real) * BLOCK_N
        words = words & _below(left - 2 * lanes)
    return words & gl.where(real, -1, 0)


@gluon.jit
def _below(left):
    """Return the bits of a word whose columns 8·j + b are below `left`."""
    count = gl.where(left > 0, 2 * (left // 8) + gl.minimum(left % 8, 2), 0)
    return gl.where(count >= 32, -1, (1 << gl.minimum(count, 31)) - 1)


@gluon.jit
def _masked(s, words, bit_of, BLOCK_N: gl.constexpr, s_layout: gl.constexpr):
    """Set scores to -inf where the bits are 0."""
    rows: gl.constexpr = s.shape[0]
    groups = s.reshape([rows, BLOCK_N // 8, 4, 2])
    attends = (gl.expand_dims(gl.expand_dims(words, 1), 3) & bit_of) != 0
    groups = gl.where(attends, groups, float("-inf"))
    return gl.convert_layout(groups.reshape([rows, BLOCK_N]), s_layout, assert_trivial=True)


@gluon.jit
def _pack(p, dtype: gl.constexpr):
    """Round weights to 16 bits, two neighbouring columns a register.

    As 16-bit loop variables, ptxas 12.8 packs them in the wrong order and swaps them before each
    use: 32 of 485 instructions per step.
    """
    rows: gl.constexpr = p.shape[0]
    columns: gl.constexpr = p.shape[1]
    low, high = gl.split(p.reshape([rows, columns // 2, 2]))
    kind: gl.constexpr = "bf16x2" if dtype == gl.bfloat16 else "f16x2"
    return gl.inline_asm_elementwise(
        "cvt.rn." + kind + ".f32 $0, $2, $1;", "=r,r,r", [low, high], gl.int32, True, 1
    )


@gluon.jit
def _unpack(packed, dtype: gl.constexpr, layout: gl.constexpr):
    rows: gl.constexpr = packed.shape[0]
    columns: gl.constexpr = packed.shape[1]
    low, high = gl.inline_asm_elementwise(
        "mov.b32 {$0, $1}, $2;", "=h,=h,r", [packed], (gl.int16, gl.int16), True, 1
    )
    p = gl.join(low, high).reshape([rows, 2 * columns])
    return gl.convert_layout(p.to(dtype, bitcast=True), layout)


@gluon.jit
def _column(work, step, real):
    """Return the key block of a step; 0 if there is none."""
    columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len = work
    full = gl.load(columns + step, mask=real & (step < from_full), other=0)
    partial = gl.load(partials + step, mask=real & (step >= from_full), other=0)
    return full + partial


@gluon.jit
def _lower_bound(indices, begin, end, column):
    """Return the first entry from `begin` to `end` - 1 that is not below `column`."""
    low = begin
    high = end
    while low < high:
        middle = (low + high) // 2
        below = gl.load(indices + middle) < column
        low = gl.where(below, middle + 1, low)
        high = gl.where(below, high, middle)
    return low
