"""A report as files: report.html, report.md with its pictures, report.csv, PNG and SVG charts."""

from pathlib import Path

from radialbench.errors import ReportError
from radialbench.reports.charts import charts
from radialbench.reports.formats import csv, markdown
from radialbench.reports.formats.html import render as page
from radialbench.reports.masks import draw_masks
from radialbench.reports.summary import Summary

PAGE = "report.html"


def write_report(summary: Summary, folder: Path) -> list[Path]:
    """Write a report, and give its files, report.md first.

    Files of an earlier report are written over.

    Raises:
        ReportError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _written(summary, folder)
    except OSError as error:
        raise ReportError(
            f"cannot write the report to {folder}: {error.strerror or error}; "
            "choose another folder with --out"
        ) from None


def write_page(summary: Summary, path: Path) -> None:
    """Write the report as one HTML page, and nothing else.

    Raises:
        ReportError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(summary), encoding="utf-8")
    except OSError as error:
        raise ReportError(
            f"cannot write the report to {path}: {error.strerror or error}; "
            "choose another file with --out"
        ) from None


def _written(summary: Summary, folder: Path) -> list[Path]:
    files: list[Path] = []
    pictures: dict[str, str] = {}
    for name, caption, png, svg in charts(summary):
        for suffix, content in ((".png", png), (".svg", svg)):
            files.append(folder / f"{name}{suffix}")
            files[-1].write_bytes(content)
        pictures[f"{name}.png"] = caption
    if drawn := draw_masks(summary.rows, folder):
        path, caption = drawn
        files.append(path)
        pictures[path.name] = caption
    texts = {
        "report.md": markdown.render(summary, pictures=pictures),
        "report.csv": csv.render(summary),
        PAGE: page(summary),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts] + files
