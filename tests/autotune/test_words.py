"""What mattered in a search, and its words."""

from radialbench.autotune.importance import FEWEST, importance
from radialbench.autotune.space import SPACES
from radialbench.autotune.words import config_words, ms_words, ratio_words
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
    assert importance(SPACE, trials[: FEWEST - 1]) == {}


def test_an_axis_that_changes_nothing_does_not_matter() -> None:
    configs = list(SPACE.configs())
    fake = Fake(noise=0, time=lambda config: float(config.block_m))
    shares = importance(SPACE, [fake.quick(config, best_ms=None) for config in configs])
    assert shares["block_m"] > 0.95


def test_words() -> None:
    full = KernelConfig(64, 32, num_warps=1, num_stages=3)
    assert config_words(full) == "64×32, 1 warp, 3 stages"
    assert config_words(KernelConfig()) == "128×128"
    assert ms_words(Estimate(2.0)) == "2 ms"
    assert ms_words(Estimate(2.0, 1.98, 2.02)) == "2 ms ±1.0%"
    assert ratio_words(Estimate(1.5)) == "1.500"
