"""Charts and masks, inside the page."""

from base64 import b64encode
from dataclasses import dataclass

from markupsafe import Markup

from radialbench.maskgen.picture import shaded_png
from radialbench.reports.charts import CHARTS, load_chart
from radialbench.reports.masks import pictured
from radialbench.reports.summary import Summary
from radialbench.reports.text import format_percent

MOST_CHARTS = 24
"""Charts of a page: what more sweeps hold is in the tables."""

MOST_OF_MANY = 4
"""Charts where there are more than `MANY` cases."""

MANY = 2000

LEFT_OUT = ("speedup",)
"""Charts whose content the picture of the latency holds too."""

CELLS = 640
"""Cells along the side of a mask."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as SVG, and what it shows."""

    svg: Markup
    caption: str


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts of a page.

    Attributes:
        sweeps: Those of each sweep, by its name.
        most: How many the page draws at most.
        left_out: Sweeps without one for that reason.
    """

    sweeps: dict[str, list[Chart]]
    most: int
    left_out: int


@dataclass(frozen=True, slots=True)
class MaskPicture:
    """A mask's picture as PNG in base64, with its name and what is known of it."""

    name: str
    facts: str
    png: str


@dataclass(frozen=True, slots=True)
class MaskPictures:
    """Masks of a page, and the names of those that cannot be drawn."""

    drawn: list[MaskPicture]
    missing: str


def charts_of(summary: Summary) -> Charts | None:
    """Draw the charts of each sweep; None without any."""
    from radialbench.reports.charts._style import drawing
    from radialbench.reports.page._svg import inline

    most = MOST_CHARTS if len(summary.rows) <= MANY else MOST_OF_MANY
    sweeps: dict[str, list[Chart]] = {}
    count = left_out = 0
    for place, sweep in enumerate(summary.sweeps):
        found = []
        for name in CHARTS:
            if name in LEFT_OUT or count >= most:
                continue
            with drawing():
                drawn = load_chart(name)(summary, sweep)
                if drawn is None:
                    continue
                figure, caption = drawn
                svg = inline(figure, f"{name}{place}", f"{name}, {sweep}: {caption}")
            count += 1
            found.append(Chart(svg, caption))
        if found:
            sweeps[sweep] = found
        elif count >= most:
            left_out += 1
    return Charts(sweeps, most, left_out) if sweeps else None


def masks_of(summary: Summary) -> MaskPictures | None:
    """Draw the masks; None without any."""
    drawn, missing = pictured(summary.rows)
    found = []
    for name, table in drawn:
        grid = table.grid.label.replace("x", "×")
        facts = f"{grid} tokens, {format_percent(table.density)} of the pairs"
        found.append(MaskPicture(name, facts, b64encode(shaded_png(table, CELLS)).decode()))
    return MaskPictures(found, ", ".join(missing)) if found else None
