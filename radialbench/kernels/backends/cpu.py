"""Cpu: block-sparse attention in PyTorch that computes the visited blocks and nothing else."""

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radialbench.kernels.autograd import Backward, differentiable
from radialbench.kernels.backends import Run
from radialbench.kernels.checks import check_inputs, check_plan, host_reasons
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem

Int64 = NDArray[np.int64]

TILE_SCORES = 256 * 1024
"""Most scores of a tile: 1 MiB, the L2 cache of a server core. Half as many are 4% slower on two
cores of an AMD EPYC 9004, because more operators wait for the interpreter; more are not faster."""

LOWEST = -1e30
"""Starting maximum of a row: below any score, and finite, so that no step meets inf - inf."""


class Cpu:
    """Walks the tiles of each query block with a running softmax.

    Keys and values are slices of k and v, not copies. Each thread takes query blocks, longest
    first, and runs single-threaded operators on them; PyTorch releases the GIL inside an operator.
    Computes in float32: 16-bit keys and values are converted once per call.
    """

    name = "cpu"

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        """Return why this problem cannot run here."""
        return host_reasons(problem, device, gradients=True)

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        """Cut the table into tiles and order the work."""
        check_plan(self.name, self.unsupported_reasons(problem, "cpu"), problem, table, config)
        rows = cut_tiles(table, TILE_SCORES // table.block_m)
        keys = [sum(tile.width for tile in row) for row in rows]
        widest = max((tile.width for row in rows for tile in row), default=0)
        longest_first = sorted(range(len(rows)), key=lambda row: -keys[row])
        heads = list(np.ndindex(problem.batch, problem.heads))
        heads_per_kv = problem.heads // problem.key_heads
        work = [(head, row) for row in longest_first for head in heads]

        def forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            k, v = k.float().mT, v.float()
            out = torch.empty(q.shape, dtype=q.dtype)
            lse = torch.empty(q.shape[:3], dtype=torch.float32)
            finite = bool(torch.isfinite(q.sum(dtype=torch.float32) + k.sum()))

            def start() -> Callable[[Any], None]:
                softmax = RunningSoftmax(table, problem.head_dim, widest)

                def step(item: tuple[tuple[int, int], int]) -> None:
                    head, row = item
                    kv_head = head[0], head[1] // heads_per_kv
                    block = slice(row * table.block_m, (row + 1) * table.block_m)
                    softmax.begin(q[head][block], problem.scale, finite=finite)
                    for tile in rows[row]:
                        softmax.add(tile, k[kv_head], v[kv_head])
                    softmax.end(out[head][block], lse[head][block])

                return step

            _share(work, start, threads=torch.get_num_threads())
            return out, lse

        attention = differentiable(forward, _backward(problem, table, rows))

        def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            check_inputs(problem, table, q, k, v, gradients=True)
            return attention(q, k, v)

        return run

    def needs(self) -> str:
        """Describe what is needed."""
        return f"torch {torch.__version__}, any CPU; {torch.get_num_threads()} threads"


def _share(work: list[Any], start: Callable[[], Callable[[Any], None]], *, threads: int) -> None:
    """Process all items of work on some threads, each with its own step.

    Operators inside a thread are single-threaded: PyTorch's own threads would compete with these.
    """
    queue = deque(work)

    def drain() -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            step = start()
            while queue:
                try:
                    item = queue.popleft()
                except IndexError:
                    return
                step(item)

    try:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in [pool.submit(drain) for _ in range(threads)]:
                    done.result()
            finally:
                # The pool waits for its threads: after an error or Ctrl-C, not for all the work.
                queue.clear()
    finally:
        # Later threads start with the number that a thread set: restore it.
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring keys of a tile, read as one slice.

    Attributes:
        column: First column of their scores in the tile.
        start: First key.
        stop: Key after the last.
    """

    column: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Masked:
    """Scores of a tile that belong to a partial block.

    Attributes:
        column: First column in the tile.
        width: Keys of the block inside the sequence.
        bitmap: Index of its bitmap in the table.
    """

    column: int
    width: int
    bitmap: int


@dataclass(frozen=True, slots=True)
class Tile:
    """One step of a query block: scores, softmax and values of a few hundred keys.

    Attributes:
        width: Keys in all pieces.
        pieces: Slices of keys, side by side in the tile.
        masked: Its partial blocks.
    """

    width: int
    pieces: tuple[Piece, ...]
    masked: tuple[Masked, ...]


def cut_tiles(table: BlockTable, tile_tokens: int) -> list[tuple[Tile, ...]]:
    """Return the tiles of each query block, full and partial blocks, in ascending order of keys.

    Blocks that are not neighbours can share a tile, so that scattered blocks need few softmax
    steps. The tiles of a query block have nearly equal widths, of at most `tile_tokens` keys, but
    at least one block.
    """
    rows, columns, bitmaps = _visited(table)
    if not len(rows):
        return [()] * table.rows
    first_of_row = np.searchsorted(rows, np.arange(table.rows + 1))
    place = np.arange(len(rows)) - first_of_row[rows]
    in_row = np.diff(first_of_row)[rows]
    tiles_in_row = -(-in_row // max(1, tile_tokens // table.block_n))
    tile = place * tiles_in_row // np.maximum(in_row, 1)

    starts_tile = _changes(rows) | _changes(tile)
    starts_piece = starts_tile | (np.diff(columns, prepend=-1) != 1)
    tile_first = np.flatnonzero(starts_tile)
    piece_first = np.flatnonzero(starts_piece)
    tile_of = np.cumsum(starts_tile) - 1
    column = (np.arange(len(rows)) - tile_first[tile_of]) * table.block_n
    start = columns * table.block_n
    stop = np.minimum(start + table.block_n, table.k_len)

    pieces = [
        Piece(*piece)
        for piece in zip(
            column[piece_first].tolist(),
            start[piece_first].tolist(),
            stop[np.append(piece_first[1:], len(rows)) - 1].tolist(),
            strict=True,
        )
    ]
    partial = np.flatnonzero(bitmaps >= 0)
    masked = [
        Masked(*block)
        for block in zip(
            column[partial].tolist(),
            (stop - start)[partial].tolist(),
            bitmaps[partial].tolist(),
            strict=True,
        )
    ]
    tile_ends = np.append(tile_first, len(rows))
    piece_bounds = np.searchsorted(piece_first, tile_ends).tolist()
    masked_bounds = np.searchsorted(partial, tile_ends).tolist()
    last = tile_ends[1:] - 1
    widths = (column + stop - start)[last].tolist()
    tiles = [
        Tile(
            widths[t],
            tuple(pieces[piece_bounds[t] : piece_bounds[t + 1]]),
            tuple(masked[masked_bounds[t] : masked_bounds[t + 1]]),
        )
        for t in range(len(tile_first))
    ]
    bounds = np.searchsorted(tile_first, first_of_row).tolist()
    return [tuple(tiles[bounds[r] : bounds[r + 1]]) for r in range(table.rows)]


def _visited(table: BlockTable) -> tuple[Int64, Int64, Int64]:
    """Return row, column and bitmap (-1: full) of every visited block, by row, then column."""
    rows = np.concatenate([table.full.rows, table.partial.rows])
    columns = np.concatenate([table.full.indices, table.partial.indices]).astype(np.int64)
    bitmaps = np.concatenate([np.full(table.full.nnz, -1), table.bitmap_of]).astype(np.int64)
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], bitmaps[order]


def _changes(values: Int64) -> NDArray[np.bool_]:
    changes: NDArray[np.bool_] = np.diff(values, prepend=-1) != 0
    return changes


class RunningSoftmax:
    """Buffers and steps of a query block, in float32; one per thread.

    Scores are in units of log2, because PyTorch's exp2 is three times as fast as its exp (0.28
    and 0.82 ns per score on one core of an AMD EPYC 9004). Bitmaps become upper limits of the
    scores, +inf where a pair attends and -inf elsewhere: a minimum takes a seventh of the time of
    `masked_fill`. They stay packed in the table and are unpacked when needed.
    """

    def __init__(self, table: BlockTable, head_dim: int, widest: int) -> None:
        """Allocate for the widest tile."""
        rows = table.block_m
        self._scores = torch.empty(rows, widest)
        self._q = torch.empty(rows, head_dim)
        self._acc = torch.empty(rows, head_dim)
        self._max, self._new_max, self._sum, self._part = torch.empty(4, rows, 1).unbind()
        self._packed = np.ascontiguousarray(table.bitmaps.astype("<u4", copy=False)).view(np.uint8)
        self._limit = torch.empty(rows, self._packed.shape[2] * 8)
        self._limit_bytes = self._limit.numpy().reshape(rows, -1, 8)
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
        self._limits_of_byte = np.where(bits, np.float32(np.inf), np.float32(-np.inf))
        self._rows = rows
        self._apply = torch.minimum

    def begin(self, q: Tensor, sm_scale: float, *, finite: bool) -> None:
        """Start a query block of at most block_m rows: [rows, head_dim].

        If q or k is not `finite`, masked scores may be nan, which only the slower fmin ignores.
        """
        self._rows = rows = len(q)
        self._apply = torch.minimum if finite else torch.fmin
        self._q[:rows].copy_(q).mul_(sm_scale * math.log2(math.e))
        self._acc[:rows].zero_()
        self._sum[:rows].zero_()
        self._max[:rows].fill_(LOWEST)

    def add(self, tile: Tile, keys: Tensor, values: Tensor) -> None:
        """Attend to a tile's keys [head_dim, k_len] and values [k_len, head_dim], float32."""
        rows = self._rows
        q, acc, total = self._q[:rows], self._acc[:rows], self._sum[:rows]
        old, new, part = self._max[:rows], self._new_max[:rows], self._part[:rows]
        scores = self._scores[:rows, : tile.width]
        views = [
            (scores[:, piece.column : piece.column + piece.stop - piece.start], piece)
            for piece in tile.pieces
        ]
        for view, piece in views:
            torch.mm(q, keys[:, piece.start : piece.stop], out=view)
        for block in tile.masked:
            self._mask(scores, block)
        torch.amax(scores, 1, keepdim=True, out=new)
        torch.maximum(old, new, out=new)
        scores.sub_(new).exp2_()
        alpha = old.sub_(new).exp2_()
        torch.sum(scores, 1, keepdim=True, out=part)
        total.mul_(alpha).add_(part)
        acc.mul_(alpha)
        for view, piece in views:
            acc.addmm_(view, values[piece.start : piece.stop])
        self._max, self._new_max = self._new_max, self._max

    def end(self, out: Tensor, lse: Tensor) -> None:
        """Write the block's output [rows, head_dim] and lse [rows]."""
        rows = self._rows
        total = self._sum[:rows]
        lse.copy_(total.log2().add_(self._max[:rows]).mul_(math.log(2))[:, 0])
        # A row without keys has nothing in acc: 0 over the smallest number is 0.
        out.copy_(self._acc[:rows].div_(total.clamp_min_(torch.finfo(torch.float32).tiny)))

    def _mask(self, scores: Tensor, block: Masked) -> None:
        np.take(
            self._limits_of_byte,
            self._packed[block.bitmap],
            axis=0,
            out=self._limit_bytes,
            mode="clip",
        )
        view = scores[:, block.column : block.column + block.width]
        self._apply(view, self._limit[: self._rows, : block.width], out=view)


def _backward(problem: Problem, table: BlockTable, rows: list[tuple[Tile, ...]]) -> Backward:
    """Return the gradients: a thread takes a key head, and sums over its query heads in order."""
    key_heads = list(np.ndindex(problem.batch, problem.key_heads))
    shared = problem.heads // problem.key_heads
    packed = np.ascontiguousarray(table.bitmaps.astype("<u4", copy=False)).view(np.uint8)

    def masked(scores: Tensor, tile: Tile) -> None:
        """Set what does not attend to 0."""
        for block in tile.masked:
            bits = np.unpackbits(
                packed[block.bitmap, : len(scores)], axis=1, count=block.width, bitorder="little"
            )
            view = scores[:, block.column : block.column + block.width]
            view.masked_fill_(torch.from_numpy(bits == 0), 0.0)

    def backward(
        q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dout: Tensor, dlse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        q32, k32, v32, dout32 = (x.float() for x in (q, k, v, dout))
        # 0 times nan is nan: what is not finite reaches those that attend by their weights.
        q0, k0, dout0 = (x.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) for x in (q32, k32, dout32))
        delta = (out.float() * dout32).sum(-1, keepdim=True) - dlse[..., None]
        top = lse.masked_fill(lse == -math.inf, math.inf)[..., None]
        dq, dk, dv = (torch.zeros_like(x) for x in (q32, k32, v32))

        def start() -> Callable[[Any], None]:
            def step(key_head: tuple[int, int]) -> None:
                keys, values, dkeys, dvalues = (x[key_head] for x in (k32, v32, dk, dv))
                first = key_head[1] * shared
                for head, row in np.ndindex(shared, len(rows)):
                    here = key_head[0], first + head
                    block = slice(row * table.block_m, (row + 1) * table.block_m)
                    own, up = q32[here][block], dout32[here][block]
                    for tile in rows[row]:
                        parts = [slice(piece.start, piece.stop) for piece in tile.pieces]
                        weights = torch.cat([own @ keys[part].T for part in parts], 1)
                        weights.mul_(problem.scale).sub_(top[here][block]).exp_()
                        masked(weights, tile)
                        slopes = torch.cat([up @ values[part].T for part in parts], 1)
                        slopes.sub_(delta[here][block]).mul_(weights)
                        masked(slopes, tile)
                        weights.add_(slopes - slopes)
                        slopes.mul_(problem.scale)
                        for part, piece in zip(parts, tile.pieces, strict=True):
                            columns = slice(piece.column, piece.column + piece.stop - piece.start)
                            p, ds = weights[:, columns], slopes[:, columns]
                            dq[here][block].addmm_(ds, k0[key_head][part])
                            dkeys[part].addmm_(ds.T, q0[here][block])
                            dvalues[part].addmm_(p.T, dout0[here][block])

            return step

        _share(key_heads, start, threads=torch.get_num_threads())
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)

    return backward
