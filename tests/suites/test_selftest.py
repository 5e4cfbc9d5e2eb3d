"""A case measured against itself."""

import pytest

from radialbench.kernels.backend import BACKENDS
from radialbench.reports.times import ratio
from radialbench.suites.selftest import PROTOCOL, self_test
from radialbench.suites.spec import Protocol
from tests.suites import small

QUICK = Protocol(target=0.0, min_samples=2, max_samples=6, max_seconds=5, interleave=True)


def test_both_measurements_are_of_one_case_sampled_in_turn() -> None:
    short, long = self_test("cpu", QUICK)
    assert (short.name, long.name) == ("short", "long")
    assert short.case.problem.seq_len < long.case.problem.seq_len
    for one in (short, long):
        assert one.pair is not None and one.reason is None
        first, second = one.pair
        assert len(first.samples_ms) == len(second.samples_ms) == 6
        assert first.samples_ms != second.samples_ms
        assert first.unlike(second) == []


def test_a_case_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", f"{small.__name__}:{small.Broken.__name__}")
    for one in self_test("cpu", QUICK):
        assert one.pair is None
        assert one.reason


@pytest.mark.gpu
def test_on_a_gpu_equal_kernels_over_a_millisecond_differ_by_less_than_half_a_percent() -> None:
    _, long = self_test("cuda", PROTOCOL)
    assert long.pair is not None
    assert long.pair[0].median_ms > 1
    found = ratio(*long.pair)
    assert found.low is not None and found.high is not None
    assert 0.995 < found.low <= found.high < 1.005
