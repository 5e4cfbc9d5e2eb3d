"""Search: the configuration to try next, given the trials so far."""

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
"""Places of configurations on the axes of their space."""

SEARCHES = ("exhaustive", "random", "tpe")

STARTUP = 5
"""Random configurations before `tpe` uses its model. By replay on synthetic kernels of some 200
configurations three and nine were a little worse."""

ASKS = 3
"""Proposals of a sampler that were tried before, after which the nearest new one is taken."""


FEWEST_TIMES = 20
"""Trials with a time that an importance needs: five of them are then the best quarter, the fewest
that the authors of PED-ANOVA advise."""


class Search:
    """Proposes configurations, none twice.

    `exhaustive` takes them in the order of the space, `random` in a random one. `tpe` draws a few,
    then alternates between a proposal of Optuna's TPE and the neighbour of the best so far. Any
    other name is that of one of Optuna's samplers, which makes all proposals.

    Proposals depend only on the seed and the trials so far, so that a search that another process
    continues is the same search. (Samplers of Optuna with more state, such as CmaEsSampler, start
    anew there.)

    Args:
        candidates: The configurations to choose from.
        name: The sampler.
        seed: Its seed.
        first: Configurations to try first, after the default; infeasible ones are left out.

    Raises:
        AutotuneError: There is no such search, or it cannot be used here.

    Attributes:
        name: The sampler.
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
        self._startup = len(start) + (STARTUP if name == "tpe" else 0)
        self._places = {config: candidates.space.place(config) or () for config in self.order}
        self._sampler = None
        self.likely = self.order
        if name not in SEARCHES or name == "tpe":
            self._sampler = _Sampler(candidates.space, self._places, name, seed)
            startup, later = self.order[: self._startup], self.order[self._startup :]
            self.likely = (*startup, *sorted(later, key=partial(self._steps_from, tuple(start))))

    def suggest(
        self, tried: Sequence[Trial], *, taken: Collection[KernelConfig] = ()
    ) -> KernelConfig | None:
        """Propose the next configuration; None when nothing is left.

        Args:
            tried: The trials so far, in order.
            taken: Configurations that others are trying at this moment.
        """
        done = {trial.config for trial in tried} | set(taken)
        left = [config for config in self.order if config not in done]
        if not left:
            return None
        # A configuration of an earlier process may no longer be feasible.
        known = [trial for trial in tried if trial.config in self._places]
        times = {trial.config: trial.ms for trial in known if trial.ms is not None}
        if self._sampler is None or len(tried) < self._startup or not times:
            return left[0]
        if self.name == "tpe" and (len(tried) - self._startup) % 2:
            best = min(times, key=lambda config: times[config])
            return _nearest(self._places, self._places[best], left)
        return self._sampler.suggest(known, left)

    def _steps_from(self, known: Sequence[KernelConfig], config: KernelConfig) -> int:
        """Count the steps to the nearest of some configurations."""
        return min(_steps(self._places[one], self._places[config]) for one in known)


def sampler_names() -> tuple[str, ...]:
    """Return the names of Optuna's samplers that need only a seed and do not enumerate."""
    from optuna import samplers

    others = ("BaseSampler", "BaseGASampler", "BruteForceSampler", "GridSampler")
    names = {name for name in samplers.__all__ if name.endswith("Sampler")}
    return tuple(sorted(names - {*others, "PartialFixedSampler"}))


class _Sampler:
    """One of Optuna's samplers over the places of a space, on a study in memory.

    The stored study holds only trials; this one also holds the proposals that were not used.
    """

    def __init__(self, space: Space, places: Places, name: str, seed: int) -> None:
        import optuna
        from optuna.distributions import IntDistribution

        if name not in ("tpe", *sampler_names()):
            raise AutotuneError(unknown("search", name, [*SEARCHES, *sampler_names()]))
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._places, self._seed = space, places, seed
        # `tpe` has drawn its random configurations already.
        options = {"n_startup_trials": 1} if name == "tpe" else {}
        self._name, self._options = ("TPESampler" if name == "tpe" else name), options
        # Places rather than values: neighbours lie at equal distances, whatever is doubled.
        self._axes: dict[str, BaseDistribution] = {
            axis.name: IntDistribution(0, len(axis.values) - 1)
            for axis in space.axes
            if len(axis.values) > 1
        }
        self._study = optuna.create_study(sampler=self._create_sampler(0))
        self._reported: set[KernelConfig] = set()
        self._asked: dict[KernelConfig, optuna.Trial] = {}

    def suggest(self, tried: Sequence[Trial], left: Sequence[KernelConfig]) -> KernelConfig:
        """Propose one of those that are left."""
        from optuna.trial import TrialState

        for trial in tried:
            if trial.config not in self._reported:
                self._tell(trial)
        self._study.sampler = self._create_sampler(len(tried))
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
        """Report a trial to the sampler; one without a time as pruned, worse than all."""
        from optuna.trial import TrialState, create_trial

        self._reported.add(trial.config)
        state = TrialState.PRUNED if trial.ms is None else TrialState.COMPLETE
        asked = self._asked.pop(trial.config, None)
        if asked is not None:
            self._study.tell(asked, trial.ms, state=state)
            return
        named = zip(self._space.axes, self._places[trial.config], strict=True)
        params = {axis.name: index for axis, index in named if axis.name in self._axes}
        self._study.add_trial(
            create_trial(state=state, value=trial.ms, params=params, distributions=self._axes)
        )

    def _create_sampler(self, step: int) -> "optuna.samplers.BaseSampler":
        """Create the sampler anew for each step, so that its draws depend only on the step."""
        import optuna

        seed = random.Random(f"{self._seed} {step}").getrandbits(32)
        try:
            with warnings.catch_warnings():
                # Some are experimental.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = getattr(optuna.samplers, self._name)(seed=seed, **self._options)
        except ImportError as error:
            raise _unusable(self._name, error) from None
        assert isinstance(sampler, optuna.samplers.BaseSampler)
        return sampler


def _nearest(places: Places, place: Place, left: Sequence[KernelConfig]) -> KernelConfig:
    """Return the first with the fewest steps along the axes."""
    return min(left, key=lambda config: _steps(place, places[config]))


def _steps(one: Place, other: Place) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def _unusable(name: str, error: ImportError) -> AutotuneError:
    reason = " ".join(str(error).split())[:200]
    return AutotuneError(f"search {name} lacks a library: {reason}. Install it, or use tpe")


def importance(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """Return each axis's share in the difference of the best quarter of trials from the others.

    Unlike fANOVA it needs only NumPy, and has no bias where a search tried more of the better.

    Returns:
        Shares that add up to 1, the largest first; nothing with fewer than `FEWEST_TIMES` times.
    """
    import optuna
    from optuna.distributions import BaseDistribution, IntDistribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    timed = [(trial.ms, space.place(trial.config)) for trial in trials if trial.ms is not None]
    if len(timed) < FEWEST_TIMES:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    axes: dict[str, BaseDistribution] = {
        axis.name: IntDistribution(0, len(axis.values) - 1) for axis in space.axes
    }
    for ms, place in timed:
        params = dict(zip(axes, place or (), strict=True))
        study.add_trial(optuna.trial.create_trial(value=ms, params=params, distributions=axes))
    shares = get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25)
    )
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))
