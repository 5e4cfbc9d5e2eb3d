"""Masks of one inner name are told apart, by the same words in ids and reports."""

from pathlib import Path
from typing import Any

import yaml

from radialbench.reports.charts._curves import chart_lines
from radialbench.reports.charts._drawing import looks
from radialbench.reports.formats import FORMATS, load_format
from radialbench.reports.page.overview import headlines
from radialbench.reports.summary import summarize
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from radialbench.suites.run import run


def written_masks(folder: Path) -> dict[str, Any]:
    """Two masks of one inner name, each in a file of its own, and dense."""
    for name, reach in (("near", 0), ("far", 1)):
        (folder / f"{name}.yaml").write_text(f"name: m\nmask: dt <= {reach}\n")
    grid = {"frames": [2, 3], "height": 3, "width": 5}
    matrix = {"masks": ["dense", "near.yaml", "far.yaml"], "grids": [grid], "backends": ["cpu"]}
    return {
        "name": "names",
        "device": "cpu",
        "protocol": {"max_seconds": 0.001, "min_samples": 6},
        "cases": [matrix | {"heads": 1, "head_dim": 8}],
    }


def test_masks_of_one_inner_name_are_told_apart_from_plan_to_report(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(written_masks(tmp_path)))
    suite = load_suite(str(tmp_path / "suite.yaml"))
    cases = plan(suite)
    assert [case.id.split("/")[0] for case in cases] == ["dense", "near", "far"] * 2
    near = cases[1].identity
    assert (near.definition, near.file, near.params) == ("m", "near.yaml", {})
    records = run(suite, tmp_path / "out", in_process=True).records
    summary = summarize(records)
    assert [row.mask for row in summary.rows] == ["dense", "near", "far"] * 2
    assert {one.mask for one in summary.break_evens} == {"near", "far"}
    assert {one.mask for one in summary.scaling.latencies} == {"dense", "near", "far"}
    assert [line.mask for line in chart_lines(summary.rows)] == ["dense", "near", "far"]
    assert len({look.color for look in looks(summary).values()}) == 3
    (lines,) = headlines(summary).values()
    assert {line.row.mask for line in lines} == {"near", "far"}
    for name in FORMATS:
        text = load_format(name)(summary)
        assert "near" in text and "far" in text
    for mask in ("dense", "near", "far"):
        assert {case.identity.label for case in plan(suite, [mask])} == {mask}
