"""Block tables in other libraries' formats, as NumPy arrays under the names they have there.

Each format's file holds one class: `of(table)` converts, `arrays()` gives the arrays by name, and
`token_mask()` reads them back the way the other library does.
"""

from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError, load_plugin
from radialbench.maskgen.table import BlockTable

EXPORTERS: dict[str, str] = {
    "bsr": "radialbench.maskgen.export.bsr:Bsr",
    "fa4": "radialbench.maskgen.export.fa4:Fa4",
    "flex": "radialbench.maskgen.export.flex:Flex",
    "npz": "radialbench.maskgen.export.npz:Npz",
    "sparge": "radialbench.maskgen.export.sparge:Sparge",
}
"""Where each format lives; its file is imported when it is asked for."""


class Export(Protocol):
    """A block table in the format of another library.

    Attributes:
        keeps_partial: Whether the format has partial blocks. `of` of one that has not takes
            `partial="full"`, to attend partial blocks whole; without it they are a TableError.
    """

    keeps_partial: ClassVar[bool]

    @classmethod
    def of(cls, table: BlockTable) -> Self:
        """Convert a table.

        Raises:
            TableError: The format cannot say what the table says.
        """
        ...

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Give the arrays under the names they have in the other library."""
        ...

    def token_mask(self) -> NDArray[np.bool_]:
        """[seq_len, seq_len] read the arrays back. For small sequences."""
        ...


def load_exporter(name: str) -> type[Export]:
    """Find a format by name.

    Raises:
        TableError: No format has this name.
    """
    kind = "export format"
    exporter: type[Export] = load_plugin(EXPORTERS, name, kind=kind, error=TableError)
    return exporter
