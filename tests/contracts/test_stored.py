"""Outputs and times of a call, stored beside a test: bits here, a tolerance elsewhere."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from radialbench.errors import RecordError
from radialbench.integrations.module import RadialAttention
from radialbench.kernels.measure.environment import environment
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.codec import to_json
from radialbench.records.measurement import Measurement
from radialbench.records.result import Environment
from radialbench.testing import Times, compare_golden, compare_times, save_golden, save_times
from radialbench.testing.times import StoredTimes

pytest_plugins = ["pytester"]

Patch = pytest.MonkeyPatch
Moved = Callable[[Environment], Environment]


def other_machine(monkeypatch: Patch, **fields: object) -> None:
    """Make the next comparisons those of another machine or other versions."""
    now = environment("")
    moved = replace(now, **fields)  # type: ignore[arg-type]
    for module in ("golden", "times"):
        monkeypatch.setattr(f"radialbench.testing.{module}.environment", lambda *_, **__: moved)


def outputs() -> dict[str, Tensor]:
    out = torch.arange(24.0).reshape(2, 3, 4) / 7
    return {"out": out, "lse": torch.tensor([1.0, -math.inf, math.nan], dtype=torch.bfloat16)}


def test_every_bit_counts_on_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "new" / "golden.safetensors"
    save_golden(outputs(), file)
    same = compare_golden(outputs(), file)
    assert (same.verdict, same.exact) == ("pass", True)
    assert same.text == f"out and lse: as in {file}, in every bit"
    moved = outputs()
    moved["out"][1, 2, 3] = torch.nextafter(moved["out"][1, 2, 3], torch.tensor(9.0))
    found = compare_golden(moved, file)
    assert (found.verdict, found.exact) == ("differs", True)
    assert "out differs from" in found.text
    assert "1 of 24 numbers have other bits, by up to 2.38e-07" in found.text
    assert compare_golden(moved, file, exact=False).verdict == "pass"
    # -0 equals 0 and has other bits.
    save_golden(torch.zeros(3), file)
    assert compare_golden(-torch.zeros(3), file).verdict == "differs"


@pytest.mark.parametrize(
    "fields", [{"cpu": "Other"}, {"threads": 99}, {"versions": {"torch": "9"}}]
)
def test_elsewhere_a_tolerance_decides(
    fields: dict[str, object], tmp_path: Path, monkeypatch: Patch
) -> None:
    file = tmp_path / "golden.safetensors"
    save_golden(outputs(), file)
    other_machine(monkeypatch, **fields)
    near = {name: x * (1 + 2e-3) for name, x in outputs().items()}
    assert compare_golden(outputs(), file).text.endswith("within the tolerance")
    found = compare_golden(near, file)
    assert (found.verdict, found.exact) == ("differs", False)
    assert "stored elsewhere (" in found.text
    assert found.text.endswith("beyond the tolerance (PyTorch's for the type)")
    assert compare_golden(near, file, rtol=1e-2, atol=0.0).verdict == "pass"
    far = compare_golden(near, file, rtol=1e-3, atol=0.0)
    assert far.text.endswith("beyond the tolerance (rtol 0.001, atol 0)")


def test_other_names_shapes_and_types_differ(tmp_path: Path) -> None:
    file = tmp_path / "golden.safetensors"
    save_golden(outputs(), file)
    found = compare_golden(list(outputs().values()), file)
    assert found.text == f"the golden {file} has lse and out, and the call returned 0 and 1"
    turned = outputs() | {"out": outputs()["out"].transpose(1, 2)}
    assert "torch.float32 [2, 3, 4], now torch.float32 [2, 4, 3]" in (
        compare_golden(turned, file).text
    )
    wide = outputs() | {"lse": outputs()["lse"].float()}
    assert "torch.bfloat16 [3], now torch.float32 [3]" in compare_golden(wide, file).text


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x02\0\0\0\0\0\0\0{}", b"x" * 100])
def test_what_is_no_golden_is_one_sentence(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "golden.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RecordError, match=r"golden\.safetensors") as caught:
        compare_golden(torch.ones(2), file)
    assert "\n" not in str(caught.value)
    with pytest.raises(RecordError, match="several by name; there is none"):
        save_golden({}, tmp_path / "none")
    with pytest.raises(RecordError, match="several by name; 1 is none"):
        save_golden([torch.ones(1), 1.0], tmp_path / "none")  # type: ignore[list-item]
    with pytest.raises(RecordError, match="give rtol and atol, or neither, got rtol=1"):
        compare_golden(torch.ones(2), file, rtol=1)
    assert not (tmp_path / "none").exists()


def timing(*samples: float, cache: str = "warm") -> Measurement:
    return Measurement(samples, 1, cache, "perf_counter", None)


STEADY = tuple(10.0 + 0.01 * (place % 5) for place in range(40))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    file = tmp_path / "times.json"
    made = StoredTimes(1, "2026-12-01T00:00:00+00:00", environment(""), timing(*STEADY))
    file.write_text(to_json(made) + "\n", encoding="utf-8")
    return file


def judged(monkeypatch: Patch, file: Path, own: Measurement, gate: str) -> Times:
    monkeypatch.setattr("radialbench.testing.times.measure_together", lambda *_, **__: [own])
    return compare_times(lambda: None, file, gate=gate)


@pytest.mark.parametrize(
    ("factor", "gate", "verdict", "text"),
    [
        (1.5, "20%", "regressed", r"15\.0\d ms against 10\.0\d stored: 1\.50. times \(95% 1\.4"),
        (1.0, "20%", "pass", r"within 20%; the gate is 20%$"),
        (1.1, "20%", "pass", "within 20"),
        (0.5, "20%", "faster", "at least 20"),
        (1.3, "2ms", "regressed", "the gate is 2ms$"),
        (9.0, "off", "pass", "stored: the gate is off$"),
    ],
)
def test_stored_times_are_judged_by_a_gate(
    factor: float, gate: str, verdict: str, text: str, stored: Path, monkeypatch: Patch
) -> None:
    own = timing(*(factor * ms for ms in STEADY))
    found = judged(monkeypatch, stored, own, gate)
    assert found.verdict == verdict, found.text
    assert re.search(text, found.text), found.text


def test_stored_times_that_are_not_comparable_are_inconclusive(
    stored: Path, monkeypatch: Patch
) -> None:
    for own, why in (
        (timing(*STEADY, cache="cold"), "measured differently (cache: warm and cold)"),
        (timing(15.0, 15.0), "too few samples to tell"),
    ):
        found = judged(monkeypatch, stored, own, "5%")
        assert (found.verdict, why in found.text) == ("inconclusive", True), found.text
    other_machine(monkeypatch, cpu="Other", versions={"torch": "9"})
    found = judged(monkeypatch, stored, timing(*(2 * ms for ms in STEADY)), "5%")
    assert found.verdict == "inconclusive"
    assert "taken elsewhere (machine: " in found.text and "torch: " in found.text


def test_times_are_stored_and_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "times.json"
    save_times(lambda: None, file, max_samples=8)
    assert compare_times(lambda: None, file, gate="off", max_samples=8).verdict == "pass"
    lines = file.read_text(encoding="utf-8")
    assert json.loads(lines)["schema"] == 1
    for content, message in (
        ("", "holds the times of 0 calls"),
        (lines * 2, "holds the times of 2 calls"),
        ("{}\n", "not the times of a call"),
        (lines.replace('"schema": 1', '"schema": 7'), "written in version 7"),
    ):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(RecordError, match=message) as caught:
            compare_times(lambda: None, file)
        assert "\n" not in str(caught.value)
    with pytest.raises(RecordError, match="cannot read .*none"):
        compare_times(lambda: None, tmp_path / "none")


def test_the_fixtures_write_and_compare(pytester: pytest.Pytester, monkeypatch: Patch) -> None:
    pytester.makepyfile(
        """
        import os

        import torch

        def test_layer(compare_golden):
            compare_golden(torch.ones(3) * float(os.environ["SCALE"]), "goldens/layer.safetensors")

        def test_times(compare_times):
            compare_times(lambda: None, "goldens/layer.json", gate="off", max_samples=8)
        """
    )
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("SCALE", "1")
    words = ("-p", "radialbench.pytest_plugin")
    done = pytester.runpytest_inprocess(*words)
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["there is no *layer.safetensors: pytest --radialbench-update writ*"])
    pytester.runpytest_inprocess(*words, "--radialbench-update").assert_outcomes(passed=2)
    pytester.runpytest_inprocess(*words).assert_outcomes(passed=2)
    monkeypatch.setenv("SCALE", "1.5")
    pytester.path.joinpath("goldens", "layer.json").write_text("nothing", encoding="utf-8")
    done = pytester.runpytest_inprocess(*words)
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["out differs from *: 3 of 3 numbers have other bits, by up to 0.5"])
    done.stdout.fnmatch_lines(["*layer.json:1: not the times of a call*"])
    done.stdout.no_fnmatch_line("*Traceback*")


class Layer(nn.Module):
    """A whole layer: norm, projections, attention under a mask, and a feed-forward part."""

    def __init__(self, grid: TokenGrid, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.attention = RadialAttention(grid, "radial")
        for place, weight in enumerate(self.parameters()):
            # No generator: these are the same in every version.
            steps = torch.arange(weight.numel(), dtype=torch.float64).reshape(weight.shape)
            weight.data = (torch.sin(steps * 0.7 + place) * 0.3).float()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (q, k, v))
        x = x + self.out(self.attention(q, k, v).transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(torch.relu(self.up(x)))
        return out


def test_a_whole_layer_is_as_it_was(compare_golden: Callable[..., object]) -> None:
    """Written by `pytest tests/contracts/test_stored.py -k whole_layer --radialbench-update`."""
    grid = TokenGrid(5, 4, 6)
    x = torch.sin(torch.arange(grid.seq_len * 32, dtype=torch.float64) * 0.37).float()
    with torch.no_grad():
        out = Layer(grid, 32, 2)(x.reshape(1, grid.seq_len, 32))
    compare_golden(out, "layer.safetensors", rtol=1e-4, atol=1e-4, exact=False)
