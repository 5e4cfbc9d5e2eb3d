"""BlockTable: the blocks of a sparse attention mask that a kernel visits."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from radialbench.errors import RadialBenchError, TableError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.order import TokenOrder
from radialbench.reading import check_fits, check_regular
from radialbench.writing import replacement

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

FORMAT = "radialbench block table"

VERSION = 2
"""1: header (JSON as bytes) and the six arrays of `ARRAYS`. 2: the mask in fields, not as text."""

ARRAYS: dict[str, tuple[type[np.generic], int]] = {
    "full_indptr": (np.int64, 1),
    "full_indices": (np.int32, 1),
    "partial_indptr": (np.int64, 1),
    "partial_indices": (np.int32, 1),
    "bitmap_of": (np.int32, 1),
    "bitmaps": (np.uint32, 3),
}
"""Type and dimensions of each array."""


@dataclass(frozen=True, eq=False)
class Csr:
    """Column indices of each row, row by row.

    With rows {0: [2, 5], 1: [], 2: [0]}, `indptr` is [0, 2, 2, 3] and `indices` is [2, 5, 0].

    Attributes:
        indptr: [rows + 1] int64; row r owns `indices[indptr[r]:indptr[r + 1]]`.
        indices: [nnz] int32, ascending within a row.
    """

    indptr: Int64
    indices: Int32

    @property
    def nnz(self) -> int:
        """Entries in all rows."""
        return len(self.indices)

    @property
    def rows(self) -> Int64:
        """[nnz] the row of each entry."""
        return np.repeat(np.arange(len(self.indptr) - 1, dtype=np.int64), np.diff(self.indptr))

    @classmethod
    def from_sorted(cls, rows: Int64, columns: Int64, row_count: int) -> "Csr":
        """Return the CSR of entries sorted by row, then column."""
        indptr = np.zeros(row_count + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=row_count), out=indptr[1:])
        return cls(indptr, columns.astype(np.int32))

    def transposed(self, column_count: int) -> tuple["Csr", Int64]:
        """Return the rows of each column, and [nnz] the entry here of each entry there.

        Those of the example, with 6 columns: `indptr` [0, 1, 1, 2, 2, 2, 3], `indices` [2, 0, 0],
        entries [2, 0, 1].
        """
        # NumPy sorts 16 bits by radix, ten times as fast.
        keys = self.indices.astype(np.uint16) if column_count <= 1 << 16 else self.indices
        entries = np.argsort(keys, kind="stable")
        columns = self.indices[entries].astype(np.int64)
        return Csr.from_sorted(columns, self.rows[entries], column_count), entries


@dataclass(frozen=True)
class Runs:
    """Runs of neighbouring full blocks of each row.

    Attributes:
        indptr: [rows + 1] int64; row r owns runs `indptr[r]` to `indptr[r + 1]`.
        start: [runs] int32, first key block.
        length: [runs] int32, key blocks in the run.
    """

    indptr: Int64
    start: Int32
    length: Int32


@dataclass(frozen=True, eq=False)
class BlockTable:
    """Which blocks of a mask are full, which are partial, and the bits of the partial ones.

    Rows are query blocks of `block_m` tokens, columns key blocks of `block_n`; there are
    ⌈q_len / block_m⌉ and ⌈k_len / block_n⌉, the last may be short. Positions count in the table's
    own `order`; those of queries count from `q_start`.

    A 5-token sequence that may look back one token, with 2×2 blocks:

    ```text
    token mask   1 . | . . | .     full      indptr [0, 0, 0, 1], indices [2]
                 1 1 | . . | .     partial   indptr [0, 1, 3, 4], indices [0, 0, 1, 1]
                 ----+-----+--     bitmap_of [0, 1, 0, 1]
                 . 1 | 1 . | .     bitmaps   0: 1.   1: .1
                 . . | 1 1 | .                  11      ..
                 ----+-----+--
                 . . | . 1 | 1     the last block is 1×1: its one pair attends, so it is full
    ```

    Attributes:
        grid: Token layout the mask was compiled for.
        order: Token order of rows and columns.
        block_m: Query tokens of a block.
        block_n: Key tokens of a block.
        full: Blocks whose every pair inside the sequence attends.
        partial: The other blocks with at least one attending pair; disjoint from `full`.
        bitmap_of: [partial.nnz] int32, index into `bitmaps`.
        bitmaps: [distinct, block_m, ⌈block_n / 32⌉] uint32; bit b of word w says whether key
            column 32·w + b attends. Bits outside the sequence are 0.
        mask: The mask it was compiled from; None for a table of another origin.
    """

    grid: TokenGrid
    order: TokenOrder
    block_m: int
    block_n: int
    full: Csr
    partial: Csr
    bitmap_of: Int32
    bitmaps: NDArray[np.uint32]
    mask: MaskIdentity | None = None

    def __post_init__(self) -> None:
        if problem := self._broken_invariant():
            raise TableError(f"not a block table: {problem}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockTable) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def label(self) -> str:
        """Name of the mask for people."""
        return self.mask.label if self.mask else "the table"

    @property
    def seq_len(self) -> int:
        """Tokens of the sequence."""
        return self.grid.seq_len

    @property
    def q_len(self) -> int:
        """Query tokens: all, or those of the grid's query frames."""
        return self.grid.q_len

    @property
    def k_len(self) -> int:
        """Key tokens: those of the sequence."""
        return self.seq_len

    @property
    def q_start(self) -> int:
        """Position of the first query token among the keys."""
        return self.order.query_range(self.grid)[0]

    @property
    def rows(self) -> int:
        """Query blocks."""
        return -(-self.q_len // self.block_m)

    @property
    def columns(self) -> int:
        """Key blocks."""
        return -(-self.k_len // self.block_n)

    @property
    def nnz(self) -> int:
        """Blocks a kernel visits: full and partial."""
        return self.full.nnz + self.partial.nnz

    @property
    def row_lengths(self) -> Int64:
        """[rows] tokens of each query block inside the sequence."""
        return block_lengths(self.q_len, self.block_m)

    @property
    def column_lengths(self) -> Int64:
        """[columns] tokens of each key block inside the sequence."""
        return block_lengths(self.k_len, self.block_n)

    @cached_property
    def pairs(self) -> int:
        """Attending (query, key) pairs, exactly."""
        areas = self.row_lengths[self.full.rows] * self.column_lengths[self.full.indices]
        bits = np.bitwise_count(self.bitmaps).sum(axis=(1, 2), dtype=np.int64)
        return int(areas.sum()) + int(bits[self.bitmap_of].sum())

    @property
    def density(self) -> float:
        """Attending pairs as a share of all pairs."""
        return self.pairs / (self.q_len * self.k_len)

    @property
    def block_density(self) -> float:
        """Visited blocks as a share of all blocks."""
        return self.nnz / (self.rows * self.columns)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    @property
    def runs(self) -> Runs:
        """Full blocks as runs of neighbours."""
        rows, columns = self.full.rows, self.full.indices
        joins = np.zeros(len(columns), np.bool_)
        joins[1:] = (rows[1:] == rows[:-1]) & (columns[1:] == columns[:-1] + 1)
        first = np.flatnonzero(~joins)
        length = np.diff(np.append(first, len(columns)))
        indptr = np.searchsorted(first, self.full.indptr)
        return Runs(indptr, columns[first], length.astype(np.int32))

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of everything but the mask's identity; equal tables have equal ones."""
        header = f"{self.grid}|{self.order}|{self.block_m}|{self.block_n}"
        digest = hashlib.blake2b(header.encode(), digest_size=8)
        for array in self._arrays().values():
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def flops(self, heads: int, head_dim: int) -> int:
        """Return the floating point operations of the mask: 4·heads·head_dim·pairs."""
        return 4 * heads * head_dim * self.pairs

    def executed_flops(self, heads: int, head_dim: int) -> int:
        """Return the floating point operations of the visited blocks, computed whole."""
        return 4 * heads * head_dim * self.nnz * self.block_m * self.block_n

    def transpose(self) -> "BlockTable":
        """Swap queries and keys, for a backward pass.

        Raises:
            TableError: Only some of the tokens are queries: a table has all tokens as keys.
        """
        if self.q_len != self.k_len:
            raise TableError(
                f"a table of {self.q_len:,} queries and {self.k_len:,} keys cannot be transposed: "
                "all tokens are keys in a table"
            )
        full, _ = _transposed(self.full, self.columns)
        partial, origin = _transposed(self.partial, self.columns)
        return replace(
            self,
            block_m=self.block_n,
            block_n=self.block_m,
            full=full,
            partial=partial,
            bitmap_of=self.bitmap_of[origin],
            bitmaps=pack_bits(self.unpacked_bitmaps().transpose(0, 2, 1)),
        )

    def any_blocks(self) -> Bool:
        """[rows, columns] whether a block has an attending pair."""
        grid = self.full_blocks()
        grid[self.partial.rows, self.partial.indices] = True
        return grid

    def full_blocks(self) -> Bool:
        """[rows, columns] whether every pair of a block attends."""
        grid = np.zeros((self.rows, self.columns), np.bool_)
        grid[self.full.rows, self.full.indices] = True
        return grid

    def to_dense(self) -> Bool:
        """[q_len, k_len] the token mask, in the table's order. For small sequences."""
        block_m, block_n = self.block_m, self.block_n
        dense = np.zeros((self.rows, block_m, self.columns, block_n), np.bool_)
        dense[self.full.rows, :, self.full.indices] = True
        bits = self.unpacked_bitmaps()[self.bitmap_of]
        dense[self.partial.rows, :, self.partial.indices] = bits
        whole = dense.reshape(self.rows * block_m, self.columns * block_n)
        return whole[: self.q_len, : self.k_len].copy()

    def unpacked_bitmaps(self) -> Bool:
        """[distinct, block_m, block_n] the bits of the partial blocks."""
        return unpack_bits(self.bitmaps, self.block_n)

    def __repr__(self) -> str:
        whose = self.mask.label if self.mask else "blocks"
        return (
            f"<BlockTable of {whose} on {self.grid.label}: {self.full.nnz:,} full and "
            f"{self.partial.nnz:,} partial blocks of {self.block_m}×{self.block_n}>"
        )

    def _repr_html_(self) -> str:
        from radialbench.maskgen.describe import table_html

        return table_html(self)

    def header(self, format_name: str = FORMAT, **facts: object) -> NDArray[np.uint8]:
        """Describe arrays of a format, with further facts, as the bytes of a JSON object."""
        header = {
            "format": format_name,
            "version": VERSION,
            "grid": asdict(self.grid),
            "order": str(self.order),
            "block_m": self.block_m,
            "block_n": self.block_n,
            "mask": None if self.mask is None else asdict(self.mask),
            "fingerprint": self.fingerprint,
        }
        return np.frombuffer(json.dumps(header | facts).encode(), np.uint8)

    def content(self) -> dict[str, NDArray[np.generic]]:
        """Return the content of a file: the header and all arrays."""
        return {"header": self.header(), **self._arrays()}

    @classmethod
    def from_content(cls, content: Mapping[str, NDArray[np.generic]]) -> "BlockTable":
        """Build a table from its `content`.

        Raises:
            TableError: The arrays are no table of this version, or were changed.
        """
        header = _header(content)
        for name, (dtype, dimensions) in ARRAYS.items():
            array = content.get(name)
            if array is None or array.dtype != dtype or array.ndim != dimensions:
                got = "nothing" if array is None else f"{array.dtype} of {array.ndim} dimensions"
                raise TableError(
                    f"{name} must be {np.dtype(dtype)} of {dimensions} dimensions, got {got}"
                )
        part: Mapping[str, Any] = content
        try:
            table = cls(
                grid=msgspec.convert(header["grid"], TokenGrid),
                order=TokenOrder.parse(header["order"]),
                block_m=header["block_m"],
                block_n=header["block_n"],
                full=Csr(part["full_indptr"], part["full_indices"]),
                partial=Csr(part["partial_indptr"], part["partial_indices"]),
                bitmap_of=part["bitmap_of"],
                bitmaps=part["bitmaps"],
                mask=msgspec.convert(header["mask"], MaskIdentity | None),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise TableError(f"the header is damaged ({error})") from error
        if table.fingerprint != header.get("fingerprint"):
            raise TableError(
                f"the content has fingerprint {table.fingerprint}, the header says "
                f"{header.get('fingerprint')}: something was changed"
            )
        return table

    def save(self, path: str | Path) -> None:
        """Write a versioned npz file, whole or not at all.

        Raises:
            TableError: The file cannot be written.
        """
        write_arrays(Path(path), self.content())

    @classmethod
    def load(cls, path: str | Path) -> "BlockTable":
        """Read a file of `save`.

        Raises:
            TableError: The file is missing, damaged, foreign, or of another version.
        """
        content = read_arrays(path, ("header", *ARRAYS))
        try:
            return cls.from_content(content)
        except RadialBenchError as error:
            raise TableError(f"cannot read {path}: {error}") from error

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "full_indptr": self.full.indptr,
            "full_indices": self.full.indices,
            "partial_indptr": self.partial.indptr,
            "partial_indices": self.partial.indices,
            "bitmap_of": self.bitmap_of,
            "bitmaps": self.bitmaps,
        }

    def _shared_blocks(self) -> bool:
        if not self.full.nnz or not self.partial.nnz:
            return False
        full, partial = (csr.rows * self.columns + csr.indices for csr in (self.full, self.partial))
        if self.rows * self.columns <= 8 * (len(full) + len(partial)):
            is_full = np.zeros(self.rows * self.columns, np.bool_)
            is_full[full] = True
            return bool(is_full[partial].any())
        # A stable sort joins two ascending runs in one pass.
        joint = np.sort(np.concatenate([full, partial]), kind="stable")
        return bool((joint[1:] == joint[:-1]).any())

    def _broken_invariant(self) -> str | None:
        if self.block_m < 1 or self.block_n < 1:
            return f"block sizes must be at least 1, got {self.block_m} and {self.block_n}"
        for name, csr in (("full", self.full), ("partial", self.partial)):
            if problem := _broken_csr(csr, self.rows, self.columns):
                return f"{name}: {problem}"
        if self._shared_blocks():
            return "a block is in full and in partial"
        if len(self.bitmap_of) != self.partial.nnz:
            return f"{self.partial.nnz} partial blocks, but {len(self.bitmap_of)} bitmap numbers"
        shape = (len(self.bitmaps), self.block_m, -(-self.block_n // 32))
        if self.bitmaps.shape != shape or self.bitmaps.dtype != np.uint32:
            return f"bitmaps must be uint32 {shape}, got {self.bitmaps.dtype} {self.bitmaps.shape}"
        used = self.bitmap_of
        if len(used) and not (used.min() >= 0 and used.max() < len(self.bitmaps)):
            return f"bitmap numbers must lie in 0 … {len(self.bitmaps) - 1}"
        return None


def pack_bits(bits: Bool) -> NDArray[np.uint32]:
    """Pack the last axis into 32-bit words, lowest bit first."""
    packed = np.packbits(bits, axis=-1, bitorder="little")
    if spare := -packed.shape[-1] % 4:
        packed = np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, spare)])
    return np.ascontiguousarray(packed).view("<u4").astype(np.uint32, copy=False)


def unpack_bits(words: NDArray[np.uint32], count: int) -> Bool:
    """Unpack the words of `pack_bits`, where the last axis had `count` bits."""
    as_bytes = np.ascontiguousarray(words.astype("<u4", copy=False)).view(np.uint8)
    return np.unpackbits(as_bytes, axis=-1, count=count, bitorder="little").view(np.bool_)


def ranges(first: Int64, count: Int64) -> tuple[Int64, Int64]:
    """Return `count[j]` neighbours from `first[j]` on, for every j: each one's j, and itself."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) + (first - np.cumsum(count) + count)[owner]


def block_lengths(tokens: int, block: int) -> Int64:
    """[blocks] tokens of each block; the last may be short."""
    lengths = np.full(-(-tokens // block), block, np.int64)
    lengths[-1] = tokens - block * (len(lengths) - 1)
    return lengths


def _header(content: Mapping[str, NDArray[np.generic]]) -> dict[str, Any]:
    raw = content.get("header", np.zeros(0, np.uint8))
    try:
        header = json.loads(raw.tobytes())
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TableError("it is not a block table")
    version = header.get("version")
    if version != VERSION:
        raise TableError(
            f"written in version {version!r}; this version reads {VERSION}: "
            "compile the mask again, or install the release that wrote the file"
        )
    return header


def _transposed(csr: Csr, columns: int) -> tuple[Csr, Int64]:
    rows, indices = csr.rows, csr.indices.astype(np.int64)
    origin = np.lexsort((rows, indices))
    return Csr.from_sorted(indices[origin], rows[origin], columns), origin


def _broken_csr(csr: Csr, rows: int, columns: int) -> str | None:
    if csr.indptr.shape != (rows + 1,):
        return f"indptr must have {rows + 1} entries, got {len(csr.indptr)}"
    if csr.indptr[0] != 0 or csr.indptr[-1] != csr.nnz or np.any(np.diff(csr.indptr) < 0):
        return "indptr must rise from 0 to the number of indices"
    if csr.nnz and not (csr.indices.min() >= 0 and csr.indices.max() < columns):
        return f"indices must lie in 0 … {columns - 1}"
    rising = np.diff(csr.indices) > 0
    row_starts = csr.indptr[1:-1]
    row_starts = row_starts[(row_starts > 0) & (row_starts < csr.nnz)]
    rising[row_starts - 1] = True
    return None if rising.all() else "indices must ascend within a row"


MAX_BYTES = 8 << 30
"""Largest size of a file's arrays; tables for 2^31 tokens of video are far smaller."""


def read_arrays(path: str | Path, names: Iterable[str]) -> dict[str, NDArray[np.generic]]:
    """Read arrays of an npz file; missing ones are left out.

    Raises:
        TableError: The file is missing, damaged, foreign or too large.
    """
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise TableError(
                f"cannot read {path}: its arrays take {size:,} bytes, and {MAX_BYTES:,} is the most"
            )
        check_fits(size, path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file}
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from error
    except TableError:
        raise
    except Exception as error:  # Damaged files make zipfile and NumPy raise almost anything.
        raise TableError(f"cannot read {path}: not an npz file, or damaged ({error})") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy hands out other content as bytes.
            raise TableError(f"cannot read {path}: {name} is no array")
    return arrays


def write_arrays(target: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write an npz file, whole or not at all.

    Raises:
        TableError: It cannot be written.
    """
    try:
        with replacement(target) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise TableError(f"cannot write {target}: {error.strerror or error}") from error
