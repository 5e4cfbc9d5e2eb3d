"""Arrays in npz files: checked when read, never half written."""

import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError

MAX_BYTES = 8 << 30
"""A file whose arrays are larger is refused: no table for 2^31 tokens of video comes close."""

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


def read_arrays(path: str | Path, names: Iterable[str]) -> dict[str, NDArray[np.generic]]:
    """Read arrays of an npz file; those that are missing are left out.

    Raises:
        TableError: The file is missing, damaged, foreign or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise TableError(
                f"cannot read {path}: its arrays take {size:,} bytes, and {MAX_BYTES:,} is the most"
            )
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file}
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise TableError(f"cannot read {path}: not an npz file, or damaged ({error})") from error


def write_arrays(target: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write an npz file, whole or not at all.

    Raises:
        TableError: It cannot be written.
    """
    try:
        _replace(target, arrays)
    except OSError as error:
        raise TableError(f"cannot write {target}: {error.strerror or error}") from error


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
