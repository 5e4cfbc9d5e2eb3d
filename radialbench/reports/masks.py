"""The masks of a report side by side, drawn again from the library."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from radialbench.errors import RadialBenchError
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import load_mask, mask_names
from radialbench.maskgen.picture import save_pictures
from radialbench.maskgen.table import BlockTable
from radialbench.reports.rows import Row
from radialbench.reports.text import join_and, printable

MOST_TOKENS = 25_000
"""Longest sequence to draw: its tables compile fast, and a picture shows no more detail."""

MOST_TOKENS_EACH = 120_000
MOST_COMPILE_MS = 150.0
MOST_EACH = 8
"""Bounds of the masks that are drawn one by one: tokens, milliseconds to compile, and number."""

MOST_MASKS = 4
"""Masks side by side: more are too small to read."""


def known_mask(mask: MaskIdentity) -> MaskSpec | None:
    """Return a mask of the library; None unless its fingerprint is that of the run."""
    if mask.definition not in mask_names():
        return None
    params: dict[str, Any] = mask.params
    try:
        spec = load_mask(mask.definition, empty_rows=mask.empty_rows).with_params(**params)
    except RadialBenchError:
        return None
    return spec if spec.fingerprint == mask.fingerprint else None


def drawable(rows: Sequence[Row]) -> list[tuple[str, BlockTable]]:
    """Compile the masks to draw side by side, at one length, in the order of the rows.

    Dense masks, masks from a user's file and masks of another version of the library are left out.
    """
    fitting = [row for row in rows if row.tokens <= MOST_TOKENS and row.table and not row.is_dense]
    if not fitting:
        return []
    grid = max(fitting, key=lambda row: row.tokens).record.problem.grid
    tables: dict[str, BlockTable] = {}
    for row in fitting:
        if row.record.problem.grid == grid and row.mask not in tables and len(tables) < MOST_MASKS:
            tables |= _compiled(row)
    return list(tables.items())


def pictured(rows: Sequence[Row]) -> tuple[list[tuple[str, BlockTable]], list[str]]:
    """Compile the masks to draw one by one, each at its longest length; also return other names.

    Records have the time to compile, so that only what compiles fast is compiled again.
    """
    longest: dict[MaskIdentity, Row] = {}
    masks = dict.fromkeys(row.mask for row in rows if not row.is_dense)
    for row in rows:
        if row.table and row.table.compile_ms <= MOST_COMPILE_MS and row.tokens <= MOST_TOKENS_EACH:
            key = row.record.mask
            if key not in longest or row.tokens > longest[key].tokens:
                longest[key] = row
    tables: dict[str, BlockTable] = {}
    for row in longest.values():
        if row.mask in masks and row.mask not in tables and len(tables) < MOST_EACH:
            tables |= _compiled(row)
    return list(tables.items()), [printable(mask) for mask in masks if mask not in tables]


def _compiled(row: Row) -> dict[str, BlockTable]:
    """Return the table of a row's mask by its label; empty if it cannot be compiled."""
    spec = known_mask(row.record.mask)
    with suppress(RadialBenchError):
        return {row.mask: compile_mask(spec, row.record.problem.grid)} if spec else {}
    return {}


def draw_masks(rows: Sequence[Row], folder: Path) -> tuple[Path, str] | None:
    """Draw the masks side by side; return the file and its caption, or None without a mask.

    Raises:
        ReportError: The file cannot be written.
    """
    titled = drawable(rows)
    if not titled:
        return None
    path = folder / "masks.png"
    grid = titled[0][1].grid.label.replace("x", "×")
    save_pictures(path, titled, caption=f"{grid} tokens, each mask in its own token order")
    others = {printable(row.mask) for row in rows if not row.is_dense} - {
        name for name, _ in titled
    }
    left = f" Not drawn: {join_and(sorted(others))}." if others else ""
    names = join_and([printable(name) for name, _ in titled])
    return path, f"Masks at {grid} tokens: {names}; queries down, keys across.{left}"
