"""The contract that others inherit: ours hold it, and what breaks it is found."""

from typing import Any

import pytest
from torch import Tensor

from radialbench.kernels.backends.cpu import Cpu
from radialbench.records.measurement import Measurement
from radialbench.testing import GRIDS, BackendContract, compare_times

pytest_plugins = ["pytester"]


class TestCpu(BackendContract):
    backend = "cpu"


class TestReference(BackendContract):
    backend = "reference"


class TestTriton(BackendContract):
    backend = "triton"


class Writing(Cpu):
    def plan(self, *problem: Any) -> Any:
        run = super().plan(*problem)

        def plan(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            out, lse = run(q, k, v)
            k.zero_()
            return out, lse

        return plan


class Wrong(Cpu):
    def plan(self, *problem: Any) -> Any:
        run = super().plan(*problem)
        return lambda q, k, v: (run(q, k, v)[0] * 1.001, run(q, k, v)[1])


class NaturalLog(Cpu):
    def plan(self, *problem: Any) -> Any:
        run = super().plan(*problem)
        return lambda q, k, v: (run(q, k, v)[0], run(q, k, v)[1] * 1.4427)


class Half(Cpu):
    def plan(self, *problem: Any) -> Any:
        run = super().plan(*problem)
        return lambda q, k, v: (run(q, k, v)[0].half(), run(q, k, v)[1])


class NoReason(Cpu):
    def unsupported_reasons(self, problem: Any, device: str) -> list[str]:
        return [] if device == "cpu" else [""]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Writing, "q, k or v was written to"),
        (Wrong, "out differs from the definition"),
        (NaturalLog, "lse differs from the definition"),
        (Half, "out is like q"),
    ],
)
def test_what_breaks_it_is_found(kind: type, message: str) -> None:
    class Broken(BackendContract):
        backend = f"{__name__}:{kind.__name__}"

    with pytest.raises(AssertionError, match=message):
        Broken().test_masks_and_lengths("near", GRIDS[0])


def test_a_reason_has_words() -> None:
    class Broken(BackendContract):
        backend = f"{__name__}:NoReason"

    with pytest.raises(AssertionError):
        Broken().test_reasons_are_sentences()


def test_times_are_judged_by_the_whole_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(own: list[float], gate: str) -> str:
        made = [
            Measurement(tuple(ms), 1, "warm", "perf_counter", None) for ms in (own, [10.0] * 12)
        ]
        monkeypatch.setattr("radialbench.testing.times.measure_together", lambda *_, **__: made)
        return compare_times(lambda: None, lambda: None, gate=gate).verdict

    slower = [11.0 + 0.001 * place for place in range(12)]
    assert judged(slower, "5%") == "regressed"
    assert judged(slower, "15%") == "pass"
    assert judged(slower, "5%, 2ms") == "pass"
    assert judged([9.0, 13.0] * 6, "10%") == "inconclusive"
    assert judged(slower[:3] * 4, "off") == "pass"


def test_the_fixture_fails_skips_and_returns(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import pytest

        from radialbench.testing import times
        from radialbench.records.measurement import Measurement

        @pytest.mark.parametrize("own", [9.0, 30.0, None])
        def test_mine(own, compare_times, monkeypatch):
            samples = [10.0] * 12, [own] * 12 if own else [5.0, 40.0] * 6
            made = [Measurement(tuple(ms), 1, "warm", "perf_counter", None) for ms in samples]
            monkeypatch.setattr(times, "measure_together", lambda calls, **_: made[::-1])
            assert compare_times(print, against=print, gate="2x").ratio.value == 0.9
        """
    )
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    words = ("-p", "radialbench.pytest_plugin", "-rs")
    done = pytester.runpytest_subprocess(*words)
    done.assert_outcomes(passed=1, failed=1, skipped=1)
    done.stdout.fnmatch_lines(["*regressed: 30 ms against 10: 3.000 times*the gate is 2x*"])
    done.stdout.fnmatch_lines(["*inconclusive: *"])
    done = pytester.runpytest_subprocess(*words, "--radialbench-inconclusive", "fail")
    done.assert_outcomes(passed=1, failed=2)
