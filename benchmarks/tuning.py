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
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, permutations
from math import ceil
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.parts import RESULTS, PerformanceTarget, file_hash, target_table, write_rows
from radialbench.autotune import replay as replays
from radialbench.autotune.run import NEIGHBOURS, neighbours
from radialbench.autotune.search import Search
from radialbench.autotune.space import fields_of, format_config
from radialbench.autotune.trials import SweepTrial, Trial, measured, read_sweep
from radialbench.autotune.tuner import TRIALS, best_of, decide, measure_finals, tune
from radialbench.kernels.tuned import shipped_records
from radialbench.records.lookup import FARTHEST, MATCHED, ConfigChoice, distance, nearest_config
from radialbench.records.problem import KernelConfig
from radialbench.records.statistics import Estimate
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.reports.text import escape, markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SWEEP = RESULTS / "tuning_sweep.jsonl"
RATES = RESULTS / "tuning.json"
PICTURE = "tuning.svg"

SEEDS = 50
WHOLE = "exhaustive"
HELPED = "tpe, helped"
"""As `tune` runs it on a GPU without records, with the package's records of other GPUs: their best
configurations of this problem and of near ones are tried after the default."""

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3)
COSTS = {"tpe": SHARES, HELPED: SHARES, "random": SHARES, WHOLE: (*SHARES, 0.5, 0.7, 1.0)}
"""Shares of an exhaustive search's measurements at which each search's best is compared."""

SHOWN = (0.05, 0.1, 0.2, 1.0)
COST, MEDIAN, HIGH = 0.1, 0.02, 0.05
"""The aim: at this share of the measurements, the median regret and the 95th percentile."""

WORST = 0.05
"""The aim for the worst transfer; at the median it is `MEDIAN`."""

FEWEST = 6
"""Pairs that a step of distance needs for a conclusion."""

KIND = attrgetter(*MATCHED)
"""What two problems share whose records may serve each other."""

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
    problems = replays.by_problem(sweep)
    for key, recorded in problems.items():
        kinds.setdefault(KIND(key), set()).update(one.config for one in recorded)
    return {
        key: recorded
        for key, recorded in problems.items()
        if len({one.config for one in recorded}) == len(kinds[KIND(key)])
    }


def searched(problems: Iterable[Trials]) -> list[Trials]:
    """Return the problems with more candidates than `tune` tries; of others it tries all."""
    return [recorded for recorded in problems if measured(recorded) > TRIALS]


def rates_of(recorded: Trials, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Replay every search on one problem."""
    rows = []
    key = recorded[0].key
    others = [record for record in shipped_records() if record.key.device != key.device]
    for search, shares in COSTS.items():
        first = tuple(islice(neighbours(others, key), NEIGHBOURS)) if search == HELPED else ()
        name = search.partition(",")[0]
        found = [list(regrets(recorded, name, seed, shares, first)) for seed in seeds]
        for share, of_share in zip(shares, zip(*found, strict=True), strict=True):
            rows.append(
                {
                    "problem": replays.problem_name(recorded[0]),
                    "search": search,
                    "share": share,
                    "trials": of_share[0][0],
                    "of": measured(recorded),
                    "regrets": [round(regret, 5) for _, regret in of_share],
                }
            )
    return rows


def regrets(
    recorded: Trials,
    name: str,
    seed: int,
    shares: Iterable[float],
    first: Sequence[KernelConfig] = (),
) -> Iterator[tuple[int, float]]:
    """Yield the trials and the regret of a search after each share of the measurements, ascending.

    The result after a share is what `tune` would decide on then, with its runoff, whose samples do
    not count as trials. The search begins with the default, then with `first`.
    """
    candidates, times = replays.recorded_candidates(recorded), replays.true_times(recorded)
    search = Search(candidates, name, seed=seed, first=first)
    replay = replays.Replay(recorded, seed=seed)
    tried: list[Trial] = []
    for share in shares:
        count = max(1, round(share * measured(recorded)))
        while measured(tried) < count and (config := search.suggest(tried)) is not None:
            tried.append(replay.quick(config, best_ms=None))
        best = best_of(tried, candidates.default)
        decision = decide(measure_finals(replay, candidates.default, best))
        yield measured(tried), replays.regret_of(times, decision.config)


@dataclass(frozen=True, slots=True)
class RegretSummary:
    """Regrets of one search after a share of the measurements; `high` is the 95th percentile."""

    search: str
    share: float
    searches: int
    median: float
    high: float
    worst: float


def summaries(rates: Rates) -> list[RegretSummary]:
    """Summarize over problems and seeds."""
    parts: dict[tuple[str, float], list[float]] = {}
    for row in rates["rows"]:
        parts.setdefault((row["search"], row["share"]), []).extend(row["regrets"])
    return [summary_of(*group, found) for group, found in parts.items()]


def summary_of(search: str, share: float, found: Sequence[float]) -> RegretSummary:
    """Summarize the regrets of one search after one share of the measurements."""
    high = sorted(found)[ceil(0.95 * len(found)) - 1]
    return RegretSummary(search, share, len(found), median(found), high, max(found))


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


def most(what: str, bound: float, regret: float) -> PerformanceTarget:
    """Return the aim of a regret."""
    return PerformanceTarget(what, bound, Estimate(regret), at_most=True, forms=(".0%", ".3%"))


def search_targets(rates: Rates) -> list[PerformanceTarget]:
    """Return the aims of `tpe`."""
    found = {(one.search, one.share): one for one in summaries(rates)}
    targets = []
    for search in ("tpe", HELPED):
        what, one = f"`{search}` after {COST:.0%} of the measurements, ", found[search, COST]
        targets.append(most(what + "median", MEDIAN, one.median))
        targets.append(most(what + "95th percentile", HIGH, one.high))
    return targets


def exhaustive_record(recorded: Trials) -> TuningRecord:
    """Return the record of an exhaustive search of one problem of a sweep."""
    one, trials = recorded[0], len(recorded)
    tuned = tune(
        replays.recorded_candidates(recorded),
        replays.Replay(recorded),
        search="exhaustive",
        trials=trials,
    )
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
    choice: ConfigChoice
    regret: float
    default: float


def transfers_of(problems: Problems) -> Iterator[Transfer]:
    """Look each problem up in the records that an exhaustive search gives of all others."""
    records = {key: exhaustive_record(recorded) for key, recorded in problems.items()}
    for key, recorded in problems.items():
        times, default = replays.true_times(recorded), recorded[0].config
        others = [record for other, record in records.items() if other != key]
        choice = nearest_config(others, key, default=default, feasible=partial(_reasons, times))
        both = (replays.regret_of(times, one) for one in (choice.config, default))
        yield Transfer(key, recorded[0].mask.label, choice, *both)


def _reasons(times: Mapping[KernelConfig, float], config: KernelConfig) -> list[str]:
    return [] if config in times else ["it did not end well in the sweep"]


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
    times = {key: replays.true_times(recorded) for key, recorded in problems.items()}
    pairs = []
    for tuned, key in permutations(problems, 2):
        matched = KIND(tuned) == KIND(key)
        config, default = records[tuned].config, records[key].default
        if matched and config in times[key]:
            same = tuned.mask_fingerprint == key.mask_fingerprint
            both = (replays.regret_of(times[key], one) for one in (config, default))
            pairs.append(Pair(distance(tuned, key), same, *both))
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
            "the default" if row.choice.source == "default" else format_config(row.choice.config),
            f"{row.regret:.2%}",
            f"{row.default:.2%}",
        )
        for row in rows
    ]
    return markdown_table(headers, body, text_columns=5)


def transfer_targets(rows: Sequence[Transfer]) -> list[PerformanceTarget]:
    """Return the aims of transfers for each kernel."""
    targets = []
    for backend in dict.fromkeys(row.key.backend for row in rows):
        found = [row.regret for row in rows if row.key.backend == backend]
        what = f"transfer, `{backend}`, "
        targets.append(most(what + "median", MEDIAN, median(found)))
        targets.append(most(what + "worst", WORST, max(found)))
    return targets


def worst_transfer(rows: Sequence[Transfer]) -> str:
    """Describe the worst transfer and its reason."""
    worst = max(rows, key=lambda row: row.regret)
    key = worst.key
    return (
        f"The worst is {escape(worst.label)} on {key.frames} × {key.tokens_per_frame:,} tokens "
        f"with {key.batch * key.heads} heads on `{key.backend}`: {worst.regret:.2%} slower "
        f"than the best ({escape(worst.choice.reason)})."
    )


def distance_table(pairs: Iterable[Pair]) -> str:
    """Format regrets by distance, of the same mask and of others."""
    headers = ("distance", "mask", "pairs", "median", "worst", "default's", "slower than it")
    body = []
    for far, part in _by_distance(pairs):
        for same, mask in ((True, "same"), (False, "other")):
            some = [pair for pair in part if pair.same_mask == same]
            if some:
                given, defaults = [one.regret for one in some], [one.default for one in some]
                figures = (median(given), max(given), median(defaults))
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


def gains(records: Sequence[TuningRecord]) -> str:
    """Format the gain of tuned records over the default, a table per device and its versions."""
    by_device: dict[tuple[str, ...], list[TuningRecord]] = {}
    names = "key.device key.backend mask.label key.tokens_per_frame key.frames key.heads"
    for one in sorted(records, key=attrgetter(*names.split())):
        by_device.setdefault((one.key.device, one.versions["triton"]), []).append(one)
    return "\n\n".join(_gains_on(device, found) for (device, _), found in by_device.items())


def _gains_on(device: str, records: Sequence[TuningRecord]) -> str:
    headers = ("mask", "frames × tokens", "heads", "kernel", "changed", "default ms", "best ms")
    body = [
        (
            escape(one.mask.label),
            f"{one.key.frames} × {one.key.tokens_per_frame:,}",
            str(one.key.batch * one.key.heads),
            f"`{one.key.backend}`" + ", gradients" * (one.key.direction == "backward"),
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
    before, now = fields_of(default), fields_of(config)
    return ", ".join(
        f"{name.removeprefix('gradients.')} {before.get(name)} → {now[name]}"
        for name in now
        if now[name] != before.get(name)
    )


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
    rows = list(transfers_of(problems))
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
        figure = draw(summaries(json.loads(RATES.read_text(encoding="utf-8"))))
        path.write_bytes(rendered(figure, "svg"))


def draw(found: Sequence[RegretSummary]) -> "Figure":
    """Draw the median and the 95th percentile of regrets, each search in a colour of its own."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    from radialbench.reports.charts._drawing import COLOURS, GREY, MARKERS, WIDTH

    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots(1, 2, sharey=True)
    for place, name in enumerate(dict.fromkeys(one.search for one in found)):
        points = sorted((one for one in found if one.search == name), key=lambda p: p.share)
        shares = [one.share for one in points]
        look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        axes[0].plot(shares, [one.median for one in points], label=name, **look)
        axes[1].plot(shares, [one.high for one in points], label=name, **look)
    shares = sorted({one.share for one in found})
    for part, title, aim in zip(axes, ("Median", "95th percentile"), (0.02, 0.05), strict=True):
        part.set_title(title)
        part.axhline(aim, color=GREY, linestyle=(0, (4, 2)), linewidth=1)
        # Zero is the aim, and has its place on this axis.
        part.set_yscale("symlog", linthresh=0.01)
        part.set_ylim(bottom=0)
        part.yaxis.set_major_locator(FixedLocator([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
        part.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        # So that an exhaustive search, which ends at all of it, leaves the others room.
        part.set_xscale("log")
        part.xaxis.set_major_locator(FixedLocator(shares))
        for axis in (part.xaxis, part.yaxis):
            axis.set_minor_locator(NullLocator())
        part.tick_params(axis="x", labelsize=9)
        part.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        part.set_xlabel("trials, of an exhaustive search's")
    axes[0].set_ylabel("slower than the best there is")
    axes[0].legend(frameon=False)
    return figure


def main() -> int:
    """Replay every search on every problem with every seed, on all cores."""
    head = f'{{"sweep": "{file_hash(SWEEP)}", "seeds": {SEEDS}, "rows": ['
    problems = searched(whole_problems(read_sweep(SWEEP)).values())
    # Processes are not forked, since this one may have threads.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(rates_of, seeds=range(SEEDS)), problems)
        write_rows(RATES, chain.from_iterable(found), head, "]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
