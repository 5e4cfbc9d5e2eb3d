"""DeviceTable: block tables as tensors on a device, with the order in which rows are launched."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.row_order import SM_COUNT, column_order, row_order
from radialbench.maskgen.boxes import PIECE, BoxTable
from radialbench.maskgen.table import BlockTable, Csr

MAX_BLOCK_N = 128


class TableKey(NamedTuple):
    """What decides how a table is launched, and in which configuration; see `DeviceTable`.

    Attributes:
        heads: Heads that the table is for; 0 if any number may share it.
        aligned: Whether all its tensors start at multiples of 16 bytes.
        run: Of a table of boxes, the tokens that are copied together at least; else 0.
        width: Of a table of boxes, the token columns of a frame.
    """

    block_m: int
    block_n: int
    q_len: int
    k_len: int
    rows: int
    heads: int
    mask_fingerprint: str
    frames: int
    tokens_per_frame: int
    aligned: bool
    run: int = 0
    width: int = 0


class Boxes(NamedTuple):
    """Where the tokens of a table of boxes are; see `BoxTable`.

    Attributes:
        runs: [pieces of 64 slots, 64 / run] int32.
        slots: [blocks · 128] int32.
        width: Token columns of a frame.
    """

    runs: Tensor
    slots: Tensor
    width: int


class Transpose(NamedTuple):
    """The visited blocks by key block, for the gradients of k and v.

    Column c of group g is row g·columns + c of both CSR pairs. Bitmaps are the table's own.

    Attributes:
        full_indptr: [groups · columns + 1] int32.
        full_indices: [full blocks] int32 query blocks, ascending within a column.
        partial_indptr: [groups · columns + 1] int32.
        partial_indices: [partial blocks] int32 query blocks, ascending within a column.
        bitmap_of: [partial blocks] int32.
        column_order: [groups, columns] int32, the order in which columns are launched.
    """

    full_indptr: Tensor
    full_indices: Tensor
    partial_indptr: Tensor
    partial_indices: Tensor
    bitmap_of: Tensor
    column_order: Tensor


@dataclass(frozen=True, eq=False)
class DeviceTable:
    """The tables of one or more groups of heads, one after the other.

    Row r of group g is row g·rows + r of both CSR pairs.

    Attributes:
        block_m: Query tokens of a block.
        block_n: Key tokens of a block.
        q_len: Query tokens.
        k_len: Key tokens.
        full_indptr: [groups · rows + 1] int32.
        full_indices: [full blocks] int32 key blocks, ascending within a row.
        partial_indptr: [groups · rows + 1] int32.
        partial_indices: [partial blocks] int32 key blocks, ascending within a row.
        bitmap_of: [partial blocks] int32.
        bitmaps: [1 + distinct, block_m, 4] int32. Bit 2·j + b of word c is key column
            8·j + 2·c + b: the columns of a row that one thread holds in a tensor core's result, so
            that it reads one word per row. In bitmap 0 every pair attends; it masks full blocks
            that the keys end in.
        row_order: [groups, rows] int32, the order in which rows are launched; see `row_order`.
        group_of_head: [heads] int32; empty if all heads share one table.
        transpose: The same blocks by key block; None if there will be no gradients.
        boxes: Where tokens are that stand in raster order; None if they stand in the table's.
        mask_fingerprint: That of the mask, or of the groups, joined by `+`; empty if not known.
        frames: Latent frames.
        tokens_per_frame: Video tokens of a frame.
    """

    block_m: int
    block_n: int
    q_len: int
    k_len: int
    full_indptr: Tensor
    full_indices: Tensor
    partial_indptr: Tensor
    partial_indices: Tensor
    bitmap_of: Tensor
    bitmaps: Tensor
    row_order: Tensor
    group_of_head: Tensor
    _: KW_ONLY
    transpose: Transpose | None = None
    boxes: Boxes | None = None
    mask_fingerprint: str = ""
    frames: int = 0
    tokens_per_frame: int = 0

    @cached_property
    def key(self) -> TableKey:
        """The key of plans and configurations."""
        return TableKey(
            *(self.block_m, self.block_n, self.q_len, self.k_len, self.rows),
            len(self.group_of_head),
            *(self.mask_fingerprint, self.frames, self.tokens_per_frame),
            all(tensor.data_ptr() % 16 == 0 for tensor in self.all_tensors()),
            *((PIECE // self.boxes.runs.shape[1], self.boxes.width) if self.boxes else (0, 0)),
        )

    @cached_property
    def plans(self) -> dict[Any, Any]:
        """Plans of launches, by layouts and options; see `op.Plan`."""
        return {}

    @property
    def rows(self) -> int:
        """Query blocks."""
        return self.row_order.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(tensor.nbytes for tensor in self.all_tensors())

    def all_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that the forward kernels take, then those of the transpose."""
        return (*self.tensors(), *(self.transpose or ()))

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors, in the order the forward kernels take them, those of boxes last."""
        return (
            self.full_indptr,
            self.full_indices,
            self.partial_indptr,
            self.partial_indices,
            self.bitmap_of,
            self.bitmaps,
            self.row_order,
            self.group_of_head,
            *((self.boxes.runs, self.boxes.slots) if self.boxes else ()),
        )


def upload(
    tables: Sequence[BlockTable],
    device: str,
    group_of_head: Sequence[int] = (),
    *,
    mask_fingerprint: str | None = None,
) -> DeviceTable:
    """Put tables and their transposes on a device.

    Args:
        tables: One table, or one for each group of heads; of one grid and one block size.
        device: The device.
        group_of_head: The table of each head; not needed if there is one table.
        mask_fingerprint: That of the mask or head plan; the tables' own, joined by `+`, if not
            given.

    Raises:
        BackendError: The tables differ in grid or blocks, or a head's table does not exist.
    """
    first = tables[0]
    for table in tables[1:]:
        same = ("q_len", "k_len", "block_m", "block_n")
        different = [name for name in same if getattr(table, name) != getattr(first, name)]
        if different:
            raise BackendError(
                f"tables of one launch share {', '.join(same)}; {different[0]} is "
                f"{getattr(first, different[0])} and {getattr(table, different[0])}"
            )
    if len(tables) > 1 and not group_of_head:
        raise BackendError(f"{len(tables)} tables need group_of_head, the table of each head")
    if any(not 0 <= group < len(tables) for group in group_of_head):
        raise BackendError(f"heads take tables 0 to {len(tables) - 1}, got {list(group_of_head)}")
    offsets = np.cumsum([1] + [len(table.bitmaps) for table in tables[:-1]])
    numbers = [table.bitmap_of + offset for table, offset in zip(tables, offsets, strict=True)]
    full = [table.full.transposed(table.columns) for table in tables]
    partial = [table.partial.transposed(table.columns) for table in tables]
    _check_key_blocks(first.block_n)
    pairs = zip(numbers, partial, strict=True)
    by_column = [own[entries] for own, (_, entries) in pairs]
    bits = [_by_thread(table) for table in tables]
    masks = dict.fromkeys(table.mask.fingerprint if table.mask else "" for table in tables)
    joined = "+".join(masks) if all(masks) else ""
    ones = np.full((1, first.block_m, 4), -1, np.int32)
    sms = SM_COUNT
    if device.startswith("cuda"):
        sms = torch.cuda.get_device_properties(device).multi_processor_count

    def tensor(values: NDArray[np.generic] | Sequence[int]) -> Tensor:
        return torch.as_tensor(np.asarray(values).astype(np.int32), device=device)

    return DeviceTable(
        block_m=first.block_m,
        block_n=first.block_n,
        q_len=first.q_len,
        k_len=first.k_len,
        full_indptr=tensor(_indptr([table.full for table in tables])),
        full_indices=tensor(np.concatenate([table.full.indices for table in tables])),
        partial_indptr=tensor(_indptr([table.partial for table in tables])),
        partial_indices=tensor(np.concatenate([table.partial.indices for table in tables])),
        bitmap_of=tensor(np.concatenate(numbers)),
        bitmaps=tensor(np.concatenate([ones, *bits])),
        row_order=tensor(np.stack([row_order(table, sms) for table in tables])),
        group_of_head=tensor(group_of_head),
        transpose=Transpose(
            full_indptr=tensor(_indptr([csr for csr, _ in full])),
            full_indices=tensor(np.concatenate([csr.indices for csr, _ in full])),
            partial_indptr=tensor(_indptr([csr for csr, _ in partial])),
            partial_indices=tensor(np.concatenate([csr.indices for csr, _ in partial])),
            bitmap_of=tensor(np.concatenate(by_column)),
            column_order=tensor(np.stack([column_order(table, sms) for table in tables])),
        ),
        mask_fingerprint=joined if mask_fingerprint is None else mask_fingerprint,
        frames=first.grid.frames,
        tokens_per_frame=first.grid.frame_tokens,
    )


def upload_boxes(boxes: BoxTable, device: str) -> DeviceTable:
    """Put a table of boxes on a device."""
    mask = boxes.source.mask
    over_slots = upload(
        *(boxes.tables, device, boxes.group_of_head),
        mask_fingerprint=mask.fingerprint if mask else None,
    )
    runs, slots = (torch.as_tensor(one, device=device) for one in (boxes.runs, boxes.slots))
    return replace(
        over_slots,
        q_len=boxes.grid.seq_len,
        k_len=boxes.grid.seq_len,
        transpose=None,
        boxes=Boxes(runs, slots, boxes.grid.width),
        frames=boxes.grid.frames,
        tokens_per_frame=boxes.grid.frame_tokens,
    )


def table_of_blocks(
    blocks: Tensor,
    block_m: int,
    block_n: int,
    q_len: int,
    k_len: int,
    *,
    nnz: int | None = None,
    gradients: bool = False,
) -> DeviceTable:
    """Return the table of whole blocks that were chosen at run time, on their device.

    Longer rows are launched first.

    Args:
        blocks: Whether each block is visited, bool: [rows, columns] for all heads, or
            [heads, rows, columns].
        block_m: Query tokens of a block.
        block_n: Key tokens of a block; a multiple of 8, at most 128.
        q_len: Query tokens.
        k_len: Key tokens.
        nnz: Number of visited blocks, if it is known: then the host does not wait for the GPU.
        gradients: Whether gradients may be asked for, which need the transpose.

    Raises:
        BackendError: Their number or their type does not fit the lengths, or block_n is neither.
    """
    rows, columns = -(-q_len // block_m), -(-k_len // block_n)
    if (
        blocks.dtype != torch.bool
        or blocks.dim() not in (2, 3)
        or blocks.shape[-2:] != (rows, columns)
    ):
        raise BackendError(
            f"blocks must be bool [{rows}, {columns}] or [heads, {rows}, {columns}], got "
            f"{blocks.dtype} {list(blocks.shape)}"
        )
    _check_key_blocks(block_n)
    by_group = blocks if blocks.dim() == 3 else blocks[None]
    indptr, indices, order = _lists(by_group, nnz)
    nothing, none = torch.zeros_like(indptr), indices.new_empty(0)
    transpose = None
    if gradients:
        ends, queries, launched = _lists(by_group.mT, nnz)
        transpose = Transpose(ends, queries, torch.zeros_like(ends), none, none, launched)
    return DeviceTable(
        block_m=block_m,
        block_n=block_n,
        q_len=q_len,
        k_len=k_len,
        full_indptr=indptr,
        full_indices=indices,
        partial_indptr=nothing,
        partial_indices=none,
        bitmap_of=none,
        bitmaps=indices.new_full((1, block_m, 4), -1),
        row_order=order,
        group_of_head=torch.arange(
            len(blocks) if blocks.dim() == 3 else 0, dtype=torch.int32, device=blocks.device
        ),
        transpose=transpose,
    )


def _lists(blocks: Tensor, nnz: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return indptr, indices, and the order of the rows, of bool [groups, rows, columns]."""
    groups, rows, columns = blocks.shape
    flat = blocks.reshape(groups * rows, columns)
    counts = flat.sum(dim=1, dtype=torch.int32)
    indptr = counts.new_zeros(groups * rows + 1)
    torch.cumsum(counts, 0, out=indptr[1:])
    places = flat.nonzero() if nnz is None else torch.nonzero_static(flat, size=nnz)
    order = counts.view(groups, rows).argsort(dim=1, descending=True, stable=True)
    return indptr, places[:, 1].to(torch.int32), order.to(torch.int32)


def permutation(
    table: BlockTable, *, queries: bool = False, device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return the indices that bring tokens from raster order into the table's order, and back.

    All tokens, or the queries alone, which count from the first query.
    """
    there = table.order.source_index(table.grid)
    if queries:
        there = there[table.q_start :][: table.q_len] - table.grid.query_start
    back = np.empty_like(there)
    back[there] = np.arange(len(there))
    return torch.tensor(there, device=device), torch.tensor(back, device=device)


def _check_key_blocks(block_n: int) -> None:
    if block_n % 8 or block_n > MAX_BLOCK_N:
        raise BackendError(
            f"key blocks are multiples of 8 tokens up to {MAX_BLOCK_N}, got {block_n}"
        )


def _indptr(parts: Sequence[Csr]) -> NDArray[np.int64]:
    counts = np.concatenate([np.diff(part.indptr) for part in parts])
    return np.concatenate([[0], np.cumsum(counts)])


def _by_thread(table: BlockTable) -> NDArray[np.int32]:
    """Arrange bitmaps as in `DeviceTable.bitmaps`, in parts that fit into the cache."""
    words = np.zeros((len(table.bitmaps), table.block_m, 4), np.uint32)
    step = max(1, 65536 // table.block_m)
    for start in range(0, len(words), step):
        part = table.bitmaps[start : start + step].astype(np.uint32, copy=False)
        for thread in range(4):
            # Two bits of each byte, moved together in two steps.
            pairs = part >> np.uint32(2 * thread) & np.uint32(0x03030303)
            pairs = (pairs | pairs >> np.uint32(6)) & np.uint32(0x000F000F)
            pairs = (pairs | pairs >> np.uint32(12)) & np.uint32(0x000000FF)
            for place in range(part.shape[2]):
                words[start : start + step, :, thread] |= pairs[..., place] << np.uint32(8 * place)
    return words.view(np.int32)
