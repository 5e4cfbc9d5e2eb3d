"""save_export: a block table in another library's format, as a file of NumPy's."""

from inspect import signature
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radialbench.errors import TableError
from radialbench.maskgen.export import Export, load_exporter
from radialbench.maskgen.export.npz import header_of, write_arrays
from radialbench.maskgen.table import BlockTable


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
    header = header_of(table, f"radialbench block table as {name}", **facts)
    # Our own format has a header of its own.
    arrays: dict[str, NDArray[np.generic]] = {"header": header} | export.arrays()
    write_arrays(path, arrays)
    return export
