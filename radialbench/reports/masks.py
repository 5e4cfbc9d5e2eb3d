"""The masks of a report side by side, drawn again from the library."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from radialbench.errors import RadialBenchError
from radialbench.maskgen.compiler.compile import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.spec import EMPTY_ROWS, MaskSpec
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.picture import save_pictures
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import Problem
from radialbench.reports.numbers import listed, plain
from radialbench.reports.rows import DENSE, Row

MOST_TOKENS = 25_000
"""Longest sequence to draw: its tables compile in moments, and a picture shows no more."""

MOST_TOKENS_APART = 120_000
MOST_MS = 150.0
MOST_APART = 8
"""Bounds of the masks that are drawn apart: tokens, milliseconds to compile, and how many."""

MOST_MASKS = 4
"""Masks side by side: more are too small to read."""


def known_mask(label: str, fingerprint: str) -> MaskSpec | None:
    """Find a mask of the library by its label; None unless it means what was run.

    Args:
        label: Such as `radial` or `radial(decay=0.5)`.
        fingerprint: Of the mask that was run.
    """
    found = re.fullmatch(r"(\w+)(?:\((.*)\))?", label)
    if found is None:
        return None
    try:
        spec = load_mask(found[1])
        values = dict(part.split("=") for part in (found[2] or "").split(", ") if part)
        kinds = {param.name: param.kind for param in spec.params}
        spec = spec.with_params(
            **{name: _value(text, kinds[name]) for name, text in values.items()}
        )
    except (RadialBenchError, ValueError, KeyError):
        return None
    # A label does not say what becomes of queries that attend nothing.
    meant = (replace(spec, empty_rows=choice) for choice in EMPTY_ROWS)
    return next((one for one in meant if one.fingerprint == fingerprint), None)


def _value(text: str, kind: str) -> float | bool:
    if kind == "bool":
        return {"true": True, "false": False}[text]
    return int(text) if kind == "int" else float(text)


def grid_of(problem: Problem) -> TokenGrid | None:
    """Read a grid's label back; None if it is not one."""
    size = r"(?P<frames>\d+)x(?P<height>\d+)x(?P<width>\d+)"
    text = r"(?:(?P<valid>\d+)of)?(?P<text>\d+)"
    found = re.fullmatch(rf"{size}(?:\+{text})?", problem.grid)
    first = re.fullmatch(rf"{text}\+{size}", problem.grid)
    if not (match := found or first):
        return None
    try:
        grid = TokenGrid(
            *(int(match["frames"]), int(match["height"]), int(match["width"])),
            text_tokens=int(match["text"] or 0),
            text_first=first is not None,
            text_valid=None if match["valid"] is None else int(match["valid"]),
        )
    except RadialBenchError:
        return None
    return grid if grid.seq_len == problem.seq_len else None


def drawable(rows: Sequence[Row]) -> list[tuple[str, BlockTable]]:
    """Compile the masks to draw side by side, at one length, in the order of the rows.

    Dense is left out, and what cannot be drawn: masks from a user's file, and those of another
    version of the library.
    """
    fitting = [row for row in rows if row.tokens <= MOST_TOKENS and row.table and row.mask != DENSE]
    if not fitting:
        return []
    chosen = max(fitting, key=lambda row: row.tokens)
    grid = grid_of(chosen.record.problem)
    if grid is None:
        return []
    tables: dict[str, BlockTable] = {}
    for row in fitting:
        same = row.record.problem.grid == chosen.record.problem.grid
        if same and row.mask not in tables and len(tables) < MOST_MASKS:
            spec = known_mask(row.mask, row.record.problem.mask)
            with suppress(RadialBenchError):
                tables |= {row.mask: compile_mask(spec, grid)} if spec else {}
    return list(tables.items())


def pictured(rows: Sequence[Row]) -> tuple[list[tuple[str, BlockTable]], list[str]]:
    """Compile the masks to draw apart, each at a length of its own; and name those left out.

    The record says how long compiling took, so that only what is quick is compiled again.
    """
    longest: dict[tuple[str, str], Row] = {}
    masks = dict.fromkeys(row.mask for row in rows if row.mask != DENSE)
    for row in rows:
        if row.table and row.table.compile_ms <= MOST_MS and row.tokens <= MOST_TOKENS_APART:
            key = row.mask, row.record.problem.mask
            if key not in longest or row.tokens > longest[key].tokens:
                longest[key] = row
    tables: dict[str, BlockTable] = {}
    for (mask, fingerprint), row in longest.items():
        if mask in masks and mask not in tables and len(tables) < MOST_APART:
            spec, grid = known_mask(mask, fingerprint), grid_of(row.record.problem)
            if spec and grid:
                with suppress(RadialBenchError):
                    tables[mask] = compile_mask(spec, grid)
    return list(tables.items()), [plain(mask) for mask in masks if mask not in tables]


def draw_masks(rows: Sequence[Row], folder: Path) -> tuple[Path, str] | None:
    """Draw the masks side by side; give the file and its caption, or None if none can be drawn.

    Raises:
        ReportError: The file cannot be written.
    """
    titled = drawable(rows)
    if not titled:
        return None
    path = folder / "masks.png"
    grid = titled[0][1].grid.label.replace("x", "×")
    save_pictures(path, titled, caption=f"{grid} tokens, each mask in its own token order")
    others = {plain(row.mask) for row in rows} - {DENSE} - {name for name, _ in titled}
    left = f" Not drawn: {listed(sorted(others))}." if others else ""
    names = listed([plain(name) for name, _ in titled])
    return path, f"Masks at {grid} tokens: {names}; queries down, keys across.{left}"
