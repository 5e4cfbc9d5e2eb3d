"""The masks of a report, drawn again from the library or their files."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from radialbench.errors import RadialBenchError, ReportError, SpecError
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import added_masks, is_head_plan, load_mask, mask_names
from radialbench.maskgen.picture import save_pictures
from radialbench.maskgen.table import BlockTable
from radialbench.reports.rows import Row
from radialbench.reports.text import join_and, printable

MOST_TOKENS = 25_000
"""Longest sequence to draw: its tables compile fast, and a picture shows no more detail."""

MOST_TOKENS_EACH = 120_000
MOST_COMPILE_MS = 500.0
MOST_EACH = 8
"""Bounds of the masks that are drawn one by one: tokens, milliseconds to compile, and number."""

MOST_MASKS = 4
"""Masks side by side: more are too small to read."""


def known_mask(mask: MaskIdentity, folders: Sequence[Path] = ()) -> MaskSpec:
    """Return the mask of a run: that of the library, or of its file if that is still the same.

    Args:
        mask: Its identity in the records, with the fingerprint that it must have.
        folders: Where its file may be.

    Raises:
        ReportError: It is not known here; the message says why.
    """
    if mask.file is None and mask.definition not in [*mask_names(), *added_masks()]:
        raise ReportError("it was made in Python, and has no file")
    name, changed = mask.definition, "this version of radialbench has another mask of its name"
    if mask.file is not None:
        name, changed = _file_of(mask.file, folders), f"its file {mask.file} has changed since"
    try:
        spec = load_mask(name, empty_rows=mask.empty_rows)
        if spec.table_names:
            raise ReportError("it needs block tables, which records do not hold")
        params: dict[str, Any] = mask.params
        spec = spec.with_params(**params)
    except SpecError:
        raise ReportError(changed) from None
    if spec.fingerprint != mask.fingerprint:
        raise ReportError(changed)
    return spec


def _file_of(file: str, folders: Sequence[Path]) -> str:
    """Find a mask's file.

    Raises:
        ReportError: It is in none of the folders, or a head plan.
    """
    inside = not PurePath(file).is_absolute() and ".." not in PurePath(file).parts
    found = next(
        (folder / file for folder in folders if inside and (folder / file).is_file()), None
    )
    if found is None:
        raise ReportError(f"its file {file} is not here")
    if is_head_plan(found):
        raise ReportError("it is a head plan: each group of heads has a mask of its own")
    return str(found.absolute())


def mask_folders(source: str, rows: Iterable[Row]) -> list[Path]:
    """Return the folders where files of masks may be.

    They are the current one, those of the results and above, and those of the suites that were run.

    Args:
        source: File of the results.
        rows: The rows, whose commands name the suites.
    """
    words = {
        word
        for command in {row.record.environment.command or "" for row in rows}
        for word in command.split()
        if word.endswith((".yaml", ".yml"))
    }
    above = list(Path(source).absolute().parents[:PARENTS]) if source else []
    return [Path(), *above, *(Path(word).parent for word in sorted(words))]


PARENTS = 3
"""Folders from the results upwards in which files of masks are looked for."""


def drawable(rows: Sequence[Row], folders: Sequence[Path] = ()) -> list[tuple[str, BlockTable]]:
    """Compile the masks to draw side by side, at one length, in the order of the rows.

    Dense masks and masks that are not known here are left out.
    """
    fitting = [row for row in rows if row.tokens <= MOST_TOKENS and row.table and not row.is_dense]
    if not fitting:
        return []
    grid = max(fitting, key=lambda row: row.tokens).record.problem.grid
    tables: dict[str, BlockTable] = {}
    for row in fitting:
        if row.record.problem.grid == grid and row.mask not in tables and len(tables) < MOST_MASKS:
            with suppress(RadialBenchError):
                tables[row.mask] = _compiled(row, folders)
    return list(tables.items())


def pictured(
    rows: Sequence[Row], folders: Sequence[Path] = ()
) -> tuple[list[tuple[str, BlockTable]], dict[str, str]]:
    """Compile the masks to draw one by one, each at its longest length that compiles fast.

    Returns:
        The tables by name, and why there is none of the other masks.
    """
    tables: dict[str, BlockTable] = {}
    missing: dict[str, str] = {}
    for mask in dict.fromkeys(row.mask for row in rows if not row.is_dense):
        of_mask = [row for row in rows if row.mask == mask and row.table]
        fast = [row for row in of_mask if row.tokens <= MOST_TOKENS_EACH and _is_fast(row)]
        if not of_mask:
            missing[mask] = "its table was not compiled"
        elif not fast:
            missing[mask] = "its tables take too long to compile"
        elif len(tables) == MOST_EACH:
            missing[mask] = f"a page draws {MOST_EACH}"
        else:
            try:
                tables[mask] = _compiled(max(fast, key=lambda row: row.tokens), folders)
            except RadialBenchError as error:
                missing[mask] = str(error)
    return list(tables.items()), missing


def _is_fast(row: Row) -> bool:
    """Return whether its table compiled fast in the run, by its record."""
    return row.table is not None and row.table.compile_ms <= MOST_COMPILE_MS


def _compiled(row: Row, folders: Sequence[Path]) -> BlockTable:
    return compile_mask(known_mask(row.record.mask, folders), row.record.problem.grid)


def draw_masks(
    rows: Sequence[Row], folder: Path, folders: Sequence[Path] = ()
) -> tuple[Path, str] | None:
    """Draw the masks side by side; return the file and its caption, or None without a mask.

    Args:
        rows: The rows.
        folder: Where the picture is written.
        folders: Where files of masks may be.

    Raises:
        ReportError: The file cannot be written.
    """
    titled = drawable(rows, folders)
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
