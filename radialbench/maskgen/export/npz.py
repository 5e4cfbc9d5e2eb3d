"""Block tables as npz files: versioned, checked when read, never half written."""

import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from radialbench.errors import RadialBenchError, TableError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import BlockTable, Csr

FORMAT = "radialbench block table"
VERSION = 2
"""1: header (JSON as bytes) and the six arrays of `ARRAYS`. 2: the mask in fields, not as text."""

MAX_BYTES = 8 << 30
"""A file whose arrays are larger is refused: no table for 2^31 tokens of video comes close."""

ARRAYS: dict[str, tuple[type[np.generic], int]] = {
    "full_indptr": (np.int64, 1),
    "full_indices": (np.int32, 1),
    "partial_indptr": (np.int64, 1),
    "partial_indices": (np.int32, 1),
    "bitmap_of": (np.int32, 1),
    "bitmaps": (np.uint32, 3),
}
"""Type and dimensions of each array."""

_DAMAGE = (
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Npz:
    """The arrays of a file.

    Attributes:
        content: `header` and the arrays of `ARRAYS`.
    """

    keeps_partial: ClassVar[bool] = True

    content: dict[str, NDArray[np.generic]]

    @classmethod
    def of(cls, table: BlockTable) -> Self:
        """Take a table apart."""
        arrays: dict[str, NDArray[np.generic]] = {
            "full_indptr": table.full.indptr,
            "full_indices": table.full.indices,
            "partial_indptr": table.partial.indptr,
            "partial_indices": table.partial.indices,
            "bitmap_of": table.bitmap_of,
            "bitmaps": table.bitmaps,
        }
        return cls({"header": header_of(table, FORMAT), **arrays})

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Give the arrays by their names in the file."""
        return self.content

    def token_mask(self) -> NDArray[np.bool_]:
        """[seq_len, seq_len] read the arrays back. For small sequences."""
        return self.table().to_dense()

    def table(self) -> BlockTable:
        """Put the table together again.

        Raises:
            TableError: The arrays are not a table of this version, or were changed.
        """
        header = self._header()
        for name, (dtype, dimensions) in ARRAYS.items():
            array = self.content.get(name)
            if array is None or array.dtype != dtype or array.ndim != dimensions:
                found = "nothing" if array is None else f"{array.dtype} of {array.ndim} dimensions"
                raise TableError(
                    f"{name} must be {np.dtype(dtype)} of {dimensions} dimensions, got {found}"
                )
        part: dict[str, Any] = self.content
        try:
            table = BlockTable(
                grid=TokenGrid(**header["grid"]),
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

    def _header(self) -> dict[str, Any]:
        raw = self.content.get("header", np.zeros(0, np.uint8))
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


def header_of(table: BlockTable, format_name: str, **facts: object) -> NDArray[np.uint8]:
    """Say what arrays are of, as the bytes of a JSON object.

    Args:
        table: Where they come from.
        format_name: What they are.
        **facts: What else there is to say.
    """
    header = {
        "format": format_name,
        "version": VERSION,
        "grid": asdict(table.grid),
        "order": str(table.order),
        "block_m": table.block_m,
        "block_n": table.block_n,
        "mask": None if table.mask is None else asdict(table.mask),
        "fingerprint": table.fingerprint,
    }
    return np.frombuffer(json.dumps(header | facts).encode(), np.uint8)


def save_table(table: BlockTable, path: str | Path) -> None:
    """Write a table; whoever reads the path sees the old file or the new one, never a part.

    Raises:
        TableError: The file cannot be written.
    """
    write_arrays(Path(path), Npz.of(table).arrays())


def write_arrays(target: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write an npz file, whole or not at all.

    Raises:
        TableError: It cannot be written.
    """
    try:
        _replace(target, arrays)
    except OSError as error:
        raise TableError(f"cannot write {target}: {error.strerror or error}") from error


def load_table(path: str | Path) -> BlockTable:
    """Read what `save_table` wrote.

    Raises:
        TableError: The file is missing, damaged, foreign, too large, or of another version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise TableError(f"its arrays take {size:,} bytes, and {MAX_BYTES:,} is the most")
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in ("header", *ARRAYS) if name in file}
        return Npz(content).table()
    except RadialBenchError as error:
        raise TableError(f"cannot read {path}: {error}") from error
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise TableError(f"cannot read {path}: not an npz file, or damaged ({error})") from error


def _replace(target: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
