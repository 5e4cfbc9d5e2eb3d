"""Block tables in other libraries' formats, as NumPy arrays under the names they have there.

Each format's file holds one class: `of(table)` converts, `arrays()` returns the arrays by name, and
`token_mask()` reads them back as the other library does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError, load_plugin
from radialbench.maskgen.table import BlockTable, Csr, write_arrays

EXPORTERS: dict[str, str] = {
    "bsr": "radialbench.maskgen.export.bsr:Bsr",
    "fa4": "radialbench.maskgen.export.fa4:Fa4Table",
    "flex": "radialbench.maskgen.export.flex:FlexTable",
    "npz": "radialbench.maskgen.export.npz:Npz",
    "sparge": "radialbench.maskgen.export.sparge:Sparge",
}
"""Module and class of each format; a module is imported when its format is used."""


class Export(Protocol):
    """A block table in the format of another library.

    Attributes:
        keeps_partial: Whether the format has partial blocks. If not, `of` takes `partial="full"`
            to attend them whole; without it they are a TableError.
    """

    keeps_partial: ClassVar[bool]

    @classmethod
    def of(cls, table: BlockTable) -> Self:
        """Convert a table.

        Raises:
            TableError: The format cannot express the table.
        """
        ...

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays under the names they have in the other library."""
        ...

    def token_mask(self) -> NDArray[np.bool_]:
        """[q_len, k_len] read the arrays back. For small sequences."""
        ...


def load_exporter(name: str) -> type[Export]:
    """Return a format by its name.

    Raises:
        TableError: No format has this name.
    """
    kind = "export format"
    exporter: type[Export] = load_plugin(EXPORTERS, name, kind=kind, error=TableError)
    return exporter


def save_export(path: Path, table: BlockTable, name: str, **options: str) -> Export:
    """Convert a table and write its arrays, with a `header` that describes them.

    Args:
        path: An npz file, written whole or not at all.
        table: The table.
        name: The format.
        **options: Further arguments of the format's `of`.

    Returns:
        The converted table.

    Raises:
        TableError: There is no such format or option, the format cannot express the table, or the
            file cannot be written.
    """
    exporter = load_exporter(name)
    known = signature(exporter.of).parameters
    if unknown := sorted(options.keys() - known):
        hint = ": it keeps partial blocks" if unknown == ["partial"] else ""
        raise TableError(f"the format {name} takes no {' and no '.join(unknown)}{hint}")
    export = exporter.of(table, **options)
    header = table.header(
        f"radialbench block table as {name}",
        added_pairs=getattr(export, "added_pairs", 0),
        q_len=table.q_len,
        k_len=table.k_len,
    )
    # Our own format has a header of its own.
    arrays: dict[str, NDArray[np.generic]] = {"header": header} | export.arrays()
    write_arrays(path, arrays)
    return export


Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

Partial: TypeAlias = Literal["refuse", "full"]


@dataclass(frozen=True, eq=False)
class BlockLists:
    """Lists of partial and of full blocks, and a lookup of the pairs in partial ones.

    Memory grows with rows × columns, as these formats require.

    Attributes:
        names: Names of the four lists in the other library.
        partial_counts: [1, 1, rows] int32, partial blocks of a row.
        partial_indices: [1, 1, rows, columns] int32, their key blocks first, then zeros.
        full_counts: [1, 1, rows] int32, full blocks of a row.
        full_indices: [1, 1, rows, columns] int32, their key blocks first, then zeros.
        bitmap_at: [rows, columns] int32, the bitmap of each block. The last two bitmaps are of
            absent and of full blocks.
        bits: [bitmaps, block_m, ⌈block_n / 32⌉] int32; bit b of word w is key 32·w + b.
        block_size: Query and key tokens of a block.
        q_len: Query tokens.
        k_len: Key tokens.
    """

    keeps_partial: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]]

    partial_counts: Int32
    partial_indices: Int32
    full_counts: Int32
    full_indices: Int32
    bitmap_at: Int32
    bits: Int32
    block_size: tuple[int, int]
    q_len: int
    k_len: int

    @classmethod
    def of(cls, table: BlockTable) -> Self:
        """Convert a table."""
        distinct = len(table.bitmaps)
        extra = np.zeros((2, *table.bitmaps.shape[1:]), np.uint32)
        extra[1] = 0xFFFFFFFF
        bitmap_at = np.full((table.rows, table.columns), distinct, np.int32)
        bitmap_at[table.full.rows, table.full.indices] = distinct + 1
        bitmap_at[table.partial.rows, table.partial.indices] = table.bitmap_of
        return cls(
            *padded_rows(table.partial, table.columns),
            *padded_rows(table.full, table.columns),
            bitmap_at,
            np.concatenate([table.bitmaps, extra]).view(np.int32),
            block_size=(table.block_m, table.block_n),
            q_len=table.q_len,
            k_len=table.k_len,
        )

    def block_arrays(self) -> dict[str, Int32]:
        """Return the four lists under the names they have in the other library, in its order."""
        lists = (self.partial_counts, self.partial_indices, self.full_counts, self.full_indices)
        return dict(zip(self.names, lists, strict=True))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the lists, and the two arrays that a `mask_mod` reads."""
        return {**self.block_arrays(), "bitmap_at": self.bitmap_at, "bits": self.bits}

    def token_mask(self) -> Bool:
        """[q_len, k_len] read the arrays back as the other library does. For small sequences."""
        query, key = np.arange(self.q_len)[:, None], np.arange(self.k_len)
        attends = mask_mod(self.bitmap_at, self.bits, *self.block_size)
        allowed: Bool = attends(0, 0, query, key)
        partial = _listed(self.partial_counts, self.partial_indices)
        full = _listed(self.full_counts, self.full_indices)
        sizes = (*self.block_size, self.q_len, self.k_len)
        return (allowed & pairs_of(partial, *sizes)) | pairs_of(full, *sizes)


def pairs_of(blocks: Bool, block_m: int, block_n: int, q_len: int, k_len: int) -> Bool:
    """[q_len, k_len] the pairs of some blocks."""
    return blocks.repeat(block_m, axis=0).repeat(block_n, axis=1)[:q_len, :k_len]


def whole_blocks(table: BlockTable, partial: Partial, format_name: str) -> tuple[Bool, int]:
    """Return the blocks of a table for a format without partial blocks.

    Args:
        table: The table.
        partial: `full` attends partial blocks whole, `refuse` is an error if there are any.
        format_name: For the message.

    Returns:
        [rows, columns] the blocks, and the pairs they attend beyond the table's.

    Raises:
        TableError: There are partial blocks, and `partial` is `refuse`.
    """
    lengths = table.row_lengths[table.partial.rows], table.column_lengths[table.partial.indices]
    full_area = table.row_lengths[table.full.rows] @ table.column_lengths[table.full.indices]
    added = int(full_area) + int(lengths[0] @ lengths[1]) - table.pairs
    if table.partial.nnz and partial != "full":
        raise TableError(
            f"{format_name} has no partial blocks, and {table.label} has "
            f"{table.partial.nnz:,} of them; partial='full' (--fill-partial) attends them whole, "
            f"which adds {added:,} pairs to {table.pairs:,}"
        )
    return table.any_blocks(), added


def mask_mod(bitmap_at: Any, bits: Any, block_m: int, block_n: int) -> Callable[..., Any]:
    """Return a function (batch, head, query, key) -> bool over arrays or tensors."""

    def attends(batch: Any, head: Any, query: Any, key: Any) -> Any:
        bitmap = bitmap_at[query // block_m, key // block_n]
        word = bits[bitmap, query % block_m, key % block_n // 32]
        return (word >> (key % block_n % 32)) & 1 == 1

    return attends


def padded_rows(csr: Csr, columns: int) -> tuple[Int32, Int32]:
    """Return the counts [1, 1, rows] and the indices [1, 1, rows, columns], padded with 0."""
    counts = np.diff(csr.indptr)
    indices = np.zeros((len(counts), columns), np.int32)
    indices[csr.rows, np.arange(csr.nnz) - np.repeat(csr.indptr[:-1], counts)] = csr.indices
    return counts.astype(np.int32)[None, None], indices[None, None]


def _listed(counts: Int32, indices: Int32) -> Bool:
    """[rows, columns] the blocks that the lists of `padded_rows` name."""
    rows, places = np.nonzero(np.arange(indices.shape[3]) < counts[0, 0, :, None])
    blocks = np.zeros(indices.shape[2:], np.bool_)
    blocks[rows, indices[0, 0, rows, places]] = True
    return blocks
