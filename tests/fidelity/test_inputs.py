"""Files of q, k and v: what is written is read, and what does not fit is named."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from radialbench.errors import InputsError
from radialbench.fidelity.files import InputsHeader, open_inputs, save_inputs
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.maskgen.grid import TokenGrid

GRID = TokenGrid(2, 3, 4, text_tokens=5)


def made(**changed: object) -> AttentionInputs:
    header = InputsHeader(GRID, "a model", "captured", (3, 7), layer=4, step=1)
    q, k, v = torch.randn(3, 2, 2, GRID.seq_len, 8, dtype=torch.bfloat16)
    return replace(AttentionInputs(q, k, v, header), **changed)  # type: ignore[arg-type]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    rows = torch.tensor([0, 3, 20])
    first = made()
    inputs = replace(
        first,
        q=first.q[:, :, rows],
        rows=rows,
        header=replace(first.header, text_lengths=(5, 2), sm_scale=0.3),
    )
    save_inputs(inputs, tmp_path / "a.safetensors")
    (file,) = open_inputs(tmp_path)
    assert file.header == inputs.header
    assert file.shapes["q"] == (2, 2, 3, 8)
    loaded = file.load()
    assert loaded.header == inputs.header
    assert loaded.rows is not None and torch.equal(loaded.rows, rows)
    for name in "qkv":
        assert torch.equal(getattr(loaded, name), getattr(inputs, name))
    assert loaded.scale == 0.3
    assert loaded.grid_of(1).real_text == 2


def test_files_of_a_folder_stand_by_layer_and_step(tmp_path: Path) -> None:
    for name, layer, step in (("a", 2, 0), ("b", 0, 9), ("c", 0, 1)):
        header = replace(made().header, layer=layer, step=step)
        save_inputs(made(header=header), tmp_path / f"{name}.safetensors")
    assert [one.path.stem for one in open_inputs(tmp_path)] == ["c", "b", "a"]
    digests = {one.digest for one in open_inputs(tmp_path)}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"k": torch.zeros(2, 2, 28, 8, dtype=torch.bfloat16)}, "batch and head_dim"),
        ({"q": torch.zeros(2, 3, 29, 8, dtype=torch.bfloat16)}, "heads of k divide those of q"),
        ({"q": torch.zeros(2, 2, 28, 8, dtype=torch.bfloat16)}, "has 29 queries, and q 28"),
        ({"q": torch.zeros(2, 2, 29, 8)}, "one dtype"),
        ({"q": torch.zeros(2, 29, 8)}, r"\[batch, heads, tokens, head_dim\]"),
        ({"q": torch.zeros(2, 2, 29, 8).to(torch.float8_e4m3fn)}, "q is float8_e4m3fn; inputs"),
        ({"rows": torch.tensor([1])}, "rows is"),
        ({"rows": torch.arange(29).flip(0)}, "ascending queries below 29"),
        ({"rows": torch.arange(1, 30)}, "ascending queries below 29"),
        ({"header": replace(made().header, heads=(1,))}, "q has 2 heads, and the header names 1"),
        ({"header": replace(made().header, grid=TokenGrid(2, 3, 4))}, "24 tokens, and k 29"),
        ({"header": replace(made().header, text_lengths=(1,))}, "q has 2 sequences"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InputsError, match=said):
        made(**changed)


def test_numbers_that_are_not_finite_are_placed(tmp_path: Path) -> None:
    inputs = made()
    inputs.v[1, 0, 6, 3] = torch.nan
    inputs.v[1, 1, 7, 3] = torch.inf
    save_inputs(inputs, tmp_path / "a.safetensors")
    said = "a.safetensors: v has nan in row 6 of head 0, sequence 1, and in 1 more row$"
    with pytest.raises(InputsError, match=said):
        open_inputs(tmp_path / "a.safetensors")[0].load()


def test_headers_are_read_without_torch(tmp_path: Path) -> None:
    save_inputs(made(), tmp_path / "a.safetensors")
    code = (
        "import sys; from radialbench.fidelity.files import open_inputs\n"
        "open_inputs(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_inputs(made(), whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-7])
    with pytest.raises(InputsError, match="cut.safetensors: no safetensors file, or not all of it"):
        open_inputs(cut)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    with pytest.raises(InputsError, match="no safetensors file"):
        open_inputs(tmp_path / "empty.safetensors")
    with pytest.raises(InputsError, match="no such file or folder"):
        open_inputs(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputsError, match="folder: no .safetensors file"):
        open_inputs(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputsError, match="no such file or folder"):
        open_inputs(tmp_path / "pipe")


def test_metadata_that_says_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = dict.fromkeys("qkv", torch.zeros(1, 1, 24, 8))
    save_file({name: one.clone() for name, one in tensors.items()}, path)
    with pytest.raises(InputsError, match="its metadata says no grid"):
        open_inputs(path)
    facts = {"format": "radialbench attention inputs", "version": "1"}
    facts |= {"source": '"m"', "kind": '"captured"', "heads": "[0]"}
    facts["grid"] = '{"frames": 2, "height": 3, "width": "4"}'
    save_file({name: one.clone() for name, one in tensors.items()}, path, facts)
    with pytest.raises(InputsError, match="metadata: .*width"):
        open_inputs(path)
    facts["grid"] = "2x3x4"
    save_file({name: one.clone() for name, one in tensors.items()}, path, facts)
    with pytest.raises(InputsError, match="metadata grid is not JSON: '2x3x4'"):
        open_inputs(path)
    facts["grid"] = '{"frames": 2, "height": 3, "width": 4}'
    eighth = {name: one.to(torch.float8_e4m3fn) for name, one in tensors.items()}
    save_file({name: one.clone() for name, one in eighth.items()}, path, facts)
    with pytest.raises(InputsError, match="q is F8_E4M3; inputs are float32"):
        open_inputs(path)
    save_file({"q": torch.zeros(1)}, path, facts)
    with pytest.raises(InputsError, match="has no k, v; it has q"):
        open_inputs(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ""}, "source: the name of what made them is missing"),
        ({"layer": -1}, "layer: numbers are from 0, got -1"),
        ({"step": 2**70}, "step: numbers are from 0, got 118"),
        ({"heads": (0, -3)}, "heads: numbers are from 0, got -3"),
    ],
)
def test_numbers_of_the_header_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputsError, match=message):
        replace(made().header, **change)


def test_tensors_that_exceed_the_free_memory_are_not_loaded(tmp_path: Path) -> None:
    save_inputs(made(), tmp_path / "a.safetensors")
    (file,) = open_inputs(tmp_path)
    with pytest.raises(InputsError, match=r"cannot read .*a.safetensors: it holds 1,099,511,627,7"):
        replace(file, nbytes=1 << 40).load()
