"""Device code of the forward kernel for Hopper on tables of boxes, in Gluon.

Tokens stand in raster order. The copy engine reads half a block as one box of a frame's rows and
columns where its tokens are one, else as runs of neighbours in a row; the output is stored token by
token. All else is `forward_hopper`, whose text tuned configurations hang on: it is not changed.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, warpgroup_mma_wait

from radialbench.kernels.triton import hopper_tma as tma
from radialbench.kernels.triton.forward_hopper import (
    LOWEST,
    _column,
    _masked,
    _pack,
    _scores,
    _softmax,
    _unpack,
    _values,
    _words,
)

PART = gl.constexpr(64)
"""Channels of a copy: 128 bytes, a row of the swizzle."""
PIECE = gl.constexpr(64)
"""Slots of half a query block, which are copied as a box or run by run."""


@gluon.jit
def block_sparse_fwd_boxes(
    box_q,
    box_k,
    box_v,
    run_q,
    run_k,
    run_v,
    out_ptr,
    lse_ptr,
    full_indptr,
    full_indices,
    partial_indptr,
    partial_indices,
    bitmap_of,
    bitmaps,
    row_order,
    group_of_head,
    runs,
    slots,
    stride_ob,
    stride_oh,
    stride_on,
    heads,
    q_len,
    width,
    rows,
    scale_log2,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    HEAD_DIM: gl.constexpr,
    GROUPED: gl.constexpr,
    HEADS_PER_KV: gl.constexpr,
    BUFFERS: gl.constexpr,
    RUN: gl.constexpr,
):
    """Compute a query block of a head: full blocks, then partial blocks."""
    HALF: gl.constexpr = BLOCK_M // 2
    off_bh = gl.program_id(1)
    off_b = off_bh // heads
    off_h = off_bh % heads
    group = 0
    if GROUPED:
        group = gl.load(group_of_head + off_h)
    row = gl.load(row_order + group * rows + gl.program_id(0))
    table_row = group * rows + row
    full_begin = gl.load(full_indptr + table_row)
    full_count = gl.load(full_indptr + table_row + 1) - full_begin
    partial_begin = gl.load(partial_indptr + table_row)
    partial_count = gl.load(partial_indptr + table_row + 1) - partial_begin
    steps = full_count + partial_count
    columns = full_indices + full_begin
    partials = partial_indices + partial_begin - full_count
    numbers = bitmap_of + partial_begin - full_count

    dtype: gl.constexpr = box_q.dtype
    q_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([1, 1, HALF, BLOCK_D], dtype)
    k_layout: gl.constexpr = gl.NVMMASharedLayout.get_default_for([1, 1, BLOCK_N, BLOCK_D], dtype)
    q_bufs = gl.allocate_shared_memory(dtype, [2, 1, 1, HALF, BLOCK_D], q_layout)
    k_bufs = gl.allocate_shared_memory(dtype, [BUFFERS, 1, 1, BLOCK_N, BLOCK_D], k_layout)
    v_bufs = gl.allocate_shared_memory(dtype, [BUFFERS, 1, 1, BLOCK_N, BLOCK_D], k_layout)
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

    out_head = out_ptr + off_b.to(gl.int64) * stride_ob + off_h.to(gl.int64) * stride_oh
    lse_row = lse_ptr + off_bh.to(gl.int64) * q_len
    buffers = (q_bufs, k_bufs, v_bufs)
    barriers = (q_full, k_full, k_empty, v_full, v_empty)
    work = (columns, partials, numbers, bitmaps, full_count, full_count, steps, 0)
    result = (out_head, lse_row, slots + row * BLOCK_M, stride_on)
    place = (off_b, off_h, off_h // HEADS_PER_KV, row, runs, width)
    gl.warp_specialize(
        [
            (
                _consume,
                (
                    0,
                    result,
                    buffers,
                    barriers,
                    work,
                    scale_log2,
                    BLOCK_M,
                    BLOCK_N,
                    BLOCK_D,
                    HEAD_DIM,
                    BUFFERS,
                ),
            ),
            (
                _consume,
                (
                    1,
                    result,
                    buffers,
                    barriers,
                    work,
                    scale_log2,
                    BLOCK_M,
                    BLOCK_N,
                    BLOCK_D,
                    HEAD_DIM,
                    BUFFERS,
                ),
            ),
            (
                _produce,
                (
                    (box_q, run_q),
                    (box_k, run_k),
                    (box_v, run_v),
                    buffers,
                    barriers,
                    work,
                    place,
                    BLOCK_M,
                    BLOCK_N,
                    BLOCK_D,
                    BUFFERS,
                    RUN,
                ),
            ),
        ],
        [4, 1],
        # With 232 or 240 registers ptxas moves the weights of a step, 32 of them, before their use.
        [224, 56],
    )


@gluon.jit
def _produce(
    from_q,
    from_k,
    from_v,
    buffers,
    barriers,
    work,
    place,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    BUFFERS: gl.constexpr,
    RUN: gl.constexpr,
):
    """Copy the query block, then keys and values of each step, as buffers become free."""
    q_bufs, k_bufs, v_bufs = buffers
    q_full, k_full, k_empty, v_full, v_empty = barriers
    columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len = work
    off_b, off_h, off_kv, row, runs, width = place
    Q_PIECES: gl.constexpr = BLOCK_M // PIECE
    PIECES: gl.constexpr = BLOCK_N // PIECE
    RUNS: gl.constexpr = PIECE // RUN
    SIZE: gl.constexpr = BLOCK_N * BLOCK_D * 2
    q_views = _views(from_q, q_bufs, 2, 1, BLOCK_D, RUN)
    k_views = _views(from_k, k_bufs, BUFFERS, PIECES, BLOCK_D, RUN)
    v_views = _views(from_v, v_bufs, BUFFERS, PIECES, BLOCK_D, RUN)
    for half in gl.static_range(2):
        mbarrier.expect(q_full.index(half), PIECE * BLOCK_D * 2)
        piece = runs + (row * Q_PIECES + half) * RUNS
        first = gl.load(piece)
        bar, at = q_full.index(half), half * (BLOCK_D // PART)
        _copy(from_q, q_views, bar, at, off_b, off_h, piece, first, width, 1, BLOCK_D, RUN)
    piece = runs + _column(work, 0, steps > 0) * (PIECES * RUNS)
    first = gl.load(piece)
    last = gl.load(piece + (PIECES - 1) * RUNS)
    ahead = _column(work, 1, steps > 1)
    for step in range(gl.maximum(steps, 1)):
        slot = step % BUFFERS
        phase = (step // BUFFERS) & 1
        now, now_first, now_last = piece, first, last
        # The next block's places, and the index after it, load while this step waits.
        piece = runs + ahead * (PIECES * RUNS)
        first = gl.load(piece)
        last = gl.load(piece + (PIECES - 1) * RUNS)
        ahead = _column(work, step + 2, step + 2 < steps)
        bar = k_full.index(slot)
        mbarrier.wait(k_empty.index(slot), phase ^ 1)
        mbarrier.expect(bar, SIZE)
        at = slot * (BLOCK_D // PART) * PIECES
        _copy(from_k, k_views, bar, at, off_b, off_kv, now, now_first, width, PIECES, BLOCK_D, RUN)
        if PIECES == 2:
            then = now + RUNS
            _copy(
                *(from_k, k_views, bar, at + 1, off_b, off_kv, then, now_last, width),
                *(PIECES, BLOCK_D, RUN),
            )
        bar = v_full.index(slot)
        mbarrier.wait(v_empty.index(slot), phase ^ 1)
        mbarrier.expect(bar, SIZE)
        _copy(from_v, v_views, bar, at, off_b, off_kv, now, now_first, width, PIECES, BLOCK_D, RUN)
        if PIECES == 2:
            then = now + RUNS
            _copy(
                *(from_v, v_views, bar, at + 1, off_b, off_kv, then, now_last, width),
                *(PIECES, BLOCK_D, RUN),
            )


@gluon.jit
def _views(
    descs,
    bufs,
    COUNT: gl.constexpr,
    PIECES: gl.constexpr,
    BLOCK_D: gl.constexpr,
    RUN: gl.constexpr,
):
    """Return the buffers as boxes and as runs: by buffer, 64 channels, piece of tokens, run."""
    box, run = descs
    BOXES: gl.constexpr = COUNT * (BLOCK_D // PART) * PIECES
    RUNS: gl.constexpr = PIECE // RUN
    boxes = bufs._reinterpret(bufs.dtype, [BOXES, 1, 1, RUNS, RUN, PART], box.layout)
    in_runs = bufs._reinterpret(bufs.dtype, [BOXES * RUNS, 1, 1, RUN, PART], run.layout)
    return boxes, in_runs


@gluon.jit
def _copy(
    descs,
    views,
    bar,
    at,
    off_b,
    off_h,
    piece,
    first,
    width,
    PIECES: gl.constexpr,
    BLOCK_D: gl.constexpr,
    RUN: gl.constexpr,
):
    """Copy a piece of 64 tokens: a box if its first entry is negative, else run by run."""
    box, run = descs
    boxes, in_runs = views
    PARTS: gl.constexpr = BLOCK_D // PART
    RUNS: gl.constexpr = PIECE // RUN
    if first < 0:
        token = -1 - first
        line = token // width
        for part in gl.static_range(PARTS):
            tma.async_copy_global_to_shared(
                box,
                [off_b, off_h, line, token - line * width, part * PART],
                bar,
                boxes.index(at + part * PIECES),
            )
    else:
        # Places are loaded a few at a time, as the copies in between would have each wait.
        BATCH: gl.constexpr = min(4, RUNS)
        for begin in gl.static_range(0, RUNS, BATCH):
            tokens = ()
            for i in gl.static_range(BATCH):
                tokens = tokens + (gl.load(piece + begin + i),)  # noqa: RUF005
            for i in gl.static_range(BATCH):
                for part in gl.static_range(PARTS):
                    tma.async_copy_global_to_shared(
                        run,
                        [off_b, off_h, tokens[i], part * PART],
                        bar,
                        in_runs.index((at + part * PIECES) * RUNS + begin + i),
                    )


@gluon.jit
def _consume(
    half: gl.constexpr,
    result,
    buffers,
    barriers,
    work,
    scale_log2,
    BLOCK_M: gl.constexpr,
    BLOCK_N: gl.constexpr,
    BLOCK_D: gl.constexpr,
    HEAD_DIM: gl.constexpr,
    BUFFERS: gl.constexpr,
):
    """Attend from half a query block to the keys of every step."""
    HALF: gl.constexpr = BLOCK_M // 2
    q_bufs, k_bufs, v_bufs = buffers
    q_full, k_full, k_empty, v_full, v_empty = barriers
    columns, partials, numbers, bitmaps, full_count, from_full, steps, key_len = work
    out_head, lse_row, row_slots, stride_on = result
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
    words = _words(work, 0, steps > 0, place_m, lanes, BLOCK_M, BLOCK_N, False)
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
    words = _words(work, begin, begin < steps, place_m, lanes, BLOCK_M, BLOCK_N, False)
    for step in range(begin, steps):
        s_token = _scores(step, q, zero, k_bufs, k_full, BLOCK_N, BLOCK_D, BUFFERS)
        acc = acc * gl.expand_dims(gl.convert_layout(alpha, row_o), 1)
        weights = _unpack(p16, dtype, p_layout)
        acc_token = _values(step - 1, weights, acc, v_bufs, v_full, BLOCK_N, BLOCK_D, BUFFERS)
        ahead = _words(work, step + 1, step + 1 < steps, place_m, lanes, BLOCK_M, BLOCK_N, False)
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
    token_s = gl.load(row_slots + half * HALF + gl.arange(0, HALF, row_s))
    gl.store(lse_row + token_s, lse, mask=token_s >= 0)
    inverse = 1.0 / l_i
    acc = acc * gl.expand_dims(gl.convert_layout(inverse, row_o), 1)
    # Through shared memory, so that a thread stores 16 bytes of a token.
    out_buf = q_bufs.index(half).reshape([HALF, BLOCK_D])
    out_buf.store(acc.to(dtype))
    LANES: gl.constexpr = min(BLOCK_D // 8, 32)
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [32 // LANES, LANES], [4, 1], [1, 0])
    out = out_buf.load(layout)
    token = gl.load(row_slots + half * HALF + gl.arange(0, HALF, gl.SliceLayout(1, layout)))
    column = gl.expand_dims(gl.arange(0, BLOCK_D, gl.SliceLayout(0, layout)), 0)
    token = gl.expand_dims(token, 1)
    places = out_head + token.to(gl.int64) * stride_on + column
    gl.store(places, out, mask=(token >= 0) & (column < HEAD_DIM))
