"""Device code of the forward kernel for Hopper in 8 bits (e4m3), in Gluon.

As `forward_hopper`, on q, k and v that `quantize` rounded: q and k by block of tokens, v by channel
and transposed, its keys in the order in which a thread holds weights. Scores are scaled by the
factors of their blocks, and weights by 2^8, so that they use e4m3's range.
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
from radialbench.kernels.triton.forward_hopper import (
    LOWEST,
    _column,
    _lower_bound,
    _masked,
    _scores,
    _words,
)

SHIFT = gl.constexpr(8.0)
"""The largest weight of a row is 2^8, which e4m3 holds exactly; its largest number is 448."""


@gluon.jit
def block_sparse_fwd_hopper_fp8(
    desc_q,
    desc_k,
    desc_v,
    desc_out,
    q_factors,
    k_factors,
    v_factors,
    times_mean,
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

    Query heads' factors are [batch, heads, rows], key heads' [batch, kv_heads, key blocks] and
    [batch, kv_heads, BLOCK_D], times_mean is [batch, heads, q_len], all float32.
    """
    HALF: gl.constexpr = BLOCK_M // 2
    off_bh = gl.program_id(1)
    off_b = off_bh // heads
    off_h = off_bh % heads
    off_kv = off_bh // HEADS_PER_KV
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
        desc_v.dtype, [BUFFERS, 1, 1, BLOCK_D, BLOCK_N], desc_v.layout
    )
    out_bufs = gl.allocate_shared_memory(desc_out.dtype, [2, 1, 1, HALF, BLOCK_D], desc_out.layout)
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
    first_row = off_bh.to(gl.int64) * q_len
    q_factor = gl.load(q_factors + off_bh * rows + row) * scale_log2
    factors = (
        q_factor,
        k_factors + off_kv * ((k_len + BLOCK_N - 1) // BLOCK_N),
        v_factors + off_kv * BLOCK_D,
        times_mean + first_row,
        scale_log2,
    )
    buffers = (q_bufs, k_bufs, v_bufs)
    barriers = (q_full, k_full, k_empty, v_full, v_empty)
    work = (columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len)
    place = (off_b, off_h, row_m, q_len)
    outputs = (desc_out, out_bufs, lse_ptr + first_row)
    LIMITED: gl.constexpr = KEY_LENS or RAGGED
    gl.warp_specialize(
        [
            (
                _consume,
                (
                    0,
                    outputs,
                    buffers,
                    barriers,
                    work,
                    place,
                    factors,
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
                    outputs,
                    buffers,
                    barriers,
                    work,
                    place,
                    factors,
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
            desc_v, [off_b, off_kv, 0, start], v_full.index(slot), v_bufs.index(slot)
        )


@gluon.jit
def _consume(
    half: gl.constexpr,
    outputs,
    buffers,
    barriers,
    work,
    place,
    factors,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    LIMITED: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Attend from half a query block to the keys of every step."""
    HALF: gl.constexpr = BLOCK_M // 2
    desc_out, out_bufs, lse_row = outputs
    q_bufs, k_bufs, v_bufs = buffers
    q_full, k_full, k_empty, v_full, v_empty = barriers
    columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len = work
    off_b, off_h, row_m, q_len = place
    q_factor, k_factors, v_factors, times_mean, scale_log2 = factors
    s_layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK_N, 32]
    )
    o_layout: gl.constexpr = gl.NVMMADistributedLayout(
        version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BLOCK_D, 32]
    )
    row_s: gl.constexpr = gl.SliceLayout(1, s_layout)
    row_o: gl.constexpr = gl.SliceLayout(1, o_layout)
    inner_m = half * HALF + gl.arange(0, HALF, row_s)
    acc = gl.zeros([HALF, BLOCK_D], gl.float32, o_layout)
    zero = gl.zeros([HALF, BLOCK_N], gl.float32, s_layout)
    q = q_bufs.index(half).reshape([HALF, BLOCK_D])

    # Bits of a block as in the kernel of 16 bits: scores have the same layout.
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
    # attends. Factors are loaded one step ahead, and the columns they belong to two.
    words = _words(work, 0, steps > 0, place_m, lanes, BLOCK_M, BLOCK_N, LIMITED)
    factor = q_factor * gl.load(k_factors + _column(work, 0, steps > 0))
    after = gl.load(k_factors + _column(work, 1, steps > 1))
    column = _column(work, 2, steps > 2)
    m_i = gl.full([HALF], LOWEST, gl.float32, row_s)
    l_i = gl.zeros([HALF, 4], gl.float32, word_layout)
    mbarrier.wait(q_full.index(half), 0)
    s_token = _scores(0, q, zero, k_bufs, k_full, BLOCK_N, BLOCK_D, BUFFERS)
    s = warpgroup_mma_wait(0, deps=[s_token])
    mbarrier.arrive(k_empty.index(0), count=1)
    s = _masked(s, words, bit_of, BLOCK_N, s_layout)
    p, m_i, l_i, alpha = _softmax(s, m_i, l_i, factor)
    p8 = _pack(p)

    for step in range(1, full_count):
        factor = q_factor * after
        after = gl.load(k_factors + column)
        column = _column(work, step + 2, step + 2 < steps)
        s_token = _scores(step, q, zero, k_bufs, k_full, BLOCK_N, BLOCK_D, BUFFERS)
        acc = acc * gl.expand_dims(gl.convert_layout(alpha, row_o), 1)
        acc_token = _values(step - 1, p8, acc, v_bufs, v_full, BLOCK_N, BLOCK_D, BUFFERS)
        s = warpgroup_mma_wait(1, deps=[s_token])
        p, m_i, l_i, alpha = _softmax(s, m_i, l_i, factor)
        # Weights are packed when those in use are free: ptxas serializes all products otherwise.
        acc, _ = warpgroup_mma_wait(0, deps=[acc_token, p8])
        p8 = _pack(p)
        mbarrier.arrive(k_empty.index(step % BUFFERS), count=1)
        mbarrier.arrive(v_empty.index((step - 1) % BUFFERS), count=1)

    begin = gl.maximum(full_count, 1)
    words = _words(work, begin, begin < steps, place_m, lanes, BLOCK_M, BLOCK_N, LIMITED)
    for step in range(begin, steps):
        factor = q_factor * after
        after = gl.load(k_factors + column)
        column = _column(work, step + 2, step + 2 < steps)
        s_token = _scores(step, q, zero, k_bufs, k_full, BLOCK_N, BLOCK_D, BUFFERS)
        acc = acc * gl.expand_dims(gl.convert_layout(alpha, row_o), 1)
        acc_token = _values(step - 1, p8, acc, v_bufs, v_full, BLOCK_N, BLOCK_D, BUFFERS)
        ahead = _words(work, step + 1, step + 1 < steps, place_m, lanes, BLOCK_M, BLOCK_N, LIMITED)
        s = warpgroup_mma_wait(1, deps=[s_token])
        s = _masked(s, words, bit_of, BLOCK_N, s_layout)
        words = ahead
        p, m_i, l_i, alpha = _softmax(s, m_i, l_i, factor)
        acc, _ = warpgroup_mma_wait(0, deps=[acc_token, p8])
        p8 = _pack(p)
        mbarrier.arrive(k_empty.index(step % BUFFERS), count=1)
        mbarrier.arrive(v_empty.index((step - 1) % BUFFERS), count=1)

    acc = acc * gl.expand_dims(gl.convert_layout(alpha, row_o), 1)
    last = gl.maximum(steps, 1) - 1
    acc_token = _values(last, p8, acc, v_bufs, v_full, BLOCK_N, BLOCK_D, BUFFERS)
    acc, _ = warpgroup_mma_wait(0, deps=[acc_token, p8])
    l_i = gl.convert_layout(gl.sum(l_i, 1), row_s)
    # A row without keys has l_i = 0: zeros, and an lse of -inf.
    some = l_i != 0.0
    l_i = gl.where(some, l_i, 1.0)
    real = row_m + inner_m < q_len
    mean = gl.load(times_mean + row_m + inner_m, mask=real, other=0.0) * scale_log2
    lse = (m_i + gl.log2(l_i) - SHIFT + mean) * 0.6931471805599453
    gl.store(lse_row + row_m + inner_m, gl.where(some, lse, float("-inf")), mask=real)
    inverse = 1.0 / l_i
    scaled = gl.load(v_factors + gl.arange(0, BLOCK_D, gl.SliceLayout(0, o_layout)))
    acc = acc * gl.expand_dims(gl.convert_layout(inverse, row_o), 1) * gl.expand_dims(scaled, 0)
    out_buf = out_bufs.index(half)
    out_buf.reshape([HALF, BLOCK_D]).store(acc.to(desc_out.dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(desc_out, [off_b, off_h, row_m + half * HALF, 0], out_buf)
    tma.store_wait(0)


@gluon.jit
def _values(
    step,
    p8,
    acc,
    v_bufs,
    v_full,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Issue the weighted values of a step once they are loaded."""
    slot = step % BUFFERS
    layout: gl.constexpr = gl.DotOperandLayout(operand_index=0, parent=acc.type.layout, k_width=4)
    weights = _unpack(p8, layout)
    mbarrier.wait(v_full.index(slot), (step // BUFFERS) & 1)
    v = v_bufs.index(slot).reshape([BLOCK_D, BLOCK_N])
    return warpgroup_mma(weights, v.permute([1, 0]), acc, use_acc=True, is_async=True)


@gluon.jit
def _softmax(s, m_i, l_i, factor):
    """Return weights times 2^8, the rows' new maxima and sums, and the factor of older weights."""
    rows: gl.constexpr = s.shape[0]
    columns: gl.constexpr = s.shape[1]
    m_new = gl.maximum(m_i, gl.max(s, 1) * factor)
    p = gl.exp2(s * factor - gl.expand_dims(m_new - SHIFT, 1))
    alpha = gl.exp2(m_i - m_new)
    # A thread sums the columns it holds; lanes are summed once at the end.
    sums = gl.sum(gl.sum(p.reshape([rows, columns // 8, 4, 2]), 3), 1)  # [rows, 4]
    lanes: gl.constexpr = gl.SliceLayout(1, sums.type.layout)
    l_i = l_i * gl.expand_dims(gl.convert_layout(alpha, lanes), 1) + sums
    return p, m_new, l_i, alpha


@gluon.jit
def _pack(p):
    """Round weights to e4m3, four of a thread's in a register, in the order of `key_order`."""
    rows: gl.constexpr = p.shape[0]
    columns: gl.constexpr = p.shape[1]
    # Column 16·j + 8·i + 2·c + b is byte 2·i + b of lane c.
    p = p.reshape([rows, columns // 16, 2, 4, 2]).permute([0, 1, 3, 2, 4])
    even, odd = gl.split(p)
    first, third = gl.split(even)
    second, fourth = gl.split(odd)
    return gl.inline_asm_elementwise(
        "{ .reg .b16 low, high; cvt.rn.satfinite.e4m3x2.f32 low, $2, $1; "
        "cvt.rn.satfinite.e4m3x2.f32 high, $4, $3; mov.b32 $0, {low, high}; }",
        "=r,r,r,r,r",
        [first, second, third, fourth],
        gl.int32,
        True,
        1,
    )


@gluon.jit
def _unpack(packed, layout: gl.constexpr):
    rows: gl.constexpr = packed.shape[0]
    words: gl.constexpr = packed.shape[1] * packed.shape[2]
    # Four numbers are one register, which each of the four operands names.
    packed = gl.expand_dims(packed, 3)
    pairs = gl.join(packed, packed)
    same = gl.join(pairs, pairs).reshape([rows, 4 * words])
    weights = gl.inline_asm_elementwise(
        "mov.b32 $0, $1;", "=r,r,r,r,r", [same], gl.float8e4nv, True, 4
    )
    return gl.convert_layout(weights, layout, assert_trivial=True)
