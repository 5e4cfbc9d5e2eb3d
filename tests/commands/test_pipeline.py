"""The verb pipeline: small models anywhere, what it would take, and what cannot be."""

from pathlib import Path

import pytest
import torch

from radialbench.integrations.blueprint import Blueprint
from radialbench.reports.pipeline import read_pipeline
from tests.commands.line import Capture, Cli

# Mochi asks for float32 in an autocast of the CPU.
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")
QUICK = ("--samples", "1", "--device", "cpu")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(monkeypatch, capsys, "pipeline")


@pytest.mark.parametrize(
    ("model", "title", "tokens"),
    [("wan2.1-14b", "Wan2.1 14B", "192"), ("mochi-1", "Mochi 1", "448")],
)
def test_a_small_model_stands_for_a_large_one(
    cli: Cli, model: str, title: str, tokens: str, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "pipeline.jsonl"
    words = ("--mask", "radial", "--set", "decay=0.3", "--against", "dense", "--dense-steps", "10")
    code, printed, said = cli(model, *words, *QUICK, "-o", out)
    assert code == 0
    assert f"stands for {title} at" in said
    assert f"small {title} at" in printed and f"{tokens} tokens" in printed
    assert "s dense by stock" in printed and "without" not in printed
    (times,) = read_pipeline(out)
    assert [one.count for one in times.records] == [10, times.records[0].steps - 10]
    assert cli(model, *words, *QUICK, "-o", out)[0] == 0
    assert len(read_pipeline(out)) == 2


def test_the_size_of_a_small_model_that_was_asked_for_counts(cli: Cli, tmp_path: Path) -> None:
    words = ("--tiny", "--size", "64x96x9", "--mask", "dense", "-o", tmp_path / "a.jsonl")
    code, printed, said = cli("wan2.1-1.3b", *words, *QUICK)
    assert code == 0 and "stands for" not in said
    assert "3x6x4: 72 tokens" in printed


def test_a_folder_of_weights(cli: Cli, tmp_path: Path) -> None:
    blueprint = Blueprint.of_preset("hunyuanvideo", tiny=True)
    blueprint.build("cpu", torch.float32).save_pretrained(tmp_path / "mine" / "transformer")
    words = ("--size", "64x32x5", "--mask", "dense", "-o", tmp_path / "a.jsonl")
    code, printed, _ = cli(tmp_path / "mine", *words, *QUICK)
    assert code == 0
    assert "mine at 64x32x5, mine weights" in printed


def test_a_dry_run_says_memory_and_time_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "pipeline.jsonl"
    words = ("--size", "1280x720x81", "--dry-run", "--dtype", "bfloat16", "--device", "cpu")
    code, printed, _ = cli("wan2.1-14b", *words, "-o", out)
    assert code == 0 and not out.exists()
    assert "weights 26.6 GiB, a call" in printed
    assert "TFLOP/s of a matmul here" in printed and "a video's 50 steps of 2" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("wan3",), "unknown model with random weights 'wan3'"),
        (("wan2.1-14b", "--mask", "radiall"), "radiall"),
        (("wan2.1-14b", "--size", "1280x721x81"), "cannot make 1280x721x81"),
        (("wan2.1-14b", "--against", "fa9"), "unknown dense kernel 'fa9'"),
        (("wan2.1-14b", "--dtype", "int8"), "--dtype is"),
        (("wan2.1-14b", "--dense-steps", "50"), "all 50 steps are dense"),
        (("wan2.1-14b", "--schedule", "none.yaml", "--dense-steps", "1"), "--schedule says itself"),
    ],
)
def test_what_cannot_be(cli: Cli, words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    out = tmp_path / "pipeline.jsonl"
    code, _, said = cli(*words, *QUICK, "-o", out)
    assert code == 2
    assert message in said.replace("\n", " ")
    assert not out.exists()


def test_what_does_not_fit_is_not_built(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("radialbench.integrations.needs.free_bytes", lambda device: 2**30)
    monkeypatch.setattr(Blueprint, "build", lambda *_: pytest.fail("it was built"))
    words = ("--full", "--size", "480x480x9", "-o", tmp_path / "pipeline.jsonl")
    code, _, said = cli("wan2.1-1.3b", *words, *QUICK)
    assert code == 2
    assert "1 GiB are free: take a smaller --size, or --tiny" in said.replace("\n", " ")
