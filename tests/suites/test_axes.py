"""Axes on the command line: in place of a suite's own, and checked as its YAML is."""

from pathlib import Path
from typing import Any

import pytest

from radialbench.cli import main
from radialbench.errors import SuiteError
from radialbench.records.store import RESULTS, read
from radialbench.suites.axes import Axes, read_axes
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from tests.suites import small


def planned(folder: Path, change: Any = lambda document: None, **given: Any) -> list[str]:
    suite = small.written(folder, small.text_of(change))
    return [case.id for case in plan(load_suite(str(suite), read_axes(**given)))]


def test_every_axis_replaces_the_suites_own(tmp_path: Path) -> None:
    given = {"frames": "4", "heads": "1,2", "head_dim": "16", "batch": "3", "dtype": "float16"}
    more = {"backend": ["sdpa,reference"], "settings": ["radial.decay=0.5,2"]}
    found = planned(tmp_path, **given, **more)
    assert len(found) == 2 * 3 * 2
    assert set(found) == {
        f"{mask}/4x3x5/b3h{heads}d16f16/{backend}@16x16"
        for mask in ("radial(decay=0.5)", "radial(decay=2)", "dense")
        for heads in (1, 2)
        for backend in ("sdpa", "reference")
    }


def test_what_is_not_given_stays(tmp_path: Path) -> None:
    assert planned(tmp_path) == [case.id for case in small.cases()]
    own = {"name": "cpu", "block_m": 32}
    found = planned(
        tmp_path,
        lambda document: document["cases"][0].update(backends=[own, "sdpa"]),
        backend=["cpu"],
    )
    assert {case.split("/")[-1] for case in found} == {"cpu@32x16"}


def test_frames_of_a_model_are_latent_and_cases_that_become_equal_run_once(
    tmp_path: Path,
) -> None:
    grids: list[dict[str, Any]] = [{"model": "wan2.1-1.3b", "size": ["832x480x33", "832x480x81"]}]
    grids.append({"model": "wan2.1-1.3b", "size": "832x480", "frames": [5]})
    found = planned(tmp_path, lambda d: d["cases"][0].update(grids=grids), frames="3")
    assert [case.split("/")[2] for case in found] == ["3x30x52"] * 2

    def twice(document: dict[str, Any]) -> None:
        document["cases"] += [
            document["cases"][0] | {"grids": [{"frames": 9, "height": 3, "width": 5}]}
        ]

    assert planned(tmp_path, twice, frames="2") == [
        "radial/2x3x5/h2d8f32/cpu@16x16",
        "dense/2x3x5/h2d8f32/cpu@16x16",
    ]


def test_masks_are_called_by_name_file_or_label(tmp_path: Path) -> None:
    text = "name: band\nparams: {reach: {type: int, default: 1, min: 0}}\nmask: dt <= reach\n"
    (tmp_path / "near.yaml").write_text(text, encoding="utf-8")
    for name in ("near", "close"):
        found = planned(
            tmp_path,
            lambda d: d["cases"][0].update(masks=[{"name": "near.yaml", "label": "close"}]),
            settings=[f"{name}.reach=2,3"],
        )
        assert {case.split("/")[0] for case in found} == {"close(reach=2)", "close(reach=3)"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frames": "3,x"}, "--frames takes whole numbers, with commas between several, got 'x'"),
        ({"heads": "0"}, r"with --heads 0: .*small.yaml:.*cases\[0\].heads: must be greater than"),
        ({"head_dim": "-1"}, "--head-dim takes whole numbers"),
        ({"dtype": "float31"}, "with --dtype float31: .*did you mean 'float32'"),
        ({"backend": ["cp"]}, "with --backend cp: .*unknown backend 'cp'; did you mean 'cpu'"),
        (
            {"settings": ["radial.deca=1"]},
            "with --set radial.deca=1: .*unknown parameter of radial",
        ),
        ({"settings": ["radial.decay=a"]}, "--set radial.decay takes finite numbers, true or fa"),
        ({"settings": ["radial.decay=nan"]}, "takes finite numbers, true or false, got 'nan'"),
        ({"settings": ["radial.decay=1e400"]}, "takes finite numbers, true or false, got '1e4"),
        ({"settings": ["radial"]}, "--set is MASK.PARAMETER=VALUE, such as radial.decay=0.5"),
        ({"settings": ["rad.decay=1"]}, "--set rad.decay: unknown mask of the suite 'rad'; did"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=message):
        planned(tmp_path, **given)


def test_a_grid_of_segments_has_no_frames_to_set(tmp_path: Path) -> None:
    grid = {"segments": {"text": 4, "video": "2x3x5"}}
    with pytest.raises(SuiteError, match="states the frames of each; --frames sets none"):
        planned(tmp_path, lambda d: d["cases"][0].update(grids=[grid]), frames="3")


def test_words_read_back() -> None:
    axes = Axes((5, 9), (2,), (64,), (1,), ("float16",), ("cpu", "a:B"), {"radial.decay": (0.5, 2)})
    assert str(axes) == (
        "--frames 5,9 --heads 2 --head-dim 64 --batch 1 --dtype float16 --backend cpu "
        "--backend a:B --set radial.decay=0.5,2"
    )
    assert (
        read_axes(
            frames="5,9",
            heads="2",
            head_dim="64",
            batch="1",
            dtype="float16",
            backend=["cpu", "a:B"],
            settings=["radial.decay=0.5,2"],
        )
        == axes
    )
    assert not Axes()


def test_a_run_records_what_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, out = small.written(tmp_path), tmp_path / "out"
    words = ["run", str(suite), "-o", str(out), "--in-process", "--frames", "2", "--heads", "1"]
    monkeypatch.setattr("sys.argv", ["radialbench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    records = read(out / RESULTS).records
    assert [record.case for record in records] == [
        "radial/2x3x5/h1d8f32/cpu@16x16",
        "dense/2x3x5/h1d8f32/cpu@16x16",
    ]
    assert all("--frames 2 --heads 1" in record.environment.command for record in records)
