"""What docs/suites.md says of the file is true: its examples are read, and no key is left out."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from radialbench.fidelity.files import InputsHeader, save_inputs
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.result import Record, Status
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite, parse_suite, suite_names
from radialbench.suites.schema import Protocol, json_schema
from tests.suites import small

TEXT = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)

TABLES = {
    "Keys of the file:": "SuiteFile",
    "Keys of a matrix:": "Matrix",
    "A mask is ": "MaskSweep",
    "A backend is ": "BackendChoice",
    "A rule of `exclude` ": "Exclude",
    "Keys of `protocol`:": "Protocol",
    "Keys of `gates`,": "Gates",
    "Keys of `fidelity`:": "FidelitySettings",
}


def rows(opening: str) -> dict[str, str]:
    """Give key and example of the table after a line that starts so."""
    part = TEXT[TEXT.index(f"\n{opening}") :]
    lines = re.findall(
        r"^\| `(\w+)` \| `(.+?)` \|", part[: part.index("\n\n", part.index("|"))], re.M
    )
    return dict(lines)


def keys(kind: str) -> set[str]:
    schema = json_schema()
    return set((schema if kind == "SuiteFile" else schema["$defs"][kind])["properties"])


@pytest.mark.parametrize(("opening", "kind"), TABLES.items())
def test_every_key_has_a_row(opening: str, kind: str) -> None:
    assert rows(opening).keys() == keys(kind)


def test_every_key_of_all_kinds_of_grids_has_a_row() -> None:
    kinds = ("ModelGrid", "RawGrid", "SegmentedGrid")
    assert rows("A grid is ").keys() == set().union(*map(keys, kinds))


def test_the_examples_are_suites() -> None:
    whole, longer, gated = map(parse_suite, EXAMPLES)
    assert len(plan(whole)) == 9
    assert {case.id for case in plan(longer)} == {case.id for case in plan(load_suite("smoke"))}
    assert longer.cases[0].protocol.max_seconds == 20
    *first, last = (matrix.gates.stated for matrix in gated.cases)
    # What the suite leaves out stays out.
    assert set(first) == {
        ("energy=off", "latency=5%", "memory=1%, 4MiB", "scaling=off"),
        ("energy=off", "latency=off", "memory=1%, 4MiB", "scaling=off"),
        ("compile=off", "energy=off", "latency=5%", "memory=off", "scaling=off"),
    }
    assert last == ("energy=off", "latency=10%", "memory=1%, 4MiB", "scaling=off")


GRID = {"frames": 9, "height": 30, "width": 52}
MODEL = {"model": "wan2.1-14b", "size": "832x480"}


def fitted(opening: str, example: dict[str, Any]) -> dict[str, Any]:
    """Give the entries of a matrix in which an example stands."""
    (key,) = example
    captured = {"grids": [{"frames": 2, "height": 3, "width": 5}]}
    match opening:
        case "Keys of a matrix:" if key in ("inputs", "fidelity"):
            return example | captured
        case "Keys of `fidelity`:":
            return {"fidelity": {"inputs": "captured"} | example} | captured
        case "Keys of a matrix:":
            return example | ({"backends": None} if "measure" in example else {})
        case "A mask is ":
            name = "radial_or_table" if "tables" in example else "radial"
            return {"masks": [{"name": name} | example]}
        case "A backend is ":
            return {"backends": [{"name": "cpu"} | example]}
        case "A rule of `exclude` ":
            return {"exclude": example}
        case "Keys of `protocol`:":
            return {"protocol": example}
        case "Keys of `gates`,":
            return {"gates": example}
    if key == "size":
        grids = [MODEL | {"size": size} for size in example["size"]]
        return {"grids": [g if g["size"].count("x") == 2 else g | {"frames": 9} for g in grids]}
    if key in ("model", "latent_frames"):
        return {"grids": [MODEL | {"latent_frames": 9} | example]}
    if key == "segments":
        return {"grids": [example]}
    return {"grids": [GRID | {"text_tokens": 256} | example]}


@pytest.mark.parametrize(
    ("opening", "example"),
    [
        (opening, example)
        for opening in (*TABLES, "A grid is ")
        if opening != "Keys of the file:"
        for example in rows(opening).values()
    ],
)
def test_examples_of_keys_are_read(
    opening: str, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "blocks.npy", np.ones((1, 1), np.bool_))
    header = InputsHeader(TokenGrid(2, 3, 5), "a model", "captured", (0, 1))
    q, k, v = torch.randn(3, 1, 2, 30, 8)
    inputs = AttentionInputs(q, k, v, header)
    (tmp_path / "captured").mkdir()
    save_inputs(inputs, tmp_path / "captured" / "layer03-step010.safetensors")
    monkeypatch.chdir(tmp_path)
    fields = fitted(opening, yaml.safe_load(example))
    assert small.matrix(**fields)


def test_examples_of_the_file_are_read() -> None:
    for key, example in rows("Keys of the file:").items():
        if key != "cases":
            given = yaml.safe_load(example)
            assert small.suite(lambda d, g=given: (d.pop("device"), d.update(g)))  # type: ignore[misc]


def test_defaults_of_the_protocol_are_told() -> None:
    part = TEXT[TEXT.index("Keys of `protocol`:") :]
    for key in keys("Protocol"):
        row = next(line for line in part.splitlines() if line.startswith(f"| `{key}`"))
        default = getattr(Protocol(), key)
        told = f"{default:g}" if type(default) in (int, float) else str(default).lower()
        assert row.endswith(f"({told}) |")


def test_suites_statuses_and_parts_are_all_named() -> None:
    for name in suite_names():
        assert f"`{name}`" in TEXT
    for status in Status:
        assert f"| `{status}` |" in TEXT
    told = TEXT[TEXT.index("## What a record holds") :]
    for field in fields(Record):
        assert f"`{field.name}`" in told or field.name == "schema"
