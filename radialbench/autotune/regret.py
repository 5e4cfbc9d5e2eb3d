"""Regret: how much slower than the best what a search of recorded trials, or a transfer, gives."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from radialbench.autotune.replay import Replay, by_problem, recorded_candidates, true_times
from radialbench.autotune.runoff import decide, measure_finals
from radialbench.autotune.search import Search
from radialbench.autotune.sweep import SweepTrial
from radialbench.autotune.trials import Trial, TrialOutcome, measured
from radialbench.autotune.tuner import Tuned, best_of, tune
from radialbench.errors import AutotuneError
from radialbench.records.lookup import nearest_config
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey, TuningRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3)


@dataclass(frozen=True, slots=True)
class Regret:
    """What one search of one problem handed out after a part of the measurements.

    Attributes:
        key: The problem.
        label: The mask's name, for people.
        search: Who proposed.
        seed: What was drawn from.
        share: Part of the measurements of an exhaustive search.
        trials: As many.
        config: What was handed out.
        regret: By how much it is slower than the best there is, by all that was recorded.
        default: By how much the default is.
    """

    key: TuningKey
    label: str
    search: str
    seed: int
    share: float
    trials: int
    config: KernelConfig
    regret: float
    default: float


@dataclass(frozen=True, slots=True)
class RegretSummary:
    """Regrets of one search after a part of the measurements, over problems and seeds.

    Attributes:
        search: Who proposed.
        share: Part of the measurements of an exhaustive search.
        searches: How many there were.
        median: The middle of the regrets.
        high: Their 95th percentile: 95 of 100 are at most this.
        worst: The largest.
    """

    search: str
    share: float
    searches: int
    median: float
    high: float
    worst: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a problem gets that was not tuned, from the records of the others.

    Attributes:
        key: The problem.
        label: The mask's name, for people.
        source: `transferred` or `default`.
        reason: Why, in a few words.
        config: The configuration.
        regret: By how much it is slower than the best there is.
        default: By how much the default is.
    """

    key: TuningKey
    label: str
    source: str
    reason: str
    config: KernelConfig
    regret: float
    default: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a search of recorded trials gave.

    Attributes:
        name: The problem, for people.
        key: The problem.
        tuned: What the search gave.
        share: Its trials as a share of those an exhaustive search measures.
        regret: By how much what it chose is slower than the best there is, by all that was
            recorded.
    """

    name: str
    key: TuningKey
    tuned: Tuned
    share: float
    regret: float


def replay_all(
    sweep: Sequence[SweepTrial], patterns: Sequence[str] = (), *, seed: int = 0, **options: Any
) -> Iterator[Replayed]:
    """Tune every problem of a sweep as on the day it was recorded.

    Args:
        sweep: The recorded trials.
        patterns: Parts of the names of the problems to tune; all if empty.
        seed: What the search and the replay draw from.
        options: As `tune`.

    Raises:
        AutotuneError: As `tune`, or nothing fits the patterns.
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
        times = true_times(recorded)
        everything = sum(one.outcome != TrialOutcome.REJECTED for one in recorded)
        replay = Replay(recorded, seed=seed)
        tuned = tune(recorded_candidates(recorded), replay, seed=seed, **options)
        yield Replayed(
            name=name,
            key=recorded[0].key,
            tuned=tuned,
            share=measured(tuned.trials) / everything,
            regret=times[tuned.decision.config] / min(times.values()) - 1,
        )


def problem_name(one: SweepTrial) -> str:
    """Return the name for people of a trial's problem."""
    key = one.key
    shape = f"{key.frames}x{key.tokens_per_frame}/h{key.batch * key.heads}d{key.head_dim}"
    return f"{one.mask.label}/{shape}/{key.backend}"


def compare_searches(
    sweep: Sequence[SweepTrial],
    searches: Sequence[str],
    seeds: Iterable[int],
    shares: Sequence[float] = SHARES,
    *,
    first: Mapping[TuningKey, Sequence[KernelConfig]] = MappingProxyType({}),
) -> list[Regret]:
    """Replay searches on every problem of a sweep.

    What is handed out after a part of the trials is what `tune` would decide on then: the best few
    measured again, and the default unless another is surely faster. Those final samples are not
    counted as trials.

    Args:
        sweep: What was recorded.
        searches: Who proposes.
        seeds: What is drawn from.
        shares: Parts of the measurements of an exhaustive search.
        first: What the search of each problem begins with, after the default.
    """
    problems, seeds = by_problem(sweep), list(seeds)
    return [
        row
        for key, recorded in problems.items()
        for search in searches
        for seed in seeds
        for row in _replayed(recorded, search, seed, sorted(shares), first.get(key, ()))
    ]


def summarize_regrets(rows: Iterable[Regret]) -> list[RegretSummary]:
    """Return the regrets summed up by search and share."""
    parts: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        parts.setdefault((row.search, row.share), []).append(row.regret)
    return [summary_of(search, share, found) for (search, share), found in parts.items()]


def summary_of(search: str, share: float, regrets: Sequence[float]) -> RegretSummary:
    """Return the regrets of one search, summed up, after one part of the measurements."""
    high = sorted(regrets)[ceil(0.95 * len(regrets)) - 1]
    return RegretSummary(search, share, len(regrets), median(regrets), high, max(regrets))


def transfer_regrets(sweep: Sequence[SweepTrial]) -> list[Transfer]:
    """Leave out one problem after the other, and look it up in the records of those left.

    The records are those of an exhaustive search of the sweep.
    """
    problems = by_problem(sweep)
    records = {key: exhaustive_record(recorded) for key, recorded in problems.items()}
    rows = []
    for key, recorded in problems.items():
        times = true_times(recorded)
        best, default = min(times.values()), recorded[0].config
        others = [record for of, record in records.items() if of != key]
        found = nearest_config(
            others,
            key,
            default=default,
            feasible=partial(_reasons, times),
        )
        rows.append(
            Transfer(
                key=key,
                label=recorded[0].mask.label,
                source=found.source,
                reason=found.reason,
                config=found.config,
                regret=times[found.config] / best - 1,
                default=times[default] / best - 1,
            )
        )
    return rows


def _reasons(times: dict[KernelConfig, float], config: KernelConfig) -> list[str]:
    return [] if config in times else ["it did not end well in the sweep"]


def _replayed(
    recorded: Sequence[SweepTrial],
    name: str,
    seed: int,
    shares: Sequence[float],
    first: Sequence[KernelConfig],
) -> list[Regret]:
    candidates, times = recorded_candidates(recorded), true_times(recorded)
    search = Search(candidates, name, seed=seed, first=first)
    replay = Replay(recorded, seed=seed)
    everything = sum(one.outcome != TrialOutcome.REJECTED for one in recorded)
    best = min(times.values())
    tried: list[Trial] = []
    rows = []
    for share in shares:
        wanted = max(1, round(share * everything))
        while measured(tried) < wanted and (config := search.suggest(tried)) is not None:
            tried.append(replay.quick(config, best_ms=None))
        finals = measure_finals(replay, candidates.default, best_of(tried, candidates.default))
        config = decide(finals).config
        rows.append(
            Regret(
                key=recorded[0].key,
                label=recorded[0].mask.label,
                search=name,
                seed=seed,
                share=share,
                trials=measured(tried),
                config=config,
                regret=times[config] / best - 1,
                default=times[candidates.default] / best - 1,
            )
        )
    return rows


def exhaustive_record(recorded: Sequence[SweepTrial]) -> TuningRecord:
    """Return what an exhaustive search of one problem of a sweep keeps."""
    candidates, one = recorded_candidates(recorded), recorded[0]
    tuned = tune(candidates, Replay(recorded), search="exhaustive", trials=len(recorded))
    return tuned.record(
        one.key,
        mask=one.mask,
        kernel=one.kernel,
        versions=one.versions,
        created="1970-01-01T00:00:00+00:00",
    )


def draw_regrets(summaries: Sequence[RegretSummary]) -> "tuple[Figure, str]":
    """Draw the median and the 95th percentile of regrets, each search in a colour of its own.

    Returns:
        The chart, and its caption.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    from radialbench.reports.charts._drawing import COLOURS, MARKERS, WIDTH

    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(one.search for one in summaries))
    for place, name in enumerate(names):
        points = sorted(((one.share, one) for one in summaries if one.search == name), key=_share)
        shares = [share for share, _ in points]
        look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        axes[0].plot(shares, [one.median for _, one in points], label=name, **look)
        axes[1].plot(shares, [one.high for _, one in points], label=name, **look)
    _title(axes[0], "Median", 0.02)
    _title(axes[1], "95th percentile", 0.05)
    shares = sorted({one.share for one in summaries})
    for part in axes:
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


def _share(point: tuple[float, RegretSummary]) -> float:
    return point[0]


def _title(axes: "Axes", title: str, aim: float) -> None:
    from radialbench.reports.charts._drawing import GREY

    axes.set_title(title)
    axes.axhline(aim, color=GREY, linestyle=(0, (4, 2)), linewidth=1)
