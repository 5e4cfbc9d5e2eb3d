"""What the backends of other people's libraries share: is it installed, does the table fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from radialbench.errors import BackendError
from radialbench.kernels.defaults import capability
from radialbench.maskgen.table import BlockTable


def package_reasons(package: str) -> list[str]:
    """Say what to install, if a distribution is not here."""
    return [] if _version(package) else [f"needs {package}: pip install {package}"]


def hopper_reasons(device: str) -> list[str]:
    """Say that a GPU of compute capability 9.0 is needed, if the device is something else."""
    found = capability(device)
    if found == (9, 0):
        return []
    shown = f"{found[0]}.{found[1]} ({device})" if found else device
    return [f"needs a GPU of compute capability 9.0, got {shown}"]


def describe(package: str) -> str:
    """Name a distribution and its version."""
    return f"{package} {_version(package) or '(not installed)'}"


@contextmanager
def loading(package: str) -> Iterator[None]:
    """Import from a distribution that is here, and say so if that fails.

    Raises:
        BackendError: An import fails: another version was built for it, or a part is missing.
    """
    try:
        yield
    except ImportError as error:
        raise BackendError(
            f"{describe(package)} does not load beside torch {version('torch')}: "
            f"{str(error).rpartition('/')[2]}; install it again with all that it needs"
        ) from None


def check_whole_blocks(name: str, table: BlockTable) -> None:
    """Refuse what a kernel that reads every block whole would get wrong.

    Raises:
        BackendError: A block is partial, the last one is short, or a query has no block.
    """
    if table.partial.nnz:
        raise BackendError(
            f"backend {name!r} computes whole blocks only, but {table.partial.nnz:,} of the "
            f"table's {table.nnz:,} blocks are partial; use a mask that is made of blocks of "
            f"{table.block_m}×{table.block_n}"
        )
    for side, block in (("query", table.block_m), ("key", table.block_n)):
        if table.seq_len % block:
            raise BackendError(
                f"backend {name!r} takes sequences of whole blocks, and {table.seq_len:,} tokens "
                f"are not a multiple of {block} {side} tokens"
            )
    empty = np.flatnonzero(np.diff(table.full.indptr) == 0)
    if len(empty):
        raise BackendError(
            f"backend {name!r} needs a block in every row, and {len(empty):,} of "
            f"{table.rows:,} rows have none, the first is {empty[0]}"
        )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
