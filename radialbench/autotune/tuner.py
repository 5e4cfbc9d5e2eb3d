"""The search: what to try, trying it, keeping it, and the decision in the end."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from radialbench.autotune.search import Search, importance
from radialbench.autotune.space import Candidates
from radialbench.autotune.trials import (
    Evaluator,
    Store,
    Trial,
    TrialOutcome,
    View,
    count_outcomes,
    measured,
)
from radialbench.errors import AutotuneError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import EXACT, Estimate, estimate_median, paired_ratio
from radialbench.records.tuning import SCHEMA, Outcomes, TuningKey, TuningRecord

TRIALS = 40
"""Configurations that are measured at most, unless asked otherwise."""

BEST = 3
"""Configurations of the runoff besides the default."""

ROUNDS = 3
"""Rounds of the runoff at most, until the order is certain."""

POLL_SECONDS = 0.5
"""How often a process looks whether others have ended what it waits for."""

NOISE_FLOOR = 0.005
"""Gains up to this are noise: clocks and temperatures differ by as much from day to day."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a search.

    Attributes:
        stage: `search`, then `final`.
        trial: The trial that has just ended; None before the first, and in the final stage.
        best: The best so far.
        default: The default's trial, once it has ended.
        outcomes: Outcomes of all trials, with those of earlier processes.
        measured: Trials that count towards `planned`.
        planned: Trials at most.
        seconds_left: Estimate of the time left; None before the first trial.
    """

    stage: str
    trial: Trial | None
    best: Trial | None
    default: Trial | None
    outcomes: Outcomes
    measured: int
    planned: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen configuration, and why.

    Attributes:
        config: The fastest that is surely faster than the default; else the default.
        source: `tuned` or `default`.
        reason: Why, in a few words.
        ms: Its time.
        default_ms: The default's time.
        ratio: The default's time over its own, sample by sample; 1 if it is the default.
        noise: Gain above which it is faster: the floor, or the default's difference from itself.
    """

    config: KernelConfig
    source: str
    reason: str
    ms: Estimate
    default_ms: Estimate
    ratio: Estimate
    noise: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of a search.

    Attributes:
        decision: The chosen configuration, and why.
        default: The default configuration.
        trials: All trials in the order in which they started, with those of earlier processes.
        rejections: Number of configurations that were never measured, by kind of reason.
        search: The sampler.
        seed: Its seed.
        edges: Axes on which the chosen configuration is at an end that is no limit of the kernel.
        importance: Each axis's share in the time of good trials; empty with few trials.
    """

    decision: Decision
    default: KernelConfig
    trials: tuple[Trial, ...]
    rejections: dict[str, int]
    search: str
    seed: int
    edges: tuple[str, ...]
    importance: dict[str, float]

    @property
    def outcomes(self) -> Outcomes:
        """Outcomes of all configurations; those that were never tried are rejected."""
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
        """Return the record to store; `kernel` is the hash of the source that was timed."""
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
    versions: Mapping[str, str] = MappingProxyType({}),
    neighbours: Iterable[KernelConfig] = (),
    known: Iterable[Trial] = (),
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Tuned:
    """Find the fastest configuration: measure many for a short time, and the best few in a runoff.

    Args:
        candidates: The configurations to choose from.
        evaluator: What tries configurations; it stays open.
        search: The sampler: `tpe`, `random`, `exhaustive`, or one of Optuna's.
        seed: Seed of the sampler.
        trials: Trials at most, with those of earlier processes and without rejected ones; all
            candidates are tried if there are no more of them.
        seconds: No trial starts after this time, unless it is the first.
        storage: Storage of the trials, as for `open_store`; in memory if None.
        study: Name of the search there.
        versions: What times depend on besides; the storage keeps one set of them for a search.
        neighbours: The best configurations of other shapes: tried first, after the default.
        known: Trials that ended elsewhere on this device; they count as those of earlier processes.
        watch: Called with the progress before the first trial and after each.

    Raises:
        AutotuneError: The search or the storage cannot be used, or the default does not run.
    """
    store = open_store(storage, study, candidates, versions)
    feasible = set(candidates.feasible)
    store.add(trial for trial in known if trial.config in feasible)
    searching = Searching(
        candidates,
        evaluator,
        store,
        search=search,
        seed=seed,
        trials=trials,
        seconds=seconds,
        neighbours=neighbours,
        watch=watch,
    )
    while not (finals := searching.advance()):
        time.sleep(POLL_SECONDS)
    ended = store.trials()
    complete = feasible <= {trial.config for trial in ended}
    decision = decide(finals)
    rejected = len(ended) - measured(ended)
    return Tuned(
        decision=decision,
        default=candidates.default,
        trials=tuple(ended),
        rejections=candidates.rejections | ({"trying": rejected} if rejected else {}),
        search="exhaustive" if complete else searching.search,
        seed=seed,
        edges=candidates.space.edges(decision.config),
        importance=importance(candidates.space, ended),
    )


def open_store(
    url: str | None,
    study: str,
    candidates: Candidates,
    versions: Mapping[str, str] = MappingProxyType({}),
) -> Store:
    """Open the store of a search, or create it.

    Args:
        url: As for `Study`; in memory if None.
        study: Name of the search there.
        candidates: The configurations of the search.
        versions: As for `Study`.

    Raises:
        AutotuneError: It cannot be opened, or holds a search of another space or of other versions
            under this name.
    """
    if url is None:
        return Store()
    from radialbench.autotune.study import Study

    return Study(url, study, candidates, versions)


def best_of(trials: Iterable[Trial], default: KernelConfig) -> list[KernelConfig]:
    """Return the best few without the default, the fastest first."""
    timed = [(one.ms, one.config) for one in trials if one.ms is not None]
    timed.sort(key=lambda pair: pair[0])
    return [config for _, config in timed if config != default][:BEST]


class Searching:
    """A search that this process advances, alone or beside others of the same store.

    Args:
        candidates: The configurations to choose from.
        evaluator: What tries configurations.
        store: The trials.
        search: The sampler.
        seed: Its seed.
        trials: Trials at most.
        seconds: No trial starts after this time, unless it is the first.
        neighbours: Tried first, after the default.
        watch: Called with the progress.
        allowed: Whether this process may start something, asked each time.

    Raises:
        AutotuneError: The search cannot be used.

    Attributes:
        search: The sampler; `exhaustive` where there are no more candidates than trials.
    """

    def __init__(
        self,
        candidates: Candidates,
        evaluator: Evaluator,
        store: Store,
        *,
        search: str,
        seed: int,
        trials: int,
        seconds: float | None = None,
        neighbours: Iterable[KernelConfig] = (),
        watch: Callable[[Progress], None] = lambda progress: None,
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        if trials < 1:
            raise AutotuneError(f"trials must be at least 1, got {trials}")
        start = time.monotonic()
        whole = trials >= len(candidates.feasible) and seconds is None
        self.search = "exhaustive" if whole else search
        self._searcher = Search(candidates, self.search, seed=seed, first=neighbours)
        self._default = candidates.default
        self._evaluator, self._store = evaluator, store
        self._watch, self._allowed = watch, allowed
        tried = store.trials()
        done = {trial.config for trial in tried}
        evaluator.prepare([config for config in self._searcher.likely if config not in done])
        planned = min(trials, len(candidates.feasible))
        self._meter = _Meter(planned, seconds, self._default, start, before=measured(tried))
        self._shown = -1

    def advance(self) -> list[Trial]:
        """Try what is left, and measure the runoff.

        Returns:
            The trials of the runoff; none if other processes are still at something.
        """
        view = self._try_all()
        if view.taken:
            return []
        finals = self._store.finals()
        if finals or not self._allowed() or not self._store.begin_runoff():
            return finals
        self._watch(self._meter.progress("final", view.trials))
        try:
            best = best_of(view.trials, self._default)
            finals = measure_finals(self._evaluator, self._default, best)
        except BaseException:
            self._store.put_back()
            raise
        self._store.keep_finals(finals)
        return finals

    def _try_all(self) -> View:
        """Try one configuration after the other; return the state when none is left to start."""
        trial = None
        while True:
            view = self._store.view()
            if trial is not None or len(view.trials) != self._shown:
                self._shown = len(view.trials)
                self._watch(self._meter.progress("search", view.trials, trial))
            config, trial = self._next(view), None
            if config is None:
                return view
            if not self._store.begin(config):
                continue
            best_ms = min((one.ms for one in view.trials if one.ms is not None), default=None)
            try:
                trial = self._evaluator.quick(config, best_ms=best_ms)
            except BaseException:
                self._store.put_back()
                raise
            self._store.end(trial)

    def _next(self, view: View) -> KernelConfig | None:
        """Return what to try next; None if there are enough trials with those that others run."""
        done = measured(view.trials)
        if done >= self._meter.planned or not self._allowed():
            return None
        if view.trials and self._meter.is_late():
            self._store.close()
            return None
        if view.waiting is not None:
            return view.waiting
        if done + len(view.taken) >= self._meter.planned:
            return None
        return self._searcher.suggest(view.trials, taken=view.taken)


@dataclass(frozen=True, slots=True)
class _Meter:
    """Measures the progress of a search, which had `before` trials when this process started."""

    planned: int
    limit_s: float | None
    default: KernelConfig
    start: float
    before: int

    def is_late(self) -> bool:
        return self.limit_s is not None and time.monotonic() - self.start >= self.limit_s

    def progress(self, stage: str, tried: Sequence[Trial], trial: Trial | None = None) -> Progress:
        timed = [one for one in tried if one.ms is not None]
        done, elapsed = measured(tried), time.monotonic() - self.start
        return Progress(
            stage=stage,
            trial=trial,
            best=min(timed, key=lambda one: one.ms or 0.0, default=None),
            default=next((one for one in tried if one.config == self.default), None),
            outcomes=count_outcomes(tried),
            measured=done,
            planned=self.planned,
            seconds_left=self._left(elapsed, done),
        )

    def _left(self, elapsed: float, done: int) -> float | None:
        """Estimate the time left from the trials of this process."""
        bounds = [] if self.limit_s is None else [max(0.0, self.limit_s - elapsed)]
        here = done - self.before
        bounds += [elapsed / here * (self.planned - done)] if here else []
        return min(bounds, default=None)


def measure_finals(
    evaluator: Evaluator, default: KernelConfig, best: Sequence[KernelConfig]
) -> list[Trial]:
    """Measure the default twice, and the best few, in turn; again until the order is certain.

    Returns:
        The two of the default, then the others: all ok ones with the same number of samples, taken
        side by side.

    Raises:
        AutotuneError: The default does not run.
    """
    finals = _paired(evaluator.runoff([default, default, *best]))
    for _ in range(ROUNDS - 1):
        if is_certain(finals):
            break
        places = [place for place, one in enumerate(finals) if one.outcome == TrialOutcome.OK]
        more = _paired(evaluator.runoff([finals[place].config for place in places]))
        for place, new in zip(places, more, strict=True):
            samples = finals[place].samples_ms + new.samples_ms
            finals[place] = new if new.ms is None else replace(new, samples_ms=samples)
    return finals


def is_certain(finals: Sequence[Trial]) -> bool:
    """Return whether more samples cannot change the decision.

    That is so when each of the others is surely faster than the default or surely not, and the
    best is surely faster than the next, or differs from it by no more than the noise floor.
    """
    default, _, *others = [one for one in finals if one.outcome == TrialOutcome.OK]
    floor = 1 + _noise(finals)
    gains = [_ratio(default, one) for one in others]
    if not all(gain.surely_above(floor) or gain.surely_below(floor) for gain in gains):
        return False
    best = sorted((gain.value, place) for place, gain in enumerate(gains))[-2:]
    if len(best) < 2 or best[-1][0] <= floor:
        return True
    lead = _ratio(others[best[0][1]], others[best[1][1]])
    return lead.surely_above(1) or lead.surely_below(1 + NOISE_FLOOR)


def decide(finals: Sequence[Trial]) -> Decision:
    """Choose the fastest that is surely faster than the default, or else the default."""
    default, _, *others = finals
    noise = _noise(finals)
    default_ms = estimate_median(default.samples_ms)
    gains = [(_ratio(default, one), one) for one in others if one.outcome == TrialOutcome.OK]
    sure = [(gain, one) for gain, one in gains if gain.surely_above(1 + noise)]
    if sure:
        gain, one = max(sure, key=lambda pair: pair[0].value)
        reason = f"surely more than {noise:.1%} faster than the default"
        ms = estimate_median(one.samples_ms)
        return Decision(one.config, "tuned", reason, ms, default_ms, gain, noise)
    reason = "nothing else could be measured in the end"
    if gains:
        gain, _ = max(gains, key=lambda pair: pair[0].value)
        reason = f"the best other was {gain:.3f} times as fast, not surely above {1 + noise:.3f}"
    same = Estimate(1.0, 1.0, 1.0, EXACT)
    return Decision(default.config, "default", reason, default_ms, default_ms, same, noise)


def format_ms(time: Estimate) -> str:
    """Format a time, with half the width of its interval if it has one."""
    return f"{time.value:.4g} ms" + (f" ±{time.half_width:.1%}" if time.ends else "")


def _ratio(above: Trial, below: Trial) -> Estimate:
    return paired_ratio(above.samples_ms, below.samples_ms)


def _noise(finals: Sequence[Trial]) -> float:
    default, again, *_ = finals
    return max(NOISE_FLOOR, abs(_ratio(default, again).value - 1))


def _paired(finals: Sequence[Trial]) -> list[Trial]:
    """Cut all to the same number of samples; raise if the default does not run."""
    for one in finals[:2]:
        if one.outcome != TrialOutcome.OK:
            raise AutotuneError(
                f"the default configuration does not run, so that nothing can be compared with it: "
                f"{one.outcome.value}, {one.reason}"
            )
    count = min(len(one.samples_ms) for one in finals if one.outcome == TrialOutcome.OK)
    return [replace(one, samples_ms=one.samples_ms[:count]) for one in finals]
