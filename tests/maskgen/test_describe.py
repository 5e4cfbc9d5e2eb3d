from base64 import b64decode
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image

from radialbench import TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.maskgen.describe import EXAMPLE
from radialbench.maskgen.picture import shaded_png

GRID = TokenGrid(4, 3, 5)


def picture_of(page: str) -> bytes:
    """The picture inside."""
    return b64decode(page.split("base64,")[1].split("'")[0])


def test_a_picture_covers_what_attends() -> None:
    table = compile_mask(load_mask("radial"), GRID, block_m=16, block_n=32)
    image = Image.open(BytesIO(shaded_png(table, 320))).convert("RGBA")
    # A cell a pair: those that attend are covered, the others are clear.
    assert (np.asarray(image)[:, :, 3] == 255 * table.to_dense()).all()


def test_a_table() -> None:
    table = compile_mask(load_mask("sta"), GRID, block_m=16, block_n=32)
    page = table._repr_html_()
    for text in ("4×3×5", "60", f"{table.pairs:,}", f"{table.density:.1%}", "16×32"):
        assert text in page
    assert picture_of(page) == shaded_png(table, 320)


@pytest.mark.parametrize("name", ["dense", "radial", "svg_spatial"])
def test_a_mask(name: str) -> None:
    spec = load_mask(name)
    page = spec._repr_html_()
    assert f"name: {name}" in page
    assert picture_of(page) == shaded_png(compile_mask(spec, EXAMPLE), 320)


def test_a_mask_that_has_no_picture_says_why() -> None:
    page = parse_mask({"name": "odd", "mask": "qi < ki"})._repr_html_()
    assert "Not drawn at 16x12x20" in page
    assert "qi &lt; ki" in page


def test_tags_are_closed() -> None:
    page = load_mask("radial")._repr_html_()
    for tag, side in product(("div", "figure", "pre"), ("<", "</")):
        assert page.count(f"{side}{tag}") == 1
