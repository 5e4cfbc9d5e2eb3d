"""Proposer: the masks to try next."""

import random
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, product
from statistics import fmean

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from radialbench.masksearch.space import Family, Place
from radialbench.masksearch.trials import MaskTrial

STARTUP = 20
"""Masks that are tried before others are proposed by what they found."""

TURNS = 3
"""A proposal of Optuna's sampler, one beside the front and a random one take turns, which is
better than the sampler or random masks alone: `benchmarks/mask_search.py`, docs/mask-search.md."""

ASKS = 4
"""Proposals that were tried before, after which a random mask is taken."""

DRAWS = 100
"""Random masks that were tried before, after which the untried ones are listed."""

REACH = 0.12
"""Mean steps of a mask beside the front along an axis, as a share of its values."""

Choice = tuple[str, Place]
"""Word of a family, and a place in it."""


class Proposer:
    """Proposes masks by what they cost and what they lose in a group of heads; groups take turns.

    Each group has a sampler, Optuna's TPE for two objectives, that knows what every trial loses in
    its heads. Proposals depend on the seed and the trials so far alone.

    Args:
        families: The families.
        groups: The heads of each group, as indices of the losses of a trial.
        seed: Seed of the proposals.
    """

    def __init__(
        self, families: Sequence[Family], groups: Sequence[Sequence[int]], seed: int = 0
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._families = {family.word: family for family in families}
        self._groups, self._seed = groups, seed
        self._studies: dict[int, optuna.Study] = {}
        self._reported: dict[int, int] = {}

    def propose(self, trials: Sequence[MaskTrial], count: int) -> list[Choice]:
        """Return up to `count` masks that were not tried; fewer if no more are left."""
        taken = {(trial.family, trial.place) for trial in trials}
        chosen: list[Choice] = []
        for number in range(len(trials), len(trials) + count):
            choice = self._next(trials, taken, number)
            if choice is None:
                break
            taken.add(choice)
            chosen.append(choice)
        return chosen

    def _next(
        self, trials: Sequence[MaskTrial], taken: Collection[Choice], number: int
    ) -> Choice | None:
        rng = random.Random(f"{self._seed} {number}")
        starts = ((family.word, family.start) for family in self._families.values())
        for start in starts:
            if start not in taken:
                return start
        proposed: Iterator[Choice] = iter(())
        group = number // TURNS % len(self._groups)
        if number >= STARTUP and number % TURNS == 0:
            proposed = self._sampled(group, trials, rng)
        elif number >= STARTUP and number % TURNS == 1:
            proposed = self._beside_front(group, trials, rng)
        drawn = (self._draw(rng) for _ in range(DRAWS))
        return next((one for one in chain(proposed, drawn, self._all()) if one not in taken), None)

    def _sampled(
        self, group: int, trials: Sequence[MaskTrial], rng: random.Random
    ) -> Iterator[Choice]:
        study = self._study(group, trials)
        study.sampler = optuna.samplers.TPESampler(seed=rng.getrandbits(32), n_startup_trials=0)
        for _ in range(ASKS):
            trial = study.ask()
            family = self._families[trial.suggest_categorical("family", list(self._families))]
            place = tuple(
                trial.suggest_int(f"{family.word}.{axis.name}", 0, len(axis.values) - 1)
                for axis in family.axes
            )
            study.tell(trial, state=TrialState.FAIL)
            yield family.word, place

    def _beside_front(
        self, group: int, trials: Sequence[MaskTrial], rng: random.Random
    ) -> Iterator[Choice]:
        """Yield masks some steps beside those that no other beats in a group."""
        ranked = sorted(
            (trial.cost, self._loss(trial, group), number)
            for number, trial in enumerate(trials)
            if trial.cost is not None and trial.place
        )
        front: list[tuple[float, int]] = []
        for _, loss, number in ranked:
            if not front or loss < front[-1][0]:
                front.append((loss, number))
        for _ in range(ASKS if front else 0):
            trial = trials[rng.choice(front)[1]]
            place, sizes = list(trial.place), self._sizes(trial.family)
            moved = [axis for axis in range(len(place)) if rng.random() < 1 / len(place)]
            for axis in moved or [rng.randrange(len(place))]:
                steps = max(1, round(rng.expovariate(1 / max(1.0, REACH * sizes[axis]))))
                place[axis] = min(
                    max(0, place[axis] + rng.choice((-1, 1)) * steps), sizes[axis] - 1
                )
            yield trial.family, tuple(place)

    def _draw(self, rng: random.Random) -> Choice:
        word = rng.choice(list(self._families))
        return word, tuple(rng.randrange(size) for size in self._sizes(word))

    def _all(self) -> Iterator[Choice]:
        for word in self._families:
            for place in product(*map(range, self._sizes(word))):
                yield word, place

    def _sizes(self, word: str) -> list[int]:
        return [len(axis.values) for axis in self._families[word].axes]

    def _loss(self, trial: MaskTrial, group: int) -> float:
        return fmean(trial.losses[0][head] for head in self._groups[group])

    def _study(self, group: int, trials: Sequence[MaskTrial]) -> optuna.Study:
        """Return the study of a group, which knows all trials that have a cost."""
        if group not in self._studies:
            self._studies[group] = optuna.create_study(directions=["minimize", "minimize"])
        study = self._studies[group]
        for trial in trials[self._reported.get(group, 0) :]:
            if trial.cost is not None:
                study.add_trial(self._told(trial, [trial.cost, self._loss(trial, group)]))
        self._reported[group] = len(trials)
        return study

    def _told(self, trial: MaskTrial, values: list[float]) -> FrozenTrial:
        family = self._families[trial.family]
        params: dict[str, object] = {"family": family.word}
        axes: dict[str, BaseDistribution] = {
            "family": CategoricalDistribution(list(self._families))
        }
        for axis, index in zip(family.axes, trial.place, strict=True):
            params[f"{family.word}.{axis.name}"] = index
            axes[f"{family.word}.{axis.name}"] = IntDistribution(0, len(axis.values) - 1)
        return create_trial(values=values, params=params, distributions=axes)
