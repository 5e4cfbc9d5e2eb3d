"""The verb decay: tables, JSON, and what is wrong with what was given."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.fidelity.files import save_inputs
from radialbench.fidelity.generator import SPATIAL, TEMPORAL, Generated
from radialbench.maskgen.grid import TokenGrid
from tests.commands.line import Capture, Cli

MADE = Generated(TokenGrid(6, 8, 8), (SPATIAL, TEMPORAL), 64)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_inputs(MADE.load(), tmp_path / "made.safetensors")
    return tmp_path / "made.safetensors"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(monkeypatch, capsys, "decay")


def test_heads_and_forms_have_tables(cli: Cli, file: Path) -> None:
    code, printed, _ = cli("-i", file, "--rows", 64)
    assert code == 0
    assert "(synthetic, seed 0), generated: grid 6x8x8, 2 heads; 64 rows a head" in printed
    assert "heads: 1 spatial and 1 temporal" in printed
    assert "R² of exp(-a x + b) in time" in printed
    lines = [line.split() for line in printed.splitlines()]
    assert [line[:3] for line in lines].count(["in", "time", "exponential"]) == 1


def test_json_has_all(cli: Cli, file: Path) -> None:
    code, printed, _ = cli("-i", file, "--json", "--space", "places", "--rows", 32)
    found = json.loads(printed)
    assert code == 0
    assert found["distance"] == "places"
    assert [one["kind"] for one in found["heads"]] == ["spatial", "temporal"]
    assert len(found["mass"][0]) == 64


def test_heads_whose_intervals_are_too_narrow_are_named(cli: Cli, tmp_path: Path) -> None:
    heads = SPATIAL, replace(SPATIAL, noise=1.6)
    save_inputs(Generated(TokenGrid(6, 8, 8), heads, 64).load(), tmp_path / "loud.safetensors")
    _, printed, _ = cli("-i", tmp_path / "loud.safetensors", "--rows", 64)
    assert "more than 1 in their logits: 1 head of 2, head 1" in " ".join(printed.split())


@pytest.mark.parametrize(("kind", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_mass_by_distance_is_drawn(
    cli: Cli, file: Path, tmp_path: Path, kind: str, head: bytes
) -> None:
    image = tmp_path / f"mass.{kind}"
    code, printed, _ = cli("radial", "-i", file, "--rows", 16, "--image", image)
    assert code == 0
    assert printed.endswith(f"drawn into {image}\n")
    assert image.read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--space", "meters"), "unknown distance in space 'meters'"),
        (("--sink-frames", 5), "takes at least 2 frames beside 5 sink frames"),
        (("--image", "mass.jpeg"), "a picture is a .png or .svg file"),
        (("nothing", "--rows", 8), "unknown mask 'nothing'"),
        (("-i", "nothing.safetensors"), "no such file or folder of q, k and v"),
    ],
)
def test_what_is_wrong_is_said(
    cli: Cli, file: Path, words: tuple[object, ...], message: str
) -> None:
    inputs = () if "-i" in words else ("-i", file)
    code, _, error = cli(*inputs, *words)
    assert code == 2
    assert message in " ".join(error.replace("│", "").split())
