"""What problems get that were not tuned, by the sweep: each from the records of the others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import ceil
from statistics import median

from radialbench.autotune.regret import Transfer, exhaustive_record
from radialbench.autotune.replay import true_times
from radialbench.autotune.sweep import SweepTrial
from radialbench.autotune.words import config_words
from radialbench.records.lookup import FARTHEST, MATCHED, distance
from radialbench.records.tuning import TuningKey
from radialbench.reports.markdown_tables import table, text

MEDIAN, WORST = 0.02, 0.05
"""The aim: so far from the best at the median, and at most."""

FEWEST = 6
"""Pairs at a distance that say something about it."""

Problems = Mapping[TuningKey, Sequence[SweepTrial]]


@dataclass(frozen=True, slots=True)
class Pair:
    """What one problem would get from the record of another.

    Attributes:
        distance: How far apart they are, as lookups have it.
        same_mask: Whether they are of the same mask.
        regret: By how much what is transferred is slower than the best there is.
        default: By how much the default is.
    """

    distance: float
    same_mask: bool
    regret: float
    default: float


def pairs_of(problems: Problems) -> list[Pair]:
    """Give every record to every other problem that it says something about, however far.

    A configuration that did not end well where it would go is left out, as lookups pass it over.
    """
    records = {key: exhaustive_record(recorded) for key, recorded in problems.items()}
    times = {key: true_times(recorded) for key, recorded in problems.items()}
    pairs = []
    for tuned, key in permutations(problems, 2):
        alike = all(getattr(tuned, name) == getattr(key, name) for name in MATCHED)
        config, default = records[tuned].config, records[key].default
        if alike and config in times[key]:
            best = min(times[key].values())
            same = tuned.mask_fingerprint == key.mask_fingerprint
            regrets = (times[key][config] / best - 1, times[key][default] / best - 1)
            pairs.append(Pair(distance(tuned, key), same, *regrets))
    return pairs


def transfer_table(rows: Sequence[Transfer]) -> str:
    """What each problem gets from the others."""
    headers = ("mask", "frames × tokens", "heads", "kernel", "given", "regret", "default's")
    body = [
        (
            text(row.label),
            f"{row.key.frames} × {row.key.tokens_per_frame:,}",
            str(row.key.batch * row.key.heads),
            f"`{row.key.backend}`",
            "the default" if row.source == "default" else config_words(row.config),
            f"{row.regret:.2%}",
            f"{row.default:.2%}",
        )
        for row in rows
    ]
    return table(headers, body, words=5)


def transfer_targets(rows: Sequence[Transfer]) -> list[tuple[str, float, float]]:
    """What was asked of transfers, the bound, and what was measured, for each kernel."""
    targets = []
    for backend in dict.fromkeys(row.key.backend for row in rows):
        regrets = [row.regret for row in rows if row.key.backend == backend]
        what = f"transfer, `{backend}`, "
        targets.append((what + "median", MEDIAN, median(regrets)))
        targets.append((what + "worst", WORST, max(regrets)))
    return targets


def worst_words(rows: Sequence[Transfer]) -> str:
    """Say which problem transfer serves worst, and why it got what it got."""
    worst = max(rows, key=lambda row: row.regret)
    key = worst.key
    return (
        f"The worst is {text(worst.label)} on {key.frames} × {key.tokens_per_frame:,} tokens with "
        f"{key.batch * key.heads} heads on `{key.backend}`: {worst.regret:.2%} slower than the "
        f"best ({text(worst.reason)})."
    )


def distance_table(pairs: Iterable[Pair]) -> str:
    """Regrets by distance, of the same mask and of others."""
    headers = ("distance", "mask", "pairs", "median", "worst", "default's", "slower than it")
    body = []
    for far, part in _by_distance(pairs):
        for same, word in ((True, "same"), (False, "other")):
            some = [pair for pair in part if pair.same_mask == same]
            if some:
                regrets, defaults = [one.regret for one in some], [one.default for one in some]
                figures = (median(regrets), max(regrets), median(defaults))
                slower = sum(one.regret > one.default for one in some)
                shown = (f"{figure:.2%}" for figure in figures)
                body.append((_span(far), word, str(len(some)), *shown, str(slower)))
    return table(headers, body, words=2)


def suggested(pairs: Iterable[Pair]) -> float | None:
    """Give the distance from which on the default is better; None if the data has no such.

    Better at the median over all pairs of a step of distance, of which there must be some.
    """
    for far, part in _by_distance(pairs):
        if len(part) >= FEWEST and median(one.regret - one.default for one in part) > 0:
            return far - 1.0
    return None


def bound_words(pairs: Sequence[Pair]) -> str:
    """Say what the data says of the bound on distances."""
    here = f"The bound on distances, `FARTHEST`, is {FARTHEST:g}."
    found, most = suggested(pairs), max((pair.distance for pair in pairs), default=0.0)
    if found is None:
        return (
            f"{here} Up to {most:.1f}, as far apart as two problems of the sweep are, what is "
            "transferred is no slower than the default at the median of any step, so that nothing "
            f"here asks for a smaller one; beyond {most:.1f} nothing was measured."
        )
    if found == FARTHEST:
        return f"{here} By the sweep the default is better beyond it."
    return f"{here} By the sweep the default is better beyond {found:g}."


def _by_distance(pairs: Iterable[Pair]) -> Iterator[tuple[int, list[Pair]]]:
    """Part pairs by distance, rounded up, the nearest first; those at 0 count to the first step."""
    steps: dict[int, list[Pair]] = {}
    for pair in pairs:
        steps.setdefault(max(1, ceil(pair.distance)), []).append(pair)
    yield from sorted(steps.items())


def _span(far: int) -> str:
    return f"{far - 1} to {far}"
