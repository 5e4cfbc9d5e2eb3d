"""Records as a Parquet file, a row each, for those who bring their own tools."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

from radialbench.errors import ReportError
from radialbench.records.codec import to_dict
from radialbench.records.result import Record


def parquet_bytes(records: Iterable[Record]) -> bytes:
    """Give the file's contents.

    A key within a key is a column `problem.seq_len`; samples are a list in one cell; what a record
    does not have is null. `mask.label`, `group`,
    `problem.seq_len` and `timing.median_ms` are added.

    Raises:
        ReportError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ReportError("Parquet needs pyarrow, which is not here: pip install pyarrow") from None
    file = BytesIO()
    parquet.write_table(pyarrow.table(columns(records)), file)
    return file.getvalue()


def columns(records: Iterable[Record]) -> dict[str, list[Any]]:
    """Give the columns by name, each with one entry a record."""
    rows = [_row(record) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _row(record: Record) -> dict[str, Any]:
    row = dict(_flat("", to_dict(record)))
    row["mask.label"], row["group"] = record.mask.label, record.group
    row["problem.seq_len"] = record.problem.seq_len
    if record.timing:
        row["timing.median_ms"] = record.timing.median_ms
    return row


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(f"{name}.{key}" if name else key, inner)
