"""Charts and masks, inside the page."""

import re
from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING

from markupsafe import Markup

from radialbench.maskgen.picture import shaded_png
from radialbench.reports.charts import drawn_charts, most_charts
from radialbench.reports.charts._drawing import COLOURS, GREY, GRID, INK
from radialbench.reports.masks import mask_folders, pictured
from radialbench.reports.summary import Summary
from radialbench.reports.text import format_percent, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LEFT_OUT = ("speedup",)
"""Charts whose content is in the chart of the latency too."""

CELLS = 640
"""Cells along the side of a mask."""


def charts_of(summary: Summary) -> dict[str, object] | None:
    """Draw the charts of each sweep, as SVG with captions; None without any.

    Returns:
        `sweeps`: charts of each sweep, by its words. `most`: limit of the page. `left_out`: sweeps
        without a chart because of the limit.
    """
    most, texts = most_charts(summary), summary.sweep_texts
    places = {sweep: place for place, sweep in enumerate(summary.sweeps)}
    sweeps: dict[str, list[dict[str, str]]] = {}
    count = 0
    for name, sweep, figure, caption in drawn_charts(summary, most, without=LEFT_OUT):
        label = f"{name}, {texts[sweep]}: {caption}"
        svg = inline(figure, f"{name}{places[sweep]}", label)
        sweeps.setdefault(texts[sweep], []).append({"svg": svg, "caption": caption})
        count += 1
    left_out = len(texts) - len(sweeps) if count == most else 0
    return {"sweeps": sweeps, "most": most, "left_out": left_out} if sweeps else None


def masks_of(summary: Summary) -> dict[str, object] | None:
    """Draw the masks, as PNG in base64 with facts, and say why others are not; None without any."""
    drawn, missing = pictured(summary.rows, mask_folders(summary.source, summary.rows))
    found = []
    for name, table in drawn:
        grid = table.grid.label.replace("x", "×")
        facts = f"{grid} tokens, {format_percent(table.density)} of the pairs"
        png = b64encode(shaded_png(table, CELLS)).decode()
        found.append({"name": name, "facts": facts, "png": png})
    left = "; ".join(f"{name}, as {why}" for name, why in missing.items())
    return {"drawn": found, "missing": left} if found or left else None


VARIABLES = {
    INK: "--ink",
    GREY: "--quiet",
    GRID: "--grid",
    "#ffffff": "--paper",
    **{colour: f"--c{place}" for place, colour in enumerate(COLOURS)},
}
"""CSS variables of the charts' colours, which differ between light and dark."""


def inline(figure: "Figure", name: str, label: str) -> Markup:
    """Draw a figure as an SVG element.

    Args:
        figure: Drawn in the charts' style.
        name: Prefix of the ids inside, unique on the page.
        label: Text for a screen reader.
    """
    import matplotlib

    buffer = BytesIO()
    for axes in figure.axes:
        axes.set_facecolor("none")
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(
            buffer,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.1,
            facecolor="none",
            metadata={"Date": None},
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
