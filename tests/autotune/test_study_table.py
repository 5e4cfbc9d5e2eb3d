"""A finished search in words."""

from dataclasses import replace

from radialbench.autotune.importance import FEWEST, importance
from radialbench.autotune.replay import Replay, recorded_candidates
from radialbench.autotune.space import SPACES
from radialbench.autotune.study_table import config_words, ms_words, ratio_words, study_table
from radialbench.autotune.tuner import tune_among
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import Estimate
from tests.autotune import landscape
from tests.autotune.fake import Fake, among
from tests.autotune.test_tuner import ENDS

SPACE = SPACES["triton"]


def test_a_search_that_found_something() -> None:
    rows = dict(study_table(replace(tune_among(among(), Fake(ENDS, noise=0)), seconds=2.4)))
    assert rows == {
        "default": "128×128: 1.22 ms ±0.0%",
        "best": "64×64: 1.01 ms ±0.0%",
        "gain": "1.208 (1.208 to 1.208) times as fast: surely more than 0.5% faster than the "
        "default",
        "trials": "7 ok, 1 wrong, 1 crashed, 1 timeout, 1 compile failed; exhaustive, seed 0, 2 s",
        "rejected": "1 by trying",
        "mattered": "not told with fewer than 20 times",
    }


def test_a_search_that_found_nothing() -> None:
    tuned = tune_among(among(), Fake(noise=0, time=lambda config: 1.0))
    rows = dict(study_table(tuned))
    assert "best" not in rows
    assert rows["gain"].startswith("none, the default stays: the best other was 1.000 (")


def test_an_end_of_the_space_is_a_warning() -> None:
    def longer(config: KernelConfig) -> float:
        return 100.0 / (config.block_m * config.block_n)

    rows = dict(study_table(tune_among(among(), Fake(noise=0, time=longer))))
    assert rows["edge"] == "block_n 128 is an end of what was searched: try beyond it"
    assert rows["best"].startswith("256×128")


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
    tuned = tune_among(recorded_candidates(sweep), Replay(sweep), trials=40)
    assert "%" in dict(study_table(tuned))["mattered"]


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
