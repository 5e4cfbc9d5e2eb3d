"""`radialbench doctor` tells the same facts to people and to programs."""

import json
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from radialbench.cli import main
from radialbench.commands.doctor import LIBRARIES
from radialbench.kernels.backends import BACKENDS, load_backend
from radialbench.kernels.measure.environment import Gpu, environment
from radialbench.records.tuning_file import write_tuning
from tests.kernels.configs import fresh

Capture = pytest.CaptureFixture[str]


def printed(monkeypatch: pytest.MonkeyPatch, capsys: Capture, *options: str) -> str:
    monkeypatch.setattr(sys, "argv", ["radialbench", "doctor", *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    return capsys.readouterr().out


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    facts = json.loads(printed(monkeypatch, capsys, "--json"))
    assert set(facts["library"]) == set(LIBRARIES)
    assert facts["library"]["torch"] == version("torch")
    assert facts["backend"] == {name: load_backend(name).needs() for name in BACKENDS}
    assert facts["gpu"]


def test_the_machine_is_described_as_in_records(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    facts = json.loads(printed(monkeypatch, capsys, "--json"))
    here = environment("")
    assert facts["cpu"] == f"{here.cpu}, {here.cores} cores"
    assert facts["memory"] == f"{here.memory_bytes / 2**30:.1f} GiB"


def test_what_is_tuned_is_counted_and_what_is_stale_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    records = fresh("triton"), fresh("triton", versions={"triton": "0.1"}, frames=20)
    monkeypatch.setattr("radialbench.kernels.tuned.SHIPPED", tmp_path)
    device = records[0].key.device
    write_tuning(tmp_path / "some.jsonl", records[:1])
    assert json.loads(printed(monkeypatch, capsys, "--json"))["tuned"] == {
        device: "1 configuration of triton; 1 fresh here"
    }
    write_tuning(tmp_path / "some.jsonl", records)
    now = version("triton")
    assert json.loads(printed(monkeypatch, capsys, "--json"))["tuned"] == {
        device: "2 configurations of triton; 1 fresh here, the others stale and not used (1 as "
        f"triton was 0.1 and is {now})"
    }
    write_tuning(tmp_path / "some.jsonl", records[1:])
    assert json.loads(printed(monkeypatch, capsys, "--json"))["tuned"] == {
        device: "1 configuration of triton; 0 fresh here, the others stale and not used (1 as "
        f"triton was 0.1 and is {now}): the default runs; tune again"
    }
    write_tuning(tmp_path / "some.jsonl", [records[0], fresh("triton", direction="backward")])
    assert json.loads(printed(monkeypatch, capsys, "--json"))["tuned"] == {
        device: "2 configurations of triton, 1 of them of gradients; 2 fresh here"
    }
    monkeypatch.setenv("RADIALBENCH_CONFIGS", str(tmp_path / "none"))
    assert "neither a file nor a folder" in printed(monkeypatch, capsys)


def test_memory_that_is_not_known(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("radialbench.kernels.measure.environment.memory_bytes", lambda: 0)
    assert json.loads(printed(monkeypatch, capsys, "--json"))["memory"] == "unknown"


def test_gpus_are_reported(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    cards = [Gpu(f"Example {place}", (9, 0), 80 << 30, "1.2") for place in (1, 2)]
    monkeypatch.setattr("radialbench.kernels.measure.environment.gpus", lambda: (cards, ""))
    listed = ", ".join(card.text for card in cards)
    lines = printed(monkeypatch, capsys).splitlines()
    assert ["gpu", listed] in [re.split("  +", line) for line in lines]
    reason = "the driver does not answer: lost"
    monkeypatch.setattr("radialbench.kernels.measure.environment.gpus", lambda: ([], reason))
    lines = printed(monkeypatch, capsys).splitlines()
    assert ["gpu", reason] in [re.split("  +", line) for line in lines]


def test_text_has_a_line_a_backend(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    lines = printed(monkeypatch, capsys).splitlines()
    for name in BACKENDS:
        (line,) = [line for line in lines if line.startswith(f"backend {name} ")]
        assert line.endswith(load_backend(name).needs())


def test_a_backend_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", "radialbench.no_such_module:Cpu")
    facts = json.loads(printed(monkeypatch, capsys, "--json"))
    assert facts["backend"]["cpu"].startswith("cannot be imported: No module named")


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("radialbench.commands.doctor.LIBRARIES", ("no-such-library",))
    facts = json.loads(printed(monkeypatch, capsys, "--json"))
    assert facts["library"] == {"no-such-library": "not installed"}
