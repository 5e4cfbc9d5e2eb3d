"""A report as files: report.html, report.md with its pictures, report.csv, charts, Parquet."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from radialbench.errors import ReportError
from radialbench.plain import utf8
from radialbench.records.codec import to_dict
from radialbench.records.store import write_errors
from radialbench.reports.charts import charts
from radialbench.reports.formats import csv, markdown
from radialbench.reports.masks import draw_masks, mask_folders
from radialbench.reports.page.assemble import page
from radialbench.reports.summary import Summary
from radialbench.writing import write_files

PAGE = "report.html"


def write_report(summary: Summary, folder: Path) -> list[Path]:
    """Write a report and return its files, report.md first; those of an earlier one are replaced.

    Raises:
        ReportError: The folder cannot be written to.
        WriteError: The disk is full.
    """
    hint = "choose another folder with --out"
    with write_errors(f"the report to {folder}", hint, ReportError):
        folder.mkdir(parents=True, exist_ok=True)
        return _write_files(summary, folder)


def write_page(summary: Summary, path: Path) -> None:
    """Write the report as one HTML page, and nothing else.

    Raises:
        ReportError: The file cannot be written.
        WriteError: The disk is full.
    """
    with write_errors(f"the report to {path}", "choose another file with --out", ReportError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_files({path: utf8(page(summary)).encode()})


def write_parquet(summary: Summary, path: Path) -> None:
    """Write `parquet_bytes` to a file.

    Raises:
        ReportError: The file cannot be written, or pyarrow is not installed.
        WriteError: The disk is full.
    """
    content = parquet_bytes(summary)
    with write_errors(f"the report to {path}", "choose another file with --out", ReportError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_files({path: content})


def _write_files(summary: Summary, folder: Path) -> list[Path]:
    files: dict[Path, bytes] = {}
    drawings: list[Path] = []
    pictures: dict[str, str] = {}
    for name, caption, png, svg in charts(summary):
        files |= {folder / f"{name}.png": png, folder / f"{name}.svg": svg}
        pictures[f"{name}.png"] = caption
    if drawn := draw_masks(summary.rows, folder, mask_folders(summary.source, summary.rows)):
        path, caption = drawn
        drawings.append(path)
        pictures[path.name] = caption
    texts = {
        "report.md": markdown.render(summary, pictures=pictures),
        "report.csv": csv.render(summary),
        PAGE: page(summary),
    }
    documents = {folder / name: utf8(text).encode() for name, text in texts.items()}
    write_files(documents | files)
    return [*documents, *files, *drawings]


STORED = "record"
"""Prefix of the columns that hold a record as it is stored."""


def parquet_bytes(summary: Summary) -> bytes:
    """Return the contents of a file with the columns of `Summary.frame()`, and the records.

    A key within a key of a record is a column such as `record.problem.heads`, samples are a list
    in one cell, a mask's parameters JSON in one, and what a record does not have is null.

    Raises:
        ReportError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ReportError("Parquet needs pyarrow, which is not here: pip install pyarrow") from None
    table = pyarrow.Table.from_pandas(summary.frame(), preserve_index=False)
    stored = []
    for row in summary.rows:
        document = to_dict(row.record)
        # Parameters of several masks have no types in common.
        document["mask"]["params"] = json.dumps(document["mask"]["params"])
        stored.append(dict(_flat(STORED, document)))
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
