"""The chart of regrets shows every figure of the summaries."""

import numpy as np

from radialbench.autotune.regret import RegretSummary, draw_regrets
from radialbench.reports.charts._drawing import drawing, rendered

SUMMARIES = [
    RegretSummary("tpe", 0.2, 80, 0.0, 0.01, 0.02),
    RegretSummary("tpe", 0.1, 80, 0.007, 0.07, 0.1),
    RegretSummary("random", 0.1, 80, 0.06, 0.16, 0.2),
    RegretSummary("random", 0.2, 80, 0.03, 0.12, 0.2),
]


def test_every_search_has_a_line_of_medians_and_one_of_percentiles() -> None:
    with drawing():
        figure, caption = draw_regrets(SUMMARIES)
        assert rendered(figure, "png")[:4] == b"\x89PNG"
    drawn = {
        (axes.get_title(loc="left"), str(line.get_label())): np.asarray(line.get_xydata()).tolist()
        for axes in figure.axes
        for line in axes.lines
    }
    assert drawn["Median", "tpe"] == [[0.1, 0.007], [0.2, 0.0]]
    assert drawn["Median", "random"] == [[0.1, 0.06], [0.2, 0.03]]
    assert drawn["95th percentile", "tpe"] == [[0.1, 0.07], [0.2, 0.01]]
    assert drawn["95th percentile", "random"] == [[0.1, 0.16], [0.2, 0.12]]
    assert "over 80 searches each" in caption
