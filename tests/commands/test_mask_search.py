"""The verb mask search: its files, table and JSON, and what is wrong with what is given."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radialbench.fidelity.files import save_inputs
from radialbench.fidelity.generator import SPATIAL, TEMPORAL, Generated
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.language.schedule import mask_in
from radialbench.maskgen.library import load_head_plan, load_schedule
from radialbench.masksearch import search
from radialbench.records.front import read_front
from tests.commands.line import Capture, Cli

MADE = Generated(TokenGrid(6, 8, 8), (SPATIAL, TEMPORAL), 64)
SMALL = ("--rows", 32, "--block-m", 16, "--block-n", 16, "--trials", 16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_inputs(MADE.load(), tmp_path / "made.safetensors")
    return tmp_path / "made.safetensors"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(monkeypatch, capsys, "mask", "search")


def test_a_search_writes_front_chart_and_plans(cli: Cli, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ("svg_spatial", "svg_temporal", "-i", file, "--by", "head", *SMALL, "-o", out)
    code, printed, _ = cli(*line, "--keep", 0.9)
    assert code == 0
    points = read_front(out / "front.jsonl")
    assert f"16 masks tried, {len(points)} plans in the front; cost by executed blocks" in printed
    assert "cheapest that keeps 90.0%: plan" in printed
    assert f'to run it: apply_radial(pipe, size=…, mask="{out}/plans/' in printed.replace(
        "\n  ", ""
    )
    assert (out / "front.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (out / "front.svg").read_bytes()
    plans = sorted((out / "plans").iterdir())
    assert [plan.name for plan in plans] == [f"{point.number:02}.yaml" for point in points]
    assert load_head_plan(plans[0]).heads == 2
    assert "svg_spatial" in plans[0].read_text()
    (out / "plans" / "99.yaml").write_text("of a former front")
    code, printed, _ = cli(*line, "--json")
    assert code == 0
    assert [one["loss"] for one in json.loads(printed)] == [point.loss for point in points]
    assert sorted((out / "plans").iterdir()) == plans
    code, printed, _ = cli(*line, "--json", "--worst-head", 0.0)
    assert code == 0
    assert {one["worst_loss"] for one in json.loads(printed)} == {0.0}
    assert max(point.worst_loss for point in points) > 0.02


def test_masks_that_differ_by_layer_and_step_have_plans_and_a_schedule(
    cli: Cli, tmp_path: Path
) -> None:
    folder, out = tmp_path / "inputs", tmp_path / "out"
    folder.mkdir()
    for layer, step in ((1, 4), (3, 4), (1, 9), (3, 9)):
        made = MADE.load()
        header = replace(made.header, layer=layer, step=step)
        save_inputs(replace(made, header=header), folder / f"{layer}-{step}.safetensors")
    line = ("radial", "-i", folder, "--by", "layer,step", "--steps", 10, "--layers", 5, *SMALL)
    code, printed, _ = cli(*line, "-o", out, "--keep", 0.3)
    assert code == 0
    assert re.search(r'apply_radial\(pipe, size=…, schedule=".*-schedule.yaml"\)', printed)
    ends = {plan.name[2:] for plan in (out / "plans").iterdir()}
    both = {f"-layer0{layer}-step00{step}.yaml" for layer in (1, 3) for step in (4, 9)}
    assert ends == both | {"-schedule.yaml"}
    for point in read_front(out / "front.jsonl"):
        assert point.schedule.steps == 10
        schedule = load_schedule(out / "plans" / f"{point.number:02}-schedule.yaml")
        for step in range(10):
            active = schedule.active(step, 0.5)
            for layer in range(5):
                number = mask_in(active, layer)
                still = point.schedule
                if layer < still.dense_layers or not (
                    still.dense_steps <= step < still.dense_from_step
                ):
                    assert number is None
                    continue
                assert number is not None
                near = f"layer0{1 if layer <= 2 else 3}-step00{4 if step <= 6 else 9}"
                plan = load_head_plan(out / "plans" / f"{point.number:02}-{near}.yaml")
                assert schedule.masks[number] == plan


def test_a_search_that_is_stopped_goes_on(
    cli: Cli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    compiled = search._compiled

    def stopping(*args: Any) -> Any:
        nonlocal tried
        tried += 1
        if tried == 13:
            raise KeyboardInterrupt
        return compiled(*args)

    monkeypatch.setattr(search, "_compiled", stopping)
    line = ("radial", "-i", file, *SMALL, "-o", tmp_path / "out")
    code, _, error = cli(*line)
    assert code == 130
    assert "stopped; finished trials are kept. Continue with: radialbench mask search" in error
    assert cli(*line)[0] == 0
    assert tried == 13 + 8, "of two batches of 8, the first was kept"


def test_a_dry_run_lists_what_would_be_searched(cli: Cli, file: Path, tmp_path: Path) -> None:
    line = ("radial", "dense", "-i", file, "--by", "head", "--dry-run", "-o", tmp_path / "out")
    code, printed, _ = cli(*line, "--range", "decay=1..2", "--range", "sink_frames=0..1")
    assert code == 0
    assert "radial: 130 masks; decay 1 to 2, sink_frames 0 to 1" in printed
    assert "dense: 1 mask; no parameter has a range: see --range" in printed
    assert "1 file with 2 heads in all, 2 groups of heads; 1 step and 1 layer" in printed
    code, printed, _ = cli(*line, "--json")
    assert json.loads(printed)["groups"] == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-i", "nothing.safetensors"), "no such file or folder of q, k and v"),
        (("radiul",), "unknown mask 'radiul'; did you mean 'radial'"),
        (("radial", "--range", "decay=1..99"), "radial: decay must be in (0, 16], got 99"),
        (("--by", "heads"), "masks differ by head, layer or step"),
        (("--group", "7"), "the inputs have none of the heads 7"),
        (("--loss", "error", "--keep", 0.9), "--keep is a share of the mass"),
        (("--keep", 1.5), "--keep is a share above 0 and at most 1"),
        (("--cost", "time"), "times are measured on a GPU"),
        (("--grid", "4x8x8"), "the inputs say their grid"),
    ],
)
def test_what_is_wrong_is_said(
    cli: Cli, file: Path, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    inputs = () if "-i" in words else ("-i", file)
    code, _, error = cli(*inputs, *words, "-o", tmp_path / "out")
    assert code == 2
    assert message in " ".join(error.replace("│", "").split())
    assert not list((tmp_path / "out").glob("*.jsonl"))
