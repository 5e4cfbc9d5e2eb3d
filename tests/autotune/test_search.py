"""What is tried next: nothing twice, and the same for the same seed and the same past."""

import random

import pytest

from radialbench.autotune.search import SEARCHES, STARTUP, Search, sampler_names
from radialbench.autotune.space import SPACES, Candidates
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from tests.autotune import landscape

SHAPE = landscape.shape(1)
AMONG = landscape.candidates(SHAPE)
SAMPLERS = ("NSGAIISampler", "RandomSampler", "TPESampler")


def trial(config: KernelConfig) -> Trial:
    """Try a configuration; one of eight crashes."""
    if random.Random(repr(config)).random() < 0.125 and config != AMONG.default:
        return Trial(config, TrialOutcome.CRASHED, "ended by SIGABRT")
    return Trial(config, TrialOutcome.OK, None, (landscape.true_ms(config, SHAPE),))


def searched(search: Search, count: int, past: tuple[Trial, ...] = ()) -> list[Trial]:
    tried = list(past)
    while len(tried) < count and (config := search.suggest(tried)) is not None:
        tried.append(trial(config))
    return tried


@pytest.mark.parametrize("name", [*SEARCHES, *SAMPLERS])
def test_everything_is_proposed_once(name: str) -> None:
    few = Candidates(AMONG.space, AMONG.default, (*AMONG.feasible[::9], AMONG.default))
    tried = searched(Search(few, name), len(AMONG.feasible))
    assert sorted((one.config for one in tried), key=repr) == sorted(few.feasible, key=repr)


@pytest.mark.parametrize("name", ["random", "tpe", "RandomSampler", "TPESampler"])
def test_the_seed_decides(name: str) -> None:
    first, again, other = (searched(Search(AMONG, name, seed=seed), 25) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", ["random", "tpe", "RandomSampler", "TPESampler"])
def test_a_search_goes_on_as_if_it_had_not_ended(name: str) -> None:
    whole = searched(Search(AMONG, name, seed=3), 30)
    for cut in (0, 1, STARTUP, 12, 29):
        assert searched(Search(AMONG, name, seed=3), 30, tuple(whole[:cut])) == whole


def test_the_default_and_the_neighbours_come_first() -> None:
    feasible, infeasible = AMONG.feasible[5], next(iter(AMONG.rejected))
    first = [feasible, infeasible, AMONG.default, feasible]
    for name in SEARCHES:
        search = Search(AMONG, name, first=first)
        assert [one.config for one in searched(search, 2)] == [AMONG.default, feasible]
        assert search.order[:2] == (AMONG.default, feasible)
        assert sorted(search.order, key=repr) == sorted(AMONG.feasible, key=repr)


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_what_is_to_be_compiled_first_is_what_is_tried_first(name: str) -> None:
    search = Search(AMONG, name, seed=5)
    tried = searched(search, 1 + STARTUP)
    begin = search.order[: 1 + STARTUP]
    assert tuple(one.config for one in tried) == begin == search.likely[: 1 + STARTUP]


def test_what_is_near_the_best_known_is_compiled_before_the_rest() -> None:
    first = [AMONG.feasible[5]]
    search = Search(AMONG, "tpe", seed=5, first=first)
    assert sorted(search.likely, key=repr) == sorted(search.order, key=repr)
    places = [AMONG.space.place(one) or () for one in search.likely]

    def steps(place: tuple[int, ...]) -> int:
        return min(
            sum(abs(a - b) for a, b in zip(place, known, strict=True)) for known in places[:2]
        )

    far = [steps(place) for place in places[2 + STARTUP :]]
    assert far == sorted(far)
    assert far[0] < far[-1]
    assert Search(AMONG, "random", first=first).likely == Search(AMONG, "random", first=first).order


def test_what_others_are_trying_is_left_to_them() -> None:
    search = Search(AMONG, "random", seed=5)
    taken = set(search.order[:4])
    assert search.suggest([], taken=taken) == search.order[4]
    assert search.suggest([], taken=AMONG.feasible) is None


def test_the_neighbour_of_the_best_has_its_turn() -> None:
    search = Search(AMONG, "tpe", seed=2)
    tried = searched(search, 1 + STARTUP + 1)
    best = min((one for one in tried if one.ms), key=lambda one: one.ms or 0).config
    proposed = search.suggest(tried)
    assert proposed is not None
    here, there = AMONG.space.place(best), AMONG.space.place(proposed)
    assert here is not None and there is not None
    assert sum(abs(a - b) for a, b in zip(here, there, strict=True)) == 1


def test_nothing_but_crashes_is_no_end() -> None:
    search = Search(AMONG, "tpe")
    tried: list[Trial] = []
    for _ in range(STARTUP + 5):
        config = search.suggest(tried)
        assert config is not None
        tried.append(Trial(config, TrialOutcome.TIMEOUT, "stopped"))
    assert len({one.config for one in tried}) == STARTUP + 5


def test_unknown_searches() -> None:
    with pytest.raises(AutotuneError, match="unknown search 'TPE'"):
        Search(AMONG, "TPE")
    with pytest.raises(AutotuneError, match="unknown search 'BruteForceSampler'"):
        Search(AMONG, "BruteForceSampler")
    assert "BaseSampler" not in sampler_names()


def test_a_sampler_that_lacks_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cmaes", None)
    with pytest.raises(AutotuneError, match="CmaEsSampler lacks a library: .* or use tpe"):
        searched(Search(AMONG, "CmaEsSampler"), 10)


def test_a_space_with_a_single_value() -> None:
    space = SPACES["hopper"]
    default = KernelConfig(block_n=64, num_stages=2)
    one = Candidates(space, default, (default,))
    assert [t.config for t in searched(Search(one, "tpe"), 5)] == [default]
