"""Block tables in other libraries' formats, as NumPy arrays under the names they have there.

Each format's file holds one class: `of(table)` converts, `arrays()` gives the arrays by name, and
`token_mask()` reads them back the way the other library does.
"""

from inspect import signature
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError, load_plugin
from radialbench.maskgen.npz import write_arrays
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
        """Return the arrays under the names they have in the other library."""
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


def save_export(path: Path, table: BlockTable, name: str, **options: str) -> Export:
    """Convert a table and write its arrays, beside a `header` that says what they are of.

    Args:
        path: An npz file; whoever reads it sees the old one or the new one, never a part.
        table: The table.
        name: The format.
        **options: What else the format's `of` takes.

    Returns:
        What was written.

    Raises:
        TableError: There is no such format or option, it cannot say what the table says, or the
            file cannot be written.
    """
    exporter = load_exporter(name)
    known = signature(exporter.of).parameters
    if strange := sorted(options.keys() - known):
        hint = ": it keeps partial blocks" if strange == ["partial"] else ""
        raise TableError(f"the format {name} takes no {' and no '.join(strange)}{hint}")
    export = exporter.of(table, **options)
    facts = {"added_pairs": getattr(export, "added_pairs", 0), "seq_len": table.seq_len}
    header = table.header(f"radialbench block table as {name}", **facts)
    # Our own format has a header of its own.
    arrays: dict[str, NDArray[np.generic]] = {"header": header} | export.arrays()
    write_arrays(path, arrays)
    return export
