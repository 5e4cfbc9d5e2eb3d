"""What mattered in a search, and its words."""

from radialbench.autotune.search import FEWEST_TIMES, importance
from radialbench.autotune.space import SPACES, format_config
from radialbench.autotune.tuner import format_ms
from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import Estimate
from tests.autotune import landscape
from tests.autotune.fake import Fake

SPACE = SPACES["triton"]


def test_what_mattered() -> None:
    sweep = landscape.sweep([landscape.shape(0)])
    trials = [one.trial for one in sweep]
    shares = importance(SPACE, trials)
    assert set(shares) == {axis.name for axis in SPACE.axes}
    assert abs(sum(shares.values()) - 1) < 1e-9
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    # Blocks are most of the formula; stages hardly count in it.
    assert shares["num_stages"] < shares["block_m"]
    assert importance(SPACE, trials[: FEWEST_TIMES - 1]) == {}


def test_an_axis_that_changes_nothing_does_not_matter() -> None:
    configs = list(SPACE.configs())
    fake = Fake(noise=0, time=lambda config: float(config.block_m))
    shares = importance(SPACE, [fake.quick(config, best_ms=None) for config in configs])
    assert shares["block_m"] > 0.95


def test_words() -> None:
    full = KernelConfig(64, 32, num_warps=1, num_stages=3)
    assert format_config(full) == "64×32, 1 warp, 3 stages"
    assert format_config(KernelConfig()) == "128×128"
    assert format_ms(Estimate(2.0)) == "2 ms"
    assert format_ms(Estimate(2.0, 1.98, 2.02)) == "2 ms ±1.0%"
    assert f"{Estimate(1.5):.3f}" == "1.500"
