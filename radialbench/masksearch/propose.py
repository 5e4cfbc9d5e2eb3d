"""Proposer: the masks to try next."""

import random
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, product
from statistics import fmean

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from radialbench.masksearch.space import Family, Place
from radialbench.masksearch.trials import MaskTrial

STARTUP = 10
"""Random masks before Optuna's TPE uses its model, and two of each family at least."""

ASKS = 4
"""Proposals of the sampler that were tried before, after which a random mask is taken."""

DRAWS = 100
"""Random masks that were tried before, after which the untried ones are listed."""

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
        self._startup = max(STARTUP, 2 * len(families))

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
        for family in self._families.values():
            if (family.word, family.start) not in taken:
                return family.word, family.start
        if number >= self._startup:
            study = self._study(number % len(self._groups), trials)
            study.sampler = optuna.samplers.TPESampler(seed=rng.getrandbits(32), n_startup_trials=0)
            for _ in range(ASKS):
                choice = self._ask(study)
                if choice not in taken:
                    return choice
        drawn = (self._draw(rng) for _ in range(DRAWS))
        return next((one for one in chain(drawn, self._all()) if one not in taken), None)

    def _ask(self, study: optuna.Study) -> Choice:
        trial = study.ask()
        family = self._families[trial.suggest_categorical("family", list(self._families))]
        place = tuple(
            trial.suggest_int(f"{family.word}.{axis.name}", 0, len(axis.values) - 1)
            for axis in family.axes
        )
        study.tell(trial, state=TrialState.FAIL)
        return family.word, place

    def _draw(self, rng: random.Random) -> Choice:
        family = rng.choice(list(self._families.values()))
        return family.word, tuple(rng.randrange(len(axis.values)) for axis in family.axes)

    def _all(self) -> Iterator[Choice]:
        for family in self._families.values():
            for place in product(*(range(len(axis.values)) for axis in family.axes)):
                yield family.word, place

    def _study(self, group: int, trials: Sequence[MaskTrial]) -> optuna.Study:
        """Return the study of a group, which knows all trials that have a cost."""
        if group not in self._studies:
            self._studies[group] = optuna.create_study(directions=["minimize", "minimize"])
        study, heads = self._studies[group], self._groups[group]
        for trial in trials[self._reported.get(group, 0) :]:
            if trial.cost is not None:
                loss = fmean(trial.losses[0][head] for head in heads)
                study.add_trial(self._told(trial, [trial.cost, loss]))
        self._reported[group] = len(trials)
        return study

    def _told(self, trial: MaskTrial, values: list[float]) -> optuna.trial.FrozenTrial:
        family = self._families[trial.family]
        params: dict[str, object] = {"family": family.word}
        axes: dict[str, BaseDistribution] = {
            "family": CategoricalDistribution(list(self._families))
        }
        for axis, index in zip(family.axes, trial.place, strict=True):
            params[f"{family.word}.{axis.name}"] = index
            axes[f"{family.word}.{axis.name}"] = IntDistribution(0, len(axis.values) - 1)
        return create_trial(values=values, params=params, distributions=axes)
