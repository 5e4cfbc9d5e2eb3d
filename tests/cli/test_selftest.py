"""`radialbench run --self-test`: what is printed, and the exit code."""

import json
import sys
from dataclasses import replace

import pytest

from radialbench.cli import main
from radialbench.records.measurement import Measurement, Rounds
from radialbench.suites import selftest
from radialbench.suites.selftest import SHAPES, SelfTest, _case

SLOWED = ("",) * 9 + ("thermal limit (hardware)",)
PAIR = (
    Measurement((2.0,) * 10, 1, "warm", "perf_counter", None),
    Measurement((2.0,) * 10, 1, "warm", "perf_counter", None, rounds=Rounds("nvml", (), (), ())),
)


def case(name: str) -> SelfTest:
    grid, heads = SHAPES["cpu"][name]
    built = _case(name, grid, heads, device="cpu", protocol=selftest.PROTOCOL)
    return SelfTest(name, built, PAIR, None)


def run(*words: str) -> int:
    sys.argv = ["radialbench", "run", "--self-test", *words]
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[SelfTest]:
    """What the self-test finds, for tests to change."""
    cases = [case("short"), case("long")]
    monkeypatch.setattr(selftest, "self_test", lambda: tuple(cases))
    monkeypatch.setattr(sys, "argv", sys.argv)
    return cases


def test_the_noise_is_told_for_each_case(
    found: list[SelfTest], capsys: pytest.CaptureFixture[str]
) -> None:
    first = replace(PAIR[0], samples_ms=tuple(2.0 + 0.01 * (i % 3 - 1) for i in range(10)))
    hot = replace(PAIR[0], rounds=Rounds("nvml", slowed_by=SLOWED))
    found[:] = [replace(found[0], pair=(first, PAIR[1])), replace(found[1], pair=(hot, PAIR[1]))]
    assert run() == 0
    _, short, long = capsys.readouterr().out.splitlines()
    assert short.startswith("short: 512 tokens on cpu, 2 ms: ratio 1.0000, 95% interval 0.9950 to ")
    assert short.endswith("(10 pairs): differences below 0.50% are noise")
    assert "long: 4,680 tokens on cpu, 2 ms: ratio 1.0000" in long
    assert long.endswith("(9 pairs): differences below 0.00% are noise; 1 throttled")


def test_as_json(found: list[SelfTest], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["device"] == "cpu"
    assert [one["ratio"] for one in told["cases"]] == [1.0, 1.0]
    assert told["cases"][0]["noise"] == 0.0


def test_what_could_not_be_measured_is_told(
    found: list[SelfTest], capsys: pytest.CaptureFixture[str]
) -> None:
    found[1] = replace(found[1], pair=None, reason="needs triton")
    assert run() == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "long: 4,680 tokens on cpu: not measured: needs triton"
