"""Gates: what may be written, and what is said of the rest."""

from pathlib import Path

import pytest

from radialbench.errors import ReportError
from radialbench.reports.check.figures import METRICS
from radialbench.reports.check.gates import GATES, UNITS, Gate, read_gates, set_gates


def test_every_metric_has_a_gate() -> None:
    assert list(GATES) == list(UNITS) == list(METRICS)


@pytest.mark.parametrize(
    ("setting", "gate"),
    [
        ("latency=5%", Gate(0.05)),
        ("latency = .5 %", Gate(0.005)),
        ("latency=200us", Gate(0.0, 0.2)),
        ("memory=2MiB", Gate(0.0, 2 << 20)),
        ("memory=1%,4MiB", Gate(0.01, 4 << 20)),
        ("accuracy=2x", Gate(1.0)),
        ("energy=off", None),
    ],
)
def test_a_gate_is_read(setting: str, gate: Gate | None) -> None:
    metric = setting.split("=")[0].strip()
    assert set_gates(GATES, [setting]) == {**GATES, metric: gate}


@pytest.mark.parametrize(
    "size", ["", "5", "-5%", "0%", "nan%", "inf%", "1e9%", "5 parsecs", "1x", "5%,", "1MiB"]
)
def test_another_size_is_refused(size: str) -> None:
    with pytest.raises(ReportError, match="a gate of latency is 5%, 1.5x, 2ms, 2us or off"):
        set_gates(GATES, [f"latency={size}"])


def test_an_unknown_metric_is_named_with_its_neighbour() -> None:
    with pytest.raises(ReportError, match="did you mean 'latency'"):
        set_gates(GATES, ["latencies=5%"])
    with pytest.raises(ReportError, match="metric=size"):
        set_gates(GATES, ["5%"])


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text("latency: 5%\nmemory: 1%, 4MiB\nenergy: off\n")
    found = read_gates(file)
    assert found == {
        **GATES, "latency": Gate(0.05), "memory": Gate(0.01, 4 << 20), "energy": None
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "- latency", "a: [", "latency: 5", "5%"])
def test_a_file_of_something_else(text: str, tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text(text)
    with pytest.raises(ReportError, match="gates.yaml"):
        read_gates(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot read"):
        read_gates(tmp_path / "gone.yaml")
