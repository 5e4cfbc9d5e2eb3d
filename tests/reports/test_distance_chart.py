"""Mass by distance is drawn as it is, with each mask's border between what it keeps and not."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.figure import Figure

from radialbench.fidelity.decay import measure_decay
from radialbench.fidelity.generator import MIXED, SPATIAL, Generated
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.records.decay import DecayReport
from radialbench.reports.distance_chart import draw, picture

GRID = TokenGrid(8, 10, 12)
MASKS = [load_mask("neighborhood", kernel_t=3, kernel_h=5, kernel_w=5), load_mask("dense")]


@pytest.fixture(scope="module")
def report() -> DecayReport:
    return measure_decay([Generated(GRID, MIXED, 64)], MASKS, rows=32)


def borders(figure: Figure, panel: int) -> list[LineCollection]:
    return [one for one in figure.axes[panel].collections if isinstance(one, LineCollection)]


def test_panels_are_all_heads_and_those_of_each_kind(report: DecayReport) -> None:
    shown = [axes for axes in draw(report).axes if axes.get_title(loc="left")]
    kinds = [f"{one.heads} {one.kind}" for one in report.kinds]
    assert len(kinds) > 1
    assert [axes.get_title(loc="left") for axes in shown] == ["all 4 heads", *kinds]
    masses = [report.mass, *(one.mass for one in report.kinds)]
    for axes, mass in zip(shown, masses, strict=True):
        (mesh,) = (one for one in axes.collections if isinstance(one, QuadMesh))
        assert np.array_equal(np.asarray(mesh.get_array()), np.array(mass))


def test_a_border_is_between_what_a_mask_keeps_and_not(report: DecayReport) -> None:
    near, dense = borders(draw(report), 0)
    assert dense.get_segments() == []
    kept = np.array(report.masks[0].kept) >= 0.5
    lines = [np.asarray(one).ravel().tolist() for one in near.get_segments()]
    across = [line for line in lines if line[1] == line[3]]
    assert {line[1] for line in across} == {1.5}
    assert len(across) == kept[1].sum()
    upright = sorted((line[0], min(line[1], line[3])) for line in lines if line[0] == line[2])
    last = int(kept[0].sum()) - 0.5
    assert upright == [(last, -0.5), (last, 0.5)]


def test_one_kind_is_one_panel() -> None:
    figure = draw(measure_decay([Generated(GRID, (SPATIAL,), 64)], rows=16))
    assert [axes.get_title(loc="left") for axes in figure.axes][:1] == ["1 head"]
    assert not borders(figure, 0)
    assert not figure.legends


def test_the_same_report_gives_the_same_file(report: DecayReport) -> None:
    assert picture(report, "svg") == picture(report, "svg")
