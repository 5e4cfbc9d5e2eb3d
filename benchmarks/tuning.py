"""Study how close searches come to the best, what tuning gains, and what transfers.

    radialbench tune benchmarks/tuning_sweep.yaml --sampler exhaustive --record FILE   # on a GPU
    python -m benchmarks.tuning                 # replay searches: two minutes on a core
    python -m benchmarks.pages tuning           # docs/tuning.md

The page is made from that sweep, benchmarks/results/tuning_sweep.jsonl, from the regrets in
tuning.json beside it, and from the tuned records of the package. There are thousands of searches of
a fifth of a second each: their regrets are stored with the hash of the sweep.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice, permutations
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.parts import RESULTS, ROOT, file_hash, write_rows
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
"""As `tune` runs it on a GPU without records, with the package's records of other GPUs: their best
configurations of this problem and of near ones are tried after the default."""

COSTS = {"tpe": SHARES, HELPED: SHARES, "random": SHARES, WHOLE: (*SHARES, 0.5, 0.7, 1.0)}
"""Shares of an exhaustive search's measurements at which each search's best is compared."""

SHOWN = (0.05, 0.1, 0.2, 1.0)
COST, MEDIAN, HIGH = 0.1, 0.02, 0.05
"""The aim: at this share of the measurements, the median regret and the 95th percentile."""

WORST = 0.05
"""The aim for the worst transfer; at the median it is `MEDIAN`."""

FEWEST = 6
"""Pairs that a step of distance needs for a conclusion."""

Trials = Sequence[SweepTrial]
Problems = Mapping[TuningKey, Trials]
Rates = dict[str, Any]
"""The sweep's hash, and for each problem, search and share the trials and each seed's regret."""


def whole_problems(sweep: Trials) -> dict[TuningKey, tuple[SweepTrial, ...]]:
    """Return the problems with trials of every candidate.

    Candidates depend on the kernel, the type and the head dimension alone: where there are fewer
    trials than for others of these, the sweep was cut off.
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
    """Return the problems with more candidates than `tune` tries; of others it tries all."""
    return [recorded for recorded in problems if _cost(recorded) > TRIALS]


def replay(problems: Sequence[Trials], seeds: int) -> list[dict[str, Any]]:
    """Replay every search on every problem with every seed, on all cores."""
    # Processes are not forked, since this one may have threads.
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
        for share in shares:
            same = sorted((row for row in found if row.share == share), key=lambda row: row.seed)
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
    """Summarize over problems and seeds."""
    parts: dict[tuple[str, float], list[float]] = {}
    for row in rates["rows"]:
        parts.setdefault((row["search"], row["share"]), []).extend(row["regrets"])
    return [summary_of(search, share, regrets) for (search, share), regrets in parts.items()]


def search_table(rates: Rates) -> str:
    """Format each search's regret at shares of the measurements."""
    headers = ("search", "measured", "trials", "median", "95th percentile", "worst")
    body = []
    for one in summaries(rates):
        if one.share not in SHOWN:
            continue
        rows = [r for r in rates["rows"] if (r["search"], r["share"]) == (one.search, one.share)]
        trials = median(row["trials"] for row in rows)
        figures = (f"{value:.2%}" for value in (one.median, one.high, one.worst))
        body.append((f"`{one.search}`", f"{one.share:.0%}", f"{trials:.0f}", *figures))
    return markdown_table(headers, body, text_columns=1)


def search_targets(rates: Rates) -> list[tuple[str, float, float]]:
    """Return the aims of `tpe`: name, bound, and measured regret."""
    found = {(one.search, one.share): one for one in summaries(rates)}
    targets = []
    for search in ("tpe", HELPED):
        what, one = f"`{search}` after {COST:.0%} of the measurements, ", found[search, COST]
        targets.append((what + "median", MEDIAN, one.median))
        targets.append((what + "95th percentile", HIGH, one.high))
    return targets


@dataclass(frozen=True, slots=True)
class Pair:
    """What one problem would get from the record of another at a distance, by a lookup.

    Regrets, of the transferred configuration and of the default, are over the best.
    """

    distance: float
    same_mask: bool
    regret: float
    default: float


def pairs_of(problems: Problems) -> list[Pair]:
    """Transfer every record to every other problem that a lookup may serve with it.

    A configuration that failed on the other problem is left out, as lookups skip it.
    """
    records = {key: exhaustive_record(recorded) for key, recorded in problems.items()}
    times = {key: true_times(recorded) for key, recorded in problems.items()}
    pairs = []
    for tuned, key in permutations(problems, 2):
        matched = all(getattr(tuned, name) == getattr(key, name) for name in MATCHED)
        config, default = records[tuned].config, records[key].default
        if matched and config in times[key]:
            best = min(times[key].values())
            same = tuned.mask_fingerprint == key.mask_fingerprint
            regrets = (times[key][config] / best - 1, times[key][default] / best - 1)
            pairs.append(Pair(distance(tuned, key), same, *regrets))
    return pairs


def transfer_table(rows: Sequence[Transfer]) -> str:
    """Format what each problem gets from the others."""
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
    """Return the aims of transfers for each kernel: name, bound, and measured regret."""
    targets = []
    for backend in dict.fromkeys(row.key.backend for row in rows):
        regrets = [row.regret for row in rows if row.key.backend == backend]
        what = f"transfer, `{backend}`, "
        targets.append((what + "median", MEDIAN, median(regrets)))
        targets.append((what + "worst", WORST, max(regrets)))
    return targets


def worst_transfer(rows: Sequence[Transfer]) -> str:
    """Describe the worst transfer and its reason."""
    worst = max(rows, key=lambda row: row.regret)
    key = worst.key
    return (
        f"The worst is {escape(worst.label)} on {key.frames} × {key.tokens_per_frame:,} tokens "
        f"with {key.batch * key.heads} heads on `{key.backend}`: {worst.regret:.2%} slower "
        f"than the best ({escape(worst.reason)})."
    )


def distance_table(pairs: Iterable[Pair]) -> str:
    """Format regrets by distance, of the same mask and of others."""
    headers = ("distance", "mask", "pairs", "median", "worst", "default's", "slower than it")
    body = []
    for far, part in _by_distance(pairs):
        for same, mask in ((True, "same"), (False, "other")):
            some = [pair for pair in part if pair.same_mask == same]
            if some:
                regrets, defaults = [one.regret for one in some], [one.default for one in some]
                figures = (median(regrets), max(regrets), median(defaults))
                slower = sum(one.regret > one.default for one in some)
                shown = (f"{figure:.2%}" for figure in figures)
                body.append((f"{far - 1} to {far}", mask, str(len(some)), *shown, str(slower)))
    return markdown_table(headers, body, text_columns=2)


def suggested(pairs: Iterable[Pair]) -> float | None:
    """Return the distance beyond which the default is better at the median; None if there is none.

    A step of distance counts if it has enough pairs.
    """
    for far, part in _by_distance(pairs):
        if len(part) >= FEWEST and median(one.regret - one.default for one in part) > 0:
            return far - 1.0
    return None


def bound_text(pairs: Sequence[Pair]) -> str:
    """Describe the bound on distances that the data suggests."""
    here = f"The bound on distances, `FARTHEST`, is {FARTHEST:g}."
    found, most = suggested(pairs), max((pair.distance for pair in pairs), default=0.0)
    if found is None:
        return (
            f"{here} Up to {most:.1f}, as far apart as two problems of the sweep are, what is "
            "transferred is no slower than the default at the median of any step, so that nothing "
            f"here asks for a smaller one; beyond {most:.1f} nothing was measured."
        )
    beyond = "it" if found == FARTHEST else f"{found:g}"
    return f"{here} By the sweep the default is better beyond {beyond}."


def _by_distance(pairs: Iterable[Pair]) -> Iterator[tuple[int, list[Pair]]]:
    """Group pairs by distance, rounded up to at least 1, the nearest first."""
    steps: dict[int, list[Pair]] = {}
    for pair in pairs:
        steps.setdefault(max(1, ceil(pair.distance)), []).append(pair)
    yield from sorted(steps.items())


def target_table(targets: Iterable[tuple[str, float, float]]) -> str:
    """Format aims and measured regrets."""
    body = [
        (what, f"at most {bound:.0%}", f"{found:.3%}", "yes" if found <= bound else "**no**")
        for what, bound, found in targets
    ]
    return markdown_table(("what", "asked", "measured", "met"), body, text_columns=1)


def gains(records: Sequence[TuningRecord]) -> str:
    """Format the gain of tuned records over the default, one table per device."""
    devices = sorted({record.key.device for record in records})
    return "\n\n".join(
        _gains_on(device, sorted((r for r in records if r.key.device == device), key=_order))
        for device in devices
    )


def _gains_on(device: str, records: Sequence[TuningRecord]) -> str:
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
    """Describe the difference of a configuration from the default."""
    before, now = asdict(default), asdict(config)
    return ", ".join(
        f"{name} {before[name]} → {now[name]}" for name in now if now[name] != before[name]
    )


def _order(record: TuningRecord) -> tuple[object, ...]:
    key = record.key
    return key.backend, record.mask.label, key.tokens_per_frame, key.frames, key.heads


def _source(sweep: Sequence[SweepTrial], problems: Problems, rates: Rates) -> str:
    """Describe the sweep."""
    whole = sum(map(len, problems.values()))
    devices = ", ".join(dict.fromkeys(one.key.device for one in sweep))
    versions = dict(pair for one in sweep for pair in one.versions.items())
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    cut = len({one.key for one in sweep}) - len(problems)
    left = f" {cut} more were cut off and are left out." * (cut > 0)
    counts = f"{len(problems)} problems, {whole:,} configurations, {rates['seeds']} seeds"
    return f"{counts}; {devices}; {libraries}; `radialbench tune --record`.{left}"


def parts() -> dict[str, str]:
    """Return each generated part of the page by its name."""
    rates = json.loads(RATES.read_text(encoding="utf-8"))
    return measured_parts(read_sweep(SWEEP), rates) | {"gains": gains(shipped_records())}


def measured_parts(sweep: Sequence[SweepTrial], rates: Rates) -> dict[str, str]:
    """Return the parts that the sweep gives."""
    problems = whole_problems(sweep)
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
        worst_transfer(rows),
        target_table(transfer_targets(rows)),
    )
    return {
        "searches": f"{searches.strip()}\n\n{_source(sweep, problems, rates)}",
        "transfer": "\n\n".join(transfers),
        "distances": f"{distance_table(pairs)}\n\n{bound_text(pairs)}",
    }


def save_picture(path: Path) -> None:
    """Draw the regret of each search against its cost, as SVG."""
    from radialbench.reports.charts._drawing import drawing, rendered

    with drawing():
        figure, _ = draw_regrets(summaries(json.loads(RATES.read_text(encoding="utf-8"))))
        path.write_bytes(rendered(figure, "svg"))


def _cost(recorded: Trials) -> int:
    return sum(one.outcome != TrialOutcome.REJECTED for one in recorded)


def _kind(key: TuningKey) -> tuple[object, ...]:
    return key.backend, key.device, key.head_dim, key.dtype, key.direction


def main() -> int:
    """Replay the searches anew."""
    head = f'{{"sweep": "{file_hash(SWEEP)}", "seeds": {SEEDS}, "rows": ['
    rows = replay(searched(whole_problems(read_sweep(SWEEP)).values()), SEEDS)
    write_rows(RATES, rows, head, "]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
