"""Charts and masks, inside the page."""

from base64 import b64encode
from typing import TYPE_CHECKING

from radialbench.maskgen.picture import shaded_png
from radialbench.reports.charts import CHARTS, load_chart
from radialbench.reports.masks import pictured
from radialbench.reports.numbers import share
from radialbench.reports.page._html import esc
from radialbench.reports.summary import Summary

if TYPE_CHECKING:
    from radialbench.maskgen.table import BlockTable

MOST_CHARTS = 24
"""Charts of a page: what more sweeps hold is in the tables."""

MOST_OF_MANY = 4
"""Charts where there are more than `MANY` cases."""

MANY = 2000

LEFT_OUT = ("speedup",)
"""Charts whose content the picture of the latency holds too."""

CELLS = 640
"""Cells along the side of a mask."""


def charts_of(summary: Summary) -> list[str]:
    """Give the charts as figures, those of a sweep under its name."""
    from radialbench.reports.charts._style import drawing
    from radialbench.reports.page._svg import inline

    most = MOST_CHARTS if len(summary.rows) <= MANY else MOST_OF_MANY
    parts, count, skipped = [], 0, []
    for place, sweep in enumerate(summary.sweeps):
        figures = []
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
            figures.append(_figure(svg, caption))
        if figures:
            parts += [f"<h3>{esc(sweep)}</h3>", *figures]
        elif count >= most:
            skipped.append(sweep)
    if skipped:
        parts.append(
            f"<p>The page draws {most} charts at most; {len(skipped)} more sweeps are in the table "
            "of results.</p>"
        )
    return parts


def _figure(svg: str, caption: str) -> str:
    return (
        '<figure><div class="scroll chart" role="group" tabindex="0" '
        f'aria-label="{esc(caption)}">{svg}</div>\n<figcaption>{esc(caption)}</figcaption></figure>'
    )


def masks_of(summary: Summary) -> list[str]:
    """Give the masks as pictures that open large."""
    drawn, missing = pictured(summary.rows)
    parts = [_mask(place, name, table) for place, (name, table) in enumerate(drawn)]
    if not parts:
        return []
    found = [f'<div class="masks">{"".join(parts)}</div>']
    if missing:
        found.append(f"<p>Not drawn: {esc(', '.join(missing))}.</p>")
    return found


def _mask(place: int, name: str, table: "BlockTable") -> str:
    grid = table.grid.label.replace("x", "×")
    told = f"{grid} tokens, {share(table.density)} of the pairs"
    source = b64encode(shaded_png(table, CELLS)).decode()
    return (
        f'<figure class="mask"><button type="button" aria-label="Enlarge {esc(name)}">'
        f'<img id="mask{place}" src="data:image/png;base64,{source}" '
        f'alt="Mask {esc(name)}: {esc(told)}; queries down, keys across">'
        f"</button><figcaption><b>{esc(name)}</b><br>{esc(told)}</figcaption></figure>"
    )
