"""The protocol's state of the cache reaches the clock, alone and in turn."""

import pytest

from radialbench.kernels.measure.clocks import Clock, EventClock, HostClock, clock_of
from radialbench.records.result import Status
from radialbench.suites import attempt
from radialbench.suites.plan import plan
from tests.suites import small


@pytest.mark.parametrize("cache", ["cold", "warm"])
@pytest.mark.parametrize("interleave", [False, True])
def test_the_state_of_the_cache_is_asked_of_the_clock(
    cache: str, interleave: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def noted(device: str, *, cold: bool) -> Clock:
        asked.append((device, cold))
        return HostClock()

    monkeypatch.setattr(attempt, "clock_of", noted)
    protocol = {"cache": cache, "interleave": interleave, "max_seconds": 1e-3}
    (case, *_) = plan(small.matrix(protocol=protocol))
    if interleave:
        (found,) = attempt.attempt_together([case], small.bench(), lambda step: None)
    else:
        found = attempt.attempt(case, small.bench())
    assert found.status == Status.OK
    assert asked == [("cpu", cache == "cold")]


def test_a_gpus_clock_says_what_state_its_cache_is_in() -> None:
    assert clock_of("cuda", cold=True) == EventClock(cold=True)
    assert clock_of("cuda", cold=False).cache == "warm"
    assert clock_of("cpu", cold=True).cache == "warm"
