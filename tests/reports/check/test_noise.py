"""What a check does with noise alone, and with a slowdown in it, in made-up suites of 50 cases."""

import pytest

from radialbench.reports.check.compare import check
from radialbench.reports.check.verdict import Outcome, exit_code
from tests.reports.check.noise import Noise

SUITES = 120


def caught(slowdown: float) -> float:
    """In which share of checks a slowdown of one case is called one."""
    noise, found = Noise(2), 0
    for _ in range(SUITES):
        verdicts = check(noise.run({7: slowdown}), noise.run()).verdicts
        found += any(
            one.outcome is Outcome.REGRESSED and (one.case, one.metric) == ("case7", "latency")
            for one in verdicts
        )
    return found / SUITES


@pytest.mark.slow
def test_the_same_code_does_not_fail() -> None:
    noise = Noise(1)
    codes = [exit_code(check(noise.run(), noise.run()).verdicts) for _ in range(SUITES)]
    assert codes.count(1) <= 0.01 * SUITES
    assert codes.count(0) >= 0.95 * SUITES


@pytest.mark.slow
@pytest.mark.parametrize(("slowdown", "least"), [(1.03, 0.9), (1.05, 0.99)])
def test_a_slowdown_is_caught(slowdown: float, least: float) -> None:
    assert caught(slowdown) >= least
