"""The verb fidelity: a table, records, and what is wrong with what was given."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from radialbench.fidelity.files import InputsHeader, save_inputs
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.fidelity_record import read_fidelity
from tests.commands.line import Capture, Cli

GRID = TokenGrid(4, 8, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for layer in (0, 5):
        q, k, v = torch.randn(3, 1, 4, GRID.seq_len, 16, generator=generator)
        header = InputsHeader(GRID, "noise", "generated", (0, 1, 2, 3), layer, step=2)
        save_inputs(AttentionInputs(4 * q, k, v, header), tmp_path / f"{layer}.safetensors")
    return tmp_path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(monkeypatch, capsys, "fidelity")


def test_a_table_ranks_masks_by_cost(cli: Cli, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "fidelity.jsonl"
    blocks = ("--block-m", 16, "--block-n", 16)
    code, printed, _ = cli("sta", "dense", "radial", "-i", folder, "-o", out, *blocks)
    assert code == 0
    assert "noise, generated: grid 4x8x8, 4 heads, 2 layers and 1 step; 256 of 256" in printed
    lines = printed.splitlines()
    shown = [line.split()[0] for line in lines if line.startswith(("sta", "dense", "radial"))]
    assert shown[-1] == "dense"
    records = read_fidelity(out)
    assert [record.mask.name for record in records] == ["sta", "dense", "radial"]
    for record in records:
        assert len(record.fidelity.heads) == 8
        kept = record.fidelity.mass_kept
        assert f"{kept.value:.1%}" in printed
        assert kept.holds(kept.value)
        # What is asked for again is the same to the bit.
    cli("sta", "dense", "radial", "-i", folder, "-o", tmp_path / "again.jsonl", *blocks)
    again = read_fidelity(tmp_path / "again.jsonl")
    assert [one.fidelity for one in again] == [one.fidelity for one in records]


def test_heads_have_a_table_and_json_has_all(cli: Cli, folder: Path) -> None:
    _, printed, _ = cli("radial", "-i", folder, "--rows", "all", "--backend", "cpu", "--by-head")
    assert "by the backend cpu, whose own error is" in " ".join(printed.split())
    assert sum(line.split()[:2] == ["5", "2"] for line in printed.splitlines()) == 4
    _, printed, _ = cli("radial", "-i", folder, "--json")
    (facts,) = json.loads(printed)
    assert facts["fidelity"]["inputs"]["source"] == "noise"
    assert len(facts["fidelity"]["heads"]) == 8


def test_without_inputs_they_are_synthetic_and_said_to_be(cli: Cli) -> None:
    code, printed, _ = cli("radial", "--grid", "3x6x8")
    assert code == 0
    assert "(synthetic, seed 0), generated: grid 3x6x8, 4 heads" in " ".join(printed.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("radial", "-i", ".", "--grid", "2x4x4"), "the inputs say their grid"),
        (("radial", "--grid", "2x4"), "a grid is frames×rows×columns"),
        (("rodial", "-i", "."), "did you mean 'radial'"),
        (("radial", "-i", ".", "--rows", "some"), "--rows is a number of rows or all, got 'some'"),
        (("radial", "-i", ".", "--backend", "fa3"), "backend 'fa3': "),
        (("radial", "-i", ".", "--device", "tpu"), "tpu"),
    ],
)
def test_bad_input_is_one_sentence(
    cli: Cli, folder: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    code, printed, errors = cli(*words)
    assert code == 2
    assert said in " ".join(errors.split())
    assert "Traceback" not in errors
    assert not printed


def test_a_grid_of_two_sizes_is_two_records(cli: Cli, folder: Path, tmp_path: Path) -> None:
    grid = replace(GRID, frames=3)
    q, k, v = torch.randn(3, 1, 1, grid.seq_len, 16)
    header = InputsHeader(grid, "noise", "generated", (0,), layer=9)
    save_inputs(AttentionInputs(q, k, v, header), folder / "z.safetensors")
    code, printed, _ = cli("radial", "-i", folder, "-o", tmp_path / "x.jsonl")
    assert code == 0
    assert printed.count("grid ") == 2
    assert [one.grid.frames for one in read_fidelity(tmp_path / "x.jsonl")] == [4, 3]
