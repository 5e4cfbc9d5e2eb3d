"""The search: what to try, trying it, keeping it, and the decision in the end."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from radialbench.autotune.runoff import BEST, Decision, decide, measure_finals
from radialbench.autotune.search import Search
from radialbench.autotune.space import Candidates, Space
from radialbench.autotune.trials import (
    Evaluator,
    Memory,
    Store,
    Trial,
    TrialOutcome,
    count_outcomes,
    measured,
)
from radialbench.errors import AutotuneError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import SCHEMA, Outcomes, TuningKey, TuningRecord

TRIALS = 40
"""Configurations that are measured at most, unless asked otherwise."""

FEWEST_TIMES = 20
"""Trials with a time from which on there is an importance: five of them are then the best quarter,
the fewest that the authors of PED-ANOVA advise."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is.

    Attributes:
        stage: `search`, then `final`.
        trial: What has just ended; None before the first trial, and in the final stage.
        best: The best so far.
        default: The default's trial, once it has ended.
        outcomes: How the trials ended, those of earlier processes among them.
        measured: Trials that count towards `planned`.
        planned: Trials at most.
        seconds: Since this process began with it.
        seconds_left: About how much longer the trials take; None if that cannot be told yet.
    """

    stage: str
    trial: Trial | None
    best: Trial | None
    default: Trial | None
    outcomes: Outcomes
    measured: int
    planned: int
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search gave.

    Attributes:
        decision: What to run, and why.
        default: The default configuration.
        trials: In the order in which they began, those of earlier processes among them.
        rejections: How many configurations were never measured, by what spoke against them.
        search: Who proposed.
        seed: What that one drew from.
        edges: Axes at whose end the chosen configuration lies, though the kernel could go on.
        importance: Each axis's share in what made good trials good; nothing with few trials.
        seconds: What this process took.
    """

    decision: Decision
    default: KernelConfig
    trials: tuple[Trial, ...]
    rejections: dict[str, int]
    search: str
    seed: int
    edges: tuple[str, ...]
    importance: dict[str, float]
    seconds: float

    @property
    def outcomes(self) -> Outcomes:
        """How the trials ended; configurations that never became one are rejected too."""
        rejected = sum(self.rejections.values())
        return replace(count_outcomes(self.trials), rejected=rejected)

    def record(
        self,
        key: TuningKey,
        *,
        mask: MaskIdentity,
        kernel: str,
        versions: dict[str, str],
        created: str,
    ) -> TuningRecord:
        """Return it as it is stored.

        Args:
            key: What was tuned.
            mask: The mask.
            kernel: Hash of the source of the kernel that was timed.
            versions: Versions of the libraries, by name.
            created: When, in ISO 8601 with its zone.
        """
        decision = self.decision
        return TuningRecord(
            schema=SCHEMA,
            key=key,
            mask=mask,
            config=decision.config,
            default=self.default,
            source=decision.source,
            ms=decision.ms,
            default_ms=decision.default_ms,
            ratio=decision.ratio,
            trials=self.outcomes,
            sampler=self.search,
            seed=self.seed,
            edges=self.edges,
            kernel=kernel,
            versions=versions,
            created=created,
        )


def tune(
    candidates: Candidates,
    evaluator: Evaluator,
    *,
    search: str = "tpe",
    seed: int = 0,
    trials: int = TRIALS,
    seconds: float | None = None,
    storage: str | None = None,
    study: str = "",
    neighbours: Iterable[KernelConfig] = (),
    known: Iterable[Trial] = (),
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Tuned:
    """Find the fastest of some configurations: a quick look at many, a close one at the best few.

    Args:
        candidates: What may be tried.
        evaluator: What tries configurations; it stays open.
        search: Who proposes: `tpe`, `random`, `exhaustive`, or one of Optuna's samplers.
        seed: What is drawn from.
        trials: Trials at most, those of earlier processes included and rejected ones not; where
            there are no more candidates, all are tried.
        seconds: No trial begins after this time, unless there was none yet.
        storage: Where trials are kept, as `open_store` takes it; in memory if None.
        study: Name of the search there.
        neighbours: What was best for other shapes: tried first, after the default.
        known: Trials that ended elsewhere on this device; they count as those of earlier processes.
        watch: Called with how far it is, before the first trial and after each.

    Raises:
        AutotuneError: The search or the storage cannot be used, or the default does not run.
    """
    if trials < 1:
        raise AutotuneError(f"trials must be at least 1, got {trials}")
    begun = time.monotonic()
    if trials >= len(candidates.feasible) and seconds is None:
        search = "exhaustive"
    searcher = Search(candidates, search, seed=seed, first=neighbours)
    store = open_store(storage, study, candidates)
    feasible = set(candidates.feasible)
    store.add(trial for trial in known if trial.config in feasible)
    done = {trial.config for trial in store.trials()}
    evaluator.prepare([config for config in searcher.likely if config not in done])
    planned = min(trials, len(candidates.feasible))
    meter = _Meter(planned, seconds, candidates.default, begun, before=measured(store.trials()))
    _try_all(evaluator, searcher, store, meter, watch)
    ended = store.trials()
    if feasible <= {trial.config for trial in ended}:
        search = "exhaustive"
    finals = store.finals()
    if not finals:
        watch(meter.progress("final", ended))
        finals = measure_finals(evaluator, candidates.default, best_of(ended, candidates.default))
        store.keep_finals(finals)
    decision = decide(finals)
    return Tuned(
        decision=decision,
        default=candidates.default,
        trials=tuple(ended),
        rejections=_rejections(candidates, ended),
        search=search,
        seed=seed,
        edges=candidates.space.edges(decision.config),
        importance=importance(candidates.space, ended),
        seconds=time.monotonic() - begun,
    )


def open_store(url: str | None, study: str, candidates: Candidates) -> Store:
    """Open the store of a search, or create it.

    Args:
        url: `journal:PATH`, or what SQLAlchemy knows, such as `sqlite:///PATH` or
            `postgresql://USER@HOST/NAME`; in memory if None.
        study: Name of the search there.
        candidates: What is searched.

    Raises:
        AutotuneError: It cannot be opened, or holds a search of another space under this name.
    """
    if url is None:
        return Memory()
    from radialbench.autotune.storage import Study

    return Study(url, study, candidates)


def best_of(trials: Iterable[Trial], default: KernelConfig) -> list[KernelConfig]:
    """Return the few that are measured again, the fastest first; the default is not among them."""
    timed = [(one.ms, one.config) for one in trials if one.ms is not None]
    timed.sort(key=lambda pair: pair[0])
    return [config for _, config in timed if config != default][:BEST]


def _try_all(
    evaluator: Evaluator,
    searcher: Search,
    store: Store,
    meter: "_Meter",
    watch: Callable[[Progress], None],
) -> None:
    """Try one configuration after the other until enough were, or the time is up."""
    tried = store.trials()
    watch(meter.progress("search", tried))
    while measured(tried) < meter.planned and not (tried and meter.is_late()):
        config = store.waiting() or searcher.suggest(tried, taken=store.taken())
        if config is None:
            return
        begun = store.begin(config)
        if begun is not None:
            try:
                trial = evaluator.quick(begun, best_ms=_best_ms(tried))
            except BaseException:
                store.put_back()
                raise
            store.end(trial)
            watch(meter.progress("search", store.trials(), trial))
        tried = store.trials()


@dataclass(frozen=True, slots=True)
class _Meter:
    """Measures how far a search is, and when its time is up.

    Attributes:
        planned: Trials at most.
        limit_s: Time for them, if it is bounded.
        default: The default configuration.
        begun: When this process began, by `time.monotonic`.
        before: Trials that counted before.
    """

    planned: int
    limit_s: float | None
    default: KernelConfig
    begun: float
    before: int

    def is_late(self) -> bool:
        return self.limit_s is not None and time.monotonic() - self.begun >= self.limit_s

    def progress(self, stage: str, tried: Sequence[Trial], trial: Trial | None = None) -> Progress:
        timed = [one for one in tried if one.ms is not None]
        done, elapsed = measured(tried), time.monotonic() - self.begun
        return Progress(
            stage=stage,
            trial=trial,
            best=min(timed, key=lambda one: one.ms or 0.0, default=None),
            default=next((one for one in tried if one.config == self.default), None),
            outcomes=count_outcomes(tried),
            measured=done,
            planned=self.planned,
            seconds=elapsed,
            seconds_left=self._left(elapsed, done),
        )

    def _left(self, elapsed: float, done: int) -> float | None:
        """Return the time that is left, by how long a trial has taken in this process."""
        bounds = [] if self.limit_s is None else [max(0.0, self.limit_s - elapsed)]
        here = done - self.before
        bounds += [elapsed / here * (self.planned - done)] if here else []
        return min(bounds, default=None)


def _best_ms(trials: Iterable[Trial]) -> float | None:
    return min((one.ms for one in trials if one.ms is not None), default=None)


def _rejections(candidates: Candidates, trials: Iterable[Trial]) -> dict[str, int]:
    tried = sum(one.outcome == TrialOutcome.REJECTED for one in trials)
    return candidates.rejections | ({"trying": tried} if tried else {})


def importance(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """Return each axis's share in what made the best quarter of the trials better than the others.

    Unlike fANOVA it needs no more than NumPy, and is not misled by a search that tried more where
    it was better.

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
    found = get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25)
    )
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))
