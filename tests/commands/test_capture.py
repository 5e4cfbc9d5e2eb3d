"""The verb capture: files of q, k and v of small models, an estimate, and what cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel

from radialbench.fidelity.files import open_inputs
from radialbench.integrations.blueprint import RANDOM, TINY
from tests.commands.line import Capture, Cli

# Mochi asks for float32 in an autocast of the CPU.
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(monkeypatch, capsys, "capture")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Without accelerate, diffusers loads no class that keeps modules in float32.
    monkeypatch.setattr(WanTransformer3DModel, "_keep_in_fp32_modules", None)
    title, config = RANDOM["wan"], TINY[RANDOM["wan"]]
    assert title == WanTransformer3DModel.__name__
    torch.manual_seed(0)
    build: Any = WanTransformer3DModel
    transformer = build.from_config(config)
    transformer.save_pretrained(tmp_path / "small-wan" / "transformer")
    return tmp_path / "small-wan"


@pytest.mark.parametrize("name", RANDOM)
def test_random_weights_run_anywhere(cli: Cli, name: str, tmp_path: Path) -> None:
    words = ("--random", name, "-g", "2x3x4", "--layers", "0,3", "--steps", "1,2", "--rows", 16)
    code, printed, _ = cli(*words, "--heads", 1, "-o", tmp_path / "out")
    assert code == 0
    text = "" if name == "wan" else "+256"
    assert f"random weights: grid 2x3x4{text}, 4 layers of 4 heads of 32" in printed
    assert "4 written, 0 kept as they were" in printed
    files = open_inputs(tmp_path / "out")
    places = [(one.header.layer, one.header.step) for one in files]
    assert places == [(0, 1), (0, 2), (3, 1), (3, 2)]
    assert {one.header.heads for one in files} == {(1,)}
    assert {one.shape for one in files} == {(1, 1, 16, 32)}
    first, second = (one.load() for one in files[:2])
    # Another step of the same video, and not the same noise again.
    assert 0 < (first.k.float() - second.k.float()).abs().mean() < first.k.float().std()
    assert {one.dtype for one in files} == {"bfloat16"}
    code, printed, _ = cli(*words, "--heads", 1, "-o", tmp_path / "out")
    assert "0 written, 4 kept as they were" in printed


def test_weights_of_a_folder(cli: Cli, folder: Path, tmp_path: Path) -> None:
    words = ("-g", "2x3x4", "--dtype", "float32", "--layers", 1, "-o", tmp_path / "out")
    code, printed, _ = cli(folder, *words)
    assert code == 0, printed
    (file,) = open_inputs(tmp_path / "out")
    assert file.header.source == "small-wan"
    assert file.dtype == "float32"
    code, _, _ = cli(folder / "transformer", *words)
    assert code == 0


def test_a_dry_run_prints_how_much_and_writes_nothing(
    cli: Cli, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, printed, _ = cli(folder, "--steps", "0,25", "--dry-run", "-o", out)
    assert code == 0
    assert "WanTransformer3DModel" in printed
    assert "grid 21x45x80, 4 layers of 4 heads of 32" in printed
    assert f"{out}: 8 files of 55.4 MiB, 443 MiB" in printed
    _, printed, _ = cli(folder, "-s", "832x480x81", "--steps", "all", "--dry-run", "-o", out)
    assert "200 files" in printed
    _, written, _ = cli(folder, "-g", "2x3x4", "--steps", "0,1", "--quiet", "-o", out)
    of_all, sizes = written.splitlines()[1], [one.nbytes for one in open_inputs(out)]
    assert "8 files of 0.0176 MiB" in of_all
    assert all(18432 < size < 18432 + 1000 for size in sizes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give a folder of a transformer's weights, or a model with --random"),
        (("x", "--random", "wan"), "give a folder of a transformer's weights, or a model"),
        (("--random", "wann"), "did you mean 'wan'?"),
        (("nowhere",), "nowhere has no transformer of diffusers: a config.json"),
        (("other",), "other: unknown transformer 'WanFourTrans"),
        (("linear",), "linear: a SanaVideoTransformer3DModel takes no mask: its self-attention is"),
        (("broken",), "the configuration makes no WanTransformer3DModel in broken"),
        (("bare",), "cannot load bare: "),
        (("--random", "wan", "--layers", "0,4"), "the model has layers 0 to 3, got layer 4"),
        (("--random", "wan", "--heads", "4"), "the model has heads 0 to 3, got head 4"),
        (("--random", "wan", "--layers", "1-3"), "--layers is numbers such as 0,20,39, or all"),
        (("--random", "wan", "--steps", "0,50"), "--steps end at 49 with --sampling-steps 50"),
        (("--random", "wan", "--rows", "1,2"), "--rows is a number of rows or all, got '1,2'"),
        (("--random", "wan", "--dtype", "int8"), "--dtype is"),
        (("--random", "wan", "-g", "2x3x4+10"), "takes frames×rows×columns of video; got 2x3x4+10"),
        (("--random", "wan", "-g", "2x3x4", "-s", "64x48x17"), "not both"),
        (("--random", "mochi", "-g", "10+2x3x4"), "of video, and text behind it; got 10+2x3x4"),
    ],
)
def test_bad_input_is_one_sentence(
    cli: Cli, words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configs = {
        "other": {"_class_name": "WanFourTransformer3DModel"},
        "linear": {"_class_name": "SanaVideoTransformer3DModel"},
        "broken": {"_class_name": "WanTransformer3DModel", "num_layers": "many"},
        "bare": {"_class_name": "WanTransformer3DModel"} | TINY[RANDOM["wan"]],
    }
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    grid = () if {"-g", "nowhere"} & {*words} else ("-g", "2x3x4")
    code, _, errors = cli(*words, *grid)
    assert code == 2
    assert said in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in errors
    assert not (tmp_path / "captured").exists()


def test_a_disk_that_is_too_small(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 1}))
    for more in ((), ("--dry-run",)):
        code, _, errors = cli("--random", "wan", "-g", "2x3x4", "-o", tmp_path / "out", *more)
        assert code == 2
        assert "choose fewer layers, steps or heads" in " ".join(errors.split())
    assert not (tmp_path / "out").exists()
