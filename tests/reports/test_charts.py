import io
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

import radialbench.reports.charts as folder
from radialbench.records.result import Record, Status
from radialbench.reports.charts import CHARTS, charts, draw_chart, load_chart, slug
from radialbench.reports.charts._curves import chart_lines, fitted, leading
from radialbench.reports.charts._drawing import (
    drawing,
    looks,
    round_ticks,
    seconds,
    short,
    spread,
)
from radialbench.reports.charts.ideal import draw as draw_ideal
from radialbench.reports.charts.keep import draw as draw_keep
from radialbench.reports.charts.kernels import draw as draw_kernels
from radialbench.reports.charts.latency import draw as draw_latency
from radialbench.reports.charts.lines import draw_speedup
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import Summary, summarize
from tests.reports.factory import elsewhere, ended, kept, made, on_gpu, swept

SHORT = (3, 5, 9, 17, 33)
LONG = (5, 9, 17, 33, 65, 129, 257)


def log_share(frames: int) -> float:
    return 0.4 * math.log2(frames + 1) / frames


def whole() -> list[Record]:
    """A run like the smoke suite's: sparse masks, two dense backends, tables of long videos."""
    shares = {frames: log_share(frames) for frames in SHORT}
    tables = [
        made(mask, frames, backend=None, share=1.0 if mask == DENSE else log_share(frames))
        for mask in (DENSE, "radial", "twin")
        for frames in LONG
    ]
    return [
        *swept(DENSE, dict.fromkeys(SHORT, 1.0), backend="sdpa", rate=80.0),
        *swept(DENSE, dict.fromkeys(SHORT, 1.0)),
        *on_gpu(swept("radial", shares, rate=30.0)),
        *swept("twin", shares, order=5.0, fidelity=kept(0.9)),
        *swept("window", dict.fromkeys(SHORT, 0.3), fidelity=kept(0.7)),
        *tables,
    ]


def drawn(records: Iterable[Record]) -> dict[str, tuple[str, bytes, bytes]]:
    summary = summarize(list(records))
    return {name: (caption, png, svg) for name, caption, png, svg in charts(summary)}


def shown(records: Iterable[Record]) -> set[str]:
    """Names of the charts that have something to show, without drawing them to the end."""
    summary = summarize(list(records))
    return {name for name in CHARTS for sweep in summary.sweeps if load_chart(name)(summary, sweep)}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_every_chart_is_drawn() -> None:
    found = drawn(whole())
    assert list(found) == list(CHARTS)
    for caption, png, svg in found.values():
        assert caption.endswith(".")
        image = imread(io.BytesIO(png))
        assert image.shape[0] > 300
        assert image.shape[1] > 900
        assert image.std() > 0.02
        assert svg.startswith(b"<?xml")


def test_the_same_records_give_the_same_files() -> None:
    few = [record for record in whole() if record.problem.frames < 9]
    assert drawn(few) == drawn(few)


def test_settings_of_others_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    drawn([made()])
    assert dict(matplotlib.rcParams) == before


def test_the_main_picture_says_what_it_shows() -> None:
    found = draw_latency(summarize(whole()), "Fx30x52 h1d128f32")
    assert found is not None
    figure, caption = found
    told = texts(figure)
    assert {"dense (sdpa)", "dense (cpu)", "radial", "twin", "window"} <= set(told)
    assert re.search(r"Rings: faster than dense, radial on cpu from about [\d,]+ tokens", caption)
    assert "dense  n^2.00" in told
    assert "radial, twin  n^1.19" in told
    assert {"n(a + b·log2 F)", "a·n + b·n^1.5", "a·n + b·n²"} <= set(told)
    assert "fitted to radial" in caption


def test_no_form_is_drawn_where_none_may_be_claimed() -> None:
    short = [record for record in whole() if record.problem.frames <= 33]
    found = draw_latency(summarize(short), "Fx30x52 h1d128f32")
    assert found is not None
    assert not any("log2" in text for text in texts(found[0]))
    assert "growth" not in shown(short)


def test_few_lengths() -> None:
    records = [r for frames in SHORT[:2] for r in (made(DENSE, frames), made("sta", frames))]
    assert {"latency", "ideal", "speedup", "density", "memory"} == shown(records)


def test_one_length_is_points_and_no_lines() -> None:
    assert shown([made(DENSE), made("sta")]) == {"kernels", "ideal"}
    assert shown([made("sta", backend=None)]) == set()


def test_kernels_at_one_length_are_dots_in_a_picture_of_their_own() -> None:
    records = on_gpu([made(mask, backend=name) for mask in (DENSE, "sta") for name in "ab"])
    assert {"kernels", "ideal"} == shown(records)
    found = draw_kernels(summarize(records), "Fx30x52 h1d128f32")
    assert found is not None
    figure, caption = found
    assert [axes.get_xlabel() for axes in figure.axes] == [
        *("ms", "TFLOP/s of the visited blocks", "J a call")
    ]
    assert "1.00×" in texts(figure)
    assert "Dashed: the matmul" in caption
    alone = draw_kernels(summarize([made(backend="a"), made(backend="b")]), "Fx30x52 h1d128f32")
    assert alone is not None
    assert [axes.get_xlabel() for axes in alone[0].axes] == ["ms"]


def test_single_points_are_bars_from_zero() -> None:
    records = [made(DENSE, samples=[8.0]), made("sta", samples=[2.0]), made("radial")]
    found = draw_kernels(summarize(records), "Fx30x52 h1d128f32")
    assert found is not None
    (axes,) = found[0].axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [(0.0, 8.0), (0.0, 2.0), (0.0, 2.0)]
    assert (axes.get_xscale(), axes.get_xlim()[0]) == ("linear", 0.0)
    assert not [line for line in axes.lines if line.get_marker() not in ("", "None", None)]
    assert "beside the bars" in found[1]


@pytest.mark.parametrize(("fastest", "scale"), [(30.0, "log"), (3.0, "linear")])
def test_a_line_that_would_flatten_the_others_makes_the_axis_logarithmic(
    fastest: float, scale: str
) -> None:
    records = [
        made(mask, frames, samples=[frames * 8.0 / ratio])
        for mask, ratio in ((DENSE, 1.0), ("sta", fastest), ("radial", 2.0), ("power", 1.5))
        for frames in (3, 5, 9)
    ]
    for draw, panel in ((draw_speedup, 0), (draw_latency, 2)):
        found = draw(summarize(records), "Fx30x52 h1d128f32")
        assert found is not None
        axes = found[0].axes[panel]
        assert axes.get_yscale() == scale
        low, high = axes.get_ylim()
        assert low < 1.0 < fastest < high
        assert axes.yaxis.get_major_formatter()(10.0) == "10×"
        assert len([tick for tick in axes.get_yticks() if low <= tick <= high]) >= 3


def test_long_times_are_in_seconds() -> None:
    found = draw_kernels(summarize([made(samples=[20_000.0])]), "Fx30x52 h1d128f32")
    assert found is not None
    (axes,) = found[0].axes
    assert axes.get_xlabel() == "s"
    assert axes.xaxis.get_major_formatter()(20_000.0) == "20"


def test_blocks_chosen_in_every_call_look_different_from_their_mask() -> None:
    records = [made("sta", backend=name, fidelity=kept(0.9)) for name in ("cpu", "topk_cpu")]
    found = draw_keep(summarize(records), "Fx30x52 h1d128f32")
    assert found is not None
    legend = found[0].axes[-1].get_legend()
    assert legend is not None
    handles = legend.findobj(Line2D)
    looked = {(one.get_marker(), one.get_color()) for one in handles if isinstance(one, Line2D)}
    assert len(looked) == 2


def test_kernels_of_one_environment_only() -> None:
    there = elsewhere([made(m, 5, backend="a") for m in ("radial", "sta")], cpu="Other")
    found = draw_kernels(summarize([made(backend="b"), *there]), "Fx30x52 h1d128f32")
    assert found is not None
    (legend,) = found[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["a"]


def test_the_ideal_is_a_line_of_one_over_density() -> None:
    found = draw_ideal(summarize([made(DENSE), made("sta", share=0.25)]), "Fx30x52 h1d128f32")
    assert found is not None
    lines = [np.asarray(line.get_xydata()) for line in found[0].axes[0].lines]
    assert any(len(line) == 2 and all(abs(x * y - 1) < 1e-9 for x, y in line) for line in lines)
    assert any(line.tolist() == [[0.25, 1.0]] for line in lines)


def test_lines_that_are_too_many_are_the_fastest_of_each_mask() -> None:
    records = [
        record
        for mask in (DENSE, *"abc")
        for place in range(3)
        for record in swept(mask, dict.fromkeys(SHORT, 0.5), backend=f"k{place}", rate=9 + place)
    ]
    lines = leading(chart_lines(summarize(records).timed))
    assert [(line.mask, line.rows[0].backend) for line in lines] == [
        (mask, "k2") for mask in (DENSE, *"abc")
    ]


def test_curves_are_powers_of_the_executed_work() -> None:
    (line,) = chart_lines(summarize(swept("radial", {f: log_share(f) for f in SHORT})).timed)
    curve = fitted(line)
    assert curve is not None
    tokens, times = curve
    # The made-up times are in proportion to the work, so that the curve passes through them.
    for row in line.rows:
        assert math.exp(np.interp(math.log(row.tokens), np.log(tokens), np.log(times))) == (
            pytest.approx(row.total_ms, rel=1e-2)
        )
    assert fitted(replace(line, rows=line.rows[:2])) is None


def test_nothing_to_draw() -> None:
    assert drawn([]) == {}
    assert not shown([replace(ended(Status.OOM, "too big", made()), table=None)])


def test_only_tables() -> None:
    compiled = [made(backend=None, frames=frames) for frames in LONG]
    assert shown(compiled) == {"latency", "density", "memory", "compile"}


def test_several_sweeps_have_their_own_files() -> None:
    wide = [
        replace(r, case=f"wide {r.case}", model="wide model") for r in (made(DENSE), made("sta"))
    ]
    names = set(drawn([made(DENSE), made("sta"), *wide]))
    assert "ideal-Fx30x52-h1d128f32" in names
    assert "ideal-wide-model-Fx30x52-h1d128f32" in names


def test_environments_have_their_own_lines() -> None:
    there = elsewhere([made("sta", 5), made(DENSE, 5, samples=[9.0])], cpu="Other")
    summary = summarize([made("sta"), made(DENSE, samples=[9.0]), *there])
    found = draw_latency(summary, "Fx30x52 h1d128f32")
    assert found is not None
    assert {"sta (environment 1)", "sta (environment 2)"} <= set(texts(found[0]))


def test_any_label_can_be_drawn() -> None:
    labels = ["$\\frac{", "_x_ <b>&", "窓\x1b[31m", "n" * 80]
    records = [made(label, frames) for label in labels for frames in (3, 5)]
    assert "latency" in drawn([made(DENSE, 3), made(DENSE, 5), *records])


def colours(summary: Summary) -> list[str]:
    return [look.color for look in looks(summary).values()]


def test_every_mask_has_its_look() -> None:
    masks = [DENSE, *"abcdef"]
    summary = summarize([made(mask) for mask in masks])
    assert len(set(colours(summary))) == len(masks)
    many = looks(summarize([made(f"mask {place}") for place in range(30)]))
    assert len({(look.color, look.marker) for look in many.values()}) == 30


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.floats(1, 60)), min_size=1, max_size=12).map(sorted),
    st.floats(100, 1000),
)
def test_labels_do_not_cover_each_other(labels: list[tuple[float, float]], most: float) -> None:
    heights, sizes = zip(*labels, strict=True)
    places = spread(heights, sizes, most)
    halves = [size / 2 for size in sizes]
    for (below, half), (above, other) in pairwise(zip(places, halves, strict=True)):
        assert above - below >= half + other - 1e-6
    assert places[-1] + halves[-1] <= most + 1e-6
    if sum(sizes) <= most:
        assert places[0] >= halves[0] - 1e-6
    apart = pairwise(zip(heights, halves, strict=True))
    if all(y - x >= a + b + 1e-6 for (x, a), (y, b) in apart) and heights[0] > halves[0]:
        assert heights[-1] + halves[-1] > most or places == pytest.approx(heights)


def runs() -> dict[str, list[Record]]:
    """Results that are hard to label."""
    long = "window_of_a_very_long_name(window_t=5, window_h=5)"
    lengths = {frames: log_share(frames) for frames in SHORT}
    whole_run = whole()
    return {
        "whole": whole_run,
        "equal": [
            *swept(DENSE, dict.fromkeys(SHORT, 1.0)),
            *(r for mask in "abcdefgh" for r in swept(mask, lengths, rate=60.0)),
        ],
        "near": [
            *on_gpu(swept(DENSE, dict.fromkeys(SHORT, 1.0), backend="k")),
            *on_gpu(
                [
                    record
                    for place in range(8)
                    for record in swept(
                        f"{long}{place}", lengths, rate=60.0 + 3 * place, fidelity=kept(0.9)
                    )
                ]
            ),
        ],
        "kernels": on_gpu(
            [made(m, 5, backend=b) for m in (DENSE, "sta", long) for b in ("first", "second")]
        ),
        "flattened": [
            *swept(DENSE, dict.fromkeys(SHORT, 1.0), rate=60.0),
            *(
                record
                for mask, ratio in (("fast", 40.0), ("a", 2.0), ("b", 2.1), ("c", 2.2), (long, 1.9))
                for record in swept(mask, dict.fromkeys(SHORT, 1.0), rate=60.0 * ratio)
            ),
        ],
        "one length": [made(DENSE), made("sta", fidelity=kept(0.9)), made(long, share=0.2)],
        "short lines": [
            *swept(DENSE, dict.fromkeys(SHORT[:3], 1.0)),
            *swept("radial", lengths),
            *swept("sta", dict.fromkeys(SHORT[:4], 0.3)),
            *(
                made(m, f, backend=None)
                for m, fs in (("radial", LONG), ("sta", LONG[:3]))
                for f in fs
            ),
        ],
    }


@pytest.mark.parametrize("name", runs())
def test_text_covers_neither_text_nor_points(name: str) -> None:
    summary = summarize(runs()[name])
    (sweep,) = summary.sweeps
    faults: list[str] = []
    for chart in CHARTS:
        with drawing():
            found = draw_chart(chart, summary, sweep)
            if found:
                faults += [f"{chart}: {fault}" for fault in covered(found[0])]
    assert not faults


def covered(figure: Figure) -> list[str]:
    """Texts of a figure that lie over another text, or over a marker."""
    figure.draw_without_rendering()
    out = {label for axes in figure.axes for label in outside(axes)}
    boxes = [
        # Without the line that leads to a label.
        (text.get_text(), Text.get_window_extent(text))
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and text.get_text() and text not in out
    ]
    boxes = [(text, box) for text, box in boxes if box.width and box.height]
    points = [
        point
        for axes in figure.axes
        if axes.get_visible()
        for line in axes.lines
        if line.get_marker() not in ("None", None, "_", "")
        for point in marks(axes, line)
    ]
    return [
        *(f"{a!r} over {b!r}" for (a, one), (b, two) in combinations(boxes, 2) if meet(one, two)),
        *(f"{a!r} over a point" for a, box in boxes for point in points if meet(box, point)),
    ]


def outside(axes: Axes) -> Iterable[Text]:
    """Labels of ticks beyond the limits, or of an axis that shows none: they are not drawn."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not (low <= tick.get_loc() <= high and tick.label1.get_visible()) or (
                not axes.get_visible()
            ):
                yield tick.label1
            yield tick.label2


def marks(axes: Axes, line: Line2D) -> list[Bbox]:
    half = line.get_markersize() / 2 * axes.figure.dpi / 72
    places = axes.transData.transform(np.asarray(line.get_xydata(), float))
    shown = [place for place in places if axes.bbox.padded(half).contains(*place)]
    return [Bbox([place - half, place + half]) for place in shown]


def meet(one: Bbox, other: Bbox) -> bool:
    shared = Bbox.intersection(one, other)
    return shared is not None and shared.width > 1 and shared.height > 1


def test_lines_on_each_other_are_one_with_all_names() -> None:
    summary = summarize(runs()["equal"])
    for name in ("latency", "speedup", "density", "memory"):
        found = draw_chart(name, summary, summary.sweeps[0])
        assert found is not None
        assert "drawn as one line" in found[1]
        assert "a, b, c, d, e, f, g, h" in " ".join(texts(found[0])).replace("\n", " ")
    assert found is not None
    assert len(found[0].axes[-1].lines) == 2


def test_axes_have_ticks() -> None:
    for low, high in ((0.5, 900), (11, 19), (104, 131), (4_200, 60_000), (1e-3, 1e6)):
        ticks = round_ticks(low, high)
        assert 3 <= len(ticks) <= 10
        assert all(low <= tick <= high for tick in ticks)


def test_numbers_at_ticks() -> None:
    assert [short(value) for value in (0.05, 20, 5000, 1.5e6, 2e9)] == [
        *("0.05", "20", "5k", "1.5M", "2G")
    ]
    assert [seconds(value) for value in (0.5, 20, 1000, 20000)] == [
        "0.5 ms",
        "20 ms",
        "1 s",
        "20 s",
    ]


def test_files_have_plain_names() -> None:
    assert slug("wan2.1 F×3/../h1 ") == "wan2.1-F-3-..-h1"


def test_every_chart_of_the_folder_is_listed() -> None:
    files = {f"{folder.__name__}.{file.stem}" for file in Path(folder.__path__[0]).glob("[!_]*.py")}
    assert files == {home.split(":")[0] for home in CHARTS.values()}
    assert all(load_chart(name)(summarize([]), "none") is None for name in CHARTS)
