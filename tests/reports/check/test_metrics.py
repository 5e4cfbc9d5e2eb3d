"""Gates: what may be written, and what is said of the rest."""

from pathlib import Path

import pytest

from radialbench.errors import ReportError
from radialbench.records.gate import UNITS, Gate, gate_text, read_gate
from radialbench.reports.check.metrics import (
    CPU_LATENCY,
    GATES,
    METRICS,
    NO_GATES,
    describe_gates,
    gates_of,
    read_gates,
    set_gates,
)
from tests.reports.factory import elsewhere, made


def test_every_metric_has_a_gate() -> None:
    assert list(GATES) == list(UNITS) == [*METRICS, "scaling"]


@pytest.mark.parametrize(
    ("setting", "gate"),
    [
        ("latency=5%", Gate(0.05)),
        ("latency = .5 %", Gate(0.005)),
        ("latency=200us", Gate(0.0, 0.2)),
        ("memory=2MiB", Gate(0.0, 2 << 20)),
        ("memory=1%,4MiB", Gate(0.01, 4 << 20)),
        ("accuracy=2x", Gate(1.0)),
        ("mass_kept=2points", Gate(0.0, 0.02)),
        ("output_error=10%, 0.5points", Gate(0.1, 0.005)),
        ("energy=off", None),
        ("energy=30mJ", Gate(0.0, 0.03)),
        ("scaling=0.1", Gate(0.0, 0.1)),
        ("scaling=5%", Gate(0.05)),
    ],
)
def test_a_gate_is_read(setting: str, gate: Gate | None) -> None:
    metric = setting.split("=")[0].strip()
    assert set_gates(GATES, [setting]) == {**GATES, metric: gate}


@pytest.mark.parametrize(
    "size", ["", "5", "-5%", "0%", "nan%", "inf%", "1e9%", "5 parsecs", "1x", "5%,", "1MiB", "٥%"]
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
    assert found == {"latency": Gate(0.05), "memory": Gate(0.01, 4 << 20), "energy": None}


@pytest.mark.parametrize("text", ["", "- latency", "a: [", "latency: 5", "5%"])
def test_a_file_of_something_else(text: str, tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text(text)
    with pytest.raises(ReportError, match="gates.yaml"):
        read_gates(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, 1]\nb: [*a, *a]", "gates.yaml:1:4: anchors and aliases are not supported"),
        ("latency: 5%\nmemory: 5", r"gates.yaml:2:1: a gate of memory is"),
        ("latency: 5%\nlatency: 6%", r"gates.yaml:2:1: key 'latency' appears twice"),
        ("latency: 2001-13-40", r"gates.yaml:1:1: a gate of latency is .*got '2001-13-40'"),
        ("? [a]\n: 5%", "gates.yaml:1:3: a key must be a word"),
        ("latency: !!python/name:os.system", "gates.yaml:1:10: tags are not supported"),
        ("latency: 1" + 400 * "0", "gates.yaml:1:10: a whole number beyond"),
        ("memory: " + 300 * "9" + "GiB", r"gates.yaml:1:1: a gate of memory is"),
        ("latency: true", r"gates.yaml:1:1: a gate of latency is .*got 'True'"),
        ("latency: " + 200 * "[", "gates.yaml:1:110: more than 100 brackets are open"),
    ],
)
def test_a_file_is_read_strictly(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text(text)
    with pytest.raises(ReportError, match=message):
        read_gates(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot read"):
        read_gates(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("latency", "5%"),
        ("latency", "1%, 2ms"),
        ("latency", "3us"),
        ("memory", "1%, 4MiB"),
        ("memory", "1.5GiB"),
        ("energy", "off"),
        ("scaling", "0.05"),
        ("accuracy", "50%, 0.05tolerance"),
    ],
)
def test_a_gate_is_written_as_it_is_read(metric: str, text: str) -> None:
    assert gate_text(metric, read_gate(f"{metric}={text}")[1]) == text


def test_what_is_asked_for_holds_before_the_suite_and_this_before_the_default() -> None:
    record = made(gates=("latency=5%", "memory=off"))
    found = gates_of(record, set_gates(NO_GATES, ["latency=9%"]))
    assert found == {**GATES, "latency": Gate(0.09), "memory": None}
    assert gates_of(made(), NO_GATES) == {**GATES, "latency": CPU_LATENCY}
    (on_gpu,) = elsewhere([made()], device="Example GPU")
    assert gates_of(on_gpu, NO_GATES) == GATES


def test_a_stored_gate_that_cannot_be_read_is_reported_with_its_case() -> None:
    record = made(gates=("latency=5",))
    with pytest.raises(ReportError, match=f"the suite's gates in the results of {record.case}: a"):
        gates_of(record, NO_GATES)


def test_gates_that_are_not_the_default_ones_are_reported() -> None:
    records = [
        made("a", gates=("latency=5%",)),
        made("b", gates=("latency=8%", "energy=off")),
        made("c", gates=("latency=8%", "energy=off")),
    ]
    assert describe_gates(records, NO_GATES) == (
        "latency 5% (suite, 1 case)", "latency 8% (suite, 2 cases)", "energy off (suite, 2 cases)"
    )  # fmt: skip
    assert describe_gates(records[1:], set_gates(NO_GATES, ["latency=2.5%"])) == (
        "latency 2.5% (asked for)", "energy off (suite)"
    )  # fmt: skip
    assert describe_gates([made()], NO_GATES) == ()
