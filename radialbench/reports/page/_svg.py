"""A chart as SVG inside a page: its text as text, its colours from the page, no name used twice."""

import re
from io import BytesIO
from typing import TYPE_CHECKING

from markupsafe import Markup

from radialbench.reports.charts._style import COLOURS, GREY, GRID, INK
from radialbench.reports.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VARIABLES = {
    INK: "--ink",
    GREY: "--quiet",
    GRID: "--grid",
    "#ffffff": "--paper",
    **{colour: f"--c{place}" for place, colour in enumerate(COLOURS)},
}
"""Colours of the charts, and what the page calls them in light and in dark."""


def inline(figure: "Figure", name: str, label: str) -> Markup:
    """Draw a figure as an SVG element.

    Args:
        figure: Drawn in the charts' style.
        name: Set before names inside, unique on the page.
        label: Said in its place by a screen reader.
    """
    import matplotlib

    buffer = BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", pad_inches=0.1, metadata={"Date": None}
        )
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL
    )
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ?(?:bold )?[^;\"]*px[^;\"]*", _font, text)
    text = re.sub(r"#[0-9a-f]{6}\b", _variable, text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
    width = float(size[1]) if size else 600.0
    start = text.index(">") + 1
    box = re.search(r'viewBox="[^"]*"', text[:start])
    opening = Markup(
        '<svg {} style="--width:{:.0f}px" role="img" aria-label="{}" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    where = Markup(box[0] if box else "")
    return opening.format(where, width * 4 / 3, printable(label)) + Markup(text[start:])


def _font(found: re.Match[str]) -> str:
    size = re.search(r"[\d.]+px", found[0])
    bold = ";font-weight:700" if "bold" in found[0] or "700" in found[0] else ""
    return f"font-size:{size[0] if size else '11px'}{bold}"


def _variable(found: re.Match[str]) -> str:
    name = VARIABLES.get(found[0])
    return f"var({name})" if name else found[0]
