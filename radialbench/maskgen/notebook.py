"""How masks and tables show themselves in a notebook: a picture, and their figures."""

import html
from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING

from radialbench.errors import RadialBenchError
from radialbench.maskgen.grid import TokenGrid

if TYPE_CHECKING:
    from radialbench.maskgen.spec import MaskSpec
    from radialbench.maskgen.table import BlockTable

INK = (31, 95, 168)
CELLS = 320
"""Cells along the side of a picture."""

EXAMPLE = TokenGrid(16, 12, 20)
"""Where a mask without a grid is shown."""


def shaded_png(table: "BlockTable", cells: int) -> bytes:
    """Draw a mask as PNG: one ink that covers more where more pairs attend, on any paper.

    Args:
        table: The mask.
        cells: Most cells along a side.
    """
    import numpy as np
    from PIL import Image

    from radialbench.maskgen.picture import density_image, picture_side

    side = picture_side(table.grid, cells)
    # A quarter of the pairs gets half of the ink, so that thin bands are seen.
    levels = np.round(15 * np.sqrt(density_image(table, side, side))).astype(np.uint8)
    image = Image.fromarray(levels)
    image.putpalette(INK * 16)
    buffer = BytesIO()
    shades = bytes(17 * level for level in range(16))
    image.save(buffer, "png", optimize=True, bits=4, transparency=shades)
    return buffer.getvalue()


def table_html(table: "BlockTable") -> str:
    """Show a table: its picture, and what it holds."""
    facts = {
        "grid": table.grid.label.replace("x", "×"),
        "tokens": f"{table.seq_len:,}",
        "pairs": f"{table.pairs:,} ({table.density:.1%})",
        "blocks": f"{table.block_m}×{table.block_n}",
        "full": f"{table.full.nnz:,}",
        "partial": f"{table.partial.nnz:,}",
        "visited": f"{table.block_density:.1%} of the blocks",
        "bitmaps": f"{len(table.bitmaps):,}",
        "table": f"{table.nbytes / 2**20:.3g} MiB",
    }
    body = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td>{html.escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    return (
        "<div style='display:flex;gap:1.5em;align-items:start;flex-wrap:wrap'>"
        f"{_picture(table)}<table>{body}</table></div>"
    )


def spec_html(spec: "MaskSpec") -> str:
    """Show a mask: its picture on a small grid, if it has one there, and its file."""
    from radialbench.maskgen.compile import compile_mask

    picture = ""
    try:
        table = compile_mask(spec, EXAMPLE)
        grid = EXAMPLE.label.replace("x", "×")
        told = f"{grid} tokens, {table.density:.1%} of the pairs"
        picture = (
            f"<figure style='margin:0'>{_picture(table)}<figcaption>{told}</figcaption></figure>"
        )
    except RadialBenchError as error:
        picture = f"<p>Not drawn at {EXAMPLE.label}: {html.escape(str(error))}</p>"
    return (
        "<div style='display:flex;gap:1.5em;align-items:start;flex-wrap:wrap'>"
        f"{picture}<pre>{html.escape(spec.to_yaml())}</pre></div>"
    )


def _picture(table: "BlockTable") -> str:
    source = b64encode(shaded_png(table, CELLS)).decode()
    return (
        f"<img width='{CELLS}' style='background:#fff;border:1px solid #999' "
        f"alt='Mask; queries down, keys across' src='data:image/png;base64,{source}'>"
    )
