"""Search: which configuration to try next, given what was tried."""

import random
import warnings
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from radialbench.autotune.space import Candidates, Space
from radialbench.autotune.trials import Trial
from radialbench.errors import AutotuneError, unknown
from radialbench.records.problem import KernelConfig

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Place = tuple[int, ...]
Places = dict[KernelConfig, Place]
"""Where configurations lie on the axes of their space."""

SEARCHES = ("exhaustive", "random", "tpe")

STARTUP = 5
"""Configurations that `tpe` draws blindly before it begins to reason. By replay on made-up kernels
of some 200 configurations three and nine did a little worse."""

ASKS = 3
"""How often a sampler is asked for something new before the nearest there is has to do."""


class Search:
    """Proposes configurations, none twice.

    `exhaustive` takes them in the order of the space, `random` in a drawn one. `tpe` draws a few,
    then takes turns: one that Optuna's TPE proposes, and the neighbour of the best so far. Any
    other name is that of one of Optuna's samplers, which proposes them all.

    What is proposed depends on the seed and on what was tried alone, so that a search that goes on
    in another process is the same search. (Samplers of Optuna that remember more than the trials,
    such as CmaEsSampler, begin anew there.)

    Args:
        candidates: What may be tried.
        name: Who proposes.
        seed: What is drawn from.
        first: What to begin with, after the default, such as what was best for other shapes; what
            is not feasible is left out.

    Raises:
        AutotuneError: There is no such search, or it cannot be used here.

    Attributes:
        name: Who proposes.
        order: Every candidate, in the order in which it is drawn.
        likely: The same in the order in which it is likely to be needed.
    """

    def __init__(
        self,
        candidates: Candidates,
        name: str = "tpe",
        *,
        seed: int = 0,
        first: Iterable[KernelConfig] = (),
    ) -> None:
        self.name = name
        self._seed = seed
        rest = list(candidates.feasible)
        if name != "exhaustive":
            random.Random(seed).shuffle(rest)
        known = set(rest)
        start = dict.fromkeys([candidates.default, *(one for one in first if one in known)])
        self.order = tuple(dict.fromkeys([*start, *rest]))
        self._blind = len(start) + (STARTUP if name == "tpe" else 0)
        self._places = {config: candidates.space.place(config) or () for config in self.order}
        self._sampler = None
        self.likely = self.order
        if name not in SEARCHES or name == "tpe":
            self._sampler = _Sampler(candidates.space, self._places, name, seed)
            blind, later = self.order[: self._blind], self.order[self._blind :]
            self.likely = (*blind, *sorted(later, key=partial(self._steps_from, tuple(start))))

    def suggest(
        self, tried: Sequence[Trial], *, taken: Collection[KernelConfig] = ()
    ) -> KernelConfig | None:
        """Propose what to try next; None when nothing is left.

        Args:
            tried: What was tried, in order.
            taken: What others are trying at this moment.
        """
        done = {trial.config for trial in tried} | set(taken)
        left = [config for config in self.order if config not in done]
        if not left:
            return None
        # What was feasible in an earlier process may no longer be.
        known = [trial for trial in tried if trial.config in self._places]
        times = {trial.config: trial.ms for trial in known if trial.ms is not None}
        if self._sampler is None or len(tried) < self._blind or not times:
            return left[0]
        if self.name == "tpe" and (len(tried) - self._blind) % 2:
            best = min(times, key=lambda config: times[config])
            return _nearest(self._places, self._places[best], left)
        return self._sampler.suggest(known, left)

    def _steps_from(self, known: Sequence[KernelConfig], config: KernelConfig) -> int:
        """Count the steps from the nearest of what is thought to be good."""
        return min(_steps(self._places[one], self._places[config]) for one in known)


def sampler_names() -> tuple[str, ...]:
    """Name Optuna's samplers that need nothing but a seed and do not enumerate."""
    from optuna import samplers

    others = ("BaseSampler", "BaseGASampler", "BruteForceSampler", "GridSampler")
    names = {name for name in samplers.__all__ if name.endswith("Sampler")}
    return tuple(sorted(names - {*others, "PartialFixedSampler"}))


class _Sampler:
    """One of Optuna's samplers over the places of a space, on a study in memory.

    The study that is kept holds what was tried and nothing else: what a sampler proposes in vain
    is told to this one.
    """

    def __init__(self, space: Space, places: Places, name: str, seed: int) -> None:
        import optuna
        from optuna.distributions import IntDistribution

        if name not in ("tpe", *sampler_names()):
            raise AutotuneError(unknown("search", name, [*SEARCHES, *sampler_names()]))
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._places, self._seed = space, places, seed
        # `tpe` has drawn blindly already.
        blind = {"n_startup_trials": 1} if name == "tpe" else {}
        self._name, self._options = ("TPESampler" if name == "tpe" else name), blind
        # Places rather than values: neighbours lie at equal distances, whatever is doubled.
        self._axes: dict[str, BaseDistribution] = {
            axis.name: IntDistribution(0, len(axis.values) - 1)
            for axis in space.axes
            if len(axis.values) > 1
        }
        self._study = optuna.create_study(sampler=self._made(0))
        self._told: set[KernelConfig] = set()
        self._asked: dict[KernelConfig, optuna.Trial] = {}

    def suggest(self, tried: Sequence[Trial], left: Sequence[KernelConfig]) -> KernelConfig:
        """Propose one of those that are left."""
        from optuna.trial import TrialState

        for trial in tried:
            if trial.config not in self._told:
                self._tell(trial)
        self._study.sampler = self._made(len(tried))
        free = {self._places[config]: config for config in left}
        proposed = []
        for _ in range(ASKS):
            asked = self._ask()
            place = tuple(asked.params.get(axis.name, 0) for axis in self._space.axes)
            if place in free:
                self._asked[free[place]] = asked
                return free[place]
            proposed.append(place)
            self._study.tell(asked, state=TrialState.FAIL)
        return _nearest(self._places, proposed[0], left)

    def _ask(self) -> "optuna.Trial":
        try:
            return self._study.ask(self._axes)
        except ImportError as error:
            raise _unusable(self._name, error) from None

    def _tell(self, trial: Trial) -> None:
        """Report how a trial ended; one without a time as cut short, worse than all."""
        from optuna.trial import TrialState, create_trial

        self._told.add(trial.config)
        state = TrialState.PRUNED if trial.ms is None else TrialState.COMPLETE
        asked = self._asked.pop(trial.config, None)
        if asked is not None:
            self._study.tell(asked, trial.ms, state=state)
            return
        named = zip(self._space.axes, self._places[trial.config], strict=True)
        params = {axis.name: index for axis, index in named if axis.name in self._axes}
        self._study.add_trial(
            create_trial(
                state=state,
                value=trial.ms,
                params=params,
                distributions=self._axes,
            )
        )

    def _made(self, step: int) -> "optuna.samplers.BaseSampler":
        """Make the sampler anew for each step, so that it draws the same whatever came before."""
        import optuna

        seed = random.Random(f"{self._seed} {step}").getrandbits(32)
        try:
            with warnings.catch_warnings():
                # Some are experimental, which is for whoever names them to know.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                made = getattr(optuna.samplers, self._name)(seed=seed, **self._options)
        except ImportError as error:
            raise _unusable(self._name, error) from None
        assert isinstance(made, optuna.samplers.BaseSampler)
        return made


def _nearest(places: Places, place: Place, left: Sequence[KernelConfig]) -> KernelConfig:
    """Return the one that is fewest steps along the axes away; of several the first."""
    return min(left, key=lambda config: _steps(place, places[config]))


def _steps(one: Place, other: Place) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def _unusable(name: str, error: ImportError) -> AutotuneError:
    reason = " ".join(str(error).split())[:200]
    return AutotuneError(f"search {name} lacks a library: {reason}. Install it, or use tpe")
