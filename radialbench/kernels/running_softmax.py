"""RunningSoftmax: attention of one query block, one tile of keys after the other."""

import math

import numpy as np
import torch
from torch import Tensor

from radialbench.kernels.tiles import Masked, Tile
from radialbench.maskgen.table import BlockTable

LOWEST = -1e30
"""Starting maximum of a row: below any score, and finite, so that no step meets inf - inf."""


class RunningSoftmax:
    """Buffers and steps of a query block, in float32; each thread has its own.

    Scores are in units of log2, because PyTorch's exp2 is three times as fast as its exp (0.28
    and 0.82 ns a score on one core of an AMD EPYC 9004). Bitmaps become upper limits of the
    scores, +inf where a pair attends and -inf where not: a minimum costs a seventh of a
    `masked_fill`. They stay packed in the table and are spread byte by byte when needed.
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
        """Take a query block.

        Args:
            q: [rows, head_dim], at most block_m rows.
            sm_scale: Factor of q·k.
            finite: Whether all of q and k are finite. If not, masked scores may be nan, which
                only the slower fmin puts aside.
        """
        self._rows = rows = len(q)
        self._apply = torch.minimum if finite else torch.fmin
        self._q[:rows].copy_(q).mul_(sm_scale * math.log2(math.e))
        self._acc[:rows].zero_()
        self._sum[:rows].zero_()
        self._max[:rows].fill_(LOWEST)

    def add(self, tile: Tile, keys: Tensor, values: Tensor) -> None:
        """Attend to a tile's keys.

        Args:
            tile: Which keys, and which of them only in part.
            keys: [head_dim, seq_len] float32.
            values: [seq_len, head_dim] float32.
        """
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
