"""How near searches come to the best, what tuning gains, and what transfers to other problems.

    radialbench tune benchmarks/tuning_sweep.yaml --sampler exhaustive --record FILE   # on a GPU
    python -m benchmarks.tuning                 # replay searches: two minutes on a core
    python -m benchmarks.pages tuning           # docs/tuning.md

The page is made of that sweep, benchmarks/results/tuning_sweep.jsonl, of the rates in tuning.json
beside it, and of the tuned records that come with the package. A search takes a fifth of a second,
and there are some thousands: what they gave is kept, with the hash of the sweep.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice, permutations
from math import ceil
from multiprocessing import get_context
from statistics import median
from typing import Any

from benchmarks.parts import NOT_YET, RESULTS, ROOT, file_hash
from radialbench.autotune.replay import (
    SHARES,
    RegretSummary,
    Transfer,
    by_problem,
    compare_searches,
    draw_regrets,
    exhaustive_record,
    problem_name,
    summary_of,
    transfer_regrets,
    true_times,
)
from radialbench.autotune.run import NEIGHBOURS, neighbours
from radialbench.autotune.space import format_config
from radialbench.autotune.trials import SweepTrial, TrialOutcome, read_sweep
from radialbench.autotune.tuner import TRIALS
from radialbench.kernels.tuned import shipped_records
from radialbench.records.lookup import FARTHEST, MATCHED, distance
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.reports.text import escape, markdown_table

SUITE = ROOT / "benchmarks" / "tuning_sweep.yaml"
SWEEP = RESULTS / "tuning_sweep.jsonl"
RATES = RESULTS / "tuning.json"
PICTURE = "tuning.svg"

SEEDS = 50
WHOLE = "exhaustive"
HELPED = "tpe, helped"
"""As `tune` runs it on a GPU that has no records, with those that the package has of others: what
is best there for this problem and those near it comes after the default."""

COSTS = {"tpe": SHARES, HELPED: SHARES, "random": SHARES, WHOLE: (*SHARES, 0.5, 0.7, 1.0)}
"""Parts of the measurements of an exhaustive search after which each is asked what it found."""

TOLD = (0.05, 0.1, 0.2, 1.0)
COST, MEDIAN, HIGH = 0.1, 0.02, 0.05
"""The aim: after this part of the measurements, so far from the best at the median and in 95 of 100
searches."""

WORST = 0.05
"""The aim for what is transferred, at most; at the median it is `MEDIAN`."""

FEWEST = 6
"""Pairs at a distance that say something about it."""

Trials = Sequence[SweepTrial]
Problems = Mapping[TuningKey, Trials]
Rates = dict[str, Any]
"""Of which sweep, and for each problem, search and share: how many trials were made of how many,
and the regret with each seed."""


def whole_problems(sweep: Trials) -> dict[TuningKey, tuple[SweepTrial, ...]]:
    """Give the problems that were measured to the end.

    What may be tried depends on the kernel, the type and the head dimension alone; where there are
    fewer trials than for others of these, the sweep was cut off.
    """
    kinds: dict[tuple[object, ...], set[object]] = {}
    problems = by_problem(sweep)
    for key, recorded in problems.items():
        kinds.setdefault(_kind(key), set()).update(one.config for one in recorded)
    return {
        key: recorded
        for key, recorded in problems.items()
        if len({one.config for one in recorded}) == len(kinds[_kind(key)])
    }


def searched(problems: Iterable[Trials]) -> list[Trials]:
    """Give the problems with more candidates than `tune` tries; of the others it tries all."""
    return [recorded for recorded in problems if _cost(recorded) > TRIALS]


def replay(problems: Sequence[Trials], seeds: int) -> list[dict[str, Any]]:
    """Replay every search on every problem with every seed, on all cores."""
    # Not forked: this process may have threads.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(rates_of, seeds=range(seeds)), problems)
        return [row for rows in found for row in rows]


def rates_of(recorded: Trials, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Replay every search on one problem."""
    rows = []
    key = recorded[0].key
    others = [record for record in shipped_records() if record.key.device != key.device]
    for search, shares in COSTS.items():
        helped = {key: tuple(islice(neighbours(others, key), NEIGHBOURS))}
        first = helped if search == HELPED else {}
        found = compare_searches(recorded, [search.partition(",")[0]], seeds, shares, first=first)
        for share, part in groupby(sorted(found, key=lambda row: row.share), lambda row: row.share):
            same = sorted(part, key=lambda row: row.seed)
            rows.append(
                {
                    "problem": problem_name(recorded[0]),
                    "search": search,
                    "share": share,
                    "trials": same[0].trials,
                    "of": _cost(recorded),
                    "regrets": [round(row.regret, 5) for row in same],
                }
            )
    return rows


def summaries(rates: Rates) -> list[RegretSummary]:
    """Sum up over problems and seeds."""
    parts: dict[tuple[str, float], list[float]] = {}
    for row in rates["rows"]:
        parts.setdefault((row["search"], row["share"]), []).extend(row["regrets"])
    return [summary_of(search, share, regrets) for (search, share), regrets in parts.items()]


def search_table(rates: Rates) -> str:
    """What each search hands out after parts of the measurements."""
    headers = ("search", "measured", "trials", "median", "95th percentile", "worst")
    body = []
    for one in summaries(rates):
        if one.share not in TOLD:
            continue
        rows = [r for r in rates["rows"] if (r["search"], r["share"]) == (one.search, one.share)]
        trials = median(row["trials"] for row in rows)
        figures = (f"{value:.2%}" for value in (one.median, one.high, one.worst))
        body.append((f"`{one.search}`", f"{one.share:.0%}", f"{trials:.0f}", *figures))
    return markdown_table(headers, body, text_columns=1)


def search_targets(rates: Rates) -> list[tuple[str, float, float]]:
    """What was asked of `tpe`, the bound, and what was measured."""
    found = {(one.search, one.share): one for one in summaries(rates)}
    told = []
    for search in ("tpe", HELPED):
        what, one = f"`{search}` after {COST:.0%} of the measurements, ", found[search, COST]
        told.append((what + "median", MEDIAN, one.median))
        told.append((what + "95th percentile", HIGH, one.high))
    return told


@dataclass(frozen=True, slots=True)
class Pair:
    """What one problem would get from the record of another at a distance, as lookups have it.

    Regrets, of what is transferred and of the default, are over the best there is.
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
            escape(row.label),
            f"{row.key.frames} × {row.key.tokens_per_frame:,}",
            str(row.key.batch * row.key.heads),
            f"`{row.key.backend}`",
            "the default" if row.source == "default" else format_config(row.config),
            f"{row.regret:.2%}",
            f"{row.default:.2%}",
        )
        for row in rows
    ]
    return markdown_table(headers, body, text_columns=5)


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
        f"The worst is {escape(worst.label)} on {key.frames} × {key.tokens_per_frame:,} tokens "
        f"with {key.batch * key.heads} heads on `{key.backend}`: {worst.regret:.2%} slower "
        f"than the best ({escape(worst.reason)})."
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
    return markdown_table(headers, body, text_columns=2)


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


def target_table(targets: Iterable[tuple[str, float, float]]) -> str:
    """What was asked, and what was measured."""
    body = [
        (what, f"at most {bound:.0%}", f"{found:.3%}", "yes" if found <= bound else "**no**")
        for what, bound, found in targets
    ]
    return markdown_table(("what", "asked", "measured", "met"), body, text_columns=1)


def gains(records: Sequence[TuningRecord]) -> str:
    """What the records that come with the package gain over the default, a table a device."""
    devices = sorted({record.key.device for record in records})
    return "\n\n".join(_gains_on(device, records) for device in devices) or NOT_YET


def _gains_on(device: str, every: Iterable[TuningRecord]) -> str:
    records = sorted((one for one in every if one.key.device == device), key=_order)
    headers = ("mask", "frames × tokens", "heads", "kernel", "changed", "default ms", "best ms")
    body = [
        (
            escape(one.mask.label),
            f"{one.key.frames} × {one.key.tokens_per_frame:,}",
            str(one.key.batch * one.key.heads),
            f"`{one.key.backend}`",
            changed(one.default, one.config) or "nothing",
            f"{one.default_ms.value:.4g}",
            f"{one.ms.value:.4g}",
            "none" if one.source == "default" else f"{one.ratio:.3f}",
        )
        for one in records
    ]
    gained = [one.ratio.value for one in records if one.source == "tuned"]
    most = f", {max(gained):.2f} times as fast at most" if gained else ""
    versions = ", ".join(f"{name} {version}" for name, version in records[-1].versions.items())
    days = sorted({one.created[:10] for one in records})
    return (
        f"{markdown_table((*headers, 'gain'), body, text_columns=5)}\n\n"
        f"{len(gained)} of {len(records)} run faster than with the default{most}. "
        f"{device}; {versions}; {' to '.join(dict.fromkeys((days[0], days[-1])))}."
    )


def changed(default: KernelConfig, config: KernelConfig) -> str:
    """Say in what a configuration differs from the default."""
    told = []
    for name in KernelConfig.__dataclass_fields__:
        before, now = getattr(default, name), getattr(config, name)
        if before != now:
            told.append(f"{name} {before} → {now}")
    return ", ".join(told)


def _order(record: TuningRecord) -> tuple[object, ...]:
    key = record.key
    return key.backend, record.mask.label, key.tokens_per_frame, key.frames, key.heads


def _told(sweep: Sequence[SweepTrial], problems: Problems, rates: Rates) -> str:
    """Say what the sweep is of."""
    whole = sum(map(len, problems.values()))
    devices = ", ".join(dict.fromkeys(one.key.device for one in sweep))
    versions = dict(pair for one in sweep for pair in one.versions.items())
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    cut = len({one.key for one in sweep}) - len(problems)
    left = f" {cut} more were cut off and are left out." * (cut > 0)
    counts = f"{len(problems)} problems, {whole:,} configurations, {rates['seeds']} seeds"
    return f"{counts}; {devices}; {said}; `radialbench tune --record`.{left}"


def parts(
    sweep: Sequence[SweepTrial] | None = None,
    rates: Rates | None = None,
    records: Sequence[TuningRecord] | None = None,
) -> dict[str, str]:
    """Return each generated part of the page by its name, by default of what is stored."""
    if sweep is None and SWEEP.exists():
        sweep, rates = read_sweep(SWEEP), json.loads(RATES.read_text(encoding="utf-8"))
    made = dict.fromkeys(("searches", "transfer", "distances"), NOT_YET)
    if sweep and rates:
        made = measured_parts(sweep, whole_problems(sweep), rates)
    return made | {"gains": gains(shipped_records() if records is None else records)}


def measured_parts(sweep: Sequence[SweepTrial], problems: Problems, rates: Rates) -> dict[str, str]:
    """Return the parts that rest on the sweep."""
    rows = transfer_regrets([one for recorded in problems.values() for one in recorded])
    pairs = pairs_of(problems)
    searches, few = "", len(problems) - len(searched(problems.values()))
    if rates["rows"]:
        searches = "\n\n".join(
            (
                search_table(rates),
                f"![Regret of searches against their cost](images/{PICTURE})",
                target_table(search_targets(rates)),
            )
        )
    if few:
        searches += (
            f"\n\n{few} of {len(problems)} problems have no more candidates than a search has "
            "trials: all are tried, and no search is needed."
        )
    transfers = (
        transfer_table(rows),
        worst_words(rows),
        target_table(transfer_targets(rows)),
    )
    return {
        "searches": f"{searches.strip()}\n\n{_told(sweep, problems, rates)}",
        "transfer": "\n\n".join(transfers),
        "distances": f"{distance_table(pairs)}\n\n{bound_words(pairs)}",
    }


def picture() -> bytes:
    """Draw the regret of each search against what it costs, as SVG."""
    from radialbench.reports.charts._drawing import drawing, rendered

    with drawing():
        figure, _ = draw_regrets(summaries(json.loads(RATES.read_text(encoding="utf-8"))))
        return rendered(figure, "svg")


def _cost(recorded: Trials) -> int:
    return sum(one.outcome != TrialOutcome.REJECTED for one in recorded)


def _kind(key: TuningKey) -> tuple[object, ...]:
    return key.backend, key.device, key.head_dim, key.dtype, key.direction


def main() -> int:
    """Replay the searches anew."""
    now = file_hash(SWEEP)
    rows = replay(searched(whole_problems(read_sweep(SWEEP)).values()), SEEDS)
    lines = ",\n".join(map(json.dumps, rows))
    head = f'{{"sweep": "{now}", "seeds": {SEEDS}, "rows": ['
    RATES.write_text(f"{head}\n{lines}\n]}}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
