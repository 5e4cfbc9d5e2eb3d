"""Which files are read: those that have an end, and content that fits into memory."""

import errno
import os
import stat
from pathlib import Path

from radialbench.machine import free_memory
from radialbench.writing import check_path

KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

ALWAYS_FITS = 64 << 20
"""Bytes that are read whatever memory is free."""


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path leads into a folder; one that no file can have does not."""
    return "\0" not in str(path) and path.resolve().is_relative_to(folder.resolve())


def check_regular(path: str | Path) -> os.stat_result:
    """Refuse pipes and devices, of which nobody knows whether they end, and return a file's facts.

    Raises:
        OSError: The path leads to one of those, or to nothing.
    """
    check_path(path)
    facts = Path(path).stat()
    for is_kind, name in KINDS:
        if is_kind(facts.st_mode):
            raise OSError(errno.EINVAL, f"it is {name}, and only files are read", str(path))
    return facts


def check_fits(size: int, path: str | Path) -> None:
    """Refuse content that is larger than the memory that is free.

    Args:
        size: Its bytes.
        path: Where it would be read from.

    Raises:
        OSError: It is larger.
    """
    free = free_memory() if size > ALWAYS_FITS else None
    if free is not None and size > free:
        raise OSError(
            errno.ENOMEM, f"it holds {size:,} bytes, and {free:,} of memory are free", str(path)
        )


def read_whole(path: Path) -> bytes:
    """Read a file.

    Raises:
        OSError: It cannot be read, is none, or does not fit into memory.
    """
    check_fits(check_regular(path).st_size, path)
    return path.read_bytes()
