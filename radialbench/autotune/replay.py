"""Replay: searches of recorded trials, without a GPU, and how far from the best they end."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from radialbench.autotune.search import Search
from radialbench.autotune.space import SPACES, Axis, Candidates, Space
from radialbench.autotune.trials import SweepTrial, Trial, TrialOutcome, measured
from radialbench.autotune.tuner import Tuned, best_of, decide, measure_finals, tune
from radialbench.errors import AutotuneError
from radialbench.records.lookup import nearest_config
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey, TuningRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3)

QUICK_SAMPLES = 6
FINAL_SAMPLES = 20
"""Samples that are drawn for a trial, and for one of the runoff."""


class Replay:
    """An evaluator of one problem that draws from recorded samples.

    Every sample is one of those recorded for its configuration, so that the noise is that of the
    device. The draw depends on the seed, the configuration and the number of runoffs before.

    Args:
        recorded: The trials of the problem in the sweep.
        seed: Seed of the draws.
    """

    def __init__(self, recorded: Sequence[SweepTrial], *, seed: int = 0) -> None:
        self._recorded = {one.config: one.trial for one in recorded}
        self._seed = seed
        self._runoffs = 0

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Do nothing: recorded configurations were compiled."""

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        """Draw a trial; a configuration that was not recorded is rejected."""
        return self._drawn(config, QUICK_SAMPLES, "quick")

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        """Draw trials of equal length."""
        self._runoffs += 1
        return [
            self._drawn(config, FINAL_SAMPLES, f"{self._runoffs} {place}")
            for place, config in enumerate(configs)
        ]

    def close(self) -> None:
        """Do nothing."""

    def _drawn(self, config: KernelConfig, count: int, moment: str) -> Trial:
        trial = self._recorded.get(config)
        if trial is None:
            return Trial(config, TrialOutcome.REJECTED, "was not recorded in the sweep")
        if trial.outcome != TrialOutcome.OK:
            return trial
        draw = random.Random(f"{self._seed} {moment} {config}")
        return Trial(config, TrialOutcome.OK, None, tuple(draw.choices(trial.samples_ms, k=count)))


def by_problem(sweep: Sequence[SweepTrial]) -> dict[TuningKey, tuple[SweepTrial, ...]]:
    """Group the trials of a sweep by problem."""
    groups: dict[TuningKey, list[SweepTrial]] = {}
    for one in sweep:
        groups.setdefault(one.key, []).append(one)
    return {key: tuple(group) for key, group in groups.items()}


def recorded_candidates(recorded: Sequence[SweepTrial]) -> Candidates:
    """Return the recorded configurations of one problem; the first in the sweep is the default.

    Raises:
        AutotuneError: Nothing was recorded.
    """
    if not recorded:
        raise AutotuneError("nothing was recorded of this problem; see which ones the sweep holds")
    configs = tuple(dict.fromkeys(one.config for one in recorded))
    space = SPACES.get(recorded[0].key.backend)
    if space is None or any(space.place(config) is None for config in configs):
        space = _smallest_space(configs)
    configs = tuple(sorted(configs, key=lambda config: space.place(config) or ()))
    return Candidates(space, recorded[0].config, configs)


def _smallest_space(configs: Sequence[KernelConfig]) -> Space:
    """Return the smallest space that holds some configurations."""
    axes = []
    for name in ("block_m", "block_n", "num_warps", "num_stages"):
        values = {getattr(config, name) for config in configs}
        ordered = sorted(values, key=lambda value: -1 if value is None else value)
        axes.append(Axis(name, tuple(ordered)))
    return Space(tuple(axes))


def true_times(recorded: Sequence[SweepTrial]) -> dict[KernelConfig, float]:
    """Return the median of all recorded samples of each configuration that ended well."""
    return {one.config: median(one.samples_ms) for one in recorded if one.samples_ms}


def problem_name(one: SweepTrial) -> str:
    """Return the name of a trial's problem for people."""
    key = one.key
    batch = f"b{key.batch}" if key.batch > 1 else ""
    shape = f"{key.frames}x{key.tokens_per_frame}/{batch}{key.heads_label}d{key.head_dim}"
    return f"{one.mask.label}/{shape}/{key.backend}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a search of recorded trials.

    Attributes:
        name: The problem, for people.
        key: The problem.
        tuned: The result of the search.
        share: Its trials as a share of those an exhaustive search measures.
        regret: By how much the chosen configuration is slower than the best recorded one.
    """

    name: str
    key: TuningKey
    tuned: Tuned
    share: float
    regret: float


def replay_all(
    sweep: Sequence[SweepTrial], patterns: Sequence[str] = (), *, seed: int = 0, **options: Any
) -> Iterator[Replayed]:
    """Tune every problem of a sweep from its recorded trials.

    Args:
        sweep: The recorded trials.
        patterns: Parts of the names of the problems to tune; all if empty.
        seed: Seed of the search and of the replay.
        options: As `tune`.

    Raises:
        AutotuneError: As `tune`, or no problem matches the patterns.
    """
    problems = {
        name: recorded
        for recorded in by_problem(sweep).values()
        if any(part in (name := problem_name(recorded[0])) for part in patterns or [""])
    }
    if not problems:
        raise AutotuneError(
            f"no recorded problem fits {', '.join(map(repr, patterns)) or 'anything'}; names look "
            f"like {problem_name(sweep[0]) if sweep else 'none, as the sweep is empty'}"
        )
    for name, recorded in problems.items():
        replay = Replay(recorded, seed=seed)
        tuned = tune(recorded_candidates(recorded), replay, seed=seed, **options)
        yield Replayed(
            name=name,
            key=recorded[0].key,
            tuned=tuned,
            share=measured(tuned.trials) / measured(recorded),
            regret=_regret(true_times(recorded), tuned.decision.config),
        )


@dataclass(frozen=True, slots=True)
class Regret:
    """What one search of one problem has found after a share of an exhaustive one's measurements.

    Both regrets, of the search and of the default, are over the best recorded configuration.
    """

    key: TuningKey
    search: str
    seed: int
    share: float
    trials: int
    regret: float
    default: float


def compare_searches(
    sweep: Sequence[SweepTrial],
    searches: Sequence[str],
    seeds: Iterable[int],
    shares: Sequence[float] = SHARES,
    *,
    first: Mapping[TuningKey, Sequence[KernelConfig]] = MappingProxyType({}),
) -> list[Regret]:
    """Replay searches on every problem of a sweep.

    The result after a share of the trials is what `tune` would decide on then, with its runoff,
    whose samples do not count as trials.

    `first` has the configurations that each problem's search begins with, after the default.
    """
    seeds = list(seeds)
    return [
        row
        for key, recorded in by_problem(sweep).items()
        for name in searches
        for seed in seeds
        for row in _regrets(recorded, name, seed, sorted(shares), first.get(key, ()))
    ]


def _regrets(
    recorded: Sequence[SweepTrial],
    name: str,
    seed: int,
    shares: Sequence[float],
    first: Sequence[KernelConfig],
) -> Iterator[Regret]:
    candidates, times = recorded_candidates(recorded), true_times(recorded)
    default = candidates.default
    search = Search(candidates, name, seed=seed, first=first)
    replay = Replay(recorded, seed=seed)
    tried: list[Trial] = []
    for share in shares:
        count = max(1, round(share * measured(recorded)))
        while measured(tried) < count and (config := search.suggest(tried)) is not None:
            tried.append(replay.quick(config, best_ms=None))
        decision = decide(measure_finals(replay, default, best_of(tried, default)))
        regrets = (_regret(times, config) for config in (decision.config, default))
        yield Regret(recorded[0].key, name, seed, share, measured(tried), *regrets)


def _regret(times: Mapping[KernelConfig, float], config: KernelConfig) -> float:
    return times[config] / min(times.values()) - 1


@dataclass(frozen=True, slots=True)
class RegretSummary:
    """Regrets of one search after a share of the measurements; `high` is the 95th percentile."""

    search: str
    share: float
    searches: int
    median: float
    high: float
    worst: float


def summary_of(search: str, share: float, regrets: Sequence[float]) -> RegretSummary:
    """Summarize the regrets of one search after one share of the measurements."""
    high = sorted(regrets)[ceil(0.95 * len(regrets)) - 1]
    return RegretSummary(search, share, len(regrets), median(regrets), high, max(regrets))


def exhaustive_record(recorded: Sequence[SweepTrial]) -> TuningRecord:
    """Return the record of an exhaustive search of one problem of a sweep."""
    candidates, one = recorded_candidates(recorded), recorded[0]
    tuned = tune(candidates, Replay(recorded), search="exhaustive", trials=len(recorded))
    return tuned.record(
        one.key,
        mask=one.mask,
        kernel=one.kernel,
        versions=one.versions,
        created="1970-01-01T00:00:00+00:00",
    )


@dataclass(frozen=True, slots=True)
class Transfer:
    """The configuration that an untuned problem gets from the records of others.

    Both regrets, of that and of the default, are over the best recorded configuration.
    """

    key: TuningKey
    label: str
    source: str
    reason: str
    config: KernelConfig
    regret: float
    default: float


def transfer_regrets(sweep: Sequence[SweepTrial]) -> list[Transfer]:
    """Look each problem up in the records that an exhaustive search gives of all others."""
    problems = by_problem(sweep)
    records = {key: exhaustive_record(recorded) for key, recorded in problems.items()}
    return [_transfer(recorded, records) for recorded in problems.values()]


def _transfer(
    recorded: Sequence[SweepTrial], records: Mapping[TuningKey, TuningRecord]
) -> Transfer:
    key, times, default = recorded[0].key, true_times(recorded), recorded[0].config

    def reasons(config: KernelConfig) -> list[str]:
        return [] if config in times else ["it did not end well in the sweep"]

    others = [record for other, record in records.items() if other != key]
    choice = nearest_config(others, key, default=default, feasible=reasons)
    config, regrets = choice.config, (_regret(times, one) for one in (choice.config, default))
    return Transfer(key, recorded[0].mask.label, choice.source, choice.reason, config, *regrets)


def draw_regrets(summaries: Sequence[RegretSummary]) -> "tuple[Figure, str]":
    """Draw the median and the 95th percentile of regrets, each search in a colour of its own.

    Returns:
        The chart, and its caption.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    from radialbench.reports.charts._drawing import COLOURS, GREY, MARKERS, WIDTH

    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(one.search for one in summaries))
    for place, name in enumerate(names):
        points = sorted((one for one in summaries if one.search == name), key=lambda p: p.share)
        shares = [one.share for one in points]
        look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        axes[0].plot(shares, [one.median for one in points], label=name, **look)
        axes[1].plot(shares, [one.high for one in points], label=name, **look)
    shares = sorted({one.share for one in summaries})
    for part, title, aim in zip(axes, ("Median", "95th percentile"), (0.02, 0.05), strict=True):
        part.set_title(title)
        part.axhline(aim, color=GREY, linestyle=(0, (4, 2)), linewidth=1)
        # Zero is the aim, and has its place on this axis.
        part.set_yscale("symlog", linthresh=0.01)
        part.set_ylim(bottom=0)
        part.yaxis.set_major_locator(FixedLocator([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
        part.yaxis.set_minor_locator(NullLocator())
        part.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        # So that an exhaustive search, which ends at all of it, leaves the others room.
        part.set_xscale("log")
        part.xaxis.set_major_locator(FixedLocator(shares))
        part.xaxis.set_minor_locator(NullLocator())
        part.tick_params(axis="x", labelsize=9)
        part.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        part.set_xlabel("trials, of an exhaustive search's")
    axes[0].set_ylabel("slower than the best there is")
    axes[0].legend(frameon=False)
    count = max(one.searches for one in summaries)
    return figure, (
        f"How much slower than the best configuration what a search hands out is, over {count:,} "
        "searches each, against the share of all configurations it tried. Dashed: the aim."
    )
