"""Results as a Parquet file, a row a case, for those who bring their own tools."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from radialbench.errors import ReportError
from radialbench.records.codec import to_dict
from radialbench.reports.summary import Summary

STORED = "record"
"""What the names of columns begin with that hold a record as it is stored."""


def parquet_bytes(summary: Summary) -> bytes:
    """Return the contents of a file with the columns of `Summary.frame()`, and the records.

    A key within a key of a record is a column such as `record.problem.heads`, samples are a list
    in one cell, and what a record does not have is null.

    Raises:
        ReportError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ReportError("Parquet needs pyarrow, which is not here: pip install pyarrow") from None
    table = pyarrow.Table.from_pandas(summary.frame(), preserve_index=False)
    stored = [dict(_flat(STORED, to_dict(row.record))) for row in summary.rows]
    for name in dict.fromkeys(name for record in stored for name in record):
        table = table.append_column(name, pyarrow.array([record.get(name) for record in stored]))
    file = BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, inner in value.items():
        yield from _flat(f"{name}.{key}", inner)
