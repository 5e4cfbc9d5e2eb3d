"""Regret: how much slower than the best there is what a search, or a transfer, hands out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from statistics import median
from types import MappingProxyType

from radialbench.autotune.evaluator import Outcome, Trial
from radialbench.autotune.final import decide, measure_finals
from radialbench.autotune.replay import Replay, by_problem, recorded_candidates, true_times
from radialbench.autotune.search import Search
from radialbench.autotune.sweep import SweepTrial
from radialbench.autotune.tuner import best_of, measured, tune_among
from radialbench.records.lookup import find
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey, TuningRecord

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
class Summary:
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


def summarize_regrets(rows: Iterable[Regret]) -> list[Summary]:
    """Sum regrets up by search and share."""
    parts: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        parts.setdefault((row.search, row.share), []).append(row.regret)
    return [summary_of(search, share, found) for (search, share), found in parts.items()]


def summary_of(search: str, share: float, regrets: Sequence[float]) -> Summary:
    """Sum up the regrets of one search after one part of the measurements."""
    high = sorted(regrets)[ceil(0.95 * len(regrets)) - 1]
    return Summary(search, share, len(regrets), median(regrets), high, max(regrets))


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
        found = find(
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
    among, times = recorded_candidates(recorded), true_times(recorded)
    search = Search(among, name, seed=seed, first=first)
    replay = Replay(recorded, seed=seed)
    everything = sum(one.outcome != Outcome.REJECTED for one in recorded)
    best = min(times.values())
    tried: list[Trial] = []
    rows = []
    for share in shares:
        wanted = max(1, round(share * everything))
        while measured(tried) < wanted and (config := search.suggest(tried)) is not None:
            tried.append(replay.quick(config, best_ms=None))
        finals = measure_finals(replay, among.default, best_of(tried, among.default))
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
                default=times[among.default] / best - 1,
            )
        )
    return rows


def exhaustive_record(recorded: Sequence[SweepTrial]) -> TuningRecord:
    """Give what an exhaustive search of one problem of a sweep keeps."""
    among, one = recorded_candidates(recorded), recorded[0]
    tuned = tune_among(among, Replay(recorded), search="exhaustive", trials=len(recorded))
    return tuned.record(
        one.key,
        mask=one.mask,
        kernel=one.kernel,
        versions=one.versions,
        created="1970-01-01T00:00:00+00:00",
    )
