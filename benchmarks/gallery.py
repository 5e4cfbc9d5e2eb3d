"""The pictures and entries of docs/gallery.md: every mask of the library, drawn on one video."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.maskgen.library import mask_names
from radialbench.maskgen.picture import percent, save_pictures
from radialbench.writing import replacement

MODEL, SIZE = "wan2.1-1.3b", "832x480x81"
BLOCK = 128
CHOSEN = 64
"""Every query block of a mask with a run-time table is given each block at this distance."""

WIDTH_PX = 560
COLOURS = 32


def table_of(name: str) -> BlockTable:
    """Compile a mask of the library with its defaults on the video of the gallery."""
    mask, grid = load_mask(name), TokenGrid.for_model(MODEL, SIZE)
    blocks = np.arange(-(-grid.seq_len // BLOCK))
    chosen = (blocks[:, None] - blocks) % CHOSEN == 0
    tables = {"selected": chosen} if name == "radial_or_table" else None
    return compile_mask(mask, grid, BLOCK, BLOCK, tables=tables)


def entry(name: str, image: str) -> str:
    """Return the section of a mask: its picture, what it says of itself, and what it keeps."""
    mask, table = load_mask(name), table_of(name)
    params = ", ".join(f"`{param.name}={param.default}`" for param in mask.params)
    facts = [
        f"{percent(table.density)} of the pairs",
        f"{table.nnz:,} of {table.rows * table.columns:,} blocks of {BLOCK}×{BLOCK}",
        *([f"tokens in the order `{table.order}`"] if str(table.order) != "raster" else []),
    ]
    lines = [
        f"## {name}",
        "",
        f"![{name}: {facts[0]}]({image})",
        "",
        " ".join(mask.about.split()),
        "",
        f"{'; '.join(facts)}. Parameters: {params or 'none'}.",
    ]
    if mask.paper:
        lines += ["", f"From {mask.paper}."]
    return "\n".join(lines)


def image_name(name: str) -> str:
    """Return the file name of a mask's picture."""
    return f"gallery-{name}.png"


def parts() -> dict[str, str]:
    """Return the parts of docs/gallery.md."""
    entries = (entry(name, f"images/{image_name(name)}") for name in mask_names())
    return {"gallery": "\n\n".join(entries)}


def draw(name: str, path: Path) -> None:
    """Draw a mask, with few colours, so that the file is small."""
    from PIL import Image

    save_pictures(path, [(name, table_of(name))], width_px=WIDTH_PX)
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(COLOURS)
    with replacement(path) as file:
        few.save(file, "png", optimize=True)


def pictures(folder: Path) -> Mapping[Path, Callable[[Path], None]]:
    """Return what draws each picture, by its path."""
    return {folder / image_name(name): partial(draw, name) for name in mask_names()}
