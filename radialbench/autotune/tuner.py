"""The loop of a search: what to try, trying it, keeping it, and the decision in the end."""

import time
from collections.abc import Callable, Iterable, Sequence

from radialbench.autotune.evaluator import Evaluator, Outcome, Trial
from radialbench.autotune.final import BEST, decide, measure_finals
from radialbench.autotune.importance import importance
from radialbench.autotune.search import Search
from radialbench.autotune.space import Candidates
from radialbench.autotune.store import Store, open_store
from radialbench.autotune.tuned import Progress, Tuned, count_outcomes
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig

TRIALS = 40
"""Configurations that are measured at most, unless asked otherwise."""


def tune_among(
    among: Candidates,
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
        among: What may be tried.
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
        watch: Told how far it is, before the first trial and after each.

    Raises:
        AutotuneError: The search or the storage cannot be used, or the default does not run.
    """
    if trials < 1:
        raise AutotuneError(f"trials must be at least 1, got {trials}")
    begun = time.monotonic()
    if trials >= len(among.feasible) and seconds is None:
        search = "exhaustive"
    searcher = Search(among, search, seed=seed, first=neighbours)
    store = open_store(storage, study, among)
    feasible = set(among.feasible)
    store.add(trial for trial in known if trial.config in feasible)
    done = {trial.config for trial in store.trials()}
    evaluator.prepare([config for config in searcher.likely if config not in done])
    teller = _Teller(watch, min(trials, len(among.feasible)), seconds, among.default, begun)
    _try_all(evaluator, searcher, store, teller)
    ended = store.trials()
    if feasible <= {trial.config for trial in ended}:
        search = "exhaustive"
    finals = store.finals()
    if not finals:
        teller.tell("final", ended)
        finals = measure_finals(evaluator, among.default, best_of(ended, among.default))
        store.keep_finals(finals)
    decision = decide(finals)
    return Tuned(
        decision=decision,
        default=among.default,
        trials=tuple(ended),
        rejections=_rejections(among, ended),
        search=search,
        seed=seed,
        edges=among.space.edges(decision.config),
        importance=importance(among.space, ended),
        seconds=time.monotonic() - begun,
    )


def measured(trials: Iterable[Trial]) -> int:
    """Count the trials that cost something: all but those rejected."""
    return sum(trial.outcome != Outcome.REJECTED for trial in trials)


def best_of(trials: Iterable[Trial], default: KernelConfig) -> list[KernelConfig]:
    """Give the few that are measured again, the fastest first; the default is not among them."""
    timed = [(one.ms, one.config) for one in trials if one.ms is not None]
    timed.sort(key=lambda pair: pair[0])
    return [config for _, config in timed if config != default][:BEST]


def _try_all(evaluator: Evaluator, searcher: Search, store: Store, teller: "_Teller") -> None:
    """Try one configuration after the other until enough were, or the time is up."""
    tried = store.trials()
    teller.tell("search", tried)
    while measured(tried) < teller.planned and not (tried and teller.is_late()):
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
            teller.tell("search", store.trials(), trial)
        tried = store.trials()


class _Teller:
    """Tells how far a search is, and when its time is up."""

    def __init__(
        self,
        watch: Callable[[Progress], None],
        planned: int,
        seconds: float | None,
        default: KernelConfig,
        begun: float,
    ) -> None:
        self.planned = planned
        self._watch, self._limit, self._default, self._begun = watch, seconds, default, begun
        self._before: int | None = None

    def is_late(self) -> bool:
        return self._limit is not None and time.monotonic() - self._begun >= self._limit

    def tell(self, stage: str, tried: Sequence[Trial], trial: Trial | None = None) -> None:
        done = measured(tried)
        if self._before is None:
            self._before = done
        timed = [one for one in tried if one.ms is not None]
        self._watch(
            Progress(
                stage=stage,
                trial=trial,
                best=min(timed, key=lambda one: one.ms or 0.0, default=None),
                default=next((one for one in tried if one.config == self._default), None),
                outcomes=count_outcomes(tried),
                measured=done,
                planned=self.planned,
                seconds=time.monotonic() - self._begun,
                seconds_left=self._left(done - self._before, self.planned - done),
            )
        )

    def _left(self, here: int, missing: int) -> float | None:
        """Reckon by how long a trial has taken in this process."""
        elapsed = time.monotonic() - self._begun
        bounds = [] if self._limit is None else [max(0.0, self._limit - elapsed)]
        bounds += [elapsed / here * missing] if here else []
        return min(bounds, default=None)


def _best_ms(trials: Iterable[Trial]) -> float | None:
    return min((one.ms for one in trials if one.ms is not None), default=None)


def _rejections(among: Candidates, trials: Iterable[Trial]) -> dict[str, int]:
    tried = sum(one.outcome == Outcome.REJECTED for one in trials)
    return among.rejections | ({"trying": tried} if tried else {})
