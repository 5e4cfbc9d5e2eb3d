"""A replay draws what was recorded, with its noise, and nothing else."""

import pytest

from radialbench.autotune.replay import Replay, by_problem, recorded_candidates, true_times
from radialbench.autotune.space import SPACES
from radialbench.autotune.trials import TrialOutcome
from radialbench.autotune.tuner import tune
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from tests.autotune import landscape

SHAPE = landscape.shape(0)
SWEEP = landscape.sweep([SHAPE])
KEY = landscape.key(0, SHAPE)
ONE = SWEEP[5]


def test_samples_are_those_recorded() -> None:
    trial = Replay(SWEEP).quick(ONE.config, best_ms=None)
    assert trial.outcome == TrialOutcome.OK
    assert set(trial.samples_ms) <= set(ONE.samples_ms)
    assert len(set(trial.samples_ms)) > 1


def test_the_seed_decides_and_not_the_order() -> None:
    first, again, other = Replay(SWEEP, seed=1), Replay(SWEEP, seed=1), Replay(SWEEP, seed=2)
    one = first.quick(ONE.config, best_ms=None)
    again.quick(SWEEP[9].config, best_ms=1.0)
    assert again.quick(ONE.config, best_ms=1.0) == one
    assert other.quick(ONE.config, best_ms=None) != one


def test_finals_are_new_samples_of_equal_length() -> None:
    replay = Replay(SWEEP)
    once = replay.runoff([ONE.config, ONE.config, SWEEP[0].config])
    assert len({len(trial.samples_ms) for trial in once}) == 1
    assert once[0] != once[1]
    assert replay.runoff([ONE.config])[0] != once[0]


def test_what_did_not_end_well_does_not_again() -> None:
    crashed = landscape.recorded(KEY, ONE.config, (), TrialOutcome.CRASHED, "ended by SIGABRT")
    replay = Replay([SWEEP[0], crashed])
    assert replay.quick(ONE.config, best_ms=None) == crashed.trial
    assert replay.runoff([ONE.config]) == [crashed.trial]
    unknown = replay.quick(SWEEP[7].config, best_ms=None)
    assert (unknown.outcome, unknown.samples_ms) == (TrialOutcome.REJECTED, ())


def test_candidates_are_what_was_recorded() -> None:
    found = recorded_candidates(SWEEP)
    assert found.default == landscape.DEFAULT
    assert found.space == SPACES["triton"]
    assert list(found.feasible) == [c for c in found.space.configs() if c in set(found.feasible)]
    assert len(found.feasible) == len(SWEEP)
    with pytest.raises(AutotuneError, match="nothing was recorded"):
        recorded_candidates([])


def test_configurations_of_no_known_space_span_one() -> None:
    configs = [KernelConfig(96, 48), KernelConfig(96, 64, num_warps=3), KernelConfig(48, 64)]
    lines = [landscape.recorded(KEY, config, (1.0,)) for config in configs]
    found = recorded_candidates(lines)
    assert set(found.feasible) == set(configs)
    assert [axis.values for axis in found.space.axes][:3] == [(48, 96), (48, 64), (None, 3)]


def test_a_sweep_is_parted_by_problem() -> None:
    shapes = [landscape.shape(seed) for seed in (0, 1)]
    parts = by_problem(landscape.sweep(shapes))
    assert [key.frames for key in parts] == [5, 6]
    assert all(one.key == key for key, part in parts.items() for one in part)


def test_a_replayed_search_finds_what_is_best() -> None:
    sweep = landscape.sweep([SHAPE], noise=0.001)
    tuned = tune(recorded_candidates(sweep), Replay(sweep), trials=len(sweep))
    times = true_times(sweep)
    assert times[tuned.decision.config] <= 1.005 * min(times.values())
    assert tuned.decision.ratio.value == pytest.approx(
        times[landscape.DEFAULT] / times[tuned.decision.config], rel=0.002
    )
