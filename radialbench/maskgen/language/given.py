"""Block tables that are given to a mask when it is compiled: what they are, and their files."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import SpecError
from radialbench.plain import utf8
from radialbench.reading import check_fits, check_regular

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class GivenTable:
    """A block table given to a mask; two are equal if they have the same name and content.

    Attributes:
        name: Its name in the mask.
        digest: Hash of its content.
        file: File it was read from; None for an array.
        blocks: [blocks, blocks] whether a block of queries attends a block of keys. Read-only.
    """

    name: str
    digest: str
    file: str | None = field(compare=False)
    blocks: Bool = field(compare=False, repr=False)

    @classmethod
    def of(cls, name: str, blocks: Any, file: str | None = None) -> "GivenTable":
        """Copy an array."""
        kept = np.array(blocks)
        kept.setflags(write=False)
        digest = hashlib.blake2b(f"{kept.dtype}{kept.shape}".encode(), digest_size=8)
        digest.update(np.ascontiguousarray(kept).data)
        return cls(name, digest.hexdigest(), file, kept)

    @property
    def source(self) -> str:
        """Name of its content for people: the file, or the start of the hash."""
        return utf8(self.file) if self.file else self.digest[:8]

    def blocks_for(self, tokens: int, block: int) -> Bool:
        """Return the blocks for a sequence.

        Raises:
            SpecError: They are not booleans, or not as many as the sequence has.
        """
        count = -(-tokens // block)
        if self.blocks.shape != (count, count) or self.blocks.dtype != np.bool_:
            origin = f" ({self.file})" if self.file else ""
            hint = "; convert it with .astype(bool)" if self.blocks.shape == (count, count) else ""
            raise SpecError(
                f"table {self.name!r}{origin} must be bool [{count}, {count}] (blocks of {block} "
                f"tokens), got {self.blocks.dtype} {list(self.blocks.shape)}{hint}"
            )
        return self.blocks


def find_blocks(tables: Mapping[str, GivenTable], name: str, tokens: int, block: int) -> Bool:
    """Return the blocks of a table for a sequence.

    Raises:
        SpecError: It was not given, or its blocks do not fit.
    """
    if name not in tables:
        count = -(-tokens // block)
        raise SpecError(
            f"needs the table {name!r}, bool [{count}, {count}] (blocks of {block} tokens): give "
            f"it as tables={{{name!r}: …}} or --table {name}=FILE.npy, in a suite as tables "
            "beside the name"
        )
    return tables[name].blocks_for(tokens, block)


def read_tables(files: Mapping[str, str], folder: Path = Path()) -> dict[str, GivenTable]:
    """Read block tables from npy files, given by name; a path starts at the folder.

    Raises:
        SpecError: A file is missing, or holds no array.
    """
    return {name: _read(name, file, folder / file) for name, file in files.items()}


def _read(name: str, file: str, path: Path) -> GivenTable:
    try:
        check_fits(check_regular(path).st_size, path)
        blocks = np.load(path, allow_pickle=False)
    except OSError as error:
        raise SpecError(f"cannot read table {name!r}: {file}: {error.strerror or error}") from None
    except Exception:  # Damaged files make NumPy raise almost anything.
        blocks = None
    if not isinstance(blocks, np.ndarray):
        raise SpecError(
            f"cannot read table {name!r}: {file} is no npy file with an array of booleans; write "
            "one with numpy.save"
        )
    return GivenTable.of(name, blocks, file)
