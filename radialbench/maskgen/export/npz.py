"""The format of `BlockTable.save`."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from radialbench.maskgen.table import BlockTable


@dataclass(frozen=True, eq=False)
class Npz:
    """The arrays of a file.

    Attributes:
        content: `header`, and the arrays of a table.
    """

    keeps_partial: ClassVar[bool] = True

    content: dict[str, NDArray[np.generic]]

    @classmethod
    def of(cls, table: BlockTable) -> Self:
        """Convert a table."""
        return cls(table.content())

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by their names in the file."""
        return self.content

    def token_mask(self) -> NDArray[np.bool_]:
        """[q_len, k_len] read the arrays back. For small sequences."""
        return BlockTable.from_content(self.content).to_dense()
