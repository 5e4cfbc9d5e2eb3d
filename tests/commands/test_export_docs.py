"""What docs/export.md shows runs, and its tables name what there is."""

import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.autotune.export import CONFIG_FORMATS
from radialbench.autotune.export.vllm import ENTRY, name_of
from radialbench.cli import main
from radialbench.kernels.tuned import device_name
from radialbench.maskgen.export import EXPORTERS
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.tuning_file import to_document, write_tuning
from tests.kernels.configs import fresh_for
from tests.records.tuned import KEY

TEXT = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
GRID = TokenGrid(3, 2, 6)
RADIAL = load_mask("radial")
BLOCKS = KernelConfig(16, 32, 2, 1)


class Model:
    """Stands for a model whose video is small."""

    def grid(self, size: str) -> TokenGrid:
        return GRID


def example(after: str) -> str:
    found = re.search(r"```python\n(.*?)```", TEXT[TEXT.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


def test_the_ten_lines_for_a_pipeline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(RADIAL.fingerprint, GRID, 1, 40, 128, "bfloat16")
    monkeypatch.chdir(tmp_path)
    record = fresh_for(problem, "triton", config=BLOCKS)
    Path("wan.json").write_text(to_document([record]), encoding="utf-8")
    monkeypatch.setattr("radialbench.maskgen.grid.load_model", lambda name: Model())
    code = example("### In a serving pipeline").replace('"hopper"', '"triton"')
    given: dict[str, Any] = {"print": lambda *printed: None}
    exec(code.replace('"cuda"', '"cpu"'), given)
    assert (given["found"].source, given["found"].config) == ("tuned", BLOCKS)
    assert sum(bool(line.strip()) and "import" not in line for line in code.splitlines()) <= 10
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, GRID.seq_len, 128, generator=generator) for _ in range(3))
    scores = torch.einsum("bhqd,bhkd->bhqk", q.double(), k.double()) * 128**-0.5
    mask = compile_mask(RADIAL, GRID, 16, 32).to_dense()
    scores = scores.masked_fill(~torch.from_numpy(mask), -math.inf)
    wanted = torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v.double())
    out = given["attention"](q, k, v)
    torch.testing.assert_close(out.double(), wanted, rtol=0, atol=1e-5)


def test_the_header_of_a_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = re.findall(r"^radialbench (export table .*)$", TEXT, re.MULTILINE)[0]
    words = command.replace("--model wan2.1-14b --size 1280x720x81", "--grid 3x2x6").split()
    monkeypatch.setattr(sys, "argv", ["radialbench", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    given: dict[str, Any] = {}
    exec(example("A file has the format's arrays"), given)
    with given["arrays"] as arrays:
        assert "kv_indices" in arrays
    header = given["header"]
    assert (header["q_len"], header["k_len"], header["added_pairs"]) == (36, 36, 0)
    assert np.prod([given["header"]["grid"][side] for side in ("frames", "height", "width")]) == 36


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_forms_of_other_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a small table: with partial blocks filled, in FlexAttention, and in a file."""
    monkeypatch.chdir(tmp_path)
    q, k, v = torch.randn(3, 1, 2, 240, 16, generator=torch.Generator().manual_seed(0))
    given: dict[str, Any] = {"q": q, "k": k, "v": v}
    given["table"] = compile_mask(RADIAL, TokenGrid(5, 6, 8), 16, 16)
    for after in ("### Partial blocks", "### FlexAttention", "### Files"):
        exec(example(after), given)
    assert given["bsr"].added_pairs > 0
    pairs = torch.from_numpy(given["table"].to_dense())
    wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=pairs)
    torch.testing.assert_close(given["out"], wanted, rtol=1e-4, atol=1e-4)


def test_the_commands_are_as_the_help_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = re.findall(r"^radialbench (export (?!table).*)$", TEXT, re.MULTILINE)
    assert len(lines) == 2
    monkeypatch.chdir(tmp_path)
    problem = Problem("f00d", TokenGrid(1, 3, 3), 1, 1, 8, "float32")
    record = fresh_for(problem, "cpu")
    write_tuning(Path("wan.jsonl"), [record])
    codes = []
    for line in lines:
        monkeypatch.setattr(sys, "argv", ["radialbench", *line.partition("#")[0].split()])
        with pytest.raises(SystemExit) as end:
            main()
        codes.append(end.value.code)
    # No suite has this mask.
    assert codes == [0, 2]
    assert device_name("cpu") in capsys.readouterr().out


def test_tables_name_every_format_and_part() -> None:
    configs = TEXT[: TEXT.index("## Block tables")]
    assert re.findall(r"^\| `(json|python|t4|triton|vllm)` \|", configs, re.MULTILINE) == [
        *("json", "python", "triton", "t4", "vllm")
    ]
    assert CONFIG_FORMATS.keys() == {"json", "python", "triton", "t4", "vllm"}
    tables = TEXT[TEXT.index("## Block tables") :]
    assert set(re.findall(r"^\| `(\w+)` \| `\w+` \|", tables, re.MULTILINE)) == set(EXPORTERS)
    words = [word.split("=")[0] for word in name_of(KEY).removesuffix(".json").split(",")]
    for name in (*words, "direction", "triton_version", *ENTRY):
        assert f"`{name}`" in configs
